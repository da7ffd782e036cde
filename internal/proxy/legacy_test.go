package proxy

import (
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// fill sets every number there is in a value of one process's counts to n, of maps
// those of one key.
func fill(v reflect.Value, n uint64) {
	switch v.Kind() {
	case reflect.Uint64, reflect.Uint32:
		v.SetUint(n)
	case reflect.Struct:
		for _, f := range v.Fields() {
			fill(f, n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Map:
		one := reflect.New(v.Type().Elem()).Elem()
		fill(one, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.Zero(v.Type().Key()), one)
	}
}

// Every number of a block is in the sum of two, also those of tomorrow.
func TestSumForgetsNoField(t *testing.T) {
	filled := func(n uint64) (b traffic.Block) {
		fill(reflect.ValueOf(&b).Elem(), n)
		return b
	}
	want := filled(3)
	want.Mixed = true
	if got := sum(filled(1), filled(2)); !reflect.DeepEqual(got, want) {
		t.Errorf("sum = %+v, want %+v", got, want)
	}
	for _, got := range []traffic.Block{sum(filled(3), traffic.Block{}), sum(traffic.Block{}, filled(3))} {
		if got.Mixed = true; !reflect.DeepEqual(got, want) {
			t.Errorf("sum with nothing = %+v, want %+v", got, want)
		}
	}
}

// However requests are shared out between an old and a new process, and however
// often the old one tells what it has, a watcher ends with the same totals as if
// one process had counted them all; and seconds that both counted are mixed.
func TestLegacyCountsAsOneProcess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(1_700_000_000, 0)
		old, fresh, whole, l := newCounts(), newCounts(), newCounts(), newLegacy()
		seen := map[legacyKey]traffic.Block{}
		var theirs, ours int64
		tell := func() {
			var blocks []traffic.Block
			blocks, _, theirs = old.collect(theirs, 0)
			for _, b := range blocks {
				l.take(b, fresh.epoch.Load())
			}
		}
		look := func() {
			before := ours
			var blocks []traffic.Block
			blocks, _, ours = fresh.collect(ours, 0)
			for _, b := range l.collect(blocks, before, 0, fresh.block) {
				seen[legacyKeyOf(b)] = b
			}
		}
		both := map[int64]int{}
		second := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			second += int64(rapid.IntRange(0, 1).Draw(t, "passes"))
			side := rapid.IntRange(0, 1).Draw(t, "side")
			at := start.Add(time.Duration(second) * time.Second)
			for _, c := range []*counts{[]*counts{old, fresh}[side], whole} {
				tk := c.get("r", "v1", "").begin(at, &draw{gen: 1}, caller{fresh: true})
				tk.answered(time.Millisecond)
				tk.end(finished, 200, 1, 2)
			}
			both[second] |= 1 << side
			if rapid.Bool().Draw(t, "tell") {
				tell()
			}
			if rapid.Bool().Draw(t, "look") {
				look()
			}
		}
		tell()
		look()
		want, _, _ := whole.collect(0, 0)
		if len(seen) != len(want) {
			t.Fatalf("%d seconds, want %d", len(seen), len(want))
		}
		for _, b := range want {
			got := seen[legacyKeyOf(b)]
			if got.Mixed != (both[b.Second-start.Unix()] == 3) {
				t.Fatalf("second %d: mixed %v, counted by %b", b.Second, got.Mixed, both[b.Second-start.Unix()])
			}
			got.Mixed = b.Mixed
			if !reflect.DeepEqual(got, b) {
				t.Fatalf("second %d: %+v, want %+v", b.Second, got, b)
			}
		}
	})
}

// What died unfinished is cancelled, once.
func TestLegacySettles(t *testing.T) {
	l := newLegacy()
	l.take(traffic.Block{Route: "r", Second: 7, Requests: 5, OK: 2, Unfinished: 3, UnitsOpen: 2, Units: 5}, 1)
	l.settle(4)
	l.settle(9)
	none := func(legacyKey) (traffic.Block, bool) { return traffic.Block{}, false }
	got := l.collect(nil, 4, 0, none)
	if len(got) != 1 || got[0].Cancelled != 3 || got[0].Unfinished != 0 || got[0].UnitsOpen != 0 {
		t.Errorf("after settle = %+v", got)
	}
	if again := l.collect(nil, 5, 0, none); len(again) != 0 {
		t.Errorf("settled again: %+v", again)
	}
	l.sweep(7 + kept)
	if again := l.collect(nil, 0, 0, none); len(again) != 0 {
		t.Errorf("kept too long: %+v", again)
	}
}
