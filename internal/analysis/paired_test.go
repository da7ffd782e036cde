package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// trinomial returns the chance of b and c of n.
func trinomial(n, b, c int, pb, pc float64) float64 {
	return choose(n, b, pb) * choose(n-b, c, min(pc/(1-pb+1e-300), 1))
}

// expectPairs returns E[f] over all outcomes of n pairs.
func expectPairs(n int, pb, pc float64, f func(b, c float64) float64) float64 {
	sum := 0.0
	for b := range n + 1 {
		for c := range n - b + 1 {
			if w := trinomial(n, b, c, pb, pc); w > 0 {
				sum += w * f(float64(b), float64(c))
			}
		}
	}
	return sum
}

// besides returns chances (pb, pc) on and beyond a line.
func besides(l line, under bool) (points [][2]float64) {
	for _, pb := range []float64{0, 1e-6, .001, .02, .1, .25, .4, .6, .9} {
		for _, d := range []float64{0, 1e-9, .01, .1, .3, .6} {
			pc := l.at(pb) + d
			if under {
				pc = l.at(pb) - d
			}
			if pc >= 0 && pb+pc <= 1 {
				points = append(points, [2]float64{pb, pc})
			}
		}
	}
	return points
}

func TestPairsAreEVariable(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 3))
	worst := 0.0
	for range 300 {
		l := []line{{1.2, 0}, {1, .01}, {2, .02}, {1, -.05}, {1, .3}, {3, 0}}[r.IntN(6)]
		sb := inside(.4 * math.Pow(10, -4*r.Float64()))
		up := r.IntN(2) == 0
		sc := min((l.at(sb)+.001)*(1.2+4*r.Float64()), .95*(1-sb))
		if !up {
			sc = l.at(sb) * (.05 + .9*r.Float64())
		}
		if sc <= 0 || up && sc <= l.at(sb) {
			continue
		}
		for _, p := range besides(l, up) {
			e := expectPairs(5, p[0], p[1], func(b, c float64) float64 { return math.Exp(l.logPaired(5, b, c, sb, sc)) })
			worst = max(worst, e)
			if e > 1+1e-12 {
				t.Fatalf("E[S] = 1%+.3g at %v of line %+v, alternative (%v, %v)", e-1, p, l, sb, sc)
			}
		}
	}
	t.Logf("largest E[S] - 1 is %.3g", worst-1)
}

func TestPairedAgainstAdversary(t *testing.T) {
	m := margins{1.2, .02, 2, .05}
	start := *newPairedTest(m, .01)
	play := func(p pairedTest, r Reading) pairedTest {
		p.against, p.promote = p.against.clone(), p.promote.clone()
		eager(&p.against, &p.promote)
		p.observe(uint64(r.Stable.N), uint64(r.Canary.Sum), uint64(r.Stable.Sum))
		if p.seen.blocks == 2 {
			p.against.restart()
		}
		return p
	}
	shapes := func(points [][2]float64) (all []shape) {
		for _, n := range []int{1, 4} {
			var s shape
			for b := range n + 1 {
				for c := range n - b + 1 {
					s.readings = append(s.readings, counts(float64(n), float64(b), float64(n), float64(c)))
				}
			}
			for _, p := range points {
				var w []float64
				for b := range n + 1 {
					for c := range n - b + 1 {
						w = append(w, trinomial(n, b, c, p[0], p[1]))
					}
				}
				s.chances = append(s.chances, w)
			}
			all = append(all, s)
		}
		return all
	}
	ratio, floor := besides(line{1.2, 0}, true), besides(line{1, .02}, true)
	for _, c := range []struct {
		name   string
		points [][2]float64
		value  func(pairedTest) float64
	}{
		{"rollback", append(ratio, floor...), func(p pairedTest) float64 { return math.Exp(p.evidence()) }},
		{"promotion", besides(line{2, .05}, false), func(p pairedTest) float64 { return math.Exp(p.promote.evidence()) }},
	} {
		if e := adversary(start, 3, shapes(c.points), play, c.value); e > 1+1e-9 {
			t.Errorf("%s: an adversary reaches E = %v, want at most 1", c.name, e)
		} else {
			t.Logf("%s: an adversary over %d points reaches E = 1%+.2g", c.name, len(c.points), e-1)
		}
	}
}

