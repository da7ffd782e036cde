package analysis

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// again marks n units of an arm, bad of them failed, as having failed before.
func again(a Arm, n, bad uint64) Arm {
	a.Again = &Arm{Units: n, Bad: bad, Bins: map[int]uint32{Bin(.02): uint32(n)}}
	return a
}

// One caller that fails for good, again and again, neither rolls a release back
// nor lets it pass; the verdict says whose failures they are.
func TestCallerInLastingTrouble(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	for i := range 300 {
		canary := same(50, 3)
		if i > 0 {
			canary = again(canary, 3, 3)
		}
		observe(t, j, Block{Second: int64(i), Stable: same(450, 0), Canary: canary})
		if v := j.Verdict(); v.Outcome == delivery.Fail || v.Outcome == delivery.Pass {
			t.Fatalf("after %d seconds of three callers that always fail: %s %q", i+1, v.Outcome, v.Sentence)
		}
	}
	v := j.Verdict()
	if want := "most failures (897 of 900) come from callers that failed or were slow before"; v.Outcome != delivery.Inconclusive || !strings.Contains(v.Sentence, want) {
		t.Errorf("verdict = %s %q, want inconclusive and %q", v.Outcome, v.Sentence, want)
	}
	c := v.Checks[0]
	if c.Bad != 3 || c.NCanary != 300*47+3 || !strings.Contains(c.Missing, "897 requests to the new release and 0 to stable are left out") {
		t.Errorf("errors count %d of %d, missing %q", c.Bad, c.NCanary, c.Missing)
	}
}

// A release that is bad for everybody is caught though callers come again.
func TestBadReleaseDespiteAgain(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	for i := range 20 {
		observe(t, j, Block{Second: int64(i), Stable: same(450, 1), Canary: again(same(50, 15), 5, 5)})
	}
	if v := j.Verdict(); v.Outcome != delivery.Fail || v.Checks[0].Name != "errors" {
		t.Errorf("verdict = %s %q, want fail by errors", v.Outcome, v.Sentence)
	}
	// Slow units that came again are no evidence of latency either.
	j = New(delivery.JudgePolicy{}, same(1000, 1))
	slow := map[int]uint32{Bin(.02): 45, Bin(2): 5}
	for i := range 60 {
		canary := Arm{Units: 50, Bins: slow, Again: &Arm{Units: 5, Bins: map[int]uint32{Bin(2): 5}}}
		observe(t, j, Block{Second: int64(i), Stable: same(450, 0), Canary: canary})
	}
	if v := j.Verdict(); v.Outcome == delivery.Fail || v.Evidence > 1 {
		t.Errorf("verdict = %s %q, evidence %v, want none", v.Outcome, v.Sentence, v.Evidence)
	}
}

