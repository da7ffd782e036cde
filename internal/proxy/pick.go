package proxy

import (
	"math/rand/v2"
	"slices"
	"time"
)

// pick returns the less loaded of two random healthy endpoints that were not
// tried yet and have room, or nil. full says that there is one without room.
func (p *pool) pick(now time.Time, tried []*endpoint) (chosen *endpoint, full bool) {
	return p.choose(now, tried, func(e *endpoint) bool { return e.healthy(now) })
}

// pickAny ignores health: a check alone must not turn a pool into an outage. What
// a person took out stays out.
func (p *pool) pickAny(now time.Time, tried []*endpoint) (chosen *endpoint, full bool) {
	return p.choose(now, tried, func(e *endpoint) bool { return e.drained.Load() == nil })
}

func (p *pool) choose(now time.Time, tried []*endpoint, ok func(*endpoint) bool) (chosen *endpoint, full bool) {
	var a, b *endpoint // a uniform sample of two
	seen := 0
	for _, e := range p.endpoints {
		if !ok(e) || slices.Contains(tried, e) {
			continue
		}
		if p.most > 0 && e.inFlight() >= p.most {
			full = true
			continue
		}
		seen++
		switch {
		case a == nil:
			a = e
		case b == nil:
			b = e
		default:
			if i := rand.IntN(seen); i == 0 {
				a = e
			} else if i == 1 {
				b = e
			}
		}
	}
	switch {
	case b == nil:
		return a, full
	case p.slow > 0:
		return slower(a, b, now, p.slow), full
	}
	na, nb := a.inFlight(), b.inFlight()
	if nb < na || nb == na && rand.IntN(2) == 0 {
		return b, full
	}
	return a, full
}

// leastPart is what a fresh endpoint gets of its full part at first: enough to
// warm up by.
const leastPart = 0.1

// part is the share of its full part that an endpoint takes which came or came
// back a while ago: from leastPart in a straight line to 1 after slow.
func (p *endpoint) part(now time.Time, slow time.Duration) float64 {
	since := now.UnixNano() - max(p.fresh.Load(), p.ejected.Load())
	if since >= int64(slow) {
		return 1
	}
	return leastPart + (1-leastPart)*float64(max(since, 0))/float64(slow)
}

// slower is the choice of two of which one may be fresh. The fresher one is
// passed over as often as its part asks for, and where it is not, loads are
// compared as they would be at its full part; so it gets its part of the picks
// whether there is much load or none. Two that are equally fresh choose as usual.
func slower(a, b *endpoint, now time.Time, slow time.Duration) *endpoint {
	pa, pb := a.part(now, slow), b.part(now, slow)
	if pb < pa {
		a, b, pa, pb = b, a, pb, pa
	}
	if pa < pb && rand.Float64()*pb >= pa {
		return b
	}
	na, nb := float64(a.inFlight())*pb, float64(b.inFlight())*pa
	if nb < na || nb == na && rand.IntN(2) == 0 {
		return b
	}
	return a
}
