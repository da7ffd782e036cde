package proxy

import (
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Bounds of the counts.
const (
	kept        = 600     // seconds
	maxUnits    = 1 << 16 // sticky keys told apart per block; more count as new each time
	maxSamples  = 20      // failed requests kept per second
	sampleRing  = 512     // failed requests kept at all
	maxPathShow = 256     // bytes of a sample's path
)

// outcome is how a request ended.
type outcome int

const (
	finished  outcome = iota // by its status
	unreached                // no connection to any instance
	late                     // no answer in time
	broken                   // the instance cut its answer off
	cancelled                // the caller went away
)

// seriesKey names one ring of blocks.
type seriesKey struct {
	route   string
	release delivery.ReleaseID
	caller  string
}

// counts holds every ring. Requests touch only their own ring; frames walk all.
type counts struct {
	seed  maphash.Seed
	epoch atomic.Int64 // raised by each frame; a block remembers when it last grew

	mu      sync.Mutex
	series  map[seriesKey]*series     // guarded by mu
	turns   map[string]map[int64]bool // guarded by mu: route -> seconds in which its split changed
	failed  [sampleRing]numbered      // guarded by mu
	samples int64                     // guarded by mu: ever taken
	second  int64                     // guarded by mu: of the budget
	budget  int                       // guarded by mu: samples left in this second
}

type numbered struct {
	sample traffic.Sample
	epoch  int64
}

func newCounts() *counts {
	c := &counts{seed: maphash.MakeSeed(), series: map[seriesKey]*series{}, turns: map[string]map[int64]bool{}}
	c.epoch.Store(1)
	return c
}

// series is the ring of one route, release and caller: one block per second.
type series struct {
	of  *counts
	key seriesKey

	mu    sync.Mutex
	ring  [kept]*block // guarded by mu
	grown int64        // guarded by mu: epoch of the last change
	last  int64        // guarded by mu: newest second
}

// block is traffic.Block while it grows.
type block struct {
	traffic.Block
	epoch int64
	bins  []binCount     // sorted
	index map[uint64]int // key hash -> unit; nil once the second is past
	units []unit
}

type binCount struct {
	bin int
	n   uint32
}

// unit is what is known of one sticky key in one second.
type unit struct {
	bad bool
}

func (c *counts) get(route string, release delivery.ReleaseID, caller string) *series {
	key := seriesKey{route, release, caller}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.series[key]
	if s == nil {
		s = &series{of: c, key: key}
		c.series[key] = s
	}
	return s
}

// splitChanged marks the second of a change of the route's split: all of its
// blocks of that second are mixed, those that are still to come too.
func (c *counts) splitChanged(route string, at time.Time) {
	second := at.Unix()
	c.mu.Lock()
	turns := c.turns[route]
	if turns == nil {
		turns = map[int64]bool{}
		c.turns[route] = turns
	}
	turns[second] = true
	for s := range turns {
		if s <= second-kept {
			delete(turns, s)
		}
	}
	var touched []*series
	for k, s := range c.series {
		if k.route == route {
			touched = append(touched, s)
		}
	}
	c.mu.Unlock()
	for _, s := range touched {
		s.mu.Lock()
		if b := s.ring[second%kept]; b != nil && b.Second == second {
			b.Mixed = true
			s.touch(b)
		}
		s.mu.Unlock()
	}
}

func (c *counts) changedIn(route string, second int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.turns[route][second]
}

// touch notes that b grew; s.mu is held. A frame raises the epoch before it
// reads, so a change it does not see carries an epoch that the next frame wants.
func (s *series) touch(b *block) {
	b.epoch = s.of.epoch.Load()
	s.grown = b.epoch
}

// ticket is one counted request: it is begun once, answered at most once, ended once.
type ticket struct {
	s     *series
	b     *block
	began time.Time
	unit  int  // in b.units; -1 for one that is not told apart
	first bool // the unit's first request
	open  bool // first and without an answer yet
}

// begin counts the arrival of a request under the split gen.
func (s *series) begin(at time.Time, gen int64, who caller) ticket {
	second := at.Unix()
	s.mu.Lock()
	b := s.ring[second%kept]
	if b == nil || b.Second != second {
		s.mu.Unlock()
		mixed := s.of.changedIn(s.key.route, second)
		s.mu.Lock()
		b = s.open(second, gen, mixed)
	}
	defer s.mu.Unlock()
	t := ticket{s: s, b: b, began: at, unit: -1, first: true}
	b.Requests++
	b.Unfinished++
	b.Mixed = b.Mixed || b.Gen != gen
	if !who.fresh && b.index != nil {
		h := maphash.String(s.of.seed, who.key)
		u, known := b.index[h]
		switch {
		case known:
			t.unit, t.first = u, false
		case len(b.units) < maxUnits:
			t.unit = len(b.units)
			b.index[h] = t.unit
			b.units = append(b.units, unit{})
		}
	}
	if t.first {
		t.open = true
		b.Units++
		b.UnitsOpen++
	}
	s.touch(b)
	return t
}

// open returns the block of second, made new if it is not there; s.mu is held.
func (s *series) open(second, gen int64, mixed bool) *block {
	at := second % kept
	if b := s.ring[at]; b != nil && b.Second == second {
		return b
	}
	b := &block{Block: traffic.Block{
		Route: s.key.route, Release: s.key.release, Caller: s.key.caller,
		Second: second, Gen: gen, Mixed: mixed,
	}}
	if second < s.last-1 {
		return b // a clock that went back: counted, never shown
	}
	b.index = map[uint64]int{}
	s.ring[at] = b
	s.last = max(s.last, second)
	// No request arrives in a past second but for those that were just late to the lock.
	if old := s.ring[(second-2+kept)%kept]; old != nil {
		old.index = nil
	}
	return b
}

// answered records the time to the first answer of the unit.
func (t *ticket) answered(took time.Duration) {
	if !t.open {
		return
	}
	t.open = false
	bin := analysis.Bin(took.Seconds())
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	t.b.UnitsOpen--
	i, found := slices.BinarySearchFunc(t.b.bins, bin, func(c binCount, bin int) int { return c.bin - bin })
	if !found {
		t.b.bins = slices.Insert(t.b.bins, i, binCount{bin: bin})
	}
	t.b.bins[i].n++
	t.s.touch(t.b)
}

// retried counts one more attempt.
func (t *ticket) retried() {
	t.s.mu.Lock()
	t.b.Retries++
	t.s.touch(t.b)
	t.s.mu.Unlock()
}

// more adds bytes that passed since the request was ended (upgraded connections).
func (t *ticket) more(in, out int64) {
	t.s.mu.Lock()
	t.b.BytesIn += uint64(in)
	t.b.BytesOut += uint64(out)
	t.s.touch(t.b)
	t.s.mu.Unlock()
}

// dropped counts a copy that was not sent.
func (s *series) dropped(at time.Time, gen int64) {
	second := at.Unix()
	mixed := s.of.changedIn(s.key.route, second)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.open(second, gen, mixed)
	b.Dropped++
	s.touch(b)
}

// end counts how the request ended. bad says that it counts against the release.
func (t *ticket) end(how outcome, status int, in, out int64) (bad bool) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	b := t.b
	b.Unfinished--
	if t.open {
		t.open = false
		b.UnitsOpen--
	}
	b.BytesIn += uint64(in)
	b.BytesOut += uint64(out)
	switch how {
	case finished:
		switch {
		case status >= 500:
			b.Server++
			bad = true
		case status >= 400:
			b.Client++
		default:
			b.OK++
		}
	case unreached:
		b.Connect++
		bad = true
	case late:
		b.Timeout++
		bad = true
	case broken:
		b.Broken++
		bad = true
	case cancelled:
		b.Cancelled++
	}
	if bad {
		switch {
		case t.unit < 0:
			b.UnitsBad++
		case !b.units[t.unit].bad:
			b.units[t.unit].bad = true
			b.UnitsBad++
		}
	}
	t.s.touch(b)
	return bad
}

