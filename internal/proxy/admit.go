package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/limit"
)

// How requests that are too many count for the judge. One that a rate refuses
// has seen no release and is on no release's account: it tells of its caller's
// haste, and only /metrics and the access log tell of it. One that is held while no release serves is
// not counted before it gets one, and then as arrived at that moment: the wait
// was not that release's. One that finds a release's instances full and gets no
// slot in time is on that release's account as Shed, which is a failure: with as
// many instances as it has, the release does not keep up with its share.

// pays takes a token of each of the route's rates, once, or says which of them
// the request is over.
func (x *passage) pays() *problem {
	r := x.route.rates
	if r == nil || x.paid == r {
		return nil
	}
	x.paid = r
	who := limit.Caller{Inside: x.edge()}
	if !x.who.fresh {
		who.Key = x.who.key
	}
	over, wait := r.Take(x.arrived, x.asked, who)
	if over < 0 {
		return nil
	}
	rate := x.route.spec.Rates[over]
	per := string(rate.Per)
	if rate.Name != "" {
		per += " " + rate.Name
	}
	return &problem{
		Status: http.StatusTooManyRequests, Code: "rate_limited", Field: fmt.Sprintf("traffic.rates[%d]", over),
		Detail: fmt.Sprintf("%s takes %v requests a second per %s", x.route.spec.Service, rate.Rate, per),
		Hint:   x.raise(fmt.Sprintf("rates[%d].rate", over)),
		retry:  wait,
	}
}

// raise names the setting that lifts a bound.
func (x *passage) raise(word string) string {
	return "ask again later; services." + x.route.spec.Service + ".traffic." + word + " in slipway.yaml sets the bound"
}

// held keeps the request until a table other than t may serve it. It returns nil
// when the way is to be found again.
func (x *passage) held(ctx context.Context, t *table) *problem {
	spec := x.route.spec.Hold
	p := &problem{Status: http.StatusServiceUnavailable, Code: "no_release", Detail: "no release of " + x.route.spec.Name + " takes traffic yet"}
	if x.route.spec.Paused {
		p.Code, p.Detail = "paused", x.route.spec.Name+" is paused"
	}
	if spec.For == 0 {
		return p
	}
	now := time.Now()
	if x.until.IsZero() {
		x.until = now.Add(spec.For)
	}
	bound := limit.Bound{Max: cmp.Or(spec.Max, defaultHeld), Wait: x.until.Sub(now)}
	err := x.route.hold.Wait(ctx, bound, func() bool { return x.e.table.Load() != t })
	switch {
	case err == nil:
		x.arrived = time.Now()
		return nil
	case errors.Is(err, limit.ErrFull):
		p.Code, p.Field, p.Hint = "hold_full", "traffic.hold.max", x.raise("hold.max")
		p.Detail += fmt.Sprintf(", and %d requests wait for that already", bound.Max)
	case errors.Is(err, limit.ErrLate):
		p.Code, p.Field, p.Hint = "hold_timeout", "traffic.hold.for", x.raise("hold.for")
		p.Detail += fmt.Sprintf(", and none did within %s", spec.For)
	}
	return p
}

// queued waits for an instance of the chosen release, all of which have their
// fill. It returns again when the release has left meanwhile.
func (x *passage) queued(ctx context.Context) (p *endpoint, why *problem, again bool) {
	x.arrive()
	p, err := x.seat(ctx, failure{})
	switch {
	case err != nil:
		return nil, x.shed(err), false
	case p != nil || x.remains():
		return p, nil, false
	}
	x.ends(cancelled, 0, 0, 0) // it did not wait for what left it behind
	x.ticket, x.fault, x.arrived = ticket{}, nil, time.Now()
	return nil, nil, true
}

// remains says whether the chosen release is still in the table.
func (x *passage) remains() bool {
	r := x.e.table.Load().routes[x.route.spec.Name]
	return r != nil && r.pool(x.pool.spec.Release) != nil
}

// shed ends the account of a request that got no slot, or whose caller has left.
func (x *passage) shed(err error) *problem {
	l := x.route.spec.Limits
	p := &problem{Status: http.StatusServiceUnavailable, Code: "instances_full", Field: "traffic.limits.in_flight", Hint: x.raise("limits.in_flight")}
	p.Detail = fmt.Sprintf("every instance of %s %s has %d requests", x.route.spec.Service, x.pool.spec.Version, l.InFlight)
	switch {
	case errors.Is(err, limit.ErrFull) && l.Queue > 0:
		p.Code, p.Field, p.Hint = "queue_full", "traffic.limits.queue", x.raise("limits.queue")
		p.Detail += fmt.Sprintf(", and %d wait", l.Queue)
	case errors.Is(err, limit.ErrLate):
		p.Code, p.Field, p.Hint = "queue_timeout", "traffic.limits.wait", x.raise("limits.wait")
		p.Detail += fmt.Sprintf(", and for %s none was done", x.pool.wait(x.route.timeout))
	case !errors.Is(err, limit.ErrFull):
		x.close(ended{why: failure{cancelled, err}})
		return p // nobody reads it
	}
	x.close(ended{why: failure{shed, errors.New(p.Detail)}, status: p.Status})
	return p
}

