package analysis

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bands say what the checks of the verdict say, at every second, and never widen.
func TestBands(t *testing.T) {
	u := newUsual(60)
	j := New(u.policy, u.baseline)
	last := map[string]Band{}
	for _, b := range u.blocks {
		observe(t, j, b)
		bands, checks := j.Bands(), j.Verdict().Checks
		if _, err := json.Marshal(bands); err != nil || len(bands) != len(checks) {
			t.Fatalf("%d bands of %d checks (%v)", len(bands), len(checks), err)
		}
		for i, b := range bands {
			c := checks[i]
			if b.Check != c.Name || b.Unit != c.Unit || b.Stable != c.Stable || b.Canary != c.Canary || b.Against != c.Against ||
				b.NCanary != c.NCanary || b.Lowest && b.Low != c.Low || b.Highest && b.High != c.High {
				t.Fatalf("second %d: band %+v, check %+v", b.NCanary, b, c)
			}
			l := last[b.Check]
			if b.Unit == "share" && (l.Lowest && b.Low < l.Low || l.Highest && b.High > l.High) {
				t.Fatalf("%s widens from %+v to %+v", b.Check, l, b)
			}
			last[b.Check] = b
		}
	}
	if b := last["errors"]; !b.Highest || b.High > .1 {
		t.Errorf("after a minute errors are %+v, want an upper end", b)
	}
	if e := New(delivery.JudgePolicy{}, Arm{}).Bands(); len(e) != 1 || e[0].Lowest || e[0].Highest {
		t.Errorf("bands of nothing are %+v", e)
	}
}

// The nearest candidates of an interval's ends are weighed first, and however
// large a difference is, its ends are found.
func TestEndsClimb(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for _, c := range [][2]float64{{.001, .001}, {.01, .6}, {.5, .05}, {.3, .3}} {
		e := newErrorTest(Defaults(delivery.JudgePolicy{}), Arm{})
		for range 120 {
			e.observe(pair{450, float64(binomial(r, 450, c[0])), 50, float64(binomial(r, 50, c[1]))}, endLimit(.01))
		}
		low, high := e.interval()
		if d := c[1] - c[0]; low > d || high < d || high-low > .12+.7*max(d, -d) {
			t.Errorf("shares %v: the difference is from %v to %v", c, low, high)
		}
	}
}
