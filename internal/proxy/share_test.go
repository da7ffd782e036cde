package proxy_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// binomialBounds returns the counts between which Binomial(n, p) lies but for a
// probability of at most alpha, half of it on each side. It sums the exact
// probabilities, from their logarithms.
func binomialBounds(n int, p, alpha float64) (low, high int) {
	choose := func(k int) float64 {
		a, _ := math.Lgamma(float64(n + 1))
		b, _ := math.Lgamma(float64(k + 1))
		c, _ := math.Lgamma(float64(n - k + 1))
		return a - b - c
	}
	at := func(k int) float64 {
		return math.Exp(choose(k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
	}
	for sum := at(0); sum <= alpha/2; sum += at(low) {
		low++
	}
	high = n
	for sum := at(n); sum <= alpha/2; sum += at(high) {
		high--
	}
	return low, high
}

func TestBinomialBounds(t *testing.T) {
	// P(X = 0) = 1/1024 for ten throws of a coin, P(X <= 1) = 11/1024.
	for alpha, want := range map[float64][2]int{0.001: {0, 10}, 0.002: {1, 9}, 0.022: {2, 8}} {
		if low, high := binomialBounds(10, 0.5, alpha); low != want[0] || high != want[1] {
			t.Errorf("binomialBounds(10, 1/2, %v) = %d to %d, want %v", alpha, low, high, want)
		}
	}
	if low, high := binomialBounds(2000, 0.25, 1e-9); low < 500-125 || low > 500-105 || high < 500+105 || high > 500+130 {
		t.Errorf("binomialBounds(2000, 1/4, 1e-9) = %d to %d, want about 6 deviations of 19.4", low, high)
	}
}

// crowd sends n requests over some connections and counts the answers by body.
// header returns the lines of the i-th request's head that are its own.
func crowd(t *testing.T, addr string, n int, header func(i int) string) map[string]int {
	t.Helper()
	const clients = 8
	var mu sync.Mutex
	got := map[string]int{}
	var next atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			c := &plain{addr: addr}
			defer c.close()
			mine := map[string]int{}
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				c.header = header(i)
				code, body, err := c.ask(t.Context(), http.MethodGet, "shop", "/", "")
				if err != nil || code != http.StatusOK {
					t.Errorf("request %d = %d %q, %v", i, code, body, err)
					return
				}
				mine[body]++
			}
			mu.Lock()
			defer mu.Unlock()
			for body, n := range mine {
				got[body] += n
			}
		})
	}
	all.Wait()
	return got
}

// The share of callers that a release gets is that of its weight, whatever a
// caller is known by. Keys are random in each run, so a share is a count of
// independent draws; all comparisons of one run together raise a false alarm
// with a probability of at most one in a billion.
func TestShareMatchesTheWeight(t *testing.T) {
	t.Parallel()
	fresh := func(int) string { return "" }
	header := func(int) string { return "X-Tenant: " + rand.Text() + "\r\n" }
	cookie := func(int) string { return "Cookie: session=" + rand.Text() + "\r\n" }
	cells := []struct {
		sticky  delivery.Sticky
		header  func(int) string
		weights [3]delivery.Weight // of the candidates r3 and r2; the rest is r1's
	}{
		{delivery.Sticky{}, fresh, [3]delivery.Weight{0, 1}},
		{delivery.Sticky{}, fresh, [3]delivery.Weight{0, 1000}},
		{delivery.Sticky{By: delivery.ByNobody}, fresh, [3]delivery.Weight{0, 3333}},
		{delivery.Sticky{By: delivery.ByHeader, Name: "X-Tenant"}, header, [3]delivery.Weight{500, 1500}},
		{delivery.Sticky{By: delivery.ByCookie, Name: "session"}, cookie, [3]delivery.Weight{2500, 5000}},
		{delivery.Sticky{}, fresh, [3]delivery.Weight{0, 9990}},
	}
	const n, paths, releases = 1500, 2, 3
	alpha := 1e-9 / float64(len(cells)*paths*releases)
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		r1, r2, r3 := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2"), w.Instance("c", "r3", "v3")
		for _, c := range cells {
			c.weights[2] = delivery.Full - c.weights[0] - c.weights[1]
			r := w.Route("prod/shop", []string{""}, traffictest.Share(r3, c.weights[0]), traffictest.Share(r2, c.weights[1]), traffictest.Share(r1, c.weights[2]))
			r.Sticky = c.sticky
			w.Routes = []traffic.Route{r}
			w.MustApply()
			got := crowd(t, w.Addr, n, c.header)
			for i, release := range []string{"r3", "r2", "r1"} {
				p := float64(c.weights[i]) / float64(delivery.Full)
				low, high := 0, 0
				if p > 0 {
					low, high = binomialBounds(n, p, alpha)
				}
				if got[release] < low || got[release] > high {
					t.Errorf("sticky %+v: %s of %d callers are %d of %s, want %d to %d", c.sticky, c.weights[i], n, got[release], release, low, high)
				}
			}
		}
	})
}

