package proxy

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestEjectionDefaults(t *testing.T) {
	for _, c := range []struct {
		said, want delivery.Ejection
	}{
		{delivery.Ejection{}, delivery.Ejection{After: 5, First: time.Second, Longest: 30 * time.Second, Most: 5000}},
		{delivery.Ejection{After: -1, Most: 1}, delivery.Ejection{After: -1, First: time.Second, Longest: 30 * time.Second, Most: 1}},
		{delivery.Ejection{First: time.Minute}, delivery.Ejection{After: 5, First: time.Minute, Longest: time.Minute, Most: 5000}},
		{delivery.Ejection{Longest: time.Millisecond}, delivery.Ejection{After: 5, First: time.Millisecond, Longest: time.Millisecond, Most: 5000}},
	} {
		if got := ejectionOf(c.said).Ejection; got != c.want {
			t.Errorf("ejectionOf(%+v) = %+v, want %+v", c.said, got, c.want)
		}
	}
	for _, c := range []struct {
		most delivery.Weight
		n    int
		want int
	}{{5000, 1, 1}, {5000, 3, 2}, {5000, 4, 2}, {1, 100, 1}, {delivery.Full, 7, 7}, {3400, 3, 2}, {3300, 3, 1}} {
		if got := ejectionOf(delivery.Ejection{Most: c.most}).most(c.n); got != c.want {
			t.Errorf("%s of %d = %d, want %d", c.most, c.n, got, c.want)
		}
	}
}

// Whatever fails in whatever order, no more are out than the policy allows, one
// that passes its check is always left, and nobody is out for longer than said.
func TestEjectionBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ rapid.TB }{t}, func(t *rapid.T) {
			policy := ejectionOf(delivery.Ejection{
				After: rapid.IntRange(-1, 3).Draw(t, "after"),
				First: time.Duration(rapid.IntRange(0, 5).Draw(t, "first")) * time.Second,
				Most:  delivery.Weight(rapid.IntRange(0, int(delivery.Full)).Draw(t, "most")),
			})
			var all []*endpoint
			for i := range rapid.IntRange(1, 6).Draw(t, "endpoints") {
				all = append(all, endpointOf(fmt.Sprint(i)))
			}
			var turn sync.Mutex
			t.Repeat(map[string]func(*rapid.T){
				"fails": func(t *rapid.T) {
					e := rapid.SampledFrom(all).Draw(t, "who")
					was := e.ejected.Load()
					e.failed(errors.New("refused"), all, policy, &turn)
					if now := e.ejected.Load(); now != was && time.Duration(now-time.Now().UnixNano()) > policy.Longest {
						t.Fatalf("%s is out for longer than %s", e.id, policy.Longest)
					}
				},
				"answers": func(t *rapid.T) { rapid.SampledFrom(all).Draw(t, "who").answered() },
				"time passes": func(t *rapid.T) {
					time.Sleep(time.Duration(rapid.IntRange(1, 90_000).Draw(t, "ms")) * time.Millisecond)
				},
				"": func(t *rapid.T) {
					out, now := 0, time.Now()
					for _, e := range all {
						if !e.healthy(now) {
							out++
						}
					}
					if out == len(all) || out > policy.most(len(all)) || policy.After < 0 && out > 0 {
						t.Fatalf("%d of %d are out under %+v", out, len(all), policy)
					}
				},
			})
		})
	})
}

// Those who wait for a slot learn that an ejection has ended.
func TestEjectionEndsForThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting(2, 1)
		e := w.pool.endpoints[1]
		e.failed(errors.New("refused"), w.pool.endpoints, ejectionOf(delivery.Ejection{After: 1, First: 7 * time.Second}), new(sync.Mutex))
		if !w.pool.endpoints[0].claim(1) {
			t.Fatal("no slot")
		}
		began := time.Now()
		if got := w.wait(t.Context(), time.Minute); got != e || time.Since(began) != 7*time.Second {
			t.Errorf("got %v after %s, want the ejected one when it is back", got, time.Since(began))
		}
	})
}

// Those who wait learn that an endpoint passes its check again.
func TestRiseIsForThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting(2, 1)
		e := w.pool.endpoints[1]
		e.fell(errors.New("refused"))
		w.pool.endpoints[0].claim(1)
		began := time.Now()
		time.AfterFunc(5*time.Second, e.rose)
		if got := w.wait(t.Context(), time.Minute); got != e || time.Since(began) != 5*time.Second {
			t.Errorf("got %v after %s, want the one that rose", got, time.Since(began))
		}
	})
}