// sample keeps a failed request for people, at most maxSamples a second.
func (c *counts) sample(s traffic.Sample) {
	s.Path = s.Path[:min(len(s.Path), maxPathShow)]
	second := s.At.Unix()
	c.mu.Lock()
	defer c.mu.Unlock()
	if second != c.second {
		c.second, c.budget = second, maxSamples
	}
	if c.budget == 0 {
		return
	}
	c.budget--
	c.failed[c.samples%sampleRing] = numbered{sample: s, epoch: c.epoch.Load()}
	c.samples++
}

// collect returns what grew since the frame that returned the epoch since, and
// the epoch to ask with next. since 0 with a second returns everything kept from it on.
func (c *counts) collect(since, fromSecond int64) (blocks []traffic.Block, failed []traffic.Sample, epoch int64) {
	c.mu.Lock()
	epoch = c.epoch.Add(1)
	all := make([]*series, 0, len(c.series))
	for _, s := range c.series {
		all = append(all, s)
	}
	if since > 0 { // what failed before a stream began is history
		for i := max(0, c.samples-sampleRing); i < c.samples; i++ {
			if n := c.failed[i%sampleRing]; n.epoch >= since {
				failed = append(failed, n.sample)
			}
		}
	}
	c.mu.Unlock()
	for _, s := range all {
		blocks = s.collect(blocks, since, fromSecond)
	}
	slices.SortFunc(blocks, func(a, b traffic.Block) int { return int(a.Second - b.Second) })
	return blocks, failed, epoch
}

func (s *series) collect(blocks []traffic.Block, since, fromSecond int64) []traffic.Block {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grown < since {
		return blocks
	}
	for _, b := range s.ring {
		if b == nil || b.epoch < since || b.Second < fromSecond || b.Second <= s.last-kept {
			continue
		}
		out := b.Block
		out.Bins = make(map[int]uint32, len(b.bins))
		for _, c := range b.bins {
			out.Bins[c.bin] = c.n
		}
		blocks = append(blocks, out)
	}
	return blocks
}

// sweep drops what nobody can ask for any more: rings that are in no table and
// whose last block is too old, and the key indexes of past seconds.
func (c *counts) sweep(now time.Time, used func(seriesKey) bool) {
	second := now.Unix()
	c.mu.Lock()
	all := maps.Clone(c.series)
	c.mu.Unlock()
	for k, s := range all {
		s.mu.Lock()
		old := s.last <= second-kept
		for i, b := range s.ring {
			switch {
			case b == nil:
			case b.Second <= second-kept:
				s.ring[i] = nil
			case b.Second < second-2:
				b.index = nil
			}
		}
		s.mu.Unlock()
		if old && !used(k) {
			c.mu.Lock()
			delete(c.series, k)
			c.mu.Unlock()
		}
	}
}
