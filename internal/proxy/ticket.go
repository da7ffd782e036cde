package proxy

import (
	"hash/maphash"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// draw is how requests came to a release: what their blocks say of the split, and
// who remembers their callers.
type draw struct {
	gen    int64
	share  delivery.Weight
	fair   bool       // the split drew them, by share
	stable bool       // the release is the one that others are compared with
	places bool       // what each instance does is counted too
	memory *offenders // nil while only one release has weight, and of what is no evidence
}

// ticket is one counted request: it is begun once, answered at most once, ended once.
type ticket struct {
	s     *series
	b     *block
	d     *draw
	at    *endpoint // that had it last; nil is none, or does not matter
	key   uint64    // hash of the caller's key, if d has a memory and the caller may come again
	began time.Time
	took  time.Duration // to the head of the answer; negative while there is none
	unit  int32         // in b.units; -1 for one that is not told apart
	first bool          // the unit's first request
	open  bool          // first and without an answer yet
	again bool          // the unit's caller was in trouble before
	fresh bool          // the key was made for it
	field bool          // it failed by what the answer's body says, and by that only
}

// begin counts the arrival of a request that was drawn by d.
func (s *series) begin(at time.Time, d *draw, who caller) ticket {
	second := at.Unix()
	s.mu.Lock()
	b := s.ring[second%kept]
	if b == nil || b.Second != second {
		s.mu.Unlock()
		mixed := s.of.changedIn(s.split, second)
		s.mu.Lock()
		b = s.open(second, d, mixed)
	}
	defer s.mu.Unlock()
	t := ticket{s: s, b: b, d: d, began: at, took: -1, unit: -1, first: true, fresh: who.fresh}
	b.Requests++
	b.Unfinished++
	s.ever.Requests++
	s.ever.Unfinished++
	b.Mixed = b.Mixed || b.Gen != d.gen || b.Share != d.share
	if d.memory != nil && (!who.fresh || who.keep) {
		t.key = maphash.String(s.of.seed, who.key)
	}
	if !who.fresh {
		h := t.key
		if d.memory == nil {
			h = maphash.String(s.of.seed, who.key)
		}
		if u, known := b.index[h]; known {
			t.unit, t.first, t.again = u, false, b.units[u].again
		} else {
			t.meets(h)
		}
	}
	if t.first {
		t.open = true
		b.Units++
		b.UnitsOpen++
		if who.fresh && d.fair {
			b.Drawn++
		}
		if t.again {
			b.repeat().Units++
			b.repeat().Open++
		}
	}
	s.touch(b)
	return t
}

// meets makes a unit of a key that is new in its second; the series is locked.
func (t *ticket) meets(h uint64) {
	b := t.b
	t.again = t.d.memory != nil && t.d.memory.has(h, b.Second)
	if b.index != nil && len(b.units) < maxUnits { // else the second is past, or too much in it
		t.unit = int32(len(b.units))
		b.index[h] = t.unit
		b.units = append(b.units, unit{again: t.again})
	}
}

// answered records the time to the head of the answer, which counts for the
// unit when it is its first.
func (t *ticket) answered(took time.Duration) {
	t.took = max(took, 0)
	if !t.open && t.d.memory == nil {
		return
	}
	bin := analysis.Bin(took.Seconds())
	if t.open {
		t.timed(bin)
	}
	if m := t.d.memory; m != nil {
		at := t.began.Add(t.took)
		if int32(bin) > m.slow.Load() {
			t.offends(at)
		}
		if t.d.stable && t.first {
			m.learn(bin, at.Unix())
		}
	}
}

// timed counts the time of the unit's first answer.
func (t *ticket) timed(bin int) {
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	b := t.b
	t.closes()
	b.bins = addBin(b.bins, bin)
	if t.again {
		b.againBins = addBin(b.againBins, bin)
	}
	t.s.touch(b)
}

// closes takes the unit out of those without an answer; the series is locked.
func (t *ticket) closes() {
	t.open = false
	t.b.UnitsOpen--
	if t.again {
		t.b.repeat().Open--
	}
}

// offends has the caller remembered as one in trouble, if it will come again.
func (t *ticket) offends(at time.Time) {
	if t.key != 0 {
		t.d.memory.note(t.key, at.Unix(), t.fresh)
	}
}

// retried counts one more attempt.
func (t *ticket) retried() {
	t.s.mu.Lock()
	t.b.Retries++
	t.s.ever.Retries++
	t.s.touch(t.b)
	t.s.mu.Unlock()
}

// more adds bytes that passed since the request was ended (upgraded connections).
func (t *ticket) more(in, out int64) {
	t.s.mu.Lock()
	t.b.BytesIn += uint64(in)
	t.b.BytesOut += uint64(out)
	t.s.ever.BytesIn += uint64(in)
	t.s.ever.BytesOut += uint64(out)
	t.s.touch(t.b)
	t.s.mu.Unlock()
}

// end counts how the request ended.
func (t *ticket) end(how outcome, status int, in, out int64) class {
	c := classOf(how, status)
	bad := c.bad()
	if bad && t.key != 0 {
		t.offends(t.s.of.now())
	}
	t.s.mu.Lock()
	defer t.s.mu.Unlock()
	b := t.b
	c.add(&b.Block, in, out)
	c.add(&t.s.ever, in, out)
	if t.took >= 0 {
		t.s.times.Add(int64(t.took))
	}
	if t.open {
		t.closes()
	}
	if bad {
		t.fails()
	}
	if t.at != nil {
		b.place(t.at.id, bad)
	}
	t.s.touch(b)
	return c
}

// fails counts the unit as bad, once, and by what; the series is locked.
func (t *ticket) fails() {
	var apart unit
	u := &apart
	if t.unit >= 0 {
		u = &t.b.units[t.unit]
	}
	switch {
	case !u.bad:
		u.bad, u.field = true, t.field
		t.b.UnitsBad++
		if t.again {
			t.b.repeat().Bad++
		}
		if t.field {
			t.b.Fields++
		}
	case u.field && !t.field:
		u.field = false
		t.b.Fields--
	}
}

// repeat is the part of the block's units whose callers were in trouble before.
func (b *block) repeat() *traffic.Again {
	if b.Again == nil {
		b.Again = &traffic.Again{}
	}
	return b.Again
}

// placed is what one instance did in a block.
type placed struct {
	id string
	traffic.Place
}

func (b *block) place(id string, failed bool) {
	i := slices.IndexFunc(b.places, func(p placed) bool { return p.id == id })
	if i < 0 {
		i = len(b.places)
		b.places = append(b.places, placed{id: id})
	}
	b.places[i].Requests++
	if failed {
		b.places[i].Failed++
	}
}

func addBin(bins []binCount, bin int) []binCount {
	i, found := slices.BinarySearchFunc(bins, bin, func(c binCount, bin int) int { return c.bin - bin })
	if !found {
		bins = slices.Insert(bins, i, binCount{bin: bin})
	}
	bins[i].n++
	return bins
}

func mapOf(bins []binCount) map[int]uint32 {
	out := make(map[int]uint32, len(bins))
	for _, c := range bins {
		out[c.bin] = c.n
	}
	return out
}
