package rollout

import (
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
	return delivery.Step{Do: delivery.DoWeight, Weight: delivery.Full, New: d.r.Plan.Replicas, During: -1, Old: -1}
}

// wanted is how many instances the rollout needs healthy now.
func (d *decider) wanted() int {
	if d.r.State == delivery.Finishing || d.r.State == delivery.Soaking {
		return d.r.Plan.Replicas
	}
	return d.step().New
}

// carries says whether the acknowledged healthy capacity suffices for a step.
func (d *decider) carries(s delivery.Step) bool {
	return d.f.New.Healthy >= s.New && Carry(d.f.New.Healthy, d.r.Plan.Replicas) >= s.Weight
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

func (d *decider) deadline() time.Time {
	if d.r.Plan.Deadline <= 0 || d.r.Progress.At.IsZero() {
		return time.Time{}
	}
	return d.at(d.r.Progress.At, d.r.Plan.Deadline)
}

func (d *decider) trouble() string { return suffix(d.f.New.Trouble) }

func suffix(s string) string {
	if s == "" {
		return ""
	}
	return "; " + s
}

func (d *decider) outcome() string {
	if d.f.Verdict == nil {
		return string(delivery.NoData)
	}
	return string(d.f.Verdict.Outcome)
}

// rest keeps the accounts that every state keeps: progress, idle time, verdict.
func (d *decider) rest() {
	if d.r.State.Final() {
		d.r.Waiting = nil
		d.keepVerdict()
		return
	}
	if d.r.State != delivery.Reverting && d.r.State != delivery.Queued && d.f.New.Ready > d.r.Progress.Ready {
		d.r.Progress = delivery.Progress{Ready: d.f.New.Ready, At: d.f.Now}
	}
	idle := d.r.Paused != nil || d.r.State == delivery.Waiting
	switch since := d.r.Idle.Since; {
	case idle && since.IsZero():
		d.r.Idle.Since = d.f.Now
	case !idle && !since.IsZero():
		d.r.Idle.Total += d.f.Now.Sub(since)
		d.r.Idle.Since = time.Time{}
	}
	d.keepVerdict()
}

func (d *decider) keepVerdict() {
	if d.f.Verdict != nil && d.r.State != d.was.State || d.r.Step != d.was.Step {
		if d.f.Verdict != nil {
			d.r.Verdict = d.f.Verdict
		}
	}
}

// paint says what the world shall look like for the rollout as it is now.
func (d *decider) paint() {
	d.m.Rollout = d.r
	r, f := d.r, d.f
	if r.State == delivery.Queued || r.State == delivery.Preparing || r.State == delivery.Cancelled || d.was.State == delivery.Queued {
		return
	}
	if r.To == r.From {
		d.want(r.To, r.Plan.Replicas, time.Time{})
		d.m.Split = []delivery.Share{{Release: r.To, Weight: delivery.Full}}
		return
	}
	switch r.State {
	case delivery.Reverting, delivery.Reverted, delivery.RevertFailed, delivery.Superseded:
		d.paintBack()
	case delivery.Done:
		d.want(r.To, r.Plan.Replicas, time.Time{})
		if r.From != "" {
			if r.Plan.Window > 0 && f.Old.Want > 0 {
				d.want(r.From, f.Old.Want, f.Now.Add(r.Plan.Window))
			} else {
				d.want(r.From, 0, time.Time{})
			}
		}
		d.split(delivery.Full)
	case delivery.Finishing, delivery.Soaking:
		d.want(r.To, r.Plan.Replicas, time.Time{})
		d.keepOld(d.lastOld())
		d.split(d.reach(delivery.Full))
	case delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Waiting:
		d.paintStep()
	case delivery.Queued, delivery.Preparing, delivery.Cancelled:
	}
}

func (d *decider) paintStep() {
	s := d.step()
	d.want(d.r.To, s.New, time.Time{})
	arrived := d.r.State == delivery.Judging || d.r.State == delivery.Waiting
	switch {
	case d.r.From == "":
	case arrived:
		d.keepOld(s.Old)
	default:
		d.keepOld(s.During)
	}
	if d.r.State == delivery.Starting {
		d.split(0)
		if s.Dark {
			d.dark()
		}
		return
	}
	if s.Dark && d.f.Route.weightOf(d.r.To) == 0 && !d.carries(s) {
		d.dark()
		return
	}
	d.split(d.reach(s.Weight))
	if s.Preview {
		d.m.Preview = d.r.To
	}
}

// paintBack takes the traffic back as fast as the stable release can carry it,
// and then the instances. While the stable release has no healthy instance the
// new one keeps what it has, if it is alive.
func (d *decider) paintBack() {
	r, f := d.r, d.f
	d.keepOld(-1)
	weight := delivery.Full - Carry(f.Old.Healthy, r.Plan.Replicas)
	switch now := f.Route.weightOf(r.To); {
	case r.From == "":
		weight = 0
	case f.New.Healthy == 0 && f.Old.Healthy > 0, r.State.Final():
		weight = 0
	case f.New.Healthy == 0 && f.Old.Healthy == 0:
		weight = now
	case weight > now:
		weight = now
	}
	if f.Route.Known && f.Route.weightOf(r.To) == 0 && f.Route.Preview != r.To && weight == 0 || r.State.Final() {
		d.want(r.To, 0, time.Time{})
	}
	if !f.Route.Known && f.New.Healthy == 0 && f.Old.Healthy == 0 {
		weight = 0
	}
	d.split(weight)
}

// reach is the weight the new release may have now on its way to w.
func (d *decider) reach(w delivery.Weight) delivery.Weight {
	if !d.f.Route.Known {
		return delivery.Route{Split: d.f.Route.Desired}.WeightOf(d.r.To)
	}
	can := Carry(d.f.New.Healthy, d.r.Plan.Replicas)
	if can >= w && d.f.New.Healthy >= d.wanted() {
		return w
	}
	now := delivery.Route{Split: d.f.Route.Desired}.WeightOf(d.r.To)
	return min(now, can, w)
}

func (d *decider) split(w delivery.Weight) {
	d.m.Split = []delivery.Share{{Release: d.r.To, Weight: w}}
	if d.r.From != "" {
		d.m.Split = append(d.m.Split, delivery.Share{Release: d.r.From, Weight: delivery.Full - w})
	}
}

func (d *decider) dark() {
	d.m.Split = []delivery.Share{{Release: d.r.To}, {Release: d.r.From}}
}

// lastOld is how many instances of the old release outlive the last step.
func (d *decider) lastOld() int {
	if n := len(d.r.Plan.Steps); n > 0 && d.r.Step >= n-1 {
		return d.r.Plan.Steps[n-1].Old
	}
	return -1
}

// keepOld wants n instances of the old release; -1 means all.
func (d *decider) keepOld(n int) {
	if d.r.From == "" {
		return
	}
	if n < 0 {
		n = d.r.Plan.Replicas
	}
	d.want(d.r.From, n, time.Time{})
}

func (d *decider) want(id delivery.ReleaseID, n int, until time.Time) {
	d.m.Wants = append(d.m.Wants, delivery.Want{
		Service: d.r.Service, Env: d.r.Env, Release: id, Count: n, Change: d.r.Change, Until: until,
	})
}
