package embedded

import (
	"math"
	"time"

	"github.com/slipway-cd/slipway/internal/metric"
)

// What a clock may be off, and what may lie between two samples of one series.
const (
	clockSkew = int64(time.Minute)      // nanoseconds: more, and a sample counts when it came
	clockStep = 10 * int64(time.Minute) // nanoseconds: an older sample is no late one, but of a clock that was set back
	longGap   = 300                     // seconds: what was counted in a longer gap is not known to be of any second
)

// Add takes samples in; it is metric.Sink.
//
// Of a series a sample is refused that is not later than its last: it came twice
// or late. A sample whose time is more than a minute from the receiver's counts
// when it came, for its instance's clock is wrong, unless it was told in
// differences. After either clock was set back a series begins anew: nothing is
// counted until its next sample. A counter that falls, or that says it began
// later than before, was started anew and is counted from zero; a series that
// appears on an instance which was heard before without it is counted from zero
// too. What was counted in a gap of more than five minutes is left out.
func (s *Store) Add(all []metric.Sample) (refused int, why string) {
	c := &s.samples
	c.mu.Lock()
	defer c.mu.Unlock()
	now := momentOf(s.now())
	var at place
	var g *group
	for i := range all {
		x := &all[i]
		if here := (place{x.Env, x.Service, x.Release}); g == nil || here != at {
			at, g = here, c.group(here)
		}
		if no := c.add(g, x, now); no != "" {
			c.refused.add(x.Service, x.Name, no)
			refused, why = refused+1, x.Name+": "+no
		}
	}
	c.sweep(now.second)
	return refused, why
}

// The reasons that are not of one place.
const (
	whyNumber   = "is no number"
	whyNegative = "counts below zero"
	whyLate     = "came late"
	whyTwice    = "came twice"
	whyKind     = "was of another kind before"
	whyClock    = "its time is wrong"
)

func (c *samples) add(g *group, x *metric.Sample, now moment) string {
	if no := wrong(x); no != "" {
		return no
	}
	s, no := c.find(g, x)
	switch {
	case no != "":
		return no
	case s.kind != x.Kind:
		return whyKind
	}
	at, anew, no := s.when(x, now)
	if no != "" {
		return no
	}
	if anew {
		s.begin()
	}
	i := g.instances[instanceKey{x.From, s.instance}]
	if i == nil {
		i = &instance{}
		g.instances[instanceKey{x.From, s.instance}] = i
	}
	if at.second > i.last || anew {
		i.before, i.last = i.last, at.second
	}
	born := int64(0) // when the instance was heard without this series
	if s.told == 0 && i.before > 0 && !anew {
		born = i.before
	}
	if s.second == at.second && s.told != 0 {
		no = s.same(x)
	} else {
		s.take(x, at, born)
	}
	s.told = at.nanos
	return no
}

// wrong says why a sample cannot be of any series; "" is that it can.
func wrong(x *metric.Sample) string {
	if x.Kind == metric.Histogram {
		return wrongBuckets(x.Hist)
	}
	if math.IsNaN(x.Value) || math.IsInf(x.Value, 0) {
		return whyNumber
	}
	if x.Kind == metric.Counter && x.Value < 0 {
		return whyNegative
	}
	return ""
}

// when says in which second a sample counts, and whether its series begins anew.
// The nanoseconds are those that the sample told.
func (s *series) when(x *metric.Sample, now moment) (at moment, anew bool, no string) {
	told := momentOf(x.At)
	if x.At.IsZero() {
		told = now
	}
	at = told
	off := told.nanos - now.nanos
	if off > clockSkew || off < -clockSkew {
		at.second = now.second
		if x.Delta {
			return at, false, whyClock
		}
	}
	late := s.told - told.nanos
	switch {
	case s.told == 0 || late < 0 && at.second >= s.second:
		return at, false, ""
	case late == 0:
		return at, false, whyTwice
	case late >= clockStep, late < 0, late > clockSkew && off >= -clockSkew && off <= clockSkew:
		return at, true, "" // a clock was set back
	}
	return at, false, whyLate
}

// begin forgets what a series said by a clock that was wrong.
func (s *series) begin() {
	*s = series{instance: s.instance, labels: s.labels, kind: s.kind, rollup: s.rollup}
}

// same takes a sample of the second that the one before was in: what a counter
// rose by is counted with the next one, and a gauge keeps the first.
func (s *series) same(x *metric.Sample) (no string) {
	if x.Delta && x.Kind == metric.Histogram {
		return "came twice in a second"
	}
	if x.Delta {
		s.owed += x.Value
	}
	return ""
}

// take counts a sample that is the first in its second.
func (s *series) take(x *metric.Sample, at moment, born int64) {
	from := s.second
	if s.told == 0 {
		from = born
	}
	since := int64(0)
	if !x.Since.IsZero() {
		since = x.Since.UnixNano()
	}
	if x.Delta && s.told == 0 && from == 0 && since > 0 {
		from = min(since/int64(time.Second), at.second-1) // it says what it covers
	}
	gap := at.second - from
	known := from > 0 && gap <= longGap
	e := entry{at: at.second, covered: gap}
	switch x.Kind {
	case metric.Gauge:
		e.value = x.Value
		if !known {
			e.covered, known = 1, true
		}
	case metric.Counter:
		e.value, known = s.rise(x, since, known)
	case metric.Histogram:
		e.value, e.rest, known = s.fill(x, since, known)
	}
	s.second, s.since = at.second, since
	if known {
		s.seconds.add(e, samplePage)
		s.rollup.add(e)
	}
}

// rise returns what a counter rose by since its last sample.
func (s *series) rise(x *metric.Sample, since int64, known bool) (float64, bool) {
	if x.Delta {
		v := x.Value + s.owed
		s.owed = 0
		return v, known
	}
	was := s.total
	s.total = x.Value
	if s.told == 0 || x.Value < was || s.restarted(since) {
		return x.Value, known
	}
	return x.Value - was, known
}

// restarted says whether a series counts since later than before. A second is
// granted to those who derive that time anew from a clock and an uptime.
func (s *series) restarted(since int64) bool {
	return s.since != 0 && since > s.since+int64(time.Second)
}

// fill returns what a histogram got since its last sample: the sum, and packed
// its buckets.
func (s *series) fill(x *metric.Sample, since int64, known bool) (float64, packing, bool) {
	empty := metric.Buckets{Bounds: x.Hist.Bounds, Counts: make([]uint64, len(x.Hist.Counts))}
	before := s.buckets
	if !x.Delta {
		s.buckets = &metric.Buckets{Bounds: cloneSame(before, x.Hist.Bounds), Counts: append([]uint64(nil), x.Hist.Counts...), Sum: x.Hist.Sum}
	}
	if before == nil || x.Delta || s.restarted(since) {
		before = &empty
	}
	more, ok := added(before, x.Hist)
	if !ok {
		before = &empty
		more, _ = added(before, x.Hist)
	}
	return x.Hist.Sum - before.Sum, packBuckets(nil, more), known
}

// cloneSame returns bounds that nobody else changes: those from before, if they
// are the same.
func cloneSame(before *metric.Buckets, bounds []float64) []float64 {
	if before != nil && len(before.Bounds) == len(bounds) {
		for i, b := range bounds {
			if before.Bounds[i] != b {
				return append([]float64(nil), bounds...)
			}
		}
		return before.Bounds
	}
	return append([]float64(nil), bounds...)
}
