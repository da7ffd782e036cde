package analysis

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// What was proven early in a step is no pass while later seconds speak against
// the release, and is one again when they are forgotten.
func TestNoPassInDoubt(t *testing.T) {
	j := healthy(t)
	second, doubted := int64(100), false
	feed := func(bad uint64) delivery.Verdict {
		second++
		observe(t, j, Block{Second: second, Stable: same(450, 0), Canary: same(50, bad)})
		return j.Verdict()
	}
	for range 100 {
		v := feed(uint64(second % 2))
		if v.Outcome == delivery.Fail {
			t.Fatal("it failed before it was in doubt")
		}
		if v.Evidence < doubt {
			continue
		}
		doubted = true
		if v.Outcome != delivery.Inconclusive || !strings.HasPrefix(v.Sentence, "signs of harm") || !strings.Contains(v.Sentence, "it was proven fit before") {
			t.Fatalf("evidence %v: %s, %q", v.Evidence, v.Outcome, v.Sentence)
		}
		break
	}
	if !doubted {
		t.Fatal("one failure in a hundred raises no doubt")
	}
	for range 300 {
		feed(0)
	}
	if v := j.Verdict(); v.Outcome != delivery.Pass {
		t.Errorf("five minutes later %s, evidence %v: %s", v.Outcome, v.Evidence, v.Sentence)
	}
}

// Nothing passes by what was proven before stable was asked nothing any more.
func TestStableIsGone(t *testing.T) {
	j := healthy(t)
	for i := range int64(120) {
		observe(t, j, Block{Second: 100 + i, Canary: same(50, 50)})
		if v := j.Verdict(); i >= 70 && (v.Outcome != delivery.Inconclusive || !strings.HasPrefix(v.Sentence, "no request to stable for ")) {
			t.Fatalf("%d s after: %s %q", i, v.Outcome, v.Sentence)
		}
	}
	observe(t, j, Block{Second: 300, Stable: same(450, 0), Canary: same(50, 0)})
	if v := j.Verdict(); v.Outcome != delivery.Pass {
		t.Errorf("when it is back: %s %q", v.Outcome, v.Sentence)
	}
}

// A release that was better for half an hour and then fails is not called worse
// with numbers that say better.
func TestBecameWorse(t *testing.T) {
	now := 0
	fails := func(second int) (stable, canary float64) {
		if second < 1800 {
			return .02, .001
		}
		return .02, .2
	}
	slows := func(r *rand.Rand, canary bool) float64 {
		l := .05 * math.Exp(.8*r.NormFloat64())
		switch {
		case !canary:
			return l
		case now < 1800:
			return .8 * l
		}
		return 1.6 * l
	}
	for want, s := range map[string]service{
		"failed, against": {rps: 500, errors: fails},
		"were beyond p":   {rps: 500, errors: constant(.002, .002), latency: slows},
	} {
		r := rand.New(rand.NewPCG(5, 5))
		j := New(delivery.JudgePolicy{}, s.baseline(r))
		for now = 0; now < 1900 && !j.failed; now++ {
			observe(t, j, s.block(r, now))
		}
		v := j.Verdict()
		finite(t, v)
		if now > 1830 || !strings.HasPrefix(v.Sentence, "the new release became worse: in the last ") || !strings.Contains(v.Sentence, want) {
			t.Errorf("after %d s %s: %q, want %q", now, v.Outcome, v.Sentence, want)
		}
	}
}

// By how much a block narrows an interval is settled before the block.
func TestBlocksDoNotTemperThemselves(t *testing.T) {
	kept := func(canary Arm) (all []float64) {
		j := healthy(t)
		observe(t, j, Block{Second: 100, Stable: same(450, 0), Canary: canary})
		for _, p := range j.latency.proofs {
			all = append(all, p.kept)
		}
		return all
	}
	a, b := kept(same(50, 0)), kept(Arm{Units: 50, Bins: map[int]uint32{Bin(9): 50}})
	for i := range a {
		if a[i] != b[i] || a[i] <= 0 {
			t.Errorf("proof %d keeps %v of a block and %v of another after the same past", i, a[i], b[i])
		}
	}
}

// An end of which nothing is known is not given as the end of the histogram.
func TestUnknownEnds(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	observe(t, j, Block{Second: 1, Stable: same(9, 0), Canary: same(2, 0)})
	for _, c := range j.Verdict().Checks[1:] {
		if c.High != math.MaxFloat64 || c.Low != -math.MaxFloat64 || !strings.Contains(c.Sentence, "difference not known yet") {
			t.Errorf("%s: %v to %v, %q", c.Name, c.Low, c.High, c.Sentence)
		}
	}
}

func TestNumbersInWords(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0 %", 1: "100 %", .5: "50 %", .99: "99 %", .995: "99.5 %", .999: "99.9 %", .9995: "99.95 %", .99995: "99.995 %", .0042: "0.42 %",
	} {
		if got := percent(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{1e-170: "1.00e-170", 1e60: "1.00e+60", 123456: "123000", 1e-6: "0.000001", -.5: "-0.5"} {
		if got := short(v, 3); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
}

// Levels so small that their squares are 0 are no evidence, and make no number that is none.
func TestTinyLevels(t *testing.T) {
	m := delivery.Metric{Name: "m", Kind: delivery.KindLevel, From: delivery.FromService, Role: delivery.Required}
	for _, level := range []float64{5e-324, 1e-310, 1e-170} {
		j := New(delivery.JudgePolicy{Metrics: []delivery.Metric{m}}, same(1000, 1))
		for i := range 300 {
			b := Block{Second: int64(i), Stable: same(450, 0), Canary: same(50, 0)}
			b.Readings = []Reading{{Metric: "m", Stable: Value{N: 2, Sum: 2 * level}, Canary: Value{N: 2, Sum: 6 * level}, Seconds: 1}}
			observe(t, j, b)
		}
		v := j.Verdict()
		finite(t, v)
		if !(v.Evidence > 0 && v.Evidence < 2) {
			t.Errorf("%v: evidence %v", level, v.Evidence)
		}
	}
}
