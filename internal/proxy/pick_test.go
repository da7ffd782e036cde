package proxy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Only healthy endpoints with room that were not tried are picked; there is none
// only if there is none, and full says why.
func TestPickTakesWhatMayBeTaken(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		p := &pool{most: rapid.IntRange(0, 3).Draw(t, "most"), slow: time.Duration(rapid.IntRange(0, 1).Draw(t, "slow")) * time.Hour}
		var tried []*endpoint
		for i := range rapid.IntRange(0, 6).Draw(t, "endpoints") {
			e := endpointOf(fmt.Sprint(i))
			e.load.Store(rapid.Int64Range(0, 4).Draw(t, "load"))
			e.up.Store(rapid.Bool().Draw(t, "up"))
			if rapid.Bool().Draw(t, "ejected") {
				e.ejected.Store(now.Add(time.Second).UnixNano())
			}
			if rapid.Bool().Draw(t, "tried") {
				tried = append(tried, e)
			}
			p.endpoints = append(p.endpoints, e)
		}
		may, room := 0, 0
		for _, e := range p.endpoints {
			if e.healthy(now) && !slices.Contains(tried, e) {
				may++
				if p.most == 0 || e.inFlight() < p.most {
					room++
				}
			}
		}
		got, full := p.pick(now, tried)
		if (got != nil) != (room > 0) || full != (may > room) {
			t.Fatalf("pick() = %v, full %v with %d that may and %d with room", got, full, may, room)
		}
		if got != nil && (!got.healthy(now) || slices.Contains(tried, got) || p.most > 0 && got.inFlight() >= p.most) {
			t.Fatalf("pick() = %+v, which may not be taken", got.state(now))
		}
	})
}

// shares picks n times among endpoints, with so many requests in flight at a
// time that end in any order, and returns each one's share.
func shares(p *pool, n, flying int) map[string]float64 {
	out := map[string]float64{}
	var open []*endpoint
	for range n {
		e, _ := p.pick(time.Now(), nil)
		out[e.id] += 1 / float64(n)
		if flying == 0 {
			continue
		}
		e.claim(0)
		open = append(open, e)
		if len(open) > flying {
			i := rand.IntN(len(open))
			open[i].unclaim()
			open = slices.Delete(open, i, i+1)
		}
	}
	for _, e := range open {
		e.unclaim()
	}
	return out
}

// A fresh endpoint's share of picks grows in a straight line, without load and
// with it; and again when it has come back from an ejection or a failed check.
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &pool{slow: 10 * time.Second, endpoints: []*endpoint{endpointOf("a"), endpointOf("b")}}
		const n = 60_000
		near := func(what string, got, want, tolerance float64) {
			t.Helper()
			if math.Abs(got-want) > tolerance {
				t.Errorf("%s: share %.3f, want %.3f", what, got, want)
			}
		}
		for id, share := range shares(p, n, 0) {
			near("all are fresh, "+id, share, 0.5, 0.02)
		}
		time.Sleep(time.Minute)
		fresh := endpointOf("fresh")
		p.endpoints = append(p.endpoints, fresh)
		grows := func(what string) {
			t.Helper()
			for _, after := range []float64{0, 0.25, 0.5, 0.75, 1} {
				part := 0.1 + 0.9*after
				idle, busy := shares(p, n, 0), shares(p, n, 60)
				near(fmt.Sprintf("%s, idle, %v of its time", what, after), idle["fresh"], part/3, 0.015)
				near(fmt.Sprintf("%s, busy, %v of its time", what, after), busy["fresh"], part/3, 0.05)
				time.Sleep(p.slow / 4)
			}
			time.Sleep(time.Minute)
		}
		grows("new")
		fresh.ejected.Store(time.Now().UnixNano())
		grows("ejected")
		fresh.up.Store(false)
		fresh.rose()
		grows("failed its check")

		alone := &pool{slow: time.Hour, endpoints: []*endpoint{endpointOf("alone")}}
		if got, _ := alone.pick(time.Now(), nil); got == nil {
			t.Error("a pool of one fresh endpoint serves nobody")
		}
	})
}

func BenchmarkPick(b *testing.B) {
	now := time.Now()
	for _, slow := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprint("slow start ", slow), func(b *testing.B) {
			p := &pool{slow: slow}
			for i := range 8 {
				p.endpoints = append(p.endpoints, endpointOf(fmt.Sprint(i)))
			}
			b.ReportAllocs()
			for b.Loop() {
				p.pick(now, nil)
			}
		})
	}
}
