package embedded

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// The names of the data plane's numbers, of From traffic. They count what the
// split drew; latency is a histogram of seconds.
const (
	Requests = "requests"
	Failures = "failed"
	Units    = "units" // distinct sticky keys of each second
	UnitsBad = "units_bad"
	Latency  = "latency"
)

// Show says what of the numbers in a step is shown.
type Show string

// What may be shown.
const (
	ShowRate     Show = "rate"     // of a counter, a second; of a histogram how many there were, a second
	ShowIncrease Show = "increase" // of a counter or a histogram, in the step
	ShowMean     Show = "mean"     // of a gauge or of the values of a histogram
	ShowMax      Show = "max"      // of a gauge
	ShowQuantile Show = "quantile" // of a histogram
)

// Query asks for lines to draw. Empty fields select everything.
type Query struct {
	Env, Service string
	Release      delivery.ReleaseID
	From         delivery.MetricSource // "" is traffic
	Select       Selector
	Show         Show
	Quantile     float64   // of ShowQuantile, above 0 and below 1
	First, Last  time.Time // both included
	Step         time.Duration
}

// Line is one series over time, of all instances of a release. A step in which
// nothing was told is not in it.
type Line struct {
	Env     string             `json:"env"`
	Service string             `json:"service"`
	Release delivery.ReleaseID `json:"release"`
	Labels  []metric.Label     `json:"labels,omitempty"`
	Points  []LinePoint        `json:"points"`
}

// LinePoint is the value of the step that begins at At.
type LinePoint struct {
	At    int64   `json:"at"` // Unix second
	Value float64 `json:"value"`
}

// Bounds of one query.
const (
	maxLines  = 500
	maxPoints = 1500 // of a line
)

// Query returns the lines that q selects, by environment, service, release and
// labels. Steps below a minute are known of the last ten minutes, others of the
// last day; data of the data plane is there a minute later than that of services.
func (s *Store) Query(q Query) ([]Line, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	plot := canvas{q: q, lines: map[string]*drawing{}, step: int64(q.Step / time.Second)}
	if q.From == "" || q.From == delivery.FromTraffic {
		s.frames.draw(&plot)
	} else {
		s.samples.draw(&plot)
	}
	if plot.over {
		return nil, delivery.Invalid("select", fmt.Sprintf("picks more than %d series; name a release or a label", maxLines))
	}
	var out []Line
	for _, key := range slices.Sorted(maps.Keys(plot.lines)) {
		if l := plot.lines[key].line(q); len(l.Points) > 0 {
			out = append(out, l)
		}
	}
	return out, nil
}

func (q Query) check() error {
	switch {
	case q.Select.Name == "":
		return delivery.Invalid("select", "is empty; say the name of a series, such as "+Requests)
	case q.Step < time.Second || q.Step%time.Second != 0:
		return delivery.Invalid("step", fmt.Sprintf("is %s; it is whole seconds, 1s at least", q.Step))
	case q.Last.Before(q.First):
		return delivery.Invalid("last", "is before first")
	case q.Last.Sub(q.First)/q.Step >= maxPoints:
		return delivery.Invalid("step", fmt.Sprintf("of %s makes more than %d points; take %s", q.Step, maxPoints, (q.Last.Sub(q.First)/maxPoints).Truncate(time.Second)+time.Second))
	case q.Show == ShowQuantile && !(q.Quantile > 0 && q.Quantile < 1):
		return delivery.Invalid("quantile", "must be above 0 and below 1")
	}
	if !slices.Contains([]Show{ShowRate, ShowIncrease, ShowMean, ShowMax, ShowQuantile}, q.Show) {
		return delivery.Invalid("show", fmt.Sprintf("%q is none of rate, increase, mean, max, quantile", q.Show))
	}
	if q.From == "" || q.From == delivery.FromTraffic {
		return q.checkTraffic()
	}
	return nil
}

// checkTraffic refuses what the data plane could never answer. What services tell
// may yet come; of its own numbers there are these and no others.
func (q Query) checkTraffic() error {
	_, kind, known := flow{}.sums(q.Select.Name)
	switch {
	case !known:
		return delivery.InvalidNext("select", fmt.Sprintf("the data plane has no number %q; it has %s, %s, %s, %s and %s", q.Select.Name, Requests, Failures, Units, UnitsBad, Latency), "choose one of these, or the source service for what a service tells of itself")
	case len(q.Select.Matchers) > 0:
		return delivery.Invalid("select", "has labels, and numbers of the data plane have none; choose the service, environment or release beside it")
	case !shows(q.Show, kind):
		return delivery.Invalid("show", fmt.Sprintf("%s says nothing of %s, which is a %s", q.Show, q.Select.Name, kind))
	}
	return nil
}

// shows says whether there is such a thing to show of a kind.
func shows(s Show, kind metric.SeriesKind) bool {
	return kind != metric.Gauge && (s == ShowRate || s == ShowIncrease) ||
		kind == metric.Gauge && (s == ShowMean || s == ShowMax) ||
		kind == metric.Histogram && (s == ShowQuantile || s == ShowMean)
}

// fine says whether a query is answered from single seconds.
func (q Query) fine() bool { return q.Step < time.Minute }

// canvas is the lines of a query while they are drawn.
type canvas struct {
	q     Query
	step  int64
	lines map[string]*drawing
	over  bool
}

// drawing is one line, by the beginning of the step.
type drawing struct {
	Line
	kind  metric.SeriesKind
	steps map[int64]*sums
}

