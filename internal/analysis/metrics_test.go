package analysis

import (
	"math"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// kinds are one metric of each kind, a reading where both arms are alike and one
// where the canary is far beyond every margin.
var kinds = map[string]struct {
	metric      delivery.Metric
	same, worse Reading
}{
	"share": {
		delivery.Metric{Kind: delivery.KindShare},
		counts(90, 9, 10, 1), counts(90, 9, 10, 8),
	},
	"count": {
		delivery.Metric{Kind: delivery.KindCount, Per: "seconds"},
		counts(9, 3, 3, 1), counts(9, 3, 3, 9),
	},
	"latency": {
		delivery.Metric{Kind: delivery.KindLatency},
		Reading{Stable: times(90, 700, 760), Canary: times(30, 700, 760)},
		Reading{Stable: times(90, 700, 760), Canary: times(30, 800, 860)},
	},
	"mean": {
		delivery.Metric{Kind: delivery.KindMean},
		Reading{Stable: valuesOf(90, 20, 5), Canary: valuesOf(30, 20, 5)},
		Reading{Stable: valuesOf(90, 20, 5), Canary: valuesOf(30, 30, 5)},
	},
	"higher mean": {
		delivery.Metric{Kind: delivery.KindMean, Better: delivery.Higher},
		Reading{Stable: valuesOf(90, 20, 5), Canary: valuesOf(30, 20, 5)},
		Reading{Stable: valuesOf(90, 20, 5), Canary: valuesOf(30, 12, 5)},
	},
	"bounded mean": {
		delivery.Metric{Kind: delivery.KindMean, Low: new(0.0), High: new(50.0)},
		Reading{Stable: valuesOf(90, 20, 5), Canary: valuesOf(30, 20, 5)},
		Reading{Stable: valuesOf(90, 20, 5), Canary: valuesOf(30, 30, 5)},
	},
	"level": {
		delivery.Metric{Kind: delivery.KindLevel},
		Reading{Stable: valuesOf(2, 200, 2), Canary: valuesOf(2, 200, 2), Seconds: 5},
		Reading{Stable: valuesOf(2, 200, 2), Canary: valuesOf(2, 400, 2), Seconds: 5},
	},
}

// times is n answers, half of them in each of two bins.
func times(n uint32, one, two int) Value {
	return Value{N: float64(n), Bins: map[int]uint32{one: n / 2, two: n - n/2}}
}

// valuesOf is n values with the mean and the deviation.
func valuesOf(n, mean, deviation float64) Value {
	return Value{N: n, Sum: n * mean, Squares: n * (mean*mean + deviation*deviation)}
}

func newKind(m delivery.Metric) metricTest {
	return newMetricTest(MetricDefaults(m), Defaults(delivery.JudgePolicy{}))
}

// Every kind finds what is far worse, proves what is alike, and does not confuse them.
func TestKinds(t *testing.T) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			if why := MetricProblem(k.metric); why != "" {
				t.Fatal(why)
			}
			good, bad := newKind(k.metric), newKind(k.metric)
			for range 60 {
				good.observe(k.same)
				bad.observe(k.same)
			}
			for range 60 {
				good.observe(k.same)
				bad.observe(k.worse)
			}
			const fail, pass = 4.6, 3.0
			if good.peak() >= fail || good.proof() < pass {
				t.Errorf("alike: log evidence against %.3g, for %.3g, want below %v and at least %v", good.peak(), good.proof(), fail, pass)
			}
			if bad.evidence() < fail || bad.peak() < bad.evidence() {
				t.Errorf("far worse: log evidence %.3g of at most %.3g, want at least %v", bad.evidence(), bad.peak(), fail)
			}
			low, high, known := good.interval()
			if !known[0] || !known[1] || low > 0 || high < 0 || low == high {
				t.Errorf("alike: interval %v to %v, known %v, want one around 0", low, high, known)
			}
			if need := good.remaining(20); need != 0 {
				t.Errorf("proven and still needs %v", need)
			}
			e := bad.estimates()
			if e.nStable <= 0 || e.nCanary <= 0 || (e.canary > e.stable) == (k.metric.Better == delivery.Higher) {
				t.Errorf("far worse: estimates %+v", e)
			}
			if bad.wrong() != "" || good.wrong() != "" {
				t.Errorf("refused: %q, %q", good.wrong(), bad.wrong())
			}
			bad.nextStep()
			if bad.proof() != 0 {
				t.Errorf("after the next step the proof is %v, want 0", bad.proof())
			}
			if need := bad.remaining(20); need <= 0 {
				t.Errorf("in the next step %v is needed, want some", need)
			}
		})
	}
}

