package proxy_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// flowCases send several requests over one connection, and single ones in
// pieces.
func flowCases() []conformCase {
	var all []conformCase
	kinds := []struct {
		name, tail, body string
	}{
		{"GET", "\r\n", ""},
		{"POST", "Content-Length: 5\r\n\r\nhello", "hello"},
		{"PUT", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello"},
		{"DELETE", "Content-Length: 0\r\n\r\n", ""},
		{"HEAD", "\r\n", ""},
	}
	pipeline := func(n int, pick func(i int) int) conformCase {
		c := conformCase{}
		var bytes strings.Builder
		var answers, got []string
		for i := range n {
			k := kinds[pick(i)]
			target := fmt.Sprint("/a", i)
			fmt.Fprintf(&bytes, "%s %s HTTP/1.1\r\nHost: t\r\n%s", k.name, target, k.tail)
			c.methods = append(c.methods, k.name)
			answers = append(answers, "200 "+target)
			request := k.name + " " + target
			if k.body != "" {
				request += fmt.Sprintf(" %q", k.body)
			}
			got = append(got, request)
		}
		c.sends, c.want = []string{bytes.String()}, strings.Join(answers, ", ")+"; open | "+strings.Join(got, ", ")
		return c
	}
	for _, n := range []int{2, 3, 10, 20} {
		same := pipeline(n, func(int) int { return 0 })
		same.name = fmt.Sprintf("%d GETs in a write", n)
		mixed := pipeline(n, func(i int) int { return i % len(kinds) })
		mixed.name = fmt.Sprintf("%d of all sorts in a write", n)
		posts := pipeline(n, func(i int) int { return 1 + i%2 })
		posts.name = fmt.Sprintf("%d with bodies in a write", n)
		all = append(all, same, mixed, posts)
	}
	// A broken one ends it: what is behind is not looked at.
	for at := range 4 {
		c := pipeline(4, func(int) int { return 1 })
		parts := strings.SplitAfter(c.sends[0], "hello")
		parts[at] = strings.Replace(parts[at], "Content-Length: 5", "Content-Length: +5", 1)
		head, got, _ := strings.Cut(c.want, "; open | ")
		answers, requests := strings.Split(head, ", ")[:at], strings.Split(got, ", ")[:at]
		if at == 0 {
			requests = []string{"nothing"}
		}
		all = append(all, sends(fmt.Sprintf("4 of which number %d is broken", at+1), strings.Join(parts, ""),
			strings.Join(append(answers, "400"), ", ")+"; closed | "+strings.Join(requests, ", ")))
	}
	return append(all, pieceCases()...)
}

// pieceCases send one request again and again, cut in two at every byte, and
// once byte by byte; then get answers that are cut likewise.
func pieceCases() []conformCase {
	var all []conformCase
	for _, c := range []struct{ name, method, bytes string }{
		{"a GET", "GET", "GET /a HTTP/1.1\r\nHost: t\r\nX-A: b\r\n\r\n"},
		{"a HEAD", "HEAD", "HEAD /a?b=c HTTP/1.1\r\nhost:t\r\nCookie: a=b; c=d\r\n\r\n"},
		{"a length", "POST", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"},
		{"chunks", "POST", "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"},
		{"trailers", "PUT", "PUT /a HTTP/1.1\r\nHost: t\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"},
		{"a request after a spare line", "POST", "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello\r\n"},
	} {
		pieces := func(by *caller, cut func(i int) []string) {
			for i := range len(c.bytes) {
				for n, piece := range cut(i) {
					if n > 0 && awaitRead(by.ctx, by.TCPConn) != nil {
						return
					}
					by.send(piece)
				}
				if a := by.final(c.method); a == nil || a.StatusCode != 200 {
					by.note("cut at %d", i)
					return
				}
			}
			by.same()
		}
		whole := pipelined(c.method, c.bytes, len(c.bytes))
		all = append(all,
			conformCase{name: "cut in two/" + c.name, want: whole, talk: func(by *caller) {
				pieces(by, func(i int) []string {
					if i == 0 {
						return []string{c.bytes}
					}
					return []string{c.bytes[:i], c.bytes[i:]}
				})
			}},
			conformCase{name: "byte by byte/" + c.name, want: pipelined(c.method, c.bytes, 1), talk: func(by *caller) {
				for n := range len(c.bytes) {
					if n > 0 && awaitRead(by.ctx, by.TCPConn) != nil {
						return
					}
					by.send(c.bytes[n : n+1])
				}
				by.final(c.method)
				by.same()
			}})
	}
	for _, c := range []struct{ name, raw, want string }{
		{"a length", ok200 + "Content-Length: 5\r\n\r\nhello", `"hello"`},
		{"chunks", ok200 + "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", `"hello"`},
		{"trailers", ok200 + "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", `"hello" +X-Sum:1`},
	} {
		n := len(c.raw)
		all = append(all, conformCase{
			name: "answer cut in two/" + c.name, want: fmt.Sprintf(`%d times 200 x %s; open | %d times GET /a`, n-1, c.want, n-1),
			play: onA(func(u *upConn, q *seen) bool {
				at := q.place + 1
				return u.readBody(q) && u.say(c.raw[:at]) && awaitRead(u.l.ctx, u.Conn) == nil && u.say(c.raw[at:])
			}),
			talk: func(by *caller) {
				for range n - 1 {
					by.send(getA)
					if a := by.final("GET"); a == nil || a.StatusCode != 200 {
						return
					}
				}
				by.same()
			},
		})
	}
	return all
}

// pipelined is the outcome of one request, n times.
func pipelined(method, raw string, n int) string {
	target := strings.Fields(raw)[1]
	request := method + " " + target
	if strings.Contains(raw, "hel") {
		request += ` "hello"`
	}
	if strings.Contains(raw, "X-Sum: 1") {
		request += " +X-Sum:1"
	}
	if n == 1 {
		return "200 " + target + "; open | " + request
	}
	return fmt.Sprintf("%d times 200 %s; open | %d times %s", n, target, n, request)
}

// headCases are about what happens to fields on the way.
func headCases() []conformCase {
	get := func(fields string) string { return "GET /a HTTP/1.1\r\nHost: t\r\n" + fields + "\r\n" }
	fields := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "X-A%d: b\r\n", i)
		}
		return b.String()
	}
	filled := func(size int) string { // a head of so many bytes
		empty := get("X-A: \r\n")
		return get("X-A: " + strings.Repeat("a", size-len(empty)) + "\r\n")
	}
	const large = "431; closed | nothing"
	long := strings.Repeat("a", 60<<10)
	return []conformCase{
		sends("60 KB", filled(60<<10), passedGet),
		sends("64 KB", filled(64<<10), passedGet),
		sends("64 KB and a byte", filled(64<<10+1), large),
		sends("80 KB", filled(80<<10), large),
		sends("1 MB", filled(1<<20), large),
		sends("100 fields", "GET /a HTTP/1.1\r\nHost: t\r\n"+fields(99)+"\r\n", passedGet),
		sends("101 fields", "GET /a HTTP/1.1\r\nHost: t\r\n"+fields(100)+"\r\n", large),
		sends("3,000 short fields", "GET /a HTTP/1.1\r\nHost: t\r\n"+strings.Repeat("a:b\r\n", 3000)+"\r\n", large),
		sends("a long target", "GET /a"+strings.Repeat("a", 8000)+" HTTP/1.1\r\nHost: t\r\n\r\n",
			fmt.Sprintf("200 /a%s; open | GET /a%s", strings.Repeat("a", 8000), strings.Repeat("a", 8000))),
		sends("a target of 70 KB", "GET /a"+strings.Repeat("a", 70<<10)+" HTTP/1.1\r\nHost: t\r\n\r\n", "414; closed | nothing"+otherwise+large),
		sends("a name of 60 KB", get("X-"+long+": b\r\n"), passedGet),
		sends("a method of 60 KB", long+" /a HTTP/1.1\r\nHost: t\r\n\r\n", "200 /a; open | "+long+" /a"),
		{
			name: "order and case", sends: []string{get("X-B: 1\r\nx-a: 1\r\nX-B: 2\r\nX-A: 2\r\nx-b:3\r\nX-Empty:\r\n")}, want: passedGet,
			ours: func(t *testing.T, r *conformRecord) {
				for name, want := range map[string][]string{"X-A": {"1", "2"}, "X-B": {"1", "2", "3"}, "X-Empty": {""}} {
					if got := r.got[0].values(name); !slices.Equal(got, want) {
						t.Errorf("%s = %q, want %q", name, got, want)
					}
				}
			},
		},
		{
			name: "cookies", sends: []string{get(strings.Repeat("Cookie: a=1; b=\"2\"; c=3,4\r\n", 3) + "Cookie: " + strings.Repeat("k=v; ", 200) + "z=1\r\n")}, want: passedGet,
			ours: func(t *testing.T, r *conformRecord) {
				got := strings.Join(r.got[0].values("Cookie"), "; ")
				if want := strings.Repeat("a=1; b=\"2\"; c=3,4; ", 3) + strings.Repeat("k=v; ", 200) + "z=1"; got != want {
					t.Errorf("cookies came as %q", got)
				}
			},
		},
		lost("of the connection", get("Connection: keep-alive, X-Hop, x-other\r\nX-Hop: 1\r\nX-OTHER: 2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nProxy-Authenticate: Basic\r\nUpgrade: x\r\nTrailer: X-Sum\r\n"),
			passedGet, "Connection", "X-Hop", "X-Other", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Proxy-Authenticate", "Upgrade", "Trailer"),
		lost("named on several lines", get("Connection: X-One\r\nX-One: 1\r\nConnection: ,, X-Two ,\r\nX-Two: 1\r\n"), passedGet, "X-One", "X-Two", "Connection"),
		lost("named with close", get("Connection: close, X-One\r\nX-One: 1\r\n"), "200 /a; closed | GET /a", "X-One", "Connection"),
		lost("named though they route", get("Connection: Host, Cookie, Authorization\r\nCookie: a=b\r\nAuthorization: x\r\n"), passedGet, "Connection"),
		lost("named to hide who calls", get("Connection: X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto, Forwarded\r\n"), passedGet, "Connection"),
		forwarded("a caller's own are dropped", "Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\n"),
		forwarded("twice", "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-for: 6.6.6.7\r\n"),
		forwarded("nominated", "Connection: X-Forwarded-For\r\nX-Forwarded-For: 6.6.6.6\r\n"),
		forwarded("none", ""),
	}
}

