package proxy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// verbatim is an instance that keeps the heads it gets, byte for byte, reads their
// bodies, and gives each the answer.
func verbatim(t *testing.T, answer string) (traffic.Pool, chan string) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	heads := make(chan string, 100)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				for in := bufio.NewReader(c); ; {
					head, length := "", int64(0)
					for !strings.HasSuffix(head, "\r\n\r\n") {
						line, err := in.ReadString('\n')
						if err != nil {
							return
						}
						head += line
						_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
					}
					if _, err := io.CopyN(io.Discard, in, length); err != nil {
						return
					}
					heads <- head
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	p := traffictest.Share(&traffictest.Instance{ID: "1.0", Addr: ln.Addr().String(), Version: "v1"}, 10000)
	p.Release, p.Check = "r1", traffic.Check{}
	return p, heads
}

// Whatever path a request takes, and however its body is sent, an instance is
// told the same: each line once, its length too, and nothing of the connection.
func TestRequestHeadsAreTheSameOnEveryWay(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]delivery.DataPlane{"raw": {}, "full": {FullOnly: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world(t)
			w.Plane = words
			w.Plane.Trusted = []string{} // nobody
			p, heads := verbatim(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			one(w, p)
			for _, c := range []struct {
				method string
				size   int
				length string
			}{
				{http.MethodGet, 0, ""},
				{http.MethodPost, 0, "0"},
				{http.MethodPut, 5, "5"},
				{http.MethodPost, 200_000, "200000"}, // too long to be kept whole
			} {
				r := request(t, c.method, "http://"+w.Addr+"/a%2Fb/%7Ec?q=1&r=%20", strings.NewReader(strings.Repeat("x", c.size)))
				if c.method == http.MethodGet {
					r = request(t, c.method, "http://"+w.Addr+"/a%2Fb/%7Ec?q=1&r=%20", nil)
				}
				r.Host = "shop.example"
				r.Header = http.Header{
					"Connection": {"X-Hop"}, "X-Hop": {"1"}, "Keep-Alive": {"9"}, "Proxy-Authorization": {"x"}, "User-Agent": {"me"},
					"Slipway-Key": {"mine"}, "Slipway-Cohort": {"none"}, "X-Real-Ip": {"6.6.6.6"}, "Cookie": {"a=b"}, "X-Keep": {"1", "2"},
					"Accept-Encoding": {"gzip"},
				}
				if _, err := io.Copy(io.Discard, do(t, r).Body); err != nil {
					t.Fatal(err)
				}
				lines := strings.Split(strings.TrimSuffix(<-heads, "\r\n\r\n"), "\r\n")
				if want := c.method + " /a%2Fb/%7Ec?q=1&r=%20 HTTP/1.1"; lines[0] != want {
					t.Errorf("line %q, want %q", lines[0], want)
				}
				var names []string
				for _, line := range lines[1:] {
					names = append(names, line[:strings.IndexByte(line, ':')])
				}
				slices.Sort(names)
				want := []string{
					"Accept-Encoding", "Baggage", "Cookie", "Forwarded", "Host", "Slipway-Key", "Traceparent", "User-Agent",
					"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Keep", "X-Keep",
				}
				if c.length != "" {
					want = append(want, "Content-Length")
					slices.Sort(want)
					if !slices.Contains(lines, "Content-Length: "+c.length) {
						t.Errorf("%s of %d bytes: %q, want Content-Length %s", c.method, c.size, lines, c.length)
					}
				}
				if !slices.Equal(names, want) {
					t.Errorf("%s of %d bytes: the instance got %q, want %q", c.method, c.size, names, want)
				}
			}
		})
	}
}

// An answer's lines reach the caller as they are, more than one of a name and
// ours beside them, and nothing of the instance's connection does.
func TestAnswerHeadsAreTheSameOnEveryWay(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]delivery.DataPlane{"raw": {}, "full": {FullOnly: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := world(t)
			w.Plane = words
			w.Plane.Trusted = []string{} // nobody
			p, _ := verbatim(t, "HTTP/1.1 201 Yes\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nETag: \"x\"\r\nX-Empty:\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"+
				"Date: Mon, 23 Nov 2026 03:00:00 GMT\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\nX-More: 1\r\n\r\n")
			other := backend(t, "2", func(http.ResponseWriter, *http.Request) {})
			p.Weight, other.Weight = 9999, 1 // a split, so that the caller is given a cookie
			one(w, p, other)
			for range 3 {
				res := do(t, request(t, http.MethodGet, "http://"+w.Addr+"/", nil))
				body, err := io.ReadAll(res.Body)
				if err != nil || string(body) != "ok" || res.StatusCode != http.StatusCreated {
					t.Fatalf("%d %q, %v; want 201 \"ok\"", res.StatusCode, body, err)
				}
				var cookies []string
				for _, c := range res.Header["Set-Cookie"] {
					cookies = append(cookies, c[:strings.IndexByte(c, '=')])
				}
				slices.Sort(cookies)
				if !slices.Equal(cookies, []string{"a", "b", "slipway_id"}) {
					t.Errorf("cookies %q, want a, b and slipway_id", cookies)
				}
				if h := res.Header; h.Get("Etag") != `"x"` || h["X-Empty"] == nil || h.Get("Date") != "Mon, 23 Nov 2026 03:00:00 GMT" {
					t.Errorf("the caller got %v, want what the instance said", h)
				}
				for _, name := range []string{"X-Hop", "Keep-Alive", "Content-Type"} {
					if v, there := res.Header[name]; there {
						t.Errorf("the caller got %s: %q", name, v)
					}
				}
				if res.Trailer.Get("X-Sum") != "42" || res.Trailer.Get("X-More") != "1" {
					t.Errorf("trailer = %v, want X-Sum and X-More", res.Trailer)
				}
			}
		})
	}
}
