package analysis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// asked is a metric of each role and way to be absent.
func asked() delivery.JudgePolicy {
	return delivery.JudgePolicy{Metrics: []delivery.Metric{
		{Name: "checkouts", Kind: delivery.KindShare, From: delivery.FromService, Role: delivery.Required, AtLeast: 500},
		{Name: "restarts", Kind: delivery.KindCount, From: delivery.FromWorkload, Per: "seconds", Unit: "1/s"},
		{Name: "queue", Kind: delivery.KindCount, From: delivery.FromService, Role: delivery.Watch},
		{Name: "ledger", Kind: delivery.KindShare, From: delivery.FromService, NoData: delivery.Refuse},
	}}
}

// readings are a healthy second of asked, but for what edit changes.
func readings(edit func(map[string]*Reading)) []Reading {
	all := map[string]*Reading{
		"checkouts": {Metric: "checkouts", Stable: Value{N: 90, Sum: 1}, Canary: Value{N: 10}, Seconds: 1},
		"restarts":  {Metric: "restarts", Stable: Value{N: 4}, Canary: Value{N: 2}, Seconds: 1},
		"queue":     {Metric: "queue", Stable: Value{N: 90, Sum: 9}, Canary: Value{N: 10, Sum: 9}, Seconds: 1},
		"ledger":    {Metric: "ledger", Stable: Value{N: 90}, Canary: Value{N: 10}, Seconds: 1},
	}
	edit(all)
	out := []Reading{}
	for _, name := range []string{"checkouts", "restarts", "queue", "ledger", "nobody asked"} {
		if r := all[name]; r != nil {
			out = append(out, *r)
		}
	}
	return out
}

func checkOf(j *Judge, name string) delivery.Check {
	for _, c := range j.Verdict().Checks {
		if c.Name == name && c.Kind != "" {
			return c
		}
	}
	return delivery.Check{}
}

// What a metric does to a verdict depends on its role, its exposure and what its
// absence means; nothing ever becomes a pass by being absent.
func TestMetricsDecide(t *testing.T) {
	drop := func(name string, from int) func(int, map[string]*Reading) {
		return func(i int, all map[string]*Reading) {
			if i >= from {
				delete(all, name)
			}
		}
	}
	for _, c := range []struct {
		name     string
		edit     func(second int, all map[string]*Reading)
		want     delivery.Outcome
		sentence string
		missing  string // of the metric that it is about
	}{
		{"healthy", func(int, map[string]*Reading) {}, delivery.Pass, "p50, p95 and p99 less than 25 % slower, checkouts within bounds", ""},
		{"a required one fails", func(_ int, all map[string]*Reading) { all["checkouts"].Canary.Sum = 5 }, delivery.Fail, "the new release is worse: checkouts 50 % against 1.1 % on stable: ", ""},
		{"a guard fails", func(_ int, all map[string]*Reading) { all["restarts"].Canary.Sum = 1 }, delivery.Fail, "the new release is worse: restarts 0.5/s against 0/s on stable: beyond what chance explains", ""},
		{"a required one never comes", drop("checkouts", 0), delivery.Inconclusive, "checkouts (no data since the rollout began 149 s ago) is not proven fit yet", "no data since the rollout began 149 s ago"},
		{"a required one stops", drop("checkouts", 80), delivery.Inconclusive, "checkouts is not proven fit yet", "no data for 70 s, and before that there was"},
		{"a guard never comes", drop("restarts", 0), delivery.Pass, "", "no data since the rollout began 149 s ago"},
		{"one that refuses stops", drop("ledger", 80), delivery.Broken, "cannot judge: ledger has no data for 70 s, and before that there was", "no data for 70 s"},
		{"one that is watched never comes", drop("queue", 0), delivery.Pass, "", "no data since the rollout began 149 s ago"},
		{"a required one is garbage", func(_ int, all map[string]*Reading) { all["checkouts"].Canary.Sum = -1 }, delivery.Inconclusive, "checkouts (no data since the rollout began", "the new release has -1 of 10"},
		{"a required one cannot be had", func(_ int, all map[string]*Reading) {
			all["checkouts"].Wrong = "no series checkout_total"
		}, delivery.Inconclusive, "is not proven fit yet", "no data since the rollout began 149 s ago: no series checkout_total"},
		{"some garbage", func(i int, all map[string]*Reading) {
			if i%10 == 0 {
				all["checkouts"].Stable.N = -5
			}
		}, delivery.Pass, "", "15 readings left out"},
		{"counted twice", func(_ int, all map[string]*Reading) { all["checkouts"].Seconds = 3 }, delivery.Pass, "", "100 readings left out: it covers seconds that were judged before"},
	} {
		j := New(asked(), same(1000, 1))
		for i := range 150 {
			observe(t, j, Block{
				Second: int64(i), Stable: same(450, 0), Canary: same(50, 0),
				Readings: readings(func(all map[string]*Reading) { c.edit(i, all) }),
			})
			v := j.Verdict()
			finite(t, v)
			if v.Outcome == delivery.Pass && i < 49 {
				t.Fatalf("%s: passed after %d seconds without the exposure that was asked for", c.name, i+1)
			}
			if c.name == "healthy" && i == 20 && !strings.Contains(v.Sentence, "checkouts (about ") {
				t.Errorf("after 21 seconds: %q, want how much more of checkouts is needed", v.Sentence)
			}
		}
		v := j.Verdict()
		inParts(t, v)
		if v.Outcome != c.want || !strings.Contains(v.Sentence, c.sentence) {
			t.Errorf("%s: verdict = %s %q, want %s and %q", c.name, v.Outcome, v.Sentence, c.want, c.sentence)
		}
		about := "checkouts"
		for _, name := range []string{"restarts", "queue", "ledger"} {
			if strings.HasPrefix(c.name, map[string]string{"restarts": "a guard", "queue": "one that is watched", "ledger": "one that refuses"}[name]) {
				about = name
			}
		}
		if got := checkOf(j, about).Missing; c.missing == "" && got != "" || !strings.Contains(got, c.missing) {
			t.Errorf("%s: missing %q, want %q", c.name, got, c.missing)
		}
		if w := checkOf(j, "queue"); w.Role != delivery.Watch || w.NCanary > 0 && w.Against < 1000 {
			t.Errorf("%s: what is watched has evidence %v", c.name, w.Against)
		}
	}
}

