package analysis

import (
	"math"
	"math/rand/v2"
	"testing"
)

// CUPED takes the part of the variance that the past explains, and no part of
// the difference of the arms.
func TestCovarianceAdjusts(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 1))
	draw := func(n int, lift float64) []Unit {
		all := make([]Unit, n)
		for i := range all {
			x := 20 + 6*r.NormFloat64()
			all[i] = Unit{X: x, Y: 3 + .8*x + lift + 2*r.NormFloat64()}
		}
		return all
	}
	var c Covariance
	if c.Theta() != 0 {
		t.Errorf("knows theta %v of nothing", c.Theta())
	}
	for _, u := range draw(5000, 0) {
		c.Add(u)
	}
	c.Add(Unit{X: math.NaN(), Y: 1})
	c.Add(Unit{X: 1, Y: math.Inf(1)})
	if math.Abs(c.Theta()-.8) > .03 {
		t.Fatalf("theta = %v, want about 0.8", c.Theta())
	}
	stable, canary := draw(4000, 0), draw(1000, 1)
	stable = append(stable, Unit{X: math.NaN()})
	s, k := c.Adjust(stable, canary)
	if s.N != 4000 || k.N != 1000 {
		t.Errorf("%v and %v units, want 4000 and 1000", s.N, k.N)
	}
	if lift := k.Sum/k.N - s.Sum/s.N; math.Abs(lift-1) > .3 {
		t.Errorf("difference %v after the adjustment, want about 1", lift)
	}
	mean := s.Sum / s.N
	if v := s.Squares/s.N - mean*mean; v < 3.5 || v > 4.5 {
		t.Errorf("variance %v after the adjustment, want about 4 of 27", v)
	}
	if s, k := c.Adjust(nil, []Unit{{X: math.NaN()}}); s.N != 0 || k.N != 0 {
		t.Errorf("no units give %+v and %+v", s, k)
	}
}
