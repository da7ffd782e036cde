package web

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// railStep is one stop on the way of a change.
type railStep struct {
	Sign   sign
	Name   string
	Detail string
	Href   string // of the environment that it tells in full; "" is here
	Here   bool   // it is going on now
}

// signAhead is of what has not begun.
var signAhead = sign{signWaiting.Icon, "not yet", signWaiting.Class}

// railOf lays out the way of a change over all environments, the picked one step by step.
func railOf(of changeFacts, steps []walked) []railStep {
	at := clocks{of.Change.Submitted}
	out := []railStep{{
		Sign: sign{signGood.Icon, "submitted", signGood.Class}, Name: "by " + inert(of.Change.By), Detail: of.Change.Submitted.Local().Format("15:04:05 MST"),
	}}
	for _, r := range of.Rollouts {
		if r.ID == of.Picked.ID {
			out = append(out, pickedRail(of, steps)...)
			continue
		}
		step := railStep{Sign: stateOf(r), Name: r.Env, Href: changeHref(r.Change, r.Env), Here: r.State.Active()}
		switch {
		case r.State.Final():
			step.Detail = at.at(r.Ended)
			if !r.Started.IsZero() {
				step.Detail += ", in " + lasted(r.Ended.Sub(r.Started))
			}
		default:
			step.Detail = "since " + at.at(r.Entered)
		}
		out = append(out, step)
	}
	for _, env := range of.Ahead {
		out = append(out, railStep{Sign: signAhead, Name: env})
	}
	return out
}

func changeHref(id delivery.ChangeID, env string) string {
	return fmt.Sprintf("/changes/%d?env=%s", id, url.QueryEscape(env))
}

// pickedRail is the steps of one rollout.
func pickedRail(of changeFacts, steps []walked) []railStep {
	r := of.Picked
	at := clocks{of.Change.Submitted}
	if r.Started.IsZero() {
		return []railStep{{Sign: stateOf(r), Name: r.Env, Detail: "since " + at.at(r.Created), Here: !r.State.Final()}}
	}
	var out []railStep
	for i, s := range r.Plan.Steps {
		if i >= len(steps) {
			if !r.State.Final() && r.State != delivery.Reverting {
				out = append(out, railStep{Sign: signAhead, Name: stepName(r, i) + " in " + r.Env})
			}
			continue
		}
		out = append(out, walkedStep(r, i, s, steps[i], at))
	}
	return append(out, lastStep(r, at))
}

// walkedStep is a step that was begun.
func walkedStep(r delivery.Rollout, i int, s delivery.Step, w walked, at clocks) railStep {
	out := railStep{Sign: sign{signGood.Icon, "passed", signGood.Class}, Name: stepName(r, i) + " in " + r.Env}
	var parts []string
	switch {
	case w.Left.IsZero():
		out.Here, out.Sign = true, stateOf(r)
		parts = append(parts, "since "+at.at(w.Begun))
	default:
		if s.Approve && !w.Back {
			out.Sign.Word = "approved"
		} else if !s.Proven && !w.Back {
			out.Sign.Word = "done"
		}
		parts = append(parts, lasted(w.Left.Sub(w.Begun)))
	}
	if w.Back {
		out.Sign = stoppedSign(r.Cause.Kind)
	}
	if w.Requests > 0 {
		parts = append(parts, plural(int(w.Requests), "request"))
	}
	out.Detail = strings.Join(parts, ", ")
	return out
}

// stoppedSign is of the step at which a rollout turned back.
func stoppedSign(cause delivery.CauseKind) sign {
	switch cause {
	case delivery.CausePerson:
		return sign{signPaused.Icon, "stopped", signPaused.Class}
	case delivery.CauseNewer:
		return signSuperseded
	case delivery.CauseVerdict, delivery.CauseTest, delivery.CauseProgress, delivery.CauseMissing:
	}
	return signFailed
}

