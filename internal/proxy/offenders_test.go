package proxy

import (
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// againModel says what Again is by its definition: of each block's units, those
// whose key was in trouble in a second before, within ten minutes.
type againModel struct {
	slow     int
	offences map[string][]int64
	units    map[modelKey]map[string]*modelUnit
	open     []*modelTicket
}

type modelKey struct {
	release delivery.ReleaseID
	second  int64
}

type modelUnit struct {
	again, bad, open bool
	bin              int // -1 without an answer
}

type modelTicket struct {
	ticket
	who   caller
	unit  *modelUnit
	first bool
}

func (m *againModel) begin(s *series, d *draw, who caller, n int) {
	at := s.of.now()
	k, key := modelKey{s.key.release, at.Unix()}, who.key
	if who.fresh {
		key = fmt.Sprint("fresh ", n) // nobody else's unit
	}
	if m.units[k] == nil {
		m.units[k] = map[string]*modelUnit{}
	}
	u, known := m.units[k][key]
	if !known {
		u = &modelUnit{open: true, bin: -1}
		for _, o := range m.offences[who.key] {
			u.again = u.again || !who.fresh && o < at.Unix() && o > at.Unix()-600
		}
		m.units[k][key] = u
	}
	m.open = append(m.open, &modelTicket{ticket: s.begin(at, d, who), who: who, unit: u, first: !known})
}

func (m *againModel) offends(t *modelTicket) {
	if !t.who.fresh || t.who.keep {
		m.offences[t.who.key] = append(m.offences[t.who.key], t.s.of.now().Unix())
	}
}

func (m *againModel) answered(t *modelTicket, took time.Duration) {
	t.answered(took)
	if t.first && t.unit.open {
		t.unit.open, t.unit.bin = false, analysis.Bin(took.Seconds())
	}
	if analysis.Bin(took.Seconds()) > m.slow {
		m.offends(t)
	}
}

func (m *againModel) end(i int, how outcome) {
	t := m.open[i]
	m.open = slices.Delete(m.open, i, i+1)
	if t.first {
		t.unit.open = false
	}
	if t.end(how, 200, 1, 1).bad() {
		t.unit.bad = true
		m.offends(t)
	}
}

func (m *againModel) want(k modelKey) (a traffic.Again) {
	a.Bins = map[int]uint32{}
	for _, u := range m.units[k] {
		if !u.again {
			continue
		}
		a.Units++
		if u.bad {
			a.Bad++
		}
		if u.open {
			a.Open++
		}
		if u.bin >= 0 {
			a.Bins[u.bin]++
		}
	}
	return a
}

// However requests of a few callers come, to whichever release, answered fast or
// slow, well or not, and whenever: each block's Again is what its definition says.
func TestAgainIsWhatItSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCounts()
		now := time.Unix(1_700_000_000, 0)
		c.now = func() time.Time { return now }
		o := newOffenders("r1", &c.lost)
		m := &againModel{slow: analysis.Bin(0.1), offences: map[string][]int64{}, units: map[modelKey]map[string]*modelUnit{}}
		o.slow.Store(int32(m.slow))
		d := &draw{gen: 1, share: delivery.Full / 2, fair: true, memory: o}
		both := []*series{c.get("r", "r1", ""), c.get("r", "r2", "")}
		for n := range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch what := rapid.SampledFrom([]string{"begin", "begin", "end", "end", "pass", "long"}).Draw(t, "what"); {
			case what == "pass":
				now = now.Add(time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * time.Millisecond)
			case what == "long" && len(m.open) == 0:
				now = now.Add(time.Duration(rapid.IntRange(250, 610).Draw(t, "s")) * time.Second)
			case what == "begin" || len(m.open) == 0:
				who := caller{key: fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "key"))}
				who.fresh = rapid.IntRange(0, 4).Draw(t, "fresh") == 0
				who.keep = who.fresh && rapid.Bool().Draw(t, "keep")
				m.begin(rapid.SampledFrom(both).Draw(t, "to"), d, who, n)
			default:
				i := rapid.IntRange(0, len(m.open)-1).Draw(t, "which")
				if rapid.Bool().Draw(t, "answered") {
					one := m.open[i]
					m.answered(one, now.Sub(one.began))
				}
				m.end(i, rapid.SampledFrom([]outcome{finished, finished, broken, cancelled}).Draw(t, "how"))
			}
			blocks, _, _ := c.collect(0, 0)
			for _, b := range blocks {
				got, want := traffic.Again{Bins: map[int]uint32{}}, m.want(modelKey{b.Release, b.Second})
				if b.Again != nil {
					got = *b.Again
				}
				if got.Units != want.Units || got.Bad != want.Bad || got.Open != want.Open || !maps.Equal(got.Bins, want.Bins) {
					t.Fatalf("%s in second %d: Again is %+v, want %+v", b.Release, b.Second, got, want)
				}
			}
		}
	})
}

