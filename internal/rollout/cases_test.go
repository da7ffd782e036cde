package rollout_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
)

// canaryWorld has four instances and the steps 25 % and 50 %, a minute each,
// then a minute of soak.
func canaryWorld(t *testing.T) *world {
	return newWorld(t, setting{old: 4, course: rollout.Course{
		Replicas: 4, Old: 4, Kind: delivery.Code, From: v1, To: v2,
		Strategy: canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Minute}, delivery.StepSpec{Weight: delivery.Percent(50), Hold: time.Minute}),
	}})
}

func worldOf(t *testing.T, s delivery.Strategy, replicas int) *world {
	return newWorld(t, setting{old: replicas, course: rollout.Course{Replicas: replicas, Old: replicas, Kind: delivery.Code, From: v1, To: v2, Strategy: s}})
}

func (w *world) newer() { w.facts.Newer = &rollout.Newer{ID: "8/prod", Change: 8, Version: "v3"} }

// serves fails unless exactly this split is in force.
func (w *world) serves(to delivery.Weight) {
	w.t.Helper()
	if got := weight(w.force, w.row.To); got != to || weight(w.force, w.row.From) != delivery.Full-to {
		w.t.Fatalf("in force is %+v, want %v for %s", w.force, to, w.row.Version)
	}
}

func (w *world) tornDown() {
	w.t.Helper()
	w.serves(0)
	if w.wants[w.row.To] != 0 || w.stable != w.row.From || w.wants[w.row.From] != w.row.Plan.Old {
		w.t.Fatalf("wanted are %v, stable is %s", w.wants, w.stable)
	}
}

func TestCase01_NewerTakesOverMidRollout(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Judging, 1)
	w.newer()
	w.pass()
	if got := weight(w.desired, v2); got != 0 {
		t.Fatalf("v2 keeps %v after v3 came", got)
	}
	w.untilState(delivery.Superseded)
	w.tornDown()
	if len(w.holds) != 0 {
		t.Fatalf("superseded by a newer one left %+v", w.holds)
	}
	next := canaryWorld(t) // v3, with v1 still the baseline
	next.untilStep(delivery.Judging, 0)
}

func TestCase02_NewerComesBeforeReady(t *testing.T) {
	w := canaryWorld(t)
	w.new().starts = false
	w.untilState(delivery.Starting)
	w.forDur(30 * time.Second)
	w.newer()
	w.untilState(delivery.Superseded)
	w.tornDown()
}

func TestCase03_BackToTheSameRelease(t *testing.T) {
	w := newWorld(t, setting{old: 4, course: rollout.Course{Replicas: 4, Old: 4, From: v1, To: v1, Strategy: canarySteps(delivery.StepSpec{Weight: 100, Approve: true})}})
	w.untilState(delivery.Done)
	if got := w.now.Sub(noon); got > time.Minute {
		t.Fatalf("no steps took %s", got)
	}
	if w.last.Stable != nil {
		t.Fatalf("the pointer moves to %+v, which would forget what a rollback goes to", w.last.Stable)
	}
}

func TestCase04_WarmRollbackIsFast(t *testing.T) {
	s := canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Hour, Proven: true})
	warm := newWorld(t, setting{old: 4, course: rollout.Course{Replicas: 4, Old: 4, From: v1, To: v2, Strategy: s, Back: true, Warm: true}})
	warm.untilState(delivery.Done)
	if got := warm.now.Sub(noon); got > time.Minute {
		t.Fatalf("a warm rollback took %s", got)
	}
	cold := newWorld(t, setting{old: 4, course: rollout.Course{Replicas: 4, Old: 4, From: v1, To: v2, Strategy: s, Back: true}})
	cold.forDur(30 * time.Minute)
	if cold.row.State != delivery.Judging || cold.row.Step != 0 {
		t.Fatalf("a cold rollback skipped its plan: %s/%d", cold.row.State, cold.row.Step)
	}
}

