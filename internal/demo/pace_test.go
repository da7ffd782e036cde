package demo

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/manifest"
)

// checkouts is about the share of the shoppers' requests that reach payment.
const checkouts = 0.38

// strategyOf returns how payment rolls out in prod by the project that Write makes.
func strategyOf(t *testing.T, o Options) delivery.Strategy {
	t.Helper()
	dir := t.TempDir()
	if err := Write(dir, o); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, ProjectFile))
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := manifest.Parse(ProjectFile, text, dir)
	if err != nil {
		t.Fatal(err)
	}
	payment, _ := p.Service("payment")
	return payment.In["prod"].Strategy
}

// till charges with a version and a bank timeout.
type till struct {
	how         Behaviour
	timeout     time.Duration
	fails, late *even
}

func newTill(how Behaviour, timeout time.Duration) till {
	return till{how, timeout, newEven(), newEven()}
}

// second counts one second of n charges.
func (t till) second(n int) analysis.Arm {
	a := analysis.Arm{Units: uint64(n), Bins: map[int]uint32{}}
	for range n {
		took, bank := t.how.took(), bankTook(t.late)
		if t.fails.next(t.how.Fail) || bank > t.timeout {
			a.Bad++
		}
		a.Bins[analysis.Bin((took+min(bank, t.timeout)+time.Millisecond).Seconds())]++
	}
	return a
}

// walk takes payment through its steps under the real judge and returns the
// outcome, and the seconds until it was known. The first second of each step is
// left out, as the data plane moves in it.
func walk(s delivery.Strategy, rate float64, next Behaviour, timeout time.Duration) (delivery.Outcome, int) {
	stable, fresh := newTill(Versions("payment")[0], time.Minute), newTill(next, timeout)
	charges := rate * checkouts
	j := analysis.New(s.Judge, stable.second(int(30*charges)))
	now := 0
	for _, step := range s.Steps {
		if step.Weight == delivery.Full {
			return delivery.Pass, now
		}
		j.NextStep()
		canary := charges * float64(step.Weight) / float64(delivery.Full)
		for held, owed := 0, 0.0; ; held++ {
			now++
			owed += canary
			n := int(owed)
			owed -= float64(n)
			if held > 0 {
				b := analysis.Block{Second: int64(now), Stable: stable.second(int(charges) - n), Canary: fresh.second(n)}
				if err := j.Observe(b); err != nil {
					return delivery.Broken, now
				}
			}
			v := j.Verdict().Outcome
			if v == delivery.Fail {
				return v, now
			}
			if time.Duration(held)*time.Second >= step.Hold && (!step.Proven || v == delivery.Pass) {
				break
			}
			if step.Proven && time.Duration(held)*time.Second >= step.Max {
				return delivery.Inconclusive, now
			}
		}
	}
	return delivery.Broken, now
}

// The holds, the margins and the traffic of the demo go together: a good version
// gets through, and a bad one is always caught before the last step. What fails is
// spread evenly, so that hardly anything is left to chance, and the bounds are far off.
func TestPaceSuitsTheJudge(t *testing.T) {
	t.Parallel()
	const walks = 20
	versions := Versions("payment")
	for _, fast := range []bool{true, false} {
		o := Options{Self: "/opt/slipway", Have: everything, Fast: fast}
		s, rate := strategyOf(t, o), o.Places()[2].Rate
		for _, c := range []struct {
			what    string
			how     Behaviour
			timeout time.Duration
			want    delivery.Outcome
		}{
			{"v2", versions[1], time.Minute, delivery.Pass},
			{"v3-bad", versions[2], time.Minute, delivery.Fail},
			{"v4-slow", versions[3], time.Minute, delivery.Fail},
			{"a bank timeout of 5 ms", versions[1], 5 * time.Millisecond, delivery.Fail},
		} {
			ended, seconds := map[delivery.Outcome]int{}, 0
			for range walks {
				out, took := walk(s, rate, c.how, c.timeout)
				ended[out]++
				seconds += took
			}
			if ended[c.want] < walks-3 {
				t.Errorf("fast %v, %s: %v of %d, want %s", fast, c.what, ended, walks, c.want)
			}
			t.Logf("fast %v, %s: %v, %d s on average", fast, c.what, ended, seconds/walks)
		}
	}
}
