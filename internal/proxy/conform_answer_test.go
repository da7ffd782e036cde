package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// onA plays to requests for /a, and answers all others.
func onA(p play) play {
	return func(u *upConn, q *seen) bool {
		if !strings.HasPrefix(q.target, "/a") {
			return answering(u, q)
		}
		return p(u, q)
	}
}

// speaking reads the request, says bytes and keeps the connection.
func speaking(raw string) play {
	return onA(func(u *upConn, q *seen) bool { return u.readBody(q) && u.say(raw) })
}

// parting reads the request, says bytes and closes the connection.
func parting(raw string) play {
	return onA(func(u *upConn, q *seen) bool { _ = u.readBody(q) && u.say(raw); return false })
}

const (
	getA     = "GET /a HTTP/1.1\r\nHost: t\r\n\r\n"
	headA    = "HEAD /a HTTP/1.1\r\nHost: t\r\n\r\n"
	postA    = "POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"
	ok200    = "HTTP/1.1 200 OK\r\nX-Answer: x\r\n"
	poison   = "HTTP/1.1 200 OK\r\nX-Answer: poison\r\nContent-Length: 6\r\n\r\npoison"
	passedX  = "200 x; open | GET /a"
	bad      = "502; open | GET /a"
	brokeOff = "200 x cut; closed | GET /a or no answer; closed | GET /a" // whether the head had been sent is chance
)

