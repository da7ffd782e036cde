package promotion

import (
	"fmt"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Fits refuses what a person asks of a rollout whose state has no use for it:
// whatever it lets pass has an effect. The refusal says why and what comes next.
func Fits(verb delivery.AskVerb, r delivery.Rollout) error {
	refuse := func(code delivery.RefusalCode, why, next string) error {
		return &delivery.Refusal{Code: code, Why: fmt.Sprintf("%s %s in %s %s", r.Service, r.Version, r.Env, why), Next: next}
	}
	watch := fmt.Sprintf("slipway watch %d", r.Change)
	if r.State.Final() {
		return refuse(delivery.CodeNotInFlight, "is not under way any more: it is "+strings.ReplaceAll(string(r.State), "_", " "), "slipway status")
	}
	if r.State == delivery.Reverting && verb != delivery.AskAbort && verb != delivery.AskResume {
		return refuse(delivery.CodeNotWaiting, "is on its way back, and nothing but its end can follow", watch)
	}
	switch verb {
	case delivery.AskResume:
		if r.Paused == nil {
			return refuse(delivery.CodeNotWaiting, "is not paused", watch)
		}
	case delivery.AskPause:
		if r.Paused != nil {
			return refuse(delivery.CodeNotWaiting, "is paused already by "+r.Paused.By, fmt.Sprintf("slipway resume %d", r.Change))
		}
	case delivery.AskApprove:
		if !Approvable(r) {
			return refuse(delivery.CodeNotWaiting, "waits for nobody's approval", fmt.Sprintf("slipway promote %d --env %s --finish skips what is left of the analysis", r.Change, r.Env))
		}
	case delivery.AskPromote:
		if r.State == delivery.Finishing || r.State == delivery.Soaking {
			return refuse(delivery.CodeNotWaiting, "is past its analysis, so nothing is left to skip", watch)
		}
	case delivery.AskAbort:
	}
	return nil
}

// Approvable reports whether an approval by a person has an effect on a rollout:
// it waits for a decision, it will want one when its step is over, or an incident
// keeps it and a person may go on in spite of that.
func Approvable(r delivery.Rollout) bool {
	step, ok := r.At()
	switch {
	case r.State.Final() || r.State == delivery.Reverting:
		return false
	case r.State == delivery.Waiting:
		return true
	case r.State == delivery.Judging && ok && step.Approve && r.Approved <= r.Step:
		return true
	}
	return r.Waiting != nil && r.Waiting.On == "incident"
}

// Switchable reports whether a rollout is a blue-green one that has its release
// ready beside the stable one, and waits for a person to switch.
func Switchable(r delivery.Rollout) bool {
	step, ok := r.At()
	return ok && r.Plan.Strategy == delivery.BlueGreen && step.Do == delivery.DoStart && step.Approve && Approvable(r)
}

// Now says in a sentence where a rollout is now.
func Now(r delivery.Rollout) string {
	what := r.Service + " " + r.Version
	switch r.State {
	case delivery.Done:
		return what + " is stable in " + r.Env
	case delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled:
		return because(fmt.Sprintf("%s is %s in %s", what, strings.ReplaceAll(string(r.State), "_", " "), r.Env), r.Reason)
	case delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Waiting, delivery.Finishing, delivery.Soaking, delivery.Reverting:
	}
	text := what + " in " + r.Env + " is at " + Standing(r)
	if r.Asked != nil {
		text += fmt.Sprintf("; %s has asked to %s it", r.Asked.By, asking(r.Asked.Verb))
	}
	return text
}

// asking is the word of people for an ask.
func asking(v delivery.AskVerb) string {
	if v == delivery.AskPromote {
		return "finish"
	}
	return string(v)
}
