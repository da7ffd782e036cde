package embedded

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is written down is read again, and only what is too old goes.
func TestColumn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c column
		var want []entry
		at := rapid.Int64Range(1, 1<<40).Draw(t, "start")
		for range rapid.IntRange(0, 80).Draw(t, "entries") {
			e := entry{covered: rapid.Int64Range(1, 3).Draw(t, "covered")}
			e.value = rapid.SampledFrom([]float64{0, 1, -7, 0.1, 1e300, 1 << 51, -1 << 49, math.MaxUint32, math.SmallestNonzeroFloat64}).Draw(t, "value")
			if rapid.IntRange(0, 4).Draw(t, "rest") == 0 {
				e.rest = rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "rest")
			}
			gap := rapid.Int64Range(1, 40).Draw(t, "gap")
			for range rapid.IntRange(1, 4).Draw(t, "times") {
				at += gap
				e.at = at
				want = append(want, e)
				c.add(e, 60)
			}
		}
		first, last := at-rapid.Int64Range(0, 400).Draw(t, "first"), at-rapid.Int64Range(0, 100).Draw(t, "last")
		got := map[int64]entry{}
		c.each(first, last, func(e entry) { got[e.at] = e })
		n := 0
		for _, w := range want {
			if w.at < first || w.at > last {
				continue
			}
			n++
			if g := got[w.at]; g.value != w.value || g.covered != w.covered || string(g.rest) != string(w.rest) {
				t.Fatalf("at %d: %+v, want %+v", w.at, g, w)
			}
		}
		if len(got) != n {
			t.Fatalf("%d entries, want %d", len(got), n)
		}
		c.forget(first)
		kept := 0
		c.each(0, math.MaxInt64, func(e entry) {
			kept++
			if e.at < first-100 { // a page, and the gap behind it
				t.Fatalf("%d is kept, and %d is the limit", e.at, first)
			}
		})
		for _, w := range want {
			if w.at >= first {
				kept--
			}
		}
		if kept < 0 {
			t.Fatalf("%d too many were forgotten", -kept)
		}
	})
}
