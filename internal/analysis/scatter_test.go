package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// stopping is a program that stands still now and then, for all its requests at once.
type stopping struct {
	rps   float64
	stops float64 // a second
	mean  float64 // seconds, exponential
	until float64
}

func (s *stopping) second(r *rand.Rand, at float64) Arm {
	from, to := at, s.until
	if r.Float64() < s.stops {
		begin := at + r.Float64()
		end := begin + s.mean*r.ExpFloat64()
		if from >= to {
			from = begin
		}
		to = max(to, end)
		s.until = to
	}
	a := Arm{Bins: map[int]uint32{}}
	for range poisson(r, s.rps) {
		took, when := .004*math.Exp(.8*r.NormFloat64()), at+r.Float64()
		if when >= from && when < to {
			took += to - when
		}
		a.Units++
		a.Bins[Bin(took)]++
	}
	return a
}

// Programs that stop for a moment, each for itself and no release more than the
// other, are not told apart. Without tempering nearly all of these fail.
func TestStops(t *testing.T) {
	const reps, horizon = 40, 300
	for _, c := range []struct {
		name           string
		stable, canary float64 // requests a second
		stops, mean    float64
		most, passes   int // fails at most, passes at least
	}{
		{"garbage of 50 ms, five times in 25 s", 50, 50, .2, .05, 2, 10},
		{"garbage of 100 ms every 20 s", 90, 10, .05, .1, 2, 4},
		{"garbage of 300 ms every 20 s", 450, 50, .05, .3, 3, 4},
		{"garbage of 300 ms every 20 s, half of all", 50, 50, .05, .3, 3, 4},
	} {
		fails, passes := 0, 0
		for rep := range reps {
			r := rand.New(rand.NewPCG(uint64(rep), 63))
			stable, canary := stopping{rps: c.stable, stops: c.stops, mean: c.mean}, stopping{rps: c.canary, stops: c.stops, mean: c.mean}
			base := Arm{Bins: map[int]uint32{}}
			for i := range 60 {
				a := stable.second(r, float64(i))
				base.Units += a.Units
				for bin, n := range a.Bins {
					base.Bins[bin] += n
				}
			}
			j := New(delivery.JudgePolicy{}, base)
			passed := false
			for i := 60; i < 60+horizon && !j.failed; i++ {
				observe(t, j, Block{Second: int64(i), Stable: stable.second(r, float64(i)), Canary: canary.second(r, float64(i))})
				passed = passed || i%10 == 0 && j.Verdict().Outcome == delivery.Pass
			}
			if j.failed {
				fails++
			}
			if passed {
				passes++
			}
		}
		t.Logf("%s: %d of %d sent back, %d passed within %d s", c.name, fails, reps, passes, horizon)
		if fails > c.most || passes < c.passes {
			t.Errorf("%s: %d of %d sent back, want at most %d; %d passed, want at least %d", c.name, fails, reps, c.most, passes, c.passes)
		}
	}
}

// What tempers the evidence is known before the block: it is never more than the
// whole, never turns its sign, and one block alone convicts nobody.
func TestScatter(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newScatter(1)
		for range rapid.IntRange(0, 60).Draw(r, "blocks") {
			nb, nc := float64(rapid.IntRange(1, 100).Draw(r, "nb")), float64(rapid.IntRange(1, 100).Draw(r, "nc"))
			p := pair{nb, float64(rapid.IntRange(0, int(nb)).Draw(r, "xb")), nc, float64(rapid.IntRange(0, int(nc)).Draw(r, "xc"))}
			keep := s.keep()
			gain := rapid.Float64Range(-500, 500).Draw(r, "gain")
			got := s.against(gain)
			switch {
			case !(keep > 0 && keep <= 1):
				r.Fatalf("keeps %v of the evidence", keep)
			case gain > 0 && (got < 0 || got > gain*keep+1e-12), gain <= 0 && (got > 0 || got < gain):
				r.Fatalf("of %v is kept %v", gain, got)
			case got > runBegins+runGrows*runMost || s.run == 0 && got > runBegins:
				r.Fatalf("one block after a run of %d says %v", s.run, got)
			}
			s.learn(p, rapid.Float64Range(least, most).Draw(r, "sb"))
			if rapid.IntRange(0, 9).Draw(r, "moved") == 0 {
				s.moved()
			}
		}
	})
}

// Independent units of a constant difference are not tempered for long, and those
// that swing together are, by about what they swing more.
func TestScatterMeasures(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		together float64 // units that have one fate
		low, top float64 // of what is kept
	}{{1, .75, 1}, {10, .07, .14}} {
		s := newScatter(1)
		for range 1000 {
			nb, nc := 450/c.together, 50/c.together
			p := pair{450, c.together * float64(binomial(r, uint64(nb), .1)), 50, c.together * float64(binomial(r, uint64(nc), .2))}
			s.learn(p, .1)
		}
		if k := s.keep(); k < c.low || k > c.top {
			t.Errorf("of units that fail %v together %v is kept, want %v to %v", c.together, k, c.low, c.top)
		}
	}
}

// A release that begins to fail in the midst of a step is found in seconds, and
// not later the more of its requests fail. Its one step up was once held against
// all evidence that came after it: where one request in 10,000 failed before, a
// release of which all failed was not found in ten minutes.
func TestFailsFromNowOn(t *testing.T) {
	const within, soon = 60, 10
	for _, base := range []float64{.0001, .001, .01} {
		for _, begins := range []int{30, 300} {
			for _, to := range []float64{.2, .5, 1} {
				for seed := range uint64(3) {
					s := service{rps: 500, errors: func(second int) (stable, canary float64) {
						if second < begins {
							return base, base
						}
						return base, to
					}}
					if e := s.run(t, seed, begins+within, delivery.Fail); e.outcome != delivery.Fail || e.seconds > begins+soon {
						t.Errorf("%v to %v after %d s: %s after %d more", base, to, begins, e.outcome, e.seconds-begins)
					}
				}
			}
		}
	}
}

// A step counts as a swing at once and until it has stood for a while, and counts
// again when it is taken back, however long after.
func TestClimb(t *testing.T) {
	block := func(bad float64) pair { return pair{450, 0, 50, bad} }
	s := newScatter(errorChance)
	feed := func(bad float64, blocks int) {
		for range blocks {
			s.learn(block(bad), .001)
		}
	}
	feed(0, 30)
	if k := s.keep(); k < 1 {
		t.Fatalf("without any step %v is kept", k)
	}
	feed(50, 1)
	if k := s.keep(); k > .05 {
		t.Errorf("of a step that was just made %v is kept", k)
	}
	feed(50, stands-1)
	if k := s.keep(); k < 1 {
		t.Errorf("of a step that stands %v is kept", k)
	}
	feed(50, 20)
	feed(0, 1)
	if k := s.keep(); k > .05 {
		t.Errorf("of a step that was taken back %v is kept", k)
	}
	feed(0, 30)
	if k := s.keep(); k > .05 {
		t.Errorf("afterwards %v is kept", k)
	}
	s = newScatter(errorChance)
	feed(0, 30)
	feed(5, 30)
	feed(50, 1)
	feed(5, 30)
	if k := s.keep(); k > .3 {
		t.Errorf("after a small step that stands and a large one that does not %v is kept", k)
	}
}
