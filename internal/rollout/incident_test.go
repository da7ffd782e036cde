package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
)

// In an incident a step that is proven is not left; nothing goes back for it; and
// when it is over the rollout goes on where it stood.
func TestIncidentHoldsAStep(t *testing.T) {
	w := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Minute, Proven: true}), 4)
	w.untilState(delivery.Judging)
	w.judge(delivery.Pass)
	w.trouble("12 % of the requests to both releases fail")
	w.forDur(6 * time.Hour)
	r := w.row
	if r.State != delivery.Judging || r.Step != 0 || r.Waiting.On != "incident" || !strings.HasPrefix(r.Waiting.What, "incident: ") || len(w.holds) != 0 {
		t.Fatalf("%s/%d on %+v", r.State, r.Step, r.Waiting)
	}
	w.trouble("")
	w.untilState(delivery.Done)
}

// The longest time of a step holds in an incident; who says go on then has the
// traffic moved in spite of it, until it is over. The next one stops it again.
func TestIncidentAndAPerson(t *testing.T) {
	steps := []delivery.StepSpec{{Weight: delivery.Percent(25), Proven: true, Max: 10 * time.Minute}, {Weight: delivery.Percent(50), Proven: true, Max: 10 * time.Minute}}
	w := worldOf(t, canarySteps(steps...), 4)
	w.untilState(delivery.Judging)
	w.judge(delivery.Inconclusive)
	w.trouble("both fail")
	w.untilState(delivery.Waiting)
	if !strings.Contains(w.row.Reason, "10m") {
		t.Fatalf("waits because %q", w.row.Reason)
	}
	w.forDur(time.Hour)
	w.ask(delivery.AskApprove)
	w.untilStep(delivery.Judging, 1)
	if !w.row.Despite {
		t.Fatalf("went on, and not in spite of the incident: %+v", w.row)
	}
	w.judge(delivery.Inconclusive)
	w.pass()
	w.judge(delivery.Pass)
	w.trouble("both fail again")
	w.pass()
	if w.row.Despite || w.row.Waiting == nil || w.row.Waiting.On != "incident" {
		t.Fatalf("the second incident does not stop it: %+v", w.row)
	}
	w.ask(delivery.AskPromote) // past the analysis, to the end
	w.untilState(delivery.Soaking)
}

// Time in an incident is neither time in which instances should have come up,
// nor time in which the whole traffic was watched.
func TestIncidentStopsClocks(t *testing.T) {
	s := canarySteps(delivery.StepSpec{Weight: delivery.Percent(25)}, delivery.StepSpec{Weight: delivery.Full})
	s.Soak = 10 * time.Minute
	w := worldOf(t, s, 4)
	w.untilState(delivery.Judging)
	w.new().slow = 1000
	w.untilStep(delivery.Shifting, 1)
	w.judge(delivery.Inconclusive)
	w.trouble("both fail")
	w.forDur(5 * time.Hour)
	if w.row.State != delivery.Shifting || w.row.Waiting.On != "incident" {
		t.Fatalf("%s on %+v", w.row.State, w.row.Waiting)
	}
	w.trouble("")
	w.new().slow = 1
	w.new().revive()
	w.untilState(delivery.Soaking)
	w.trouble("both fail")
	w.forDur(5 * time.Hour)
	if w.row.State != delivery.Soaking || w.row.Waiting.On != "incident" {
		t.Fatalf("%s on %+v", w.row.State, w.row.Waiting)
	}
	w.trouble("")
	w.forDur(5 * time.Minute)
	if w.row.State != delivery.Soaking {
		t.Fatalf("the incident counted as soaked: %s", w.row.Reason)
	}
	w.untilState(delivery.Done)
}

// A rollback is how incidents end; it is not kept waiting by one. Nor is a
// release that nobody has used yet.
func TestIncidentLetsCuresThrough(t *testing.T) {
	w := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(25)}), 4)
	w.row.Origin = delivery.OriginRollback
	w.judge(delivery.Inconclusive)
	w.trouble("both fail")
	w.untilState(delivery.Done)

	fix := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Proven: true}), 4)
	fix.judge(delivery.Inconclusive)
	fix.trouble("stable fails")
	fix.untilState(delivery.Judging)
	if weight(fix.force, v2) != delivery.Percent(25) {
		t.Fatalf("the fix has %+v", fix.force)
	}
}

// What cannot be compared is never proven, whatever the figures say, and says so.
func TestIncomparableNeverPasses(t *testing.T) {
	s := canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Proven: true, Max: time.Hour})
	s.OnSilence = delivery.SilencePromotes
	for _, o := range []delivery.Outcome{delivery.Pass, delivery.NoData, delivery.Broken} {
		w := worldOf(t, s, 4)
		w.judge(o)
		w.facts.Verdict.Invalid = "the keys are not drawn as they should be"
		w.untilState(delivery.Judging)
		w.pass()
		if w.row.Waiting.On != "comparison" || !strings.Contains(w.row.Waiting.What, "not drawn") {
			t.Fatalf("%s waits on %+v", o, w.row.Waiting)
		}
		w.untilState(delivery.Waiting)
		w.forDur(24 * time.Hour)
		if w.row.State != delivery.Waiting {
			t.Fatalf("%s: %s, %s", o, w.row.State, w.row.Reason)
		}
	}
}

// A twin runs beside the canary at every step that is judged, and is gone at the end.
func TestTwin(t *testing.T) {
	s := canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Minute}, delivery.StepSpec{Weight: delivery.Percent(50), Hold: time.Minute}, delivery.StepSpec{Weight: delivery.Full})
	s.Twin, s.Window = true, time.Hour
	s.Judge.Metrics = []delivery.Metric{{Name: "threads", Kind: delivery.KindLevel, From: delivery.FromService, Value: "threads", Role: delivery.Required}}
	w := worldOf(t, s, 4)
	if m := w.row.Plan.Judge.Metrics; !w.row.Plan.Twin || len(m) != 1 || m[0].Role != delivery.Required {
		t.Fatalf("plan %+v", w.row.Plan)
	}
	for step, twin := range []int{1, 2, 0} {
		w.untilStep(delivery.Judging, step)
		w.pass()
		if w.wants[v1] != 4+twin || w.wants[v2] != max(twin, 1) && twin > 0 {
			t.Fatalf("step %d wants %v", step, w.wants)
		}
	}
	w.untilState(delivery.Done)
	if w.wants[v1] != 4 {
		t.Fatalf("kept warm: %v", w.wants)
	}
	back := worldOf(t, s, 4)
	back.untilStep(delivery.Judging, 1)
	back.judge(delivery.Fail)
	back.untilState(delivery.Reverted)
	if back.wants[v1] != 4 || back.wants[v2] != 0 {
		t.Fatalf("after going back: %v", back.wants)
	}
	s.Twin = false
	if m := rollout.PlanFor(rollout.Course{Strategy: s, Replicas: 4, From: v1, To: v2, Builtin: delivery.BuiltinMetrics(nil)}).Judge.Metrics; len(m) != 4 || m[1].Role != delivery.Watch || m[3].Role != delivery.Watch {
		t.Fatalf("levels without a twin: %+v", m)
	}
	s.Judge.Off = true
	if p := rollout.PlanFor(rollout.Course{Strategy: s, Replicas: 4, From: v1, To: v2, Builtin: delivery.BuiltinMetrics(nil)}); p.Judge.Metrics != nil || p.Twin {
		t.Fatalf("judged by %+v though the judge is off", p.Judge.Metrics)
	}
}