// A reading of times is no evidence while instances are fresh, and overlapping
// or slow sources are given their time.
func TestMetricsOfFreshInstances(t *testing.T) {
	p := delivery.JudgePolicy{Metrics: []delivery.Metric{
		{Name: "callers", Kind: delivery.KindLatency, From: delivery.FromTraffic},
		{Name: "slow source", Kind: delivery.KindShare, From: delivery.FromPrometheus, Every: time.Minute},
	}}
	j := New(p, same(1000, 1))
	times := func(n uint32, bin int) Value { return Value{N: float64(n), Bins: map[int]uint32{bin: n}} }
	for i := range 100 {
		b := Block{Second: int64(i), Stable: same(450, 0), Canary: same(50, 0), Fresh: i < 20}
		slow := 600
		if b.Fresh {
			slow = 1200
		}
		b.Readings = []Reading{{Metric: "callers", Stable: times(90, 600), Canary: times(10, slow), Seconds: 1}}
		observe(t, j, b)
		if v := j.Verdict(); v.Outcome == delivery.Fail {
			t.Fatalf("after %d seconds: %s", i+1, v.Sentence)
		}
	}
	if c := checkOf(j, "callers"); !strings.Contains(c.Missing, "20 readings left out because instances were still warming up") {
		t.Errorf("missing %q", c.Missing)
	}
	if c := checkOf(j, "slow source"); c.Outcome != delivery.NoData || strings.Contains(c.Missing, "refuse") {
		t.Errorf("slow source is %s, missing %q", c.Outcome, c.Missing)
	}
}

