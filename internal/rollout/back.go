package rollout

import (
	"fmt"
	"time"

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
	case f.Verdict != nil && f.Verdict.Outcome == delivery.Fail:
		d.revert(delivery.CauseVerdict, f.Verdict.Sentence, "")
	case d.failedTest():
		d.revert(delivery.CauseTest, "the test on the preview route failed: "+f.Test.Text, "")
	case d.overtaken():
		d.revert(delivery.CauseNewer, fmt.Sprintf("superseded by change #%d (%s)", f.Newer.Change, f.Newer.Version), "")
	case r.To != r.From && f.New.Restarts >= CrashLimit:
		d.revert(delivery.CauseProgress, fmt.Sprintf("%s exited %s during its rollout%s", r.Version, plural(f.New.Restarts, "time"), d.trouble()), "")
	case d.stalled():
		d.revert(delivery.CauseProgress, fmt.Sprintf("no progress for %s: %d of %s of %s ready, %d healthy%s",
			delivery.Lasting(r.Plan.Deadline), f.New.Ready, plural(d.wanted(), "instance"), r.Version, f.New.Healthy, d.trouble()), "")
	default:
		return false
	}
	return true
}

// overtaken says whether a newer change may take over. From finishing on, the
// rollout is let go to its end, which is near.
func (d *decider) overtaken() bool { return d.f.Newer != nil && d.r.Yields() }

// stalled says whether capacity was short for the deadline without a new best.
// Flapping instances reach no new best, so the time they are away adds up.
func (d *decider) stalled() bool {
	return d.r.Plan.Deadline > 0 && d.short() && d.fruitless() >= d.r.Plan.Deadline
}

// failedTest says whether the test of the step at hand said no.
func (d *decider) failedTest() bool {
	t := d.f.Test
	return t != nil && t.Step == d.r.Step && t.Outcome == delivery.Fail &&
		(d.r.State == delivery.Judging || d.r.State == delivery.Waiting)
}

// revert starts the way back. The first cause is kept for ever.
func (d *decider) revert(kind delivery.CauseKind, why, by string) {
	if by == "" {
		by = "slipway"
	}
	d.r.Cause = delivery.Cause{Kind: kind, Text: why, By: by, At: d.f.Now}
	d.r.Asked, d.r.Paused, d.r.Reverted = nil, nil, d.f.Now
	d.r.Shifted, d.r.Idle = time.Time{}, delivery.Idle{}
	d.to(delivery.Reverting, why)
	d.r.Progress = delivery.Progress{Ready: d.up(d.f.Old), At: d.f.Now}
	if kind != delivery.CauseNewer && d.r.To != d.r.From {
		d.m.Hold = &delivery.Hold{
			Kind: delivery.Quarantine, Service: d.r.Service, Release: d.r.To, Version: d.r.Version,
			Why: why, By: by, Change: d.r.Change, At: d.f.Now,
		}
	}
}

// patience is how long a revert waits for more of the stable release to come up.
func (d *decider) patience() time.Duration { return max(d.r.Plan.Deadline, RevertLimit) }

// reverting needs nothing but the data plane: the route first, then the
// instances. It triggers nothing further, and it always ends.
func (d *decider) reverting() {
	f, r := d.f, d.r
	if up := d.up(f.Old); up > r.Progress.Ready {
		d.r.Progress = delivery.Progress{Ready: up, At: f.Now}
	}
	taken := f.Route.Known && f.Route.weightOf(r.To) == 0 && f.Route.Preview != r.To &&
		(r.From == "" || f.Route.weightOf(r.From) == delivery.Full)
	if taken && r.Shifted.IsZero() {
		d.r.Shifted = f.Now
	}
	since := d.r.Progress.At
	stuck := f.Now.Sub(since)
	switch {
	case r.To == r.From:
		d.reverted("nothing to take back")
	case taken && (f.New.Running == 0 || f.Now.Sub(d.r.Shifted) >= RevertLimit):
		d.reverted(d.whatServes())
	case taken:
		d.wait("instances", "stopping "+r.Version, "they are gone", "", d.r.Shifted.Add(RevertLimit))
	case !f.Route.Known && stuck >= max(d.patience(), BlindLimit):
		d.to(delivery.RevertFailed, "the data plane does not answer; the route back is written and takes effect when it does")
	case !f.Route.Known:
		d.wait("data plane", "the data plane does not answer", "slipway doctor", "", since.Add(max(d.patience(), BlindLimit)))
	case r.From != "" && f.Old.Healthy == 0 && stuck >= d.patience():
		d.to(delivery.RevertFailed, "the stable release "+r.Was+" has no healthy instance"+suffix(f.Old.Trouble))
	case stuck >= d.patience()+BlindLimit:
		d.to(delivery.RevertFailed, "the data plane does not acknowledge the route back")
	case r.From != "" && d.oldCarries(f.Old.Healthy) < delivery.Full && stuck < d.patience():
		d.wait("instances", fmt.Sprintf("%d of %s of %s healthy%s", f.Old.Healthy, plural(d.old(), "instance"), r.Was, suffix(f.Old.Trouble)),
			"they can take the traffic back", "", since.Add(d.patience()))
	default:
		d.wait("data plane", "taking the traffic away from "+r.Version, "it acknowledges", "", since.Add(d.patience()+BlindLimit))
	}
}

// whatServes says in a sentence who has the traffic after a revert.
func (d *decider) whatServes() string {
	switch {
	case d.r.From == "":
		return "no rollback target: nothing served " + d.r.Service + " in " + d.r.Env + " before"
	case d.f.Old.Healthy == 0:
		return "all traffic goes to " + d.r.Was + " again, which has no healthy instance"
	}
	return d.r.Was + " serves all traffic again"
}

func (d *decider) reverted(how string) {
	if d.r.Cause.Kind == delivery.CauseNewer {
		d.to(delivery.Superseded, how+"; "+d.r.Cause.Text)
		return
	}
	d.to(delivery.Reverted, how+"; "+d.r.Cause.Text)
}