// What is slow is what one in a hundred of stable's units exceeds at most, of 200
// at least, and as of the second before.
func TestSlowIsStables99thPercentile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var lost atomic.Uint64
		o := newOffenders("r1", &lost)
		var bins []int
		for range rapid.IntRange(0, 399).Draw(t, "units") {
			bin := rapid.IntRange(0, analysis.Bins-1).Draw(t, "bin")
			bins = append(bins, bin)
			o.learn(bin, 1000)
		}
		if o.slow.Load() != neverSlow {
			t.Fatalf("%d is slow within the first second", o.slow.Load())
		}
		o.learn(0, 1001)
		slow := int(o.slow.Load())
		if len(bins) < leastTimes {
			if slow != neverSlow {
				t.Fatalf("%d is slow after %d units", slow, len(bins))
			}
			return
		}
		above := func(bin int) (n int) {
			for _, b := range bins {
				if b > bin {
					n++
				}
			}
			return n
		}
		if above(slow) > len(bins)/100 || slow > 0 && above(slow-1) <= len(bins)/100 {
			t.Fatalf("above %d are %d, above %d are %d of %d", slow, above(slow), slow-1, above(slow-1), len(bins))
		}
	})
}

// What was usual a while ago is forgotten, and never so much that too few are left.
func TestSlowIsRecent(t *testing.T) {
	var lost atomic.Uint64
	o := newOffenders("r1", &lost)
	second := int64(1000)
	feed := func(seconds, each, bin int) {
		for range seconds {
			for range each {
				o.learn(bin, second)
			}
			second++
		}
	}
	feed(60, 100, 500)
	o.learn(500, second)
	if slow := o.slow.Load(); slow != 500 {
		t.Errorf("slow is above %d, want 500", slow)
	}
	feed(150, 100, 300)
	if slow := o.slow.Load(); slow != 300 {
		t.Errorf("two minutes later slow is above %d, want 300", slow)
	}
	for range 1000 {
		feed(1, 1, 200)
		if o.total < leastTimes {
			t.Fatalf("%d units are left to go by", o.total)
		}
	}
}

// A full memory says so, keeps room for those who come again, and has it again in
// ten minutes.
func TestOffendersAreBounded(t *testing.T) {
	var lost atomic.Uint64
	o := newOffenders("r1", &lost)
	key := uint64(0)
	for range maxOffenders {
		key++
		o.note(key, 1000, true)
	}
	if n, forgotten := o.size(); n != maxOffenders/2 || forgotten != maxOffenders/2 || lost.Load() != forgotten {
		t.Fatalf("%d of those with a fresh key are remembered and %d forgotten, want half", n, forgotten)
	}
	for range maxOffenders {
		key++
		o.note(key, 1001, false)
	}
	if n, forgotten := o.size(); n != maxOffenders || forgotten != maxOffenders || lost.Load() != forgotten {
		t.Errorf("%d are remembered and %d forgotten, want %d each", n, forgotten, maxOffenders)
	}
	if !o.has(1, 1001) || o.has(1, 1000) || !o.has(1, 1599) || o.has(1, 1600) || o.has(key, 1002) {
		t.Error("who is remembered, and when, is wrong")
	}
	for again := range uint64(100) {
		o.note(again+1, 1500, false) // known ones never need room
	}
	for range maxOffenders - 100 {
		key++
		o.note(key, 1601, false)
	}
	if n, forgotten := o.size(); n < maxOffenders-5 || n+int(forgotten) != 2*maxOffenders { // some looked old, and were not
		t.Errorf("%d are remembered and %d forgotten, want %d each", n, forgotten, maxOffenders)
	}
	if !o.has(1, 1602) || !o.has(key, 1602) || o.has(maxOffenders/2, 1602) {
		t.Error("those in trouble again, or just now, are not those that are remembered")
	}
	if len(o.order) > 2*maxOffenders+expireAtOnce {
		t.Errorf("the order of %d callers holds %d", len(o.callers), len(o.order))
	}
}