func TestPaired(t *testing.T) {
	fresh := func() *pairedTest { return newPairedTest(margins{1.2, .001, 2, .002}, .01) }
	worse, same, flaky := fresh(), fresh(), fresh()
	for range 60 {
		worse.observe(20, 1, 0)
		same.observe(40, 0, 0)
		flaky.observe(40, 2, 2)
	}
	if worse.evidence() < 4.6 {
		t.Errorf("60 of 1,200 pairs bad on the canary alone: log evidence %v", worse.evidence())
	}
	if low, _, known := worse.interval(); !known[0] || low <= 0 || low > .05 {
		t.Errorf("its interval begins at %v (%v), want above 0 and at most .05", low, known)
	}
	if same.proof() < 3 || same.remaining(20) != 0 {
		t.Errorf("2,400 pairs without a difference: log evidence for it %v", same.proof())
	}
	if flaky.peak() > 3 || flaky.proof() < 3 {
		t.Errorf("both flaky alike: log evidence against %v, for %v", flaky.peak(), flaky.proof())
	}
	if e := worse.estimates(); e.canary != .05 || e.stable != 0 || e.nCanary != 1200 || e.badCanary != 60 {
		t.Errorf("estimates %+v", e)
	}
	if same.nextStep(); same.proof() != 0 || same.remaining(20) <= 0 {
		t.Errorf("in the next step the proof is %v, want 0", same.proof())
	}
	before := worse.evidence()
	worse.observe(0, 0, 0)
	worse.observe(3, 2, 2)
	worse.observe(1, math.MaxUint64, 2)
	if worse.evidence() != before || worse.wrong() == "" {
		t.Errorf("more bad than there are pairs: evidence from %v to %v, %q", before, worse.evidence(), worse.wrong())
	}
	for range 10 {
		worse.observe(1e9, 5e8, 5e8)
	}
	if !isFinite(worse.evidence()) || !isFinite(worse.proof()) || math.IsNaN(worse.remaining(20)) {
		t.Errorf("with 1e9 pairs that all differ: %v, %v", worse.evidence(), worse.proof())
	}
	if n := testing.AllocsPerRun(100, func() { same.observe(40, 0, 0) }); n != 0 {
		t.Errorf("%v allocations an update, want 0", n)
	}
}

// A pair that turns from good to bad on the canary alone never helps it.
func TestPairedIsMonotone(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := newPairedTest(margins{1.2, .001, 2, .002}, .01), newPairedTest(margins{1.2, .001, 2, .002}, .01)
		where := rapid.IntRange(0, 9).Draw(r, "where")
		for i := range 10 {
			n := rapid.Uint64Range(1, 50).Draw(r, "pairs")
			c := rapid.Uint64Range(0, n-1).Draw(r, "canary")
			s := rapid.Uint64Range(0, n-1-c).Draw(r, "stable")
			a.observe(n, c, s)
			if i == where {
				c++
			}
			b.observe(n, c, s)
			if !atLeast(b.evidence(), a.evidence()) || !atLeast(a.promote.evidence(), b.promote.evidence()) {
				r.Fatalf("one more bad pair moves the evidence against from %v to %v, for from %v to %v",
					a.evidence(), b.evidence(), a.promote.evidence(), b.promote.evidence())
			}
		}
	})
}

func BenchmarkMetricPaired(b *testing.B) {
	t := newPairedTest(margins{1.2, .001, 2, .002}, .01)
	b.ReportAllocs()
	for b.Loop() {
		t.observe(40, 1, 1)
	}
}

func BenchmarkMetricMismatch(b *testing.B) {
	m := newMismatch()
	b.ReportAllocs()
	for b.Loop() {
		m.observe(.1, 90, 10)
	}
}
