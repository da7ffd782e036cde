package analysis

import (
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// shareTest judges so many of so many, by the test of the error rate with the
// metric's own margins.
type shareTest struct {
	refusal
	errorTest
	burst  dispersion
	canary rate
	ends   differences
	all    seen
}

func newShareTest(m delivery.Metric, p delivery.JudgePolicy) *shareTest {
	p.ErrorRatio, p.ErrorAdd = m.Ratio, m.Add
	p.PromoteErrorRatio, p.PromoteErrorAdd = m.PromoteRatio, m.PromoteAdd
	s := &shareTest{
		errorTest: newErrorTest(p, Arm{}),
		canary:    rate{n: prior, x: prior * 0.001},
		ends:      differences{limit: endLimit(p.Alpha), scale: 0.01},
	}
	s.bounds = nil // the interval is that of ends, in a tenth of the time
	return s
}

func shareProblem(v Value) string {
	const rounding = 1e-9 // of sums that others made
	if !countable(v.N) || !countable(v.Sum) || v.Sum > v.N*(1+rounding) {
		return fmt.Sprintf("has %v of %v", v.Sum, v.N)
	}
	return ""
}

func (s *shareTest) observe(r Reading) {
	if !s.usable(r, shareProblem) {
		return
	}
	p, sb := r.pair(), s.stable.predict()
	p.xb, p.xc = min(p.xb, p.nb), min(p.xc, p.nc)
	kept := p.times(s.burst.keeps(r))
	s.errorTest.observe(kept, s.ends.limit)
	if r.paired() {
		sc := s.canary.predict()
		s.ends.weigh(sb, sc, func(l line) float64 { return l.logE(kept, sb, sc) })
		s.all.add(p)
	}
	s.canary.add(p.nc, p.xc)
	far := p.xb - p.nb*sb
	s.burst.add(far*far, p.nb*sb*(1-sb))
}

func (s *shareTest) evidence() float64 { return s.against.evidence() }
func (s *shareTest) peak() float64     { return s.against.peak }
func (s *shareTest) proof() float64    { return s.promote.peak }

func (s *shareTest) nextStep() {
	s.against.restart()
	s.promote.reset()
}

func (s *shareTest) interval() (low, high float64, known [2]bool) {
	low, high, known = s.ends.interval()
	return max(low, -1), min(high, 1), known
}

func (s *shareTest) estimates() estimates {
	stable, canary := s.all.shares()
	return estimates{stable, canary, s.all.nb, s.all.nc, s.all.xb, s.all.xc}
}

func (s *shareTest) remaining(passAt float64) float64 {
	return s.errorTest.remaining(passAt) * s.all.kept(s.seen)
}

// kept is how many units of s one unit of the tempered t stands for.
func (s *seen) kept(t seen) float64 {
	if t.nc == 0 {
		return 1
	}
	return s.nc / t.nc
}
