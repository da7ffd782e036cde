package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// fleet draws the levels of instances of one release: each has its own offset
// for good, and wanders about it with a memory of about a minute.
type fleet struct{ own, wander []float64 }

func newFleet(r *rand.Rand, n int, apart float64) *fleet {
	f := &fleet{own: make([]float64, n), wander: make([]float64, n)}
	for i := range f.own {
		f.own[i] = apart * r.NormFloat64()
	}
	return f
}

// read returns one value an instance, five seconds after the last.
func (f *fleet) read(r *rand.Rand, level, noise float64) Value {
	var v Value
	for i := range f.own {
		f.wander[i] = .92*f.wander[i] + .39*r.NormFloat64()
		y := level * (1 + f.own[i] + noise*f.wander[i])
		v.N++
		v.Sum += y
		v.Squares += y * y
	}
	return v
}

type levels struct {
	stable, canary int     // instances
	apart          float64 // deviation between instances of one release
	noise          float64 // deviation in time
	times          float64 // canary's level, of stable's
	from           int     // reading at which it begins
}

// runs returns how many of so many rollouts of an hour had evidence against the
// canary, for it, and an interval beside the difference at some time.
func (l levels) runs(reps int) (against, proven, beside int) {
	for seed := range uint64(reps) {
		r := rand.New(rand.NewPCG(12, seed))
		b, c := newFleet(r, l.stable, l.apart), newFleet(r, l.canary, l.apart)
		m := newLevelTest(MetricDefaults(delivery.Metric{Kind: delivery.KindLevel}), .01)
		missed := false
		for i := range 720 {
			level, times := 200*(1+.2*math.Sin(float64(i)/200)), 1.0
			if i >= l.from {
				times = l.times
			}
			m.observe(Reading{Stable: b.read(r, level, l.noise), Canary: c.read(r, level*times, l.noise), Seconds: 5})
			low, high, _ := m.interval()
			d := 200 * (times - 1)
			missed = missed || 1.2*d+1e-9 < low && .8*d < low || .8*d > high && 1.2*d > high
		}
		against += one(m.peak() >= math.Log(100))
		proven += one(m.proof() >= math.Log(20))
		beside += one(missed)
	}
	return against, proven, beside
}

// At the border of the margins levels are hardly ever called worse or fit, what is
// twice as high is found, and the healthy are proven: with few instances that
// differ by 3 % or 10 % and wander by 5 % with a memory of a minute.
func TestLevels(t *testing.T) {
	const reps = 60
	rarely, often := [2]int{0, atMost(reps, .01)}, [2]int{reps * 9 / 10, reps}
	never, mostly := [2]int{0, atMost(reps, .05)}, [2]int{reps / 2, reps}
	for _, c := range []struct {
		levels
		against, proven [2]int // least and most
	}{
		{levels{1, 1, .03, .05, 1.2, 0}, rarely, [2]int{0, reps}},
		{levels{2, 2, .03, .05, 1.2, 0}, rarely, [2]int{0, reps}},
		{levels{2, 2, .1, .05, 1.2, 0}, rarely, [2]int{0, reps}},
		{levels{8, 2, .1, .1, 1.2, 0}, rarely, [2]int{0, reps}},
		{levels{4, 1, .2, .1, 1, 0}, rarely, [2]int{0, reps}},
		{levels{1, 1, 0, .2, 1.2, 0}, rarely, [2]int{0, reps}}, // wanders far: neighbours in time are not many
		{levels{1, 1, .03, .05, 1.5, 0}, [2]int{0, reps}, never},
		{levels{2, 2, .1, .05, 1.5, 0}, [2]int{0, reps}, never},
		{levels{8, 2, .1, .1, 1.5, 0}, [2]int{0, reps}, never},
		{levels{1, 1, .03, .05, 2, 0}, often, never},
		{levels{2, 2, .03, .05, 2, 0}, often, never},
		{levels{2, 2, .1, .05, 2, 0}, mostly, never},
		{levels{2, 2, .03, .05, 2, 400}, often, [2]int{0, reps}},
		{levels{1, 1, .03, .05, 1, 0}, rarely, often},
		{levels{2, 2, .1, .05, 1, 0}, rarely, mostly},
	} {
		against, proven, beside := c.runs(reps)
		t.Logf("%+v: %d called worse, %d proven, %d intervals beside the difference, of %d", c.levels, against, proven, beside, reps)
		if against < c.against[0] || against > c.against[1] || proven < c.proven[0] || proven > c.proven[1] {
			t.Errorf("%+v: %d called worse, want %v; %d proven, want %v", c.levels, against, c.against, proven, c.proven)
		}
		if c.from == 0 && beside > atMost(reps, .01) {
			t.Errorf("%+v: %d of %d intervals beside the difference", c.levels, beside, reps)
		}
	}
}

// One instance against one: only a difference that is steady, and far beyond the
// margin, ever counts.
func TestOneAgainstOne(t *testing.T) {
	run := func(at func(i int) float64) float64 {
		m := newLevelTest(MetricDefaults(delivery.Metric{Kind: delivery.KindLevel}), .01)
		for i := range 360 {
			m.observe(Reading{Stable: valuesOf(1, 200, 0), Canary: valuesOf(1, at(i), 0), Seconds: 10})
		}
		return m.peak()
	}
	for name, c := range map[string]struct {
		at    func(i int) float64
		found bool
	}{
		"steady at twice":         {func(int) float64 { return 400 }, true},
		"steady at the margin":    {func(int) float64 { return 240 }, false},
		"little beyond":           {func(int) float64 { return 250 }, false},
		"twice for half a minute": {func(i int) float64 { return 200 + 200*float64(one(i%100 < 3)) }, false},
		"up and down":             {func(i int) float64 { return 250 + 250*math.Sin(float64(i)/2) }, false},
	} {
		if e := run(c.at); (e >= math.Log(100)) != c.found {
			t.Errorf("%s: log evidence %v, found should be %v", name, e, c.found)
		}
	}
}

// The autocorrelation at lag 1 of a long series is that of what made it.
func TestSeries(t *testing.T) {
	for _, rho := range []float64{0, .5, .9} {
		r := rand.New(rand.NewPCG(14, 1))
		var s series
		x := 0.0
		for range 5000 {
			x = rho*x + math.Sqrt(1-rho*rho)*r.NormFloat64()
			s.add(1e6 + 3*x)
		}
		variance, got := s.spread()
		if math.Abs(got-rho) > .05 || math.Abs(variance-9) > 3 || math.Abs(s.mean()-1e6) > 1 {
			t.Errorf("rho %v: mean %v, variance %v, rho %v", rho, s.mean(), variance, got)
		}
	}
	for z, want := range map[float64]float64{0: math.Log(.5), 2: 2 + math.Log(.977249868), -40: -math.Log(40 * math.Sqrt(2*math.Pi)), -29.9: -math.Log(29.9 * math.Sqrt(2*math.Pi))} {
		if got := squarePhi(z); math.Abs(got-want) > 2e-3 {
			t.Errorf("squarePhi(%v) = %v, want %v", z, got, want)
		}
	}
}