func TestCase08_ReplicasAndVersionChangeTogether(t *testing.T) {
	for _, s := range []delivery.Strategy{
		canarySteps(delivery.StepSpec{Weight: delivery.Percent(50)}), rollingOf(1, 0), rollingOf(0, 1), {Kind: delivery.Recreate}, {Kind: delivery.BlueGreen},
	} {
		for _, n := range [][2]int{{2, 6}, {6, 2}, {1, 3}, {5, 1}} {
			w := newWorld(t, setting{old: n[0], course: rollout.Course{Replicas: n[1], Old: n[0], From: v1, To: v2, Strategy: s}})
			w.untilState(delivery.Done)
			if w.wants[v2] != n[1] {
				t.Errorf("%s from %d to %d wants %v", s.Kind, n[0], n[1], w.wants)
			}
			back := newWorld(t, setting{old: n[0], course: rollout.Course{Replicas: n[1], Old: n[0], From: v1, To: v2, Strategy: s}})
			back.untilState(delivery.Finishing)
			back.ask(delivery.AskAbort)
			back.untilState(delivery.Reverted)
			back.tornDown()
		}
	}
}

func TestCase09_NewerComesWhilePausedOrAtAGate(t *testing.T) {
	gate := canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Approve: true})
	w := worldOf(t, gate, 4)
	w.untilState(delivery.Waiting)
	w.newer()
	w.untilState(delivery.Superseded)
	w.tornDown()
	paused := canaryWorld(t)
	paused.untilStep(delivery.Judging, 0)
	paused.ask(delivery.AskPause)
	paused.pass()
	paused.newer()
	paused.untilState(delivery.Superseded)
	next := worldOf(t, gate, 4) // an approval of v2 is not one of v3
	next.untilState(delivery.Waiting)
	next.forDur(time.Hour)
	if next.row.State != delivery.Waiting || next.row.Waiting.On != "approval" {
		t.Fatalf("v3 is at %s", next.row.State)
	}
}

func TestCase12_FirstReleaseGoesStraightToFull(t *testing.T) {
	s := canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Hour})
	w := newWorld(t, setting{course: rollout.Course{Replicas: 3, To: v2, Strategy: s}})
	w.untilState(delivery.Done)
	if weight(w.force, v2) != delivery.Full || w.preview != "" || w.stable != v2 || w.row.Plan.Steps != nil {
		t.Fatalf("in force %+v, stable %q", w.force, w.stable)
	}
	lost := newWorld(t, setting{course: rollout.Course{Replicas: 3, To: v2, Strategy: s}})
	lost.untilState(delivery.Soaking)
	lost.new().crash() // check: the split still adds up
	lost.untilState(delivery.Done)
}

func TestCase13_AbortOfWhatIsOver(t *testing.T) {
	w := canaryWorld(t)
	w.untilState(delivery.Done)
	wants, split, stable := w.wants[v2], w.desired, w.stable
	w.ask(delivery.AskAbort)
	w.forDur(time.Minute)
	if w.row.State != delivery.Done || w.wants[v2] != wants || !reflect.DeepEqual(w.desired, split) || w.stable != stable {
		t.Fatalf("abort with nothing under way: %s, %v, %+v", w.row.State, w.wants, w.desired)
	}
}

func TestCase14_AbortOfPromotedDoesNotSpin(t *testing.T) {
	w := canaryWorld(t)
	w.untilState(delivery.Done)
	lines := len(w.lines)
	w.ask(delivery.AskAbort)
	for range 100 {
		if m := w.pass(); !m.Wake.IsZero() {
			t.Fatalf("wakes again at %s", m.Wake)
		}
	}
	if len(w.lines) != lines {
		t.Fatalf("writes %v", w.lines[lines:])
	}
}

func TestCase15_AbortTwice(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Judging, 0)
	w.ask(delivery.AskAbort)
	w.pass()
	cause, since := w.row.Cause, w.row.Reverted
	w.tick(10 * time.Second)
	w.ask(delivery.AskAbort)
	w.untilState(delivery.Reverted)
	w.ask(delivery.AskAbort)
	w.forDur(time.Minute)
	if w.row.Cause != cause || !w.row.Reverted.Equal(since) || len(w.holds) != 1 {
		t.Fatalf("the second abort changed %+v at %s, holds %d", w.row.Cause, w.row.Reverted, len(w.holds))
	}
}

func TestCase17_RetryStartsAfresh(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Judging, 1)
	w.judge(delivery.Fail)
	w.untilState(delivery.Reverted)
	retry := canaryWorld(t)
	retry.row.ID = "7/prod.2"
	retry.untilState(delivery.Judging)
	if retry.row.Step != 0 || retry.row.Verdict != nil || retry.row.Approved != 0 {
		t.Fatalf("a retry begins at %d with %+v", retry.row.Step, retry.row.Verdict)
	}
}

