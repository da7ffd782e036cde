package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// reply is what came of a request, and our own answer if it is one.
type reply struct {
	code int
	body string
	head http.Header
	err  error
	told struct{ Code, Field, Detail, Hint string }
}

// send asks over a connection of its own until ctx ends.
func send(ctx context.Context, a asking) <-chan reply {
	back := make(chan reply, 1)
	go func() {
		var r reply
		defer func() { back <- r }()
		req, err := http.NewRequestWithContext(ctx, a.method, "http://"+a.addr+a.target, nil)
		if err != nil {
			r.err = err
			return
		}
		req.Host = a.host
		for _, h := range a.header {
			req.Header.Add(h[0], h[1])
		}
		tr := &http.Transport{DisableKeepAlives: true}
		res, err := tr.RoundTrip(req)
		if err != nil {
			r.err = err
			return
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		r.code, r.body, r.head, r.err = res.StatusCode, string(b), res.Header, err
		_ = json.Unmarshal(b, &r.told) // of an instance's answer nothing is told
	}()
	return back
}

// wants fails the test unless it is an answer of ours with that code, which names
// the setting that lifts the bound.
func (r reply) wants(t *testing.T, status int, code, field string) {
	t.Helper()
	after, err := strconv.Atoi(r.head.Get("Retry-After"))
	if r.code != status || r.told.Code != code || r.told.Field != field || r.told.Hint == "" || err != nil || after < 1 {
		t.Errorf("answer = %d %s, Retry-After %q, %v; want %d %s of %s with a hint", r.code, r.body, r.head.Get("Retry-After"), r.err, status, code, field)
	}
}

// served fails the test unless the release answered.
func (r reply) served(t *testing.T, by string) {
	t.Helper()
	if r.code != http.StatusOK || r.body != by {
		t.Errorf("answer = %d %q, %v, want 200 by %s", r.code, r.body, r.err, by)
	}
}

// caring applies one route with these words to the pools.
func caring(w *traffictest.World, words delivery.Traffic, pools ...traffic.Pool) {
	r := w.Route("prod/shop", []string{""}, pools...)
	words.Timeout = max(words.Timeout, r.Timeout)
	r.Traffic = words
	w.Routes = []traffic.Route{r}
	w.MustApply()
}

// total adds up a release's blocks until they satisfy done.
func total(w *traffictest.World, release delivery.ReleaseID, what string, done func(traffic.Block) bool) {
	w.AwaitBlocks(what, func(all map[traffictest.BlockKey]traffic.Block) bool {
		var sum traffic.Block
		for k, b := range all {
			if k.Release != release || !traffic.Drawn(k.Caller) {
				continue
			}
			sum.Requests += b.Requests
			sum.Unfinished += b.Unfinished
			sum.OK += b.OK
			sum.Client += b.Client
			sum.Shed += b.Shed
			sum.Cancelled += b.Cancelled
			sum.UnitsBad += b.UnitsBad
			sum.Retries += b.Retries
			sum.Timeout += b.Timeout
			sum.Broken += b.Broken
		}
		return done(sum)
	})
}

func TestRates(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		in := w.Instance("a", "r1", "v1")
		caring(w, delivery.Traffic{Rates: []delivery.Rate{{Per: "ip", Rate: 1000}, {Per: "header", Name: "x-tenant", Rate: 0.01, Burst: 2}}}, traffictest.Share(in, delivery.Full))
		from := func(tenant string) reply {
			return <-send(t.Context(), asking{addr: w.Addr, target: "/", header: [][2]string{{"X-Tenant", tenant}}})
		}
		from("a").served(t, "r1")
		from("a").served(t, "r1")
		over := from("a")
		over.wants(t, http.StatusTooManyRequests, "rate_limited", "traffic.rates[1]")
		if after, _ := strconv.Atoi(over.head.Get("Retry-After")); after < 30 || after > 100 {
			t.Errorf("Retry-After = %d at one request in 100 s", after)
		}
		from("b").served(t, "r1")
		// A change of the table gives nobody a fresh bucket.
		r := w.Routes[0]
		r.Gen++
		w.Routes = []traffic.Route{r}
		w.MustApply()
		from("a").wants(t, http.StatusTooManyRequests, "rate_limited", "traffic.rates[1]")
		total(w, "r1", "only what the release answered on its account", func(b traffic.Block) bool {
			if b.Client != 0 || b.UnitsBad != 0 {
				t.Errorf("requests over a rate are on the release's account: %+v", b)
				return true
			}
			return b.OK == 3 && b.Requests == 3
		})
	})
}

