package proxy

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/door"
	"github.com/slipway-cd/slipway/internal/proxy/upstream"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// guestOfTest lets one connection in, and returns it and the caller's end of it.
func guestOfTest(t *testing.T) (*door.Guest, net.Conn) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	guests := make(chan *door.Guest, 1)
	served := make(chan error, 1)
	go func() {
		served <- door.New(10, quiet).Door(10, quiet).Serve(t.Context(), ln, func(g *door.Guest) { guests <- g })
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-served
	})
	var d net.Dialer
	caller, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caller.Close() })
	return <-guests, caller
}

// A mistake in a request ends its account: no claim, no admission and no ticket is
// left behind.
func TestRawMistakeLeavesNothingBehind(t *testing.T) {
	g, far := guestOfTest(t)
	e := newEngine(Options{Log: quiet}, "boot", 1000)
	p := endpointOf("a")
	c := newRawConn(&front{engine: e}, g)
	s := e.counts.of(&traffic.Route{Name: "r"}, &traffic.Pool{Release: "r1"}, "")
	func() {
		defer c.survive()
		c.x = passage{e: e}
		if why := c.x.admit(); why != nil || !p.claim(0) {
			t.Error("not let in")
		}
		c.held, c.x.ticket = p, s.begin(time.Now(), &draw{gen: 1}, caller{key: "k"})
		panic("a mistake")
	}()
	if n := e.carried.Load(); n != 0 {
		t.Errorf("%d requests are carried", n)
	}
	if n := p.inFlight(); n != 0 {
		t.Errorf("%d claims are left", n)
	}
	if sum, _, _ := s.sums(); sum.Requests != 1 || sum.Unfinished != 0 || sum.Cancelled != 1 {
		t.Errorf("counted as %+v", sum)
	}
	_ = far.SetReadDeadline(time.Now().Add(20 * time.Second))
	if b, err := io.ReadAll(far); err != nil || len(b) > 0 {
		t.Errorf("the caller got %q, %v, want the end", b, err)
	}
}

// rawOfTest is a connection on the raw path of a front that knows no route, and the
// caller's end of it.
func rawOfTest(t *testing.T) (*rawConn, net.Conn) {
	t.Helper()
	g, far := guestOfTest(t)
	_ = far.SetDeadline(time.Now().Add(30 * time.Second))
	f := &front{engine: newEngine(Options{Log: quiet}, "boot", 1000)}
	f.last.Store(&traffic.Listener{Name: "l"})
	return newRawConn(f, g), far
}

// A request that came before its connection was ended as one that has none is
// answered; without one, and behind a cut, it ends.
func TestRawRequestOvertakesTheEnd(t *testing.T) {
	t.Parallel()
	const get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	for name, tc := range map[string]struct {
		sent string
		end  func(*rawConn)
		want string
	}{
		"woken":               {get, (*rawConn).wake, "HTTP/1.1 404 Not Found\r\n"},
		"woken with nothing":  {"", (*rawConn).wake, ""},
		"woken inside a head": {get[:9], (*rawConn).wake, ""},
		"cut":                 {get, (*rawConn).cut, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, far := rawOfTest(t)
			if _, err := io.WriteString(far, tc.sent); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(30 * time.Second); tc.sent != "" && time.Now().Before(deadline); <-time.After(time.Millisecond) {
				if n, _ := glance(c.tcp); n > 0 {
					break
				}
			}
			tc.end(c)
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.serve(t.Context())
			}()
			if tc.sent == get[:9] { // is read, and ends when it does not go on
				for deadline := time.Now().Add(30 * time.Second); rawPhase(c.phase.Load()) != rawHead && time.Now().Before(deadline); {
					<-time.After(time.Millisecond)
				}
				c.wake()
			}
			b, _ := io.ReadAll(far)
			if line, _, _ := strings.Cut(string(b), "Content-Type"); line != tc.want {
				t.Errorf("the caller got %q, want %q", b, tc.want)
			}
			<-done
		})
	}
}

// A body that is waited for when the front ends is waited for where it is: there
// is no full path any more.
func TestRawBodyOvertakesTheEnd(t *testing.T) {
	t.Parallel()
	c, far := rawOfTest(t)
	c.f.shut = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.serve(t.Context())
	}()
	if _, err := io.WriteString(far, "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); rawPhase(c.phase.Load()) != rawAwaitsBody && time.Now().Before(deadline); {
		<-time.After(time.Millisecond)
	}
	c.wake() // by one who saw it idle
	c.f.leaving.Store(true)
	if _, err := io.WriteString(far, "world"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(far); !strings.HasPrefix(string(b), "HTTP/1.1 404 ") {
		t.Errorf("the caller got %q, %v, want an answer", b, err)
	}
	<-done
}

// An answer that moves is not taken for one that stands still, however it is framed.
func TestRawStreamsThatMoveAreSeenToMove(t *testing.T) {
	piece := strings.Repeat("x", 40<<10)
	for name, talk := range map[string]struct{ head, piece string }{
		"chunked":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "a000\r\n" + piece + "\r\n"},
		"until close": {"HTTP/1.1 200 OK\r\n\r\n", piece},
		"a length":    {"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", piece},
	} {
		t.Run(name, func(t *testing.T) {
			up := upstream.New(upstream.Options{DialTimeout: 20 * time.Second, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
				ours, theirs := tcpPair(ctx, t)
				go func() {
					defer func() { _ = theirs.Close() }()
					_, err := io.WriteString(theirs, talk.head)
					for err == nil {
						_, err = io.WriteString(theirs, talk.piece)
					}
				}()
				return ours, nil
			}})
			conn, err := up.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			res, err := conn.Do(t.Context(), &upstream.Request{Head: []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Method: "GET"})
			if err != nil {
				t.Fatal(err)
			}
			g, far := guestOfTest(t)
			c := newRawConn(&front{engine: newEngine(Options{Log: quiet}, "boot", 1000)}, g)
			c.x.route, c.held = &route{idle: time.Minute}, endpointOf("a")
			go func() { _, _ = io.Copy(io.Discard, far) }()
			passed := make(chan struct{})
			go func() {
				defer close(passed)
				_, _ = c.pass(conn.Body(), res, false)
			}()
			for range 3 {
				c.since.Store(0)
				deadline := time.NewTimer(20 * time.Second)
				tick := time.NewTicker(time.Millisecond)
				for c.since.Load() == 0 {
					select {
					case <-tick.C:
						continue
					case <-deadline.C:
						t.Error("nothing is seen to move")
					}
					break
				}
				tick.Stop()
				deadline.Stop()
			}
			c.cut()
			<-passed
			conn.Discard()
			_ = g.Close()
		})
	}
}

// tcpPair is two ends of one connection.
func tcpPair(ctx context.Context, t *testing.T) (a, b net.Conn) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	var d net.Dialer
	if a, err = d.DialContext(ctx, "tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return a, b
}
