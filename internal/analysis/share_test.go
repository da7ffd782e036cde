package analysis

import (
	"math"
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
			if s.all.blocks == 2 {
				s.restart()
			}
			return s
		}
		start := *newShareTest(m, Defaults(delivery.JudgePolicy{}))
		start.stable = rate{n: 100, x: 6}
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
		} {
			shapes := []shape{binomials(3, 2, c.points), binomials(1, 3, c.points)}
			if e := adversary(start, 3, shapes, play, c.value); e > 1+1e-9 {
				t.Errorf("%s, tempered %v: an adversary reaches E = %v, want at most 1", name, approx, e)
			} else {
				t.Logf("%s, tempered %v: an adversary reaches E = 1%+.2g", name, approx, e-1)
			}
		}
	}
}
