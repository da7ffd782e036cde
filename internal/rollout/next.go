package rollout

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// CrashLimit is how many times instances of a release may exit by themselves
// during its rollout before that alone sends it back.
const CrashLimit = 3

// RevertLimit is the longest time a revert waits for instances of the rejected
// release to be gone once they get no traffic, and the least time it gives the
// stable release to come up.
const RevertLimit = time.Minute

// BlindLimit is the longest time a revert waits for a data plane that does not
// answer, or that does not acknowledge once the stable release had its time to come up.
const BlindLimit = 10 * time.Minute

// Next decides the next move of r. Calling it again with the same arguments
// gives the same answer; a final rollout never moves.
func Next(r delivery.Rollout, f Facts) Move {
	if r.State.Final() {
		return Move{Rollout: r}
	}
	d := &decider{r: r, f: f, was: r}
	d.hear()
	switch r.State {
	case delivery.Queued:
		d.queued()
	case delivery.Preparing:
		d.preparing()
	case delivery.Starting:
		d.starting()
	case delivery.Shifting:
		d.shifting()
	case delivery.Judging:
		d.judging()
	case delivery.Waiting:
		d.waiting()
	case delivery.Finishing:
		d.finishing()
	case delivery.Soaking:
		d.soaking()
	case delivery.Reverting:
		d.reverting()
	case delivery.Done, delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled:
	}
	d.rest()
	d.paint()
	return d.m
}

// decider holds one decision while it is made.
type decider struct {
	was delivery.Rollout
	r   delivery.Rollout
	f   Facts
	m   Move
}

// hear takes up what a person asked. An abort is left for back, a promote for
// the states that can be skipped.
func (d *decider) hear() {
	ask := d.r.Asked
	if ask == nil {
		return
	}
	switch ask.Verb {
	case delivery.AskPause:
		if d.r.Paused == nil && d.r.State != delivery.Reverting {
			d.r.Paused = &delivery.Pause{By: ask.By, Why: ask.Why, At: ask.At}
		}
		d.r.Asked = nil
	case delivery.AskResume:
		d.r.Paused = nil
		d.r.Asked = nil
	case delivery.AskApprove:
		d.r.Despite = d.r.Despite || d.incident()
		// A gate may be approved while its step is judged. The judge itself is
		// overruled only once it had its time.
		if d.r.State == delivery.Waiting || d.r.State == delivery.Judging && d.step().Approve {
			d.r.Approved = d.r.Step + 1
		}
		d.r.Asked = nil
	case delivery.AskPromote:
		d.r.Despite = d.r.Despite || d.incident()
		if s := d.r.State; s == delivery.Finishing || s == delivery.Soaking || s == delivery.Reverting {
			d.r.Asked = nil // nothing left to skip
		} else {
			d.r.Paused = nil
		}
	case delivery.AskAbort:
		if d.r.State == delivery.Reverting {
			d.r.Asked = nil // on its way back already; the first cause stays
		}
	}
}

func (d *decider) queued() {
	f := d.f
	switch {
	case d.asked(delivery.AskAbort):
		d.to(delivery.Cancelled, "cancelled by "+d.r.Asked.By+" before it began")
	case d.overtaken():
		d.to(delivery.Superseded, fmt.Sprintf("superseded by change #%d (%s) before it began", f.Newer.Change, f.Newer.Version))
	case f.Hold != nil && f.Hold.Kind == delivery.Quarantine:
		d.to(delivery.Cancelled, "cancelled: "+d.r.Version+" was quarantined: "+f.Hold.Why)
	case f.Stale != "":
		d.to(delivery.Cancelled, "cancelled: "+f.Stale)
	case d.r.Paused != nil:
		d.waitPaused()
	case f.Hold != nil:
		d.wait("hold", d.r.Service+" is held in "+d.r.Env+": "+f.Hold.Why, f.Hold.Lift(), "anyone with access", time.Time{})
	case f.Busy != "":
		d.wait("slot", "rollout "+f.Busy+" is under way here", "it ends, or slipway abort "+string(f.Busy), "anyone with access", time.Time{})
	case !f.Turn:
		d.wait("slot", "an earlier change is queued here", "it ends", "", time.Time{})
	default:
		d.r.Started = f.Now
		d.to(delivery.Preparing, "its turn: "+d.r.Plan.Reason)
	}
}

func (d *decider) preparing() {
	switch {
	case d.back():
	case d.f.Missing != "":
		d.revert(delivery.CauseMissing, d.f.Missing, "")
	case d.held():
	default:
		d.enterStep(delivery.Starting, 0, "artifacts are pinned; starting "+d.r.Version)
	}
}

