package embedded

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// patience is how long after its last sample an instance may still tell more, in
// seconds: three times as long as it took before, and never less than least.
const (
	patienceTimes = 3
	leastPatience = 5
	mostPatience  = 180
)

// Read answers for the sources that this machine has; it is metric.Driver.
//
// Numbers of the data plane are counts of one second each. All others were read
// off instances from time to time: a reading then covers the time in which every
// instance of both arms was read at least once, and exists only if each arm has
// one that was read before it and after it. A name is missing if either arm never
// used it: a counter that only one version has is not zero in the other.
func (s *Store) Read(ctx context.Context, a metric.Ask) (metric.Answer, error) {
	if err := ctx.Err(); err != nil {
		return metric.Answer{}, fmt.Errorf("metric: %w", err)
	}
	if a.Metric.From == delivery.FromTraffic {
		return s.readTraffic(a)
	}
	q := question{Ask: a}
	var err error
	if q.value, err = ParseSelector(a.Metric.Value); err != nil {
		return metric.Answer{}, fmt.Errorf("metric %s: %w", a.Metric.Name, err)
	}
	if per := a.Metric.Per; per != "" && per != delivery.PerSeconds && per != delivery.PerRequests {
		p, err := ParseSelector(per)
		if err != nil {
			return metric.Answer{}, fmt.Errorf("metric %s: per: %w", a.Metric.Name, err)
		}
		q.per = &p
	}
	if q.up, err = unitShift(a.Metric); err != nil {
		return metric.Answer{}, err
	}
	return s.answer(q), nil
}

// unitShift is how far up the grid a latency's unit has to go to become seconds.
func unitShift(m delivery.Metric) (int, error) {
	if m.Kind != delivery.KindLatency {
		return 0, nil
	}
	scale, ok := map[string]float64{"": 1, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}[m.Unit]
	if !ok {
		return 0, fmt.Errorf("metric %s: %w", m.Name, delivery.Invalid("unit", fmt.Sprintf("%q is no unit of time; say s, ms, us or ns", m.Unit)))
	}
	return shift(scale), nil
}

// question is an ask, understood.
type question struct {
	metric.Ask
	value Selector
	per   *Selector // nil: instance-seconds, requests or nothing
	up    int
}

// answer reads both arms and cuts them into readings.
func (s *Store) answer(q question) metric.Answer {
	c := &s.samples
	c.mu.Lock()
	stable, canary := c.arm(q, q.Stable), c.arm(q, q.Canary)
	c.mu.Unlock()
	now := s.now().Unix()
	spans, until := cut(&stable, &canary, q.First-1, min(q.Last, now), now)
	out := metric.Answer{Until: until, Missing: cmp.Or(stable.missing, canary.missing)}
	if out.Missing != "" {
		return out
	}
	byRequests := q.Metric.Kind == delivery.KindCount && q.Metric.Per == delivery.PerRequests
	if last, _ := s.Closed(); byRequests && until > last { // the data plane is not that far
		spans = slices.DeleteFunc(spans, func(k span) bool { return k.to > last })
		out.Until = q.First - 1
		if len(spans) > 0 {
			out.Until = spans[len(spans)-1].to
		}
	}
	left, right := stable.values(q, spans, 0), canary.values(q, spans, 1)
	for i, k := range spans {
		if byRequests {
			left[i].N, right[i].N = s.requests(q, q.Stable.Release, k), s.requests(q, q.Canary.Release, k)
		}
		out.Readings = append(out.Readings, metric.Reading{Second: k.to, Reading: analysis.Reading{
			Metric: q.Metric.Name, Seconds: int(k.to - k.from), Stable: left[i], Canary: right[i],
			Approx: q.Metric.From != delivery.FromWorkload, Wrong: wrongReading(q.Metric.Kind, left[i], right[i]),
		}})
	}
	if out.Missing = cmp.Or(stable.gone(q, now), canary.gone(q, now)); out.Missing == "" && len(spans) == 0 {
		out.Missing = fmt.Sprintf("%s was not read of both releases yet", q.value.Name)
	}
	return out
}

