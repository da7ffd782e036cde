package sim

import (
	"math"

	"github.com/slipway-cd/slipway/internal/analysis"
)

// lead returns by how much stable's distribution is ahead of the canary's at
// most: the largest part of answers that stable has given by some time and the
// canary has not.
func (p *pooled) lead() float64 {
	nb, nc := float64(p.stable.n), float64(p.canary.n)
	var b, c, most float64
	for i := range analysis.Bins {
		b += float64(p.stable.hist[i])
		c += float64(p.canary.hist[i])
		most = max(most, b/nb-c/nc)
	}
	return most
}

// ks is the one-sided test of Kolmogorov and Smirnov, looked at each minute.
type ks struct{ pooled }

func newKS(*blueprint, analysis.Arm) contestant { return &ks{} }

func (k *ks) observe(s *second) decision {
	k.add(s)
	if s.at%60 != 59 {
		return goOn
	}
	nb, nc := float64(k.stable.n), float64(k.canary.n)
	if d := k.lead(); math.Exp(-2*d*d*nb*nc/(nb+nc)) < alpha {
		return rollback
	}
	return goOn
}

// band is the test of two distributions of Lindon, Sanden and Shirikian (arXiv
// 2205.14762) on the bands of Howard and Ramdas, which hold at all times at once.
type band struct{ pooled }

func newBand(*blueprint, analysis.Arm) contestant { return &band{} }

// wide is the half-width of the band around n values.
func wide(n, a float64) float64 {
	return 0.85 * math.Sqrt((math.Log(math.Log(math.E*n))+0.8*math.Log(1612/a))/n)
}

func (b *band) observe(s *second) decision {
	b.add(s)
	if b.stable.n == 0 || b.canary.n == 0 {
		return goOn
	}
	if b.lead() > wide(float64(b.stable.n), alpha/2)+wide(float64(b.canary.n), alpha/2) {
		return rollback
	}
	return goOn
}
