package embedded

import (
	"maps"

	"github.com/slipway-cd/slipway/internal/metric"
)

// rollup is one series of a release by minute, over all its instances.
type rollup struct {
	labels  []metric.Label
	kind    metric.SeriesKind
	open    [2]sums // the two newest minutes, by the lowest bit: instances are not read at the same moment
	minutes column
}

// clockBack is how many minutes before the newest an entry is if the clock was
// set back.
const clockBack = 5

// sums is what was counted in a minute. Two are added up by adding them up: of a
// counter what it rose by, of a gauge how many values there were, their sum, the
// least and the greatest, of a histogram its buckets and the sum of its values.
type sums struct {
	minute    int64 // since 1970; 0 is none
	n         uint64
	sum       float64
	low, high float64
	buckets   map[bucket]uint64
}

// merge adds what another minute, or the same of another instance, has.
func (a *sums) merge(b sums) {
	if b.n == 0 {
		return
	}
	if a.n == 0 {
		a.low, a.high = b.low, b.high
	}
	a.n += b.n
	a.sum += b.sum
	a.low, a.high = min(a.low, b.low), max(a.high, b.high)
	if len(b.buckets) == 0 {
		return
	}
	if a.buckets == nil {
		a.buckets = make(map[bucket]uint64, len(b.buckets))
	}
	for k, n := range b.buckets {
		a.buckets[k] += n
	}
}

// sumsOf is what one entry of a series adds to its minute.
func sumsOf(e entry) sums {
	s := sums{minute: e.at / 60, n: 1, sum: e.value, low: e.value, high: e.value}
	if len(e.rest) > 0 {
		s.buckets = map[bucket]uint64{}
		unpackBuckets(e.rest, s.buckets)
	}
	return s
}

// add counts an entry of one instance. One of a minute that is closed already
// counts in the oldest that is open.
func (r *rollup) add(e entry) {
	minute := e.at / 60
	newest := max(r.open[0].minute, r.open[1].minute)
	switch {
	case minute > newest:
		r.advance(minute)
	case minute < newest-clockBack:
		r.open, r.minutes = [2]sums{}, column{} // the clock was set back, and these minutes come again
	case minute < newest-1:
		minute = newest - 1
	}
	o := &r.open[minute&1]
	if o.minute != minute {
		r.close(o)
		*o = sums{minute: minute}
	}
	if len(e.rest) == 0 { // the way of most, without a map
		if o.n == 0 {
			o.low, o.high = e.value, e.value
		}
		o.n++
		o.sum += e.value
		o.low, o.high = min(o.low, e.value), max(o.high, e.value)
		return
	}
	o.merge(sumsOf(e))
}

// advance closes what is older than the minute before minute.
func (r *rollup) advance(minute int64) {
	older, newer := &r.open[0], &r.open[1]
	if older.minute > newer.minute {
		older, newer = newer, older
	}
	for _, o := range []*sums{older, newer} {
		if o.minute < minute-1 {
			r.close(o)
		}
	}
}

// close writes a minute down.
func (r *rollup) close(o *sums) {
	if o.n > 0 && (len(r.minutes.pages) == 0 || o.minute > r.minutes.last) {
		r.minutes.add(o.entry(r.kind), minutePage)
	}
	*o = sums{}
}

func (a sums) entry(kind metric.SeriesKind) entry {
	e := entry{at: a.minute, covered: 1, value: a.sum}
	switch {
	case kind == metric.Gauge && a.low == a.high && a.sum == a.low*float64(a.n):
		e.rest.uint(a.n) // all values were the same
	case kind == metric.Gauge:
		e.rest.uint(a.n)
		e.rest.float(a.low)
		e.rest.float(a.high)
	case kind == metric.Histogram:
		e.rest = packBuckets(nil, a.buckets)
	}
	return e
}

// sumsOfMinute reads what sums.entry wrote.
func sumsOfMinute(e entry, kind metric.SeriesKind) sums {
	s := sums{minute: e.at, n: 1, sum: e.value, low: e.value, high: e.value}
	switch kind {
	case metric.Gauge:
		u := unpacking{b: e.rest}
		s.n = max(u.uint(), 1)
		if s.low, s.high = u.float(), u.float(); u.bad {
			s.low = e.value / float64(s.n)
			s.high = s.low
		}
	case metric.Histogram:
		s.buckets = map[bucket]uint64{}
		unpackBuckets(e.rest, s.buckets)
	case metric.Counter:
	}
	return s
}

// each calls fn with the minutes from first to last, open ones too.
func (r *rollup) each(first, last int64, fn func(sums)) {
	r.minutes.each(first, last, func(e entry) { fn(sumsOfMinute(e, r.kind)) })
	older, newer := r.open[0], r.open[1]
	if older.minute > newer.minute {
		older, newer = newer, older
	}
	for _, o := range []sums{older, newer} {
		if o.n > 0 && o.minute >= first && o.minute <= last {
			o.buckets = maps.Clone(o.buckets)
			fn(o)
		}
	}
}
