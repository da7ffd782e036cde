package analysis

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// shop is an ordinary service: 0.5 % errors, lognormal latency with median 50 ms and p99 321 ms.
func shop() service {
	return service{rps: 500, errors: constant(.005, .005), latency: lognormal(1, 1)}
}

func constant(stable, canary float64) func(int) (float64, float64) {
	return func(int) (float64, float64) { return stable, canary }
}

// lognormal multiplies all of the canary's times by all, and its slowest 3 % by tail.
func lognormal(all, tail float64) func(*rand.Rand, bool) float64 {
	return func(r *rand.Rand, canary bool) float64 {
		z := r.NormFloat64()
		l := .05 * math.Exp(.8*z)
		if !canary {
			return l
		}
		if z > 1.8808 {
			l *= tail
		}
		return l * all
	}
}

func observe(t *testing.T, j *Judge, b Block) {
	t.Helper()
	if err := j.Observe(b); err != nil {
		t.Fatal(err)
	}
}

// same is an arm of n units that all took 20 ms or a little more.
func same(n, bad uint64) Arm {
	half := uint32(n / 2)
	return Arm{Units: n, Bad: bad, Bins: map[int]uint32{Bin(.02): half, Bin(.021): uint32(n) - half}}
}

func TestDefaults(t *testing.T) {
	got := Defaults(delivery.JudgePolicy{Beta: .2})
	want := delivery.JudgePolicy{
		Alpha: .01, Beta: .2, ErrorRatio: 1.2, ErrorAdd: .001, PromoteErrorRatio: 2, PromoteErrorAdd: .002,
		LatencyRatio: .05, PromoteLatency: .25, LatencyAdd: time.Millisecond, PromoteLatencyAdd: 5 * time.Millisecond,
		Cold: 30 * time.Second, SLO: delivery.SLO{Within: .99, Patience: 10 * time.Second},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Defaults = %+v, want %+v", got, want)
	}
}

// What a service promises bounds what a release may add to its errors: a quarter
// of the budget is tolerated, and no more than all of it is proven away.
func TestMarginsOfAPromise(t *testing.T) {
	for _, c := range []struct {
		slo, add, promote   float64
		wantAdd, wantPromot float64
	}{
		{0, 0, 0, .001, .002},
		{.01, 0, 0, .0025, .01},
		{.01, .003, 0, .003, .01},
		{.05, 0, .002, .001, .002},
		{math.NaN(), 0, 0, .001, .002},
	} {
		got := Defaults(delivery.JudgePolicy{SLO: delivery.SLO{Errors: c.slo}, ErrorAdd: c.add, PromoteErrorAdd: c.promote})
		if got.ErrorAdd != c.wantAdd || got.PromoteErrorAdd != c.wantPromot {
			t.Errorf("a promise of %v with margins %v and %v gives %v and %v, want %v and %v", c.slo, c.add, c.promote, got.ErrorAdd, got.PromoteErrorAdd, c.wantAdd, c.wantPromot)
		}
	}
}

// Case 60: no data is not success.
func TestCase60NoData(t *testing.T) {
	for name, b := range map[string]Block{
		"nothing":     {},
		"only stable": {Stable: same(100, 0)},
		"only canary": {Canary: same(100, 100)},
	} {
		j := New(delivery.JudgePolicy{}, same(1000, 1))
		for i := range 600 {
			b.Second = int64(i)
			observe(t, j, b)
			if v := j.Verdict(); v.Outcome != delivery.NoData || v.Seconds != 0 || v.LeftOut != i+1 {
				t.Fatalf("%s: verdict after %d seconds = %+v, want no data", name, i+1, v)
			}
		}
		if v := j.Verdict(); !strings.Contains(v.Sentence, "no request") {
			t.Errorf("%s: sentence %q does not say what is missing", name, v.Sentence)
		}
	}
	j := New(delivery.JudgePolicy{}, Arm{})
	if v := j.Verdict(); v.Outcome != delivery.NoData || v.Sentence == "" {
		t.Errorf("verdict before any block = %+v, want no data", v)
	}
	// Margins so wide that a handful of requests would prove anything.
	wide := delivery.JudgePolicy{PromoteErrorAdd: .9, PromoteLatency: 900, Beta: .9}
	j = New(wide, same(1000, 0))
	for i := range 29 {
		observe(t, j, Block{Second: int64(i), Stable: same(10, 0), Canary: same(1, 0)})
		if v := j.Verdict(); v.Outcome != delivery.Inconclusive || !strings.HasPrefix(v.Sentence, "not enough data: ") {
			t.Fatalf("verdict after %d requests = %s %q, want inconclusive", i+1, v.Outcome, v.Sentence)
		}
	}
}

