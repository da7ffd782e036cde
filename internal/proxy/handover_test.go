package proxy_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// plant starts a data plane of its own process, with an instance behind it.
func plant(t *testing.T, env ...string) (dir string, d *driver.Driver, w *traffictest.World, in *traffictest.Instance) {
	t.Helper()
	dir = shortDir(t)
	process(t, dir, env...)
	d = driver.New(filepath.Join(dir, "s"))
	w = traffictest.NewWorld(t, d)
	in = w.Instance("v1", "r1", "v1")
	one(w, traffictest.Share(in, delivery.Full))
	return dir, d, w, in
}

// Whenever the new process dies before it serves, the old one serves on: no
// client notices, the control API is there, and the next upgrade goes through.
func TestUpgradeWhoseNewProcessDies(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"start", "taken", "ready", "go"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dir, d, w, _ := plant(t, dieAt+"=new:"+step)
			first := w.State().PID
			ctx, stop := context.WithCancel(t.Context())
			wait := hammer(ctx, t, 8, w.Addr, http.MethodPost, func(string, string) {})
			if done, err := d.Upgrade(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "signal: killed") {
				t.Errorf("Upgrade() = %+v, %v, want an error that says how the new process ended", done, err)
			}
			one(w, w.Routes[0].Pools...)
			if s := w.State(); s.PID != first || holder(t, dir) != first {
				t.Errorf("after the failed upgrade process %d answers, %d has the lock, want %d", s.PID, holder(t, dir), first)
			}
			pause(t.Context(), 50*time.Millisecond)
			stop()
			if wait() == 0 {
				t.Error("nobody asked")
			}
		})
	}
}

// When the old process dies after the new one was ready, the new one takes the
// place; when it dies before, nobody has it, and the next start gets it.
func TestUpgradeWhoseOldProcessDies(t *testing.T) {
	t.Parallel()
	for step, survives := range map[string]bool{"estate": false, "given": true, "gone": true} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			dir, d, w, _ := plant(t, dieAt+"=old:"+step)
			first := w.State().PID
			if _, err := d.Upgrade(t.Context(), ""); err == nil {
				t.Fatal("the old process is dead and has answered")
			}
			await(t, "the old process to let go", func() bool { return holder(t, dir) != first })
			if !survives {
				await(t, "the new process to end", func() bool { return holder(t, dir) == 0 })
				process(t, dir)
			}
			await(t, "an answer", func() bool { code, _ := w.Ask("shop", ""); return code == http.StatusOK })
			one(w, w.Routes[0].Pools...)
			s := w.State()
			if s.PID == first || s.PID != holder(t, dir) || s.Predecessor != 0 {
				t.Errorf("State = %+v, lock held by %d, want one new process", s, holder(t, dir))
			}
		})
	}
}

// Connections that wait in the kernel when the old process is killed during the
// hand-over are served by the new one.
func TestUpgradeKeepsWhatNobodyHasAccepted(t *testing.T) {
	t.Parallel()
	frozen := filepath.Join(t.TempDir(), "frozen")
	_, d, w, _ := plant(t, freezeOld+"="+frozen)
	first := w.State().PID
	upgraded := make(chan error, 1)
	go func() {
		_, err := d.Upgrade(t.Context(), "")
		upgraded <- err
	}()
	await(t, "the old process to be frozen", func() bool { _, err := os.Stat(frozen); return err == nil })
	answers := make(chan error, 20)
	for range cap(answers) {
		go func() {
			c := &plain{addr: w.Addr}
			defer c.close()
			code, _, err := c.ask(t.Context(), http.MethodPost, "shop", "/", "")
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("status %d", code)
			}
			answers <- err
		}()
	}
	pause(t.Context(), 100*time.Millisecond) // they connect, and nobody accepts
	_ = syscall.Kill(first, syscall.SIGKILL)
	if err := os.Remove(frozen); err != nil {
		t.Fatal(err)
	}
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Errorf("a connection that waited: %v", err)
		}
	}
	if err := <-upgraded; err == nil {
		t.Error("the old process is dead and has answered")
	}
	if s := w.State(); s.PID == first {
		t.Errorf("State = %+v", s)
	}
}

