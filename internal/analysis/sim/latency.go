package sim

import (
	"math"
	"math/rand/v2"

	"github.com/slipway-cd/slipway/internal/analysis"
)

// Latency is how long answers take: lognormal, of which a part may be Second,
// and with a Pareto tail if Tail is set.
type Latency struct {
	Median float64  `json:"median"` // seconds
	Sigma  float64  `json:"sigma"`
	Share  float64  `json:"share,omitempty"`  // of answers that are of Second
	Second *Latency `json:"second,omitempty"` //
	Pareto float64  `json:"pareto,omitempty"` // shape of the tail above the 99th percentile
}

// Slow is what a new release does to the time of answers.
type Slow struct {
	All   float64 `json:"all,omitempty"`   // factor of every answer
	Tail  float64 `json:"tail,omitempty"`  // factor of those beyond From
	From  float64 `json:"from,omitempty"`  // quantile; 0 is .97
	Add   float64 `json:"add,omitempty"`   // seconds on every answer
	Share float64 `json:"share,omitempty"` // of answers that are touched; 0 is all
}

// cdf returns the share of answers within x seconds.
func (l Latency) cdf(x float64) float64 {
	if !(x > 0) {
		return 0
	}
	f := normal(math.Log(x/l.Median) / l.Sigma)
	if l.Second != nil {
		f = (1-l.Share)*f + l.Share*l.Second.cdf(x)
	}
	if at := l.Median * math.Exp(l.Sigma*2.3263478740408408); l.Pareto > 0 && x > at {
		f = 1 - 0.01*math.Pow(at/x, l.Pareto)
	}
	return f
}

func normal(z float64) float64 { return math.Erfc(-z/math.Sqrt2) / 2 }

// quantile returns the time within which the share q of answers comes.
func (l Latency) quantile(q float64) float64 {
	lo, hi := 1e-6, 1e4
	for range 200 {
		if mid := math.Sqrt(lo * hi); l.cdf(mid) < q {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// of returns the release's own cdf.
func (s Slow) of(l Latency) func(float64) float64 {
	touched := func(x float64) float64 {
		x -= s.Add
		if s.All > 0 {
			x /= s.All
		}
		if s.Tail > 0 {
			from := s.From
			if from == 0 {
				from = 0.97
			}
			switch at := l.quantile(from); {
			case x > at*s.Tail:
				x /= s.Tail
			case x > at:
				x = at
			}
		}
		return l.cdf(x)
	}
	if s.Share == 0 {
		return touched
	}
	return func(x float64) float64 { return (1-s.Share)*l.cdf(x) + s.Share*touched(x) }
}

// times draws bins of the log histogram.
type times struct {
	p    [analysis.Bins]float64
	draw alias
}

func newTimes(cdf func(float64) float64) *times {
	t := &times{}
	last := 0.0
	for i := range t.p {
		at := cdf(analysis.Edge(i))
		if i == analysis.Bins-1 {
			at = 1
		}
		t.p[i] = max(at-last, 0)
		last = at
	}
	t.draw = newAlias(t.p[:])
	return t
}

// bin draws one; shift moves it, as when everything takes longer.
func (t *times) bin(r *rand.Rand, shift int) int {
	return min(max(t.draw.draw(r)+shift, 0), analysis.Bins-1)
}

// bins returns how many bins a factor of time is.
func bins(factor float64) int { return int(math.Round(math.Log(factor) / math.Log(analysis.Gamma))) }