// Case 61: what cannot be judged is an error, neither success nor failure, and
// what is not proven does not pass.
func TestCase61ErrorIsNotSuccess(t *testing.T) {
	for _, c := range []struct {
		want string
		arm  Arm
	}{
		{"2 failed of 1", Arm{Units: 1, Bad: 2}},
		{"answered or open of 3", Arm{Units: 3, Bins: map[int]uint32{500: 4}}},
		{"answered or open of 3", Arm{Units: 3, Open: 2, Bins: map[int]uint32{500: 2}}},
		{"answered or open of 3", Arm{Units: 3, Open: 4}},
		{"answered or open of 3", Arm{Units: 3, Open: math.MaxUint64, Bins: map[int]uint32{500: 2}}},
		{"latency bin -1", Arm{Units: 3, Bins: map[int]uint32{-1: 1}}},
		{"latency bin 1600", Arm{Units: 3, Bins: map[int]uint32{Bins: 1}}},
		{"4 drawn of 3", Arm{Units: 3, Drawn: 4}},
		{"4 units that came again", Arm{Units: 3, Again: &Arm{Units: 4}}},
		{"2 of them failed", Arm{Units: 3, Bad: 1, Again: &Arm{Units: 2, Bad: 2}}},
		{"1 units that came again", Arm{Units: 3, Bad: 3, Again: &Arm{Units: 1}}},
		{"2 failed of 1", Arm{Units: 3, Bad: 3, Again: &Arm{Units: 1, Bad: 2}}},
		{"came again in latency bin 9", Arm{Units: 3, Bins: map[int]uint32{8: 2}, Again: &Arm{Units: 2, Bins: map[int]uint32{9: 1}}}},
	} {
		for _, canary := range []bool{true, false} {
			j := healthy(t)
			before := j.Verdict()
			b := Block{Second: 1e6, Stable: same(9, 0), Canary: c.arm}
			if !canary {
				b.Stable, b.Canary = b.Canary, b.Stable
			}
			err := j.Observe(b)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("Observe(%+v) = %v, want %q", b, err, c.want)
			}
			v := j.Verdict()
			if v.Outcome != delivery.Broken || !strings.Contains(v.Sentence, c.want) {
				t.Errorf("verdict = %s %q, want error with %q", v.Outcome, v.Sentence, c.want)
			}
			v.Outcome, v.Sentence = before.Outcome, before.Sentence
			if !reflect.DeepEqual(v, before) {
				t.Errorf("a refused block changed the verdict from %+v to %+v", before, v)
			}
			observe(t, j, Block{Second: 1e6, Stable: same(9, 0), Canary: same(1, 0)})
			if v := j.Verdict(); v.Outcome != delivery.Broken {
				t.Errorf("verdict after a good block = %s, want error for good", v.Outcome)
			}
		}
	}
	for _, p := range []delivery.JudgePolicy{
		{Alpha: 1},
		{Alpha: -1},
		{Beta: math.NaN()},
		{ErrorRatio: .5},
		{PromoteErrorRatio: math.Inf(1)},
		{ErrorAdd: 2},
		{PromoteErrorAdd: -.1},
		{LatencyRatio: -1},
		{PromoteLatency: math.NaN()},
		{SLO: delivery.SLO{Errors: math.NaN()}},
		{SLO: delivery.SLO{Latency: -1}},
		{SLO: delivery.SLO{Within: 1}},
		{SLO: delivery.SLO{Patience: time.Hour}},
		{Metrics: make([]delivery.Metric, maxMetrics+1)},
		{Metrics: []delivery.Metric{{Name: "twice", Kind: delivery.KindCount}, {Name: "twice", Kind: delivery.KindShare}}},
		{Metrics: []delivery.Metric{{Name: "what", Kind: "guess"}}},
	} {
		j := New(p, Arm{})
		observe(t, j, Block{Second: 1, Stable: same(90, 0), Canary: same(10, 0)})
		if v := j.Verdict(); v.Outcome != delivery.Broken {
			t.Errorf("verdict under %+v = %s, want error", p, v.Outcome)
		}
	}
}