// What is over an instance's bound waits its turn, what cannot wait is shed, and
// the release is charged for it.
func TestQueueBeforeFullInstances(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		in := w.Instance("a", "r1", "v1")
		caring(w, delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: 1, Queue: 2, Wait: 30 * time.Second}}, traffictest.Share(in, delivery.Full))
		first := send(t.Context(), asking{addr: w.Addr, target: "/hold"})
		in.AwaitHeld(t)
		var waiting []<-chan reply
		for i := range 2 {
			waiting = append(waiting, send(t.Context(), asking{addr: w.Addr, target: "/"}))
			await(t, "the request to wait", func() bool { return poolOf(w, "r1").Waiting == i+1 })
		}
		pause(t.Context(), 2500*time.Millisecond) // longer than any sweep of connections
		if p := poolOf(w, "r1"); p.Endpoints[0].InFlight != 1 || p.Waiting != 2 {
			t.Errorf("State = %+v, want one request in flight and two that wait", p)
		}
		(<-send(t.Context(), asking{addr: w.Addr, target: "/"})).wants(t, http.StatusServiceUnavailable, "queue_full", "traffic.limits.queue")
		in.Let()
		for _, r := range append(waiting, first) {
			(<-r).served(t, "r1")
		}
		if n := in.Requests(); n != 3 {
			t.Errorf("the instance got %d requests, want 3", n)
		}
		total(w, "r1", "one shed request among four", func(b traffic.Block) bool {
			return b.Requests == 4 && b.OK == 3 && b.Shed == 1 && b.UnitsBad == 1 && b.Unfinished == 0
		})
	})
}

func poolOf(w *traffictest.World, release delivery.ReleaseID) traffic.PoolState {
	all := w.State().Routes[0].Pools
	if i := slices.IndexFunc(all, func(p traffic.PoolState) bool { return p.Release == release }); i >= 0 {
		return all[i]
	}
	return traffic.PoolState{}
}

func TestNoQueueOrNoPatience(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		in := w.Instance("a", "r1", "v1")
		caring(w, delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: 1}}, traffictest.Share(in, delivery.Full))
		first := send(t.Context(), asking{addr: w.Addr, target: "/hold"})
		in.AwaitHeld(t)
		(<-send(t.Context(), asking{addr: w.Addr, target: "/"})).wants(t, http.StatusServiceUnavailable, "instances_full", "traffic.limits.in_flight")
		caring(w, delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: 1, Queue: 1, Wait: 20 * time.Millisecond}}, traffictest.Share(in, delivery.Full))
		(<-send(t.Context(), asking{addr: w.Addr, target: "/"})).wants(t, http.StatusServiceUnavailable, "queue_timeout", "traffic.limits.wait")
		// The route's timeout holds for the queue too.
		r := w.Routes[0]
		r.Timeout, r.Limits.Wait = 20*time.Millisecond, 10*time.Minute
		w.Routes = []traffic.Route{r}
		w.MustApply()
		(<-send(t.Context(), asking{addr: w.Addr, target: "/"})).wants(t, http.StatusServiceUnavailable, "queue_timeout", "traffic.limits.wait")
		in.Let()
		(<-first).served(t, "r1")
	})
}

