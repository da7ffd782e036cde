package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
)

// at returns a rollout of four instances in the middle of state, a minute in,
// and facts in which nothing is amiss. Its plan: 25 % for a minute and until
// proven, at most 10 minutes; then 50 % and an approval.
func at(state delivery.State, step int) (delivery.Rollout, rollout.Facts) {
	s := canarySteps(
		delivery.StepSpec{Weight: delivery.Percent(25), Hold: time.Minute, Proven: true, Max: 10 * time.Minute},
		delivery.StepSpec{Weight: delivery.Percent(50), Approve: true},
	)
	r := delivery.Rollout{
		ID: "7/prod", Change: 7, Kind: delivery.Code, Service: "shop", Env: "prod", From: v1, To: v2, Version: "v2", Was: "v1",
		Plan:  rollout.PlanFor(rollout.Course{Strategy: s, Replicas: 4, Kind: delivery.Code, From: v1, To: v2}),
		State: state, Step: step, Reason: "it came here", Created: noon.Add(-time.Hour), Entered: noon.Add(-time.Minute), Started: noon.Add(-time.Hour),
		Progress: delivery.Progress{At: noon.Add(-time.Minute)},
	}
	f := rollout.Facts{
		Now: noon, Turn: true,
		Old: rollout.Arm{Want: 4, Running: 4, Ready: 4, Healthy: 4},
		New: rollout.Arm{Want: 4, Running: 4, Ready: 4, Healthy: 4},
	}
	var w delivery.Weight
	switch state {
	case delivery.Judging, delivery.Waiting:
		w, r.Shifted = r.Plan.Steps[step].Weight, noon.Add(-time.Minute)
	case delivery.Finishing:
		r.Step, w = 1, delivery.Percent(50)
	case delivery.Soaking:
		r.Step, w, r.Shifted, r.Exposed = 1, delivery.Full, noon.Add(-time.Minute), noon.Add(-time.Minute)
	case delivery.Reverting:
		r.Cause, r.Reverted = delivery.Cause{Kind: delivery.CauseVerdict, Text: "errors", By: "slipway", At: noon}, noon
		r.Progress = delivery.Progress{Ready: 4, At: noon}
	case delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Shifting: // no traffic yet
	case delivery.Done, delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled: // none any more
	}
	f.Route = routed(w)
	return r, f
}

func routed(w delivery.Weight) rollout.Route {
	split := []delivery.Share{{Release: v2, Weight: w}, {Release: v1, Weight: delivery.Full - w}}
	return rollout.Route{Known: true, Split: split, Desired: split}
}

func verdict(o delivery.Outcome) *delivery.Verdict {
	return &delivery.Verdict{Outcome: o, Sentence: "errors 2.1 % against 0.1 %"}
}

func ask(v delivery.AskVerb) *delivery.Ask { return &delivery.Ask{Verb: v, By: "ada", At: noon} }

type (
	row  = delivery.Rollout
	seen = rollout.Facts
)