// healthy has passed.
func healthy(t *testing.T) *Judge {
	t.Helper()
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	for i := range 60 {
		observe(t, j, Block{Second: int64(i), Stable: same(450, 0), Canary: same(50, 0)})
	}
	if v := j.Verdict(); v.Outcome != delivery.Pass {
		t.Fatalf("a healthy release is %s: %s", v.Outcome, v.Sentence)
	}
	return j
}

// Case 62: every metric must be proven, within this step; evidence of an
// earlier step, of some metrics or of instances that are gone is not enough.
func TestCase62EveryMetricInThisStep(t *testing.T) {
	j := healthy(t)
	j.NextStep()
	if v := j.Verdict(); v.Outcome != delivery.Inconclusive {
		t.Fatalf("verdict at the start of the next step = %s, want inconclusive", v.Outcome)
	}
	for i := range 600 { // the canary is gone
		observe(t, j, Block{Second: int64(100 + i), Stable: same(450, 0)})
		if v := j.Verdict(); v.Outcome != delivery.Inconclusive {
			t.Fatalf("verdict without a canary = %s, want inconclusive", v.Outcome)
		}
	}
	// Errors alone are proven, latency is not counted.
	j = New(delivery.JudgePolicy{}, same(1000, 1))
	for i := range 120 {
		observe(t, j, Block{Second: int64(i), Stable: same(450, 0), Canary: Arm{Units: 50, Open: 50}})
		v := j.Verdict()
		if v.Outcome == delivery.Pass {
			t.Fatal("passed although no answer was ever timed")
		}
	}
	if v := j.Verdict(); v.Outcome != delivery.Fail {
		t.Errorf("a canary that never answers is %s, want fail", v.Outcome)
	}
}

// Case 63: a second is judged once, whole, and in order; nothing from before
// the rollout is evidence.
func TestCase63OnlyWholeNewSeconds(t *testing.T) {
	j := New(delivery.JudgePolicy{}, Arm{Units: 1e6, Bad: 5e5, Bins: map[int]uint32{900: 1e6}})
	if v := j.Verdict(); v.Outcome != delivery.NoData || v.Evidence != 1 || v.Checks[0].NStable != 0 {
		t.Errorf("verdict on a baseline alone = %+v, want no data and evidence 1", v)
	}
	bad := Block{Second: 10, Stable: same(90, 1), Canary: same(10, 1)}
	observe(t, j, bad)
	before := j.Verdict()
	for _, second := range []int64{10, 9, -1, math.MinInt64} {
		b := bad
		b.Second = second
		if err := j.Observe(b); err == nil || !strings.Contains(err.Error(), "not after 10") {
			t.Errorf("Observe of second %d after 10 = %v, want a refusal", second, err)
		}
		j.LeaveOut(second, "late")
	}
	if v := j.Verdict(); !reflect.DeepEqual(v, before) {
		t.Errorf("refused blocks changed the verdict to %+v", v)
	}
	j.LeaveOut(11, "the split changed")
	if err := j.Observe(Block{Second: 11, Stable: same(90, 0), Canary: same(10, 9)}); err == nil {
		t.Error("a second that was left out was judged")
	}
	j.LeaveOut(12, "the split changed")
	v := j.Verdict()
	if v.LeftOut != 2 || v.Why != "2 seconds: the split changed" || v.Evidence != before.Evidence {
		t.Errorf("verdict = %d left out, %q, evidence %v; want 2 and unchanged evidence", v.LeftOut, v.Why, v.Evidence)
	}
	for i := range 20 {
		j.LeaveOut(int64(20+i), fmt.Sprint("reason ", i))
	}
	if v := j.Verdict(); v.LeftOut != 22 || strings.Count(v.Why, ";") != maxReasons-1 {
		t.Errorf("%d left out because %q, want 22 and %d reasons", v.LeftOut, v.Why, maxReasons)
	}
}

