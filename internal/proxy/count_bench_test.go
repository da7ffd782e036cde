package proxy

import (
	"fmt"
	"testing"
	"time"
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
	one := func(i int) {
		at := time.Now()
		t := s.begin(at, 1, keys[i%len(keys)])
		t.answered(time.Since(at))
		t.end(finished, 200, 10, 200)
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			one(i)
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
