package rollout

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// to moves the rollout. A new state forgets what the old one waited for.
func (d *decider) to(s delivery.State, why string) {
	if !d.r.State.MayMove(s) {
		panic("rollout: no edge from " + string(d.r.State) + " to " + string(s)) // a bug, and the state table test finds it first
	}
	d.r.State, d.r.Entered, d.r.Reason, d.r.Waiting = s, d.f.Now, why, nil
	if s.Final() {
		d.r.Ended, d.r.Asked, d.r.Paused = d.f.Now, nil, nil
		return
	}
	if s == delivery.Finishing {
		d.r.Progress = delivery.Progress{Ready: d.f.New.Ready, At: d.f.Now} // more instances may be needed now
	}
	d.m.Wake = d.f.Now
}

// enterStep begins a step: its deadlines and its idle time start afresh.
func (d *decider) enterStep(s delivery.State, step int, why string) {
	d.r.Step = step
	d.to(s, why)
	d.r.Shifted, d.r.Idle = time.Time{}, delivery.Idle{}
	d.r.Progress = delivery.Progress{Ready: d.f.New.Ready, At: d.f.Now}
}

// wait names the one thing the rollout waits for. The zero until means that
// only an event lifts it.
func (d *decider) wait(on, what, lifts, who string, until time.Time) {
	since := d.f.Now
	if w := d.r.Waiting; w != nil && w.On == on {
		since = w.Since
	}
	d.r.Waiting = &delivery.Blocker{On: on, What: what, Lifts: lifts, Who: who, Until: until, Since: since}
	d.m.Wake = until
}

// waitUpTo is wait for what does not pass by itself at the time: something else
// happens then, and the rollout has to be looked at.
func (d *decider) waitUpTo(limit time.Time, on, what, lifts string) {
	d.wait(on, what, lifts, "", time.Time{})
	d.m.Wake = limit
}

func (d *decider) waitHealthy(need int) {
	d.waitUpTo(d.deadline(), "instances", fmt.Sprintf("%d of %s of %s healthy%s", d.f.New.Healthy, plural(need, "instance"), d.r.Version, d.trouble()),
		"the data plane sees them healthy; without progress for "+delivery.Lasting(d.r.Plan.Deadline)+" it goes back")
}

func (d *decider) waitDecision(what string) {
	d.wait("decision", what+": a person decides", fmt.Sprintf("slipway promote %d --env %s, or slipway abort %d", d.r.Change, d.r.Env, d.r.Change),
		"anyone with access", time.Time{})
}

func (d *decider) waitPaused() {
	p := d.r.Paused
	what := "paused by " + p.By
	if p.Why != "" {
		what += ": " + p.Why
	}
	d.wait("pause", what, "slipway resume "+string(d.r.ID), "anyone with access", time.Time{})
}

// held waits while a person has paused the rollout.
func (d *decider) held() bool {
	if d.r.Paused == nil {
		return false
	}
	d.waitPaused()
	return true
}

// frozen is held for the states that move traffic. In an incident they wait too.
func (d *decider) frozen() bool {
	if d.mayGrow() {
		return false
	}
	if !d.held() {
		d.waitIncident(time.Time{})
	}
	return true
}

// mayGrow says whether the weight may grow: not while a person has paused, nor in
// an incident. But a service that was emptied for the new release is not left
// empty for either.
func (d *decider) mayGrow() bool {
	return d.r.Paused == nil && !d.incident() || d.step().Dark && d.r.Shifted.IsZero() && d.emptied()
}

// emptied says whether the old release was already told to serve nobody.
func (d *decider) emptied() bool {
	asked := delivery.Route{Split: d.f.Route.Desired}
	return len(asked.Split) > 0 && asked.WeightOf(d.r.From) == 0
}

// clearing says whether the old release still has to go before the new one may start.
func (d *decider) clearing() bool {
	return d.step().Dark && d.r.Shifted.IsZero() && (d.f.Route.weightOf(d.r.From) > 0 || d.f.Old.Running > 0)
}

// blind waits while the data plane does not answer: nothing can be seen, so
// nothing is moved.
func (d *decider) blind() bool {
	if d.f.Route.Known {
		return false
	}
	d.wait("data plane", "the data plane does not answer", "slipway doctor", "", time.Time{})
	return true
}

func (d *decider) asked(v delivery.AskVerb) bool { return d.r.Asked != nil && d.r.Asked.Verb == v }

// step is the step the rollout is at; without steps it is the whole release at once.
func (d *decider) step() delivery.Step {
	if s, ok := d.r.At(); ok {
		return s
	}
	return d.whole()
}

func (d *decider) whole() delivery.Step {
	return delivery.Step{Do: delivery.DoWeight, Weight: delivery.Full, New: d.r.Plan.Replicas, During: -1, Old: -1}
}

// old is how many instances the stable release had before the rollout began.
func (d *decider) old() int {
	if d.r.Plan.Old > 0 {
		return d.r.Plan.Old
	}
	return d.r.Plan.Replicas
}

// newCarries and oldCarries are the weights that n healthy instances of the two
// releases may take.
func (d *decider) newCarries(n int) delivery.Weight {
	return Carry(n, max(d.r.Plan.Replicas-d.r.Plan.Spare, 1))
}

func (d *decider) oldCarries(n int) delivery.Weight { return Carry(n, max(d.old()-d.r.Plan.Spare, 1)) }

// wanted is how many instances the rollout needs healthy now.
func (d *decider) wanted() int {
	if d.r.State == delivery.Finishing || d.r.State == delivery.Soaking {
		return d.r.Plan.Replicas
	}
	return d.step().New
}