// lost is a case in which ours passes none of the named fields on, and says
// who calls all the same.
func lost(name, bytes, want string, names ...string) conformCase {
	return conformCase{name: "lost/" + name, sends: []string{bytes}, want: want, ours: func(t *testing.T, r *conformRecord) {
		for _, n := range names {
			if v := r.got[0].values(n); len(v) > 0 {
				t.Errorf("the instance got %s: %q, which ends at the hop", n, v)
			}
		}
		if v := r.got[0].values("X-Forwarded-For"); len(v) != 1 {
			t.Errorf("X-Forwarded-For = %q, want the caller", v)
		}
	}}
}

// forwarded is a case in which ours says itself who calls.
func forwarded(name, fields string) conformCase {
	return conformCase{name: "forwarded/" + name, sends: []string{"GET /a HTTP/1.1\r\nHost: t\r\n" + fields + "\r\n"}, want: passedGet, ours: func(t *testing.T, r *conformRecord) {
		q := r.got[0]
		for n, want := range map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "t", "X-Forwarded-Proto": "http"} {
			if got := q.values(n); !slices.Equal(got, []string{want}) {
				t.Errorf("%s = %q, want %s", n, got, want)
			}
		}
		if bytes.Contains(q.raw, []byte("6.6.6")) || bytes.Contains(q.raw, []byte("evil")) {
			t.Errorf("what the caller says of itself came through: %q", q.raw)
		}
	}}
}