// A clock that jumps an hour ahead and back again makes every second one that was
// judged already: the verdict says so till it has caught up. A few late seconds do not.
func TestClockGoesBack(t *testing.T) {
	rec, err := Record(delivery.JudgePolicy{}, same(1000, 1))
	if err != nil {
		t.Fatal(err)
	}
	feed := func(second int64) delivery.Verdict {
		_ = rec.Observe(Block{Second: second, Stable: same(450, 0), Canary: same(50, 0)})
		return rec.Verdict()
	}
	for i := range int64(10) {
		feed(i)
	}
	feed(3610)
	for i := range int64(60) {
		v := feed(11 + i)
		want := fmt.Sprintf("cannot judge: the clock went back by %v: nothing is judged until it has caught up", time.Duration(3599-i)*time.Second)
		if late := i >= lagging-1; late != (v.Outcome == delivery.Broken) || late && v.Sentence != want {
			t.Fatalf("after %d seconds that were judged already: %s %q, want %q", i+1, v.Outcome, v.Sentence, want)
		}
		feed(11 + i) // twice is once
	}
	_, part := rec.Part()
	tape, err := decoded([][]byte{part})
	if err != nil {
		t.Fatal(err)
	}
	if v := replay(tape).Verdict(); !reflect.DeepEqual(v, rec.Verdict()) {
		t.Errorf("replayed %s %q, want %s %q", v.Outcome, v.Sentence, rec.Verdict().Outcome, rec.Verdict().Sentence)
	}
	if v := feed(3611); v.Outcome == delivery.Broken {
		t.Errorf("after the clock has caught up %s %q", v.Outcome, v.Sentence)
	}
}

func TestFailStays(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	second := int64(0)
	for j.Verdict().Outcome != delivery.Fail {
		second++
		if second > 10 {
			t.Fatal("a canary that fails half of its requests was not caught in 10 seconds")
		}
		observe(t, j, Block{Second: second, Stable: same(450, 1), Canary: same(50, 25)})
	}
	v := j.Verdict()
	for range 1000 {
		second++
		observe(t, j, Block{Second: second, Stable: same(450, 400), Canary: same(50, 0)})
	}
	j.NextStep()
	j.LeaveOut(second+1, "late")
	if now := j.Verdict(); !reflect.DeepEqual(now, v) {
		t.Errorf("a failed verdict moved from %+v to %+v", v, now)
	}
	if v.Evidence < v.Limit || v.Checks[0].Name != "errors" || v.Checks[0].Outcome != delivery.Fail ||
		!strings.HasPrefix(v.Sentence, "the new release is worse: errors 50 % against 0.22 % on stable: worse by ") {
		t.Errorf("verdict = %+v, want errors as the culprit", v)
	}
}