// carries says whether the acknowledged healthy capacity suffices for a step.
func (d *decider) carries(s delivery.Step) bool {
	return d.f.New.Healthy >= s.New && d.newCarries(d.f.New.Healthy) >= s.Weight
}

// acknowledged says whether the data plane has a step's split in force.
func (d *decider) acknowledged(s delivery.Step) bool {
	if d.f.Route.weightOf(d.r.To) != s.Weight {
		return false
	}
	if s.Preview && d.f.Route.Preview != d.r.To {
		return false
	}
	return d.r.From == "" || d.r.From == d.r.To || d.f.Route.weightOf(d.r.From) == delivery.Full-s.Weight
}

// spent is the time since t that counts: pauses and waits for people do not.
func (d *decider) spent(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	idle := d.r.Idle.Total
	if !d.r.Idle.Since.IsZero() {
		idle += d.f.Now.Sub(d.r.Idle.Since)
	}
	return d.f.Now.Sub(t) - idle
}

// at is the time when a span that began at t is spent.
func (d *decider) at(t time.Time, span time.Duration) time.Time {
	return d.f.Now.Add(span - d.spent(t))
}

// deadline is when the capacity that is short has to be there.
func (d *decider) deadline() time.Time {
	if d.r.Plan.Deadline <= 0 || !d.short() {
		return time.Time{}
	}
	return d.f.Now.Add(d.r.Plan.Deadline - d.fruitless())
}

// forward says whether the rollout works on the instances and the route, and
// is not on its way back.
func (d *decider) forward() bool {
	return d.r.State.Active() && d.r.State != delivery.Preparing && d.r.State != delivery.Reverting
}

// short says whether instances that were asked for are missing. While the data
// plane does not answer, their own health checks have to do.
func (d *decider) short() bool {
	if !d.forward() || d.clearing() {
		return false
	}
	if d.f.Route.Known {
		return d.f.New.Healthy < d.wanted()
	}
	return d.f.New.Ready < d.wanted()
}

// fruitless is how long capacity was short since the last new best.
func (d *decider) fruitless() time.Duration {
	p := d.r.Progress
	switch {
	case p.At.IsZero():
		return 0
	case !p.Still.IsZero():
		return p.Still.Sub(p.At)
	}
	return d.f.Now.Sub(p.At)
}

func (d *decider) trouble() string { return suffix(d.f.New.Trouble) }

func suffix(s string) string {
	if s == "" {
		return ""
	}
	return "; " + s
}

func (d *decider) outcome() delivery.Outcome {
	if d.f.Verdict == nil {
		return delivery.NoData
	}
	return d.f.Verdict.Outcome
}

// rest keeps the accounts that every state keeps: progress, idle time, verdict.
func (d *decider) rest() {
	d.keepVerdict()
	if v := d.f.Verdict; v != nil && v.Incident == "" {
		d.r.Despite = false
	}
	if d.r.Exposed.IsZero() && d.was.State.Active() && d.f.Route.weightOf(d.r.To) > 0 {
		d.r.Exposed = d.f.Now
	}
	if d.r.State.Final() {
		d.r.Waiting = nil
		return
	}
	if !d.forward() {
		return
	}
	d.clock()
	whole := d.whole()
	idle := d.r.Paused != nil || d.r.State == delivery.Waiting ||
		d.r.State == delivery.Shifting && !d.r.Shifted.IsZero() || // a lost instance broke the hold off
		d.r.State == delivery.Soaking && (d.incident() || !d.carries(whole) || !d.acknowledged(whole))
	switch since := d.r.Idle.Since; {
	case idle && since.IsZero():
		d.r.Idle.Since = d.f.Now
	case !idle && !since.IsZero():
		d.r.Idle.Total += d.f.Now.Sub(since)
		d.r.Idle.Since = time.Time{}
	}
}

// clock starts the deadline afresh at a new best, and stops it while nothing is
// missing, a pause or an incident holds everything up or a person is waited for.
func (d *decider) clock() {
	p, now := d.r.Progress, d.f.Now
	if d.f.New.Ready > p.Ready || p.At.IsZero() {
		p = delivery.Progress{Ready: d.f.New.Ready, At: now}
	}
	still := !d.mayGrow() || d.r.State == delivery.Waiting || d.incident() || !d.short()
	switch {
	case still && p.Still.IsZero():
		p.Still = now
	case !still && !p.Still.IsZero():
		p.At, p.Still = p.At.Add(now.Sub(p.Still)), time.Time{}
	}
	d.r.Progress = p
}

// keepVerdict keeps the judge's word that goes with a move. On the way back the
// one that sent it there stays, and once all have the new release, when there is
// nothing left to compare it with, the one that let it come so far.
func (d *decider) keepVerdict() {
	moved := d.r.State != d.was.State || d.r.Step != d.was.Step
	if d.f.Verdict == nil || !moved || d.was.State == delivery.Reverting || d.through() && d.outcome() != delivery.Fail {
		return
	}
	d.r.Verdict = d.f.Verdict
}

// through reports whether a verdict let all traffic go to the new release, and
// none of it came back.
func (d *decider) through() bool {
	s, ok := d.was.At()
	all := ok && s.Weight == delivery.Full || d.was.State == delivery.Finishing || d.was.State == delivery.Soaking
	return all && d.r.State != delivery.Reverting && d.was.Verdict != nil && d.was.Verdict.Outcome == delivery.Pass
}

// warm is until when the old release is kept after done; zero if it is not.
func (d *decider) warm() time.Time {
	if d.r.From == "" || d.r.Plan.Window <= 0 || d.f.Old.Want <= 0 {
		return time.Time{}
	}
	return d.f.Now.Add(d.r.Plan.Window)
}
