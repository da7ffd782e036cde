package main

import (
	"math"
	"slices"
	"time"
)

// results are the samples of all rounds.
type results []sample

// of returns the samples of one peer and load, in the order of the rounds.
func (r results) of(peer, load string) results {
	var out results
	for _, s := range r {
		if s.Peer == peer && s.Load == load {
			out = append(out, s)
		}
	}
	return out
}

// median of what f reads from each sample, NaN when there is none.
func (r results) median(f func(sample) float64) float64 {
	v := make([]float64, 0, len(r))
	for _, s := range r {
		v = append(v, f(s))
	}
	return median(v)
}

// median is the middle one, or the mean of the two in the middle.
func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	v = slices.Clone(v)
	slices.Sort(v)
	if n := len(v); n%2 == 0 {
		return (v[n/2-1] + v[n/2]) / 2
	}
	return v[len(v)/2]
}

// cpu is the median CPU time per request in microseconds.
func (r results) cpu(peer, load string) float64 { return r.of(peer, load).median(sample.perRequest) }

// memory is the median of resident bytes after the load that it is read after.
func (r results) memory(peer string) float64 {
	return r.of(peer, memoryAfter).median(func(s sample) float64 { return float64(s.Memory) })
}

// added is the median, over rounds, of what a peer adds to the upstream's own
// latency in the same round, in microseconds.
func (r results) added(peer string, f func(sample) time.Duration) float64 {
	var v []float64
	for _, s := range r.of(peer, "open") {
		for _, d := range r.of("direct", "open") {
			if d.Round == s.Round {
				v = append(v, float64((f(s)-f(d)).Nanoseconds())/1e3)
			}
		}
	}
	return median(v)
}

// rounds returns the ratio of two peers' CPU per request in each round that has
// both: by how much a ratio of medians may be trusted.
func (r results) rounds(peer, other, load string) (lowest, highest float64) {
	lowest, highest = math.NaN(), math.NaN()
	for _, s := range r.of(peer, load) {
		for _, o := range r.of(other, load) {
			if o.Round != s.Round {
				continue
			}
			x := s.perRequest() / o.perRequest()
			if math.IsNaN(lowest) || x < lowest {
				lowest = x
			}
			if math.IsNaN(highest) || x > highest {
				highest = x
			}
		}
	}
	return lowest, highest
}

// spread is how far the rounds of one cell lie apart: (highest − lowest) / median.
func (r results) spread(peer, load string) float64 {
	all := r.of(peer, load)
	if len(all) < 2 {
		return math.NaN()
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range all {
		low, high = min(low, s.perRequest()), max(high, s.perRequest())
	}
	return (high - low) / all.median(sample.perRequest)
}
