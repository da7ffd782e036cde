package embedded

import (
	"maps"
	"slices"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// values sums up, for each span, what an arm told. salt tells the arms apart.
func (a *arm) values(q question, spans []span, salt uint64) []analysis.Value {
	out := make([]analysis.Value, len(spans))
	for i := range a.instances {
		t := &a.instances[i]
		switch q.Metric.Kind {
		case delivery.KindLatency:
			t.latencies(out, spans, q.up, salt)
		case delivery.KindLevel:
			t.levels(out, spans)
		case delivery.KindMean:
			t.means(out, spans)
		case delivery.KindShare, delivery.KindCount:
			for _, p := range t.value {
				if k := spanOf(spans, p.at); k >= 0 {
					out[k].Sum += p.number()
				}
			}
			for _, p := range t.per {
				if k := spanOf(spans, p.at); k >= 0 {
					out[k].N += p.number()
				}
			}
			if q.per == nil {
				t.exposures(out, spans)
			}
		}
	}
	return out
}

// spanOf returns the span that a second is in, or -1.
func spanOf(spans []span, at int64) int {
	i, _ := slices.BinarySearchFunc(spans, at, func(s span, at int64) int {
		if s.to < at {
			return -1
		}
		return 1
	})
	if i == len(spans) || at <= spans[i].from {
		return -1
	}
	return i
}

// number is what a point counts.
func (p point) number() float64 {
	if p.kind != metric.Histogram || p.part == "sum" {
		return p.value
	}
	var n uint64
	for _, k := range p.buckets() {
		n += k
	}
	return float64(n)
}

func (p point) buckets() map[bucket]uint64 {
	m := map[bucket]uint64{}
	unpackBuckets(p.rest, m)
	return m
}

// exposures counts instance-seconds.
func (t *told) exposures(out []analysis.Value, spans []span) {
	for _, p := range t.pulses {
		if k := spanOf(spans, p.at); k >= 0 {
			out[k].N += float64(p.at - p.from)
		}
	}
}

// latencies lays the buckets of histograms over the bins of analysis.
func (t *told) latencies(out []analysis.Value, spans []span, up int, salt uint64) {
	for _, p := range t.value {
		k := spanOf(spans, p.at)
		if k < 0 || p.kind != metric.Histogram {
			continue
		}
		if out[k].Bins == nil {
			out[k].Bins = map[int]uint32{}
		}
		out[k].Sum += p.value
		m := p.buckets()
		for _, b := range sortedBuckets(m) {
			out[k].N += float64(m[b])
			toBins(out[k].Bins, b, m[b], up, turnOf(p.at, salt))
		}
	}
}

// levels takes the last value of each series in a span, and of a counter how fast
// it rose in it, a second; an instance is one value, the sum of its series.
func (t *told) levels(out []analysis.Value, spans []span) {
	sums := make([]float64, len(spans))
	has := make([]bool, len(spans))
	for i, p := range t.value {
		k := spanOf(spans, p.at)
		if k >= 0 && p.kind == metric.Counter {
			sums[k] += p.value / float64(spans[k].to-spans[k].from)
			has[k] = true
			continue
		}
		if k < 0 || i+1 < len(t.value) && t.value[i+1].series == p.series && spanOf(spans, t.value[i+1].at) == k {
			continue // a later one of the span follows
		}
		sums[k] += p.value
		has[k] = true
	}
	for k := range spans {
		if has[k] {
			addUnit(&out[k], sums[k])
		}
	}
}

// means takes what an instance counted between two readings as one value, the
// mean of its units: how they differ among themselves nobody told.
func (t *told) means(out []analysis.Value, spans []span) {
	type part struct{ sum, n float64 }
	by := map[int64]part{}
	for _, p := range t.value {
		x := by[p.at]
		x.sum += p.value
		if len(t.per) == 0 {
			x.n++
			if p.kind == metric.Histogram {
				x.n += point{entry: p.entry, kind: p.kind}.number() - 1
			}
		}
		by[p.at] = x
	}
	for _, p := range t.per {
		x := by[p.at]
		x.n += p.number()
		by[p.at] = x
	}
	for _, at := range slices.Sorted(maps.Keys(by)) {
		if k := spanOf(spans, at); k >= 0 && by[at].n > 0 {
			addUnit(&out[k], by[at].sum/by[at].n)
		}
	}
}

func addUnit(v *analysis.Value, x float64) {
	v.N++
	v.Sum += x
	v.Squares += x * x
}