// wait is how long a request waits for a slot at most.
func (p *pool) wait(timeout time.Duration) time.Duration {
	return min(cmp.Or(p.bound.Wait, defaultWait), timeout)
}

// seat claims an instance as next does, by the table in force, and waits where
// all of them have their fill. Without an error there may still be none.
func (x *passage) seat(ctx context.Context, last failure) (p *endpoint, err error) {
	for {
		p, wants := x.look(last, false)
		if wants == nil {
			return p, nil
		}
		began := time.Now()
		bound := limit.Bound{Max: wants.bound.Max, Wait: wants.wait(x.patience())}
		err = x.wait(ctx, wants.queue, bound, func() limit.Found {
			var other *pool
			p, other = x.look(last, true)
			switch {
			case p != nil:
				return limit.Taken
			case other != nil && other.queue == wants.queue:
				return limit.Full
			}
			return limit.Moot
		})
		x.waited += time.Since(began)
		if err != nil || p != nil {
			return p, err
		}
	}
}

// queuer is who knows when the caller of a waiting request has left.
type queuer interface {
	queued(stop context.CancelCauseFunc) // nil when the wait is over
}

// wait waits for a turn to look, until the caller leaves.
func (x *passage) wait(ctx context.Context, q *limit.Queue, b limit.Bound, look func() limit.Found) error {
	if x.queuer != nil {
		var stop context.CancelCauseFunc
		ctx, stop = context.WithCancelCause(ctx)
		defer stop(nil)
		x.queuer.queued(stop)
		defer x.queuer.queued(nil)
	}
	return q.Acquire(ctx, b, look)
}

// patience is what is left of the route's timeout after waiting for slots.
func (x *passage) patience() time.Duration {
	return max(x.route.timeout-x.waited, time.Millisecond)
}

// look is next by the table in force. In its turn a request may take a slot
// that others wait for.
func (x *passage) look(last failure, turn bool) (*endpoint, *pool) {
	x.turn = turn
	crossed, first := x.crossed, x.first
	for {
		t := x.e.table.Load()
		route := t.routes[x.route.spec.Name]
		if route == nil {
			return nil, nil
		}
		p, wants := x.next(route, time.Now(), last)
		if x.e.table.Load() == t {
			return p, wants
		}
		if p != nil {
			p.unclaim()
		}
		x.crossed, x.first = crossed, first
	}
}

// next claims an instance for the next attempt, or returns nil when there is
// none: another healthy one of the chosen release; for a candidate that the
// split gave the request, one of the stable release; and as a last resort,
// before any attempt was made, an unhealthy one of the chosen release. Where
// healthy ones have their fill, it returns the pool whose slots are waited for:
// an overload is not an outage, and is not to be spread to another release.
func (x *passage) next(route *route, now time.Time, last failure) (_ *endpoint, wants *pool) {
	if len(x.tried) >= route.attempts {
		return nil, nil
	}
	chosen, stable := route.pool(x.pool.spec.Release), route.stable()
	if !x.crossed && chosen != nil {
		if p, full := x.claim(chosen, (*pool).pick, now); p != nil || full {
			return p, wanted(chosen, full)
		}
	}
	if stable != nil && stable != chosen && x.drawn != byPreview {
		p, full := x.claim(stable, (*pool).pick, now)
		if p != nil && !x.crossed {
			x.crossed, x.first = true, last
			if last.err == nil {
				x.first = failure{unreached, errors.New("no healthy instance of " + string(x.pool.spec.Release))}
			}
		}
		if p != nil || full {
			return p, wanted(stable, full)
		}
	}
	if len(x.tried) == 0 && chosen != nil {
		p, full := x.claim(chosen, (*pool).pickAny, now)
		return p, wanted(chosen, full)
	}
	return nil, nil
}

func wanted(p *pool, full bool) *pool {
	if full {
		return p
	}
	return nil
}

// claim picks until an endpoint that has not left accepts the claim. full says
// that there is none because those there are have their fill, or others wait.
func (x *passage) claim(from *pool, pick func(*pool, time.Time, []*endpoint) (*endpoint, bool), now time.Time) (_ *endpoint, full bool) {
	if from.queue != nil && !x.turn && from.queue.Waiting() > 0 {
		return nil, true
	}
	skip := x.tried
	for {
		p, filled := pick(from, now, skip)
		full = full || filled
		switch {
		case p == nil:
			return nil, full
		case p.claim(from.most):
			return p, false
		}
		full = full || !p.left()
		skip = append(slices.Clone(skip), p)
	}
}
