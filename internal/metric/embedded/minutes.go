package embedded

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// foldAfter is how long after its end a minute of the data plane is added up, in
// seconds: a request that arrived in it may take that long.
const foldAfter = 60

// coarse is how many bins of analysis are one of a minute: a time is then known
// to 4 % both ways, and a minute is a tenth of its seconds.
const coarse = 8

// track is what a release did on a route by minute, requests that the split drew.
type track struct {
	release delivery.ReleaseID
	minutes column
}

// flow is what is known of a release's requests in a minute, or in a second.
type flow struct {
	requests, failed, units, bad uint64
	bins                         map[int]uint32
}

func (f *flow) add(b *traffic.Block) {
	f.requests += b.Requests
	f.failed += failedOf(b)
	f.units += b.Units
	f.bad += b.UnitsBad
	f.bins = addBins(f.bins, b.Bins)
}

// coarsened lays bins together; each is then named by its highest.
func coarsened(bins map[int]uint32) map[int]uint32 {
	out := make(map[int]uint32, len(bins)/coarse+1)
	for bin, n := range bins {
		out[bin/coarse*coarse+coarse-1] += n
	}
	return out
}

func (f flow) entry(minute int64) entry {
	e := entry{at: minute, covered: 1, value: float64(f.requests)}
	for _, n := range []uint64{f.failed, f.units, f.bad} {
		e.rest.uint(n)
	}
	e.rest.bins(f.bins)
	return e
}

func flowOf(e entry) flow {
	u := unpacking{b: e.rest}
	return flow{requests: uint64(e.value), failed: u.uint(), units: u.uint(), bad: u.uint(), bins: u.bins()}
}

// fold adds up the minutes that are over by now.
func (c *frames) fold(now int64) {
	until := (now-foldAfter)/60 - 1
	if c.folded == 0 || until < c.folded-clockBack { // the first, or the clock was set back
		c.folded = max(until-keptSeconds/60, (c.earliest()+59)/60-1)
	}
	for ; c.folded < until; c.folded++ {
		for route := range c.routes {
			c.foldRoute(route, c.folded+1)
		}
	}
}

func (c *frames) foldRoute(route string, minute int64) {
	by := map[delivery.ReleaseID]*flow{}
	c.each(route, minute*60, minute*60+59, func(l *line) bool { return traffic.Drawn(l.caller) }, func(b *traffic.Block) {
		if by[b.Release] == nil {
			by[b.Release] = &flow{}
		}
		by[b.Release].add(b)
	})
	for _, id := range slices.Sorted(maps.Keys(by)) {
		f := *by[id]
		f.bins = coarsened(f.bins)
		c.track(route, id).keep(f, minute)
	}
}

// track returns the minutes of a release on a route, which it makes if there are none.
func (c *frames) track(route string, release delivery.ReleaseID) *track {
	i := slices.IndexFunc(c.tracks[route], func(t *track) bool { return t.release == release })
	if i < 0 {
		i = len(c.tracks[route])
		c.tracks[route] = append(c.tracks[route], &track{release: release})
	}
	return c.tracks[route][i]
}

// keep writes a minute down. One that is not later than the last stays as it was.
func (t *track) keep(f flow, minute int64) {
	if len(t.minutes.pages) == 0 || minute > t.minutes.last {
		t.minutes.add(f.entry(minute), minutePage)
	}
}

// forgetMinutes drops what is older than a day.
func (c *frames) forgetMinutes(now int64) {
	for route, tracks := range c.tracks {
		for _, t := range tracks {
			t.minutes.forget(now/60 - keptMinutes)
		}
		if tracks = slices.DeleteFunc(tracks, func(t *track) bool { return len(t.minutes.pages) == 0 }); len(tracks) == 0 {
			delete(c.tracks, route)
		} else {
			c.tracks[route] = tracks
		}
	}
}

// Minute is the numbers of one release in one minute, as they are kept for long.
type Minute struct {
	Env, Service string
	Release      delivery.ReleaseID
	At           int64 // Unix second of its beginning
	Numbers      Numbers
}

// Numbers is what happened to a release in a minute. It is kept as JSON.
type Numbers struct {
	Traffic *Traffic `json:"traffic,omitempty"`
	Values  []Value  `json:"values,omitempty"`
	More    int      `json:"more,omitempty"` // series beyond those in Values
}

// Traffic is the data plane's counts of a minute. Bins are pairs: the highest of
// eight bins of package analysis, and how many units took that long.
type Traffic struct {
	Requests uint64     `json:"requests"`
	Failed   uint64     `json:"failed"`
	Units    uint64     `json:"units"`
	Bad      uint64     `json:"bad"`
	Bins     [][2]int64 `json:"bins,omitempty"`
}

// Value is one series of a release, over all its instances, in a minute. Sum is
// what a counter rose by, and the sum of a gauge's N values. Buckets are triples:
// above which point of the grid, up to which, and how many.
type Value struct {
	From    delivery.MetricSource `json:"from"`
	Name    string                `json:"name"`
	Labels  []string              `json:"labels,omitempty"` // name and value in turn
	Kind    metric.SeriesKind     `json:"kind"`
	N       uint64                `json:"n"`
	Sum     float64               `json:"sum"`
	Low     float64               `json:"low,omitempty"`
	High    float64               `json:"high,omitempty"`
	Buckets [][3]int64            `json:"buckets,omitempty"`
}

// maxValues bounds the series of a release that a minute keeps for long.
const maxValues = 200