// lastStep is how a rollout ends, or would.
func lastStep(r delivery.Rollout, at clocks) railStep {
	switch r.State {
	case delivery.Done:
		return railStep{Sign: stateOf(r), Name: r.Version + " in " + r.Env, Detail: at.at(r.Ended)}
	case delivery.Reverting:
		return railStep{Sign: stateOf(r), Name: "back to " + orNothing(r.Was), Detail: "since " + at.at(r.Cause.At), Here: true}
	case delivery.Reverted, delivery.Superseded, delivery.RevertFailed:
		out := railStep{Sign: stateOf(r), Name: orNothing(r.Was) + " in " + r.Env, Detail: at.at(r.Ended)}
		if !r.Shifted.IsZero() && !r.Reverted.IsZero() && !r.Shifted.Before(r.Reverted) && r.From != "" {
			out.Detail = "back in " + lasted(r.Shifted.Sub(r.Reverted))
		}
		return out
	case delivery.Cancelled:
		return railStep{Sign: stateOf(r), Name: r.Env, Detail: at.at(r.Ended)}
	case delivery.Finishing, delivery.Soaking:
		return railStep{Sign: stateOf(r), Name: "all of " + r.Env, Detail: "since " + at.at(r.Entered), Here: true}
	case delivery.Preparing, delivery.Starting:
		return railStep{Sign: stateOf(r), Name: r.Version + " in " + r.Env, Detail: "since " + at.at(r.Entered), Here: true}
	case delivery.Queued, delivery.Shifting, delivery.Judging, delivery.Waiting:
	}
	return railStep{Sign: signAhead, Name: r.Version + " stable in " + r.Env}
}

func orNothing(version string) string {
	if version == "" {
		return "nothing"
	}
	return version
}

// stepName names a step of a plan in a few words.
func stepName(r delivery.Rollout, i int) string {
	s := r.Plan.Steps[i]
	switch {
	case s.Do == delivery.DoStart && s.Preview && len(s.Test) > 0:
		return "Preview and test"
	case s.Do == delivery.DoStart && s.Preview:
		return "Preview"
	case s.Do != delivery.DoWeight:
		return strings.ToUpper(string(s.Do[:1])) + string(s.Do[1:])
	}
	switch r.Plan.Strategy {
	case delivery.BlueGreen:
		return "Switch"
	case delivery.Recreate:
		return "Recreate"
	case delivery.Rolling:
		return fmt.Sprintf("%d of %d replaced", s.New, r.Plan.Replicas)
	case delivery.Canary:
	}
	return "Canary " + s.Weight.String()
}

// walked is one step of a plan as it went.
type walked struct {
	Begun    time.Time // its weight was acknowledged, or else it was begun
	Left     time.Time // zero while it goes on
	Back     bool      // it was left for the way back
	Requests uint64    // that were judged in it
}

// weighed is a share of the requests from a time on.
type weighed struct {
	At     time.Time
	Weight delivery.Weight
}

// walk reads from the ledger how the steps of a rollout went, and what share of
// the requests its release had when.
func walk(r delivery.Rollout, moves []delivery.Event) (steps []walked, weights []weighed) {
	var judged, before uint64
	for _, e := range moves {
		m, ok := control.MoveOf(e)
		if !ok || e.State == m.From && e.State != delivery.Judging {
			continue
		}
		if v := m.Verdict; v != nil && len(v.Checks) > 0 {
			judged = max(judged, v.Checks[0].NCanary)
		}
		leave := func(upto int, back bool) {
			for i := range steps[:min(upto, len(steps))] {
				if steps[i].Left.IsZero() {
					steps[i].Left, steps[i].Back, steps[i].Requests = e.At, back, judged-before
					before = judged
				}
			}
		}
		switch e.State {
		case delivery.Shifting:
			leave(e.Step, false)
			for len(steps) <= e.Step && len(steps) < len(r.Plan.Steps) {
				steps = append(steps, walked{Begun: e.At})
			}
		case delivery.Judging:
			if e.Step < len(steps) && m.From == delivery.Shifting && steps[e.Step].Left.IsZero() {
				if len(weights) == 0 || weights[len(weights)-1].Weight != m.Weight {
					steps[e.Step].Begun = e.At
				}
				weights = weigh(weights, e.At, m.Weight)
			}
		case delivery.Finishing:
			leave(len(steps), false)
		case delivery.Soaking:
			weights = weigh(weights, e.At, delivery.Full)
		case delivery.Reverting:
			leave(len(steps), true)
			weights = weigh(weights, e.At, 0)
		case delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Waiting, delivery.Done, delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled:
		}
	}
	return steps, weights
}

func weigh(all []weighed, at time.Time, w delivery.Weight) []weighed {
	if n := len(all); n > 0 && all[n-1].Weight == w || len(all) == 0 && w == 0 {
		return all
	}
	return append(all, weighed{at, w})
}
