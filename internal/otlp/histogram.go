package otlp

import (
	"math"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/slipway-cd/slipway/internal/metric"
)

// Bounds of a histogram as it is kept.
const (
	maxBuckets = 500
	finest     = 3 // scale of an exponential histogram: 8 buckets a doubling, 9 % wide each
)

func (r *reading) histogram(m *metricspb.Metric, h *metricspb.Histogram) {
	name := nameOf(m, false)
	delta, ok := temporality(h.GetAggregationTemporality())
	if !ok {
		r.t.refuse(len(h.GetDataPoints()), name+" does not say whether it is cumulative")
		return
	}
	for _, p := range h.GetDataPoints() {
		if p.GetFlags()&noValue != 0 {
			continue
		}
		s := r.sample(name, metric.Histogram, p)
		s.Delta = delta
		s.Hist = &metric.Buckets{Bounds: p.GetExplicitBounds(), Counts: p.GetBucketCounts(), Sum: p.GetSum()}
		if len(s.Hist.Bounds) == 0 && len(s.Hist.Counts) == 0 {
			s.Hist.Counts = []uint64{p.GetCount()} // it only counts
		}
		r.keepHistogram(s, p.GetCount())
	}
}

// keepHistogram keeps a histogram whose buckets are few and hold its count.
func (r *reading) keepHistogram(s metric.Sample, count uint64) {
	var n uint64
	for _, c := range s.Hist.Counts {
		n += c
	}
	switch {
	case len(s.Hist.Counts) > maxBuckets:
		r.t.refuse(1, s.Name+" has more than 500 buckets")
	case n != count:
		r.t.refuse(1, s.Name+" has another count than its buckets")
	default:
		r.keep(s)
	}
}

// exponential turns base-2 exponential buckets into buckets with bounds, at most
// as fine as scale 3, so that what a series shows stays comparable while its SDK
// widens its scale: coarser bounds are among the finer ones.
func (r *reading) exponential(m *metricspb.Metric, h *metricspb.ExponentialHistogram) {
	name := nameOf(m, false)
	delta, ok := temporality(h.GetAggregationTemporality())
	if !ok {
		r.t.refuse(len(h.GetDataPoints()), name+" does not say whether it is cumulative")
		return
	}
	for _, p := range h.GetDataPoints() {
		if p.GetFlags()&noValue != 0 {
			continue
		}
		var below uint64
		for _, c := range p.GetNegative().GetBucketCounts() {
			below += c
		}
		if below > 0 {
			r.t.refuse(1, name+" has negative values in exponential buckets")
			continue
		}
		s := r.sample(name, metric.Histogram, p)
		s.Delta = delta
		if s.Hist = spread(p); s.Hist == nil {
			r.t.refuse(1, name+" has exponential buckets that are no numbers, or too many")
			continue
		}
		r.keepHistogram(s, p.GetCount())
	}
}

// spread lays out the buckets of a point: bucket i at scale s holds values above
// 2^(i/2^s), up to 2^((i+1)/2^s). It returns nil for what cannot be.
func spread(p *metricspb.ExponentialHistogramDataPoint) *metric.Buckets {
	counts, scale, first := p.GetPositive().GetBucketCounts(), p.GetScale(), int64(p.GetPositive().GetOffset())
	zero := p.GetZeroThreshold()
	if scale > 20 || scale < -10 || len(counts) > 1<<16 || math.IsNaN(zero) || math.IsInf(zero, 0) || zero < 0 {
		return nil
	}
	for len(counts) > 0 && counts[len(counts)-1] == 0 {
		counts = counts[:len(counts)-1]
	}
	for len(counts) > 0 && counts[0] == 0 {
		counts, first = counts[1:], first+1
	}
	shift := max(scale-finest, 0)
	scale -= shift
	b := &ladder{metric.Buckets{Bounds: []float64{zero}, Counts: []uint64{p.GetZeroCount()}, Sum: p.GetSum()}}
	upper := func(i int64) float64 { return math.Exp2(math.Ldexp(float64(i+1), -int(scale))) }
	var above uint64 // of what a float64 holds
	for i, c := range counts {
		index := (first + int64(i)) >> shift // rounds down, as merging buckets does
		low, high := upper(index-1), upper(index)
		if i == 0 {
			b.reach(low)
		}
		if math.IsInf(high, 0) {
			above += c
			continue
		}
		b.reach(high)
		if b.Counts[len(b.Counts)-1] += c; len(b.Counts) > maxBuckets {
			return nil
		}
	}
	b.Counts = append(b.Counts, above)
	return &b.Buckets
}

// ladder is buckets that are laid out from below.
type ladder struct{ metric.Buckets }

// reach begins a bucket up to bound, unless the last goes that far.
func (l *ladder) reach(bound float64) {
	if bound > l.Bounds[len(l.Bounds)-1] && !math.IsInf(bound, 0) {
		l.Bounds, l.Counts = append(l.Bounds, bound), append(l.Counts, 0)
	}
}
