package proxy_test

import (
	"fmt"
	"strings"
)

// deathCases end a connection at every stage of an exchange, on either side,
// with a FIN and with a reset.
func deathCases() []conformCase {
	all := callerDeaths()
	for _, end := range []struct {
		name string
		do   func(u *upConn) bool
	}{{"FIN", func(*upConn) bool { return false }}, {"RST", (*upConn).reset}} {
		dies := func(raw string) play {
			return onA(func(u *upConn, q *seen) bool {
				if !u.readBody(q) {
					return false
				}
				_ = u.say(raw)
				if raw != "" {
					_ = awaitRead(u.l.ctx, u.Conn) // a reset takes back what was not read
				}
				return end.do(u)
			})
		}
		for _, c := range []struct{ name, raw, want string }{
			{"inside the version", "HTTP/1.", bad},
			{"inside the status line", "HTTP/1.1 200 O", bad},
			{"after the status line", "HTTP/1.1 200 OK\r\n", bad},
			{"inside the head", ok200 + "Content-Le", bad},
			{"before the empty line", ok200 + "Content-Length: 5\r\n", bad},
			{"after an early hint", "HTTP/1.1 103 Early Hints\r\n\r\n", "103, 502; open | GET /a"},
			{"after the head", ok200 + "Content-Length: 5\r\n\r\n", brokeOff},
			{"inside the body", ok200 + "Content-Length: 5\r\n\r\nhel", brokeOff},
			{"after the head, chunked", ok200 + "Transfer-Encoding: chunked\r\n\r\n", brokeOff},
			{"inside a chunk size", ok200 + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1", brokeOff},
			{"inside a chunk", ok200 + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel", brokeOff},
			{"after a chunk's data", ok200 + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello", brokeOff},
			{"before the last chunk", ok200 + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", brokeOff},
			{"inside the last chunk", ok200 + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", brokeOff},
			{"inside the trailers", ok200 + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n", brokeOff},
		} {
			all = append(all, conformCase{name: "instance/" + c.name + " by " + end.name, sends: []string{getA}, play: dies(c.raw), want: c.want})
		}
		for _, c := range []struct{ name, send, want string }{
			{"GET", getA, again("GET /a")},
			{"HEAD", headA, again("HEAD /a")},
			{"PUT", strings.Replace(postA, "POST", "PUT", 1), again(`PUT /a "hello"`)},
			{"DELETE", strings.Replace(getA, "GET", "DELETE", 1), again("DELETE /a")},
			{"POST", postA, `502; open | POST /a "hello"`},
			{"PATCH", strings.Replace(postA, "POST", "PATCH", 1), `502; open | PATCH /a "hello"`},
			{"own method", strings.Replace(getA, "GET", "BREW", 1), "502; open | BREW /a"},
		} {
			all = append(all, conformCase{
				name: "instance/without a word to " + c.name + " by " + end.name, sends: []string{c.send},
				methods: []string{strings.Fields(c.send)[0]}, play: dies(""), want: c.want,
			})
		}
		all = append(all, staleCases(end.name, end.do)...)
	}
	return all
}

// again is a request that may be repeated and is: once for the instance's sake,
// and once more if the first connection had been kept for reuse.
func again(request string) string {
	twice := "502; open | " + request + ", " + request
	return twice + otherwise + twice + ", " + request
}

// staleCases lose a connection that was kept for reuse.
func staleCases(name string, end func(*upConn) bool) []conformCase {
	const warm = "GET /warm HTTP/1.1\r\nHost: t\r\n\r\n"
	var all []conformCase
	for _, c := range []struct{ name, send, underIt, before string }{
		{"GET", getA, "200 /warm, 200 /a; open | GET /warm, GET /a, GET /a", "200 /warm, 200 /a; open | GET /warm, GET /a"},
		{"POST", postA, `200 /warm, 502; open | GET /warm, POST /a "hello"`, `200 /warm, 200 /a; open | GET /warm, POST /a "hello"`},
		{"POST in chunks", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", `200 /warm, 502; open | GET /warm, POST /a "hello"`, `200 /warm, 200 /a; open | GET /warm, POST /a "hello"`},
	} {
		// It dies under the request, after /warm went over it.
		all = append(all, conformCase{
			name: "stale/under " + c.name + " by " + name, want: c.underIt,
			play: func(u *upConn, q *seen) bool {
				if !u.readBody(q) {
					return false
				}
				if q.target == "/warm" {
					u.mark()
				} else if q.target == "/a" && u.l.warm() && u.used {
					return end(u)
				}
				return u.answer(q)
			},
			talk: func(c2 *caller) { c2.send(warm); c2.final("GET"); c2.send(c.send); c2.final("") },
		})
		// It died before: nobody has to notice.
		all = append(all, conformCase{
			name: "stale/before " + c.name + " by " + name, want: c.before,
			play: func(u *upConn, q *seen) bool {
				if q.target == "/warm" {
					u.mark()
				}
				if !u.readBody(q) || !u.answer(q) {
					return false
				}
				if q.target != "/warm" {
					return true
				}
				_ = awaitRead(u.l.ctx, u.Conn) // the answer, or a reset would take it back
				_ = end(u)
				_ = u.Close()
				return false
			},
			talk: func(c2 *caller) {
				c2.send(warm)
				c2.final("GET")
				c2.awaitParting()
				c2.send(c.send)
				c2.final("")
			},
		})
	}
	return all
}

// callerDeaths are callers that end at every stage. Whatever the instance got
// of the request has to be broken off for it too.
func callerDeaths() []conformCase {
	const chunked = "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
	var all []conformCase
	gone := "no answer; closed | "
	for _, end := range []struct {
		name string
		do   func(*caller)
	}{{"FIN", (*caller).leave}, {"RST", (*caller).vanish}} {
		for _, c := range []struct{ name, bytes string }{
			{"after connecting", ""},
			{"inside the request line", "GET /a HT"},
			{"after the request line", "GET /a HTTP/1.1\r\n"},
			{"inside the head", "GET /a HTTP/1.1\r\nHo"},
			{"before the empty line", "GET /a HTTP/1.1\r\nHost: t\r\n"},
			{"inside the empty line", "GET /a HTTP/1.1\r\nHost: t\r\n\r"},
			{"after the head", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n"},
			{"inside the body", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhel"},
			{"inside a long body", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5000000\r\n\r\n" + strings.Repeat("x", 300000)},
			{"after the head, chunked", chunked},
			{"inside a chunk size", chunked + "5"},
			{"inside a chunk", chunked + "5\r\nhel"},
			{"after a chunk", chunked + "5\r\nhello\r\n"},
			{"inside the last chunk", chunked + "5\r\nhello\r\n0\r\n"},
			{"inside the trailers", chunked + "5\r\nhello\r\n0\r\nX-Sum: 1\r\n"},
		} {
			all = append(all, conformCase{name: "caller/" + c.name + " by " + end.name, want: gone + "nothing", talk: func(by *caller) {
				by.send(c.bytes)
				if c.bytes != "" {
					_ = awaitRead(by.ctx, by.TCPConn)
				}
				end.do(by)
			}})
		}
		waiting := onA(func(u *upConn, q *seen) bool {
			if !u.readBody(q) {
				return false
			}
			_, err := u.r.Peek(1) // until the front gives up
			return err == nil
		})
		all = append(all,
			conformCase{name: "caller/while the instance thinks by " + end.name, want: gone + "GET /a", play: waiting, talk: func(by *caller) {
				by.send(getA)
				by.await(1)
				end.do(by)
			}},
			conformCase{name: "caller/while the instance thinks about a POST by " + end.name, want: gone + `POST /a "hello"`, play: waiting, talk: func(by *caller) {
				by.send(postA)
				by.await(1)
				end.do(by)
			}},
			conformCase{name: "caller/inside the answer by " + end.name, want: gone + "GET /a", play: flood, talk: func(by *caller) {
				by.send(getA)
				_, _ = by.br.Discard(200)
				end.do(by)
			}})
	}
	// Half a connection: the caller has said all, and still listens.
	for _, c := range []struct{ name, bytes, want string }{
		{"nothing", "", gone + "nothing"},
		{"half a head", "GET /a HTTP/1.1\r\nHo", refused + otherwise + gone + "nothing"},
		{"half a body", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhel", refused + otherwise + gone + "nothing"},
		{"half a chunk", chunked + "5\r\nhel", refused + otherwise + gone + "nothing"},
		{"no last chunk", chunked + "5\r\nhello\r\n", refused + otherwise + gone + "nothing"},
	} {
		all = append(all, conformCase{name: "caller/half closed after " + c.name, want: c.want, talk: func(by *caller) {
			by.send(c.bytes)
			_ = by.CloseWrite()
			by.final("")
			by.leave()
		}})
	}
	return all
}

// flood is an answer that never stops.
var flood = onA(func(u *upConn, q *seen) bool {
	piece := fmt.Sprintf("%x\r\n%s\r\n", 32<<10, strings.Repeat("x", 32<<10))
	for alive := u.readBody(q) && u.say(ok200+"Transfer-Encoding: chunked\r\n\r\n"); alive; {
		alive = u.say(piece)
	}
	return false
})
