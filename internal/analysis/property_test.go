package analysis

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// drawArm draws an arm of up to n units, some failed, some open, some given up.
func drawArm(t *rapid.T, n int, name string) Arm {
	a := Arm{Units: uint64(rapid.IntRange(0, n).Draw(t, name+" units")), Bins: map[int]uint32{}}
	a.Bad = uint64(rapid.IntRange(0, int(a.Units)).Draw(t, name+" bad"))
	left := int(a.Units)
	for _, bin := range []int{rapid.IntRange(0, Bins-1).Draw(t, name+" bin"), 700, 760} {
		k := rapid.IntRange(0, left).Draw(t, name+" answered")
		a.Bins[bin] += uint32(k)
		left -= k
	}
	a.Open = uint64(rapid.IntRange(0, left).Draw(t, name+" open"))
	return a
}

func drawBlocks(t *rapid.T) []Block {
	blocks := make([]Block, rapid.IntRange(1, 40).Draw(t, "blocks"))
	for i := range blocks {
		blocks[i] = Block{Second: int64(i), Stable: drawArm(t, 60, "stable"), Canary: drawArm(t, 20, "canary")}
	}
	return blocks
}

func drawJudge(t *rapid.T, p delivery.JudgePolicy) func() *Judge {
	baseline := drawArm(t, 400, "baseline")
	return func() *Judge { return New(p, baseline) }
}

func feed(t *rapid.T, j *Judge, b Block) {
	if err := j.Observe(b); err != nil {
		t.Fatal(err)
	}
}

// Looking more often changes nothing; verdicts are whole, fails are final, and
// nothing passes without a canary.
func TestPeeking(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		fresh := drawJudge(r, delivery.JudgePolicy{})
		blocks := drawBlocks(r)
		steps := rapid.SliceOfN(rapid.Bool(), len(blocks), len(blocks)).Draw(r, "next step")
		peeked, once := fresh(), fresh()
		failed := false
		for i, b := range blocks {
			feed(r, peeked, b)
			feed(r, once, b)
			v := peeked.Verdict()
			finite(t, v)
			if failed && v.Outcome != delivery.Fail {
				r.Fatalf("a fail became %s", v.Outcome)
			}
			failed = v.Outcome == delivery.Fail
			if failed != (v.Evidence >= v.Limit) {
				r.Fatalf("%s with evidence %v of %v", v.Outcome, v.Evidence, v.Limit)
			}
			if n := v.Checks[0].NCanary; v.Outcome == delivery.Pass && n < leastUnits {
				r.Fatalf("passed after %d requests", n)
			}
			if steps[i] {
				peeked.NextStep()
				once.NextStep()
			}
		}
		if a, b := peeked.Verdict(), once.Verdict(); !reflect.DeepEqual(a, b) {
			r.Fatalf("peeking gives %+v, looking once %+v", a, b)
		}
	})
}

// atLeast compares log evidence up to rounding.
func atLeast(a, b float64) bool { return a >= b-1e-9*(1+math.Abs(a)+math.Abs(b)) }

// A good answer of the canary that turns bad never lowers the evidence of its
// block against it and never raises the evidence for it: the alternatives are
// chosen from stable alone. (One more failed request on top is another matter:
// it also moves the projection; and what later blocks say is tempered by how much
// the earlier ones swung.)
func TestMonotoneInErrors(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		blocks := drawBlocks(r)
		where := len(blocks) - 1
		if c := blocks[where].Canary; c.Bad == c.Units {
			r.Skip("no good answer")
		}
		policy := Defaults(delivery.JudgePolicy{})
		a, b := newErrorTest(policy, Arm{}), newErrorTest(policy, Arm{})
		for i, k := range blocks {
			p := pair{float64(k.Stable.Units), float64(k.Stable.Bad), float64(k.Canary.Units), float64(k.Canary.Bad)}
			a.observe(p, math.Inf(1))
			if i == where {
				p.xc++
			}
			b.observe(p, math.Inf(1))
			if !atLeast(b.against.evidence(), a.against.evidence()) {
				r.Fatalf("one more error lowers the log evidence against from %v to %v", a.against.evidence(), b.against.evidence())
			}
			if !atLeast(a.promote.evidence(), b.promote.evidence()) {
				r.Fatalf("one more error raises the log evidence for from %v to %v", a.promote.evidence(), b.promote.evidence())
			}
		}
	})
}

