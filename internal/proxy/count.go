package proxy

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/metrics"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Bounds of the counts.
const (
	kept     = 600     // seconds
	maxUnits = 1 << 16 // sticky keys told apart per block; more count as new each time
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
	now   func() time.Time
	epoch atomic.Int64  // raised by each frame; a block remembers when it last grew
	lost  atomic.Uint64 // callers in trouble that no memory had room for

	mu       sync.Mutex
	series   map[seriesKey]*series     // guarded by mu
	turns    map[string]map[int64]bool // guarded by mu: route -> seconds in which its split changed
	failures failures                  // guarded by mu
}

func newCounts() *counts {
	c := &counts{seed: maphash.MakeSeed(), now: time.Now, series: map[seriesKey]*series{}, turns: map[string]map[int64]bool{}}
	c.epoch.Store(1)
	return c
}

// series is the ring of one route, release and caller: one block per second, and
// the sums of all seconds there ever were.
type series struct {
	of    *counts
	key   seriesKey
	split string // the route whose split draws its requests

	mu    sync.Mutex
	ring  [kept]*block  // guarded by mu
	grown int64         // guarded by mu: epoch of the last change
	last  int64         // guarded by mu: newest second
	ever  traffic.Block // guarded by mu: sums; those of units are not kept
	times metrics.Times // guarded by mu: from arrival to the head of the answer
	about about         // guarded by mu
}

// about is what else is known of the releases that a series belongs to.
type about struct{ service, env, version string }

// block is traffic.Block while it grows.
type block struct {
	traffic.Block
	epoch int64
	bins  []binCount       // sorted
	index map[uint64]int32 // key hash -> unit; nil once the second is past
	units []unit

	againBins []binCount // sorted; of Again
	places    []placed
}

type binCount struct {
	bin int
	n   uint32
}

// unit is what is known of one sticky key in one second.
type unit struct {
	bad   bool
	field bool // by what the answer's body says only
	again bool // its caller was in trouble before
}

func (c *counts) get(route string, release delivery.ReleaseID, caller string) *series {
	key := seriesKey{route, release, caller}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.series[key]
	if s == nil {
		s = &series{of: c, key: key, split: key.drawnBy()}
		c.series[key] = s
	}
	return s
}

// of is get for a pool of a route, which the series then knows more about.
func (c *counts) of(r *traffic.Route, p *traffic.Pool, caller string) *series {
	s := c.get(r.Name, p.Release, caller)
	s.mu.Lock()
	s.about = about{service: r.Service, env: r.Env, version: p.Version}
	s.mu.Unlock()
	return s
}

// drawnBy is the route whose split draws the requests of a series: its own, but
// for those that are counted by another one's.
func (k seriesKey) drawnBy() string {
	if name, arm := strings.CutPrefix(k.caller, traffic.ArmCaller); arm {
		return strings.TrimSuffix(name, ")")
	}
	return k.route
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
	for _, s := range c.series {
		if s.split == route {
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

// open returns the block of second, made new if it is not there; s.mu is held.
func (s *series) open(second int64, d *draw, mixed bool) *block {
	at := second % kept
	if b := s.ring[at]; b != nil && b.Second == second {
		return b
	}
	b := &block{Block: traffic.Block{
		Route: s.key.route, Release: s.key.release, Caller: s.key.caller,
		Second: second, Gen: d.gen, Share: d.share, Mixed: mixed,
	}}
	if second < s.last-1 {
		return b // a clock that went back: counted, never shown
	}
	b.index = map[uint64]int32{}
	s.ring[at] = b
	s.last = max(s.last, second)
	// No request arrives in a past second but for those that were just late to the lock.
	if old := s.ring[(second-2+kept)%kept]; old != nil {
		old.index = nil
	}
	return b
}

// dropped counts a copy that was not sent.
func (s *series) dropped(at time.Time, d *draw) {
	second := at.Unix()
	mixed := s.of.changedIn(s.split, second)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.open(second, d, mixed)
	b.Dropped++
	s.ever.Dropped++
	s.touch(b)
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
		failed = c.failures.since(since)
	}
	c.mu.Unlock()
	for _, s := range all {
		blocks = s.collect(blocks, since, fromSecond)
	}
	slices.SortFunc(blocks, func(a, b traffic.Block) int { return int(a.Second - b.Second) })
	return blocks, failed, epoch
}

// failedSince returns the failed requests kept from an epoch on.
func (c *counts) failedSince(epoch int64) []traffic.Sample {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures.since(epoch)
}

// all returns every series, in the order of their names.
func (c *counts) all() []*series {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.Collect(maps.Values(c.series))
	slices.SortFunc(out, func(a, b *series) int {
		return cmp.Or(cmp.Compare(a.key.route, b.key.route), cmp.Compare(a.key.release, b.key.release), cmp.Compare(a.key.caller, b.key.caller))
	})
	return out
}

// sums returns what the series ever counted.
func (s *series) sums() (b traffic.Block, times metrics.Times, of about) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ever, s.times, s.about
}

// block returns what was counted in one second, if anything was.
func (c *counts) block(k legacyKey) (traffic.Block, bool) {
	c.mu.Lock()
	s := c.series[k.seriesKey]
	c.mu.Unlock()
	if s == nil {
		return traffic.Block{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.ring[k.second%kept]; b != nil && b.Second == k.second {
		return b.out(), true
	}
	return traffic.Block{}, false
}

// out is b as it is shown; the lock of its series is held.
func (b *block) out() traffic.Block {
	out := b.Block
	out.Bins = mapOf(b.bins)
	if b.Again != nil {
		again := *b.Again
		again.Bins = mapOf(b.againBins)
		out.Again = &again
	}
	if len(b.places) > 0 {
		out.Places = make(map[string]traffic.Place, len(b.places))
		for _, p := range b.places {
			out.Places[p.id] = p.Place
		}
	}
	if b.Pairs != nil {
		pairs := *b.Pairs
		out.Pairs = &pairs
	}
	return out
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
		blocks = append(blocks, b.out())
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
		old := s.last <= second-kept && s.ever.Unfinished == 0
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
