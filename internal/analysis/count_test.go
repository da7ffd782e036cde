package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// expectRate returns E[f] over all counts of a Poisson arm, as far as a chance of
// one that is up to four times as fast is above 1e-16.
func expectRate(mean float64, f func(x float64) float64) float64 {
	sum, top := 0.0, 4*max(mean, 1)
	for x := range int(top + 9*math.Sqrt(top) + 20) {
		if w := poissonChance(x, mean); w > 0 {
			sum += w * f(float64(x))
		}
	}
	return sum
}

// One block's e-variable of rates has expectation at most 1 in every point of its
// half-plane, and the smaller of two in every point of their union.
func TestRateIsEVariable(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	worst := 0.0
	for range 60 {
		l := []line{{1.5, 0}, {1, .3}, {3, .2}, {1, -.4}, {1, 2}, {.5, -.1}}[r.IntN(6)]
		nb, nc := math.Pow(10, r.Float64()-.5), math.Pow(10, r.Float64()-.7)
		sb := 2 * r.Float64() * r.Float64()
		up := r.IntN(2) == 0
		sc := (l.at(sb) + .01) * (1.1 + 2*r.Float64())
		if !up {
			sc = l.at(sb) * r.Float64()
		}
		if sc <= 0 || sb <= 0 {
			continue
		}
		qb, qc := l.nearestRates(nb, nc, sb, sc)
		if math.Abs(qc-l.at(qb)) > 1e-14*(1+qc) || qb <= 0 || qc <= 0 {
			t.Fatalf("nearestRates(%v, %v, %v, %v) on %+v = (%v, %v), not on the line", nb, nc, sb, sc, l, qb, qc)
		}
		for _, pb := range []float64{0, 1e-6, .05, .4, 1, 2} {
			for _, off := range []float64{0, 1e-9, .1, .5, 1} {
				pc := l.at(pb) + off
				if up {
					pc = l.at(pb) - off
				}
				if pc < 0 || pb < 0 {
					continue
				}
				none := l.logRate(pair{nb, 0, nc, 0}, sb, sc) // S is this, times a factor of each arm
				e := math.Exp(none) * expectRate(nb*pb, func(x float64) float64 {
					return math.Exp(l.logRate(pair{nb, x, nc, 0}, sb, sc) - none)
				}) * expectRate(nc*pc, func(x float64) float64 {
					return math.Exp(l.logRate(pair{nb, 0, nc, x}, sb, sc) - none)
				})
				worst = max(worst, e)
				if e > 1+1e-12 {
					t.Fatalf("E[S] = 1%+.3g at rates (%v, %v) of line %+v, alternative (%v, %v), exposures %v and %v", e-1, pb, pc, l, sb, sc, nb, nc)
				}
				want := math.Exp(nc * (sc/qc - 1) * (pc - l.at(pb)))
				if math.Abs(e-want) > 1e-9*want {
					t.Fatalf("E[S] = %v at (%v, %v), the formula says %v", e, pb, pc, want)
				}
			}
		}
	}
	t.Logf("largest E[S] - 1 is %.3g", worst-1)
}

func TestSmallerRateIsEVariable(t *testing.T) {
	limits := [2]line{{1.5, 0}, {1, .3}}
	for _, sb := range []float64{.01, .5, .6, 2} {
		for _, m := range []float64{1.25, 2, 4} {
			sc := m * max(limits[0].at(sb), limits[1].at(sb))
			for _, pb := range []float64{0, .01, .3, .6, 1, 3} {
				for _, pc := range []float64{max(1.5*pb, pb+.3), pb + .3, 1.5 * pb, pb, 0} {
					e := expectRate(2*pb, func(xb float64) float64 {
						return expectRate(pc, func(xc float64) float64 {
							p := pair{2, xb, 1, xc}
							return math.Exp(min(limits[0].logRate(p, sb, sc), limits[1].logRate(p, sb, sc)))
						})
					})
					if e > 1+1e-12 {
						t.Fatalf("E[S] = %v at rates (%v, %v), alternative (%v, %v)", e, pb, pc, sb, sc)
					}
				}
			}
		}
	}
}

// Without an additive margin only the canary's part of the events counts: however
// many an adversary lets happen, in bursts or after looking, and whatever part of
// the exposure the canary has, the evidence stays an e-process.
func TestCountAgainstAdversary(t *testing.T) {
	m := MetricDefaults(delivery.Metric{Kind: delivery.KindCount, Per: "requests"})
	var shapes []shape
	for _, exposure := range [][2]float64{{9, 1}, {1, 1}, {1, 20}} {
		for k := range 4 {
			var s shape
			for xc := range k + 1 {
				s.readings = append(s.readings, counts(exposure[0], float64(k-xc), exposure[1], float64(xc)))
			}
			for _, theta := range []float64{0, .3, 1, m.Ratio} {
				q := theta * exposure[1] / (theta*exposure[1] + exposure[0])
				var w []float64
				for xc := range k + 1 {
					w = append(w, choose(k, xc, q))
				}
				s.chances = append(s.chances, w)
			}
			shapes = append(shapes, s)
		}
	}
	play := func(c countTest, r Reading) countTest {
		c.against, c.promote = c.against.clone(), c.promote.clone()
		eager(&c.against, &c.promote)
		c.observe(r)
		if c.seen.blocks == 2 {
			c.nextStep()
		}
		return c
	}
	against := func(c countTest) float64 { return math.Exp(c.evidence()) }
	start := *newCountTest(m, .01)
	if e := adversary(start, 3, shapes, play, against); e > 1+1e-9 {
		t.Errorf("an adversary reaches E = %v, want at most 1", e)
	} else {
		t.Logf("an adversary reaches E = 1%+.2g", e-1)
	}
	all := counts(9, 0, 1, 3)
	if e := against(play(play(start, all), all)); e < 10 {
		t.Errorf("six events on a tenth of the exposure and none on stable: E = %v, want more than 10", e)
	}
}