// While a weight grows under load no caller ever leaves the candidate, and while
// it shrinks none comes back to it: neither between changes nor during them.
func TestAssignmentIsMonotoneUnderLoad(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		r1, r2 := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
		set := func(weight delivery.Weight) {
			r := w.Route("prod/shop", []string{""}, traffictest.Share(r2, weight), traffictest.Share(r1, delivery.Full-weight))
			r.Salt = "one rollout"
			w.Routes = []traffic.Route{r}
			w.MustApply()
		}
		set(0)
		for _, ramp := range []struct {
			from, to string
			weights  []delivery.Weight
		}{{"r1", "r2", ascending(12)}, {"r2", "r1", descending(12)}} {
			ctx, stop := context.WithCancel(t.Context())
			walk := strollers(ctx, t, w.Addr, 24, ramp.from, ramp.to)
			for _, weight := range ramp.weights {
				set(weight)
				pause(t.Context(), 5*time.Millisecond)
			}
			pause(t.Context(), 20*time.Millisecond)
			stop()
			if moved := walk(); moved != 24 {
				t.Errorf("%d callers of 24 moved from %s to %s", moved, ramp.from, ramp.to)
			}
		}
	})
}

// ascending is n random weights in order that end at delivery.Full.
func ascending(n int) []delivery.Weight {
	out := []delivery.Weight{delivery.Full}
	for len(out) < n {
		out = append(out, delivery.Weight(mathrand.IntN(int(delivery.Full))))
	}
	slices.Sort(out)
	return out
}

func descending(n int) []delivery.Weight {
	out := ascending(n)
	for i := range out {
		out[i] = delivery.Full - out[i]
	}
	return out
}

// strollers are callers, each with a key of its own, that ask until ctx has ended.
// Each may go from one release to the other, once. The function they return
// waits for them and says how many have gone.
func strollers(ctx context.Context, t *testing.T, addr string, n int, from, to string) (wait func() int64) {
	var moved atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c := &plain{addr: addr}
			defer c.close()
			key, at := fmt.Sprint("stroller-", i, rand.Text()), from
			if i%2 == 0 { // known by our cookie, as a browser is
				key, c.header = "", fmt.Sprintf("Cookie: slipway_id=%032x\r\n", mathrand.Uint64())
			}
			for last := false; !last; {
				last = ctx.Err() != nil
				code, body, err := c.ask(context.WithoutCancel(ctx), http.MethodGet, "shop", "/", key)
				switch {
				case err != nil || code != http.StatusOK || body != from && body != to:
					t.Errorf("GET = %d %q, %v", code, body, err)
					return
				case at == to && body == from:
					t.Errorf("caller %d went back to %s", i, from)
					return
				case at != body:
					at = body
					moved.Add(1)
				}
				pause(ctx, time.Millisecond)
			}
		})
	}
	return func() int64 { all.Wait(); return moved.Load() }
}