func (d *decider) starting() {
	s := d.step()
	switch {
	case d.back():
	case d.frozen():
	case s.Dark && d.blind():
	case d.clearing():
		d.wait("instances", "stopping "+d.r.Was+" before "+d.r.Version+" starts", "they are gone", "", time.Time{})
	case d.f.New.Ready < s.New:
		d.waitUpTo(d.deadline(), "instances", fmt.Sprintf("%d of %s of %s ready%s", d.f.New.Ready, plural(s.New, "instance"), d.r.Version, d.trouble()),
			"they answer their health check; without progress for "+delivery.Lasting(d.r.Plan.Deadline)+" it goes back")
	case len(d.r.Plan.Steps) == 0:
		d.to(delivery.Finishing, "all instances ready; moving all traffic")
	default:
		d.to(delivery.Shifting, "ready; step 1 of "+fmt.Sprint(len(d.r.Plan.Steps))+": "+d.step().String())
	}
}

func (d *decider) shifting() {
	s := d.step()
	switch {
	case d.back():
	case d.blind():
	case d.frozen():
	case !d.carries(s):
		d.waitHealthy(s.New)
	case !d.acknowledged(s):
		d.wait("data plane", "asked the data plane for "+s.String(), "it acknowledges", "", time.Time{})
	default:
		if d.r.Shifted.IsZero() { // the hold goes on where a lost instance broke it off
			d.r.Shifted, d.r.Idle = d.f.Now, delivery.Idle{}
		}
		d.to(delivery.Judging, s.Weight.String()+" acknowledged")
		if s.Do == delivery.DoStart {
			d.r.Reason = "instances are up"
		}
	}
}

func (d *decider) judging() {
	s := d.step()
	switch {
	case d.back():
	case d.blind():
	case d.slipped(s):
	case d.skipAhead():
	case !d.tested(s):
	case d.held():
	case d.stopped(s):
	case d.spent(d.r.Shifted) < s.Hold:
		d.wait("hold", "held at "+s.Weight.String()+" for "+delivery.Lasting(s.Hold), "passes by itself", "", d.at(d.r.Shifted, s.Hold))
	case !d.proven(s):
	case s.Approve && d.r.Approved <= d.r.Step && s.Do == delivery.DoStart:
		d.to(delivery.Waiting, "waiting for a person to switch")
	case s.Approve && d.r.Approved <= d.r.Step:
		d.to(delivery.Waiting, "waiting for approval of "+s.String())
	default:
		d.leave(d.because(s))
	}
}

func (d *decider) waiting() {
	s := d.step()
	switch {
	case d.back():
	case d.blind():
	case d.slipped(s):
	case d.skipAhead():
	case d.held():
	case d.r.Approved > d.r.Step:
		d.leave("approved")
	case d.untested(s):
		d.waitDecision("the test on the preview route could not be run: " + d.f.Test.Text)
	case d.incident():
		d.waitIncident(time.Time{})
	case !d.convinced(s):
		d.waitDecision("the judge still says " + string(d.outcome()) + " on " + d.r.Version)
	case s.Approve && s.Do == delivery.DoStart:
		d.wait("approval", d.r.Version+" is ready beside "+d.r.Was+" and waits for the switch", fmt.Sprintf("slipway switch %s --env %s", d.r.Service, d.r.Env), "anyone with access", time.Time{})
	case s.Approve:
		d.wait("approval", "step "+s.String()+" wants approval", fmt.Sprintf("slipway promote %d --env %s", d.r.Change, d.r.Env), "anyone with access", time.Time{})
	default:
		d.leave(d.because(s))
	}
}

func (d *decider) finishing() {
	whole := d.whole()
	switch {
	case d.back():
	case d.blind():
	case d.frozen():
	case !d.carries(whole):
		d.waitHealthy(whole.New)
	case !d.acknowledged(whole):
		d.wait("data plane", "asked the data plane for all traffic", "it acknowledges", "", time.Time{})
	default:
		d.r.Shifted, d.r.Idle = d.f.Now, delivery.Idle{}
		d.to(delivery.Soaking, "all traffic is on "+d.r.Version)
	}
}

func (d *decider) soaking() {
	switch {
	case d.back():
	case d.blind():
	case d.held():
	case d.incident():
		d.waitIncident(time.Time{})
	case !d.carries(d.whole()):
		d.waitHealthy(d.r.Plan.Replicas)
	case !d.acknowledged(d.whole()):
		d.wait("data plane", "asked the data plane for all traffic", "it acknowledges", "", time.Time{})
	case d.spent(d.r.Shifted) < d.r.Plan.Soak:
		d.wait("soak", "watched at full traffic for "+delivery.Lasting(d.r.Plan.Soak), "passes by itself", "", d.at(d.r.Shifted, d.r.Plan.Soak))
	default:
		if d.r.From != d.r.To { // the pointer, and what a rollback goes to, stay when nothing changed
			d.m.Stable = &delivery.Stable{
				Service: d.r.Service, Env: d.r.Env, Release: d.r.To, Version: d.r.Version, Change: d.r.Change, Since: d.f.Now,
				Previous: d.r.From, Warm: d.warm(),
			}
		}
		d.to(delivery.Done, d.r.Version+" is stable in "+d.r.Env)
	}
}

