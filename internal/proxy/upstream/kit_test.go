package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// peer is one accepted connection of a server written by hand.
type peer struct {
	net.Conn
	in  *bufio.Reader
	nth int // of the server's connections, from 0 on
}

// head reads a request head, and returns "" at the end of the connection.
func (p *peer) head() string {
	var all strings.Builder
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			return ""
		}
		all.WriteString(line)
		if line == "\r\n" {
			return all.String()
		}
	}
}

func (p *peer) take(n int) string {
	b := make([]byte, n)
	if n, err := io.ReadFull(p.in, b); err != nil {
		return string(b[:n])
	}
	return string(b)
}

// say writes, and does not care whether anybody listens.
func (p *peer) say(what string) { _, _ = io.WriteString(p, what) }

// gone waits until the other side has closed.
func (p *peer) gone() { _, _ = io.Copy(io.Discard, p.in) }

// reset closes with a reset.
func (p *peer) reset() {
	_ = p.Conn.(*net.TCPConn).SetLinger(0)
	_ = p.Close()
}

// half closes the direction to the other side.
func (p *peer) half() { _ = p.Conn.(*net.TCPConn).CloseWrite() }

// serve starts a server that hands each connection to talk and closes it then.
func serve(t testing.TB, talk func(*peer)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	open := map[*peer]bool{}
	all.Go(func() {
		for nth := 0; ; nth++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			p := &peer{Conn: c, in: bufio.NewReader(c), nth: nth}
			mu.Lock()
			open[p] = true
			mu.Unlock()
			all.Go(func() {
				talk(p)
				_ = p.Close()
				mu.Lock()
				delete(open, p)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for p := range open {
			_ = p.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return ln.Addr().String()
}

// within returns a dial to talk without a network, for a bubble in which no time
// passes while anybody has something to do.
func within(talk func(*peer)) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			talk(&peer{Conn: theirs, in: bufio.NewReader(theirs)})
			_ = theirs.Close()
		}()
		return ours, nil
	}
}

// client returns a client that is severed at the end of the test.
func client(t testing.TB, o Options) *Client {
	o.DialTimeout = patience // a busy machine may need more than a second
	c := New(o)
	t.Cleanup(func() {
		c.Sever()
		if all, idle := c.Open(); all != 0 || idle != 0 {
			t.Errorf("after Sever %d connections are open, %d idle", all, idle)
		}
	})
	return c
}

func get(t testing.TB, c *Client) *Conn {
	t.Helper()
	k, err := c.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const getHead = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

func plain(within time.Duration) *Request {
	return &Request{Head: []byte(getHead), Method: "GET", Deadline: time.Now().Add(within)}
}

// round makes one exchange and returns the body.
func round(t testing.TB, k *Conn, r *Request) (status int, body string) {
	t.Helper()
	res, err := k.Do(t.Context(), r)
	if err != nil {
		k.Discard()
		t.Fatalf("Do: %v", err)
	}
	b, err := io.ReadAll(k.Body())
	if err != nil {
		k.Discard()
		t.Fatalf("Read: %v", err)
	}
	return res.Status, string(b)
}

// sent waits until the request of k has gone out whole. Release waits for that too,
// but not for long.
func sent(t testing.TB, k *Conn) {
	t.Helper()
	if k.sender == nil {
		return
	}
	select {
	case <-k.sender.done:
	case <-time.After(patience):
		t.Fatalf("the request has not gone out within %s", patience)
	}
}

// until waits for something to become true.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

// TestMain looks for what the tests left behind.
func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		answerAll()
		return
	}
	goroutines, fds := runtime.NumGoroutine(), descriptors()
	code := m.Run()
	if code == 0 {
		code = leaks(goroutines, fds)
	}
	os.Exit(code)
}

// spare descriptors: the poller's own, and the pipes that splice keeps pooled.
const spare = 24

func leaks(goroutines, fds int) int {
	late := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		g, f := runtime.NumGoroutine(), descriptors()
		if g <= goroutines && f <= fds+spare {
			return 0
		}
		select {
		case <-tick.C:
		case <-late:
			fmt.Fprintf(os.Stderr, "left behind: %d goroutines of %d, %d descriptors of %d\n", g, goroutines, f, fds)
			return 1
		}
	}
}

func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

func connError(t testing.TB, err error) *ConnError {
	t.Helper()
	var broken *ConnError
	if !errors.As(err, &broken) {
		t.Fatalf("the error is %T %v, want *ConnError", err, err)
	}
	return broken
}

// interims notes the statuses of 1xx answers.
func interims(to *strings.Builder) func(*wire.Response) error {
	return func(r *wire.Response) error {
		fmt.Fprintf(to, "%d ", r.Status)
		return nil
	}
}
