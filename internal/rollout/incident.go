package rollout

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// incident says whether the service as a whole is in trouble, which is no
// verdict on the new release: nothing moves on, and nothing goes back for it. It
// counts once somebody has used the new release; until then it may be the cure.
// A rollback is not kept waiting, and a person may go on in spite of it.
func (d *decider) incident() bool {
	v := d.f.Verdict
	return v != nil && v.Incident != "" && !d.r.Despite && !d.r.Exposed.IsZero() && d.r.Origin != delivery.OriginRollback
}

// waitIncident waits for an incident to end. What it is stands behind a
// semicolon: its figures change every second, and the ledger need not tell.
func (d *decider) waitIncident(limit time.Time) {
	lifts := fmt.Sprintf("the service is well again, or slipway promote %d --env %s goes on in spite of it", d.r.Change, d.r.Env)
	d.waitUpTo(limit, "incident", "incident: "+d.r.Service+" is in trouble whichever release answers; "+d.f.Verdict.Incident, lifts)
}

// stopped waits while an incident stands. A step's longest time holds all the same:
// then a person decides.
func (d *decider) stopped(s delivery.Step) bool {
	if !d.incident() {
		return false
	}
	if s.Max > 0 && d.spent(d.r.Shifted) >= s.Max {
		d.decide("judged for " + delivery.Lasting(s.Max) + ", and there is an incident")
		return true
	}
	var limit time.Time
	if s.Max > 0 {
		limit = d.at(d.r.Shifted, s.Max)
	}
	d.waitIncident(limit)
	return true
}

// invalid says why the two releases cannot be compared; "" if they can.
func (f Facts) invalid() string {
	if f.Verdict == nil {
		return ""
	}
	return f.Verdict.Invalid
}