// However many metrics there are, errors and latency keep a third of the
// evidence each, the culprit is named, and healthy metrics fail nobody.
func TestHundredMetrics(t *testing.T) {
	p := delivery.JudgePolicy{}
	for i := range 100 {
		p.Metrics = append(p.Metrics, delivery.Metric{Name: fmt.Sprint("m", i), Kind: delivery.KindShare, From: delivery.FromService})
	}
	run := func(errors float64, bad int) (delivery.Verdict, int) {
		r := rand.New(rand.NewPCG(8, 8))
		s := service{rps: 500, errors: constant(.005, errors), latency: lognormal(1, 1)}
		j := New(p, s.baseline(r))
		for i := range 120 {
			b := s.block(r, i)
			for k := range p.Metrics {
				pc := .02
				if k == bad {
					pc = .3
				}
				b.Readings = append(b.Readings, Reading{
					Metric: p.Metrics[k].Name, Seconds: 1,
					Stable: Value{N: 90, Sum: float64(binomial(r, 90, .02))}, Canary: Value{N: 10, Sum: float64(binomial(r, 10, pc))},
				})
			}
			observe(t, j, b)
			if v := j.Verdict(); v.Outcome == delivery.Fail {
				return v, i + 1
			}
		}
		return j.Verdict(), 120
	}
	if v, _ := run(.005, -1); v.Outcome == delivery.Fail {
		t.Errorf("healthy: %s", v.Sentence)
	}
	v, n := run(.05, -1)
	if v.Outcome != delivery.Fail || n > 10 || v.Checks[0].Name != "errors" || v.Checks[0].FailAt > 301 {
		t.Errorf("ten times the errors: %s after %d seconds, %q", v.Outcome, n, v.Sentence)
	}
	v, n = run(.005, 42)
	if v.Outcome != delivery.Fail || n > 30 || v.Checks[0].Name != "m42" || !v.Checks[0].Culprit {
		t.Errorf("one bad metric: %s after %d seconds, %q, culprit %v", v.Outcome, n, v.Sentence, v.Checks[0].Culprit)
	}
	for _, c := range v.Checks[1:] {
		if c.Culprit {
			t.Errorf("%s is named too", c.Name)
		}
	}
}

// Mirrored requests alone can fail a release or prove it in a step in which it
// gets no others, and never do so in a step in which it does.
func TestMirroredStep(t *testing.T) {
	run := func(p Pairs, canary Arm) (*Judge, delivery.Verdict) {
		j := New(delivery.JudgePolicy{}, same(1000, 1))
		for i := range 200 {
			observe(t, j, Block{Second: int64(i), Stable: same(450, 0), Canary: canary, Pairs: p})
			if v := j.Verdict(); v.Outcome == delivery.Fail {
				return j, v
			}
		}
		return j, j.Verdict()
	}
	_, v := run(Pairs{Both: 100, CanarySlow: 5, StableSlow: 5}, Arm{})
	if want := "the new release is proven fit on copies: it alone fails or is slow hardly more often than stable alone, in 19,900 mirrored requests"; v.Outcome != delivery.Pass || v.Sentence != want {
		t.Errorf("healthy copies: %s %q, want pass %q", v.Outcome, v.Sentence, want)
	}
	_, v = run(Pairs{Both: 100, CanaryBad: 3}, Arm{})
	if v.Outcome != delivery.Fail || v.Checks[0].Name != "copies that fail" || v.Seconds > 10 || !strings.Contains(v.Sentence, "3 % of the pairs against 0 % the other way round") {
		t.Errorf("bad copies: %s %q after %d s", v.Outcome, v.Sentence, v.Seconds)
	}
	_, v = run(Pairs{Both: 100, CanarySlow: 60, StableSlow: 2}, Arm{})
	if v.Outcome != delivery.Fail || v.Checks[0].Name != "copies that are slow" {
		t.Errorf("slow copies: %s %q", v.Outcome, v.Sentence)
	}
	_, v = run(Pairs{Both: 100}, same(1, 0))
	if v.Outcome == delivery.Fail || v.Outcome == delivery.Pass && v.Checks[0].NCanary < leastUnits {
		t.Errorf("with requests of its own: %s %q", v.Outcome, v.Sentence)
	}
	j, _ := run(Pairs{Both: 100}, Arm{})
	j.NextStep()
	if v := j.Verdict(); v.Outcome == delivery.Pass {
		t.Errorf("copies of the step before prove %q", v.Sentence)
	}
	err := j.Observe(Block{Second: 1000, Pairs: Pairs{Both: 1, CanaryBad: 1, StableBad: 1}})
	if err == nil || !strings.Contains(err.Error(), "of 1 pairs 1 and 1 have one bad answer") {
		t.Errorf("impossible pairs: %v", err)
	}
}