func TestCase18_TrafficComesBackAsTheStableCanCarryIt(t *testing.T) {
	w := worldOf(t, rollingOf(1, 0), 4)
	w.untilStep(delivery.Judging, 2)
	w.old().slow = 3
	w.ask(delivery.AskAbort)
	w.pass()
	before := weight(w.desired, v2)
	if before == 0 {
		t.Fatalf("one old instance got all the traffic of four")
	}
	var took []delivery.Weight
	w.until("reverted", func() bool {
		if now := weight(w.desired, v2); now != before {
			took, before = append(took, now), now
		}
		if n := w.arm(v1).Healthy; weight(w.desired, v1) > rollout.Carry(n, 4)+1 {
			t.Fatalf("%d healthy old instances get %v", n, weight(w.desired, v1))
		}
		return w.row.State == delivery.Reverted
	})
	w.tornDown()
}

func TestCase19_AbortWhenTheCanaryIsDead(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Judging, 1)
	w.new().kill()
	w.ask(delivery.AskAbort)
	w.untilState(delivery.Reverted)
	w.tornDown()
}

func TestCase21_RejectedIsNotScaledUpAgain(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Judging, 1)
	most := w.wants[v2]
	w.ask(delivery.AskAbort)
	w.until("reverted", func() bool {
		if w.wants[v2] > most {
			t.Fatalf("wants %d of the rejected release, after %d", w.wants[v2], most)
		}
		return w.row.State == delivery.Reverted
	})
	w.new().crash()
	w.facts.Busy, w.facts.Newer = "9/prod", &rollout.Newer{ID: "9/prod"}
	w.forDur(10 * time.Minute)
	w.tornDown()
}

func TestCase22_RollbackTargetIsTheSameOrBad(t *testing.T) {
	same := newWorld(t, setting{old: 2, course: rollout.Course{Replicas: 2, Old: 2, From: v1, To: v1, Back: true, Strategy: canarySteps()}})
	same.old().kill()
	same.untilState(delivery.Reverted)
	if len(same.holds) != 0 || same.stable != v1 || weight(same.desired, v1) != delivery.Full || same.wants[v1] != 2 {
		t.Fatalf("holds %+v, stable %s, %+v", same.holds, same.stable, same.desired)
	}
	bad := newWorld(t, setting{old: 2, course: rollout.Course{Replicas: 2, Old: 2, From: v1, To: v2, Back: true, Strategy: canarySteps(delivery.StepSpec{Weight: delivery.Percent(50)})}})
	bad.facts.Hold = &delivery.Hold{Kind: delivery.Quarantine, Service: "shop", Release: v2, Version: "v2", Why: "errors"}
	bad.untilState(delivery.Cancelled)
	failing := newWorld(t, setting{old: 2, course: rollout.Course{Replicas: 2, Old: 2, From: v1, To: v2, Back: true, Strategy: canarySteps(delivery.StepSpec{Weight: delivery.Percent(50)})}})
	failing.untilState(delivery.Judging)
	failing.judge(delivery.Fail)
	failing.untilState(delivery.Reverted) // to where it was, and no further
	failing.tornDown()
}

func TestCase23_NoRollbackTarget(t *testing.T) {
	w := newWorld(t, setting{course: rollout.Course{Replicas: 2, To: v2, Strategy: canarySteps()}})
	w.untilState(delivery.Finishing)
	w.judge(delivery.Fail)
	w.untilState(delivery.Reverted)
	if !strings.Contains(w.row.Reason, "no rollback target") || len(w.holds) != 1 || w.stable != "" || w.wants[v2] != 0 {
		t.Fatalf("%q, holds %+v, stable %q", w.row.Reason, w.holds, w.stable)
	}
}

func TestCase25_FailureAfterTheEndChangesNothing(t *testing.T) {
	w := canaryWorld(t)
	w.untilState(delivery.Done)
	w.tick(20 * time.Minute)
	before := w.row
	if m := rollout.Next(w.row, func() rollout.Facts { w.judge(delivery.Fail); return w.see() }()); !reflect.DeepEqual(m, rollout.Move{Rollout: before}) {
		t.Fatalf("an old failure moved %+v", m)
	}
}