// An answer of the canary that comes later, or never, never helps it in its
// block; later blocks are tempered by how much the earlier ones swung.
func TestMonotoneInLatency(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		fresh := drawJudge(r, delivery.JudgePolicy{Alpha: 1e-300})
		blocks := drawBlocks(r)
		where := len(blocks) - 1
		later := rapid.IntRange(0, Bins-1).Draw(r, "later")
		slow := map[int]uint32{}
		moved := false
		for bin, n := range blocks[where].Canary.Bins {
			slow[bin] += n
			if n > 0 && bin < later && !moved {
				moved = true
				slow[bin]--
				slow[later]++
			}
		}
		a, b := fresh().latency, fresh().latency
		for i, k := range blocks {
			a.observe(k, math.Inf(1))
			if i == where {
				k.Canary.Bins = slow
			}
			b.observe(k, math.Inf(1))
			if !atLeast(b.evidence(), a.evidence()) {
				r.Fatalf("a slower answer lowers the log evidence against from %v to %v", a.evidence(), b.evidence())
			}
			for q := range a.proofs {
				if !atLeast(a.proofs[q].promote.evidence(), b.proofs[q].promote.evidence()) {
					r.Fatalf("a slower answer raises the log evidence for p%v", 100*a.proofs[q].quantile)
				}
			}
		}
	})
}

// A smaller alpha never fails earlier: alpha bounds the evidence, it does not shape it.
func TestSmallerAlphaIsLater(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		baseline := drawArm(r, 400, "baseline")
		strict := New(delivery.JudgePolicy{Alpha: .0001}, baseline)
		usual := New(delivery.JudgePolicy{}, baseline)
		for _, b := range drawBlocks(r) {
			feed(r, strict, b)
			feed(r, usual, b)
			if strict.Verdict().Outcome == delivery.Fail && usual.Verdict().Outcome != delivery.Fail {
				r.Fatal("alpha 0.0001 failed before 0.01")
			}
		}
	})
}

// Both arms slower by the same bins give the same evidence, as long as the
// margins are ratios.
func TestScaleOfTime(t *testing.T) {
	policy := delivery.JudgePolicy{LatencyAdd: 1, PromoteLatencyAdd: 1}
	rapid.Check(t, func(r *rapid.T) {
		by := rapid.IntRange(1, 300).Draw(r, "bins")
		draw := func(n int, name string) Arm {
			a := Arm{Bins: map[int]uint32{}}
			for range 3 {
				k := uint32(rapid.IntRange(0, n).Draw(r, name))
				a.Bins[rapid.IntRange(600, 900).Draw(r, name+" bin")] += k
				a.Units += uint64(k)
			}
			return a
		}
		shift := func(a Arm) Arm {
			moved := map[int]uint32{}
			for bin, n := range a.Bins {
				moved[bin+by] = n
			}
			a.Bins = moved
			return a
		}
		baseline := draw(300, "baseline")
		a, b := New(policy, baseline), New(policy, shift(baseline))
		for i := range 10 {
			k := Block{Second: int64(i), Stable: draw(30, "stable"), Canary: draw(8, "canary")}
			feed(r, a, k)
			k.Stable, k.Canary = shift(k.Stable), shift(k.Canary)
			feed(r, b, k)
			if x, y := a.latency.evidence(), b.latency.evidence(); x != y {
				r.Fatalf("log evidence %v, after a shift of %d bins %v", x, by, y)
			}
		}
	})
}

// A block without one of the arms changes no evidence.
func TestUnpairedBlocksSayNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		j := drawJudge(r, delivery.JudgePolicy{})()
		blocks := drawBlocks(r)
		for _, b := range blocks {
			feed(r, j, b)
		}
		before := j.Verdict()
		alone := Block{Second: 1000, Stable: drawArm(r, 100, "stable")}
		if rapid.Bool().Draw(r, "canary") {
			alone = Block{Second: 1000, Canary: drawArm(r, 100, "canary")}
		}
		feed(r, j, alone)
		after := j.Verdict()
		if after.Evidence != before.Evidence || !slices.EqualFunc(after.Checks, before.Checks, func(a, b delivery.Check) bool {
			return a.Against == b.Against && a.For == b.For && a.NCanary == b.NCanary
		}) && len(before.Checks) == len(after.Checks) {
			r.Fatalf("evidence moved from %+v to %+v", before, after)
		}
	})
}