// Under more load than there are slots nobody is lost, no instance gets more than
// its bound, and every slot is used again.
func TestQueueUnderLoad(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		const bound = 2
		var most atomic.Int64
		instance := func(id string) traffic.Pool {
			var inside atomic.Int64
			return backend(t, id, func(rw http.ResponseWriter, r *http.Request) {
				n := inside.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				pause(r.Context(), 2*time.Millisecond)
				inside.Add(-1)
				_, _ = io.WriteString(rw, "ok")
			})
		}
		pool := instance("1")
		pool.Endpoints = append(pool.Endpoints, instance("2").Endpoints...)
		caring(w, delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: bound, Queue: 1000, Wait: 30 * time.Second}}, pool)
		var all sync.WaitGroup
		for range 24 {
			all.Go(func() {
				c := &plain{addr: w.Addr}
				defer c.close()
				for range 15 {
					if code, body, err := c.ask(t.Context(), http.MethodPost, "shop", "/", ""); err != nil || code != http.StatusOK {
						t.Errorf("POST = %d %s, %v", code, body, err)
						return
					}
				}
			})
		}
		all.Wait()
		if n := most.Load(); n != bound {
			t.Errorf("an instance had %d requests at a time, want up to %d", n, bound)
		}
		await(t, "nobody to be left", func() bool { // a caller has its answer before it is counted out
			p := poolOf(w, pool.Release)
			return p.Waiting == 0 && p.Endpoints[0].InFlight+p.Endpoints[1].InFlight == 0
		})
	})
}

// Those who wait are served by what a new table brings.
func TestQueueAcrossTables(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		words := delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: 1, Queue: 10, Wait: 30 * time.Second}}
		full, next := w.Instance("full", "r1", "v1"), w.Instance("next", "r1", "v1")
		stable := w.Instance("stable", "r0", "v0")
		one, none := traffictest.Share(full, delivery.Full), traffictest.Share(stable, 0)
		wait := func(n int) []<-chan reply {
			var all []<-chan reply
			for range n {
				all = append(all, send(t.Context(), asking{addr: w.Addr, target: "/"}))
			}
			await(t, "requests to wait", func() bool { return poolOf(w, "r1").Waiting == n })
			return all
		}
		caring(w, words, one, none)
		held := send(t.Context(), asking{addr: w.Addr, target: "/hold"})
		full.AwaitHeld(t)

		waiting := wait(3)
		both := one
		both.Endpoints = append(slices.Clone(one.Endpoints), traffictest.Share(next, 0).Endpoints...)
		caring(w, words, both, none) // another instance
		for _, r := range waiting {
			(<-r).served(t, "r1")
		}
		caring(w, words, one, none)
		waiting = wait(3)
		caring(w, delivery.Traffic{}, one, none) // no bound any more
		for _, r := range waiting {
			(<-r).served(t, "r1")
		}
		caring(w, words, one, none)
		waiting = wait(3)
		caring(w, words, traffictest.Share(stable, delivery.Full)) // the release leaves
		for _, r := range waiting {
			(<-r).served(t, "r0")
		}
		full.Let()
		(<-held).served(t, "r1")
	})
}

// A caller that goes away leaves its place in the queue and among the held.
func TestCallersWhoLeaveGiveUpTheirPlace(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		in := w.Instance("a", "r1", "v1")
		caring(w, delivery.Traffic{Limits: delivery.TrafficLimits{InFlight: 1, Queue: 2, Wait: 5 * time.Minute}, Timeout: 5 * time.Minute}, traffictest.Share(in, delivery.Full))
		first := send(t.Context(), asking{addr: w.Addr, target: "/hold"})
		in.AwaitHeld(t)
		ctx, leave := context.WithCancel(t.Context())
		gone := send(ctx, asking{addr: w.Addr, target: "/"})
		await(t, "the request to wait", func() bool { return poolOf(w, "r1").Waiting == 1 })
		stays := send(t.Context(), asking{addr: w.Addr, target: "/"})
		await(t, "another to wait", func() bool { return poolOf(w, "r1").Waiting == 2 })
		leave()
		if r := <-gone; !errors.Is(r.err, context.Canceled) {
			t.Errorf("the caller who left got %+v", r)
		}
		await(t, "its place to be free", func() bool { return poolOf(w, "r1").Waiting == 1 })
		in.Let()
		(<-first).served(t, "r1")
		(<-stays).served(t, "r1")
		total(w, "r1", "one cancelled request", func(b traffic.Block) bool {
			return b.Requests == 3 && b.Cancelled == 1 && b.OK == 2 && b.UnitsBad == 0
		})

		caring(w, delivery.Traffic{Hold: delivery.Holding{For: 5 * time.Minute}}, traffictest.Share(in, 0))
		ctx, leave = context.WithCancel(t.Context())
		gone = send(ctx, asking{addr: w.Addr, target: "/"})
		await(t, "the request to be held", func() bool { return w.State().Routes[0].Held == 1 })
		leave()
		<-gone
		await(t, "its place to be free", func() bool { return w.State().Routes[0].Held == 0 })
	})
}

