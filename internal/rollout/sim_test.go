package rollout_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
)

// drawStrategy draws every way to roll out, with short times.
func drawStrategy(t *rapid.T) delivery.Strategy {
	s := delivery.Strategy{
		Kind:     rapid.SampledFrom([]delivery.StrategyKind{delivery.Canary, delivery.BlueGreen, delivery.Rolling, delivery.Recreate}).Draw(t, "strategy"),
		Deadline: 2 * time.Minute, Soak: rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "soak"),
		Window:    rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(t, "window"),
		OnSilence: rapid.SampledFrom([]delivery.Silence{delivery.SilenceWaits, delivery.SilencePromotes}).Draw(t, "silence"),
		Supersede: rapid.SampledFrom([]delivery.Supersede{delivery.Replace, delivery.Queue, delivery.Coalesce}).Draw(t, "supersede"),
	}
	switch s.Kind {
	case delivery.Canary:
		var w delivery.Weight
		for range rapid.IntRange(1, 3).Draw(t, "steps") {
			w = delivery.Weight(rapid.IntRange(int(w), int(delivery.Full)).Draw(t, "weight"))
			s.Steps = append(s.Steps, drawSpec(t, w))
		}
	case delivery.BlueGreen:
		s.Steps = []delivery.StepSpec{drawSpec(t, 0)}
		if rapid.Bool().Draw(t, "test") {
			s.Test = []string{"true"}
		}
	case delivery.Rolling:
		s.MaxSurge = rapid.IntRange(0, 6).Draw(t, "surge")
		s.MaxUnavailable = rapid.IntRange(0, 6).Draw(t, "unavailable")
		s.Steps = []delivery.StepSpec{{Hold: rapid.SampledFrom([]time.Duration{0, 30 * time.Second}).Draw(t, "hold")}}
	case delivery.Recreate:
	}
	s.Twin = rapid.Bool().Draw(t, "twin")
	return s
}

func drawSpec(t *rapid.T, w delivery.Weight) delivery.StepSpec {
	return delivery.StepSpec{
		Weight: w, Hold: rapid.SampledFrom([]time.Duration{0, 30 * time.Second, time.Minute}).Draw(t, "hold"),
		Proven: rapid.Bool().Draw(t, "proven"), Approve: rapid.Bool().Draw(t, "approve"),
		Max: rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "max"),
	}
}

func drawWorld(t *rapid.T) *world {
	s := setting{course: rollout.Course{Strategy: drawStrategy(t), Replicas: rapid.IntRange(1, 5).Draw(t, "replicas"), Kind: delivery.Code, From: v1, To: v2}}
	s.old = s.course.Replicas
	switch rapid.IntRange(0, 9).Draw(t, "course") {
	case 0:
		s.course.From, s.old = "", 0
	case 1:
		s.course.To = v1
	case 2:
		s.course.Back, s.course.Warm = true, true
	case 3:
		s.course.Back = true
	case 4:
		s.old = rapid.IntRange(1, 8).Draw(t, "old")
	}
	s.course.Old = s.old
	w := newWorld(t, s)
	p := w.pools[s.course.To]
	p.slow = rapid.IntRange(0, 4).Draw(t, "slow")
	p.starts = s.course.To == v1 || rapid.IntRange(0, 5).Draw(t, "starts") > 0
	w.lag = rapid.IntRange(0, 2).Draw(t, "lag")
	return w
}

// events is all that can happen between two looks. Most ticks are quiet.
var events = []string{
	"", "", "", "", "", "", "", "", "new crashes", "new flaps", "new dies", "old crashes", "old flaps", "old dies", "old lives",
	"plane goes", "plane comes", "plane comes", "plane restarts", "plane deaf", "busy", "free", "pin", "lift", "missing", "verdict", "verdict", "incident", "well", "incomparable", "fail", "pause", "resume", "resume", "approve", "approve", "promote", "abort",
	"newer", "dies before write", "dies before apply", "dies before apply", "two deciders", "tests fail", "test breaks",
}