// While the service as a whole is in trouble nothing moves on, and the release is not blamed.
func TestIncident(t *testing.T) {
	promise := delivery.JudgePolicy{SLO: delivery.SLO{Errors: .01, Latency: 100 * time.Millisecond, Within: .95}}
	slow := func(n uint32) Arm {
		return Arm{Units: uint64(n), Bins: map[int]uint32{Bin(.02): n / 2, Bin(.3): n - n/2}}
	}
	for _, c := range []struct {
		name           string
		policy         delivery.JudgePolicy
		stable, canary Arm
		want           string
	}{
		{"both fail", delivery.JudgePolicy{}, same(450, 300), same(50, 33), "both releases fail: 66.7 % of the requests to stable and 66 % of those to the new release in the last 10s"},
		{"errors of both", promise, same(450, 9), same(50, 1), "at most 1 % errors with both releases: 2 % on stable and 2 % on the new one"},
		{"times of both", promise, slow(450), slow(50), "95 % within 100ms with both releases: 50 % took longer on stable and 50 %"},
		{"too few of the canary", promise, same(450, 9), same(2, 0), "at most 1 % errors with both releases"},
		{"stable alone", promise, same(450, 45), same(50, 0), ""},
		{"canary alone", promise, same(450, 1), same(50, 3), ""},
		{"nothing", promise, same(450, 1), same(50, 0), ""},
		{"not promised", delivery.JudgePolicy{}, same(450, 9), same(50, 1), ""},
	} {
		j := New(c.policy, same(1000, 1))
		for i := range 60 {
			observe(t, j, Block{Second: int64(i), Stable: c.stable, Canary: c.canary})
			if v := j.Verdict(); i < 9 && v.Incident != "" {
				t.Fatalf("%s: an incident after %d seconds: %q", c.name, i+1, v.Incident)
			}
		}
		v := j.Verdict()
		switch {
		case c.want == "" && v.Incident != "", !strings.Contains(v.Incident, c.want):
			t.Errorf("%s: incident %q, want %q", c.name, v.Incident, c.want)
		case c.want != "" && (v.Outcome != delivery.Inconclusive || !strings.HasPrefix(v.Sentence, "incident, nothing moves on: ")):
			t.Errorf("%s: verdict = %s %q, want inconclusive", c.name, v.Outcome, v.Sentence)
		case c.name == "stable alone" && v.Outcome != delivery.Pass, c.name == "canary alone" && v.Outcome != delivery.Fail:
			t.Errorf("%s: verdict = %s %q", c.name, v.Outcome, v.Sentence)
		}
		if c.want == "" {
			continue
		}
		for i := range 200 { // it ends by itself, and then the release can be proven
			observe(t, j, Block{Second: int64(100 + i), Stable: same(450, 0), Canary: same(50, 0)})
		}
		if v := j.Verdict(); v.Incident != "" || v.Outcome != delivery.Pass {
			t.Errorf("%s: afterwards %s %q, incident %q", c.name, v.Outcome, v.Sentence, v.Incident)
		}
	}
	// One bad second is no incident.
	j := New(promise, same(1000, 1))
	for i := range 30 {
		b := Block{Second: int64(i), Stable: same(450, 0), Canary: same(50, 0)}
		if i == 15 {
			b = Block{Second: int64(i), Stable: same(450, 400), Canary: same(50, 45)}
		}
		observe(t, j, b)
		if v := j.Verdict(); v.Incident != "" {
			t.Fatalf("second %d: %q", i, v.Incident)
		}
	}
}

// A split that is not carried out, or requests that vanish, make a comparison
// worthless: neither pass nor fail, until the next step.
func TestNotComparable(t *testing.T) {
	for _, c := range []struct {
		name  string
		block func(i int) Block
		want  string
	}{
		{"split", func(i int) Block {
			stable, canary := same(450, 0), same(50, 10)
			stable.Drawn, canary.Drawn = 400, 50
			if i%2 == 0 {
				canary.Drawn = 10
			}
			return Block{Stable: stable, Canary: canary, Weight: .25}
		}, "the split is not carried out as set"},
		{"lost", func(int) Block {
			canary := same(50, 0)
			canary.Lost = 10
			return Block{Stable: same(450, 0), Canary: canary, Weight: .1}
		}, "requests vanish"},
	} {
		j := New(delivery.JudgePolicy{Alpha: 1e-30}, same(1000, 1))
		second := int64(0)
		for i := range 200 {
			b := c.block(i)
			second++
			b.Second = second
			observe(t, j, b)
			if j.Verdict().Invalid != "" {
				break
			}
		}
		v := j.Verdict()
		if v.Outcome != delivery.Broken || !strings.Contains(v.Invalid, c.want) || !strings.HasPrefix(v.Sentence, "the releases cannot be compared: ") {
			t.Fatalf("%s: verdict = %s %q, invalid %q", c.name, v.Outcome, v.Sentence, v.Invalid)
		}
		for range 100 { // whatever comes in this step is not judged
			second++
			observe(t, j, Block{Second: second, Stable: same(450, 0), Canary: same(50, 50)})
		}
		if after := j.Verdict(); after.Outcome != delivery.Broken || after.Evidence != v.Evidence || !strings.Contains(after.Why, "100 seconds: the releases cannot be compared") &&
			!strings.Contains(after.Why, "101 seconds: the releases cannot be compared") {
			t.Errorf("%s: afterwards %s, evidence %v, left out %q", c.name, after.Outcome, after.Evidence, after.Why)
		}
		j.NextStep()
		if v := j.Verdict(); v.Evidence != 1 || v.Invalid != "" || v.Outcome == delivery.Pass || v.Outcome == delivery.Broken {
			t.Errorf("%s: in the next step %s with evidence %v, want a fresh start", c.name, v.Outcome, v.Evidence)
		}
		for range 60 {
			second++
			observe(t, j, Block{Second: second, Stable: same(450, 0), Canary: same(50, 0), Weight: .1})
		}
		if v := j.Verdict(); v.Outcome != delivery.Pass {
			t.Errorf("%s: in the next step a healthy release is %s: %s", c.name, v.Outcome, v.Sentence)
		}
	}
}

