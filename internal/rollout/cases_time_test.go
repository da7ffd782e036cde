package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
)

func TestCase43_WaitingForPeopleDoesNotCount(t *testing.T) {
	w := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Minute, Approve: true}), 4)
	w.new().starts = false
	w.untilState(delivery.Starting)
	w.forDur(2 * time.Minute)
	w.ask(delivery.AskPause)
	w.forDur(3 * time.Hour)
	if w.row.State != delivery.Starting || w.row.Waiting.On != "pause" {
		t.Fatalf("paused, and %s on %+v", w.row.State, w.row.Waiting)
	}
	w.ask(delivery.AskResume)
	w.forDur(2 * time.Minute) // four of five minutes counted
	if w.row.State != delivery.Starting {
		t.Fatalf("the pause counted: %s %s", w.row.State, w.row.Reason)
	}
	w.new().revive()
	w.untilState(delivery.Judging)
	shifted := w.row.Shifted
	w.forDur(30 * time.Second)
	w.ask(delivery.AskPause)
	w.forDur(time.Hour)
	w.ask(delivery.AskResume)
	w.pass()
	if w.row.State != delivery.Judging || w.row.Waiting.On != "hold" || !w.row.Shifted.Equal(shifted) {
		t.Fatalf("the pause counted as hold: %s on %+v", w.row.State, w.row.Waiting)
	}
	w.untilState(delivery.Waiting)
	w.forDur(24 * time.Hour)
	if w.row.State != delivery.Waiting {
		t.Fatalf("the approval ran out: %s %s", w.row.State, w.row.Reason)
	}
	w.new().crash() // a long wait is no reason to give up at the first blip
	w.forDur(time.Minute)
	w.ask(delivery.AskApprove)
	w.untilState(delivery.Soaking)
	w.ask(delivery.AskPause)
	w.forDur(time.Hour)
	if w.row.State != delivery.Soaking {
		t.Fatalf("soaked while paused: %s", w.row.State)
	}
	w.ask(delivery.AskResume)
	w.untilState(delivery.Done)
}

func TestCase44_StoppingTheOldDoesNotCount(t *testing.T) {
	w := worldOf(t, delivery.Strategy{Kind: delivery.Recreate, Deadline: time.Minute}, 2)
	w.untilState(delivery.Starting)
	w.pass()
	w.tick(10 * time.Second)
	w.pass() // the old ones are told to stop
	for i := range w.old().all {
		w.old().all[i].stop = 30 // and drain for five minutes
	}
	w.forDur(4 * time.Minute)
	if w.row.State != delivery.Starting || !strings.Contains(w.row.Waiting.What, "stopping v1") || w.wants[v2] != 0 {
		t.Fatalf("%s on %+v, wants %v", w.row.State, w.row.Waiting, w.wants)
	}
	w.untilState(delivery.Done)
}

func TestCase45_DeadlineFiresForTheSecondBrokenOneToo(t *testing.T) {
	for range 2 {
		w := canaryWorld(t)
		w.new().starts = false
		w.untilState(delivery.Reverted)
		if w.row.Cause.Kind != delivery.CauseProgress || w.now.Sub(noon) > 8*time.Minute {
			t.Fatalf("%+v after %s", w.row.Cause, w.now.Sub(noon))
		}
	}
}

func TestCase46_FlappingIsNoProgress(t *testing.T) {
	w := canaryWorld(t)
	w.new().slow = 0
	w.untilStep(delivery.Judging, 0)
	w.until("reverted", func() bool {
		w.new().hit(func(i *instance) {
			if i.ready() {
				i.flap = 3
			}
		})
		w.tick(10 * time.Second)
		w.pass()
		return w.row.State == delivery.Reverted
	})
	if w.row.Cause.Kind != delivery.CauseProgress || w.row.Step != 0 {
		t.Fatalf("flapped to %d and %+v", w.row.Step, w.row.Cause)
	}
	crash := canaryWorld(t)
	crash.untilState(delivery.Starting)
	crash.until("reverted", func() bool {
		crash.new().crash()
		return crash.row.State == delivery.Reverted
	})
	if crash.row.Cause.Kind != delivery.CauseProgress || !strings.Contains(crash.row.Cause.Text, "times during its rollout") {
		t.Fatalf("%+v", crash.row.Cause)
	}
}

