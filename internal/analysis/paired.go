package analysis

import (
	"fmt"
	"math"
)

// pairedTest judges mirrored requests by pairs: each was answered by both
// releases, so that all that requests differ by falls out, and only pairs of
// which one answer was bad count. Its rollback null is
// canaryOnly <= max(r stableOnly, stableOnly + a), as shares of all pairs, its
// promotion null canaryOnly >= r1 stableOnly + a1. It needs no bad answer of
// stable; the additive floor proves a canary fit of which none is bad either.
type pairedTest struct {
	refusal
	limits  [2]line
	fit     line
	stable  rate // pairs in which only stable was bad
	canary  rate
	against mixture
	promote mixture
	ends    differences
	seen    seen
}

func newPairedTest(m margins, alpha float64) *pairedTest {
	return &pairedTest{
		limits:  [2]line{{m.ratio, 0}, {1, m.add}},
		fit:     line{m.promoteRatio, m.promoteAdd},
		stable:  rate{n: 500, x: 0.5},
		canary:  rate{n: 500, x: 0.5},
		against: newMixture(len(multiples)),
		promote: newMixture(1),
		ends:    differences{limit: endLimit(alpha), scale: 0.01},
	}
}

// observe takes the pairs of a block.
func (t *pairedTest) observe(both, canaryOnly, stableOnly uint64) {
	if canaryOnly > both || stableOnly > both-canaryOnly {
		t.why = fmt.Sprintf("%d and %d of %d pairs", canaryOnly, stableOnly, both)
		return
	}
	if both == 0 {
		return
	}
	n, b, c := float64(both), float64(stableOnly), float64(canaryOnly)
	sb := min(t.stable.predict(), mostApart)
	from := max(t.limits[0].at(sb), t.limits[1].at(sb))
	for k, m := range multiples {
		sc := min(m*from, 0.95*(1-sb))
		if sc <= from {
			continue
		}
		gain := t.limits[0].logPaired(n, b, c, sb, sc)
		if t.limits[1].a > 0 {
			gain = min(gain, t.limits[1].logPaired(n, b, c, sb, sc))
		}
		t.against.win(k, gain)
	}
	t.against.close()
	if s := min(sb, (1-t.fit.a)/(2*t.fit.r+2)); s < t.fit.at(s) {
		t.promote.win(0, t.fit.logPaired(n, b, c, s, s))
	}
	t.promote.close()
	sc := min(t.canary.predict(), mostApart)
	t.ends.weigh(sb, sc, func(l line) float64 { return l.logPaired(n, b, c, sb, sc) })
	t.stable.add(n, b)
	t.canary.add(n, c)
	t.seen.add(pair{n, b, n, c})
}

// mostApart keeps a predicted share where there is room for alternatives.
const mostApart = 0.3

func (t *pairedTest) evidence() float64 { return t.against.evidence() }
func (t *pairedTest) peak() float64     { return t.against.peak }
func (t *pairedTest) proof() float64    { return t.promote.peak }

func (t *pairedTest) nextStep() {
	t.against.restart()
	t.promote.reset()
}

// interval is of the difference of the shares in which only one was bad.
func (t *pairedTest) interval() (low, high float64, known [2]bool) { return t.ends.interval() }

// estimates are of the shares in which only one was bad.
func (t *pairedTest) estimates() estimates {
	stable, canary := t.seen.shares()
	return estimates{stable, canary, t.seen.nb, t.seen.nc, t.seen.xb, t.seen.xc}
}

func (t *pairedTest) remaining(passAt float64) float64 {
	n, _ := t.seen.typical()
	s := min(t.stable.predict(), (1-t.fit.a)/(2*t.fit.r+2))
	if s >= t.fit.at(s) {
		return math.Inf(1)
	}
	return unitsFor(math.Log(passAt)-t.promote.evidence(), t.fit.logPaired(n, n*s, n*s, s, s), n)
}