// guarded is an instance that knows since when nothing may come to it. Requests
// carry the stamp of the moment they were sent in; stamps only grow.
type guarded struct {
	traffic.Pool
	sick   atomic.Bool
	closed atomic.Int64 // the stamp from which on requests are wrong; 0 is never
	served atomic.Int64
}

const stampHeader = "X-Stamp"

func guard(t *testing.T, release string) *guarded {
	t.Helper()
	g := &guarded{}
	g.Pool = backend(t, release, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			if g.sick.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return
		}
		stamp, err := strconv.ParseInt(r.Header.Get(stampHeader), 10, 64)
		if closed := g.closed.Load(); err != nil || closed != 0 && stamp >= closed {
			t.Errorf("a request of stamp %q came to %s, which was closed at %d", r.Header.Get(stampHeader), release, closed)
		}
		g.served.Add(1)
		_, _ = w.Write([]byte("r" + release))
	})
	return g
}

// Once it is acknowledged that an instance has left, that its release has no
// weight, or that it is not healthy, no request that is sent from then on comes
// to it. The instance itself looks, under load, while tables change.
func TestNothingComesToWhatIsClosed(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		var stamp atomic.Int64
		stamp.Store(1)
		all := []*guarded{guard(t, "1a"), guard(t, "1b"), guard(t, "1c"), guard(t, "2")}
		set := func(weight delivery.Weight, ones ...*guarded) {
			r1 := traffic.Pool{Release: "r1", Version: "v1", Weight: delivery.Full - weight, Check: traffic.Check{HTTP: "/healthz", Interval: 20 * time.Millisecond, Timeout: 10 * time.Second, Rise: 1, Fall: 1}}
			for _, g := range ones {
				r1.Endpoints = append(r1.Endpoints, g.Endpoints...)
			}
			r2 := all[3].Pool
			r2.Weight = weight
			one(w, r2, r1)
		}
		set(3000, all[:3]...)
		ctx, stop := context.WithCancel(t.Context())
		wait := stamped(ctx, t, w.Addr, &stamp)
		note := func(g *guarded) { g.closed.Store(stamp.Add(1)) }
		shut := func(g *guarded) {
			before := g.served.Load()
			pause(t.Context(), 20*time.Millisecond)
			if after := g.served.Load(); after > before+32 { // as many as there are clients were on their way
				t.Errorf("%d requests came while it was closed", after-before)
			}
			g.closed.Store(0)
		}
		healthy := func() int { return w.State().Routes[0].Pools[1].Healthy }
		for range 8 {
			i := mathrand.IntN(3)
			set(3000, slices.Delete(slices.Clone(all[:3]), i, i+1)...) // leaves
			note(all[i])
			shut(all[i])
			set(3000, all[:3]...)

			set(0, all[:3]...) // its release has no weight
			note(all[3])
			shut(all[3])
			set(3000, all[:3]...)

			all[i].sick.Store(true) // fails its check
			await(t, "the check to fail", func() bool { return healthy() == 2 })
			note(all[i])
			shut(all[i])
			all[i].sick.Store(false)
			await(t, "the check to pass", func() bool { return healthy() == 3 })
		}
		stop()
		wait()
		for _, g := range all {
			if g.served.Load() == 0 {
				t.Errorf("%s got no request at all", g.Endpoints[0].ID)
			}
		}
	})
}

// stamped are callers whose every request says when it was sent.
func stamped(ctx context.Context, t *testing.T, addr string, stamp *atomic.Int64) (wait func()) {
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			c := &plain{addr: addr}
			defer c.close()
			method := []string{http.MethodGet, http.MethodPost}[i%2]
			for k := 0; ctx.Err() == nil; k++ {
				c.header = fmt.Sprintf("%s: %d\r\n", stampHeader, stamp.Load())
				if code, body, err := c.ask(context.WithoutCancel(ctx), method, "shop", "/", fmt.Sprint(i, "-", k)); err != nil || code != http.StatusOK {
					t.Errorf("%s = %d %q, %v", method, code, body, err)
					return
				}
				pause(ctx, time.Millisecond)
			}
		})
	}
	return all.Wait
}