// Settled is how long after its end a minute is whole.
const Settled = 2*foldAfter*time.Second + 10*time.Second

// Minutes returns the minutes that are over, from the one at first to the one at
// last. One that ended less than Settled ago may lack a part yet.
func (s *Store) Minutes(first, last int64) []Minute {
	by := map[place]map[int64]*Minute{}
	of := func(at place, minute int64) *Numbers {
		if by[at] == nil {
			by[at] = map[int64]*Minute{}
		}
		if by[at][minute] == nil {
			by[at][minute] = &Minute{at.env, at.service, at.release, minute * 60, Numbers{}}
		}
		return &by[at][minute].Numbers
	}
	s.frames.minutes(first/60, last/60, of)
	s.samples.minutes(first/60, last/60, s.now().Unix()/60-1, of)
	var out []Minute
	for _, minutes := range by {
		for _, m := range minutes {
			out = append(out, *m)
		}
	}
	slices.SortFunc(out, func(a, b Minute) int {
		if a.At != b.At {
			return int(a.At - b.At)
		}
		return strings.Compare(a.Env+"/"+a.Service+"/"+string(a.Release), b.Env+"/"+b.Service+"/"+string(b.Release))
	})
	return out
}

func (c *frames) minutes(first, last int64, of func(place, int64) *Numbers) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for route, tracks := range c.tracks {
		env, service, _ := strings.Cut(route, "/")
		for _, t := range tracks {
			t.minutes.each(first, last, func(e entry) {
				f := flowOf(e)
				x := &Traffic{f.requests, f.failed, f.units, f.bad, nil}
				for _, bin := range slices.Sorted(maps.Keys(f.bins)) {
					x.Bins = append(x.Bins, [2]int64{int64(bin), int64(f.bins[bin])})
				}
				of(place{env, service, t.release}, e.at).Traffic = x
			})
		}
	}
}

// minutes gives what is kept by minute, of minutes before the one at open.
func (c *samples) minutes(first, last, open int64, of func(place, int64) *Numbers) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, g := range c.groups {
		for _, k := range slices.SortedFunc(maps.Keys(g.families), func(a, b familyKey) int { return strings.Compare(a.name+string(a.from), b.name+string(b.from)) }) {
			f := g.families[k]
			for _, key := range slices.Sorted(maps.Keys(f.rollups)) {
				r := f.rollups[key]
				r.advance(open)
				r.minutes.each(first, last, func(e entry) {
					n := of(at, e.at)
					if len(n.Values) >= maxValues {
						n.More++
						return
					}
					n.Values = append(n.Values, r.value(k, sumsOfMinute(e, r.kind)))
				})
			}
		}
	}
}

func (r *rollup) value(k familyKey, m sums) Value {
	v := Value{From: k.from, Name: k.name, Kind: r.kind, N: m.n, Sum: m.sum}
	if r.kind == metric.Gauge {
		v.Low, v.High = m.low, m.high
	}
	for _, l := range r.labels {
		v.Labels = append(v.Labels, l.Name, l.Value)
	}
	for _, b := range sortedBuckets(m.buckets) {
		v.Buckets = append(v.Buckets, [3]int64{int64(b.low), int64(b.high), int64(m.buckets[b])})
	}
	return v
}

// Restore takes back minutes that were kept, oldest first, into a store that has
// none later: so a server that was started again draws the day before. What is
// older than a day is left out.
func (s *Store) Restore(list []Minute) {
	limit := s.now().Unix() - keptMinutes*60
	for _, m := range list {
		if m.At < limit {
			continue
		}
		if x := m.Numbers.Traffic; x != nil {
			s.frames.restore(m, x)
		}
		s.samples.restore(m)
	}
}

func (c *frames) restore(m Minute, x *Traffic) {
	f := flow{x.Requests, x.Failed, x.Units, x.Bad, map[int]uint32{}}
	for _, b := range x.Bins {
		f.bins[int(b[0])] += uint32(b[1])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.track(m.Env+"/"+m.Service, m.Release).keep(f, m.At/60)
}

func (c *samples) restore(m Minute) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.group(place{m.Env, m.Service, m.Release})
	for _, v := range m.Numbers.Values {
		r := c.restored(g, v)
		if r == nil || r.kind != v.Kind {
			continue
		}
		x := sums{minute: m.At / 60, n: v.N, sum: v.Sum, low: v.Low, high: v.High}
		if len(v.Buckets) > 0 {
			x.buckets = map[bucket]uint64{}
		}
		for _, b := range v.Buckets {
			x.buckets[bucket{int(b[0]), int(b[1])}] += uint64(b[2])
		}
		r.close(&x)
	}
}

// restored returns the rollup of a value, which it makes if there is none.
func (c *samples) restored(g *group, v Value) *rollup {
	k := familyKey{v.From, v.Name}
	f := g.families[k]
	if f == nil {
		f = &family{series: map[string]*series{}, rollups: map[string]*rollup{}}
		g.families[k] = f
	}
	if f.crowded || len(v.Labels)%2 != 0 || v.Kind == "" {
		return nil
	}
	var labels []metric.Label
	c.key = c.key[:0]
	for pair := range slices.Chunk(v.Labels, 2) {
		labels = append(labels, metric.Label{Name: pair[0], Value: pair[1]})
		c.key.text(pair[0])
		c.key.text(pair[1])
	}
	if f.rollups[string(c.key)] == nil && len(f.rollups) < maxOfName {
		f.rollups[string(c.key)] = &rollup{kind: v.Kind, labels: labels}
	}
	return f.rollups[string(c.key)]
}