// of returns the line of a series, or nil if there are too many.
func (c *canvas) of(at place, labels []metric.Label, kind metric.SeriesKind) *drawing {
	var key packing
	key.text(at.env)
	key.text(at.service)
	key.text(string(at.release))
	for _, l := range labels {
		key.text(l.Name)
		key.text(l.Value)
	}
	d := c.lines[string(key)]
	if d == nil && len(c.lines) < maxLines {
		d = &drawing{Line: Line{at.env, at.service, at.release, labels, nil}, kind: kind, steps: map[int64]*sums{}}
		c.lines[string(key)] = d
	}
	c.over = c.over || d == nil
	return d
}

// add draws what was told at a second.
func (c *canvas) add(d *drawing, second int64, x sums) {
	at := second - second%c.step
	if d.steps[at] == nil {
		d.steps[at] = &sums{}
	}
	d.steps[at].merge(x)
}

// picks says whether a query is about a place.
func (q Query) picks(at place) bool {
	return (q.Env == "" || q.Env == at.env) && (q.Service == "" || q.Service == at.service) && (q.Release == "" || q.Release == at.release)
}

// draw draws what services, workloads and logs told.
func (c *samples) draw(on *canvas) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := on.q
	for at, g := range c.groups {
		f := g.families[familyKey{q.From, q.Select.Name}]
		if f == nil || !q.picks(at) {
			continue
		}
		for _, r := range f.rollups {
			if !q.fine() && q.Select.match(r.labels) {
				if d := on.of(at, r.labels, r.kind); d != nil {
					r.each(q.First.Unix()/60, q.Last.Unix()/60, func(m sums) { on.add(d, m.minute*60, m) })
				}
			}
		}
		for _, x := range f.series {
			if q.fine() && q.Select.match(x.labels) {
				if d := on.of(at, x.labels, x.kind); d != nil {
					x.seconds.each(q.First.Unix(), q.Last.Unix(), func(e entry) { on.add(d, e.at, sumsOf(e)) })
				}
			}
		}
	}
}

// draw draws what the data plane counted.
func (c *frames) draw(on *canvas) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := on.q
	put := func(at place, second int64, f flow) {
		x, kind, known := f.sums(q.Select.Name)
		if !known || !q.picks(at) || !q.Select.match(nil) {
			return
		}
		if d := on.of(at, nil, kind); d != nil {
			on.add(d, second, x)
		}
	}
	if !q.fine() {
		for route, tracks := range c.tracks {
			env, service, _ := strings.Cut(route, "/")
			for _, t := range tracks {
				t.minutes.each(q.First.Unix()/60, q.Last.Unix()/60, func(e entry) { put(place{env, service, t.release}, e.at*60, flowOf(e)) })
			}
		}
		return
	}
	for route := range c.routes {
		env, service, _ := strings.Cut(route, "/")
		want := func(l *line) bool { return traffic.Drawn(l.caller) && q.picks(place{env, service, l.release}) }
		c.each(route, q.First.Unix(), q.Last.Unix(), want, func(b *traffic.Block) {
			var f flow
			f.add(b)
			put(place{env, service, b.Release}, b.Second, f)
		})
	}
}

// sums is one of the data plane's numbers, by its name.
func (f flow) sums(name string) (x sums, kind metric.SeriesKind, known bool) {
	count := func(n uint64) (sums, metric.SeriesKind, bool) {
		return sums{n: 1, sum: float64(n)}, metric.Counter, true
	}
	switch name {
	case Requests:
		return count(f.requests)
	case Failures:
		return count(f.failed)
	case Units:
		return count(f.units)
	case UnitsBad:
		return count(f.bad)
	case Latency:
		x = sums{n: 1, buckets: map[bucket]uint64{}}
		for bin, n := range f.bins {
			x.buckets[bucket{bin - 1, bin}] += uint64(n)
			x.sum += edgeOf(bin) * float64(n)
		}
		return x, metric.Histogram, true
	}
	return x, "", false
}

// line is what a drawing shows.
func (d *drawing) line(q Query) Line {
	l := d.Line
	for _, at := range slices.Sorted(maps.Keys(d.steps)) {
		if v, ok := d.steps[at].show(q, d.kind); ok {
			l.Points = append(l.Points, LinePoint{at, v})
		}
	}
	return l
}

// show is the value of a step. It is false if there is none, or one that could
// not be drawn.
func (a *sums) show(q Query, kind metric.SeriesKind) (v float64, ok bool) {
	n := a.sum
	if kind == metric.Histogram {
		n = 0
		for _, k := range a.buckets {
			n += float64(k)
		}
	}
	switch q.Show {
	case ShowRate:
		v = n / q.Step.Seconds()
	case ShowIncrease:
		v = n
	case ShowMean:
		v = a.sum / cmp.Or(meanOf(kind, a, n), math.NaN())
	case ShowMax:
		v = a.high
	case ShowQuantile:
		v = quantile(a.buckets, q.Quantile)
	}
	return v, shows(q.Show, kind) && !math.IsNaN(v) && !math.IsInf(v, 0)
}

// meanOf is how many values a mean is taken over.
func meanOf(kind metric.SeriesKind, a *sums, n float64) float64 {
	if kind == metric.Histogram {
		return n
	}
	return float64(a.n)
}

// quantile is the q-quantile of buckets: the upper end of the range it lies in,
// +Inf if that is open, NaN if they are empty.
func quantile(m map[bucket]uint64, q float64) float64 {
	var n uint64
	for _, k := range m {
		n += k
	}
	if n == 0 {
		return math.NaN()
	}
	need, seen := uint64(q*float64(n)), uint64(0)
	for _, b := range sortedBuckets(m) {
		if seen += m[b]; seen > need || seen == n {
			return edgeOf(b.high)
		}
	}
	return math.NaN()
}
