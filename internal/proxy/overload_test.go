package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// cpu is the child's CPU time so far: utime and stime of /proc/PID/stat, in
// ticks of 10 ms (proc(5)).
func (c child) cpu(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.Pid))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b)[strings.LastIndexByte(string(b), ')')+1:])
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// Hundreds of callers that dribble their heads are cut when the time for a head
// is up, and meanwhile cost the good ones nothing.
func TestSlowLorisIsCut(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		const drips = 300
		w.Plane.Limits.HeadTime = time.Second
		one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
		ctx, stop := context.WithCancel(t.Context())
		var asked atomic.Int64
		good := hammer(ctx, t, 8, w.Addr, http.MethodPost, func(string, string) { asked.Add(1) })
		var all sync.WaitGroup
		var cut atomic.Int64
		for i := range drips {
			c := open(t, w.Addr)
			all.Go(func() {
				if i%2 == 0 {
					_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\nX-Slow: ")
				}
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
					if _, err := io.Copy(io.Discard, c); !errors.Is(err, os.ErrDeadlineExceeded) {
						cut.Add(1)
					}
				}()
				for {
					select {
					case <-gone:
						return
					default:
					}
					_, _ = c.Write([]byte("G"))
					pause(t.Context(), 100*time.Millisecond)
				}
			})
		}
		all.Wait()
		if n := cut.Load(); n != drips {
			t.Errorf("%d of %d dribblers were cut", n, drips)
		}
		await(t, "the good clients to ask enough to tell", func() bool { return asked.Load() > drips || t.Failed() })
		stop()
		good()
	})
}

// used is how many files the child has open.
func (c child) used(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// limit lets the child have at most that many files open from now on.
func (c child) limit(t *testing.T, files uint64) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Prlimit(c.Pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
		t.Fatal(err)
	}
	l.Cur = min(files, l.Max)
	if err := unix.Prlimit(c.Pid, unix.RLIMIT_NOFILE, &l, nil); err != nil {
		t.Fatal(err)
	}
}

// settled waits until the child opens no more files, and calls meanwhile now and then.
func (c child) settled(t *testing.T, meanwhile func()) int {
	t.Helper()
	last := -1
	await(t, "the files to be open", func() bool {
		meanwhile()
		n := c.used(t)
		same := n == last
		last = n
		pause(t.Context(), 200*time.Millisecond)
		return same
	})
	return last
}

// With more callers than files, whether the data plane knows the limit and keeps
// some for itself or was left with none at all: those who are connected are
// served, others wait, it stays idle meanwhile, and when there is room again
// everybody is served, with nobody doing anything.
func TestFullTableOfFiles(t *testing.T) {
	t.Parallel()
	for _, none := range []bool{false, true} {
		for name, words := range map[string]delivery.DataPlane{"raw": {}, "full": {FullOnly: true}} {
			t.Run(fmt.Sprintf("%s none left %t", name, none), func(t *testing.T) {
				for try := 1; !fullTable(t, words, none); try++ {
					if try == 20 {
						t.Fatal("the machine stood still each time")
					}
				}
			})
		}
	}
}

// When the data plane has no file left for a connection to an instance, that is
// no instance's fault: callers are told whose it is, checks do not fail, and no
// release is charged.
func TestShortageOfOurOwnIsHeldAgainstNobody(t *testing.T) {
	t.Parallel()
	for name, words := range map[string]delivery.DataPlane{"raw": {}, "full": {FullOnly: true}} {
		t.Run(name, func(t *testing.T) {
			const files, asked = 200, 40
			w, plane := childWorld(t, files)
			w.Plane = words
			r1, r2 := traffictest.Share(w.Instance("a", "r1", "v1"), 5000), traffictest.Share(w.Instance("b", "r2", "v2"), 5000)
			r1.Check = traffic.Check{HTTP: "/healthz", Interval: 100 * time.Millisecond, Timeout: 10 * time.Second, Rise: 1000, Fall: 2} // once down it stays down
			r2.Check = r1.Check
			w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop"}, r2, r1)}
			w.MustApply()
			c := &plain{addr: w.Addr}
			defer c.close()
			if code, _, err := c.ask(t.Context(), http.MethodGet, "nowhere", "/", ""); err != nil || code != http.StatusNotFound {
				t.Fatalf("GET nowhere = %d, %v", code, err) // and c is connected now
			}
			plane.limit(t, 0)
			for i := range asked {
				code, body, err := c.ask(t.Context(), http.MethodGet, "shop", "/", fmt.Sprint("user-", i))
				if err != nil || code != http.StatusServiceUnavailable || !strings.Contains(body, "no_resources") {
					t.Fatalf("GET = %d %s, %v, want 503 that says what is short", code, body, err)
				}
			}
			pause(t.Context(), time.Second) // some ten checks
			plane.limit(t, files)
			for _, p := range w.State().Routes[0].Pools {
				if p.Healthy != 1 {
					t.Errorf("%s: %+v, want healthy", p.Release, p.Endpoints)
				}
			}
			for i := range asked {
				if code, body, err := c.ask(t.Context(), http.MethodGet, "shop", "/", fmt.Sprint("user-", i)); err != nil || code != http.StatusOK {
					t.Errorf("GET = %d %s, %v", code, body, err)
				}
			}
			w.AwaitBlocks("all requests", func(all map[traffictest.BlockKey]traffic.Block) bool {
				var sum, ok uint64
				for _, b := range all {
					sum, ok = sum+b.Requests, ok+b.OK
					if b.Connect+b.UnitsBad != 0 {
						t.Errorf("%s is charged: %+v", b.Release, b)
						return true
					}
				}
				return sum == 2*asked && ok == asked
			})
		})
	}
}

