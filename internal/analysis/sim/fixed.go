package sim

import (
	"math"

	"github.com/slipway-cd/slipway/internal/analysis"
)

// fixed looks at the canary alone: is the share of successes of the last window
// at least so much, or its 99th percentile at most so much? After so many failed
// checks it rolls back; having seen no request is a failed check (Flagger) where
// nothing else can be said.
type fixed struct {
	least    float64
	slowest  func(*blueprint) float64 // seconds; nil looks at errors
	window   int
	every    int
	failures int

	failed int
	sum    side
}

func (f *fixed) observe(s *second) decision {
	f.sum.add(s.canary)
	if (s.at+1)%f.every != 0 {
		return goOn
	}
	window := f.sum
	f.sum = side{} // the window is as long as the interval
	bad := window.n == 0
	switch {
	case bad:
	case f.slowest != nil:
		bad = window.quantile(.99) > f.slowest(s.world)
	default:
		bad = 1-float64(window.bad)/float64(window.n) < f.least
	}
	if bad {
		f.failed++
	}
	if f.failed >= f.failures {
		return rollback
	}
	return goOn
}

// ratio compares the errors of the last five minutes with 1.2 times stable's.
type ratio struct{ stable, canary [5]side }

func newRatio(*blueprint, analysis.Arm) contestant { return &ratio{} }

func (f *ratio) observe(s *second) decision {
	minute := s.at / 60
	if s.at%60 == 0 {
		f.stable[minute%5], f.canary[minute%5] = side{}, side{}
	}
	f.stable[minute%5].add(s.stable)
	f.canary[minute%5].add(s.canary)
	if s.at%60 != 59 || minute < 4 {
		return goOn
	}
	var b, c side
	for i := range f.stable {
		b.add(&f.stable[i])
		c.add(&f.canary[i])
	}
	if b.n > 0 && c.n > 0 && float64(c.bad)/float64(c.n) > 1.2*float64(b.bad)/float64(b.n) {
		return rollback
	}
	return goOn
}

// z1 is the 99 % quantile of the normal distribution.
const z1 = 2.3263478740408408

// pooled sums up both arms over the whole rollout.
type pooled struct{ stable, canary side }

func (p *pooled) add(s *second) {
	p.stable.add(s.stable)
	p.canary.add(s.canary)
}

// shares returns the shares of errors and how many requests there were.
func (p *pooled) shares() (pb, nb, pc, nc float64) {
	nb, nc = float64(p.stable.n), float64(p.canary.n)
	return float64(p.stable.bad) / nb, nb, float64(p.canary.bad) / nc, nc
}

// zTest is the textbook's test of two proportions, looked at each minute.
type zTest struct{ pooled }

func newZ(*blueprint, analysis.Arm) contestant { return &zTest{} }

func (z *zTest) observe(s *second) decision {
	z.add(s)
	if s.at%60 != 59 {
		return goOn
	}
	pb, nb, pc, nc := z.shares()
	p := float64(z.stable.bad+z.canary.bad) / (nb + nc)
	if (pc-pb)/math.Sqrt(p*(1-p)*(1/nb+1/nc)) > z1 {
		return rollback
	}
	return goOn
}

// growthBook is the sequential test that GrowthBook documents: an asymptotic
// confidence sequence (arXiv 2103.06476) tuned for 5,000 units, one-sided, of the
// difference of two shares.
type growthBook struct{ pooled }

func newGrowthBook(*blueprint, analysis.Arm) contestant { return &growthBook{} }

func (g *growthBook) observe(s *second) decision {
	g.add(s)
	if g.stable.n == 0 || g.canary.n == 0 {
		return goOn
	}
	pb, nb, pc, nc := g.shares()
	n := nb + nc
	se := math.Sqrt(pb*(1-pb)/nb + pc*(1-pc)/nc)
	rho2 := (-2*math.Log(alpha) + math.Log(1-2*math.Log(alpha))) / 5000
	half := se * math.Sqrt(n) * math.Sqrt(2*(n*rho2+1)/(n*n*rho2)*math.Log(1+math.Sqrt(n*rho2+1)/(2*alpha)))
	if pc-pb > half && se > 0 {
		return rollback
	}
	return goOn
}

// oracle is Wald's sequential probability ratio test of one against the other
// truth. Nobody can be told what it is told; it says how far away the others are.
type oracle struct{ log float64 }

func newOracle(*blueprint, analysis.Arm) contestant { return &oracle{} }

func (o *oracle) observe(s *second) decision {
	x, n := float64(s.canary.bad), float64(s.canary.n)
	if s.pc != s.pb {
		o.log += x*math.Log(s.pc/s.pb) + (n-x)*math.Log((1-s.pc)/(1-s.pb))
	}
	if s.canary.timed && s.times[0] != s.times[1] {
		for i, k := range &s.canary.hist {
			if k > 0 {
				o.log += float64(k) * math.Log(max(s.times[1].p[i], 1e-300)/max(s.times[0].p[i], 1e-300))
			}
		}
	}
	if o.log >= -math.Log(alpha) {
		return rollback
	}
	return goOn
}
