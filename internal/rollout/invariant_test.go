package rollout_test

import (
	"reflect"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
)

// check holds one answer of Next against all that must never be.
func check(w *world, f rollout.Facts, m rollout.Move) {
	w.t.Helper()
	again := rollout.Next(w.row, f)
	if !reflect.DeepEqual(m, again) {
		w.t.Fatalf("Next is not a function of its arguments:\n%+v\n%+v", m, again)
	}
	was, is := w.row, m.Rollout
	if was.State.Final() {
		if !reflect.DeepEqual(m, rollout.Move{Rollout: was}) {
			w.t.Fatalf("a final rollout moved: %+v", m)
		}
		return
	}
	checkRow(w, f, m)
	checkSplit(w, f, m)
	checkWants(w, f, m)
	checkStep(w, f, m)
	checkIncident(w, f, m)
	checkTwin(w, m)
	checkFixpoint(w, f)
	if m.Stable != nil && (is.State != delivery.Done || m.Stable.Release != is.To || is.Exposed.IsZero()) {
		w.t.Fatalf("stable moves to %s at %s, exposed %v", m.Stable.Release, is.State, is.Exposed)
	}
	if is.State == delivery.Done && w.failShown {
		w.t.Fatalf("a release that failed is done")
	}
	if m.Hold != nil && (was.State == delivery.Reverting || is.State != delivery.Reverting) {
		w.t.Fatalf("a hold is made going from %s to %s", was.State, is.State)
	}
}

func checkRow(w *world, f rollout.Facts, m rollout.Move) {
	w.t.Helper()
	was, is := w.row, m.Rollout
	moved := was.State != is.State || was.Step != is.Step
	switch {
	case !was.State.MayMove(is.State):
		w.t.Fatalf("moved from %s to %s", was.State, is.State)
	case !moved && was.Reason != is.Reason:
		w.t.Fatalf("the reason ticks in %s: %q, then %q", is.State, was.Reason, is.Reason)
	case is.Reason == "":
		w.t.Fatalf("no reason in %s", is.State)
	case !m.Wake.IsZero() && m.Wake.Before(f.Now):
		w.t.Fatalf("%s wants to wake in the past, %v ago", is.State, f.Now.Sub(m.Wake))
	case (moved || is.State.Final()) && is.Waiting != nil:
		w.t.Fatalf("moved to %s and waits for %+v", is.State, is.Waiting)
	case !moved && (is.Waiting == nil || is.Waiting.On == "" || is.Waiting.What == "" || is.Waiting.Lifts == ""):
		w.t.Fatalf("stays in %s and does not say for what: %+v", is.State, is.Waiting)
	case was.Cause != (delivery.Cause{}) && was.Cause != is.Cause:
		w.t.Fatalf("the first cause was %+v and is now %+v", was.Cause, is.Cause)
	case is.Cause == (delivery.Cause{}) && (is.State == delivery.Reverting || is.State == delivery.Reverted):
		w.t.Fatalf("%s without a cause", is.State)
	case is.Cause.Kind == delivery.CauseProgress && was.Cause.Kind == "" && strings.HasPrefix(is.Cause.Text, "no progress") && w.short < was.Plan.Deadline:
		w.t.Fatalf("no progress within %s, after %s short of capacity", was.Plan.Deadline, w.short)
	}
}