// Requests that come between the old and the new release of a recreate, or while
// a route is paused, are answered when the next table serves them.
func TestHolding(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		words := delivery.Traffic{Hold: delivery.Holding{For: 30 * time.Second, Max: 3}}
		v1, v2 := w.Instance("v1", "r1", "v1"), w.Instance("v2", "r2", "v2")
		dark := func() []<-chan reply {
			var all []<-chan reply
			for range 3 {
				all = append(all, send(t.Context(), asking{addr: w.Addr, target: "/", method: http.MethodPost}))
			}
			await(t, "requests to be held", func() bool { return w.State().Routes[0].Held == 3 })
			(<-send(t.Context(), asking{addr: w.Addr, target: "/"})).wants(t, http.StatusServiceUnavailable, "hold_full", "traffic.hold.max")
			return all
		}
		caring(w, words, traffictest.Share(v1, 0))
		held := dark()
		caring(w, words, traffictest.Share(v2, 0)) // still dark: they go on waiting
		pause(t.Context(), 50*time.Millisecond)
		if n := w.State().Routes[0].Held; n != 3 {
			t.Errorf("%d are held after a table that serves nobody, want 3", n)
		}
		caring(w, words, traffictest.Share(v2, delivery.Full))
		for _, r := range held {
			(<-r).served(t, "r2")
		}

		r := w.Routes[0]
		r.Paused, r.Preview = true, "r2"
		w.Routes = []traffic.Route{r}
		w.MustApply()
		held = dark()
		if got := w.Preview("", "v2"); got != "r2" {
			t.Errorf("the preview of a paused route = %q, want r2", got)
		}
		r.Paused = false
		w.Routes = []traffic.Route{r}
		w.MustApply()
		for _, r := range held {
			(<-r).served(t, "r2")
		}
		total(w, "r2", "all of them, none failed", func(b traffic.Block) bool { return b.OK == 6 && b.Requests == 6 })

		words.Hold.For = 20 * time.Millisecond
		caring(w, words, traffictest.Share(v2, 0))
		(<-send(t.Context(), asking{addr: w.Addr, target: "/"})).wants(t, http.StatusServiceUnavailable, "hold_timeout", "traffic.hold.for")
	})
}

// A release switch by recreate under load, with clients that do not repeat.
func TestHoldingLosesNothing(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		words := delivery.Traffic{Hold: delivery.Holding{For: 30 * time.Second}}
		caring(w, words, traffictest.Share(w.Instance("i0", "r0", "v0"), delivery.Full))
		ctx, stop := context.WithCancel(t.Context())
		wait := hammer(ctx, t, 8, w.Addr, http.MethodPost, func(string, string) {})
		for i := 1; i <= 5; i++ {
			caring(w, words) // nobody is there
			pause(t.Context(), 20*time.Millisecond)
			id := fmt.Sprint("r", i)
			caring(w, words, traffictest.Share(w.Instance("i"+id, delivery.ReleaseID(id), id), delivery.Full))
			pause(t.Context(), 20*time.Millisecond)
		}
		stop()
		if wait() == 0 {
			t.Error("nobody asked")
		}
	})
}