// happen lets one event happen, and says how the loop's next turn ends.
func (w *world) happen(t *rapid.T, event string) string {
	up, down := w.pools[w.row.To], w.pools[w.row.From]
	if down == nil {
		down = &pool{}
	}
	switch event {
	case "new crashes":
		up.crash()
	case "new flaps":
		up.hit(func(i *instance) { i.flap = 2 })
	case "new dies":
		up.kill()
	case "old crashes":
		down.crash()
	case "old flaps":
		down.hit(func(i *instance) { i.flap = 2 })
	case "old dies":
		down.kill()
	case "old lives":
		down.revive()
	case "plane goes":
		w.away = true
	case "plane comes":
		w.away, w.deaf = false, false
	case "plane restarts":
		w.restartPlane()
	case "plane deaf":
		w.deaf = true
	case "busy", "free":
		w.facts.Busy, w.facts.Turn = map[string]string{"busy": "6/prod"}[event], event == "free"
	case "pin":
		w.facts.Hold = &delivery.Hold{Kind: delivery.Pinned, Service: "shop", Env: "prod", Why: "sale", By: "ada"}
	case "lift":
		w.facts.Hold = nil
	case "missing":
		w.facts.Missing = "bundle sha256:0b5e is gone"
	case "verdict":
		if !w.failShown {
			w.judge(rapid.SampledFrom([]delivery.Outcome{delivery.Pass, delivery.Inconclusive, delivery.Broken, delivery.NoData}).Draw(t, "outcome"))
		}
	case "incident", "well":
		w.trouble(map[string]string{"incident": "12 % fail", "well": ""}[event])
	case "incomparable":
		if !w.failShown {
			w.judge(rapid.SampledFrom([]delivery.Outcome{delivery.Pass, delivery.Inconclusive, delivery.Broken, delivery.NoData}).Draw(t, "outcome"))
			w.facts.Verdict.Invalid = "the keys are not drawn as they should be"
		}
	case "fail":
		if w.row.State.Active() && w.row.State != delivery.Preparing {
			w.judge(delivery.Fail)
		}
	case "pause", "resume", "approve", "promote", "abort":
		if !w.row.State.Final() {
			w.ask(delivery.AskVerb(event))
		}
	case "newer":
		w.facts.Newer = &rollout.Newer{ID: "8/prod", Change: 8, Version: "v3"}
	case "tests fail":
		w.outcome = delivery.Fail
	case "test breaks":
		w.outcome = delivery.Broken
	default:
		return event
	}
	return ""
}

// turn is one turn of the loop that ends well or in one of the bad ways.
func (w *world) turn(how string) {
	switch how {
	case "dies before write":
		w.decide(w.see())
		w.reload()
	case "dies before apply":
		f := w.see()
		w.write(f, w.decide(f))
		w.reload()
	case "two deciders":
		w.race()
	default:
		w.pass()
	}
}

// race lets two deciders look at once. Both decide on the same row, the store
// takes the first write and refuses the second, whose effects never happen.
func (w *world) race() {
	f, gen := w.see(), w.row.Gen
	first, second := w.decide(f), w.decide(f)
	for _, m := range []rollout.Move{first, second} {
		if w.row.Gen != gen {
			continue // compare-and-swap: someone else moved it first
		}
		w.write(f, m)
		w.apply()
	}
	if w.row.Gen != gen+1 {
		w.t.Fatalf("two writes on one generation")
	}
}

// behave makes the world kind: what can start does, the data plane answers,
// people answer, the judge has data.
func (w *world) behave() {
	w.away, w.deaf, w.lag = false, false, min(w.lag, 1)
	w.facts.Busy, w.facts.Turn, w.facts.Hold = "", true, nil
	if !w.failShown {
		w.judge(delivery.Pass)
	} else {
		w.trouble("")
	}
	if w.outcome == delivery.Broken {
		w.outcome = delivery.Pass
	}
	switch {
	case w.row.State.Final():
	case w.row.Paused != nil:
		w.ask(delivery.AskResume)
	case w.row.State == delivery.Waiting:
		w.ask(delivery.AskApprove)
	}
}

// TestSimulation throws everything at a rollout. Each answer of Next is held
// against check; here it is held against its end.
func TestSimulation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for range rapid.IntRange(0, 50).Draw(t, "ticks") {
			w.tick(rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, 40 * time.Second}).Draw(t, "dt"))
			w.turn(w.happen(t, rapid.SampledFrom(events).Draw(t, "event")))
		}
		for n := 0; !w.row.State.Final(); n++ {
			if n == 400 {
				t.Fatalf("does not end: %s/%d %q waiting on %+v", w.row.State, w.row.Step, w.row.Reason, w.row.Waiting)
			}
			w.behave()
			w.tick(10 * time.Second)
			w.pass()
		}
		checkEnd(w)
		end := w.row
		for _, v := range []delivery.AskVerb{delivery.AskAbort, delivery.AskPromote, delivery.AskPause} {
			w.ask(v)
			w.judge(delivery.Fail)
			w.decide(w.see()) // check: a final rollout never moves
		}
		if w.row.State != end.State {
			t.Fatalf("%s became %s", end.State, w.row.State)
		}
	})
}

func checkEnd(w *world) {
	w.t.Helper()
	r := w.row
	holds := 0
	if r.Cause.Kind != "" && r.Cause.Kind != delivery.CauseNewer && r.To != r.From {
		holds = 1
	}
	switch {
	case len(w.holds) != holds:
		w.t.Fatalf("%s by %q left %d holds, want %d", r.State, r.Cause.Kind, len(w.holds), holds)
	case r.State == delivery.Done && w.stable != r.To, r.State != delivery.Done && w.stable != r.From:
		w.t.Fatalf("%s, and %q is stable", r.State, w.stable)
	case r.State == delivery.Done && w.failShown:
		w.t.Fatalf("a release that failed is done")
	case r.Ended.IsZero():
		w.t.Fatalf("%s without an end", r.State)
	}
	if r.State == delivery.Reverted && r.To != r.From && (w.wants[r.To] != 0 || weight(w.desired, r.To) != 0 || r.From != "" && weight(w.desired, r.From) != delivery.Full) {
		w.t.Fatalf("reverted, and wanted are %v of %+v", w.wants, w.desired)
	}
}