// With additive margins, over two blocks of any exposures.
func TestCountWithFloorAgainstAdversary(t *testing.T) {
	const top = 9 // events of a block that are played; more have a chance below 1e-8
	m := delivery.Metric{Ratio: 1.5, Add: .1, PromoteRatio: 2, PromoteAdd: .2}
	poissons := func(points [][2]float64) (all []shape) {
		for _, exposure := range [][2]float64{{1, .3}, {.2, .4}} {
			var s shape
			for xb := range top {
				for xc := range top {
					s.readings = append(s.readings, counts(exposure[0], float64(xb), exposure[1], float64(xc)))
				}
			}
			for _, p := range points {
				var w []float64
				for xb := range top {
					for xc := range top {
						w = append(w, poissonChance(xb, exposure[0]*p[0])*poissonChance(xc, exposure[1]*p[1]))
					}
				}
				s.chances = append(s.chances, w)
			}
			all = append(all, s)
		}
		return all
	}
	play := func(c countTest, r Reading) countTest {
		c.against, c.promote = c.against.clone(), c.promote.clone()
		eager(&c.against, &c.promote)
		c.observe(r)
		return c
	}
	start := *newCountTest(m, .01)
	start.stable, start.ends.scale, start.ends.limit = tempo{n: 20, x: 4}, .1, math.Inf(1)
	above, below := placeOf(1), placeOf(-1)
	start.ends.low, start.ends.high = above-2, len(start.ends.down)-below-3
	for _, c := range []struct {
		name   string
		points [][2]float64
		value  func(countTest) float64
	}{
		{"rollback", [][2]float64{{0, .1}, {.1, .2}, {.2, .3}, {.4, .6}, {.1, .15}, {.3, 0}}, func(c countTest) float64 { return math.Exp(c.evidence()) }},
		{"promotion", [][2]float64{{0, .2}, {.1, .4}, {.2, .6}, {.1, .9}, {0, 1}}, func(c countTest) float64 { return math.Exp(c.promote.evidence()) }},
		{"lower end", [][2]float64{{0, .1}, {.2, .3}, {.8, .9}, {.5, .2}}, func(c countTest) float64 { return math.Exp(c.ends.up[above].log) }},
		{"upper end", [][2]float64{{.1, 0}, {.3, .2}, {.9, .8}, {.2, .5}}, func(c countTest) float64 { return math.Exp(c.ends.down[below].log) }},
	} {
		if e := adversary(start, 2, poissons(c.points), play, c.value); e > 1+1e-9 {
			t.Errorf("%s: an adversary reaches E = %v, want at most 1", c.name, e)
		} else {
			t.Logf("%s: an adversary reaches E = 1%+.2g", c.name, e-1)
		}
	}
}

// The interval of a rate holds the difference while the rate of both drifts; it
// is found without any event on stable; and bounded where there is none at all.
func TestCountInterval(t *testing.T) {
	const reps = 60
	m := MetricDefaults(delivery.Metric{Kind: delivery.KindCount, Per: "seconds"})
	for _, d := range []float64{0, .3} {
		missed, open := 0, 0
		for seed := range uint64(reps) {
			r := rand.New(rand.NewPCG(16, seed))
			c, beside := newCountTest(m, .05), false
			for i := range 600 {
				base := .2 + .15*math.Sin(float64(i)/60)
				c.observe(counts(6, float64(poisson(r, 6*base)), 2, float64(poisson(r, 2*(base+d)))))
				low, high, _ := c.interval()
				beside = beside || d < low || d > high
			}
			low, high, known := c.interval()
			missed += one(beside)
			open += one(!known[0] || !known[1] || high-low > .5)
		}
		if missed > atMost(reps, .05) || open > 3 {
			t.Errorf("difference %v: missed by %d of %d intervals, %d of them too wide", d, missed, reps, open)
		}
		t.Logf("difference %v: missed by %d of %d, %d too wide", d, missed, reps, open)
	}
	quiet, crashing := newCountTest(m, .01), newCountTest(m, .01)
	for i := range 3600 {
		quiet.observe(counts(2, 0, 2, 0))
		crashing.observe(counts(2, 0, 2, float64(one(i%20 == 0))))
	}
	if _, high, known := quiet.interval(); !known[1] || high > m.PromoteAdd || quiet.proof() < math.Log(20) {
		t.Errorf("two hours of silence: at most %v (%v), log evidence for it %v", high, known, quiet.proof())
	}
	if low, _, known := crashing.interval(); !known[0] || low <= 0 || crashing.evidence() < math.Log(100) {
		t.Errorf("a crash in 40 instance-seconds, and none on stable: at least %v (%v), log evidence %v", low, known, crashing.evidence())
	}
}