// What cannot be is refused with a reason and changes nothing.
func TestImpossibleReadings(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for name, k := range kinds {
		m := newKind(k.metric)
		for range 30 {
			m.observe(k.same)
		}
		before := [2]float64{m.evidence(), m.proof()}
		for _, broken := range []Value{
			{N: nan, Sum: 1},
			{N: 10, Sum: nan},
			{N: inf, Sum: 1},
			{N: -1},
			{N: 10, Sum: inf},
			{N: 10, Sum: 5, Squares: -1},
			{N: 10, Sum: 5, Squares: nan},
			{N: 10, Sum: -inf},
			{N: 1, Bins: map[int]uint32{5: 2}},
			{N: 9, Bins: map[int]uint32{Bins: 2}},
			{N: 9, Bins: map[int]uint32{-1: 2}},
			{N: 3, Sum: 400, Squares: 2},
		} {
			if k.metric.Kind != delivery.KindLatency && broken.Bins != nil || problemOf(m, broken) == "" {
				continue
			}
			for _, r := range []Reading{{Stable: broken, Canary: k.same.Canary}, {Stable: k.same.Stable, Canary: broken}} {
				n := newKind(k.metric)
				n.observe(r)
				if n.wrong() == "" {
					t.Errorf("%s: %+v was taken", name, r)
				}
				m.observe(r)
			}
		}
		m.observe(Reading{Stable: k.same.Stable, Canary: k.worse.Canary, Wrong: "the counter went back"})
		if after := [2]float64{m.evidence(), m.proof()}; after != before {
			t.Errorf("%s: refused readings moved the evidence from %v to %v", name, before, after)
		}
		if m.wrong() != "the counter went back" {
			t.Errorf("%s: wrong() = %q", name, m.wrong())
		}
	}
	for name, c := range map[string]struct {
		value Value
		want  string
	}{
		"share":        {Value{N: 2, Sum: 3}, "the new release has 3 of 2"},
		"count":        {Value{N: -2, Sum: 3}, "the new release has 3 events in an exposure of -2"},
		"bounded mean": {Value{N: 2, Sum: 80, Squares: 70*70 + 10*10}, "the new release has values outside of 0 to 50"},
		"level":        {Value{N: 2, Sum: 80, Squares: 30}, "the new release has 2 values of sum 80 and sum of squares 30"},
	} {
		m := newKind(kinds[name].metric)
		m.observe(Reading{Stable: kinds[name].same.Stable, Canary: c.value})
		if m.wrong() != c.want {
			t.Errorf("%s: wrong() = %q, want %q", name, m.wrong(), c.want)
		}
	}
}

// problemOf says what a test finds wrong with a value.
func problemOf(m metricTest, v Value) string {
	switch m := m.(type) {
	case *shareTest:
		return shareProblem(v)
	case *countTest:
		return countProblem(v)
	case *timesTest:
		return timesProblem(v)
	case *meanTest:
		return m.problem(v)
	}
	return meanProblem(v)
}

// Readings with an arm missing, of nothing, and of a thousand million units.
func TestEdgesOfReadings(t *testing.T) {
	for name, k := range kinds {
		m := newKind(k.metric)
		for range 30 {
			m.observe(k.same)
		}
		before := [2]float64{m.evidence(), m.proof()}
		m.observe(Reading{Stable: k.same.Stable})
		m.observe(Reading{Canary: k.worse.Canary})
		m.observe(Reading{})
		if after := [2]float64{m.evidence(), m.proof()}; after != before || m.wrong() != "" {
			t.Errorf("%s: readings without an arm moved the evidence from %v to %v (%s)", name, before, after, m.wrong())
		}
		huge := k.worse
		const n = 1e9
		for _, v := range []*Value{&huge.Stable, &huge.Canary} {
			v.N, v.Sum, v.Squares = v.N*n, v.Sum*n, v.Squares*n
			if v.Bins != nil {
				v.N, v.Bins = n, map[int]uint32{700: n}
			}
		}
		for range 100 {
			m.observe(huge)
		}
		low, high, _ := m.interval()
		e := m.estimates()
		for _, v := range []float64{m.evidence(), m.peak(), m.proof(), e.stable, e.canary, e.nStable, e.nCanary, e.badStable, e.badCanary} {
			if !isFinite(v) {
				t.Errorf("%s: after 1e9 units: %v (%v, %v, %v, %+v)", name, v, m.evidence(), m.peak(), m.proof(), e)
				break
			}
		}
		if math.IsNaN(low) || math.IsNaN(high) || math.IsNaN(m.remaining(20)) {
			t.Errorf("%s: after 1e9 units: interval %v to %v, needs %v", name, low, high, m.remaining(20))
		}
		empty := newKind(k.metric)
		if low, high, known := empty.interval(); known != [2]bool{} || low > high {
			t.Errorf("%s: before anything is known: interval %v to %v, known %v", name, low, high, known)
		}
		if empty.evidence() != 0 && math.Abs(empty.evidence()) > 1e-12 || empty.proof() > 1e-12 || math.IsNaN(empty.remaining(20)) {
			t.Errorf("%s: before anything is known: evidence %v, proof %v, needs %v", name, empty.evidence(), empty.proof(), empty.remaining(20))
		}
	}
}