// requests is what the data plane carried to a release meanwhile.
func (s *Store) requests(q question, release delivery.ReleaseID, k span) float64 {
	n, _ := s.Exposure(q.Env+"/"+q.Service, release, k.from+1, k.to)
	return float64(n)
}

// wrongReading says why a reading cannot be judged.
func wrongReading(kind delivery.MetricKind, arms ...analysis.Value) string {
	for _, v := range arms {
		if kind == delivery.KindShare && v.Sum > v.N*(1+1e-9) {
			return fmt.Sprintf("%g of %g is more than all", v.Sum, v.N)
		}
		if (kind == delivery.KindShare || kind == delivery.KindCount) && v.Sum < 0 {
			return fmt.Sprintf("there were %g events", v.Sum)
		}
	}
	return ""
}

// arm is what one release's instances told of a question.
type arm struct {
	called    string // as people call it
	instances []told
	missing   string
}

// told is what one instance told, by second. Each pulse is one reading of it.
type told struct {
	pulses     []pulse
	value, per []point
}

// pulse is a time over which an instance was read: after from, up to at.
type pulse struct{ from, at int64 }

// point is an entry of a series that a selector picked.
type point struct {
	entry
	series int    // apart from the instance's others
	part   string // of a histogram: "", "sum" or "count"
	kind   metric.SeriesKind
}

// arm collects what a side told.
func (c *samples) arm(q question, side metric.Side) arm {
	a := arm{called: called(side)}
	g := c.groups[place{q.Env, q.Service, side.Release}]
	if g == nil {
		a.missing = fmt.Sprintf("nothing was heard from release %s", called(side))
		return a
	}
	by := map[string]*told{}
	a.missing = g.collect(q, side, q.value, by, func(t *told, p point) { t.value = append(t.value, p) })
	if q.per != nil && a.missing == "" {
		a.missing = g.collect(q, side, *q.per, by, func(t *told, p point) { t.per = append(t.per, p) })
	}
	for _, id := range slices.Sorted(maps.Keys(by)) {
		by[id].settle()
		a.instances = append(a.instances, *by[id])
	}
	return a
}

func called(side metric.Side) string { return cmp.Or(side.Version, string(side.Release)) }

// collect finds the series of a selector and gives their points to their
// instances. Every series of the name is a pulse, picked or not: a label value
// that was never counted is a zero of whoever counts the others.
func (g *group) collect(q question, side metric.Side, sel Selector, by map[string]*told, put func(*told, point)) (missing string) {
	f, part := g.named(q.Metric.From, sel.Name)
	switch {
	case f == nil:
		return fmt.Sprintf("release %s has no series %s", called(side), sel.Name)
	case f.crowded:
		return fmt.Sprintf("%s of release %s is not kept: %s (more than %d series)", sel.Name, called(side), whyCrowded, maxOfName)
	}
	number := 0
	for _, s := range f.series {
		number++
		if side.Instances != nil && !slices.Contains(side.Instances, s.instance) {
			continue
		}
		t := by[s.instance]
		if t == nil {
			t = &told{}
			by[s.instance] = t
		}
		picked := sel.match(s.labels)
		if end := s.seconds.tail; end.last < q.First && end.gap > 0 { // it is silent, and since when is told
			t.pulses = append(t.pulses, pulse{end.last - end.covered, end.last})
		}
		s.seconds.each(q.First, q.Last+longGap, func(e entry) {
			t.pulses = append(t.pulses, pulse{e.at - e.covered, e.at})
			if picked && e.at >= q.First && e.at <= q.Last {
				e.rest = slices.Clone(e.rest)
				put(t, point{e, number, part, s.kind})
			}
		})
	}
	return ""
}

// named finds a family by its name, or a histogram by that of its sum or count.
func (g *group) named(from delivery.MetricSource, name string) (*family, string) {
	if f := g.families[familyKey{from, name}]; f != nil {
		return f, ""
	}
	for _, part := range []string{"sum", "count"} {
		if base, ok := strings.CutSuffix(name, "_"+part); ok {
			return g.families[familyKey{from, base}], part
		}
	}
	return nil, ""
}