// A process killed after the hand-over takes only its own requests with it, and
// the new one notices.
func TestOldProcessKilledWhileItDrains(t *testing.T) {
	t.Parallel()
	_, d, w, in := plant(t)
	held := make(chan int, 1)
	go func() { code, _ := w.AskPath("shop", "", "/hold"); held <- code }()
	in.AwaitHeld(t)
	ctx, stop := context.WithCancel(t.Context())
	done, err := d.Upgrade(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if s := w.State(); s.Predecessor != done.OldPID || s.Routes[0].Pools[0].Endpoints[0].InFlight == 0 {
		t.Errorf("State = %+v, want the predecessor and its request", s)
	}
	wait := hammer(ctx, t, 8, w.Addr, http.MethodPost, func(string, string) {})
	if err := syscall.Kill(done.OldPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := <-held; code == http.StatusOK {
		t.Errorf("the request of the killed process = %d", code)
	}
	await(t, "the new process to notice", func() bool { return w.State().Predecessor == 0 })
	one(w, w.Routes[0].Pools...)
	stop()
	if wait() == 0 {
		t.Error("nobody asked")
	}
	w.AwaitBlocks("the lost request to be settled", func(all map[traffictest.BlockKey]traffic.Block) bool {
		var cut, open uint64
		for _, b := range all {
			cut += b.Cancelled
			open += b.Unfinished + b.UnitsOpen
		}
		return cut == 1 && open == 0
	})
}

// What the old process still carries is in the new one's state; a table that is
// acknowledged is in force for it too; and its counts are counted on.
func TestTwoProcessesAreOneToTheServer(t *testing.T) {
	t.Parallel()
	dir, d, w, v1 := plant(t)
	v2 := w.Instance("v2", "r2", "v2")
	for range 20 {
		w.Get("shop", "")
	}
	boot := bootOf(t, d)
	held := make(chan string, 1)
	go func() { _, body := w.AskPath("shop", "", "/hold"); held <- body }()
	v1.AwaitHeld(t)
	// A kept connection of the old process, which goes on being served by it.
	kept := &plain{addr: w.Addr}
	defer kept.close()
	if code, _, err := kept.ask(t.Context(), http.MethodGet, "shop", "/", ""); err != nil || code != http.StatusOK {
		t.Fatal(code, err)
	}
	done, err := d.Upgrade(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	one(w, traffictest.Share(v2, delivery.Full)) // acknowledged
	sent, began := uint64(23), time.Now()
	if code, body, err := kept.ask(t.Context(), http.MethodGet, "shop", "/", ""); err != nil && kept.slept(began) {
		sent--
	} else if err != nil || code != http.StatusOK || body != "r2" || kept.conn != nil {
		t.Errorf("on a connection of the old process = %d %q, %v, kept %v; want the new table and an end in good order", code, body, err, kept.conn != nil)
	}
	s := w.State()
	if s.PID != done.PID || s.Predecessor != done.OldPID || len(s.Draining) != 1 || s.Draining[0].ID != "v1" || s.Draining[0].InFlight != 1 {
		t.Errorf("State = %+v, want v1 draining with its one request in process %d", s, done.OldPID)
	}
	if _, err := os.Stat(filepath.Join(dir, "s")); err != nil {
		t.Error(err)
	}
	v1.Let()
	if body := <-held; body != "r1" {
		t.Errorf("the request in flight = %q", body)
	}
	await(t, "the old process to end", func() bool { return w.State().Predecessor == 0 })
	if n := len(w.State().Draining); n != 0 {
		t.Errorf("%d endpoints drain at the end", n)
	}
	w.AwaitBlocks("every request of both", func(all map[traffictest.BlockKey]traffic.Block) bool {
		var ok, requests, open uint64
		for _, b := range all {
			ok += b.OK
			requests += b.Requests
			open += b.Unfinished
		}
		return requests == sent && ok == sent && open == 0
	})
	if again := bootOf(t, d); again != boot {
		t.Errorf("boot %s became %s: the server would throw its counts away", boot, again)
	}
}

func bootOf(t *testing.T, d *driver.Driver) (boot string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	_ = d.Watch(ctx, 0, func(f traffic.Frame) { boot = f.Boot; stop() })
	return boot
}

// A binary that is none, is not there or does not speak is refused, and says so.
func TestUpgradeToNonsense(t *testing.T) {
	t.Parallel()
	dir, d, w, _ := plant(t)
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 7\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "nothing"): "no such file",
		filepath.Join(dir, "state"):   "permission denied",
		script:                        "exit status 7",
	} {
		_, err := d.Upgrade(t.Context(), path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "serves on") {
			t.Errorf("Upgrade(%s) = %v, want %q", path, err, want)
		}
	}
	one(w, w.Routes[0].Pools...)
	if got := w.Get("shop", ""); got != "r1" {
		t.Errorf("answered by %q", got)
	}
}

// A second upgrade waits until the first one's old process has gone; one that is
// told to stop waiting says for whom it waited.
func TestUpgradeWaitsForThePredecessor(t *testing.T) {
	t.Parallel()
	_, d, w, in := plant(t)
	held := make(chan int, 1)
	go func() { code, _ := w.AskPath("shop", "", "/hold"); held <- code }()
	in.AwaitHeld(t)
	first, err := d.Upgrade(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer stop()
	if _, err := d.Upgrade(ctx, ""); err == nil {
		t.Fatal("a second upgrade did not wait")
	}
	if s := w.State(); s.PID != first.PID {
		t.Errorf("process %d serves, want %d", s.PID, first.PID)
	}
	in.Let()
	second, err := d.Upgrade(t.Context(), "")
	if err != nil || second.OldPID != first.PID {
		t.Errorf("Upgrade() = %+v, %v, want the place of %d", second, err, first.PID)
	}
	if code := <-held; code != http.StatusOK {
		t.Errorf("the first process's request = %d", code)
	}
}

// T8: a table torn on disk under a running data plane does not reach its
// successor, nor does the one before it.
func TestCaseT8_TornTableIsMendedAtTheHandOver(t *testing.T) {
	t.Parallel()
	dir, d, w, in := plant(t)
	one(w, traffictest.Share(in, delivery.Full))
	for _, torn := range []string{"", "slipway-table 1 sha256:00\n{}", "slipway-table 9 sha256:00\n{}"} {
		if err := os.WriteFile(filepath.Join(dir, "state", "table"), []byte(torn), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Upgrade(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if s := w.State(); s.Generation != w.Generation {
			t.Errorf("after a torn table State has generation %d, want %d", s.Generation, w.Generation)
		}
		if got := w.Get("shop", ""); got != "r1" {
			t.Errorf("answered by %q", got)
		}
	}
}

// T7: SIGTERM with a request in flight and a WebSocket open, and a start right
// after: the request finishes, and the gap is the start alone.
func TestCaseT7_TerminatedFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	dir, _, w, in := plant(t, graceIs+"=30s") // the test may stand still
	held := make(chan string, 1)
	go func() { _, body := w.AskPath("shop", "", "/hold"); held <- body }()
	in.AwaitHeld(t)
	pid, began := holder(t, dir), time.Now()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// It goes on accepting for a moment, so that nobody is refused who connected in time.
	c := &plain{addr: w.Addr}
	defer c.close()
	await(t, "answers to say that connections close", func() bool {
		code, _, err := c.ask(t.Context(), http.MethodGet, "shop", "/", "")
		if err != nil {
			c.close()
			return time.Since(began) > time.Second // too late to be told
		}
		return code == http.StatusOK && c.conn == nil
	})
	in.Let()
	if body := <-held; body != "r1" {
		t.Errorf("the request in flight = %q, want its answer", body)
	}
	await(t, "the process to end", func() bool { return holder(t, dir) == 0 })
	process(t, dir)
	if got := w.Get("shop", ""); got != "r1" {
		t.Errorf("after the start answered by %q", got)
	}
}

// T12: saving tables and upgrading leaks no file descriptor.
func TestCaseT12_NoDescriptorLeaks(t *testing.T) {
	t.Parallel()
	dir, d, w, _ := plant(t)
	open := func() int {
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", holder(t, dir)))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	save := func() {
		for range 100 {
			w.Generation++
			if err := d.Apply(t.Context(), w.Table()); err != nil {
				t.Fatal(err)
			}
		}
	}
	save()
	before := open()
	save()
	// Checks and control connections come and go: wait for the low-water mark.
	await(t, "no more descriptors than before 100 saves", func() bool { return open() <= before })
	for range 3 {
		if _, err := d.Upgrade(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the last predecessor to go", func() bool { return w.State().Predecessor == 0 })
	await(t, "no more descriptors than before three upgrades", func() bool { return open() <= before+1 })
}

// A failed request of the old process is shown by the new one.
func TestFailuresOfTheOldProcessAreShown(t *testing.T) {
	t.Parallel()
	_, d, w, _ := plant(t)
	let := make(chan struct{})
	bad := backend(t, "2", func(rw http.ResponseWriter, r *http.Request) {
		select {
		case <-let:
		case <-r.Context().Done():
		}
		rw.WriteHeader(http.StatusTeapot + 100) // 518
	})
	one(w, bad)
	done := make(chan int, 1)
	go func() { code, _ := w.AskPath("shop", "", "/late"); done <- code }()
	await(t, "the request to be in flight", func() bool { return w.State().Routes[0].Pools[0].Endpoints[0].InFlight == 1 })
	if _, err := d.Upgrade(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	seen := 0
	close(let)
	_ = d.Watch(ctx, 0, func(f traffic.Frame) {
		for _, s := range f.Failed {
			if s.Path == "/late" && s.Status == 518 {
				seen++
				stop()
			}
		}
	})
	if code := <-done; code != 518 || seen != 1 {
		t.Errorf("answer %d, shown %d times", code, seen)
	}
}

// After the hand-over a request that waits for its answer has its own time; an
// answer that streams and a WebSocket have PlaneLimits.Streams.
func TestOldProcessCutsStreamsOnly(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	process(t, dir)
	d := driver.New(filepath.Join(dir, "s"))
	w := traffictest.NewWorld(t, d)
	w.Plane.Limits.Streams = time.Second
	let := make(chan struct{})
	in := backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/events":
			rw.Header().Set("Content-Type", "text/event-stream")
			for pause(r.Context(), 10*time.Millisecond) {
				if _, err := io.WriteString(rw, "data: x\n\n"); err != nil || http.NewResponseController(rw).Flush() != nil {
					return
				}
			}
		case "/silent":
			_ = http.NewResponseController(rw).Flush()
			<-r.Context().Done()
		case "/slow":
			select {
			case <-let:
			case <-r.Context().Done():
			}
			_, _ = io.WriteString(rw, "done")
		}
	})
	one(w, in)
	cut := make(chan error, 2)
	for _, path := range []string{"/events", "/silent"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.Addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("%s: %v", path, err)
		}
		go func() {
			defer res.Body.Close()
			_, err := io.Copy(io.Discard, res.Body)
			cut <- err
		}()
	}
	slow := make(chan string, 1)
	go func() { _, body := w.AskPath("shop", "", "/slow"); slow <- body }()
	await(t, "three requests in flight", func() bool { return w.State().Routes[0].Pools[0].Endpoints[0].InFlight == 3 })
	done, err := d.Upgrade(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-cut; err == nil {
			t.Error("a stream that was cut ended in good order")
		}
	}
	if s := w.State(); s.Predecessor != done.OldPID {
		t.Errorf("State = %+v, want the predecessor, which waits for an answer", s)
	}
	close(let)
	if body := <-slow; body != "done" {
		t.Errorf("the slow request = %q, want its answer", body)
	}
	await(t, "the old process to end", func() bool { return w.State().Predecessor == 0 })
}

// Callers who speak HTTP/2 are told to go by GOAWAY, and lose nothing.
func TestUpgradeUnderHTTP2(t *testing.T) {
	t.Parallel()
	_, d, w, _ := plant(t)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var n atomic.Int64
	for range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodPost, "http://"+w.Addr+"/", strings.NewReader("ping"))
				if err != nil {
					t.Error(err)
					return
				}
				res, err := client.Do(req)
				if err != nil {
					t.Errorf("after %d: %v", n.Load(), err)
					return
				}
				if res.Body.Close(); res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
					t.Errorf("answer = %s over %s", res.Status, res.Proto)
				}
				n.Add(1)
				pause(ctx, time.Millisecond)
			}
		})
	}
	for range 2 {
		before := n.Load()
		if _, err := d.Upgrade(t.Context(), ""); err != nil {
			t.Error(err)
		}
		await(t, "requests by the new process", func() bool { return n.Load() > before+50 || t.Failed() })
	}
	await(t, "the last predecessor to go", func() bool { return w.State().Predecessor == 0 })
	stop()
	all.Wait()
}

