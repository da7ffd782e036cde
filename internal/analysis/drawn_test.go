package analysis

import (
	"math"
	"testing"
)

// A second whose units are drawn is evidence without a pair: over all draws and
// outcomes of up to three units that are unlike each other, E[S] <= 1 wherever
// their mean is in the null, and = 1 where all are at the nearest point.
func TestDrawnUnitsAreFair(t *testing.T) {
	const w, sb, sc = .2, .01, .08
	mix := func(units [][2]float64, l line, two *line) float64 {
		sum := 0.0
		for code := range int(math.Pow(4, float64(len(units)))) {
			chance, p := 1.0, pair{}
			for _, u := range units {
				canary, bad := code%2, code/2%2
				code /= 4
				if canary == 1 {
					p.nc++
					p.xc += float64(bad)
					chance *= w
				} else {
					p.nb++
					p.xb += float64(bad)
					chance *= 1 - w
				}
				if share := u[canary]; bad == 1 {
					chance *= share
				} else {
					chance *= 1 - share
				}
			}
			gain := l.ratio(1-w, w, sb, sc).log(p)
			if two != nil {
				gain = min(gain, two.ratio(1-w, w, sb, sc).log(p))
			}
			sum += chance * math.Exp(gain)
		}
		return sum
	}
	lines := [2]line{{1.2, 0}, {1, .001}}
	for i, l := range lines {
		qb, qc := l.project(1-w, w, sb, sc)
		at := [2]float64{qb, qc}
		if e := mix([][2]float64{at, at, at}, l, nil); math.Abs(e-1) > 1e-12 {
			t.Errorf("line %d at its nearest point: E = %v, want 1", i, e)
		}
		for _, b := range []float64{0, 1e-4, .003, .005, .02, .3, .8} {
			on := min(l.at(b), 1)
			for _, d := range []float64{-.002, 0, .002} { // two units beside the null whose mean is on its border
				one, two := [2]float64{b, on + d}, [2]float64{b, on - d}
				if min(one[1], two[1]) < 0 || max(one[1], two[1]) > 1 {
					continue
				}
				if e := mix([][2]float64{one, two, {b, on}}, l, nil); e > 1+1e-12 {
					t.Errorf("line %d, units %v and %v: E = %v, want at most 1", i, one, two, e)
				}
				if e := mix([][2]float64{one, two}, l, &lines[1-i]); e > 1+1e-12 {
					t.Errorf("both lines, units %v and %v: E = %v, want at most 1", one, two, e)
				}
			}
		}
	}
}

// Only a second of few units, all of them drawn with a weight that is known, is
// judged by the draw.
func TestWhatIsDrawn(t *testing.T) {
	for _, c := range []struct {
		name string
		b    Block
		want float64
	}{
		{"all drawn", Block{Stable: Arm{Units: 9, Drawn: 9}, Canary: Arm{Units: 1, Drawn: 1}, Weight: .1}, .1},
		{"the canary alone", Block{Canary: Arm{Units: 1, Drawn: 1}, Weight: .1}, .1},
		{"an old key", Block{Stable: Arm{Units: 9, Drawn: 8}, Canary: Arm{Units: 1, Drawn: 1}, Weight: .1}, 0},
		{"no weight", Block{Stable: Arm{Units: 9, Drawn: 9}}, 0},
		{"everything to the canary", Block{Canary: Arm{Units: 9, Drawn: 9}, Weight: 1}, 0},
		{"many", Block{Stable: Arm{Units: 28, Drawn: 28}, Canary: Arm{Units: 3, Drawn: 3}, Weight: .1}, 0},
	} {
		if got := c.b.drawn(); got != c.want {
			t.Errorf("%s: drawn with %v, want %v", c.name, got, c.want)
		}
	}
}

// Stakes only move: what plays and what waits is 1 in sum, whatever the onset.
func TestStakesSumToOne(t *testing.T) {
	for _, o := range []onset{soon, alert} {
		m := o.over(len(multiples))
		for i := range 500 {
			if e := m.evidence(); math.Abs(e) > 1e-12 {
				t.Fatalf("%+v after %d restarts: log of all stakes = %v, want 0", o, i, e)
			}
			m.restart()
		}
		if m.reserve > .05 {
			t.Errorf("%+v after 500 restarts: %v waits still", o, m.reserve)
		}
	}
}
