package proxy_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// The cases T1 to T12 are what was measured of a proxy for a single machine, and
// must be better here. T5, T7, T8 and T12 are beside what they are about.

// T1: forty deploys there and back, under callers who do not repeat.
func TestCaseT1_AlternatingDeploys(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		one(w, traffictest.Share(w.Instance("i0", "r0", "v0"), delivery.Full))
		ctx, stop := context.WithCancel(t.Context())
		var asked atomic.Int64
		seen := func(string, string) { asked.Add(1) }
		get := hammer(ctx, t, 8, w.Addr, http.MethodGet, seen)
		post := hammer(ctx, t, 8, w.Addr, http.MethodPost, seen)
		for i := range 40 {
			id := fmt.Sprint("r", i+1)
			one(w, traffictest.Share(w.Instance("i"+id, delivery.ReleaseID(id), "v"+id), delivery.Full))
			await(t, "requests beside each deploy", func() bool { return asked.Load() > int64(i) || t.Failed() })
		}
		stop()
		get()
		post()
	})
}

// T2: a request in flight finishes within the drain limit, the deploy does not
// wait for it, and one past the limit is told plainly.
func TestCaseT2_InFlightAcrossADeploy(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		for _, tc := range []struct {
			name  string
			drain time.Duration
			whole bool
		}{{"patient", 25 * time.Second, true}, {"hasty", 200 * time.Millisecond, false}} {
			old := w.Instance(tc.name+"-old", "r1", "v1")
			pool := traffictest.Share(old, delivery.Full)
			pool.Drain = tc.drain
			w.Routes = []traffic.Route{w.Route("prod/"+tc.name, []string{tc.name}, pool)}
			w.MustApply()
			type end struct {
				body string
				err  error
			}
			ended := make(chan end, 1)
			go func() {
				c := &plain{addr: w.Addr}
				defer c.close()
				code, body, err := c.ask(t.Context(), http.MethodPost, tc.name, "/hold", "") // a GET would be tried again elsewhere
				if err == nil && code != http.StatusOK {
					err = fmt.Errorf("status %d: %s", code, body)
				}
				ended <- end{body, err}
			}()
			old.AwaitHeld(t)
			w.Routes = []traffic.Route{w.Route("prod/"+tc.name, []string{tc.name}, traffictest.Share(w.Instance(tc.name+"-new", "r2", "v2"), delivery.Full))}
			w.MustApply() // returns though the old one still answers
			if got := w.Get(tc.name, ""); got != "r2" {
				t.Errorf("%s: after the deploy %s answers, want r2", tc.name, got)
			}
			if !tc.whole {
				if e := <-ended; e.err == nil {
					t.Errorf("%s: the request past its drain limit got %q and a clean end", tc.name, e.body)
				}
				old.Let()
				continue
			}
			old.Let()
			if e := <-ended; e.err != nil || e.body != "r1" {
				t.Errorf("%s: the request in flight got %q, %v, want its own instance's answer", tc.name, e.body, e.err)
			}
		}
	})
}

// T3: a stream of events blocks no deploy, goes on until the drain limit, and is
// then cut so that its reader notices. (A WebSocket likewise: case 55.)
func TestCaseT3_EventStreamAcrossADeploy(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		old := backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/event-stream")
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				if _, err := io.WriteString(rw, "data: tick\n\n"); err != nil {
					return
				}
				_ = http.NewResponseController(rw).Flush()
				select {
				case <-tick.C:
				case <-r.Context().Done():
					return
				}
			}
		})
		old.Drain = 500 * time.Millisecond
		one(w, old)
		req := request(t, http.MethodGet, "http://"+w.Addr+"/", nil)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		events := bufio.NewReader(res.Body)
		read := func() error { _, err := events.ReadString('\n'); return err }
		for range 4 {
			if err := read(); err != nil {
				t.Fatalf("before the deploy: %v", err)
			}
		}
		began := time.Now()
		one(w, traffictest.Share(w.Instance("2", "r2", "v2"), delivery.Full))
		if got := w.Get("", ""); got != "r2" {
			t.Errorf("after the deploy %s answers, want r2", got)
		}
		for err == nil {
			err = read()
		}
		if err == io.EOF { //nolint:errorlint // a clean end and nothing else
			t.Error("the stream ended cleanly, want a broken connection")
		}
		if lasted := time.Since(began); lasted < 400*time.Millisecond {
			t.Errorf("the stream was cut after %s, want its drain limit", lasted)
		}
	})
}

