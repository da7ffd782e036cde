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
			t, err := compile(traffic.Table{
				Generation: 1, Plane: plane,
				Listeners: []traffic.Listener{{Name: "prod", Addr: "127.0.0.1:1", Env: "prod"}},
				Routes:    []traffic.Route{{Name: "prod/shop", Env: "prod", Service: "shop", Hosts: []string{""}, Pools: []traffic.Pool{{Release: "r1", Weight: delivery.Full}}}},
			}, nil, e.builder())
			if err != nil {
				b.Fatal(err)
			}
			e.table.Store(t)
			e.spans.To(plane.OTLP)
			r := httptest.NewRequest(http.MethodGet, "/a/b?c=d", nil)
			r.Header.Set("User-Agent", "bench")
			x := &passage{}
			route := t.routes["prod/shop"]
			b.ReportAllocs()
			for b.Loop() {
				now := time.Now()
				*x = passage{e: e, asked: &httpAsked{r: r}, l: t.listeners["127.0.0.1:1"], route: route, pool: route.pools[0], who: caller{key: "0123456789abcdef0123456789abcdef"}, began: now, arrived: now, plain: true}
				x.arrive()
				x.ticket.answered(time.Since(now))
				x.close(ended{status: 200, in: 10, out: 200})
			}
		})
	}
}