func TestCase47_DeadlineStartsAfreshAtPromotion(t *testing.T) {
	w := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Hour}), 4)
	w.untilState(delivery.Finishing) // an hour after the last progress, three more instances are asked for
	w.untilState(delivery.Done)
	blip := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Hour}), 4)
	blip.untilState(delivery.Judging)
	blip.forDur(40 * time.Minute)
	blip.new().crash() // long after the deadline of the start
	blip.untilState(delivery.Done)
}

func TestCase48_AFixGoesOutThoughTheStableIsBroken(t *testing.T) {
	for _, s := range []delivery.Strategy{
		canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Proven: true}, delivery.StepSpec{Weight: delivery.Percent(50), Proven: true}),
		{Kind: delivery.BlueGreen},
		rollingOf(1, 0), rollingOf(0, 1),
		{Kind: delivery.Recreate},
	} {
		w := worldOf(t, s, 2)
		w.old().kill()
		w.untilState(delivery.Done)
	}
}

func TestCase49_NoCanaryOrLateCapacityStillGoesOn(t *testing.T) {
	plain := worldOf(t, canarySteps(), 4)
	plain.untilState(delivery.Done)
	late := canaryWorld(t)
	late.untilStep(delivery.Judging, 0)
	late.new().slow = 20 // 200 s to come up for the second step
	late.untilState(delivery.Done)
}

func TestCase50_UnstartableFailsWithinItsDeadline(t *testing.T) {
	for _, s := range []delivery.StrategyKind{delivery.Canary, delivery.BlueGreen, delivery.Rolling, delivery.Recreate} {
		strategy := canarySteps(delivery.StepSpec{Weight: delivery.Percent(25)})
		strategy.Kind = s
		w := worldOf(t, strategy, 3)
		w.new().starts = false
		w.untilState(delivery.Reverting)
		if got := w.now.Sub(noon); got > 7*time.Minute {
			t.Errorf("%s gave up after %s", s, got)
		}
		w.untilState(delivery.Reverted)
		w.tornDown()
	}
}

func TestCase51_UnverifiedWeightEndsNothing(t *testing.T) {
	w := worldOf(t, rollingOf(1, 0), 2)
	w.untilStep(delivery.Shifting, 0)
	w.deaf = true
	w.forDur(time.Hour)
	if w.row.State != delivery.Shifting || w.wants[v1] != 2 || w.row.Waiting.On != "data plane" {
		t.Fatalf("%s, wants %v, on %+v", w.row.State, w.wants, w.row.Waiting)
	}
	w.deaf = false
	w.untilState(delivery.Soaking)
	soak := canaryWorld(t)
	soak.untilState(delivery.Soaking)
	soak.restartPlane()
	soak.deaf = true
	soak.forDur(time.Hour)
	if soak.row.State != delivery.Soaking || soak.wants[v1] != 4 {
		t.Fatalf("%s, wants %v", soak.row.State, soak.wants)
	}
	soak.deaf = false
	soak.untilState(delivery.Done)
}

func TestCase52_NoWeightOnAnEmptyPool(t *testing.T) {
	for _, s := range []delivery.Strategy{
		canarySteps(delivery.StepSpec{Weight: delivery.Percent(25)}, delivery.StepSpec{Weight: delivery.Full}),
		{Kind: delivery.BlueGreen},
		rollingOf(1, 0), rollingOf(0, 1), rollingOf(0, 3), rollingOf(1, 1), rollingOf(0, 4),
		{Kind: delivery.Recreate},
	} {
		for abortAt := range 60 {
			w := worldOf(t, s, 4)
			for i := 0; !w.row.State.Final(); i++ {
				if i == abortAt {
					w.ask(delivery.AskAbort)
				}
				if i == abortAt/2 && abortAt%2 == 1 {
					w.new().kill()
				}
				w.tick(10 * time.Second)
				w.pass()
				w.reachable()
				if i > 400 {
					t.Fatalf("%s aborted at %d does not end: %s", s.Kind, abortAt, w.row.State)
				}
			}
		}
	}
}

