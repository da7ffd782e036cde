package sim

import (
	"math"
	"slices"

	"github.com/slipway-cd/slipway/internal/analysis"
)

// signal reduces a minute of one arm to the one number that Kayenta sees.
type signal func(*side) float64

func byErrors(s *side) float64 { return float64(s.bad) / float64(max(s.n, 1)) }
func byTail(s *side) float64   { return s.quantile(.99) }
func byMean(s *side) float64   { return s.mean() }

// kayenta is its judge of one critical metric: all minutes so far are classified
// anew at every look, and any look that says High ends the rollout.
type kayenta struct {
	of             signal
	first, every   int // seconds of the looks; every 0 looks once
	stable, canary side
	x, y           []float64
}

func newKayenta(b *blueprint, of signal, first, every int) *kayenta {
	return &kayenta{of: of, first: min(first, b.Horizon), every: every}
}

func (k *kayenta) observe(s *second) decision {
	k.stable.add(s.stable)
	k.canary.add(s.canary)
	now := s.at + 1
	if now%60 != 0 {
		return goOn
	}
	k.y, k.x = append(k.y, k.of(&k.stable)), append(k.x, k.of(&k.canary))
	k.stable, k.canary = side{}, side{}
	if now < k.first || now > k.first && (k.every == 0 || (now-k.first)%k.every != 0) {
		return goOn
	}
	if classify(k.x, k.y) == high {
		return rollback
	}
	return goOn
}

// class is what the classifier says of one metric.
type class string

const (
	same class = "pass"
	high class = "high"
	low  class = "low"
)

// What Kayenta's classifier has in its code; it cannot be configured.
const (
	tolerance = 0.25
	critical  = 2.3263478740408408 // of a two-sided confidence of 98 %
)

// classify compares the points of the canary x with those of stable y, as
// NetflixACAJudge does with its defaults: the interval of the shift from Mann and
// Whitney's test has to be clear of a quarter of the estimated shift itself, and
// the mean must have gone the same way, unless a mean is 0.
func classify(x, y []float64) class {
	if len(x) == 0 || len(y) == 0 || alike(x, y) {
		return same
	}
	t := mannWhitney{x, y}
	rises, falls := t.z(0, true) > critical, t.z(0, true) < -critical
	if !rises && !falls {
		return same // 0 is in the interval
	}
	mx, my := average(x), average(y)
	known := mx != 0 && my != 0
	estimate := t.root(0, false)
	switch margin := tolerance * math.Abs(estimate); {
	case rises && t.root(critical, true) > margin && (!known || mx/my >= 1):
		return high
	case falls && t.root(-critical, true) < -margin && (!known || mx/my <= 1):
		return low
	}
	return same
}

// alike says whether the arms have the same values, or only one value at all.
func alike(x, y []float64) bool {
	a, b := slices.Sorted(slices.Values(x)), slices.Sorted(slices.Values(y))
	return slices.Equal(a, b) || a[0] == a[len(a)-1] && b[0] == b[len(b)-1] && a[0] == b[0]
}

func average(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// kayentas are the ways in which its judge is asked.
func kayentas() []entrant {
	kayenta := []Step{{Weight: .1, Hold: 3600}}
	return []entrant{
		{
			"Kayenta, once", "its classifier on a point a minute, at the end", kayenta,
			func(b *blueprint, _ analysis.Arm) contestant { return newKayenta(b, byErrors, b.Horizon, 0) },
		},
		{
			"Kayenta", "its classifier each minute on all minutes so far, from the fifth on", kayenta,
			func(b *blueprint, _ analysis.Arm) contestant { return newKayenta(b, byErrors, 300, 60) },
		},
		{
			"Kayenta, 10 min", "its classifier each ten minutes of an hour", kayenta,
			func(b *blueprint, _ analysis.Arm) contestant { return newKayenta(b, byErrors, 600, 600) },
		},
		{
			"Kayenta on p99", "a point a minute, each minute from the fifth on", kayenta,
			func(b *blueprint, _ analysis.Arm) contestant { return newKayenta(b, byTail, 300, 60) },
		},
		{
			"Kayenta on the mean", "a point a minute, each minute from the fifth on", kayenta,
			func(b *blueprint, _ analysis.Arm) contestant { return newKayenta(b, byMean, 300, 60) },
		},
		{
			"Kayenta on p99, once", "a point a minute, at the end", kayenta,
			func(b *blueprint, _ analysis.Arm) contestant { return newKayenta(b, byTail, b.Horizon, 0) },
		},
	}
}

// mannWhitney is the rank-sum test of x against y in its normal form.
type mannWhitney struct{ x, y []float64 }

// z returns the statistic after x is moved down by shift, with the correction
// for ties and, if asked, for continuity.
func (t mannWhitney) z(shift float64, correct bool) float64 {
	type point struct {
		v     float64
		fromX bool
	}
	n, m := float64(len(t.x)), float64(len(t.y))
	all := make([]point, 0, len(t.x)+len(t.y))
	for _, v := range t.x {
		all = append(all, point{v - shift, true})
	}
	for _, v := range t.y {
		all = append(all, point{v, false})
	}
	slices.SortFunc(all, func(a, b point) int {
		switch {
		case a.v < b.v:
			return -1
		case a.v > b.v:
			return 1
		}
		return 0
	})
	rank, ties := 0.0, 0.0
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].v == all[i].v {
			j++
		}
		k := float64(j - i)
		ties += k*k*k - k
		for ; i < j; i++ {
			if all[i].fromX {
				rank += float64(j) - (k-1)/2
			}
		}
	}
	d := rank - n*(n+1)/2 - n*m/2
	if correct && d != 0 {
		d -= math.Copysign(0.5, d)
	}
	total := n + m
	return d / math.Sqrt(n*m/12*(total+1-ties/(total*(total-1))))
}

// root returns the shift at which the statistic is z, to a ten thousandth of
// what lies between the ends, or an end beyond which there is none.
func (t mannWhitney) root(z float64, correct bool) float64 {
	lo := slices.Min(t.x) - slices.Max(t.y)
	hi := slices.Max(t.x) - slices.Min(t.y)
	if !(t.z(lo, correct) > z) {
		return lo
	}
	if !(t.z(hi, correct) < z) {
		return hi
	}
	for range 60 {
		mid := (lo + hi) / 2
		if t.z(mid, correct) > z {
			lo = mid
		} else {
			hi = mid
		}
	}
	return (lo + hi) / 2
}
