package rollout_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
)

// say writes a step as "weight new during/old flags".
func say(s delivery.Step) string {
	out := fmt.Sprintf("%s %s new %d old %d/%d", s.Do, s.Weight, s.New, s.During, s.Old)
	for _, flag := range []struct {
		on   bool
		name string
	}{{s.Dark, "dark"}, {s.Preview, "preview"}, {s.Proven, "proven"}, {s.Approve, "approve"}, {len(s.Test) > 0, "test"}, {s.Hold > 0, s.Hold.String()}} {
		if flag.on {
			out += " " + flag.name
		}
	}
	return out
}

func canarySteps(specs ...delivery.StepSpec) delivery.Strategy {
	return delivery.Strategy{Kind: delivery.Canary, Steps: specs, Deadline: 5 * time.Minute, Soak: time.Minute, Window: 10 * time.Minute, Supersede: delivery.Replace, OnSilence: delivery.SilenceWaits}
}

func rollingOf(surge, unavailable int) delivery.Strategy {
	return delivery.Strategy{Kind: delivery.Rolling, MaxSurge: surge, MaxUnavailable: unavailable, Deadline: 5 * time.Minute}
}

func TestPlanFor(t *testing.T) {
	careful := canarySteps(
		delivery.StepSpec{Weight: delivery.Percent(5), Proven: true, Hold: time.Minute},
		delivery.StepSpec{Weight: delivery.Percent(50), Proven: true, Approve: true},
		delivery.StepSpec{Weight: delivery.Full, Proven: true},
	)
	blind := careful
	blind.Judge.Off = true
	bluegreen := delivery.Strategy{Kind: delivery.BlueGreen, Test: []string{"./smoke"}, Steps: []delivery.StepSpec{{Approve: true, Hold: time.Minute}}}
	tests := []struct {
		name   string
		course rollout.Course
		reason string
		steps  []string
	}{
		{"first release", rollout.Course{Strategy: careful, Replicas: 4, To: v2}, "first release here: nothing to compare with, so straight to full", nil},
		{"same release", rollout.Course{Strategy: careful, Replicas: 4, From: v2, To: v2}, "already the stable release: no steps", nil},
		{"warm rollback", rollout.Course{Strategy: careful, Replicas: 4, From: v1, To: v2, Back: true, Warm: true}, "still warm from before: one route write", nil},
		{
			"cold rollback",
			rollout.Course{Strategy: careful, Replicas: 4, From: v1, To: v2, Back: true},
			"outside the rollback window: the full canary plan",
			[]string{"weight 5 % new 1 old -1/-1 proven 1m0s", "weight 50 % new 2 old -1/-1 proven approve", "weight 100 % new 4 old -1/-1"},
		},
		{
			"warm, but a new deploy",
			rollout.Course{Strategy: careful, Replicas: 1, Kind: delivery.Code, From: v1, To: v2, Warm: true},
			"code change, strategy canary",
			[]string{"weight 5 % new 1 old -1/-1 proven 1m0s", "weight 50 % new 1 old -1/-1 proven approve", "weight 100 % new 1 old -1/-1"},
		},
		{
			"judge off",
			rollout.Course{Strategy: blind, Replicas: 4, Kind: delivery.Config, From: v1, To: v2},
			"config change, strategy canary",
			[]string{"weight 5 % new 1 old -1/-1 1m0s", "weight 50 % new 2 old -1/-1 approve", "weight 100 % new 4 old -1/-1"},
		},
		{
			"blue-green",
			rollout.Course{Strategy: bluegreen, Replicas: 3, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy blue-green",
			[]string{"start 0 % new 3 old -1/-1 preview approve test", "weight 100 % new 3 old -1/-1 1m0s"},
		},
		{
			"recreate",
			rollout.Course{Strategy: delivery.Strategy{Kind: delivery.Recreate}, Replicas: 3, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy recreate",
			[]string{"weight 100 % new 3 old 0/0 dark"},
		},
		{
			"rolling, one more",
			rollout.Course{Strategy: rollingOf(1, 0), Replicas: 3, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy rolling",
			[]string{"weight 33.33 % new 1 old 3/2", "weight 66.66 % new 2 old 2/1", "weight 100 % new 3 old 1/0"},
		},
		{
			"rolling, one less",
			rollout.Course{Strategy: rollingOf(0, 1), Replicas: 4, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy rolling",
			[]string{"weight 33.33 % new 1 old 3/3", "weight 66.66 % new 2 old 2/2", "weight 100 % new 3 old 1/1", "weight 100 % new 4 old 0/0"},
		},
		{
			"rolling, both",
			rollout.Course{Strategy: rollingOf(1, 1), Replicas: 4, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy rolling",
			[]string{"weight 66.66 % new 2 old 3/2", "weight 100 % new 4 old 1/0"},
		},
		{
			"rolling, neither: one more",
			rollout.Course{Strategy: rollingOf(0, 0), Replicas: 2, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy rolling",
			[]string{"weight 50 % new 1 old 2/1", "weight 100 % new 2 old 1/0"},
		},
		{
			"rolling, more than there are",
			rollout.Course{Strategy: rollingOf(9, 9), Replicas: 2, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy rolling",
			[]string{"weight 100 % new 2 old 2/0"},
		},
		{
			"rolling, all may be missing",
			rollout.Course{Strategy: rollingOf(0, 2), Replicas: 2, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy rolling",
			[]string{"weight 100 % new 2 old 0/0 dark"},
		},
		{
			"rolling, fewer than before",
			rollout.Course{Strategy: rollingOf(1, 0), Replicas: 2, Old: 6, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy rolling",
			[]string{"weight 50 % new 1 old 2/1", "weight 100 % new 2 old 1/0"},
		},
		{
			"rolling, more than before",
			rollout.Course{Strategy: rollingOf(1, 0), Replicas: 3, Old: 1, Kind: delivery.Code, From: v1, To: v2},
			"code change, strategy rolling",
			[]string{"weight 33.33 % new 1 old 1/1", "weight 66.66 % new 2 old 1/1", "weight 100 % new 3 old 1/0"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := rollout.PlanFor(test.course)
			var got []string
			for _, s := range p.Steps {
				got = append(got, say(s))
			}
			if fmt.Sprint(got) != fmt.Sprint(test.steps) {
				t.Errorf("steps\n%q, want\n%q", got, test.steps)
			}
			if p.Reason != test.reason {
				t.Errorf("reason %q, want %q", p.Reason, test.reason)
			}
			if p.Replicas != test.course.Replicas || p.Deadline != test.course.Strategy.Deadline || p.Supersede != test.course.Strategy.Supersede {
				t.Errorf("plan %+v does not follow %+v", p, test.course)
			}
		})
	}
}

// TestPlanForWindows tells which plans soak and which leave something warm.
func TestPlanForWindows(t *testing.T) {
	s := canarySteps(delivery.StepSpec{Weight: delivery.Percent(10)})
	for _, test := range []struct {
		name         string
		course       rollout.Course
		soak, window time.Duration
	}{
		{"new release", rollout.Course{From: v1, To: v2}, time.Minute, 10 * time.Minute},
		{"first release", rollout.Course{To: v2}, 0, 10 * time.Minute},
		{"same release", rollout.Course{From: v2, To: v2}, 0, 0},
		{"warm rollback", rollout.Course{From: v1, To: v2, Back: true, Warm: true}, 0, 0},
		{"cold rollback", rollout.Course{From: v1, To: v2, Back: true}, time.Minute, 0},
	} {
		test.course.Strategy, test.course.Replicas = s, 2
		if p := rollout.PlanFor(test.course); p.Soak != test.soak || p.Window != test.window {
			t.Errorf("%s: soak %s window %s, want %s and %s", test.name, p.Soak, p.Window, test.soak, test.window)
		}
	}
}

// TestRollingBounds: whatever surge and unavailable are, a batch never asks for
// more instances or leaves fewer than they allow, and no share points at nothing.
func TestRollingBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "replicas")
		surge, unavailable := rapid.IntRange(-1, 50).Draw(t, "surge"), rapid.IntRange(-1, 50).Draw(t, "unavailable")
		p := rollout.PlanFor(rollout.Course{Strategy: rollingOf(surge, unavailable), Replicas: n, From: v1, To: v2})
		surge, unavailable = max(surge, 0), min(max(unavailable, 0), n)
		if surge+unavailable == 0 {
			surge = 1
		}
		was := delivery.Step{Old: n}
		for i, s := range p.Steps {
			if s.New <= was.New || s.New > n || s.Weight < was.Weight || s.Weight > delivery.Full {
				t.Fatalf("step %d is %s after %s", i, say(s), say(was))
			}
			if s.New+s.During > n+surge || was.New+s.During < n-unavailable || s.New+s.Old != n || s.During > was.Old {
				t.Fatalf("step %d is %s after %s; %d replicas, surge %d, unavailable %d", i, say(s), say(was), n, surge, unavailable)
			}
			if s.During == 0 && was.Weight != delivery.Full && !s.Dark || s.Dark && s.During > 0 {
				t.Fatalf("step %d is %s: %s of the traffic points at no instance", i, say(s), delivery.Full-was.Weight)
			}
			if s.Weight > rollout.Carry(s.New, n-unavailable) {
				t.Fatalf("step %d is %s, and %d instances carry %s", i, say(s), s.New, rollout.Carry(s.New, n-unavailable))
			}
			was = s
		}
		if was.Weight != delivery.Full || was.New != n || was.Old != 0 {
			t.Fatalf("ends at %s", say(was))
		}
	})
}

func TestCarryAndNeed(t *testing.T) {
	for _, test := range []struct {
		healthy, replicas int
		carry             delivery.Weight
	}{
		{0, 4, 0}, {-1, 4, 0}, {1, 4, 2500}, {2, 4, 5000}, {3, 4, 7500}, {4, 4, 10000}, {9, 4, 10000}, {1, 3, 3333}, {2, 3, 6666}, {1, 0, 10000}, {0, 0, 0},
	} {
		if got := rollout.Carry(test.healthy, test.replicas); got != test.carry {
			t.Errorf("Carry(%d, %d) = %v, want %v", test.healthy, test.replicas, got, test.carry)
		}
	}
	for _, test := range []struct {
		weight   delivery.Weight
		replicas int
		need     int
	}{
		{0, 4, 0},
		{-5, 4, 0},
		{1, 4, 1},
		{delivery.Percent(25), 4, 1},
		{2501, 4, 2},
		{delivery.Percent(50), 4, 2},
		{delivery.Full, 4, 4},
		{delivery.Full, 1, 1},
		{delivery.Percent(5), 1, 1},
		{delivery.Percent(34), 3, 2},
		{delivery.Full, 0, 1},
	} {
		if got := rollout.Need(test.weight, test.replicas); got != test.need {
			t.Errorf("Need(%v, %d) = %d, want %d", test.weight, test.replicas, got, test.need)
		}
	}
}

// Weights never leave 0 % to 100 %, with few replicas and with very many, and
// what Need asks for carries the weight.
func TestCase54_WeightsStayInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 1_000_000)).Draw(t, "replicas")
		w := delivery.Weight(rapid.IntRange(0, int(delivery.Full)).Draw(t, "weight"))
		need := rollout.Need(w, n)
		if need < 0 || need > n || rollout.Carry(need, n) < w {
			t.Fatalf("Need(%v, %d) = %d, which carries %v", w, n, need, rollout.Carry(need, n))
		}
		if need > 0 && rollout.Carry(need-1, n) >= w && need > 1 {
			t.Fatalf("Need(%v, %d) = %d, and one fewer carries it", w, n, need)
		}
		h := rapid.IntRange(-3, n+3).Draw(t, "healthy")
		a, b := rollout.Carry(h, n), rollout.Carry(h+1, n)
		if a < 0 || a > delivery.Full || b < a {
			t.Fatalf("Carry(%d, %d) = %v, then %v", h, n, a, b)
		}
	})
}

// TestStates holds the table of moves against the drawing in ARCHITECTURE.
func TestStates(t *testing.T) {
	may := map[delivery.State]string{
		delivery.Queued: "preparing superseded cancelled", delivery.Preparing: "starting reverting",
		delivery.Starting: "shifting finishing reverting", delivery.Shifting: "judging reverting",
		delivery.Judging: "shifting waiting finishing reverting", delivery.Waiting: "shifting judging finishing reverting",
		delivery.Finishing: "soaking reverting", delivery.Soaking: "done reverting",
		delivery.Reverting: "reverted revert_failed superseded",
	}
	for _, from := range delivery.States() {
		var got string
		for _, to := range delivery.States() {
			if from != to && from.MayMove(to) {
				got += " " + string(to)
			}
		}
		if want := may[from]; got != "" && got[1:] != want || got == "" && want != "" {
			t.Errorf("%s may move to%s, want %s", from, got, want)
		}
		if !from.MayMove(from) || from.Final() != (may[from] == "") || from.Active() != (!from.Final() && from != delivery.Queued) {
			t.Errorf("%s: stays %v, final %v, active %v", from, from.MayMove(from), from.Final(), from.Active())
		}
	}
}