// T4: an instance that dies takes no caller with it: a fellow answers, or the
// stable release, and the release whose instance it was is charged for that.
func TestCaseT4_InstanceDies(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		dies := func(name string) (traffic.Endpoint, func()) {
			var lc net.ListenConfig
			ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, name) })}
			go func() { _ = srv.Serve(ln) }()
			return traffic.Endpoint{ID: name, Addr: ln.Addr().String()}, func() { _ = srv.Close() }
		}
		a, killA := dies("a")
		b, _ := dies("b")
		c, killC := dies("c")
		stable := traffic.Pool{Release: "r1", Weight: delivery.Full / 2, Endpoints: []traffic.Endpoint{a, b}}
		candidate := traffic.Pool{Release: "r2", Weight: delivery.Full / 2, Endpoints: []traffic.Endpoint{c}}
		one(w, candidate, stable)
		ctx, stop := context.WithCancel(t.Context())
		var asked atomic.Int64
		wait := hammer(ctx, t, 8, w.Addr, http.MethodGet, func(string, string) { asked.Add(1) })
		more := func() {
			before := asked.Load()
			await(t, "more requests", func() bool { return asked.Load() > before+100 || t.Failed() })
		}
		more()
		killA()
		more()
		killC()
		more()
		stop()
		wait()
		ctx, stop = context.WithCancel(t.Context())
		wait = hammer(ctx, t, 8, w.Addr, http.MethodGet, func(_, body string) {
			if body != "b" {
				t.Errorf("answered by %s, which is dead", body)
			}
		})
		pause(t.Context(), 200*time.Millisecond)
		stop()
		if wait() == 0 {
			t.Error("nobody asked once they were dead")
		}
		w.AwaitBlocks("the candidate to be charged and the stable release not", func(all map[traffictest.BlockKey]traffic.Block) bool {
			var charged, innocent uint64
			for k, b := range all {
				if k.Release == "r2" {
					charged += b.Connect + b.Broken
				} else {
					innocent += b.Connect + b.Broken
				}
			}
			return charged > 0 && innocent == 0
		})
	})
}

// T9: half of the callers who bring no cookie get the candidate, and keep it.
func TestCaseT9_CallersWithoutACookie(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		one(w, traffictest.Share(w.Instance("2", "r2", "v2"), delivery.Full/2), traffictest.Share(w.Instance("1", "r1", "v1"), delivery.Full/2))
		const callers = 300
		candidate := 0
		for range callers {
			c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			first := ""
			var cookie *http.Cookie
			for i := range 2 {
				req := request(t, http.MethodGet, "http://"+w.Addr+"/", nil)
				if cookie != nil {
					req.AddCookie(cookie)
				}
				res, err := c.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					first = string(body)
					if all := res.Cookies(); len(all) == 1 {
						cookie = all[0]
					} else {
						t.Fatalf("cookies %v, want ours", all)
					}
				} else if string(body) != first {
					t.Errorf("a caller was answered by %s and then by %s", first, body)
				}
			}
			if first == "r2" {
				candidate++
			}
		}
		// Binomial(300, 1/2) lies outside 150 ± 64 less often than once in 10^12.
		if candidate < 86 || candidate > 214 {
			t.Errorf("%d of %d callers got the candidate, want about half", candidate, callers)
		}
	})
}

// T10: a newer release replaces a candidate for all of its callers.
func TestCaseT10_NewerReleaseReplacesACandidate(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		v1 := w.Instance("1", "r1", "v1")
		one(w, traffictest.Share(w.Instance("2", "r2", "v2"), delivery.Full/2), traffictest.Share(v1, delivery.Full/2))
		ask := func() (seen string) {
			all := map[string]bool{}
			for i := range 60 {
				all[w.Get("", fmt.Sprint("user-", i))] = true
			}
			for _, r := range []string{"r1", "r2", "r3"} {
				if all[r] {
					seen += r
				}
			}
			return seen
		}
		if got := ask(); got != "r1r2" {
			t.Errorf("answered by %s, want both", got)
		}
		one(w, traffictest.Share(w.Instance("3", "r3", "v3"), delivery.Full))
		if got := ask(); got != "r3" {
			t.Errorf("after the newer deploy answered by %s, want r3 for everybody", got)
		}
	})
}

// T11: what an older deploy sends late is refused, and changes nothing.
func TestCaseT11_SlowOlderDeploy(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		one(w, traffictest.Share(w.Instance("1", "r1", "v1"), delivery.Full))
		slow := w.Table()
		slow.Generation++
		slow.Routes = []traffic.Route{w.Route("prod/shop", []string{""}, traffictest.Share(w.Instance("2", "r2", "v2"), delivery.Full))}
		w.Generation++ // a newer deploy overtakes it
		one(w, traffictest.Share(w.Instance("3", "r3", "v3"), delivery.Full))
		if err := w.Driver.Apply(t.Context(), slow); err == nil || !strings.Contains(err.Error(), "older") {
			t.Errorf("the late table: %v, want it refused as older", err)
		}
		if got := w.Get("", ""); got != "r3" {
			t.Errorf("answered by %s, want r3", got)
		}
	})
}
