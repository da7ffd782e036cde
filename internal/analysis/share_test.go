package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// The tempered test, too, is an e-process for independent units: against an
// adversary who picks sizes, shares and when to stop.
func TestShareAgainstAdversary(t *testing.T) {
	m := delivery.Metric{Ratio: 1.5, Add: .05, PromoteRatio: 2, PromoteAdd: .1}
	for _, approx := range []bool{false, true} {
		play := func(s shareTest, r Reading) shareTest {
			s.errorTest = s.clone()
			eager(&s.against, &s.promote)
			r.Approx = approx
			s.observe(r)
			s.canary = rate{n: 10, x: s.canary.x} // the past says anything
			if s.all.blocks == 2 {
				s.against.restart()
			}
			return s
		}
		start := *newShareTest(m, Defaults(delivery.JudgePolicy{}))
		start.stable, start.ends.scale, start.ends.limit = rate{n: 100, x: 6}, .1, math.Inf(1)
		above, below := placeOf(1), placeOf(-1)
		start.ends.low, start.ends.high = above-2, len(start.ends.down)-below-3
		for name, c := range map[string]struct {
			points [][2]float64
			value  func(shareTest) float64
		}{
			"rollback": {
				[][2]float64{{0, .05}, {.02, .07}, {.1, .15}, {.2, .3}, {.6, .9}, {.3, .1}},
				func(s shareTest) float64 { return math.Exp(s.evidence()) },
			},
			"promotion": {
				[][2]float64{{0, .1}, {.06, .22}, {.2, .5}, {.45, 1}, {.1, .6}},
				func(s shareTest) float64 { return math.Exp(s.promote.evidence()) },
			},
			"lower end": {
				[][2]float64{{0, .1}, {.1, .2}, {.9, 1}, {.5, .6}, {.3, .1}},
				func(s shareTest) float64 { return math.Exp(s.ends.up[above].log) },
			},
			"upper end": {
				[][2]float64{{.1, 0}, {.2, .1}, {1, .9}, {.6, .5}, {.1, .3}},
				func(s shareTest) float64 { return math.Exp(s.ends.down[below].log) },
			},
		} {
			shapes := []shape{binomials(3, 1, c.points), binomials(1, 3, c.points)}
			if e := adversary(start, 3, shapes, play, c.value); e > 1+1e-9 {
				t.Errorf("%s, tempered %v: an adversary reaches E = %v, want at most 1", name, approx, e)
			} else {
				t.Logf("%s, tempered %v: an adversary reaches E = 1%+.2g", name, approx, e-1)
			}
		}
	}
}

// placeOf returns the place of a candidate on the grid.
func placeOf(candidate float64) int {
	for i := range 2*far + 1 {
		if math.Abs(offset(i)-candidate) < 1e-12 {
			return i
		}
	}
	return -1
}

// The interval of a share holds the difference at all times, while the base
// drifts and the weight changes, and closes in on it.
func TestShareInterval(t *testing.T) {
	const reps = 30
	m, p := MetricDefaults(delivery.Metric{Kind: delivery.KindShare}), Defaults(delivery.JudgePolicy{Alpha: .05})
	for _, d := range []float64{0, .02, -.01} {
		missed, wide := 0, 0
		for seed := range uint64(reps) {
			r := rand.New(rand.NewPCG(15, seed))
			s, beside := newShareTest(m, p), false
			for i := range 500 {
				base, w := .03+.02*math.Sin(float64(i)/60), .05
				if i > 200 {
					w = .5
				}
				nb, nc := uint64(200*(1-w)), uint64(200*w)
				s.observe(counts(float64(nb), float64(binomial(r, nb, base)), float64(nc), float64(binomial(r, nc, base+d))))
				low, high, _ := s.interval()
				beside = beside || d < low || d > high
			}
			low, high, known := s.interval()
			missed += one(beside)
			wide += one(!known[0] || !known[1] || high-low > .025)
		}
		if missed > atMost(reps, .05) || wide > 0 {
			t.Errorf("difference %v: missed by %d of %d intervals, %d of them too wide", d, missed, reps, wide)
		}
		t.Logf("difference %v: missed by %d of %d", d, missed, reps)
	}
}