// A canary that is slow only in its slowest per mille is blamed on that
// quantile, although no promotion test looks at it.
func TestCulpritBetweenQuantiles(t *testing.T) {
	j := New(delivery.JudgePolicy{}, Arm{Units: 1000, Bins: map[int]uint32{700: 900, 760: 85, 800: 15}})
	for i := range 60 {
		observe(t, j, Block{
			Second: int64(i),
			Stable: Arm{Units: 900, Bins: map[int]uint32{700: 810, 760: 78, 800: 12}},
			Canary: Arm{Units: 100, Bins: map[int]uint32{700: 90, 760: 7, 820: 3}},
		})
	}
	v := j.Verdict()
	if v.Outcome != delivery.Fail || v.Checks[0].Name != "p99" && v.Checks[0].Name != "p99.5" {
		t.Errorf("verdict = %s %q, want a fail by the tail", v.Outcome, v.Sentence)
	}
}

// The added margins keep a fast service from being judged by noise.
func TestAddedMargin(t *testing.T) {
	at := func(ms float64) Arm { return Arm{Units: 200, Bins: map[int]uint32{Bin(ms / 1000): 200}} }
	for _, c := range []struct {
		stable, canary float64 // ms
		want           delivery.Outcome
	}{
		{1, 1.9, delivery.Pass}, {1, 2.3, delivery.Fail}, {200, 204, delivery.Pass}, {200, 215, delivery.Fail},
	} {
		j := New(delivery.JudgePolicy{}, at(c.stable))
		for i := range 60 {
			observe(t, j, Block{Second: int64(i), Stable: at(c.stable), Canary: at(c.canary)})
		}
		if v := j.Verdict(); v.Outcome != c.want {
			t.Errorf("%v ms against %v ms is %s, want %s: %s", c.canary, c.stable, v.Outcome, c.want, v.Sentence)
		}
	}
}

// Without a baseline the first stable units fix the thresholds and are no
// evidence on latency; errors are judged at once.
func TestNoBaseline(t *testing.T) {
	j := New(delivery.JudgePolicy{}, Arm{})
	slow := Arm{Units: 50, Bins: map[int]uint32{Bin(2): 50}}
	for i := range 4 {
		observe(t, j, Block{Second: int64(i), Stable: same(50, 0), Canary: slow})
		if e := j.latency.evidence(); e != 0 {
			t.Fatalf("log evidence on latency after %d units = %v, want 0", 50*(i+1), e)
		}
		if v := j.Verdict(); v.Outcome != delivery.Inconclusive || v.Checks[0].NCanary != uint64(50*(i+1)) {
			t.Fatalf("verdict = %+v, want inconclusive on errors", v)
		}
	}
	for i := range 3 { // one second proves nothing
		observe(t, j, Block{Second: int64(4 + i), Stable: same(50, 0), Canary: slow})
	}
	if v := j.Verdict(); v.Outcome != delivery.Fail || v.Checks[0].Metric != "latency" {
		t.Errorf("verdict = %s %q, want fail on latency", v.Outcome, v.Sentence)
	}
}

// finite fails the test if a verdict cannot become JSON and come back.
func finite(t *testing.T, v delivery.Verdict) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%+v: %v", v, err)
	}
	var back delivery.Verdict
	if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, v) {
		t.Fatalf("after JSON %+v, want %+v (%v)", back, v, err)
	}
	if v.Sentence == "" {
		t.Fatalf("%+v has no sentence", v)
	}
	for _, c := range v.Checks {
		if c.Sentence == "" || c.Low > c.High || c.PValue < 0 || c.PValue > 1 || c.Outcome == "" || c.FailAt <= 0 || c.PassAt <= 0 {
			t.Fatalf("check %+v is not whole", c)
		}
	}
}

