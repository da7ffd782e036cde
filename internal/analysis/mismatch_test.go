package analysis

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever weights an adversary sets after looking, and however many keys are
// drawn, the evidence of a split that is carried out stays an e-process.
func TestMismatchAgainstAdversary(t *testing.T) {
	var shapes []shape
	weights := []float64{.01, .3, .5, .95}
	for i, w := range weights {
		for _, n := range []int{1, 3, 6} {
			var s shape
			var chances []float64
			for c := range n + 1 {
				r := counts(float64(n-c), 0, float64(c), 0)
				r.Seconds = i // which weight was in force
				s.readings = append(s.readings, r)
				chances = append(chances, choose(n, c, w))
			}
			s.chances = [][]float64{chances}
			shapes = append(shapes, s)
		}
	}
	play := func(m mismatch, r Reading) mismatch {
		m.process = m.process.clone()
		eager(&m.process)
		m.observe(weights[r.Seconds], uint64(r.Stable.N), uint64(r.Canary.N))
		return m
	}
	value := func(m mismatch) float64 { return math.Exp(m.process.evidence()) }
	if e := adversary(newMismatch(), 3, shapes, play, value); e > 1+1e-12 {
		t.Errorf("an adversary reaches E = %v, want at most 1", e)
	} else {
		t.Logf("an adversary reaches E = 1%+.2g", e-1)
	}
}

// A split at changing weights is found wrong when it is, and not when it is not.
func TestMismatch(t *testing.T) {
	run := func(seed uint64, odds float64) (bool, string) {
		r := rand.New(rand.NewPCG(6, seed))
		m := newMismatch()
		for i := range 1200 {
			w := []float64{.01, .05, .25, .5}[i/300]
			const n = 200
			c := binomial(r, n, w*odds/(w*odds+1-w))
			m.observe(w, n-c, c)
		}
		return m.invalid()
	}
	alarms := 0
	for seed := range uint64(200) {
		if bad, _ := run(seed, 1); bad {
			alarms++
		}
	}
	if most := atMost(200, mismatchAlpha); alarms > most {
		t.Errorf("%d of 200 splits as set were called wrong, want at most %d", alarms, most)
	}
	for _, odds := range []float64{.2, .9, 1.1, 3} {
		bad, why := run(1, odds)
		if !bad || !strings.Contains(why, "new callers were sent to the new release") {
			t.Errorf("odds off by %v: %v %q, want invalid", odds, bad, why)
		}
	}
}

// Before there can be an alarm, a tenth of the canary's callers that is missing is
// seldom overlooked, and a split as set seldom taken for that.
func TestMismatchMissing(t *testing.T) {
	const reps, n, w = 400, 500, .1
	for _, c := range []struct {
		blocks                int // seconds
		mostWrong, mostPassed int
	}{{21, 160, 20}, {45, 48, 8}, {90, 8, 2}} {
		wrong, passed := 0, 0
		for seed := range uint64(reps) {
			r := rand.New(rand.NewPCG(8, seed))
			right, lacks := newMismatch(), newMismatch()
			for range c.blocks {
				k := binomial(r, n, w)
				right.observe(w, n-k, k)
				k = binomial(r, n, w)
				lacks.observe(w, n-k, binomial(r, k, .9))
			}
			if right.missing() {
				wrong++
			}
			if !lacks.missing() {
				passed++
			}
		}
		t.Logf("after %d s: of %d a split as set is doubted %d times, one that lacks a tenth is not %d times", c.blocks, reps, wrong, passed)
		if wrong > c.mostWrong || passed > c.mostPassed {
			t.Errorf("after %d s: a split as set is doubted %d times of %d, want at most %d; one that lacks a tenth is not %d times, want at most %d",
				c.blocks, wrong, reps, c.mostWrong, passed, c.mostPassed)
		}
	}
	few := newMismatch()
	few.observe(.1, 3589, 399)
	few.observe(.1, 2, 0)
	if few.missing() {
		t.Error("fewer than 400 draws of the canary's say that some are missing")
	}
}

func TestMismatchEdges(t *testing.T) {
	m := newMismatch()
	for _, w := range []float64{0, 1, -1, 2, math.NaN(), math.Inf(1)} {
		m.observe(w, 10, 1000)
	}
	m.observe(.5, 0, 0)
	if fresh := newMismatch(); m.keys != 0 || m.process.evidence() != fresh.process.evidence() {
		t.Errorf("weights that are none moved the evidence to %v", m.process.evidence())
	}
	m.observe(1e-9, 1e9, 1)
	m.observe(.999999, 1000, 1e9-1000)
	if bad, why := m.invalid(); bad || !isFinite(m.process.evidence()) {
		t.Errorf("as set, with 1e9 keys: %v %s", m.process.evidence(), why)
	}
	m.observe(.5, 1e9, 2e9)
	if bad, _ := m.invalid(); !bad || math.IsNaN(m.process.evidence()) {
		t.Errorf("1e9 against 2e9: %v", m.process.evidence())
	}
}

// One block as two gives the same evidence: only sums matter under one weight.
func TestMismatchMerges(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.SliceOfN(rapid.Uint64Range(0, 500), 4, 4).Draw(r, "keys")
		w := rapid.Float64Range(.01, .99).Draw(r, "weight")
		one, two := newMismatch(), newMismatch()
		one.observe(w, n[0]+n[2], n[1]+n[3])
		two.observe(w, n[0], n[1])
		two.observe(w, n[2], n[3])
		if a, b := one.process.evidence(), two.process.evidence(); math.Abs(a-b) > 1e-9*(1+math.Abs(a)) {
			r.Fatalf("log evidence %v of one block, %v of its halves", a, b)
		}
	})
}

func TestLoss(t *testing.T) {
	run := func(seed uint64, stable, canary float64, bunch uint64) (bool, string) {
		r := rand.New(rand.NewPCG(7, seed))
		l := newLoss()
		for range 600 {
			l.observe(Block{
				Stable: Arm{Units: 450, Lost: bunch * poisson(r, 450*stable/float64(bunch))},
				Canary: Arm{Units: 50, Lost: bunch * poisson(r, 50*canary/float64(bunch))},
			})
		}
		return l.invalid()
	}
	for seed := range uint64(20) {
		for _, bunch := range []uint64{1, 5} {
			if bad, why := run(seed, .004, .004, bunch); bad {
				t.Errorf("seed %d: lost alike, %d at a time: %s", seed, bunch, why)
			}
		}
	}
	for _, c := range [][2]float64{{.001, .02}, {.02, .001}, {0, .02}} {
		if bad, why := run(1, c[0], c[1], 1); !bad || !strings.Contains(why, "vanish") {
			t.Errorf("lost %v: %v %q, want invalid", c, bad, why)
		}
	}
	if bad, why := run(1, 0, 0, 1); bad {
		t.Error(why)
	}
}