func TestCase26_RollbackWaitsForWhatRuns(t *testing.T) {
	running := canaryWorld(t)
	running.untilStep(delivery.Judging, 0)
	back := newWorld(t, setting{old: 4, course: rollout.Course{Replicas: 4, Old: 4, From: v1, To: v2, Back: true, Warm: true, Strategy: canarySteps()}})
	back.facts.Busy = string(running.row.ID)
	running.newer()
	running.until("over", func() bool {
		back.forDur(10 * time.Second)
		if back.row.State != delivery.Queued || back.row.Waiting.On != "slot" {
			t.Fatalf("the rollback is %s while the other one is %s", back.row.State, running.row.State)
		}
		return running.row.State.Final()
	})
	back.facts.Busy = ""
	back.untilState(delivery.Done)
}

func TestCase29_FailureBeforeAnyTraffic(t *testing.T) {
	w := canaryWorld(t)
	w.new().starts = false
	w.until("reverted", func() bool {
		if weight(w.desired, v2) > 0 {
			t.Fatal("it got traffic")
		}
		return w.row.State == delivery.Reverted
	})
	w.tornDown()
	if w.row.Cause.Kind != delivery.CauseProgress || !w.row.Exposed.IsZero() {
		t.Fatalf("cause %+v, exposed %s", w.row.Cause, w.row.Exposed)
	}
	rolling := worldOf(t, rollingOf(0, 2), 4) // its first step takes two old instances away
	rolling.new().starts = false
	rolling.untilState(delivery.Reverted)
	rolling.tornDown()
}

func TestCase30_RestartWhileReverting(t *testing.T) {
	w := worldOf(t, rollingOf(1, 0), 4)
	w.untilStep(delivery.Judging, 2)
	w.ask(delivery.AskAbort)
	w.until("reverted", func() bool {
		w.reload()
		w.turn("dies before write")
		return w.row.State == delivery.Reverted
	})
	w.tornDown()
	if len(w.holds) != 1 {
		t.Fatalf("%d holds", len(w.holds))
	}
}

func TestCase31_FailureDuringPromotionKeepsServing(t *testing.T) {
	w := worldOf(t, delivery.Strategy{Kind: delivery.Recreate, Deadline: 2 * time.Minute, Soak: time.Minute}, 2)
	w.untilState(delivery.Soaking)
	w.old().starts = false
	w.judge(delivery.Fail)
	w.untilState(delivery.RevertFailed)
	w.forDur(time.Minute)
	if w.serves(delivery.Full); w.wants[v2] != 2 {
		t.Fatalf("nothing of v1 comes up, and of v2 %d are left", w.wants[v2])
	}
}

func TestCase34_StaleReadDoesNotPauseAgain(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Judging, 0)
	w.ask(delivery.AskPause)
	w.pass()
	w.ask(delivery.AskResume)
	stale, gen := w.row, w.row.Gen // still paused, as one decider read it
	f := w.see()
	w.pass()
	if w.row.Paused != nil || w.row.Gen == gen {
		t.Fatalf("not resumed: %+v", w.row.Paused)
	}
	if m := rollout.Next(stale, f); m.Rollout.Gen == w.row.Gen {
		t.Fatal("what was decided on a stale read could be written")
	}
	w.turn("two deciders")
	w.untilState(delivery.Done)
}

func TestCase35_RedeliveredCommandOnFinal(t *testing.T) {
	w := canaryWorld(t)
	w.ask(delivery.AskAbort)
	w.untilState(delivery.Cancelled)
	for _, v := range []delivery.AskVerb{delivery.AskAbort, delivery.AskResume, delivery.AskApprove, delivery.AskPromote} {
		w.ask(v)
		w.pass()
	}
	if w.row.State != delivery.Cancelled || w.wants[v2] != 0 {
		t.Fatalf("%s, wants %v", w.row.State, w.wants)
	}
}

func TestCase36_TwoDecidersOneWrite(t *testing.T) {
	w := canaryWorld(t)
	for !w.row.State.Final() {
		w.tick(10 * time.Second)
		w.race()
	}
	if w.row.State != delivery.Done {
		t.Fatalf("ended %s", w.row.State)
	}
}
