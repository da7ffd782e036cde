package embedded

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// Bounds of what is kept. A full series takes from two kilobytes to four, when its
// value changes in every second (BenchmarkMemory), so that all of them together
// take some hundreds of megabytes at most.
const (
	maxSeries     = 100_000 // in all
	maxOfRelease  = 10_000  // of one release in one environment
	maxOfName     = 2_000   // of one name of it; of one that has more, none is kept
	maxReported   = 100     // names of which something was refused, as they are told to people
	maxLabelBytes = 4096    // of all labels of a series
)

// How long samples are kept, in seconds.
const (
	keptSamples = 600
	samplePage  = 120
	keptMinutes = 24 * 60 // in minutes
	minutePage  = 120     // in minutes
	silence     = 900     // after which an instance is gone, and its series with it
)

// samples keeps what services, workloads and logs say in numbers.
type samples struct {
	mu      sync.Mutex
	groups  map[place]*group
	series  int
	refused refusals
	swept   int64 // second of the last look for what is gone
	key     packing
}

// place is a release in an environment.
type place struct {
	env, service string
	release      delivery.ReleaseID
}

// group is all series of a place.
type group struct {
	families  map[familyKey]*family
	instances map[instanceKey]*instance
	series    int
}

type familyKey struct {
	from delivery.MetricSource
	name string
}

type instanceKey struct {
	from delivery.MetricSource
	id   string
}

// instance is when one source was last heard of an instance. What comes later
// than others of the same instance is known not to have been there before.
type instance struct{ last, before int64 }

// family is the series of one name.
type family struct {
	series  map[string]*series // by instance and labels
	rollups map[string]*rollup // by labels
	crowded bool               // it had too many series, and none is kept
}

// series is one series of one instance.
type series struct {
	instance string
	labels   []metric.Label
	kind     metric.SeriesKind
	told     int64   // nanoseconds: time of the last sample by its own clock
	since    int64   // nanoseconds: since when it counts; 0 is not known
	second   int64   // that the last sample was counted in
	total    float64 // of a counter, at that time
	owed     float64 // of one told in differences: what came within the same second
	buckets  *metric.Buckets
	seconds  column
	rollup   *rollup
}

func newSamples() samples {
	return samples{groups: map[place]*group{}, refused: refusals{names: map[refusalKey]uint64{}}}
}

// refusals counts what was not kept, by reason and by name.
type refusals struct {
	names map[refusalKey]uint64
	other uint64 // beyond the names that are counted
}

type refusalKey struct{ service, name, why string }

// Refused is how many samples of a name were not kept, and why.
type Refused struct {
	Service string `json:"service"`
	Name    string `json:"name"`
	Why     string `json:"why"`
	Samples uint64 `json:"samples"`
}

func (r *refusals) add(service, name, why string) {
	k := refusalKey{service, name, why}
	if _, ok := r.names[k]; !ok && len(r.names) >= maxReported {
		r.other++
		return
	}
	r.names[k]++
}

// Refused lists what was not kept since the start, the most first. What more
// there was than is listed is told under an empty name.
func (s *Store) Refused() []Refused {
	c := &s.samples
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Refused, 0, len(c.refused.names)+1)
	for k, n := range c.refused.names {
		out = append(out, Refused{k.service, k.name, k.why, n})
	}
	slices.SortFunc(out, func(a, b Refused) int {
		if a.Samples != b.Samples {
			return int(b.Samples - a.Samples)
		}
		return strings.Compare(a.Service+a.Name+a.Why, b.Service+b.Name+b.Why)
	})
	if c.refused.other > 0 {
		out = append(out, Refused{Why: "more names than are listed", Samples: c.refused.other})
	}
	return out
}

// Size is how much a store holds.
type Size struct {
	Series int // of services, workloads and logs
	Most   int // of them
	Bytes  int // roughly, of what is kept by second and by minute
}

// Size tells how much is held.
func (s *Store) Size() Size {
	c := &s.samples
	c.mu.Lock()
	size := Size{Series: c.series, Most: maxSeries}
	for _, g := range c.groups {
		for _, f := range g.families {
			for _, x := range f.series {
				size.Bytes += x.seconds.size()
			}
			for _, r := range f.rollups {
				size.Bytes += r.minutes.size()
			}
		}
	}
	c.mu.Unlock()
	return size
}