// A fault under lease goes on in the new process for what is left of it.
func TestFaultsOutliveAnUpgrade(t *testing.T) {
	t.Parallel()
	_, d, _, _ := plant(t)
	f := traffic.Fault{ID: "slow", Route: "prod/shop", Share: 100, Delay: time.Millisecond, Lease: traffic.MaxFaultLease}
	if err := d.Disturb(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	ends := time.Now().Add(f.Lease)
	if _, err := d.Upgrade(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	all, err := d.Faults(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != "slow" || all[0].Until.After(ends) {
		t.Errorf("Faults() = %+v, %v, want %q until %s", all, err, "slow", ends)
	}
}

// A listener with TLS is handed over like any other, and the new process proves
// who it is as the old one did.
func TestUpgradeUnderTLS(t *testing.T) {
	t.Parallel()
	_, d, w, in := plant(t)
	addr, believe := secured(t, w)
	one(w, traffictest.Share(in, delivery.Full))
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var n, conns atomic.Int64
	for range 6 {
		tr := &http.Transport{TLSClientConfig: believe.Clone(), MaxConnsPerHost: 1}
		all.Go(func() {
			defer tr.CloseIdleConnections()
			for ctx.Err() == nil {
				trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
					if !i.Reused {
						conns.Add(1)
					}
				}}
				body := io.NopCloser(strings.NewReader("ping")) // cannot be sent again
				req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.WithoutCancel(ctx), trace), http.MethodPost, "https://"+addr+"/", body)
				if err != nil {
					t.Error(err)
					return
				}
				res, err := tr.RoundTrip(req)
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("after %d: %v", n.Load(), err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				n.Add(1)
				pause(ctx, time.Millisecond)
			}
		})
	}
	await(t, "load", func() bool { return n.Load() > 50 || t.Failed() })
	if _, err := d.Upgrade(t.Context(), ""); err != nil {
		t.Error(err)
	}
	await(t, "the predecessor to go", func() bool { return w.State().Predecessor == 0 })
	stop()
	all.Wait()
	if conns.Load() < 12 {
		t.Errorf("%d connections, want two of each client", conns.Load())
	}
}

