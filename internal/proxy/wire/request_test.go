package wire

import (
	"bufio"
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
)

const typical = "GET /api/v1/orders/4711?expand=items&lang=de HTTP/1.1\r\n" +
	"Host: shop.example.org\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Language: de,en-US;q=0.7,en;q=0.3\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Referer: https://shop.example.org/api/v1/orders\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n" +
	"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n" +
	"Sec-Fetch-Dest: document\r\n" +
	"Cache-Control: no-cache\r\n" +
	"X-Request-Id: 7f1d3a9c\r\n" +
	"Connection: keep-alive\r\n\r\n"

func TestRequest(t *testing.T) {
	var r Request
	n, err := r.Parse([]byte(typical+"GET"), Limits{})
	if n != len(typical) || err != nil {
		t.Fatalf("Parse = %d, %v, want %d", n, err, len(typical))
	}
	if string(r.Method) != "GET" || string(r.Path) != "/api/v1/orders/4711" || string(r.Query) != "expand=items&lang=de" ||
		string(r.Host) != "shop.example.org" || r.Minor != 1 || r.Length != 0 || r.Close || r.Unusual != 0 || r.Escaped || len(r.Fields) != 12 {
		t.Errorf("Parse read %+v", r)
	}
	if got := r.First(KindCookie); string(got) != "session=0123456789abcdef0123456789abcdef; theme=dark" {
		t.Errorf("First(KindCookie) = %q", got)
	}
	if got, found := r.Lookup("x-request-id"); string(got) != "7f1d3a9c" || !found {
		t.Errorf("Lookup(x-request-id) = %q, %v", got, found)
	}
	if got, found := r.Lookup("x-request"); found {
		t.Errorf("Lookup(x-request) = %q", got)
	}
	if last := r.Fields[11]; last.Kind != KindConnection || !last.Kind.HopByHop() {
		t.Errorf("the last field is %+v", last)
	}
}