// answerCases are about what an instance says to one GET.
func answerCases() []conformCase {
	all := goodAnswers()
	// Whoever takes these waits for the connection's end, which would never come.
	untilClose := map[string]bool{"coding in 1.0": true, "space before colon": true}
	for _, c := range []struct{ name, raw, want string }{
		{"both lengths", ok200 + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad},
		{"both lengths, coding first", ok200 + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", bad},
		{"length twice different", ok200 + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!", bad},
		{"length twice same", ok200 + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"length list", ok200 + "Content-Length: 2, 2\r\n\r\nhi", bad},
		{"length plus", ok200 + "Content-Length: +2\r\n\r\nhi", bad},
		{"length minus", ok200 + "Content-Length: -2\r\n\r\nhi", bad},
		{"length hex", ok200 + "Content-Length: 0x2\r\n\r\nhi", bad},
		{"length empty", ok200 + "Content-Length:\r\n\r\nhi", bad},
		{"length overflow", ok200 + "Content-Length: 18446744073709551618\r\n\r\nhi", bad},
		{"coding identity", ok200 + "Transfer-Encoding: identity\r\n\r\nhi", bad},
		{"coding gzip, chunked", ok200 + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", bad},
		{"coding unknown", ok200 + "Transfer-Encoding: x\r\n\r\nhi", bad},
		{"coding twice", ok200 + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad},
		{"coding with a vertical tab", ok200 + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", bad},
		{"coding in 1.0", "HTTP/1.0 200 OK\r\nX-Answer: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", bad},
		{"LF alone", "HTTP/1.1 200 OK\nX-Answer: x\nContent-Length: 2\n\nhi", bad},
		{"LF after a field", ok200 + "X-A: b\nContent-Length: 2\r\n\r\nhi", bad},
		{"LF LF hides an answer", ok200 + "Content-Length: 0\r\nX-A: b\n\n" + poison, bad},
		{"CR in a value", ok200 + "X-A: b\rX-Evil: 1\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"fold", ok200 + "X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"fold of the length", ok200 + "Content-Length:\r\n 2\r\n\r\nhi", bad},
		{"space before colon", ok200 + "Content-Length : 2\r\n\r\nhi", bad},
		{"space before the first field", "HTTP/1.1 200 OK\r\n X-Answer: x\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"no colon", ok200 + "X-A\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"empty name", ok200 + ": b\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"space in a name", ok200 + "X A: b\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"NUL in a value", ok200 + "X-A: b\x00c\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"control in a value", ok200 + "X-A: b\x01c\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"head of 300 KB", ok200 + "X-A: " + strings.Repeat("a", 300<<10) + "\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"garbage", "\x16\x03\x01\x00\x01\r\n\r\n", bad},
		{"other protocol", "SSH-2.0-x\r\n\r\n", bad},
		{"no status line", "X-Answer: x\r\nContent-Length: 2\r\n\r\nhi", bad},
		{"empty line first", "\r\n" + ok200 + "Content-Length: 2\r\n\r\nhi", bad},
		{"status of letters", "HTTP/1.1 abc OK\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", bad},
		{"status of two digits", "HTTP/1.1 20 OK\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", bad},
		{"status of four digits", "HTTP/1.1 2000 OK\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", bad},
		{"status 099", "HTTP/1.1 099 OK\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", bad},
		{"no status", "HTTP/1.1\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", bad},
		{"version 2.0", "HTTP/2.0 200 OK\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", bad},
		{"version 1.x", "HTTP/1.x 200 OK\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", bad},
		{"lower version", "http/1.1 200 OK\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", bad},
		{"101 nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", bad},
		{"chunk size of letters", ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\ng\r\n", brokeOff},
		{"chunk size signed", ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n-1\r\n", brokeOff},
		{"chunk size overflow", ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n10000000000000000\r\n\r\n", brokeOff},
		{"chunk without CR LF behind", ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n", brokeOff},
		{"chunk size with LF", ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\n!\r\n0\r\n\r\n", brokeOff},
		{"chunk extension with LF", ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;a\n!\r\n0\r\n\r\n", brokeOff},
		{"trailer without colon", ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum\r\n\r\n", brokeOff},
	} {
		for _, then := range []struct {
			name string
			play play
		}{{", kept", speaking(c.raw)}, {", closed", parting(c.raw)}} {
			if then.name == ", kept" && untilClose[c.name] {
				continue
			}
			all = append(all, conformCase{name: "broken/" + c.name + then.name, sends: []string{getA}, play: then.play, want: c.want})
		}
	}
	return append(all, poisonCases()...)
}

// goodAnswers are well-formed, in every framing there is.
func goodAnswers() []conformCase {
	var all []conformCase
	hi := `200 x "hi"; open | GET /a`
	for _, c := range []struct{ name, raw, want string }{
		{"length", ok200 + "Content-Length: 2\r\n\r\nhi", hi},
		{"length zero", ok200 + "Content-Length: 0\r\n\r\n", passedX},
		{"length with zeros", ok200 + "Content-Length: 002\r\n\r\nhi", hi},
		{"chunked", ok200 + "Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", hi},
		{"chunked, empty", ok200 + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", passedX},
		{"chunked in capitals", ok200 + "TRANSFER-ENCODING: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n", hi},
		{"chunk extensions", ok200 + "Transfer-Encoding: chunked\r\n\r\n2;a=b;c=\"d\"\r\nhi\r\n0;e\r\n\r\n", hi},
		{"trailer announced", ok200 + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", `200 x "hi" +X-Sum:1; open | GET /a`},
		{"trailer not announced", ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n", `200 x "hi" +X-Sum:1; open | GET /a`},
		{"trailers of both sorts", ok200 + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", `200 x "hi" +X-More:2 +X-Sum:1; open | GET /a`},
		{"trailer announced, none came", ok200 + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\n\r\n", `200 x "hi"; open | GET /a`},
		{"close announced", ok200 + "Connection: close\r\nContent-Length: 2\r\n\r\nhi", hi},
		{"until close", ok200 + "\r\nhi", hi},
		{"until close, empty", ok200 + "\r\n", passedX},
		{"until close, announced", ok200 + "Connection: close\r\n\r\nhi", hi},
		{"1.0 with length", "HTTP/1.0 200 OK\r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", hi},
		{"1.0 until close", "HTTP/1.0 200 OK\r\nX-Answer: x\r\n\r\nhi", hi},
		{"1.0 kept alive", "HTTP/1.0 200 OK\r\nX-Answer: x\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", hi},
		{"204", "HTTP/1.1 204 No Content\r\nX-Answer: x\r\n\r\n", "204 x; open | GET /a"},
		{"204 with length zero", "HTTP/1.1 204 No Content\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", "204 x; open | GET /a"},
		{"205", "HTTP/1.1 205 Reset Content\r\nX-Answer: x\r\nContent-Length: 0\r\n\r\n", "205 x; open | GET /a"},
		{"304", "HTTP/1.1 304 Not Modified\r\nX-Answer: x\r\nETag: \"a\"\r\n\r\n", "304 x; open | GET /a"},
		{"304 with a length", "HTTP/1.1 304 Not Modified\r\nX-Answer: x\r\nContent-Length: 200\r\n\r\n", "304 x; open | GET /a"},
		{"301", "HTTP/1.1 301 Moved\r\nX-Answer: x\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", "301 x; open | GET /a"},
		{"404", "HTTP/1.1 404 Not Found\r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", `404 x "hi"; open | GET /a`},
		{"500", "HTTP/1.1 500 Oh\r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", `500 x "hi"; open | GET /a`},
		{"503", "HTTP/1.1 503 Busy\r\nX-Answer: x\r\nRetry-After: 5\r\nContent-Length: 2\r\n\r\nhi", `503 x "hi"; open | GET /a`},
		{"299", "HTTP/1.1 299 Own\r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", `299 x "hi"; open | GET /a`},
		{"599", "HTTP/1.1 599 Own\r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", `599 x "hi"; open | GET /a`},
		{"999", "HTTP/1.1 999 Own\r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", `999 x "hi"; open | GET /a`},
		{"no reason", "HTTP/1.1 200\r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", hi},
		{"empty reason", "HTTP/1.1 200 \r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", hi},
		{"long reason", "HTTP/1.1 200 " + strings.Repeat("very ", 100) + "good\r\nX-Answer: x\r\nContent-Length: 2\r\n\r\nhi", hi},
		{"high bytes", "HTTP/1.1 200 \xe4\r\nX-Answer: x\r\nX-A: \xe4\r\nContent-Length: 2\r\n\r\nhi", hi},
		{"103", "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + ok200 + "Content-Length: 2\r\n\r\nhi", `103, 200 x "hi"; open | GET /a`},
		{"103 twice", strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", 2) + ok200 + "Content-Length: 2\r\n\r\nhi", `103, 103, 200 x "hi"; open | GET /a`},
		{"102", "HTTP/1.1 102 Processing\r\n\r\n" + ok200 + "Content-Length: 2\r\n\r\nhi", `102, 200 x "hi"; open | GET /a`},
		{"199", "HTTP/1.1 199 Own\r\n\r\n" + ok200 + "Content-Length: 2\r\n\r\nhi", `199, 200 x "hi"; open | GET /a`},
		{"100 nobody asked for", "HTTP/1.1 100 Continue\r\n\r\n" + ok200 + "Content-Length: 2\r\n\r\nhi", hi},
		{"103 and 204", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\nX-Answer: x\r\n\r\n", "103, 204 x; open | GET /a"},
	} {
		play := speaking(c.raw)
		if strings.Contains(c.name, "close") || strings.HasPrefix(c.name, "1.0") && c.name != "1.0 kept alive" {
			play = parting(c.raw)
		}
		all = append(all, conformCase{name: "good/" + c.name, sends: []string{getA}, play: play, want: c.want})
		if c.name == "103" {
			all[len(all)-1].ours = func(t *testing.T, r *conformRecord) {
				if got := r.answers[0].Header.Get("Link"); got != "</a.css>" {
					t.Errorf("the hint has Link %q", got)
				}
				if _, there := r.answers[1].Header["Link"]; there {
					t.Error("the final answer has the hint's Link")
				}
			}
		}
	}
	all = append(all,
		conformCase{
			name: "good/103 to 1.0", sends: []string{"GET /a HTTP/1.0\r\nHost: t\r\n\r\n"},
			play: speaking("HTTP/1.1 103 Early Hints\r\n\r\n" + ok200 + "Content-Length: 2\r\n\r\nhi"), want: `200 x "hi"; closed | GET /a`,
		},
		conformCase{
			name: "good/chunked to 1.0", sends: []string{"GET /a HTTP/1.0\r\nHost: t\r\n\r\n"},
			play: speaking(ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), want: `200 x "hi"; closed | GET /a`,
		},
		conformCase{
			name: "good/chunked to 1.0 kept alive", sends: []string{"GET /a HTTP/1.0\r\nHost: t\r\nConnection: keep-alive\r\n\r\n"},
			play: speaking(ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), want: `200 x "hi"; open | GET /a` + otherwise + `200 x "hi"; closed | GET /a`,
			ours: func(t *testing.T, r *conformRecord) {
				if te := r.answers[0].TransferEncoding; len(te) > 0 {
					t.Errorf("a caller of HTTP/1.0 got chunks")
				}
			},
		},
		conformCase{
			name: "good/fields", sends: []string{getA},
			play: speaking(ok200 + "Set-Cookie: a=1\r\nX-Keep: 1\r\nSet-Cookie: b=2\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: trailers\r\nContent-Length: 2\r\n\r\nhi"),
			want: hi,
			ours: func(t *testing.T, r *conformRecord) {
				h := r.answers[0].Header
				for _, name := range []string{"X-Hop", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Upgrade", "Te", "Connection"} {
					if v, there := h[name]; there {
						t.Errorf("the caller got %s: %q, which ends at the hop", name, v)
					}
				}
				if got := h.Values("Set-Cookie"); !slices.Equal(got, []string{"a=1", "b=2"}) || h.Get("X-Keep") != "1" {
					t.Errorf("the caller got %v, want both cookies in order", h)
				}
				if got := h["Content-Type"]; len(got) > 0 {
					t.Errorf("a type was guessed: %q", got)
				}
			},
		})
	for _, c := range []struct{ name, raw, want string }{
		{"length", ok200 + "Content-Length: 200\r\n\r\n", "200 x"},
		{"chunked", ok200 + "Transfer-Encoding: chunked\r\n\r\n", "200 x"},
		{"no framing", ok200 + "\r\n", "200 x"},
		{"204", "HTTP/1.1 204 No Content\r\nX-Answer: x\r\n\r\n", "204 x"},
		{"304", "HTTP/1.1 304 Not Modified\r\nX-Answer: x\r\nContent-Length: 7\r\n\r\n", "304 x"},
		{"404", "HTTP/1.1 404 Not Found\r\nX-Answer: x\r\nContent-Length: 7\r\n\r\n", "404 x"},
		{"103", "HTTP/1.1 103 Early Hints\r\n\r\n" + ok200 + "Content-Length: 200\r\n\r\n", "103, 200 x"},
	} {
		all = append(all, conformCase{
			name: "HEAD/" + c.name, sends: []string{headA}, methods: []string{"HEAD"}, play: speaking(c.raw), want: c.want + "; open | HEAD /a",
			ours: func(t *testing.T, r *conformRecord) {
				a := r.answers[len(r.answers)-1]
				if strings.Contains(c.raw, ": 200") && a.ContentLength != 200 {
					t.Errorf("the length is %d, want 200 as a GET's would be", a.ContentLength)
				}
			},
		})
	}
	return all
}

// poisonCases have bytes behind an answer's end: the next request must neither
// get them nor the connection they came on.
func poisonCases() []conformCase {
	var all []conformCase
	for _, c := range []struct{ name, send, raw, want string }{
		{"length", getA, ok200 + "Content-Length: 2\r\n\r\nhi", `200 x "hi"; open | GET /a`},
		{"length zero", getA, ok200 + "Content-Length: 0\r\n\r\n", passedX},
		{"chunked", getA, ok200 + "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", `200 x "hi"; open | GET /a`},
		{"204", getA, "HTTP/1.1 204 No Content\r\nX-Answer: x\r\n\r\n", "204 x; open | GET /a"},
		{"204 with a length", getA, "HTTP/1.1 204 No Content\r\nX-Answer: x\r\nContent-Length: 5\r\n\r\nhello", "204 x; open | GET /a"},
		{"204 chunked", getA, "HTTP/1.1 204 No Content\r\nX-Answer: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "204 x; open | GET /a"},
		{"304", getA, "HTTP/1.1 304 Not Modified\r\nX-Answer: x\r\nContent-Length: 5\r\n\r\nhello", "304 x; open | GET /a"},
		{"HEAD with a body", headA, ok200 + "Content-Length: 5\r\n\r\nhello", "200 x; open | HEAD /a"},
		{"HEAD with chunks", headA, ok200 + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "200 x; open | HEAD /a"},
		{"POST", postA, ok200 + "Content-Length: 2\r\n\r\nhi", `200 x "hi"; open | POST /a "hello"`},
	} {
		for _, behind := range []struct{ name, bytes string }{{"an answer", poison}, {"CR LF", "\r\n"}, {"one byte", "x"}, {"an early hint", "HTTP/1.1 103 Early Hints\r\n\r\n"}} {
			methods := []string{strings.Fields(c.send)[0]}
			all = append(all, conformCase{
				name: "spare/" + behind.name + " behind " + c.name, sends: []string{c.send}, methods: methods,
				play: speaking(c.raw + behind.bytes), want: c.want,
				ours: func(t *testing.T, r *conformRecord) {
					if a := r.answers[0]; a.StatusCode == http.StatusNoContent && len(a.Header["Content-Length"]) > 0 {
						t.Errorf("a 204 has a length: %q (RFC 9110, 8.6)", a.Header["Content-Length"])
					}
					if r.end == nil || r.end.conn == r.got[len(r.got)-1].conn {
						t.Error("the next request went over the connection that had more to say")
					}
				},
			})
		}
	}
	return all
}

// uploadCases are answers that do not wait for the body, and callers that do
// not send it before they are asked.
func uploadCases() []conformCase {
	const size = 5 << 20
	large := strings.Repeat("0123456789abcdef", size/16)
	head := fmt.Sprintf("POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n", size)
	var coded strings.Builder
	for i := 0; i < size; i += 64 << 10 {
		fmt.Fprintf(&coded, "%x\r\n%s\r\n", 64<<10, large[i:i+64<<10])
	}
	coded.WriteString("0\r\n\r\n")
	chunkedHead := "POST /a HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
	want := fmt.Sprintf("POST /a %s", brief([]byte(large)))
	echo := func(q *seen) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Answer: x\r\nContent-Length: %d\r\n\r\n%s", len(q.body), q.body)
	}
	codedEcho := ok200 + "Transfer-Encoding: chunked\r\n\r\n" + coded.String()
	early := func(status string) play {
		return onA(func(u *upConn, q *seen) bool {
			_ = u.say("HTTP/1.1 " + status + "\r\nX-Answer: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!")
			_ = u.Conn.(*net.TCPConn).CloseWrite()
			_ = u.readBody(q) // a close with bytes unread would be a reset, and might cost the answer
			return false
		})
	}
	half := func(head string) func(*caller) { // the answer must not wait for the rest
		return func(c *caller) {
			c.send(head + large[:512<<10])
			c.final("POST")
			c.leave()
		}
	}
	expect := "POST /a HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
	return []conformCase{
		{name: "5 MB up and down", sends: []string{head + large}, want: "200 x " + brief([]byte(large)) + "; open | " + want, play: onA(func(u *upConn, q *seen) bool { return u.readBody(q) && u.say(echo(q)) })},
		{name: "5 MB up and down in chunks", sends: []string{chunkedHead + coded.String()}, want: "200 x " + brief([]byte(large)) + "; open | " + want, play: onA(func(u *upConn, q *seen) bool { return u.readBody(q) && u.say(codedEcho) })},
		{name: "5 MB down until close", sends: []string{getA}, want: "200 x " + brief([]byte(large)) + "; open | GET /a", play: parting(ok200 + "\r\n" + large)},
		{name: "413 while a body comes", want: `413 x "no!"; closed | nothing`, play: early("413 Too Large"), talk: half(head)},
		{name: "413 while chunks come", want: `413 x "no!"; closed | nothing`, play: early("413 Too Large"), talk: half(chunkedHead + "100000\r\n")},
		{name: "200 while a body comes", want: `200 x "no!"; closed | nothing`, play: early("200 OK"), talk: half(head)},
		{name: "200 while a small body comes", want: `200 x "no!"; closed | nothing`, play: early("200 OK"), talk: func(c *caller) {
			c.send("POST /a HTTP/1.1\r\nHost: t\r\nContent-Length: 70000\r\n\r\nhalf")
			c.final("POST")
			c.leave()
		}},
		{
			name: "expect/asked for", want: `100, 200 /a; open | POST /a "hello"`,
			play: onA(func(u *upConn, q *seen) bool {
				return u.say("HTTP/1.1 100 Continue\r\n\r\n") && u.readBody(q) && u.answer(q)
			}),
			talk: func(c *caller) {
				c.send(expect)
				if a := c.next("POST"); a != nil && a.StatusCode == 100 {
					c.send("hello")
					c.final("POST")
				}
			},
		},
		{
			name: "expect/refused", want: `403 x; closed | nothing`,
			play: onA(func(u *upConn, q *seen) bool {
				_ = u.say("HTTP/1.1 403 Forbidden\r\nX-Answer: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				_ = u.Conn.(*net.TCPConn).CloseWrite()
				_ = u.readBody(q)
				return false
			}),
			talk: func(c *caller) {
				began := time.Now()
				c.send(expect)
				if a := c.next("POST"); a != nil && a.StatusCode == 100 {
					if time.Since(began) > 900*time.Millisecond { // the instance stood still, and a front may ask then
						c.r.answers = nil
					}
					c.final("POST")
				}
			},
		},
		{
			name: "expect/ignored", want: `100, 200 /a; open | POST /a "hello"`,
			talk: func(c *caller) {
				c.send(expect)
				if a := c.nextIfAny("POST"); a != nil && a.StatusCode != 100 {
					return
				}
				c.send("hello")
				c.final("POST")
			},
		},
		{
			name: "expect/the body comes at once", want: `200 /a; open | POST /a "hello"`,
			talk: func(c *caller) { c.send(expect + "hello"); c.finalOnly("POST") },
		},
		{name: "expect/something else", sends: []string{"POST /a HTTP/1.1\r\nHost: t\r\nExpect: 200-maybe\r\nContent-Length: 5\r\n\r\nhello"}, want: "417; closed | nothing"},
		{name: "expect/without a body", sends: []string{"GET /a HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\r\n"}, want: passedGet},
		{name: "expect/in 1.0", sends: []string{"POST /a HTTP/1.0\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"}, want: `200 /a; closed | POST /a "hello"`},
	}
}

// upgradeCases leave HTTP.
func upgradeCases() []conformCase {
	const shake = "GET /a HTTP/1.1\r\nHost: t\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	const agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
	echo := func(first string) play {
		return onA(func(u *upConn, q *seen) bool {
			if len(q.values("Upgrade")) != 1 || len(q.values("Sec-WebSocket-Key")) != 1 {
				return u.answer(q)
			}
			_ = u.say(agreed + first)
			buf := make([]byte, 4096)
			for {
				n, err := u.r.Read(buf)
				if err != nil {
					return false
				}
				if !u.say(string(buf[:n])) {
					return false
				}
			}
		})
	}
	hear := func(c *caller, want string) {
		got := make([]byte, len(want))
		_ = c.SetReadDeadline(time.Now().Add(c.patience.answer))
		n, _ := io.ReadFull(c.br, got)
		c.note("echo %s", brief(got[:n]))
	}
	return []conformCase{
		{
			name: "echo", want: `101, echo "one", echo "two"; closed | GET /a`, play: echo(""),
			talk: func(c *caller) {
				c.send(shake)
				if a := c.next("GET"); a != nil && a.StatusCode == 101 {
					c.send("one")
					hear(c, "one")
					c.send("two")
					hear(c, "two")
				}
				_ = c.CloseWrite()
			},
		},
		{
			name: "both begin at once", want: `101, echo "first", echo "early"; closed | GET /a`, play: echo("first"),
			talk: func(c *caller) {
				c.send(shake + "early")
				if a := c.next("GET"); a != nil && a.StatusCode == 101 {
					hear(c, "first")
					hear(c, "early")
				}
				_ = c.CloseWrite()
			},
		},
		{name: "answered plainly", sends: []string{shake}, want: passedX, play: speaking(ok200 + "Content-Length: 0\r\n\r\n")},
		{name: "h2c is not passed on", sends: []string{"GET /a HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"}, want: passedGet},
		{
			name: "only with Connection", sends: []string{"GET /a HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\n\r\n"}, want: passedGet,
			ours: func(t *testing.T, r *conformRecord) {
				if v := r.got[0].values("Upgrade"); len(v) > 0 {
					t.Errorf("the instance got Upgrade: %q", v)
				}
			},
		},
	}
}
