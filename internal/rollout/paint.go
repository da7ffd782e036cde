package rollout

import (
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// paint says what the world shall look like for the rollout as it is now. What
// it does not name is left as it is.
func (d *decider) paint() {
	d.m.Rollout = d.r
	r := d.r
	if !r.State.Active() && d.was.State == delivery.Queued || r.State == delivery.Queued || r.State == delivery.Preparing {
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
		if until := d.warm(); !until.IsZero() {
			d.want(r.From, min(d.f.Old.Want, d.old()), until) // a twin is not kept warm
		} else {
			d.keepOld(0)
		}
		d.split(delivery.Full)
	case delivery.Finishing, delivery.Soaking:
		d.want(r.To, r.Plan.Replicas, time.Time{})
		d.keepOld(d.lastOld())
		d.split(d.reach(delivery.Full))
	case delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Waiting:
		d.paintStep(d.step())
	case delivery.Queued, delivery.Preparing, delivery.Cancelled:
	}
}

func (d *decider) paintStep(s delivery.Step) {
	arrived := !d.r.Shifted.IsZero()
	if s.Dark && !arrived && !d.lit(s) {
		d.paintDark(s)
		return
	}
	d.want(d.r.To, s.New, time.Time{})
	switch {
	case d.r.Plan.Twin && s.Weight < delivery.Full:
		d.keepOld(d.old() + s.New) // a fresh one of the old release beside each of the new
	case arrived:
		d.keepOld(s.Old)
	default:
		d.keepOld(s.During)
	}
	if d.r.State == delivery.Starting {
		d.split(0)
		return
	}
	d.split(d.reach(s.Weight))
	if s.Preview {
		d.m.Preview = d.r.To
	}
}

// lit says whether the new release of a dark step has traffic or may have it.
func (d *decider) lit(s delivery.Step) bool {
	return d.desired() > 0 || d.r.State == delivery.Shifting && d.f.Route.Known && !d.clearing() && d.carries(s)
}

// paintDark empties the service before the new release may start: the route
// first, then the old instances, and then the new ones.
func (d *decider) paintDark(s delivery.Step) {
	f := d.f
	if !f.Route.Known || !d.mayGrow() {
		return
	}
	d.dark()
	switch {
	case f.Route.weightOf(d.r.From) > 0:
		d.keepOld(-1)
		d.want(d.r.To, 0, time.Time{})
	case f.Old.Running > 0:
		d.keepOld(0)
		d.want(d.r.To, 0, time.Time{})
	default:
		d.keepOld(0)
		d.want(d.r.To, s.New, time.Time{})
	}
}

// paintBack takes the traffic back as fast as the stable release can carry it,
// and then the instances.
func (d *decider) paintBack() {
	r, f := d.r, d.f
	d.keepOld(-1)
	weight := d.backTo()
	away := f.Route.Known && f.Route.weightOf(r.To) == 0 && f.Route.Preview != r.To
	if weight == 0 && (away || r.State.Final()) { // who gives up leaves no orphans: they go when the route does
		d.want(r.To, 0, time.Time{})
	}
	if weight == 0 && d.emptied() && !r.State.Final() && d.up(f.Old) == 0 && r.From != "" {
		d.dark() // it serves nobody now; nobody is sent to instances that are not there
		return
	}
	d.split(weight)
}

// backTo is the weight that the rejected release keeps for now. It never grows.
// It keeps something only while the stable release cannot take it: until that
// can, or had its time and is up at least in part.
func (d *decider) backTo() delivery.Weight {
	now := d.desired()
	if d.f.Route.Known && len(d.f.Route.Split) > 0 { // an empty table says nothing of what was asked
		now = min(now, d.f.Route.weightOf(d.r.To))
	}
	old, left := d.up(d.f.Old), d.up(d.f.New)
	switch {
	case d.r.From == "", d.r.State == delivery.Reverted, d.r.State == delivery.Superseded:
		return 0
	case old == 0 && (left > 0 || !d.r.State.Final()):
		return now
	case old == 0, left == 0, d.r.State.Final(), d.f.Now.Sub(d.r.Progress.At) >= d.patience():
		return 0
	}
	return min(now, delivery.Full-d.oldCarries(old))
}

// up is how many instances can take requests, by the best word there is.
func (d *decider) up(a Arm) int {
	if d.f.Route.Known {
		return a.Healthy
	}
	return a.Ready
}

// desired is the weight that was asked for last.
func (d *decider) desired() delivery.Weight {
	return delivery.Route{Split: d.f.Route.Desired}.WeightOf(d.r.To)
}

// reach is the weight the new release may have now on its way to w. It grows
// only to what is acknowledged healthy and while nobody has paused. When
// instances are lost it shrinks to what they carry; what neither release can
// carry is shared by what each has, and none goes to a pool that is empty.
func (d *decider) reach(w delivery.Weight) delivery.Weight {
	now := d.desired()
	if !d.f.Route.Known {
		return now
	}
	can := d.newCarries(d.f.New.Healthy)
	if can >= w && d.f.New.Healthy >= d.wanted() && d.mayGrow() {
		return w
	}
	var old delivery.Weight
	if d.r.From != "" {
		old = d.oldCarries(d.f.Old.Healthy)
	}
	if can+old == 0 {
		return min(now, w)
	}
	return min(now, w, max(can, delivery.Full*can/(can+old)))
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
		n = d.old()
	}
	d.want(d.r.From, n, time.Time{})
}

func (d *decider) want(id delivery.ReleaseID, n int, until time.Time) {
	d.m.Wants = append(d.m.Wants, delivery.Want{
		Service: d.r.Service, Env: d.r.Env, Release: id, Count: n, Change: d.r.Change, Until: until,
	})
}
