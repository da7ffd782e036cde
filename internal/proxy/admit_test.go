package proxy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/limit"
	"github.com/slipway-cd/slipway/internal/proxy/metrics"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// waiting is an engine with one route of one pool whose endpoints are bounded.
type waiting struct {
	e     *engine
	route *route
	pool  *pool
}

func newWaiting(endpoints, most int) *waiting {
	p := &pool{
		spec: &traffic.Pool{Release: "r1", Version: "v1", Weight: 1}, most: most,
		queue: &limit.Queue{}, bound: limit.Bound{Max: 10}, series: map[string]*series{},
	}
	for i := range endpoints {
		e := endpointOf(fmt.Sprint(i))
		e.queue.Store(p.queue)
		p.endpoints = append(p.endpoints, e)
	}
	spec := &traffic.Route{Name: "prod/shop", Service: "shop"}
	w := &waiting{e: &engine{}, pool: p, route: &route{spec: spec, pools: []*pool{p}, care: careFor(spec, nil)}}
	spec.Hold.For = time.Minute
	w.e.table.Store(&table{spec: traffic.Table{Routes: []traffic.Route{*spec}}, routes: map[string]*route{spec.Name: w.route}})
	return w
}

// wait claims an endpoint as a request does, waiting at most so long.
func (w *waiting) wait(ctx context.Context, most time.Duration) *endpoint {
	w.pool.bound.Wait = most
	x := &passage{e: w.e, route: w.route, pool: w.pool}
	p, err := x.seat(ctx, failure{})
	if err != nil {
		return nil
	}
	return p
}

// An overload stays with the release that has it; an outage does not; and nobody
// overtakes those who wait.
func TestWhoIsWaitedFor(t *testing.T) {
	w := newWaiting(1, 1)
	stable := newWaiting(1, 1).pool
	stable.spec = &traffic.Pool{Release: "r0", Version: "v0", Weight: 1}
	w.route.pools = append(w.route.pools, stable)
	candidate := w.pool.endpoints[0]
	look := func() (p *endpoint, wants *pool, crossed bool) {
		x := &passage{e: w.e, route: w.route, pool: w.pool}
		p, wants = x.look(failure{}, false)
		if p != nil {
			p.unclaim()
		}
		return p, wants, x.crossed
	}
	if p, wants, crossed := look(); p != candidate || wants != nil || crossed {
		t.Errorf("both are free: %v, waits for %v, crossed %v; want the candidate", p, wants, crossed)
	}
	candidate.claim(0)
	if p, wants, crossed := look(); p != nil || wants != w.pool || crossed {
		t.Errorf("the candidate is full: %v, waits for %v, crossed %v; want to wait for it", p, wants, crossed)
	}
	candidate.fell(errors.New("refused"))
	if p, wants, crossed := look(); p != stable.endpoints[0] || wants != nil || !crossed {
		t.Errorf("the candidate is down: %v, waits for %v, crossed %v; want the stable one", p, wants, crossed)
	}
	stable.endpoints[0].claim(0)
	if p, wants, crossed := look(); p != nil || wants != stable || crossed {
		t.Errorf("and the stable one is full: %v, waits for %v, crossed %v; want to wait for that", p, wants, crossed)
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWaiting(1, 1)
		only := w.pool.endpoints[0]
		only.claim(0)
		back := make(chan *endpoint, 1)
		go func() { back <- w.wait(t.Context(), time.Minute) }()
		synctest.Wait()
		only.load.Add(-1) // free, and the one who waits is not told yet
		x := &passage{e: w.e, route: w.route, pool: w.pool}
		if p, wants := x.look(failure{}, false); p != nil || wants != w.pool {
			t.Errorf("a newcomer got %v, waits for %v; want it behind the one who waits", p, wants)
		}
		var text metrics.Text
		w.e.metricsOfWaits(&text)
		for _, want := range []string{`slipway_queued_requests{route="prod/shop",release="r1",version="v1"} 1`, `slipway_held_requests{route="prod/shop"} 0`} {
			if !strings.Contains(string(text.Bytes()), want+"\n") {
				t.Errorf("metrics are\n%s, want %s", text.Bytes(), want)
			}
		}
		w.pool.queue.Freed()
		if got := <-back; got != only {
			t.Errorf("the one who waits got %v", got)
		}
	})
}
