package analysis

import (
	"math"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// errorTest judges the share of units with an error. Its rollback null is
// p_c <= max(r0 p_b, p_b + a0) in every block, which is the union of two
// half-planes and not convex: the e-variable of a block is the smaller of the
// two half-planes' ones. Taking the smaller per block, and not of the two
// products, keeps it valid when the base rate drifts across the point where
// the borders meet. The promotion null p_c >= r1 p_b + a1 is one half-plane.
type errorTest struct {
	limits  [2]line
	proof   line
	stable  rate // of the units that are evidence against the canary
	whole   rate // of all units
	against mixture
	promote mixture
	scatter scatter // of the units that are evidence against the canary
	swings  scatter // of all units
	bounds  []bound
	seen    seen
	late    late
}

func newErrorTest(p delivery.JudgePolicy, baseline Arm) errorTest {
	e := errorTest{
		limits:  [2]line{{p.ErrorRatio, 0}, {1, p.ErrorAdd}},
		proof:   line{p.PromoteErrorRatio, p.PromoteErrorAdd},
		stable:  rate{n: 500, x: 0.5}, // one in a thousand, until more is known
		against: alert.over(len(multiples)),
		promote: newMixture(1),
		bounds:  errorBounds(),
		scatter: newScatter(errorChance),
		swings:  newScatter(errorChance),
	}
	e.stable.add(float64(baseline.Units), float64(baseline.Bad))
	e.whole = e.stable
	return e
}

// observe judges a block by all of its units.
func (e *errorTest) observe(p pair, limit float64) {
	e.accuse(p, 0, limit)
	e.prove(p)
}

// accuse weighs the units of a block that are evidence against the canary. Where
// each was drawn for it with the chance drawn, and not 0, that is the evidence.
func (e *errorTest) accuse(p pair, drawn, limit float64) {
	paired := p.nb > 0 && p.nc > 0
	if paired || drawn > 0 && p.nb+p.nc > 0 {
		sb := e.stable.predict()
		nb, nc := p.nb, p.nc
		if drawn > 0 {
			nb, nc = 1-drawn, drawn
		}
		from := max(e.limits[0].at(sb), e.limits[1].at(sb))
		for k, m := range multiples {
			if sc := timesOdds(from, m); from < most && sc < 1 {
				e.against.win(k, e.scatter.against(min(e.limits[0].ratio(nb, nc, sb, sc).log(p), e.limits[1].ratio(nb, nc, sb, sc).log(p))))
			}
		}
		e.against.close()
		if paired {
			e.narrow(p.times(e.scatter.keep()), sb, limit)
			e.seen.add(p)
			e.late.add(p)
			e.scatter.learn(p, sb)
		}
	}
	e.stable.add(p.nb, p.xb)
}

// prove weighs all units of a block for the canary.
func (e *errorTest) prove(p pair) {
	if p.nb > 0 && p.nc > 0 {
		s := expected(e.proof, e.whole.predict())
		e.promote.win(0, e.swings.keep()*e.proof.logE(p, s, s))
		e.swings.learn(p, e.whole.predict())
		e.promote.close()
	}
	e.whole.add(p.nb, p.xb)
}

// expected returns the share of errors that the promotion test expects of both
// arms. It stays where the border is below 1: when stable is worse than that,
// hardly any canary is unacceptable, and a fix must be able to pass.
func expected(proof line, sb float64) float64 {
	return min(sb, max((0.98-proof.a)/proof.r, least))
}

// remaining returns about how many more canary units prove a healthy canary.
func (e *errorTest) remaining(passAt float64) float64 {
	sb := expected(e.proof, e.whole.predict())
	nb, nc := e.seen.typical()
	return unitsFor(math.Log(passAt)-e.promote.evidence(), e.proof.growth(nb, nc, sb, sb), nc)
}

// unitsFor returns the canary units that take nats of evidence when blocks with
// nc canary units each bring growth; +Inf when they bring none.
func unitsFor(nats, growth, nc float64) float64 {
	if nats <= 0 {
		return 0
	}
	if !(growth > 0) {
		return math.Inf(1)
	}
	return nats / growth * nc
}

// seen sums up judged blocks for people. Stable's share is weighted by the
// canary's units of each block, so that it compares with the canary's when the
// weight and the base rate have both moved.
type seen struct {
	blocks         int
	nb, xb, nc, xc float64
	weighted       float64 // sum of nc * xb/nb
}

func (s *seen) add(p pair) {
	s.blocks++
	s.nb += p.nb
	s.xb += p.xb
	s.nc += p.nc
	s.xc += p.xc
	s.weighted += p.nc * (p.xb / p.nb)
}

// shares returns the shares of stable and canary; 0 before anything was seen.
func (s *seen) shares() (stable, canary float64) {
	if s.blocks == 0 {
		return 0, 0
	}
	return min(s.weighted/s.nc, 1), s.xc / s.nc
}

// typical returns the mean sizes of a block.
func (s *seen) typical() (nb, nc float64) {
	if s.blocks == 0 {
		return 9, 1
	}
	return s.nb / float64(s.blocks), s.nc / float64(s.blocks)
}