func checkSplit(w *world, f rollout.Facts, m rollout.Move) {
	w.t.Helper()
	is := m.Rollout
	if m.Split == nil {
		return
	}
	if err := (delivery.Route{Split: m.Split}).Validate(); err != nil {
		w.t.Fatalf("%s asks for %+v: %v", is.State, m.Split, err)
	}
	if is.From == is.To {
		return
	}
	to, before := weight(m.Split, is.To), weight(w.desired, is.To)
	can := rollout.Carry(f.New.Healthy, max(is.Plan.Replicas-is.Plan.Spare, 1))
	old := rollout.Carry(f.Old.Healthy, max(is.Plan.Old-is.Plan.Spare, 1))
	if is.From == "" {
		old = 0
	}
	back := is.State == delivery.Reverting || is.State.Final() && is.State != delivery.Done
	switch {
	case to > before && (to > can || !f.Route.Known || back):
		w.t.Fatalf("%s raises the weight from %v to %v; %d healthy carry %v, known %v", is.State, before, to, f.New.Healthy, can, f.Route.Known)
	case to > before && is.Paused != nil && is.Plan.Strategy != delivery.Recreate && is.Plan.Steps != nil && !is.Plan.Steps[0].Dark:
		w.t.Fatalf("the weight grows from %v to %v while paused", before, to)
	case !back && f.Route.Known && to > can && can+old >= delivery.Full+1:
		w.t.Fatalf("%s leaves %v on what carries %v, though the old one carries %v", is.State, to, can, old)
	case !back && f.Route.Known && to > 0 && f.New.Healthy == 0 && f.Old.Healthy > 0 && is.From != "":
		w.t.Fatalf("%s sends %v to an empty pool", is.State, to)
	}
	from, fromBefore := weight(m.Split, is.From), max(weight(w.desired, is.From), weight(f.Route.Split, is.From))
	if up := max(f.Old.Healthy, f.Old.Ready); is.From != "" && from > fromBefore && up == 0 && !is.State.Final() {
		w.t.Fatalf("%s gives %v to a stable release of which nothing runs, after %v", is.State, from, fromBefore)
	}
	if is.State == delivery.Reverted || is.State == delivery.Superseded && w.row.State == delivery.Reverting {
		if n, ok := wanted(m, is.To); to != 0 || is.From != "" && from != delivery.Full || !ok || n != 0 || m.Preview != "" {
			w.t.Fatalf("%s with %+v, wants %+v", is.State, m.Split, m.Wants)
		}
	}
}

func checkWants(w *world, f rollout.Facts, m rollout.Move) {
	w.t.Helper()
	is := m.Rollout
	if is.From == is.To {
		return
	}
	for _, want := range m.Wants {
		if want.Count < 0 || want.Release != is.From && want.Release != is.To {
			w.t.Fatalf("wants %+v", want)
		}
	}
	next := map[delivery.ReleaseID]int{is.To: w.wants[is.To], is.From: w.wants[is.From]}
	for _, want := range m.Wants {
		next[want.Release] = want.Count
	}
	if n, ok := wanted(m, is.To); ok && n == 0 && f.New.Running > 0 && is.State != delivery.RevertFailed && (!f.Route.Known || weight(f.Route.Split, is.To) > 0) {
		w.t.Fatalf("%s stops instances that still have %v", is.State, weight(f.Route.Split, is.To))
	}
	back := is.State == delivery.Reverting || is.State.Final() && is.State != delivery.Done
	if is.From == "" || back || is.State == delivery.Queued || is.State == delivery.Preparing || is.Plan.Old != is.Plan.Replicas {
		return
	}
	if n := next[is.From]; n < w.wants[is.From] && f.Route.Known {
		if share := weight(f.Route.Split, is.From); share > rollout.Carry(n, max(is.Plan.Old-is.Plan.Spare, 1))+1 { // rounding
			w.t.Fatalf("%s leaves %d old instances with %v", is.State, n, share)
		}
	}
	if is.Plan.Strategy == delivery.Rolling && len(is.Plan.Steps) > 0 && is.State != delivery.Done {
		if total := next[is.From] + next[is.To]; total > is.Plan.Replicas+w.surge {
			w.t.Fatalf("%s wants %d + %d instances; %d replicas, surge %d", is.State, next[is.From], next[is.To], is.Plan.Replicas, w.surge)
		}
	}
}

// checkStep holds the leaving of a step against what it asks for.
func checkStep(w *world, f rollout.Facts, m rollout.Move) {
	w.t.Helper()
	was, is := w.row, m.Rollout
	asked := was.Asked != nil && (was.Asked.Verb == delivery.AskPromote || was.Asked.Verb == delivery.AskApprove)
	left := (was.State == delivery.Judging || was.State == delivery.Waiting) && (is.Step > was.Step || is.State == delivery.Finishing)
	if left && is.Paused != nil {
		w.t.Fatalf("step %d is left while paused", was.Step)
	}
	if s, ok := was.At(); ok && left && !asked {
		outcome := delivery.NoData
		if f.Verdict != nil {
			outcome = f.Verdict.Outcome
		}
		alone := f.Old.Healthy == 0 && f.Old.Ready == 0 && is.From != ""
		approved := was.State == delivery.Waiting && was.Approved > was.Step
		switch {
		case s.Proven && f.Verdict != nil && f.Verdict.Invalid != "" && !alone && !approved:
			w.t.Fatalf("step %d wants proof and is left though %s", was.Step, f.Verdict.Invalid)
		case s.Proven && outcome != delivery.Pass && !alone && !approved && (outcome != delivery.NoData || is.Plan.OnSilence != delivery.SilencePromotes):
			w.t.Fatalf("step %d wants proof and is left on %q", was.Step, outcome)
		case s.Approve && was.Approved <= was.Step:
			w.t.Fatalf("step %d wants approval and is left without", was.Step)
		case !approved && w.spent < s.Hold:
			w.t.Fatalf("step %d is left after %s of %s", was.Step, w.spent, s.Hold)
		case len(s.Test) > 0 && !approved && (f.Test == nil || f.Test.Outcome != delivery.Pass):
			w.t.Fatalf("step %d is left without its test", was.Step)
		}
	}
	if is.State == delivery.Done {
		switch {
		case w.spent < is.Plan.Soak:
			w.t.Fatalf("done after %s of soak %s", w.spent, is.Plan.Soak)
		case weight(f.Route.Split, is.To) != delivery.Full || f.New.Healthy < is.Plan.Replicas:
			w.t.Fatalf("done with %v in force on %d instances", f.Route.Split, f.New.Healthy)
		}
	}
}

