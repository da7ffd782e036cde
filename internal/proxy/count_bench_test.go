package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// BenchmarkCount counts requests of 10,000 callers as the way of a request does:
// begun, answered, ended, with the two looks at the clock that it takes.
func BenchmarkCount(b *testing.B) {
	keys := make([]caller, 10000)
	for i := range keys {
		keys[i] = caller{key: fmt.Sprintf("%032x", i)}
	}
	c := newCounts()
	s := c.get("prod/shop", "r1", "")
	d := &draw{gen: 1}
	one := func(i int) {
		at := time.Now()
		t := s.begin(at, d, keys[i%len(keys)])
		t.answered(time.Since(at))
		t.end(finished, 200, 10, 200)
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			one(i)
		}
	})
	b.Run("each caller new", func(b *testing.B) {
		b.ReportAllocs()
		at := time.Now()
		for i := 0; b.Loop(); i++ {
			if i%len(keys) == 0 {
				at = at.Add(time.Second) // as by 10,000 requests a second
			}
			t := s.begin(at, d, keys[i%len(keys)])
			t.answered(time.Millisecond)
			t.end(finished, 200, 10, 200)
		}
	})
	b.Run("in a rollout", func(b *testing.B) {
		b.ReportAllocs()
		split := &draw{gen: 1, share: 9000, fair: true, stable: true, places: true, memory: newOffenders("r1", &c.lost)}
		at, on := time.Now(), endpointOf("r1.0")
		for i := 0; b.Loop(); i++ {
			if i%len(keys) == 0 {
				at = at.Add(time.Second)
			}
			t := s.begin(at, split, keys[i%len(keys)])
			t.answered(time.Duration(i%200) * time.Millisecond / 100)
			t.at = on
			t.end(finished, 200+300*(i%1000/999), 10, 200) // one in a thousand fails
		}
	})
	b.Run("two at a time", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(p *testing.PB) {
			for i := 0; p.Next(); i++ {
				one(i)
			}
		})
	})
	b.Run("clock", func(b *testing.B) {
		for b.Loop() {
			at := time.Now()
			_ = time.Since(at)
		}
	})
}

// BenchmarkRecord takes requests through all that is counted, traced and written
// down of them, and nothing else.
func BenchmarkRecord(b *testing.B) {
	for name, plane := range map[string]delivery.DataPlane{"off": {}, "all logged": {AccessLog: delivery.LogAll}, "all traced": {OTLP: "http://127.0.0.1:1", OTLPShare: delivery.Full}} {
		b.Run(name, func(b *testing.B) {
			e := newEngine(Options{StateDir: b.TempDir(), Log: quiet}, "boot", 1024)
			recordOne(b, e, traffic.Table{
				Generation: 1, Plane: plane,
				Routes: []traffic.Route{{Name: "prod/shop", Env: "prod", Service: "shop", Hosts: []string{""}, Pools: []traffic.Pool{{Release: "r1", Weight: delivery.Full}}}},
			})
		})
	}
	b.Run("a callee in a rollout", func(b *testing.B) {
		recordOne(b, newEngine(Options{StateDir: b.TempDir(), Log: quiet}, "boot", 1024), rolledOut(500, "r1"))
	})
}

// recordOne takes requests to shop through all that comes after they were carried.
func recordOne(b *testing.B, e *engine, spec traffic.Table) {
	b.Helper()
	spec.Listeners = []traffic.Listener{{Name: "prod", Addr: "127.0.0.1:1", Env: "prod"}}
	t, err := compile(spec, nil, e.builder())
	if err != nil {
		b.Fatal(err)
	}
	e.table.Store(t)
	e.spans.To(spec.Plane.OTLP)
	r := httptest.NewRequest(http.MethodGet, "/a/b?c=d", nil)
	r.Header.Set("User-Agent", "bench")
	x := &passage{}
	route := t.routes["prod/shop"]
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		*x = passage{e: e, asked: &httpAsked{r: r}, l: t.listeners["127.0.0.1:1"], route: route, pool: route.pools[0], who: caller{key: "0123456789abcdef0123456789abcdef"}, began: now, arrived: now, plain: true, arms: x.arms[:0]}
		x.arrive()
		x.answered(time.Since(now))
		x.close(ended{status: 200, in: 10, out: 200})
	}
}