func TestRetryAttempts(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		pool := func() (traffic.Pool, func() int64) {
			p := traffic.Pool{Release: "r1", Version: "v1", Weight: delivery.Full, Check: traffic.Check{Interval: time.Hour}}
			var got []*atomic.Int64
			for i := range 4 {
				addr, n := mute(t)
				p.Endpoints = append(p.Endpoints, traffic.Endpoint{ID: fmt.Sprint(addr, i), Addr: addr})
				got = append(got, n)
			}
			return p, func() (sum int64) {
				for _, n := range got {
					sum += n.Load()
				}
				return sum
			}
		}
		for _, c := range []struct {
			attempts int
			want     int64
		}{{0, 3}, {1, 1}, {2, 2}, {4, 4}, {10, 4}} {
			p, got := pool()
			caring(w, delivery.Traffic{Retries: delivery.Retries{Attempts: c.attempts}, Ejection: delivery.Ejection{After: -1}}, p)
			if r := <-send(t.Context(), asking{addr: w.Addr, target: "/"}); r.code != http.StatusBadGateway || got() != c.want {
				t.Errorf("attempts %d: answer %d after %d attempts, want 502 after %d", c.attempts, r.code, got(), c.want)
			}
		}
	})
}

// Retries are a share of the requests, so that they do not multiply an overload;
// those of requests that reached nobody are not, so that no caller is lost.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		words := delivery.Traffic{Retries: delivery.Retries{Budget: 1}, Ejection: delivery.Ejection{After: -1}}
		good := w.Instance("good", "r1", "v1")
		p := traffictest.Share(good, delivery.Full)
		p.Check = traffic.Check{Interval: time.Hour}
		addr, _ := mute(t)
		bad := p
		bad.Endpoints = append(slices.Clone(p.Endpoints), traffic.Endpoint{ID: "mute", Addr: addr})
		caring(w, words, bad)
		began, failed := time.Now(), 0
		for range 100 {
			switch r := <-send(t.Context(), asking{addr: w.Addr, target: "/"}); r.code {
			case http.StatusOK:
			case http.StatusBadGateway:
				failed++
			default:
				t.Fatalf("answer = %+v", r)
			}
		}
		windows := uint64(time.Since(began)/(9*time.Second)) + 1 // of ten seconds, of which the first may have begun long before
		total(w, "r1", "retries up to the budget", func(b traffic.Block) bool {
			if b.Requests != 100 || b.Unfinished != 0 {
				return false
			}
			if most := 11 * windows; b.Retries < 10 || b.Retries > most {
				t.Errorf("%d retries of 100 requests within %s, want 10 to %d", b.Retries, time.Since(began), most)
			}
			if b.Broken != uint64(failed) {
				t.Errorf("%d callers saw a failure, %d are counted", failed, b.Broken)
			}
			return true
		})

		dead := p
		dead.Endpoints = append(slices.Clone(p.Endpoints), traffic.Endpoint{ID: "dead", Addr: porttest.Free(t)})
		caring(w, words, dead)
		for range 60 {
			(<-send(t.Context(), asking{addr: w.Addr, target: "/", method: http.MethodPost})).served(t, "r1")
		}
	})
}

// An attempt that takes too long is made at another instance, if it may be, and
// the one that lets requests hang is ejected though its check passes.
func TestPerTry(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		good := w.Instance("good", "r1", "v1")
		var hung atomic.Int64
		p := backend(t, "1", func(_ http.ResponseWriter, r *http.Request) {
			hung.Add(1)
			<-r.Context().Done()
		})
		p.Endpoints = append(p.Endpoints, traffictest.Share(good, 0).Endpoints...)
		caring(w, delivery.Traffic{PerTry: 3 * time.Second, Ejection: delivery.Ejection{After: 3, First: time.Hour, Longest: time.Hour}}, p)
		for i := 0; hung.Load() == 0; i++ {
			(<-send(t.Context(), asking{addr: w.Addr, target: "/"})).served(t, "r1")
		}
		total(w, p.Release, "a retry of a late attempt", func(b traffic.Block) bool { return b.Retries > 0 && b.Timeout == 0 && b.UnitsBad == 0 })
		for ejected := false; !ejected; {
			before := hung.Load()
			r := <-send(t.Context(), asking{addr: w.Addr, target: "/", method: http.MethodPost})
			switch {
			case hung.Load() == before:
				r.served(t, "r1")
			case r.code != http.StatusGatewayTimeout || hung.Load() != before+1:
				t.Fatalf("POST that hung = %d %s after %d attempts there, want 504 after one", r.code, r.body, hung.Load()-before)
			}
			for _, e := range poolOf(w, p.Release).Endpoints {
				if !e.Healthy {
					ejected = true
					if e.Why != "ejected after no answer within 3s" {
						t.Errorf("Why = %q", e.Why)
					}
				}
			}
		}
		before := hung.Load()
		for range 20 {
			(<-send(t.Context(), asking{addr: w.Addr, target: "/", method: http.MethodPost})).served(t, "r1")
		}
		if hung.Load() != before {
			t.Error("an ejected instance got a request")
		}
	})
}

