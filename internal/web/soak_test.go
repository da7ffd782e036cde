package web

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// follower follows a page over the network, and comes back when it is cut off.
type follower struct {
	addr, path, token string

	opened atomic.Int64 // streams
	beats  atomic.Int64 // signs of life
	shown  atomic.Value // the newest version that it read of, a string
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		f.once(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // as a browser waits
		}
	}
}

// once follows until the connection ends.
func (f *follower) once(ctx context.Context) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.addr)
	if err != nil {
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n", f.path, f.addr, f.token); err != nil {
		return
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		switch text := lines.Text(); {
		case strings.HasPrefix(text, "HTTP/1.1 200"):
			f.opened.Add(1)
		case text == "event: beat":
			f.beats.Add(1)
		default:
			for _, version := range []string{"v0.2-crowd", "v0.3-crowd"} {
				if strings.Contains(text, version) && version > f.shown.Load().(string) {
					f.shown.Store(version)
				}
			}
		}
	}
}

// goroutinesIn counts the goroutines that are within a function.
func goroutinesIn(function string) int {
	buf := make([]byte, 64<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), function+"(")
}

// Two hundred people follow pages while things are deployed and the server is started
// again: each is shown what is new, none is forgotten, and when they are gone nothing
// of them is left.
func TestCrowd(t *testing.T) {
	h := build(t).project(harborYAML).run()
	h.settled(h.submit(control.Submission{Service: "cart", Version: "v0.1-crowd", Bundle: h.bundle("cart v0.1-crowd"), Env: "staging"}))
	h.every = 500 * time.Millisecond
	s := h.serve()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	paths := []string{"/", "/services", "/services/cart", "/changes"}
	var all sync.WaitGroup
	var crowd []*follower
	for i := range 200 {
		name := fmt.Sprint("person-", i%4)
		f := &follower{addr: s.addr, path: paths[i/4%len(paths)], token: h.token(name, []delivery.Access{delivery.Reader, delivery.Deployer}[i%2])}
		f.shown.Store("")
		crowd = append(crowd, f)
		all.Go(func() { f.run(ctx) })
	}
	every := func(what string, is func(*follower) bool) {
		t.Helper()
		h.eventually("each "+what, func() bool {
			for _, f := range crowd {
				if !is(f) {
					return false
				}
			}
			return true
		}, func() string {
			var not []string
			for _, f := range crowd {
				if !is(f) {
					not = append(not, f.path)
				}
			}
			return fmt.Sprintf("%d not, at %s", len(not), slices.Compact(not))
		})
	}
	every("follows", func(f *follower) bool { return f.opened.Load() > 0 })
	streams := func() int { return goroutinesIn("web.(*Web).follow") }
	if n := streams(); n != len(crowd) {
		t.Errorf("%d streams are open, want %d", n, len(crowd))
	}
	for _, version := range []string{"v0.2-crowd", "v0.3-crowd"} {
		if version == "v0.3-crowd" {
			s.stop()
			h.eventually("no stream outlives the server", func() bool { return streams() == 0 }, func() string { return fmt.Sprint(streams()) })
			s.start()
		}
		h.settled(h.submit(control.Submission{Service: "cart", Version: version, Bundle: h.bundle("cart " + version), Env: "staging"}))
		every("is shown "+version, func(f *follower) bool { return f.shown.Load() == version })
		heard, opened := map[*follower]int64{}, map[*follower]int64{}
		for _, f := range crowd {
			heard[f], opened[f] = f.beats.Load(), f.opened.Load()
		}
		every("goes on to hear of the page", func(f *follower) bool { return f.beats.Load() >= heard[f]+3 })
		for f, n := range opened {
			if f.opened.Load() != n {
				t.Errorf("%s is cut off while the server is up", f.path)
			}
		}
	}
	leave()
	all.Wait()
	left := func() int { return streams() + goroutinesIn("net/http.(*conn).serve") }
	h.eventually("nothing is left of them", func() bool { return left() == 0 }, func() string { return fmt.Sprint(left(), " goroutines") })
}
