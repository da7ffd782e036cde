package proxy

import (
	"cmp"
	"net/textproto"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/limit"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// The documented values of delivery.Traffic in place of zero.
const (
	defaultTimeout  = 60 * time.Second
	defaultAttempts = 3
	defaultWait     = time.Second
	defaultHeld     = 1000
	defaultIdle     = 10 * time.Minute
)

const defaultBudget = delivery.Weight(2000) // 20 %

// care is what a route does for its instances, and against more requests than
// they can answer. What it counts by outlives the table.
type care struct {
	sticky   delivery.Sticky // header in its canonical form
	timeout  time.Duration   // of all attempts, and of waiting for a slot
	perTry   time.Duration   // 0 is timeout
	attempts int
	share    delivery.Weight // of retries
	eject    ejection
	rates    *limit.Rates // nil when there are none
	hold     *limit.Hold
}

// careFor compiles the care of a route, with what old, which may be nil, counted.
func careFor(spec *traffic.Route, old *route) care {
	c := care{
		sticky:   spec.Sticky,
		timeout:  cmp.Or(spec.Timeout, defaultTimeout),
		perTry:   spec.PerTry,
		attempts: cmp.Or(spec.Retries.Attempts, defaultAttempts),
		share:    cmp.Or(spec.Retries.Budget, defaultBudget),
		eject:    ejectionOf(spec.Ejection),
	}
	if c.sticky.By == delivery.ByHeader {
		c.sticky.Name = textproto.CanonicalMIMEHeaderKey(c.sticky.Name)
	}
	now := time.Now()
	if old != nil {
		c.rates, c.hold = old.rates, old.hold
	} else {
		c.hold = &limit.Hold{}
	}
	c.rates = limit.NewRates(spec.Rates, c.rates, now)
	if c.perTry >= c.timeout {
		c.perTry = 0
	}
	return c
}

// queueFor returns the queue before a pool's instances, or nil when nothing is
// bounded there. A queue outlives the table: those who wait in it go on waiting.
func queueFor(spec *traffic.Route, release delivery.ReleaseID, old *route) *limit.Queue {
	if spec.Limits.InFlight == 0 {
		return nil
	}
	if old != nil {
		if p := old.pool(release); p != nil && p.queue != nil {
			return p.queue
		}
	}
	return &limit.Queue{}
}

// budgetFor returns the budget of a pool's retries, which outlives the table. Each
// release has its own: one that fails must not use up what saves the callers of
// the other, or that one would look as bad.
func budgetFor(release delivery.ReleaseID, old *route) *limit.Budget {
	if old != nil {
		if p := old.pool(release); p != nil {
			return p.budget
		}
	}
	return limit.NewBudget(time.Now())
}

// serves says whether requests that are held have somewhere to go.
func (r *route) serves() bool { return r.live && !r.spec.Paused }

// moveOn lets go what waited by the old table and can go on, or cannot go on
// waiting, by the one that is now in force.
func moveOn(old, now *table) {
	for name, r := range old.routes {
		for _, p := range r.pools {
			if p.queue != nil {
				p.queue.Stir()
			}
		}
		if next := now.routes[name]; next == nil || next.serves() {
			r.hold.Release()
		}
	}
}
