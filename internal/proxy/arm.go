package proxy

import (
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// arm is a route that is rolled out and that a service calls, as the service's
// own route counts by it: each request that it drew is counted once more, under
// the release that its key is drawn to there. The instance gets the key, and who
// hands it on is drawn by it there. Whether the instance calls at all, and what
// it makes of the answer, comes after the draw: so what the two releases' callers
// see differs by the releases and by chance only.
type arm struct {
	of     *route // of the same table
	caller string
	memory *offenders
	pools  []armPool // as of.pools
}

type armPool struct {
	series *series
	drawn  draw
}

// draws sets what blocks say of how requests came to each pool. Others are
// compared with the last pool that has weight.
func (r *route) draws(old *route, b builder) {
	var stable *pool
	for _, p := range r.pools {
		if p.spec.Weight > 0 {
			stable = p
		}
	}
	if r.split {
		r.memory = offendersFor(stable, memoryOf(old), b)
	}
	for _, p := range r.pools {
		p.aside = draw{gen: r.spec.Gen, share: p.spec.Weight}
		p.struck = p.aside
		p.struck.fair = true
		p.drawn = p.struck
		p.drawn.stable, p.drawn.places, p.drawn.memory = p == stable, r.split, r.memory
	}
}

func memoryOf(r *route) *offenders {
	if r == nil {
		return nil
	}
	return r.memory
}

// offendersFor goes on with the offenders of before while stable is the same.
func offendersFor(stable *pool, before *offenders, b builder) *offenders {
	if before != nil && before.stable == stable.spec.Release {
		return before
	}
	return newOffenders(stable.spec.Release, b.lost)
}

// armsOf compiles the arms of a route, once all routes of the table are there.
// One whose route has only one release with weight counts nothing.
func (t *table) armsOf(r, old *route, b builder) []arm {
	var out []arm
	for i, name := range r.spec.Arms {
		of := t.routes[name]
		if of == nil || of == r || !of.split || slices.Contains(r.spec.Arms[:i], name) {
			continue
		}
		a := arm{of: of, caller: traffic.ArmCaller + name + ")", pools: make([]armPool, len(of.pools))}
		for _, p := range of.pools {
			if p.drawn.stable {
				a.memory = offendersFor(p, old.memoryOfArm(a.caller), b)
			}
		}
		for i, p := range of.pools {
			a.pools[i] = armPool{series: b.series(r.spec, p.spec, a.caller), drawn: p.drawn}
			a.pools[i].drawn.memory, a.pools[i].drawn.places = a.memory, false
		}
		out = append(out, a)
	}
	return out
}

func (r *route) memoryOfArm(caller string) *offenders {
	if r == nil {
		return nil
	}
	for i := range r.arms {
		if r.arms[i].caller == caller {
			return r.arms[i].memory
		}
	}
	return nil
}

// counts says whether requests may still be counted by k.
func (r *route) counts(k seriesKey) bool {
	if p := r.pool(k.release); p != nil && p.series[k.caller] != nil {
		return true
	}
	for i := range r.arms {
		a := &r.arms[i]
		if a.caller == k.caller && a.of.pool(k.release) != nil {
			return true
		}
	}
	return false
}

// choose is where the key of a request is drawn to, or nil.
func (a *arm) choose(key string) *armPool {
	at := bucket(a.of.spec.Salt, key)
	for i, p := range a.of.pools {
		if at < p.upto {
			return &a.pools[i]
		}
	}
	return nil
}

// open counts the request in: on its release's series, and once more for each arm
// of its route.
func (x *passage) open() {
	d := &x.pool.aside
	switch {
	case x.drawn != bySplit:
	case x.fault != nil:
		d = &x.pool.struck
	default:
		d = &x.pool.drawn
		for i := range x.route.arms {
			if p := x.route.arms[i].choose(x.who.key); p != nil {
				x.arms = append(x.arms, p.series.begin(x.arrived, &p.drawn, x.who))
			}
		}
	}
	s := x.pool.series[x.account]
	if s == nil { // an edge that has left the table
		s = x.e.counts.of(x.route.spec, x.pool.spec, x.account)
	}
	x.ticket = s.begin(x.arrived, d, x.who)
}

// answered notes the time to the head of the answer.
func (x *passage) answered(took time.Duration) {
	x.ticket.answered(took)
	for i := range x.arms {
		x.arms[i].answered(took)
	}
}

// ends counts how the request ended, and returns what that is.
func (x *passage) ends(how outcome, status int, in, out int64) class {
	for i := range x.arms {
		x.arms[i].field = x.ticket.field
		x.arms[i].end(how, status, in, out)
	}
	x.arms = x.arms[:0]
	return x.ticket.end(how, status, in, out)
}