// A certificate that is in memory alone would be lost with the process, so there
// is no upgrade until the files can be read again.
func TestUpgradeKeepsCertificates(t *testing.T) {
	t.Parallel()
	_, d, w, in := plant(t)
	addr, believe := secured(t, w)
	one(w, traffictest.Share(in, delivery.Full))
	tls := w.Listeners[len(w.Listeners)-1].TLS
	good, err := os.ReadFile(tls.Cert)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: believe, DisableKeepAlives: true}
	answers := func(when string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		_ = res.Body.Close()
	}
	state := func() *traffic.TLSState { ls := w.State().Listeners; return ls[len(ls)-1].TLS }
	first := w.State().PID
	answers("at first")
	if err := os.WriteFile(tls.Cert, []byte("half a fi"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the broken file to be noticed", func() bool { return state().Error != "" })
	if _, err := d.Upgrade(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "prod-tls") || !strings.Contains(err.Error(), "mend the files") {
		t.Errorf("Upgrade() with a broken file = %v, want a refusal with the way out", err)
	}
	answers("after the refusal")
	if err := os.WriteFile(tls.Cert, good, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the mended file to be noticed", func() bool { return state().Error == "" })
	if done, err := d.Upgrade(t.Context(), ""); err != nil || done.OldPID != first {
		t.Errorf("Upgrade() with the mended file = %+v, %v", done, err)
	}
	answers("after the upgrade")
}