func TestEdges(t *testing.T) {
	const huge = 1e9
	arms := []Arm{
		{},
		{Units: 1},
		{Units: 1, Bad: 1},
		{Units: huge},
		{Units: huge, Bad: huge},
		{Units: huge, Bad: huge / 2},
		{Units: huge, Open: huge},
		{Units: huge, Bins: map[int]uint32{0: huge}},
		{Units: huge, Bins: map[int]uint32{Bins - 1: huge}},
		{Units: huge, Bad: 1, Bins: map[int]uint32{600: huge}},
		{Units: 1, Bins: map[int]uint32{600: 1}},
	}
	for _, baseline := range arms {
		for _, stable := range arms {
			for _, canary := range arms {
				j := New(delivery.JudgePolicy{}, baseline)
				for i := range 4 {
					observe(t, j, Block{Second: int64(i), Stable: stable, Canary: canary})
					if i == 2 {
						j.NextStep()
					}
				}
				finite(t, j.Verdict())
				// and the other way round in the same judge
				observe(t, j, Block{Second: 9, Stable: canary, Canary: stable})
				finite(t, j.Verdict())
			}
		}
	}
}

// A million blocks of a billion units neither overflow nor lose the evidence.
func TestMillionBlocks(t *testing.T) {
	for canary, blocks := range map[float64]int{0: 100_000, 1e7: 1_000_000, 1e9: 100_000} {
		e := newErrorTest(Defaults(delivery.JudgePolicy{}), Arm{})
		e.bounds = nil
		for range blocks {
			e.observe(pair{1e9, 1e7, 1e9, canary}, math.Inf(1))
		}
		for name, v := range map[string]float64{"against": e.against.evidence(), "for": e.promote.evidence()} {
			if n := number(v); math.IsNaN(v) || math.IsInf(v, 0) || math.IsInf(n, 0) || n < 0 {
				t.Errorf("canary %v: log evidence %s = %v", canary, name, v)
			}
		}
		if worse := canary == 1e9; worse != (e.against.evidence() > math.Log(100)) || worse == (e.promote.evidence() > math.Log(20)) {
			t.Errorf("canary %v: log evidence against %v, for %v", canary, e.against.evidence(), e.promote.evidence())
		}
	}
}