// The gRPC health protocol decides which instances take requests, both ways.
func TestGRPCHealth(t *testing.T) {
	t.Parallel()
	w := world(t)
	sick, sickAddr := grpcHealth(t)
	_, wellAddr := grpcHealth(t)
	p := traffic.Pool{
		Release: "r1", Version: "v1", Weight: delivery.Full, Protocol: delivery.H2C,
		Endpoints: []traffic.Endpoint{{ID: "sick", Addr: sickAddr}, {ID: "well", Addr: wellAddr}},
		Check:     traffic.Check{GRPC: new("shop.Cart"), Interval: 20 * time.Millisecond, Timeout: 5 * time.Second, Rise: 2, Fall: 2},
	}
	one(w, p)
	healthy := func(n int) func() bool { return func() bool { return poolOf(w, "r1").Healthy == n } }
	await(t, "both to be healthy", healthy(2))
	sick.SetServingStatus("shop.Cart", healthpb.HealthCheckResponse_NOT_SERVING)
	await(t, "one to leave", healthy(1))
	for _, e := range poolOf(w, "r1").Endpoints {
		if want := e.ID == "well"; e.Healthy != want || !want && e.Why != "check failed: grpc.health.v1 says NOT_SERVING of shop.Cart" {
			t.Errorf("endpoint %+v", e)
		}
	}
	sick.SetServingStatus("shop.Cart", healthpb.HealthCheckResponse_SERVING)
	await(t, "it to come back", healthy(2))
}

// Case T5: an instance that turns unhealthy after its deploy gets no request and
// is said to be, until it passes its check again.
func TestCaseT5_UnhealthyAfterTheDeploy(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		var down atomic.Bool
		var got atomic.Int64
		p := backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/healthz" && down.Load() {
				rw.WriteHeader(http.StatusServiceUnavailable)
			} else if r.URL.Path != "/healthz" {
				got.Add(1)
				_, _ = io.WriteString(rw, "r1")
			}
		})
		p.Endpoints = append(p.Endpoints, traffictest.Share(w.Instance("well", "r1", "v1"), 0).Endpoints...)
		p.Check = traffic.Check{HTTP: "/healthz", Interval: 20 * time.Millisecond, Timeout: 10 * time.Second, Rise: 1, Fall: 2}
		one(w, p)
		down.Store(true)
		await(t, "the instance to be out", func() bool { return poolOf(w, p.Release).Healthy == 1 })
		if e := poolOf(w, p.Release).Endpoints[0]; e.Healthy || e.Why != "check failed: /healthz answered 503" {
			t.Errorf("State = %+v, want the failed check", e)
		}
		before := got.Load()
		for range 30 {
			(<-send(t.Context(), asking{addr: w.Addr, target: "/", method: http.MethodPost})).served(t, "r1")
		}
		if got.Load() != before {
			t.Errorf("an unhealthy instance got %d requests", got.Load()-before)
		}
		down.Store(false)
		await(t, "the instance to be back", func() bool { return poolOf(w, p.Release).Healthy == 2 })
		for got.Load() == before {
			(<-send(t.Context(), asking{addr: w.Addr, target: "/"})).served(t, "r1")
		}
	})
}
