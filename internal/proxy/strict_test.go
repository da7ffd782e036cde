package proxy_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// tape is an instance that keeps every byte it gets and says 200 to each piece.
type tape struct {
	mu  sync.Mutex
	all []byte // guarded by mu
}

func (p *tape) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.all)
}

func taped(t *testing.T) (traffic.Pool, *tape) {
	t.Helper()
	kept := &tape{}
	pool := scripted(t, func(c net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			kept.mu.Lock()
			kept.all = append(kept.all, buf[:n]...)
			kept.mu.Unlock()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	return pool, kept
}

// scripted is an instance that does with each connection what talk does.
func scripted(t *testing.T, talk func(net.Conn)) traffic.Pool {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(t.Context(), func() { _ = c.Close() })
			all.Go(func() {
				defer stop()
				defer func() { _ = c.Close() }()
				talk(c)
			})
		}
	})
	p := traffictest.Share(&traffictest.Instance{ID: "a", Release: "r1", Version: "v1", Addr: ln.Addr().String()}, delivery.Full)
	p.Check = traffic.Check{}
	return p
}

// h2Once sends one request of these fields without a body over HTTP/2 and returns
// the first byte of its answer's header block: 0x88 is 200, 0x8c is 400 (RFC 7541, A).
// 0 is a stream that was reset.
func h2Once(t *testing.T, addr string, fields [][2]string) byte {
	t.Helper()
	c := h2Raw(t, addr)
	var block []byte
	for _, f := range fields {
		block = append(append(append(block, 0, byte(len(f[0]))), f[0]...), byte(len(f[1])))
		block = append(block, f[1]...)
	}
	if _, err := c.Write(h2Frame(h2Headers, h2EndHeaders|h2EndStream, 1, block)); err != nil {
		t.Fatal(err)
	}
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatal(err)
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, payload); err != nil {
			t.Fatal(err)
		}
		if binary.BigEndian.Uint32(head[5:]) != 1 {
			continue
		}
		switch head[3] {
		case h2Headers:
			return payload[0]
		case h2Reset:
			return 0
		}
	}
}

// What HTTP/2 may carry and HTTP/1.1 would read in another way is refused, and
// not a byte of it reaches an instance.
func TestHTTP2SmugglesNothing(t *testing.T) {
	t.Parallel()
	w := world(t)
	pool, kept := taped(t)
	one(w, pool)
	plain := func(method, path, host string, more ...[2]string) [][2]string {
		return append([][2]string{{":method", method}, {":scheme", "http"}, {":path", path}, {":authority", host}}, more...)
	}
	for name, fields := range map[string][][2]string{
		"a request line as method":   plain("GET /admin HTTP/1.1", "/", "shop"),
		"a method that is no token":  plain("G(T", "/", "shop"),
		"white space in the host":    plain("GET", "/", "sh op\tx"),
		"a path in the host":         plain("GET", "/", "shop/x"),
		"a user in the host":         plain("GET", "/", "me@shop"),
		"two hosts":                  plain("GET", "/", "shop", [2]string{"host", "evil"}),
		"a host that is none":        {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "ev il"}},
		"a length without a body":    plain("POST", "/", "shop", [2]string{"content-length", "50"}),
		"a length that is no number": plain("POST", "/", "shop", [2]string{"content-length", "+5"}),
		"two lengths":                plain("POST", "/", "shop", [2]string{"content-length", "0"}, [2]string{"content-length", "7"}),
		"the same length twice":      plain("POST", "/", "shop", [2]string{"content-length", "0"}, [2]string{"content-length", "0"}),
		"an opaque path":             plain("GET", "mailto:x", "shop"),
		"an absolute path":           plain("GET", "http://evil/x", "shop"),
		"an asterisk for GET":        plain("GET", "*", "shop"),
		"Transfer-Encoding":          plain("POST", "/", "shop", [2]string{"transfer-encoding", "chunked"}),
	} {
		if got := h2Once(t, w.Addr, fields); got != 0x8c && got != 0 {
			t.Errorf("%s: the answer begins %#x, want 400", name, got)
		}
		if s := kept.String(); s != "" {
			t.Errorf("%s: the instance got %q", name, s)
			return
		}
	}
	for name, fields := range map[string][][2]string{
		"the same host twice": plain("POST", "/", "shop:80", [2]string{"host", "Shop:80"}, [2]string{"content-length", "0"}),
		"only a host":         {{":method", "POST"}, {":scheme", "http"}, {":path", "/"}, {"host", "shop"}, {"content-length", "0"}},
		"an asterisk":         plain("OPTIONS", "*", "shop", [2]string{"content-length", "0"}),
	} {
		before := len(kept.String())
		if got := h2Once(t, w.Addr, fields); got != 0x88 {
			t.Errorf("%s: the answer begins %#x, want 200", name, got)
		}
		head := kept.String()[before:]
		if strings.Count(head, "\r\nHost: ") != 1 || strings.Count(head, "\r\nContent-Length: 0\r\n") != 1 {
			t.Errorf("%s: the instance got %q", name, head)
		}
	}
}

// Each message to an instance has one Host and at most one Content-Length,
// whichever path it takes.
func TestOneLengthAndOneHost(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		pool, kept := taped(t)
		one(w, pool)
		for _, body := range []string{"", "hello", strings.Repeat("x", 30<<10), strings.Repeat("x", 100<<10)} {
			before := len(kept.String())
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+w.Addr+"/", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			head, _, _ := strings.Cut(kept.String()[before:], "\r\n\r\n")
			if strings.Count(head, "\r\nHost: ") != 1 || strings.Count(head, "\r\nContent-Length: ") != 1 {
				t.Errorf("with %d bytes of body: %q", len(body), head)
			}
		}
	})
}

// A connection that asked for a tunnel carries nothing else: what stands behind
// that is not for us.
func TestNothingBehindCONNECT(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		pool, kept := taped(t)
		one(w, pool)
		c := open(t, w.Addr)
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.WriteString(c, "CONNECT shop:80 HTTP/1.1\r\nHost: shop:80\r\n\r\nGET /hidden HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(c)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != http.StatusMethodNotAllowed || !res.Close {
			t.Fatalf("CONNECT = %v, %v, want 405 and the end", res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 || kept.String() != "" {
			t.Errorf("behind it came %q, %v, and the instance got %q", rest, err, kept)
		}
	})
}

// "OPTIONS *" is routed and counted as anything else.
func TestOptionsOfTheServerReachesAnInstance(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		pool, kept := taped(t)
		one(w, pool)
		c := &plain{addr: w.Addr}
		if code, body, err := c.ask(t.Context(), http.MethodOptions, "shop", "*", "k"); err != nil || code != http.StatusOK || body != "ok" {
			t.Errorf("OPTIONS * = %d %q, %v", code, body, err)
		}
		if !strings.HasPrefix(kept.String(), "OPTIONS * HTTP/1.1\r\n") {
			t.Errorf("the instance got %q", kept)
		}
	})
}