// sweep forgets instances that are silent and what is too old, from time to time.
func (c *samples) sweep(now int64) {
	if now < c.swept {
		c.swept = now // the clock was set back
	}
	if now < c.swept+60 {
		return
	}
	c.swept = now
	for at, g := range c.groups {
		maps.DeleteFunc(g.instances, func(_ instanceKey, i *instance) bool { return i.last < now-silence })
		for k, f := range g.families {
			gone := f.sweep(now, func(id string) bool { return g.instances[instanceKey{k.from, id}] != nil })
			g.series -= gone
			c.series -= gone
			if len(f.series) == 0 && len(f.rollups) == 0 && (!f.crowded || len(g.instances) == 0) {
				delete(g.families, k)
			}
		}
		if len(g.families) == 0 && len(g.instances) == 0 {
			delete(c.groups, at)
		}
	}
}

// sweep forgets the series of instances that are gone and what is too old, and
// returns how many series went.
func (f *family) sweep(now int64, there func(instance string) bool) (gone int) {
	used := make(map[*rollup]bool, len(f.rollups))
	before := len(f.series)
	maps.DeleteFunc(f.series, func(_ string, x *series) bool {
		if !there(x.instance) {
			return true
		}
		x.seconds.forget(now - keptSamples)
		used[x.rollup] = true
		return false
	})
	maps.DeleteFunc(f.rollups, func(_ string, r *rollup) bool {
		r.advance(now/60 - 1)
		r.minutes.forget(now/60 - keptMinutes)
		return !used[r] && len(r.minutes.pages) == 0 && r.open[0].n+r.open[1].n == 0
	})
	return before - len(f.series)
}

// group returns the series of a place, which it makes if there are none.
func (c *samples) group(at place) *group {
	g := c.groups[at]
	if g == nil {
		g = &group{families: map[familyKey]*family{}, instances: map[instanceKey]*instance{}}
		c.groups[at] = g
	}
	return g
}

// find returns the series of a sample, which it makes if there is room; if there
// is none it says why.
func (c *samples) find(g *group, x *metric.Sample) (*series, string) {
	f := g.families[familyKey{x.From, x.Name}]
	if f == nil {
		f = &family{series: map[string]*series{}, rollups: map[string]*rollup{}}
		g.families[familyKey{x.From, x.Name}] = f
	}
	if f.crowded {
		return nil, whyCrowded
	}
	c.key = c.key[:0]
	for _, l := range x.Labels {
		c.key.text(l.Name)
		c.key.text(l.Value)
	}
	labels := len(c.key)
	c.key.text(x.Instance)
	if s := f.series[string(c.key)]; s != nil {
		return s, ""
	}
	switch {
	case labels > maxLabelBytes:
		return nil, "its labels are too long"
	case len(f.series) >= maxOfName, len(f.rollups) >= maxOfName && f.rollups[string(c.key[:labels])] == nil:
		c.drop(g, f)
		return nil, whyCrowded
	case g.series >= maxOfRelease:
		return nil, "its release has too many series"
	case c.series >= maxSeries:
		return nil, "there are too many series"
	}
	s := &series{instance: strings.Clone(x.Instance), kind: x.Kind, rollup: f.rollups[string(c.key[:labels])]}
	if s.rollup == nil {
		s.rollup = &rollup{kind: x.Kind, labels: cloneLabels(x.Labels)}
		f.rollups[string(c.key[:labels])] = s.rollup
	}
	s.labels = s.rollup.labels
	f.series[string(c.key)] = s
	g.series++
	c.series++
	return s, ""
}

const whyCrowded = "its labels have too many values"

// drop forgets all series of a name that has too many: a part of them would look
// like the whole.
func (c *samples) drop(g *group, f *family) {
	g.series -= len(f.series)
	c.series -= len(f.series)
	f.series, f.rollups, f.crowded = nil, nil, true
}

func cloneLabels(labels []metric.Label) []metric.Label {
	out := make([]metric.Label, len(labels))
	for i, l := range labels {
		out[i] = metric.Label{Name: strings.Clone(l.Name), Value: strings.Clone(l.Value)}
	}
	return out
}

// moment is when a sample came, as the receiver has it.
type moment struct {
	nanos, second int64
}

func momentOf(t time.Time) moment { return moment{t.UnixNano(), t.Unix()} }