// checkIncident holds a move against an incident: nothing goes on, and nothing
// goes back for it.
func checkIncident(w *world, f rollout.Facts, m rollout.Move) {
	w.t.Helper()
	was, is := w.row, m.Rollout
	if !halted(f, was) || is.Despite {
		return
	}
	forward := is.State != was.State && (is.State == delivery.Finishing || is.State == delivery.Soaking || is.State == delivery.Done)
	switch {
	case is.Step > was.Step || forward:
		w.t.Fatalf("in an incident it went from %s/%d to %s/%d", was.State, was.Step, is.State, is.Step)
	case m.Split != nil && !w.dark && is.From != is.To && weight(m.Split, is.To) > weight(w.desired, is.To):
		w.t.Fatalf("in an incident the weight grew from %v to %v", weight(w.desired, is.To), weight(m.Split, is.To))
	case is.Cause.Kind == delivery.CauseVerdict && was.Cause.Kind == "" && f.Verdict.Outcome != delivery.Fail:
		w.t.Fatalf("it went back for an incident: %+v", is.Cause)
	}
}

// checkTwin holds the instances of the stable release against the twin that the
// plan asks for: there while steps are judged, and gone at either end.
func checkTwin(w *world, m rollout.Move) {
	w.t.Helper()
	is := m.Rollout
	n, said := wanted(m, is.From)
	if !said || is.From == is.To || is.From == "" {
		return
	}
	s, _ := is.At()
	judged := is.State == delivery.Starting || is.State == delivery.Shifting || is.State == delivery.Judging || is.State == delivery.Waiting
	switch twin := is.Plan.Twin && judged && s.Weight < delivery.Full; {
	case twin && n != is.Plan.Old+s.New:
		w.t.Fatalf("%s wants %d of the stable release; %d and a twin of %d are to run", is.State, n, is.Plan.Old, s.New)
	case !twin && n > is.Plan.Old:
		w.t.Fatalf("%s wants %d of the stable release, which had %d", is.State, n, is.Plan.Old)
	}
}

// checkFixpoint asks again with the same facts until nothing changes any more:
// that comes soon, and no place is come by twice.
func checkFixpoint(w *world, f rollout.Facts) {
	w.t.Helper()
	type place struct {
		state delivery.State
		step  int
	}
	r, seen, here := w.row, map[place]bool{}, 0
	for {
		at := place{r.State, r.Step}
		n := rollout.Next(r, f).Rollout
		if reflect.DeepEqual(n, r) {
			checkQuiet(w, r, f)
			return
		}
		next := place{n.State, n.Step}
		here++
		if next != at {
			seen[at], here = true, 0
		}
		if seen[next] || here > 2 {
			w.t.Fatalf("does not settle with the same facts: from %s/%d over %v again to %s/%d", w.row.State, w.row.Step, seen, n.State, n.Step)
		}
		r = n
	}
}

// checkQuiet lets a moment pass in which nothing happens: a rollout that stays
// is then the same to the last field, so nothing is written.
func checkQuiet(w *world, r delivery.Rollout, f rollout.Facts) {
	w.t.Helper()
	f.Now = f.Now.Add(time.Millisecond)
	n := rollout.Next(r, f).Rollout
	if n.State == r.State && n.Step == r.Step && !reflect.DeepEqual(n, r) {
		w.t.Fatalf("%s ticks:\n%+v waiting %+v\n%+v waiting %+v", r.State, r, r.Waiting, n, n.Waiting)
	}
}