func TestMetricProblem(t *testing.T) {
	share, mean := delivery.KindShare, delivery.KindMean
	for want, m := range map[string]delivery.Metric{
		"kind is \"\"":                               {},
		"better is higher, which a share cannot":     {Kind: share, Better: delivery.Higher},
		"better is \"up\"":                           {Kind: mean, Better: "up"},
		"ratio is 0.5":                               {Kind: share, Ratio: .5},
		"ratio is NaN":                               {Kind: share, Ratio: math.NaN()},
		"promote_ratio is 1.1, not from ratio":       {Kind: share, PromoteRatio: 1.1},
		"add is 1, not":                              {Kind: share, Add: 1},
		"add is +Inf":                                {Kind: mean, Add: math.Inf(1)},
		"promote_add is 0.0001":                      {Kind: share, PromoteAdd: 1e-4},
		"nothing lies between":                       {Kind: mean, Ratio: 2, PromoteRatio: 2},
		"quantile is 1,":                             {Kind: delivery.KindLatency, Quantile: 1},
		"low and high are of a mean":                 {Kind: share, Low: new(0.0)},
		"low and high are needed":                    {Kind: mean, Low: new(0.0)},
		"low is 3 and high 3":                        {Kind: mean, Low: new(3.0), High: new(3.0)},
		"low is NaN":                                 {Kind: mean, Low: new(math.NaN()), High: new(3.0)},
		"ratio is -1, not from 1 to 1000; add is -1": {Kind: share, Ratio: -1, Add: -1},
	} {
		if got := MetricProblem(m); !strings.Contains(got, want) {
			t.Errorf("MetricProblem(%+v) = %q, want %q in it", m, got, want)
		}
	}
	for _, kind := range []delivery.MetricKind{share, delivery.KindCount, delivery.KindLatency, mean, delivery.KindLevel} {
		for _, m := range []delivery.Metric{{Kind: kind}, {Kind: kind, Ratio: 4}, {Kind: kind, Add: .3}, {Kind: kind, Ratio: 2, Add: .01, PromoteRatio: 2}} {
			if why := MetricProblem(m); why != "" {
				t.Errorf("MetricProblem(%+v) = %q, want none", m, why)
			}
		}
	}
	if d := MetricDefaults(delivery.Metric{Kind: share}); d.Ratio != 1.2 || d.Add != .001 || d.PromoteRatio != 2 || d.PromoteAdd != .002 {
		t.Errorf("defaults of a share are %+v", d)
	}
}

// In the steady state an update allocates nothing.
func TestUpdatesDoNotAllocate(t *testing.T) {
	for name, k := range kinds {
		m := newKind(k.metric)
		for range 100 {
			m.observe(k.same)
		}
		if n := testing.AllocsPerRun(100, func() { m.observe(k.same) }); n != 0 {
			t.Errorf("%s: %v allocations an update, want 0", name, n)
		}
	}
}

func benchmarkMetric(b *testing.B, name string) {
	k := kinds[name]
	m := newKind(k.metric)
	for range 100 {
		m.observe(k.same)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.observe(k.same)
	}
}

func BenchmarkMetricShare(b *testing.B)       { benchmarkMetric(b, "share") }
func BenchmarkMetricCount(b *testing.B)       { benchmarkMetric(b, "count") }
func BenchmarkMetricLatency(b *testing.B)     { benchmarkMetric(b, "latency") }
func BenchmarkMetricMean(b *testing.B)        { benchmarkMetric(b, "mean") }
func BenchmarkMetricBoundedMean(b *testing.B) { benchmarkMetric(b, "bounded mean") }
func BenchmarkMetricLevel(b *testing.B)       { benchmarkMetric(b, "level") }

// A canary that is better beyond the margin is fit, and not equivalent.
func TestEquivalence(t *testing.T) {
	for name, k := range kinds {
		m, p := MetricDefaults(k.metric), Defaults(delivery.JudgePolicy{})
		same, better := newEquivalence(m, p), newEquivalence(m, p)
		swapped := Reading{Stable: k.worse.Canary, Canary: k.worse.Stable, Seconds: k.worse.Seconds}
		for range 120 {
			same.observe(k.same)
			better.observe(swapped)
		}
		if same.proof() < 3 {
			t.Errorf("%s: alike: log evidence %v, want at least 3", name, same.proof())
		}
		if better.proof() >= 3 || better.worse.proof() < 3 {
			t.Errorf("%s: better: log evidence %v of equivalence, %v of fitness, want below 3 and above", name, better.proof(), better.worse.proof())
		}
		if same.nextStep(); same.proof() != 0 {
			t.Errorf("%s: after the next step %v, want 0", name, same.proof())
		}
	}
}