// slipped goes back to shifting when the step's weight is no longer carried or
// no longer in force.
func (d *decider) slipped(s delivery.Step) bool {
	switch {
	case !d.carries(s):
		d.to(delivery.Shifting, "lost an instance: the weight follows the capacity"+d.trouble())
	case !d.acknowledged(s):
		d.to(delivery.Shifting, "the data plane no longer has "+s.Weight.String()+" in force: asking again")
	default:
		return false
	}
	return true
}

// skipAhead finishes at once when a person asked for it. Where instances are
// replaced in batches the batches remain, and what is skipped is the time between.
func (d *decider) skipAhead() bool {
	if !d.asked(delivery.AskPromote) {
		return false
	}
	why := d.r.Asked.By + " skipped what was left of the analysis"
	if d.r.Plan.Strategy == delivery.Rolling {
		d.leave(why)
		return true
	}
	d.r.Asked = nil
	d.to(delivery.Finishing, why)
	return true
}

// tested says whether the step's test has passed. One that could not be run is
// neither a pass nor a fail: a person decides.
func (d *decider) tested(s delivery.Step) bool {
	switch {
	case len(s.Test) == 0:
		return true
	case d.f.Test == nil || d.f.Test.Step != d.r.Step:
		d.m.Test = true
		d.wait("test", "testing on the preview route", "the test ends", "", time.Time{})
		return false
	case d.untested(s):
		d.decide("the test on the preview route could not be run: " + d.f.Test.Text)
		return false
	}
	return true
}

// untested says whether the step's test has ended without an answer.
func (d *decider) untested(s delivery.Step) bool {
	return len(s.Test) > 0 && d.f.Test != nil && d.f.Test.Step == d.r.Step && d.f.Test.Outcome != delivery.Pass
}

// convinced says whether nothing the judge says or does not say keeps the step.
func (d *decider) convinced(s delivery.Step) bool {
	outcome := d.outcome()
	proof := outcome == delivery.Pass || outcome == delivery.NoData && d.r.Plan.OnSilence == delivery.SilencePromotes
	return !s.Proven || d.alone() || proof && d.f.invalid() == ""
}

// alone says whether the stable release is down, by the data plane's word and
// by its own: then any healthy release is better than none.
func (d *decider) alone() bool {
	return d.r.From != "" && d.f.Route.Known && d.f.Old.Healthy == 0 && d.f.Old.Ready == 0
}

// proven says whether the judge lets the step be left, and waits when it does not.
func (d *decider) proven(s delivery.Step) bool {
	switch {
	case d.convinced(s):
		return true
	case s.Max > 0 && d.spent(d.r.Shifted) >= s.Max:
		d.decide("judged for " + delivery.Lasting(s.Max) + " and still " + string(d.outcome()))
		return false
	}
	on, what := "not enough data", "the judge has not proven "+d.r.Version+" no worse yet"
	switch {
	case d.f.invalid() != "":
		on, what = "comparison", "the two releases cannot be compared; "+d.f.invalid()
	case d.outcome() == delivery.Broken:
		on = "the judge's input is broken"
	}
	lifts, limit := fmt.Sprintf("enough requests, or slipway promote %d --env %s --finish", d.r.Change, d.r.Env), time.Time{}
	if s.Max > 0 {
		lifts += "; after " + delivery.Lasting(s.Max) + " a person decides"
		limit = d.at(d.r.Shifted, s.Max)
	}
	d.waitUpTo(limit, on, what, lifts)
	return false
}

// decide hands the step to a person. An approval given before that was known
// does not answer it.
func (d *decider) decide(why string) {
	d.r.Approved = min(d.r.Approved, d.r.Step)
	d.to(delivery.Waiting, why)
}

func (d *decider) because(s delivery.Step) string {
	switch {
	case d.r.Approved > d.r.Step:
		return "approved at " + s.Weight.String()
	case !s.Proven && s.Do == delivery.DoStart:
		return "up on the preview route"
	case !s.Proven:
		return "held at " + s.Weight.String()
	case d.f.Verdict != nil && d.f.Verdict.Outcome == delivery.Pass:
		return "proven no worse at " + s.Weight.String()
	case d.alone():
		return "the stable release is down: nothing to compare with"
	}
	return "no requests at " + s.Weight.String() + ", and the plan promotes on silence"
}

// leave goes to the next step, or to the end.
func (d *decider) leave(why string) {
	if d.r.Step+1 >= len(d.r.Plan.Steps) {
		d.to(delivery.Finishing, why)
		return
	}
	next := d.r.Step + 1
	d.enterStep(delivery.Shifting, next, why+"; next "+d.r.Plan.Steps[next].String())
}