// More requests at a time than the plane takes on are shed at once, with the
// time to come again; those inside finish, and then there is room.
func TestOverloadIsShed(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		const inside, more = 20, 200
		w.Plane.Limits.InFlight = inside
		in := w.Instance("a", "r1", "v1")
		one(w, traffictest.Share(in, delivery.Full))
		held := make(chan error, inside)
		for range inside {
			go func() {
				c := &plain{addr: w.Addr}
				defer c.close()
				code, body, err := c.ask(t.Context(), http.MethodGet, "shop", "/hold", "k")
				if err == nil && (code != http.StatusOK || body != "r1") {
					err = fmt.Errorf("answered %d %s", code, body)
				}
				held <- err
			}()
		}
		await(t, "the plane to be full", func() bool { return in.Requests() == inside })
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range more / 8 {
					res, err := http.DefaultTransport.RoundTrip(request(t, http.MethodGet, "http://"+w.Addr+"/", nil))
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
					after, err := strconv.Atoi(res.Header.Get("Retry-After"))
					if res.StatusCode != http.StatusServiceUnavailable || err != nil || after < 1 {
						t.Errorf("one too many is answered %s, Retry-After %q, want 503 and seconds", res.Status, res.Header.Get("Retry-After"))
						return
					}
				}
			})
		}
		all.Wait()
		if n := in.Requests(); n != inside {
			t.Errorf("the instance got %d requests, want %d", n, inside)
		}
		in.Let()
		for range inside {
			if err := <-held; err != nil {
				t.Errorf("a request that was inside: %v", err)
			}
		}
		await(t, "room", func() bool { code, _ := w.Ask("shop", ""); return code == http.StatusOK })
	})
}

// fullTable is one such case. It returns false when the machine stood still for so
// long that the connection that is to be served was idle enough to be closed.
func fullTable(t *testing.T, words delivery.DataPlane, none bool) bool {
	t.Helper()
	const files = 200
	w, plane := childWorld(t, files)
	w.Plane = words
	w.Plane.Limits.HeadTime = time.Minute // nobody is cut while we look
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	there := &plain{addr: w.Addr}
	defer there.close()
	late, last := false, time.Now()
	ask := func(c *plain) {
		t.Helper()
		if c == there {
			if late = late || time.Since(last) > 900*time.Millisecond; late {
				return
			}
			defer func() { last = time.Now() }()
		}
		if code, body, err := c.ask(t.Context(), http.MethodPost, "shop", "/", "k"); err != nil || code != http.StatusOK {
			t.Errorf("POST = %d %q, %v", code, body, err)
		}
	}
	last = time.Now()
	ask(there)
	if none {
		plane.limit(t, 0) // what is open stays open
	}
	var silent []net.Conn
	for i := range 2 * files {
		if i%20 == 0 {
			ask(there) // or its connection to the instance grows too old, and there may be no file for another
		}
		silent = append(silent, open(t, w.Addr))
	}
	t.Logf("%d files are open", plane.settled(t, func() { ask(there) }))
	waits := &plain{addr: w.Addr}
	defer waits.close()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		ask(waits)
	}()
	began, cpu := time.Now(), plane.cpu(t)
	for time.Since(began) < 2*time.Second {
		ask(there)
		pause(t.Context(), 20*time.Millisecond)
	}
	spent, wall := plane.cpu(t)-cpu, time.Since(began)
	t.Logf("%s of CPU in %s while it was full", spent, wall)
	if spent > wall*6/10 { // a loop around accept takes one core whole
		t.Errorf("it was busy for %s of %s while nothing could be done", spent, wall)
	}
	if none {
		plane.limit(t, files)
	}
	// The control socket needs a file too.
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	if s, err := driver.New(filepath.Join(plane.dir, "s")).State(ctx); err != nil || s.PID != plane.Pid {
		t.Errorf("State() = process %d, %v, want %d", s.PID, err, plane.Pid)
	}
	for _, c := range silent {
		_ = c.Close()
	}
	<-answered
	if late {
		return false
	}
	ask(there)
	crowd(t, w.Addr, 200, func(int) string { return "" })
	return !late
}