// reachable fails when the data plane sends requests to a pool that was emptied
// on purpose.
func (w *world) reachable() {
	w.t.Helper()
	for _, s := range w.force {
		if s.Weight > 0 && w.applied[s.Release] == 0 {
			w.t.Fatalf("%s has %v and no instance is wanted (%s)", s.Release, s.Weight, w.row.State)
		}
	}
}

func TestCase53_LastStepDoesNotFlap(t *testing.T) {
	for _, s := range []delivery.Strategy{
		canarySteps(delivery.StepSpec{Weight: delivery.Percent(50)}, delivery.StepSpec{Weight: delivery.Full, Hold: time.Minute}),
		{Kind: delivery.BlueGreen, Soak: time.Minute},
		rollingOf(1, 1),
		{Kind: delivery.Recreate},
	} {
		w := worldOf(t, s, 3)
		full := false
		w.until("done", func() bool {
			now := weight(w.desired, v2) == delivery.Full
			if full && !now {
				t.Fatalf("%s falls back to %+v in %s", s.Kind, w.desired, w.row.State)
			}
			full = full || now
			return w.row.State == delivery.Done
		})
		w.forDur(time.Minute)
		w.serves(delivery.Full)
	}
}

func TestCase56_RestartDuringScaleDown(t *testing.T) {
	for _, limits := range [][2]int{{1, 0}, {0, 1}, {1, 1}, {2, 0}} {
		w := worldOf(t, rollingOf(limits[0], limits[1]), 4)
		hurt, old := false, 4
		w.until("done", func() bool {
			if w.row.State == delivery.Judging && w.row.Step == 1 && !hurt {
				w.new().crash()
				hurt = true
			}
			if w.wants[v1] > old {
				t.Fatalf("the old release grows from %d to %d", old, w.wants[v1])
			}
			old = w.wants[v1]
			if got := w.wants[v1] + w.wants[v2]; got < 4-limits[1] {
				t.Fatalf("surge %d, unavailable %d: wants %v", limits[0], limits[1], w.wants)
			}
			if have := w.arm(v1).Healthy + w.arm(v2).Healthy; have < 4-limits[1]-1 {
				t.Fatalf("surge %d, unavailable %d, one crash: %d serve", limits[0], limits[1], have)
			}
			return w.row.State == delivery.Done
		})
	}
}

func TestCase60_NoDataIsNoSuccess(t *testing.T) {
	step := delivery.StepSpec{Weight: delivery.Percent(25), Proven: true}
	w := worldOf(t, canarySteps(step), 4)
	w.untilState(delivery.Judging)
	w.forDur(24 * time.Hour)
	if w.row.State != delivery.Judging || w.row.Waiting.On != "not enough data" {
		t.Fatalf("%s on %+v", w.row.State, w.row.Waiting)
	}
	w.judge(delivery.NoData)
	w.forDur(time.Hour)
	if w.row.State != delivery.Judging {
		t.Fatalf("promoted on silence: %s", w.row.Reason)
	}
	loud := canarySteps(step)
	loud.OnSilence = delivery.SilencePromotes
	said := worldOf(t, loud, 4)
	said.untilState(delivery.Done)
	if lines := strings.Join(said.lines, "\n"); !strings.Contains(lines, "promotes on silence") {
		t.Fatalf("does not say that it promoted on silence:\n%s", lines)
	}
}

func TestCase61_ErrorAndInconclusiveBlock(t *testing.T) {
	for _, o := range []delivery.Outcome{delivery.Broken, delivery.Inconclusive} {
		for _, silence := range []delivery.Silence{delivery.SilenceWaits, delivery.SilencePromotes} {
			s := canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Proven: true, Max: 10 * time.Minute})
			s.OnSilence = silence
			w := worldOf(t, s, 4)
			w.judge(o)
			w.untilState(delivery.Waiting)
			w.forDur(24 * time.Hour)
			if w.row.State != delivery.Waiting || w.row.Waiting.On != "decision" || !strings.Contains(w.row.Waiting.What, string(o)) {
				t.Fatalf("%s: %s on %+v", o, w.row.State, w.row.Waiting)
			}
			w.judge(delivery.Pass)
			w.untilState(delivery.Done)
		}
	}
}