// The same blocks give the same verdict, bit for bit, however often it is asked for.
func TestDeterminism(t *testing.T) {
	run := func(peek bool) []byte {
		r := rand.New(rand.NewPCG(7, 7))
		s := shop()
		j := New(delivery.JudgePolicy{}, s.baseline(r))
		for i := range 90 {
			observe(t, j, s.block(r, i))
			if peek {
				finite(t, j.Verdict())
			}
			if i == 40 {
				j.NextStep()
			}
		}
		text, err := json.Marshal(j.Verdict())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := run(false)
	for range 3 {
		if again := run(true); string(again) != string(first) {
			t.Fatalf("verdict %s, then %s", first, again)
		}
	}
}

func TestSentences(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 4))
	for i := range 4 {
		observe(t, j, Block{Second: int64(i), Stable: same(577, 2), Canary: same(3, 0)})
	}
	if got, want := j.Verdict().Sentence, "not enough data: 12 requests to the new release so far in this step"; got != want {
		t.Errorf("sentence %q, want %q", got, want)
	}
	for i := range 20 {
		observe(t, j, Block{Second: int64(4 + i), Stable: same(577, 2), Canary: same(20, 0)})
	}
	v := j.Verdict()
	if want := "no harm found in 412 requests to the new release, and errors "; !strings.HasPrefix(v.Sentence, want) || !strings.HasSuffix(v.Sentence, " more") {
		t.Errorf("sentence %q, want %q … more", v.Sentence, want)
	}
	if want := "0 of 412 against 48 of 13,848"; !strings.HasSuffix(v.Checks[0].Sentence, want) || v.Checks[0].Words.Counts != want {
		t.Errorf("sentence %q with %+v, want … %q", v.Checks[0].Sentence, v.Checks[0].Words, want)
	}
	inParts(t, v)
	inParts(t, healthy(t).Verdict())
	if v := healthy(t).Verdict(); v.Sentence != "the new release is proven fit: errors below 2 times that of stable plus 0.2 points, p50, p95 and p99 less than 25 % slower, in 3,000 requests to it" {
		t.Errorf("sentence %q", v.Sentence)
	}
	for v, want := range map[float64]string{0: "0 %", .0042: "0.42 %", .0611: "6.1 %", .995: "99.5 %", 1: "100 %", .00012: "0.012 %"} {
		if got := percent(v); got != want {
			t.Errorf("percent(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]string{.000123: "0.123 ms", .4123: "412 ms", 1.236: "1.24 s", 400: "400 s"} {
		if got := seconds(v); got != want {
			t.Errorf("seconds(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(v); got != want {
			t.Errorf("count(%v) = %q, want %q", v, got, want)
		}
	}
	for v, want := range map[float64]uint64{0: 1, 7: 7, 12.3: 13, 1234: 1300} {
		if got := roundUp(v); got != want {
			t.Errorf("roundUp(%v) = %d, want %d", v, got, want)
		}
	}
}

// inParts holds that the sentence of every check that compares two values is in its
// words, part by part and in this order.
func inParts(t *testing.T, v delivery.Verdict) {
	t.Helper()
	parts := 0
	for _, c := range v.Checks {
		if c.Words == nil {
			if strings.Contains(c.Sentence, " on stable: ") {
				t.Errorf("%s says %q and has no parts", c.Name, c.Sentence)
			}
			continue
		}
		parts++
		rest, w := c.Sentence, c.Words
		for _, part := range []string{c.Name, " " + w.Canary + " against " + w.Stable + " on stable: ", w.Apart, w.Counts, w.Allowed} {
			_, after, ok := strings.Cut(rest, part)
			if !ok || w.Canary == "" || w.Stable == "" || w.Counts == "" {
				t.Errorf("%s says %q, which lacks %q of %+v", c.Name, c.Sentence, part, w)
			}
			rest = after
		}
	}
	if parts == 0 {
		t.Errorf("no check of %q has parts", v.Sentence)
	}
}

// observe loads and judges a block.
func (l *latencyTest) observe(b Block, limit float64) {
	l.load(b)
	l.judge(b, limit)
}

// A share of errors that moved in mid-rollout is not told with an interval that it
// lies outside of.
func TestMovedDifference(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	for i, c := range []struct {
		difference, low, high float64
		outcome               delivery.Outcome
		want                  string
	}{
		{.05, .02, .08, delivery.Fail, "worse by 2 to 8 points (99 %)"},
		{.018, .003, .01, delivery.Fail, "worse by more than chance explains (p 0.0002)"},
		{.018, -.003, .01, delivery.Inconclusive, "the difference has moved meanwhile"},
		{.07, -.003, .3, delivery.Fail, "worse by more than chance explains (p 0.0002)"},
		{.07, -.003, .3, delivery.Inconclusive, "between 0.3 points better and 30 worse (99 %)"},
	} {
		got := j.differs(delivery.Check{Canary: .1 + c.difference, Stable: .1, Low: c.low, High: c.high, Outcome: c.outcome, PValue: .0002})
		if got != c.want {
			t.Errorf("case %d: %q, want %q", i, got, c.want)
		}
	}
}

// A release that is proven fit while its instances are still fresh has checks that
// say so: what the sentence calls proven, no check calls without data.
func TestProvenWhileFresh(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	for i := range 120 {
		if err := j.Observe(Block{Second: int64(i), Stable: same(450, 0), Canary: same(50, 0), Fresh: true}); err != nil {
			t.Fatal(err)
		}
	}
	v := j.Verdict()
	if v.Outcome != delivery.Pass {
		t.Fatalf("verdict %s: %s", v.Outcome, v.Sentence)
	}
	for _, c := range v.Checks[:4] {
		if c.Outcome != delivery.Pass || c.NCanary == 0 || strings.Contains(c.Sentence, "nothing to compare") {
			t.Errorf("%s: %s of %d: %s", c.Name, c.Outcome, c.NCanary, c.Sentence)
		}
	}
}