// telling are requests, and what to find in them.
func telling() map[string]told {
	const host = "Host: a\r\n"
	return map[string]told{
		"lead":      {"\r\n\r\nGET / HTTP/1.1\r\n" + host, func(r *Request) bool { return r.Lead == 4 && string(r.Method) == "GET" }},
		"counted":   {"POST / HTTP/1.1\r\n" + host + "Content-Length: 0012\r\n", func(r *Request) bool { return r.Length == 12 }},
		"largest":   {"POST / HTTP/1.1\r\n" + host + "content-length: 9223372036854775807\r\n", func(r *Request) bool { return r.Length == 1<<63-1 }},
		"chunked":   {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: CHUNKED\r\n", func(r *Request) bool { return r.Length == Chunked }},
		"close":     {"GET / HTTP/1.1\r\n" + host + "Connection: foo ,, Close\r\n", func(r *Request) bool { return r.Close }},
		"old":       {"GET / HTTP/1.0\r\n", func(r *Request) bool { return r.Close && r.Unusual == OldVersion|NoHost && r.Minor == 0 }},
		"old, kept": {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n" + host, func(r *Request) bool { return !r.Close && r.Unusual == OldVersion }},
		"absolute": {"GET HTTP://b:80/x?y HTTP/1.1\r\n" + host, func(r *Request) bool {
			return string(r.Host) == "b:80" && string(r.Path) == "/x" && string(r.Query) == "y" && r.Unusual == AbsoluteForm
		}},
		"absolute, no path": {"GET https://b?y HTTP/1.1\r\n" + host, func(r *Request) bool { return string(r.Host) == "b" && string(r.Path) == "/" && string(r.Query) == "y" }},
		"connect": {"CONNECT b:80 HTTP/1.1\r\n" + host, func(r *Request) bool {
			return string(r.Host) == "b:80" && r.Unusual == AuthorityForm && len(r.Path) == 0
		}},
		"asterisk":      {"OPTIONS * HTTP/1.1\r\n" + host, func(r *Request) bool { return string(r.Path) == "*" && r.Unusual == AsteriskForm }},
		"no host":       {"GET / HTTP/1.1\r\nHost:\r\n", func(r *Request) bool { return len(r.Host) == 0 && r.Unusual == NoHost }},
		"address":       {"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n", func(r *Request) bool { return string(r.Host) == "[::1]:8080" }},
		"empty query":   {"GET /? HTTP/1.1\r\n" + host, func(r *Request) bool { return string(r.Path) == "/" && r.Query != nil && len(r.Query) == 0 }},
		"two marks":     {"GET /?a?b HTTP/1.1\r\n" + host, func(r *Request) bool { return string(r.Query) == "a?b" }},
		"slashes":       {"GET //b/c HTTP/1.1\r\n" + host, func(r *Request) bool { return string(r.Path) == "//b/c" && string(r.Host) == "a" }},
		"escaped":       {"GET /%41%2f%c3%BC/z HTTP/1.1\r\n" + host, func(r *Request) bool { return r.Escaped && string(r.AppendPath(nil)) == "/A/ü/z" }},
		"raw":           {"GET /ü HTTP/1.1\r\n" + host, func(r *Request) bool { return r.Unusual == RawTarget }},
		"expect":        {"PUT / HTTP/1.1\r\n" + host + "Expect: 100-continue\r\n", func(r *Request) bool { return r.Unusual == Expects }},
		"expect, named": {"PUT / HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nConnection: expect\r\n", func(r *Request) bool { return r.Unusual == Expects }},
		"upgrade":       {"GET / HTTP/1.1\r\n" + host + "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n", func(r *Request) bool { return r.Unusual == Upgrades }},
		"no upgrade":    {"GET / HTTP/1.1\r\n" + host + "Upgrade: h2c\r\n", func(r *Request) bool { return r.Unusual == 0 && r.Fields[1].Kind.HopByHop() }},
		"te":            {"GET / HTTP/1.1\r\n" + host + "TE: trailers\r\n", func(r *Request) bool { return r.Unusual == WantsTrailers }},
		"trailer":       {"GET / HTTP/1.1\r\n" + host + "Trailer: x\r\n", func(r *Request) bool { return r.Unusual == HasTrailers }},
		"spaces":        {"GET / HTTP/1.1\r\n" + host + "X:\t a \tb \t \r\nY:\r\n", func(r *Request) bool { return string(r.Fields[1].Value) == "a \tb" && len(r.Fields[2].Value) == 0 }},
		"named": {"GET / HTTP/1.1\r\n" + host + "X-A: 1\r\nCookie: c\r\nContent-Length: 3\r\nConnection: x-a, cookie , Host, content-length\r\n", func(r *Request) bool {
			return r.Fields[1].Kind == KindNamed && r.Fields[2].Kind == KindNamed && r.First(KindCookie) == nil && string(r.Host) == "a" && r.Length == 3 && r.Fields[3].Kind == KindContentLength
		}},
	}
}

type told struct {
	head string
	ok   func(*Request) bool
}

func TestRequestSays(t *testing.T) {
	for name, c := range telling() {
		var r Request
		head := c.head + "\r\n"
		n, err := r.Parse([]byte(head), Limits{})
		if n != len(head) || err != nil {
			t.Errorf("%s: Parse = %d, %v, want %d", name, n, err, len(head))
		} else if !c.ok(&r) {
			t.Errorf("%s: Parse read %+v", name, r)
		}
	}
}

// broken are requests, and why they are refused.
func broken() map[string]string {
	const line, host = "GET / HTTP/1.1\r\n", "Host: a\r\n"
	const start = line + host
	return map[string]string{
		"GET / HTTP/1.1\n" + host:     whyBareLF,
		line + "Host: a\n":            whyBareLF,
		start + "\n":                  whyBareLF,
		start + "X\n":                 whyBareLF,
		"GET / HTTP/1.1\rX":           whyBareCR,
		line + "Host: a\rX: y\r\n":    whyBareCR,
		start + "X: a\r\r\n":          whyBareCR,
		start + "\rX":                 whyBareCR,
		"\rGET / HTTP/1.1\r\n":        whyBareCR,
		start + "X: a\x00b\r\n":       whyControl,
		start + "X: a\x7fb\r\n":       whyControl,
		start + "X: abcdefgh\x1f\r\n": whyControl,
		start + "X: a\r\n b\r\n":      whyFold,
		line + " Host: a\r\n":         whyFold,
		start + "\tX: a\r\n":          whyFold,
		start + "X : a\r\n":           whySpaceColon,
		start + "X Y: a\r\n":          whySpaceColon,
		start + ": a\r\n":             whyName,
		start + "X\x00: a\r\n":        whyName,
		start + "(: a\r\n":            whyName,
		start + "X\x80: a\r\n":        whyName,
		start + "X\r\n":               whyNoColon,
		start + "Content-Length: 1\r\nContent-Length: 1\r\n":                   whyLengthTwice,
		start + "Content-Length: 1\r\ncontent-length: 2\r\n":                   whyLengthTwice,
		start + "Content-Length: 5, 5\r\n":                                     whyLengthNumber,
		start + "Content-Length: +5\r\n":                                       whyLengthNumber,
		start + "Content-Length: -5\r\n":                                       whyLengthNumber,
		start + "Content-Length: 0x5\r\n":                                      whyLengthNumber,
		start + "Content-Length: 5 5\r\n":                                      whyLengthNumber,
		start + "Content-Length:\r\n":                                          whyLengthNumber,
		start + "Content-Length: 9223372036854775808\r\n":                      whyLengthNumber,
		start + "Content-Length: 00000000000000000001\r\n":                     whyLengthNumber,
		start + "Content-Length: ٣\r\n":                                        whyLengthNumber,
		start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n": whyCodingTwice,
		start + "Transfer-Encoding: gzip, chunked\r\n":                         whyCoding,
		start + "Transfer-Encoding: chunked, chunked\r\n":                      whyCoding,
		start + "Transfer-Encoding: chunked;q=1\r\n":                           whyCoding,
		start + "Transfer-Encoding: \"chunked\"\r\n":                           whyCoding,
		start + "Transfer-Encoding: identity\r\n":                              whyCoding,
		start + "Transfer-Encoding:\r\n":                                       whyCoding,
		start + "Transfer-Encoding: \x0bchunked\r\n":                           whyControl,
		start + "Transfer-Encoding: xchunked\r\n":                              whyCoding,
		"POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n":        whyCodingOld,
		start + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n":          whyBothLengths,
		start + "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n":          whyBothLengths,
		start + "Connection: " + strings.Repeat("a,", 40) + "\r\n":             whyManyOptions,
		" GET / HTTP/1.1\r\n":                                                  whyMethod,
		"\r\n\r\n\r\nGET / HTTP/1.1\r\n":                                       whyMethod,
		"\nGET / HTTP/1.1\r\n":                                                 whyMethod,
		"\x16\x03\x01":                                                         whyMethod,
		"GET\t/ HTTP/1.1\r\n":                                                  whyMethod,
		"GE(T / HTTP/1.1\r\n":                                                  whyMethod,
		"GET\r\n":                                                              whyMethod,
		"GET  / HTTP/1.1\r\n":                                                  whyTarget,
		"GET /\x01 HTTP/1.1\r\n":                                               whyTarget,
		"GET /a\tb HTTP/1.1\r\n":                                               whyTarget,
		"GET /a b HTTP/1.1\r\n":                                                whyVersion,
		"GET /#f HTTP/1.1\r\n":                                                 whyFragment,
		"GET /% HTTP/1.1\r\n":                                                  whyEscape,
		"GET /%4 HTTP/1.1\r\n":                                                 whyEscape,
		"GET /%g0 HTTP/1.1\r\n":                                                whyEscape,
		"GET a HTTP/1.1\r\n":                                                   whyForm,
		"GET ?a HTTP/1.1\r\n":                                                  whyForm,
		"GET a:80 HTTP/1.1\r\n":                                                whyForm,
		"GET ftp://a/ HTTP/1.1\r\n":                                            whyForm,
		"OPTIONS *a HTTP/1.1\r\n":                                              whyForm,
		"GET * HTTP/1.1\r\n":                                                   whyAsterisk,
		"GET http:/// HTTP/1.1\r\n":                                            whyHost,
		"GET http://u@a/ HTTP/1.1\r\n":                                         whyHost,
		"GET http://a:b/ HTTP/1.1\r\n":                                         whyHost,
		"CONNECT / HTTP/1.1\r\n":                                               whyAuthority,
		"CONNECT a HTTP/1.1\r\n":                                               whyAuthority,
		"CONNECT a: HTTP/1.1\r\n":                                              whyAuthority,
		"CONNECT :1 HTTP/1.1\r\n":                                              whyAuthority,
		"CONNECT [::1] HTTP/1.1\r\n":                                           whyAuthority,
		"CONNECT a:1?b HTTP/1.1\r\n":                                           whyAuthority,
		"GET /\r\n":                                                            whyVersionMissing,
		"GET /\n":                                                              whyVersionMissing,
		"GET / HTTP/2.0\r\n":                                                   whyVersion,
		"GET / HTTP/1.2\r\n":                                                   whyVersion,
		"GET / HTTP/1.11\r\n":                                                  whyVersion,
		"GET / http/1.1\r\n":                                                   whyVersion,
		"GET / HTTP/1.1 \r\n":                                                  whyVersion,
		"GET /  HTTP/1.1\r\n":                                                  whyVersion,
		line:                                                                   whyHostMissing,
		line + host + host:                                                     whyHostTwice,
		line + "Host: a, b\r\n":                                                whyHost,
		line + "Host: a b\r\n":                                                 whyHost,
		line + "Host: a/b\r\n":                                                 whyHost,
		line + "Host: u@a\r\n":                                                 whyHost,
		line + "Host: a:b\r\n":                                                 whyHost,
		line + "Host: a:1:2\r\n":                                               whyHost,
		line + "Host: :1\r\n":                                                  whyHost,
		line + "Host: a%41\r\n":                                                whyHost,
		line + "Host: [::1\r\n":                                                whyHost,
		line + "Host: [::1]a\r\n":                                              whyHost,
		line + "Host: [1.2.3.4]\r\n":                                           whyHost,
		line + "Host: [fe80::1%25e]\r\n":                                       whyHost,
	}
}

func TestRequestRefused(t *testing.T) {
	for head, want := range broken() {
		var r Request
		n, err := r.Parse([]byte(head+"\r\n"), Limits{})
		var bad *Error
		if !errors.As(err, &bad) || bad.Reason != want || n != 0 {
			t.Errorf("Parse(%q) = %d, %v, want %q", head, n, err, want)
		}
	}
}

func TestRequestLimits(t *testing.T) {
	const line = "GET / HTTP/1.1\r\nHost: a\r\n"
	many := line + strings.Repeat("X: y\r\n", 99) + "\r\n"
	for _, c := range []struct {
		head   string
		limit  Limits
		status int
	}{
		{line + "\r\n", Limits{Head: len(line) + 2}, 0},
		{line + "\r\n", Limits{Head: len(line) + 1}, 431},
		{line + "\r", Limits{Head: len(line) + 1}, 431},
		{line + "X: " + strings.Repeat("y", 70_000), Limits{}, 431},
		{"GET /" + strings.Repeat("y", 70_000), Limits{}, 414},
		{many, Limits{}, 0},
		{many, Limits{Fields: 99}, 431},
	} {
		var r Request
		n, err := r.Parse([]byte(c.head), c.limit)
		var bad *Error
		if c.status == 0 && (n != len(c.head) || err != nil) || c.status != 0 && (!errors.As(err, &bad) || bad.Status != c.status) {
			t.Errorf("Parse(%.40q, %+v) = %d, %v, want status %d", c.head, c.limit, n, err, c.status)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	head, answer := []byte(typical), []byte(typicalAnswer)
	var r Request
	var a Response
	var path []byte
	if n := testing.AllocsPerRun(100, func() {
		_, _ = r.Parse(head, Limits{})
		path = r.AppendPath(path[:0])
		_, _ = a.Parse(answer, "GET", Limits{})
	}); n != 0 {
		t.Errorf("heads allocate %v times, want 0", n)
	}
}

func BenchmarkRequest(b *testing.B) {
	head := []byte(typical)
	b.Run("wire", func(b *testing.B) {
		var r Request
		b.ReportAllocs()
		for b.Loop() {
			if n, err := r.Parse(head, Limits{}); n != len(head) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("net-http", func(b *testing.B) {
		b.ReportAllocs()
		src := bytes.NewReader(head)
		buf := bufio.NewReader(src)
		for b.Loop() {
			src.Reset(head)
			buf.Reset(src)
			if _, err := http.ReadRequest(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}
