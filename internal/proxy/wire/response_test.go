package wire

import (
	"errors"
	"testing"
)

const typicalAnswer = "HTTP/1.1 200 OK\r\n" +
	"Date: Mon, 23 Nov 2026 10:00:00 GMT\r\n" +
	"Content-Type: application/json; charset=utf-8\r\n" +
	"Content-Length: 200\r\n" +
	"Cache-Control: private, max-age=0\r\n" +
	"Etag: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n" +
	"Vary: Accept-Encoding\r\n" +
	"X-Request-Id: 7f1d3a9c\r\n\r\n"

type answer struct {
	head, method string
	status       int
	length       int64
	close        bool
}

func answers() []answer {
	return []answer{
		{typicalAnswer, "GET", 200, 200, false},
		{typicalAnswer, "HEAD", 200, 0, false},
		{"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n", "GET", 200, 1, false},
		{"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\n", "GET", 200, 1, false},
		{"HTTP/1.1 404 nicht da \xfc\t\r\nTransfer-Encoding: Chunked\r\n\r\n", "GET", 404, Chunked, false},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HEAD", 200, 0, false},
		{"HTTP/1.1 200 OK\r\n\r\n", "GET", 200, UntilClose, true},
		{"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n", "GET", 200, 2, true},
		{"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", "GET", 200, 2, true},
		{"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n", "GET", 200, 2, false},
		{"HTTP/1.1 204 No Content\r\n\r\n", "GET", 204, 0, false},
		{"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "GET", 204, 0, false},
		{"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\n", "GET", 204, 0, true},
		{"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 204, 0, true},
		{"HTTP/1.1 304 Not Modified\r\nContent-Length: 400\r\n\r\n", "GET", 304, 0, false},
		{"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "GET", 103, 0, false},
		{"HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n", "GET", 999, 0, false},
	}
}

func TestResponse(t *testing.T) {
	for _, c := range answers() {
		var r Response
		n, err := r.Parse([]byte(c.head+"HTTP"), c.method, Limits{})
		if n != len(c.head) || err != nil || r.Status != c.status || r.Length != c.length || r.Close != c.close || r.Upgrade {
			t.Errorf("Parse(%q) = %d, %v: %+v", c.head, n, err, r)
		}
		if r.Interim() != (c.status == 103) {
			t.Errorf("Interim of %d = %v", r.Status, r.Interim())
		}
	}
}

func TestResponseUpgrades(t *testing.T) {
	for method, head := range map[string]string{
		"GET":     "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"CONNECT": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
	} {
		var r Response
		if n, err := r.Parse([]byte(head), method, Limits{}); n != len(head) || err != nil || !r.Upgrade || r.Length != 0 || r.Interim() {
			t.Errorf("Parse(%q) = %d, %v: %+v", head, n, err, r)
		}
	}
}

// brokenAnswers are answers, and why they are refused.
func brokenAnswers() map[string]string {
	const start = "HTTP/1.1 200 OK\r\n"
	return map[string]string{
		"HTTP/2.0 200 OK\r\n": whyVersion,
		"HTTP/1.2 200 OK\r\n": whyVersion,
		"HTTP/1.1 20 OK\r\n":  whyStatusLine,
		"HTTP/1.1 2000\r\n":   whyStatusLine,
		"HTTP/1.1 099 X\r\n":  whyStatusLine,
		"HTTP/1.1  200\r\n":   whyStatusLine,
		"HTTP/1.1 2x0 X\r\n":  whyStatusLine,
		"ICY 200 OK\r\n":      whyStatusLine,
		"SSH-2.0-OpenSSH\r\n": whyStatusLine,
		"\r\nHTTP/1.1 200 ":   whyStatusLine,
		"HTTP/1.1 200 OK\n":   whyBareLF,
		"HTTP/1.1 200\n":      whyBareLF,
		"HTTP/1.1 200 a\rb":   whyBareCR,
		"HTTP/1.1 200 a\x00b": whyControl,
		start + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n": whyBothLengths,
		start + "Content-Length: 1\r\nContent-Length: 1\r\n":          whyLengthTwice,
		start + "Content-Length: 1, 1\r\n":                            whyLengthNumber,
		start + "Transfer-Encoding: gzip\r\n":                         whyCoding,
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n":           whyCodingOld,
		start + "X: a\r\n b\r\n":                                      whyFold,
		start + "X: a\n":                                              whyBareLF,
	}
}

func TestResponseRefused(t *testing.T) {
	for head, want := range brokenAnswers() {
		var r Response
		n, err := r.Parse([]byte(head+"\r\n"), "GET", Limits{})
		var bad *Error
		if !errors.As(err, &bad) || bad.Reason != want || bad.Status != 502 || n != 0 {
			t.Errorf("Parse(%q) = %d, %v, want %q", head, n, err, want)
		}
	}
}