// While the split is in doubt nothing passes, and when the doubt is gone it does.
func TestSplitInDoubt(t *testing.T) {
	j := healthy(t)
	second := int64(100)
	feed := func(stable, canary uint64) delivery.Verdict {
		second++
		b := Block{Second: second, Stable: same(450, 0), Canary: same(50, 0), Weight: .1}
		b.Stable.Drawn, b.Canary.Drawn = stable, canary
		observe(t, j, b)
		return j.Verdict()
	}
	for j.trust.suspect() == "" {
		feed(98, 2)
		if second > 200 {
			t.Fatal("2 of 100 instead of 10 raise no doubt")
		}
	}
	v := j.Verdict()
	if v.Outcome != delivery.Inconclusive || v.Invalid != "" || !strings.HasPrefix(v.Sentence, "the split may not be carried out as set: ") {
		t.Errorf("verdict = %s %q, invalid %q, want inconclusive", v.Outcome, v.Sentence, v.Invalid)
	}
	for range 200 {
		v = feed(90, 10)
	}
	if v.Outcome != delivery.Pass {
		t.Errorf("afterwards %s %q", v.Outcome, v.Sentence)
	}
}

// While the canary's callers may not all be counted nothing passes, which is said
// once nothing else holds it up, and is no alarm.
func TestCallersMayBeMissing(t *testing.T) {
	j := New(delivery.JudgePolicy{Only: delivery.FamilyErrors}, Arm{})
	var v delivery.Verdict
	second := int64(100)
	feed := func(drawn uint64) {
		second++
		b := Block{Second: second, Stable: same(450, 0), Canary: same(50, 0), Weight: .1}
		b.Stable.Drawn, b.Canary.Drawn = 450, drawn
		observe(t, j, b)
		v = j.Verdict()
	}
	for range 45 {
		feed(47)
	}
	if v.Outcome != delivery.Inconclusive || v.Invalid != "" || !strings.Contains(v.Sentence, "callers of it may not be counted: 2,115 of 22,365 new callers") {
		t.Errorf("with 47 of 50: %s %q, invalid %q", v.Outcome, v.Sentence, v.Invalid)
	}
	for range 60 {
		feed(50)
	}
	if v.Outcome != delivery.Pass {
		t.Errorf("with 48 of 50: %s %q", v.Outcome, v.Sentence)
	}
}

// warming is a service whose canary is slow by a factor that decays within
// about tau seconds, and fresh for 30 seconds.
func warming(seed uint64, factor, tau, after float64, seconds int) (*Judge, delivery.Verdict, int) {
	r := rand.New(rand.NewPCG(seed, 5))
	s := service{rps: 500, errors: constant(.001, .001), latency: lognormal(1, 1)}
	j := New(delivery.JudgePolicy{}, s.baseline(r))
	for i := range seconds {
		slower := after
		if tau > 0 {
			slower += (factor - 1) * math.Exp(-float64(i)/tau)
		}
		s.latency = lognormal(slower, 1)
		b := s.block(r, i)
		b.Fresh = i < 30
		if err := j.Observe(b); err != nil {
			panic(err)
		}
		if v := j.Verdict(); v.Outcome == delivery.Fail {
			return j, v, i + 1
		}
	}
	return j, j.Verdict(), seconds
}