func TestCase62_NotProvenWhenInstancesDropOut(t *testing.T) {
	w := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(50), Hold: 2 * time.Minute, Proven: true}), 4)
	w.untilState(delivery.Judging)
	w.forDur(time.Minute)
	w.new().slow = 6
	w.new().crash()
	w.judge(delivery.Pass)
	w.tick(10 * time.Second)
	if w.pass(); w.row.State != delivery.Shifting || w.row.Step != 0 || weight(w.desired, v2) != delivery.Percent(25) {
		t.Fatalf("%s/%d with %+v", w.row.State, w.row.Step, w.desired)
	}
	w.untilState(delivery.Judging)
	if w.row.Waiting != nil && w.row.Waiting.On != "hold" || w.spent >= 2*time.Minute {
		t.Fatalf("judged for %s, on %+v", w.spent, w.row.Waiting)
	}
	var judged time.Duration
	w.until("the end of the step", func() bool { // check: not before the whole hold
		judged = max(judged, w.spent)
		return w.row.State == delivery.Finishing
	})
	if judged > 150*time.Second {
		t.Fatalf("judged for %s: the hold began afresh", judged)
	}
	if w.row.Verdict == nil || w.row.Verdict.Outcome != delivery.Pass {
		t.Fatalf("left on %+v", w.row.Verdict)
	}
}

func TestRollingPromoteGoesBatchByBatch(t *testing.T) {
	s := rollingOf(1, 0)
	s.Steps = []delivery.StepSpec{{Hold: time.Hour}}
	w := worldOf(t, s, 4)
	w.untilStep(delivery.Judging, 0)
	at := w.now
	w.ask(delivery.AskPromote)
	w.untilState(delivery.Done) // check: never more than replicas and surge
	if took := w.now.Sub(at); took > 20*time.Minute {
		t.Fatalf("took %s", took)
	}
}

func TestPauseFreezesTheWeight(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Shifting, 1)
	w.ask(delivery.AskPause)
	w.forDur(time.Hour)
	w.serves(delivery.Percent(25))
	w.new().crash() // it still shrinks with its capacity
	w.forDur(time.Minute)
	w.ask(delivery.AskResume)
	w.untilState(delivery.Done)
}

// A pause does not leave a service empty that was emptied for the new release,
// and it does not begin to empty one.
func TestPauseAndRecreate(t *testing.T) {
	w := worldOf(t, delivery.Strategy{Kind: delivery.Recreate}, 2)
	w.untilState(delivery.Preparing)
	w.ask(delivery.AskPause)
	w.forDur(time.Hour)
	w.serves(0)
	w.ask(delivery.AskResume)
	w.until("empty", func() bool { return w.row.State == delivery.Starting && len(w.old().all) == 0 })
	w.ask(delivery.AskPause)
	w.forDur(5 * time.Minute)
	w.serves(delivery.Full)
	if w.row.State == delivery.Done || w.row.Paused == nil {
		t.Fatalf("forgot the pause: %s", w.row.State)
	}
}

func TestPromoteEndsAPause(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Shifting, 1)
	w.ask(delivery.AskPause)
	w.forDur(time.Minute)
	w.ask(delivery.AskPromote)
	w.untilState(delivery.Done)
}

// An approval that was given while the judge was still at work does not answer
// the question that comes when the judge could not tell.
func TestEarlyApprovalIsNoDecision(t *testing.T) {
	w := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Proven: true, Approve: true, Max: 10 * time.Minute}), 4)
	w.judge(delivery.Inconclusive)
	w.untilState(delivery.Judging)
	w.ask(delivery.AskApprove)
	w.forDur(time.Hour)
	if w.row.State != delivery.Waiting || w.row.Waiting.On != "decision" {
		t.Fatalf("%s on %+v", w.row.State, w.row.Waiting)
	}
	w.ask(delivery.AskApprove)
	w.untilState(delivery.Done)
}