func TestNext(t *testing.T) {
	const minute = time.Minute
	newer := &rollout.Newer{ID: "8/prod", Change: 8, Version: "v3"}
	pin := &delivery.Hold{Kind: delivery.Pinned, Service: "shop", Env: "prod", Why: "sale"}
	bad := &delivery.Hold{Kind: delivery.Quarantine, Service: "shop", Release: v2, Version: "v2", Why: "errors"}
	few := func(r *row, f *seen) { f.New.Healthy, f.New.Ready, f.New.Trouble = 0, 0, "exit status 1" }
	tests := []struct {
		name   string
		state  delivery.State
		step   int
		edit   func(*row, *seen)
		to     delivery.State
		toStep int
		on     string // what it waits for; "" when it moves
		says   string // in the reason, or in what it waits for and what lifts it
	}{
		{"its turn", delivery.Queued, 0, nil, delivery.Preparing, 0, "", "its turn: code change, strategy canary"},
		{"another runs", delivery.Queued, 0, func(_ *row, f *seen) { f.Busy = "6/prod" }, delivery.Queued, 0, "slot", "slipway abort 6/prod"},
		{"one before it", delivery.Queued, 0, func(_ *row, f *seen) { f.Turn = false }, delivery.Queued, 0, "slot", "an earlier change"},
		{"pinned", delivery.Queued, 0, func(_ *row, f *seen) { f.Hold = pin }, delivery.Queued, 0, "hold", "slipway release shop --env prod"},
		{"quarantined", delivery.Queued, 0, func(_ *row, f *seen) { f.Hold = bad }, delivery.Cancelled, 0, "", "quarantined: errors"},
		{"newer, replace", delivery.Queued, 0, func(_ *row, f *seen) { f.Newer = newer }, delivery.Superseded, 0, "", "change #8 (v3)"},
		{"newer, coalesce", delivery.Queued, 0, func(r *row, f *seen) { f.Newer, r.Plan.Supersede = newer, delivery.Coalesce }, delivery.Superseded, 0, "", "change #8"},
		{"newer, queue", delivery.Queued, 0, func(r *row, f *seen) { f.Newer, r.Plan.Supersede = newer, delivery.Queue }, delivery.Preparing, 0, "", "its turn"},
		{"aborted", delivery.Queued, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskAbort) }, delivery.Cancelled, 0, "", "cancelled by ada"},
		{"paused", delivery.Queued, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPause) }, delivery.Queued, 0, "pause", "slipway resume"},

		{"artifacts there", delivery.Preparing, 0, nil, delivery.Starting, 0, "", "artifacts are pinned"},
		{"artifact gone", delivery.Preparing, 0, func(_ *row, f *seen) { f.Missing = "bundle is gone" }, delivery.Reverting, 0, "", "bundle is gone"},
		{"paused", delivery.Preparing, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPause) }, delivery.Preparing, 0, "pause", "paused by ada"},
		{"newer", delivery.Preparing, 0, func(_ *row, f *seen) { f.Newer = newer }, delivery.Reverting, 0, "", "superseded by change #8 (v3)"},

		{"ready", delivery.Starting, 0, nil, delivery.Shifting, 0, "", "step 1 of 2: 25 %"},
		{"not ready", delivery.Starting, 0, few, delivery.Starting, 0, "instances", "0 of 1 instance of v2 ready; exit status 1"},
		{"no steps", delivery.Starting, 0, func(r *row, _ *seen) { r.Plan.Steps = nil }, delivery.Finishing, 0, "", "all instances ready"},
		{"paused", delivery.Starting, 0, func(r *row, f *seen) { few(r, f); r.Asked = ask(delivery.AskPause) }, delivery.Starting, 0, "pause", "paused by ada"},
		{"crashes", delivery.Starting, 0, func(_ *row, f *seen) { f.New.Restarts, f.New.Trouble = 3, "exit status 1" }, delivery.Reverting, 0, "", "exited 3 times during its rollout; exit status 1"},
		{"deadline", delivery.Starting, 0, func(r *row, f *seen) { few(r, f); r.Progress.At = noon.Add(-5 * minute) }, delivery.Reverting, 0, "", "no progress for 5m: 0 of 1 instance of v2 ready"},
		{"no deadline", delivery.Starting, 0, func(r *row, f *seen) { few(r, f); r.Progress.At, r.Plan.Deadline = noon.Add(-time.Hour), 0 }, delivery.Starting, 0, "instances", "ready"},
		{"old still runs", delivery.Starting, 0, func(r *row, f *seen) { r.Plan.Steps[0].Dark = true }, delivery.Starting, 0, "instances", "stopping v1 before v2 starts"},

		{"in force", delivery.Shifting, 0, func(_ *row, f *seen) { f.Route = routed(2500) }, delivery.Judging, 0, "", "25 % acknowledged"},
		{"not in force", delivery.Shifting, 0, nil, delivery.Shifting, 0, "data plane", "asked the data plane for 25 %"},
		{"not healthy", delivery.Shifting, 0, few, delivery.Shifting, 0, "instances", "0 of 1 instance of v2 healthy"},
		{"no answer", delivery.Shifting, 0, func(_ *row, f *seen) { f.Route.Known = false }, delivery.Shifting, 0, "data plane", "slipway doctor"},
		{"paused", delivery.Shifting, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPause) }, delivery.Shifting, 0, "pause", "slipway resume 7/prod"},
		{"fail", delivery.Shifting, 1, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Fail) }, delivery.Reverting, 1, "", "errors 2.1 % against 0.1 %"},
		{"preview not in force", delivery.Shifting, 0, func(r *row, f *seen) { r.Plan.Steps[0].Preview, f.Route = true, routed(2500) }, delivery.Shifting, 0, "data plane", "preview"},

		{"proven", delivery.Judging, 0, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Pass) }, delivery.Shifting, 1, "", "proven no worse at 25 %; next 50 %"},
		{"hold", delivery.Judging, 0, func(r *row, f *seen) { f.Verdict, r.Shifted = verdict(delivery.Pass), noon }, delivery.Judging, 0, "hold", "held at 25 % for 1m passes by itself"},
		{"no data", delivery.Judging, 0, nil, delivery.Judging, 0, "not enough data", "slipway promote 7 --env prod"},
		{"inconclusive", delivery.Judging, 0, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Inconclusive) }, delivery.Judging, 0, "not enough data", "not proven v2 no worse"},
		{"error", delivery.Judging, 0, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Broken) }, delivery.Judging, 0, "the judge's input is broken", "not proven v2"},
		{"silence promotes", delivery.Judging, 0, func(r *row, _ *seen) { r.Plan.OnSilence = delivery.SilencePromotes }, delivery.Shifting, 1, "", "the plan promotes on silence"},
		{"max", delivery.Judging, 0, func(r *row, _ *seen) { r.Shifted = noon.Add(-10 * minute) }, delivery.Waiting, 0, "", "judged for 10m and still no data"},
		{"stable down", delivery.Judging, 0, func(_ *row, f *seen) { f.Old = rollout.Arm{Want: 4} }, delivery.Shifting, 1, "", "the stable release is down"},
		{"stable ready, unseen", delivery.Judging, 0, func(_ *row, f *seen) { f.Old.Healthy = 0 }, delivery.Judging, 0, "not enough data", "promote"},
		{"gate", delivery.Judging, 1, nil, delivery.Waiting, 1, "", "waiting for approval of 50 %"},
		{"gate open already", delivery.Judging, 1, func(r *row, _ *seen) { r.Asked = ask(delivery.AskApprove) }, delivery.Finishing, 1, "", "approved at 50 %"},
		{"approval is no proof", delivery.Judging, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskApprove) }, delivery.Judging, 0, "not enough data", "promote"},
		{"approval where none is wanted", delivery.Judging, 0, func(r *row, f *seen) { r.Asked, f.Verdict = ask(delivery.AskApprove), verdict(delivery.Pass) }, delivery.Shifting, 1, "", "proven no worse at 25 %"},
		{"lost one", delivery.Judging, 1, func(_ *row, f *seen) { f.New.Healthy = 1 }, delivery.Shifting, 1, "", "lost an instance"},
		{"weight gone", delivery.Judging, 1, func(_ *row, f *seen) { f.Route = routed(2500) }, delivery.Shifting, 1, "", "no longer has 50 % in force"},
		{"no answer", delivery.Judging, 0, func(_ *row, f *seen) { f.Route.Known, f.Verdict = false, verdict(delivery.Pass) }, delivery.Judging, 0, "data plane", "does not answer"},
		{"promoted", delivery.Judging, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPromote) }, delivery.Finishing, 0, "", "ada skipped what was left"},
		{"promoted and failed", delivery.Judging, 0, func(r *row, f *seen) { r.Asked, f.Verdict = ask(delivery.AskPromote), verdict(delivery.Fail) }, delivery.Reverting, 0, "", "errors 2.1 %"},
		{"paused", delivery.Judging, 0, func(r *row, f *seen) { r.Asked, f.Verdict = ask(delivery.AskPause), verdict(delivery.Pass) }, delivery.Judging, 0, "pause", "paused by ada"},
		{"aborted", delivery.Judging, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskAbort) }, delivery.Reverting, 0, "", "aborted by ada"},
		{"newer", delivery.Judging, 0, func(_ *row, f *seen) { f.Newer = newer }, delivery.Reverting, 0, "", "superseded by change #8 (v3)"},
		{"newer waits", delivery.Judging, 0, func(r *row, f *seen) { f.Newer, r.Plan.Supersede = newer, delivery.Coalesce }, delivery.Judging, 0, "not enough data", ""},
		{"to test", delivery.Judging, 1, func(r *row, _ *seen) { r.Plan.Steps[1].Test = []string{"x"} }, delivery.Judging, 1, "test", "testing on the preview route the test ends"},
		{"test of another step", delivery.Judging, 1, func(r *row, f *seen) {
			r.Plan.Steps[1].Test, f.Test = []string{"x"}, &rollout.Test{Step: 0, Outcome: delivery.Pass}
		}, delivery.Judging, 1, "test", "testing"},
		{"test passed", delivery.Judging, 1, func(r *row, f *seen) {
			r.Plan.Steps[1].Test, f.Test = []string{"x"}, &rollout.Test{Step: 1, Outcome: delivery.Pass}
		}, delivery.Waiting, 1, "", "approval"},
		{"test failed", delivery.Judging, 1, func(r *row, f *seen) {
			r.Plan.Steps[1].Test, f.Test = []string{"x"}, &rollout.Test{Step: 1, Outcome: delivery.Fail, Text: "exit status 22"}
		}, delivery.Reverting, 1, "", "the test on the preview route failed: exit status 22"},
		{"test broken", delivery.Judging, 1, func(r *row, f *seen) {
			r.Plan.Steps[1].Test, f.Test = []string{"x"}, &rollout.Test{Step: 1, Outcome: delivery.Broken, Text: "no such file"}
		}, delivery.Waiting, 1, "", "could not be run: no such file"},

		{"approval", delivery.Waiting, 1, nil, delivery.Waiting, 1, "approval", "slipway promote 7 --env prod"},
		{"approved", delivery.Waiting, 1, func(r *row, _ *seen) { r.Asked = ask(delivery.AskApprove) }, delivery.Finishing, 1, "", "approved"},
		{"decision", delivery.Waiting, 0, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Inconclusive) }, delivery.Waiting, 0, "decision", "still says inconclusive on v2: a person decides slipway promote 7 --env prod, or slipway abort 7"},
		{"decided", delivery.Waiting, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskApprove) }, delivery.Shifting, 1, "", "approved; next 50 %"},
		{"decided by data", delivery.Waiting, 0, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Pass) }, delivery.Shifting, 1, "", "proven no worse"},
		{"gate and no proof", delivery.Waiting, 0, func(r *row, f *seen) { r.Plan.Steps[0].Approve, f.Verdict = true, verdict(delivery.Inconclusive) }, delivery.Waiting, 0, "decision", "inconclusive"},
		{"gate and proof", delivery.Waiting, 0, func(r *row, f *seen) { r.Plan.Steps[0].Approve, f.Verdict = true, verdict(delivery.Pass) }, delivery.Waiting, 0, "approval", "wants approval"},
		{"test broken", delivery.Waiting, 1, func(r *row, f *seen) {
			r.Plan.Steps[1].Test, f.Test = []string{"x"}, &rollout.Test{Step: 1, Outcome: delivery.Broken, Text: "no such file"}
		}, delivery.Waiting, 1, "decision", "could not be run: no such file"},
		{"paused", delivery.Waiting, 1, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPause) }, delivery.Waiting, 1, "pause", "paused by ada"},
		{"fail", delivery.Waiting, 1, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Fail) }, delivery.Reverting, 1, "", "errors 2.1 %"},
		{"lost one", delivery.Waiting, 1, func(_ *row, f *seen) { f.New.Healthy = 1 }, delivery.Shifting, 1, "", "lost an instance"},
		{"no answer", delivery.Waiting, 1, func(r *row, f *seen) { f.Route.Known, r.Approved = false, 2 }, delivery.Waiting, 1, "data plane", "does not answer"},
		{"promoted", delivery.Waiting, 0, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPromote) }, delivery.Finishing, 0, "", "ada skipped"},

		{"all traffic asked", delivery.Finishing, 1, nil, delivery.Finishing, 1, "data plane", "asked the data plane for all traffic"},
		{"all traffic there", delivery.Finishing, 1, func(_ *row, f *seen) { f.Route = routed(delivery.Full) }, delivery.Soaking, 1, "", "all traffic is on v2"},
		{"too few", delivery.Finishing, 1, func(_ *row, f *seen) { f.New.Healthy = 3 }, delivery.Finishing, 1, "instances", "3 of 4 instances of v2 healthy"},
		{"no answer", delivery.Finishing, 1, func(_ *row, f *seen) { f.Route.Known = false }, delivery.Finishing, 1, "data plane", "does not answer"},
		{"paused", delivery.Finishing, 1, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPause) }, delivery.Finishing, 1, "pause", "paused by ada"},
		{"newer waits", delivery.Finishing, 1, func(_ *row, f *seen) { f.Newer = newer }, delivery.Finishing, 1, "data plane", "all traffic"},
		{"fail", delivery.Finishing, 1, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Fail) }, delivery.Reverting, 1, "", "errors"},

		{"soaked", delivery.Soaking, 1, nil, delivery.Done, 1, "", "v2 is stable in prod"},
		{"soaks", delivery.Soaking, 1, func(r *row, _ *seen) { r.Shifted = noon }, delivery.Soaking, 1, "soak", "watched at full traffic for 1m passes by itself"},
		{"too few", delivery.Soaking, 1, func(_ *row, f *seen) { f.New.Healthy = 3 }, delivery.Soaking, 1, "instances", "3 of 4"},
		{"weight gone", delivery.Soaking, 1, func(_ *row, f *seen) { f.Route = routed(5000) }, delivery.Soaking, 1, "data plane", "all traffic"},
		{"fail at the end", delivery.Soaking, 1, func(_ *row, f *seen) { f.Verdict = verdict(delivery.Fail) }, delivery.Reverting, 1, "", "errors"},
		{"paused", delivery.Soaking, 1, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPause) }, delivery.Soaking, 1, "pause", "paused by ada"},

		{"gone", delivery.Reverting, 1, func(_ *row, f *seen) { f.New = rollout.Arm{} }, delivery.Reverted, 1, "", "v1 serves all traffic again; errors"},
		{"superseded", delivery.Reverting, 1, func(r *row, f *seen) { f.New, r.Cause.Kind = rollout.Arm{}, delivery.CauseNewer }, delivery.Superseded, 1, "", "v1 serves"},
		{"stable is dead", delivery.Reverting, 1, func(_ *row, f *seen) { f.New, f.Old.Healthy = rollout.Arm{}, 0 }, delivery.Reverted, 1, "", "has no healthy instance"},
		{"stopping", delivery.Reverting, 1, nil, delivery.Reverting, 1, "instances", "stopping v2 they are gone"},
		{"cannot be stopped", delivery.Reverting, 1, func(r *row, _ *seen) { r.Shifted = noon.Add(-rollout.RevertLimit) }, delivery.Reverted, 1, "", "v1 serves"},
		{"taking back", delivery.Reverting, 1, func(_ *row, f *seen) { f.Route = routed(5000) }, delivery.Reverting, 1, "data plane", "taking the traffic away from v2"},
		{"preview is left", delivery.Reverting, 1, func(_ *row, f *seen) { f.New, f.Route.Preview = rollout.Arm{}, v2 }, delivery.Reverting, 1, "data plane", "taking"},
		{"stable comes up", delivery.Reverting, 1, func(_ *row, f *seen) { f.Route, f.Old.Healthy = routed(5000), 1 }, delivery.Reverting, 1, "instances", "1 of 4 instances of v1 healthy"},
		{"stable does not", delivery.Reverting, 1, func(r *row, f *seen) {
			f.Route, f.Old.Healthy, r.Progress.At = routed(5000), 0, noon.Add(-5*minute)
		}, delivery.RevertFailed, 1, "", "the stable release v1 has no healthy instance"},
		{"never acknowledged", delivery.Reverting, 1, func(r *row, f *seen) { f.Route, r.Progress.At = routed(5000), noon.Add(-15*minute) }, delivery.RevertFailed, 1, "", "does not acknowledge"},
		{"no answer", delivery.Reverting, 1, func(_ *row, f *seen) { f.Route.Known = false }, delivery.Reverting, 1, "data plane", "slipway doctor"},
		{"no answer for long", delivery.Reverting, 1, func(r *row, f *seen) { f.Route.Known, r.Progress.At = false, noon.Add(-rollout.BlindLimit) }, delivery.RevertFailed, 1, "", "takes effect when it does"},
		{"nothing before", delivery.Reverting, 1, func(r *row, f *seen) { f.New, r.From = rollout.Arm{}, "" }, delivery.Reverted, 1, "", "no rollback target: nothing served shop in prod before"},
		{"itself", delivery.Reverting, 1, func(r *row, _ *seen) { r.From = v2 }, delivery.Reverted, 1, "", "nothing to take back"},
		{"aborted again", delivery.Reverting, 1, func(r *row, _ *seen) { r.Asked = ask(delivery.AskAbort) }, delivery.Reverting, 1, "instances", "stopping v2"},
		{"paused", delivery.Reverting, 1, func(r *row, _ *seen) { r.Asked = ask(delivery.AskPause) }, delivery.Reverting, 1, "instances", "stopping v2"},
	}
	for _, test := range tests {
		t.Run(string(test.state)+"/"+test.name, func(t *testing.T) {
			r, f := at(test.state, test.step)
			if test.edit != nil {
				test.edit(&r, &f)
			}
			m := rollout.Next(r, f)
			got := m.Rollout
			if got.State != test.to || got.Step != test.toStep {
				t.Fatalf("goes to %s/%d (%s), want %s/%d", got.State, got.Step, got.Reason, test.to, test.toStep)
			}
			says := got.Reason
			switch b := got.Waiting; {
			case test.on == "" && b != nil:
				t.Fatalf("waits on %+v, want a move", *b)
			case test.on != "" && (b == nil || b.On != test.on):
				t.Fatalf("waits on %+v, want %q", b, test.on)
			case test.on != "":
				says = b.What + " " + b.Lifts
			}
			if !strings.Contains(says, test.says) {
				t.Errorf("says %q, want %q", says, test.says)
			}
			if got.State == delivery.Reverting && test.state != delivery.Reverting {
				if held := m.Hold != nil; held != (got.Cause.Kind != delivery.CauseNewer) || got.Cause.Text != got.Reason || got.Asked != nil || got.Paused != nil {
					t.Errorf("reverts by %+v with hold %+v", got.Cause, m.Hold)
				}
			}
			if f.Route.Known && m.Split != nil {
				if err := (delivery.Route{Split: m.Split}).Validate(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestFinal: nothing moves a rollout that is over.
func TestFinal(t *testing.T) {
	for _, s := range delivery.States() {
		if !s.Final() {
			continue
		}
		r, f := at(s, 1)
		r.Asked = ask(delivery.AskAbort)
		f.Verdict, f.Missing, f.New.Restarts = verdict(delivery.Fail), "gone", 9
		if m := rollout.Next(r, f); m.Rollout.State != s || m.Split != nil || m.Wants != nil || m.Hold != nil || m.Stable != nil || !m.Wake.IsZero() {
			t.Errorf("%s: %+v", s, m)
		}
	}
}

func TestChanged(t *testing.T) {
	base, _ := at(delivery.Judging, 0)
	for name, test := range map[string]struct {
		edit func(*row)
		want bool
	}{
		"nothing":  {func(*row) {}, false},
		"state":    {func(r *row) { r.State = delivery.Waiting }, true},
		"step":     {func(r *row) { r.Step++ }, true},
		"reason":   {func(r *row) { r.Reason = "other" }, true},
		"ask":      {func(r *row) { r.Asked = ask(delivery.AskPause) }, true},
		"approval": {func(r *row) { r.Approved++ }, true},
		"pause":    {func(r *row) { r.Paused = &delivery.Pause{} }, true},
		"blocker":  {func(r *row) { r.Waiting = &delivery.Blocker{On: "hold"} }, false},
		"clock":    {func(r *row) { r.Progress.Ready++ }, false},
	} {
		is := base
		test.edit(&is)
		if got := rollout.Changed(base, is); got != test.want {
			t.Errorf("%s: Changed = %v, want %v", name, got, test.want)
		}
	}
}

// TestDone: the old release stays warm for the window where it still runs, and
// the pointer says so; otherwise it goes.
func TestDone(t *testing.T) {
	for _, test := range []struct {
		name   string
		edit   func(*row, *seen)
		keep   int
		until  time.Time
		before delivery.ReleaseID
	}{
		{"warm", nil, 4, noon.Add(10 * time.Minute), v1},
		{"no window", func(r *row, _ *seen) { r.Plan.Window = 0 }, 0, time.Time{}, v1},
		{"nothing left to keep", func(_ *row, f *seen) { f.Old = rollout.Arm{} }, 0, time.Time{}, v1},
		{"nothing before", func(r *row, f *seen) {
			r.From, f.Old, f.Route.Split = "", rollout.Arm{}, []delivery.Share{{Release: v2, Weight: delivery.Full}}
		}, 0, time.Time{}, ""},
	} {
		r, f := at(delivery.Soaking, 1)
		if test.edit != nil {
			test.edit(&r, &f)
		}
		m := rollout.Next(r, f)
		want := delivery.Stable{Service: "shop", Env: "prod", Release: v2, Version: "v2", Change: 7, Since: noon, Previous: test.before, Warm: test.until}
		if m.Rollout.State != delivery.Done || m.Stable == nil || *m.Stable != want {
			t.Errorf("%s: %s with stable %+v, want %+v", test.name, m.Rollout.State, m.Stable, want)
		}
		for _, w := range m.Wants {
			if w.Release == v1 && (w.Count != test.keep || !w.Until.Equal(test.until)) || w.Release == v2 && (w.Count != 4 || !w.Until.IsZero()) {
				t.Errorf("%s: wants %+v", test.name, w)
			}
		}
		if weight(m.Split, v2) != delivery.Full {
			t.Errorf("%s: split %+v", test.name, m.Split)
		}
	}
}
