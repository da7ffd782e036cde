package analysis

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// ailing makes a second of a canary that fails with the share bad, and whose
// answers take slow times as long.
func ailing(r *rand.Rand, second int64, bad, slow float64) Block {
	arm := func(n int, bad, slow float64) Arm {
		a := Arm{Units: uint64(n), Bins: map[int]uint32{}}
		for range n {
			if r.Float64() < bad {
				a.Bad++
			}
			a.Bins[Bin(.05*slow*math.Exp(.8*r.NormFloat64()))]++
		}
		return a
	}
	return Block{Second: second, Stable: arm(450, .001, 1), Canary: arm(50, bad, slow)}
}

// A family that decides alone has all of alpha, and the other is shown, fails
// nothing and is not waited for.
func TestOnly(t *testing.T) {
	for _, c := range []struct {
		only      delivery.Family
		bad, slow float64
		want      delivery.Outcome
		culprit   string
	}{
		{"", .1, 1, delivery.Fail, "errors"},
		{"", .001, 3, delivery.Fail, "p"},
		{delivery.FamilyErrors, .1, 1, delivery.Fail, "errors"},
		{delivery.FamilyErrors, .001, 3, delivery.Pass, ""},
		{delivery.FamilyLatency, .1, 1, delivery.Pass, ""},
		{delivery.FamilyLatency, .001, 3, delivery.Fail, "p"},
	} {
		r := rand.New(rand.NewPCG(7, 1))
		j := New(delivery.JudgePolicy{Only: c.only}, Arm{})
		v := j.Verdict()
		for i := int64(1); i <= 200 && v.Outcome != delivery.Fail && v.Outcome != delivery.Pass; i++ {
			observe(t, j, ailing(r, i, c.bad, c.slow))
			v = j.Verdict()
		}
		if v.Outcome != c.want || c.culprit != "" && !strings.HasPrefix(v.Checks[0].Name, c.culprit) {
			t.Errorf("only %q, %v fail, %v times as long: %s: %s", c.only, c.bad, c.slow, v.Outcome, v.Sentence)
		}
		for _, k := range v.Checks {
			family := delivery.FamilyErrors
			if k.Metric == "latency" {
				family = delivery.FamilyLatency
			}
			share := .5
			if c.only != "" {
				share = 1
			}
			switch {
			case decides(j.policy, family) && k.Role != delivery.Required:
				t.Errorf("only %q: %s is %q, want it to be required", c.only, k.Name, k.Role)
			case !decides(j.policy, family) && (k.Role != delivery.Watch || k.Outcome == delivery.Fail || k.Culprit):
				t.Errorf("only %q: %s decides: %+v", c.only, k.Name, k)
			case k.Name == "errors" && decides(j.policy, family) && k.FailAt != 1/(j.policy.Alpha*share):
				t.Errorf("only %q: errors fail at %v, want %v", c.only, k.FailAt, 1/(j.policy.Alpha*share))
			}
		}
	}
	if v := New(delivery.JudgePolicy{Only: "weather"}, Arm{}).Verdict(); v.Outcome != delivery.Broken || !strings.Contains(v.Sentence, "weather") {
		t.Errorf("only weather: %s: %s", v.Outcome, v.Sentence)
	}
}