// Starting brings instances up and gives them nothing; a data plane that does
// not answer is asked for nothing new, whatever was last known of health.
func TestWeightsThatAreNotAskedFor(t *testing.T) {
	r, f := at(delivery.Starting, 0)
	f.New.Ready = 0
	if m := rollout.Next(r, f); weight(m.Split, v2) != 0 {
		t.Errorf("starting asks for %+v", m.Split)
	}
	r, f = at(delivery.Shifting, 0)
	f.Route.Known = false
	if m := rollout.Next(r, f); weight(m.Split, v2) != 0 {
		t.Errorf("blind asks for %+v", m.Split)
	}
}

// A revert waits for the rejected instances to be gone, however long the
// rollout was at its step before.
func TestRevertWaitsForInstancesToGo(t *testing.T) {
	w := worldOf(t, canarySteps(delivery.StepSpec{Weight: delivery.Percent(25), Hold: 5 * time.Hour}), 4)
	w.untilState(delivery.Judging)
	w.forDur(time.Hour)
	w.ask(delivery.AskAbort)
	w.untilState(delivery.Reverted)
	if n := w.arm(v2).Running; n != 0 {
		t.Fatalf("reverted while %d of v2 run", n)
	}
}

// The verdict that sent a rollout back is the one that stays.
func TestRevertKeepsItsVerdict(t *testing.T) {
	w := canaryWorld(t)
	w.untilStep(delivery.Judging, 0)
	w.judge(delivery.Fail)
	w.pass()
	w.judge(delivery.NoData)
	w.untilState(delivery.Reverted)
	if w.row.Verdict == nil || w.row.Verdict.Outcome != delivery.Fail {
		t.Fatalf("kept %+v", w.row.Verdict)
	}
}

// A pause before a revert does not put off its end.
func TestRevertDoesNotCountEarlierPauses(t *testing.T) {
	w := worldOf(t, delivery.Strategy{Kind: delivery.Recreate, Deadline: 2 * time.Minute, Soak: time.Hour}, 2)
	w.untilState(delivery.Soaking)
	w.ask(delivery.AskPause)
	w.forDur(5 * time.Hour)
	w.old().starts = false
	w.ask(delivery.AskAbort)
	at := w.now
	w.untilState(delivery.RevertFailed)
	if took := w.now.Sub(at); took > 2*time.Minute+rollout.RevertLimit {
		t.Fatalf("took %s", took)
	}
}

// The stable release comes up only in part: after its time it gets everything.
func TestRevertEndsWithAPartlyHealthyStable(t *testing.T) {
	w := worldOf(t, rollingOf(1, 0), 4)
	w.untilStep(delivery.Judging, 2)
	w.old().starts = false // one of four is left
	w.ask(delivery.AskAbort)
	w.untilState(delivery.Reverted)
	w.serves(0)
	if w.wants[v2] != 0 {
		t.Fatalf("wants %v", w.wants)
	}
}

// What let a release through is what is remembered of it, not that there was
// nothing left to compare once everybody had it.
func TestDoneKeepsTheVerdictThatLetItPass(t *testing.T) {
	w := canaryWorld(t)
	w.judge(delivery.Pass)
	w.untilState(delivery.Finishing)
	w.judge(delivery.Inconclusive)
	w.untilState(delivery.Done)
	if w.row.Verdict == nil || w.row.Verdict.Outcome != delivery.Pass {
		t.Fatalf("kept %+v, want the pass", w.row.Verdict)
	}
}

func TestAFailureAfterThePassReplacesIt(t *testing.T) {
	w := canaryWorld(t)
	w.judge(delivery.Pass)
	w.untilState(delivery.Soaking)
	w.judge(delivery.Fail)
	w.untilState(delivery.Reverted)
	if w.row.Verdict == nil || w.row.Verdict.Outcome != delivery.Fail {
		t.Fatalf("kept %+v, want the failure", w.row.Verdict)
	}
}