// A cold cache that warms up is no fault of the release; a release that is slow
// for good is caught, at once if it is slow beyond what any cache explains.
func TestColdCaches(t *testing.T) {
	for seed := range uint64(3) {
		for _, factor := range []float64{2, 5, 20} {
			j, v, n := warming(seed, factor, 4, 1, 300)
			if v.Outcome != delivery.Pass {
				t.Errorf("a cold cache of %v times: after %d s %s %q", factor, n, v.Outcome, v.Sentence)
			}
			if c := v.Checks[2]; !strings.Contains(c.Missing, "30 seconds in which an instance was younger than 30s left out: p95 ") {
				t.Errorf("p95 left out %q", c.Missing)
			}
			if j.latency.cold.evidence() > 0 {
				t.Errorf("evidence of fresh seconds is %v", j.latency.cold.evidence())
			}
		}
		if _, v, n := warming(seed, 1, 0, 1.5, 60); v.Outcome != delivery.Fail || n <= 30 || n > 40 || v.Checks[0].Metric != "latency" {
			t.Errorf("half as slow again for good: after %d s %s %q", n, v.Outcome, v.Sentence)
		}
		if _, v, n := warming(seed, 1, 0, 10, 60); v.Outcome != delivery.Fail || n != 2*coldLook || !strings.Contains(v.Sentence, "which no cold cache explains") {
			t.Errorf("ten times as slow for good: after %d s %s %q", n, v.Outcome, v.Sentence)
		}
	}
	_, v, _ := warming(1, 5, 4, 1, 8)
	if want := "the new instances are warming up: 8 seconds in which an instance was younger than 30s left out: p95 "; !strings.Contains(v.Sentence, want) {
		t.Errorf("sentence %q, want %q", v.Sentence, want)
	}
}

// An instance that fails alone is named.
func TestBadInstance(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	for i := range 10 {
		canary := same(50, 10)
		canary.Places = map[string]Place{"web-7": {25, 10}, "web-8": {25, 0}}
		observe(t, j, Block{Second: int64(i), Stable: same(450, 1), Canary: canary})
	}
	if v := j.Verdict(); v.Outcome != delivery.Fail || !strings.HasSuffix(v.Sentence, ", on 1 of 2 instances (web-7)") {
		t.Errorf("verdict = %s %q, want a fail on web-7", v.Outcome, v.Sentence)
	}
	var p places
	for i := range 1000 {
		p.add(map[string]Place{fmt.Sprint(i): {10, 5}})
	}
	if len(p) != maxPlaces || p.words(.1) != "" {
		t.Errorf("%d instances are kept, want %d; %q", len(p), maxPlaces, p.words(.1))
	}
	p["healthy"] = Place{Units: 10}
	if got, want := p.words(.1), ", on 64 of 65 instances (0, 1 and 10 and 61 more)"; got != want {
		t.Errorf("words = %q, want %q", got, want)
	}
}

// A release that proved itself and then gets nothing any more does not pass.
func TestVanishedCanary(t *testing.T) {
	j := healthy(t)
	for i := range 90 {
		observe(t, j, Block{Second: int64(100 + i), Stable: same(450, 0)})
	}
	v := j.Verdict()
	if want := "no request to the new release for 130 s, while stable had 40,500"; v.Outcome != delivery.Inconclusive || v.Sentence != want {
		t.Errorf("verdict = %s %q, want inconclusive %q", v.Outcome, v.Sentence, want)
	}
}

// AtLeast asks for more exposure than the proofs do.
func TestAtLeast(t *testing.T) {
	j := New(delivery.JudgePolicy{AtLeast: 4000}, same(1000, 1))
	for i := range 100 {
		observe(t, j, Block{Second: int64(i), Stable: same(450, 0), Canary: same(50, 0)})
		v := j.Verdict()
		if enough := 50*(i+1) >= 4000; enough != (v.Outcome == delivery.Pass) {
			t.Fatalf("after %d requests %s %q", 50*(i+1), v.Outcome, v.Sentence)
		}
	}
}
