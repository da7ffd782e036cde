package analysis

import (
	"fmt"
	"math"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// countTest judges events by exposure: crashes an instance-second, error lines a
// request. Its rollback null is rate_c <= max(r rate_b, rate_b + a) in every
// block, whose e-variable is the smaller of the two half-planes' ones, as for
// errors; its promotion null rate_c >= r1 rate_b + a1 is one half-plane. It needs
// no event on stable: that all of several come from the canary is evidence.
type countTest struct {
	refusal
	limits  [2]line
	fit     line
	stable  tempo
	against mixture
	promote mixture
	burst   dispersion
	ends    rateEnds
	seen    seen // of a count, shares() would cap what is no share
	kept    float64
}

func newCountTest(m delivery.Metric, alpha float64) *countTest {
	return &countTest{
		limits:  [2]line{{m.Ratio, 0}, {1, m.Add}},
		fit:     line{m.PromoteRatio, m.PromoteAdd},
		against: newMixture(len(multiples)),
		promote: newMixture(1),
		ends:    rateEnds{differences: differences{limit: endLimit(alpha)}, usual: m.PromoteAdd},
		kept:    1,
	}
}

func countProblem(v Value) string {
	if !countable(v.N) || !countable(v.Sum) {
		return fmt.Sprintf("has %v events in an exposure of %v", v.Sum, v.N)
	}
	return ""
}

func (c *countTest) observe(r Reading) {
	if !c.usable(r, countProblem) {
		return
	}
	p := r.pair()
	sb := c.stable.predict(p.nb)
	if r.paired() {
		c.kept = c.burst.keeps(r)
		c.weigh(p.times(c.kept), sb, mostOf(r))
		c.seen.add(p)
	}
	if p.nb > 0 {
		far := p.xb - p.nb*sb
		c.burst.add(far*far, p.nb*sb)
		c.stable.add(p.nb, p.xb)
	}
}

func (c *countTest) weigh(p pair, sb, most float64) {
	from := max(c.limits[0].at(sb), c.limits[1].at(sb))
	for k, m := range multiples {
		gain := c.limits[0].logRate(p, sb, m*from)
		if c.limits[1].a > 0 {
			gain = min(gain, c.limits[1].logRate(p, sb, m*from))
		}
		c.against.win(k, min(gain, most))
	}
	c.against.close()
	c.promote.win(0, c.fit.logRate(p, sb, sb))
	c.promote.close()
	c.ends.observe(p, sb)
}

func (c *countTest) evidence() float64 { return c.against.evidence() }
func (c *countTest) peak() float64     { return c.against.peak }
func (c *countTest) proof() float64    { return c.promote.peak }

func (c *countTest) nextStep() {
	c.against.restart()
	c.promote.reset()
}

func (c *countTest) interval() (low, high float64, known [2]bool) { return c.ends.interval() }

func (c *countTest) estimates() estimates {
	s := &c.seen
	e := estimates{nStable: s.nb, nCanary: s.nc, badStable: s.xb, badCanary: s.xc}
	if s.blocks > 0 {
		e.stable, e.canary = s.weighted/s.nc, s.xc/s.nc
	}
	return e
}

func (c *countTest) remaining(passAt float64) float64 {
	nb, nc := c.seen.typical()
	sb := c.stable.predict(nb)
	p := pair{nb, nb * sb, nc, nc * sb}.times(c.kept)
	return unitsFor(math.Log(passAt)-c.promote.evidence(), c.fit.logRate(p, sb, sb), nc)
}

// rateEnds is a confidence sequence for the difference of two rates, canary minus
// stable. Its grid is chosen from the first events, or where none come from the
// difference that matters.
type rateEnds struct {
	differences
	usual  float64 // a difference that matters; 0 is not known
	canary tempo
	events float64
}

// gridEvents is how many events the grid is chosen from.
const gridEvents = 8

func (e *rateEnds) observe(p pair, sb float64) {
	sc := e.canary.predict(p.nc)
	e.weigh(sb, sc, func(l line) float64 { return l.logRate(p, sb, sc) })
	e.canary.add(p.nc, p.xc)
	e.events += p.xb + p.xc
	switch rate := (sb + sc) / 2; {
	case e.scale > 0:
	case e.events >= gridEvents:
		e.scale = rate
	case e.usual > 0 && e.canary.n*e.usual > 1:
		e.scale = max(rate, e.usual)
	}
}
