package rollout

import (
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// back sends the rollout back if anything says so. It is asked first in every
// state on the way forward.
func (d *decider) back() bool {
	f, r := d.f, d.r
	switch {
	case d.asked(delivery.AskAbort):
		why := "aborted by " + r.Asked.By
		if r.Asked.Why != "" {
			why += ": " + r.Asked.Why
		}
		d.revert(delivery.CausePerson, why, r.Asked.By)
	case f.Verdict != nil && f.Verdict.Outcome == delivery.Fail && r.State != delivery.Preparing:
		d.revert(delivery.CauseVerdict, f.Verdict.Sentence, "")
	case d.overtaken():
		d.revert(delivery.CauseNewer, fmt.Sprintf("superseded by change #%d (%s)", f.Newer.Change, f.Newer.Version), "")
	case r.To != r.From && f.New.Restarts >= CrashLimit:
		d.revert(delivery.CauseProgress, fmt.Sprintf("%s exited %s during its rollout%s", r.Version, plural(f.New.Restarts, "time"), d.trouble()), "")
	case d.stalled():
		d.revert(delivery.CauseProgress, fmt.Sprintf("no progress for %s: %d of %s of %s ready%s",
			r.Plan.Deadline, f.New.Ready, plural(d.wanted(), "instance"), r.Version, d.trouble()), "")
	default:
		return false
	}
	return true
}

// overtaken says whether a newer change may take over. From finishing on, the
// rollout is let go to its end, which is near.
func (d *decider) overtaken() bool {
	if d.f.Newer == nil || d.r.Plan.Supersede == delivery.Queue || d.r.Plan.Supersede == delivery.Coalesce {
		return false
	}
	return d.r.State != delivery.Finishing && d.r.State != delivery.Soaking
}

// stalled says whether capacity is short and no new best was seen within the
// deadline. Flapping instances reach no new best, so they stall.
func (d *decider) stalled() bool {
	if d.r.Plan.Deadline <= 0 || d.r.State == delivery.Preparing {
		return false
	}
	if d.f.Route.Known && d.f.New.Healthy >= d.wanted() || !d.f.Route.Known && d.f.New.Ready >= d.wanted() {
		return false
	}
	return !d.r.Progress.At.IsZero() && d.spent(d.r.Progress.At) >= d.r.Plan.Deadline
}

// revert starts the way back. The first cause is kept for ever.
func (d *decider) revert(kind delivery.CauseKind, why, by string) {
	if by == "" {
		by = "slipway"
	}
	d.r.Cause = delivery.Cause{Kind: kind, Text: why, By: by, At: d.f.Now}
	d.r.Asked, d.r.Paused, d.r.Reverted = nil, nil, d.f.Now
	d.to(delivery.Reverting, why)
	d.r.Progress = delivery.Progress{Ready: d.f.Old.Healthy, At: d.f.Now}
	if kind != delivery.CauseNewer && d.r.To != d.r.From {
		d.m.Hold = &delivery.Hold{
			Kind: delivery.Quarantine, Service: d.r.Service, Release: d.r.To, Version: d.r.Version,
			Why: why, By: by, Change: d.r.Change, At: d.f.Now,
		}
	}
}

// reverting needs nothing but the data plane: the route first, then the
// instances. It triggers nothing further, and it always ends.
func (d *decider) reverting() {
	f, r := d.f, d.r
	if f.Old.Healthy > d.r.Progress.Ready {
		d.r.Progress = delivery.Progress{Ready: f.Old.Healthy, At: f.Now}
	}
	if r.To == r.From {
		d.reverted("nothing to take back")
		return
	}
	gone := f.New.Running == 0 || f.Now.Sub(r.Reverted) >= RevertLimit
	switch {
	case !f.Route.Known:
		if f.Now.Sub(r.Reverted) >= BlindLimit {
			d.to(delivery.RevertFailed, "the data plane does not answer; the route back is written and takes effect when it does")
			return
		}
		d.wait("data plane", "the data plane does not answer", "slipway doctor", "", r.Reverted.Add(BlindLimit))
	case r.From == "" && f.Route.weightOf(r.To) == 0 && gone:
		d.reverted("no rollback target: nothing served " + r.Service + " in " + r.Env + " before")
	case r.From != "" && f.Route.weightOf(r.From) == delivery.Full && f.Route.Preview != r.To && gone:
		d.reverted(r.Was + " serves all traffic again")
	case r.From != "" && f.Old.Healthy == 0 && d.spent(d.r.Progress.At) >= max(r.Plan.Deadline, RevertLimit):
		d.to(delivery.RevertFailed, "the stable release "+r.Was+" has no healthy instance"+suffix(f.Old.Trouble))
	case r.From != "" && f.Route.weightOf(r.From) != delivery.Full:
		d.wait("data plane", "taking the traffic back to "+r.Was, "it acknowledges", "", r.Reverted)
	default:
		d.wait("instances", "stopping "+r.Version, "they are gone", "", r.Reverted.Add(RevertLimit))
	}
}

func (d *decider) reverted(how string) {
	state := delivery.Reverted
	if d.r.Cause.Kind == delivery.CauseNewer {
		state = delivery.Superseded
	}
	if d.r.From != "" && state == delivery.Reverted {
		how += "; " + d.r.Cause.Text
	}
	d.to(state, how)
}
