package manifest

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// rollout notes what is wrong with one rollout by itself. Fields that do not
// go with the strategy are found when the layers are merged.
func (d *decoder) rollout(at string, r *rolloutDoc) {
	if r == nil {
		return
	}
	d.oneOf(at+".strategy", r.Strategy, strategies()...)
	d.oneOf(at+".on_silence", r.OnSilence, string(delivery.SilenceWaits), string(delivery.SilencePromotes))
	d.oneOf(at+".supersede", r.Supersede, string(delivery.Replace), string(delivery.Queue), string(delivery.Coalesce))
	d.between(at+".max_surge", r.MaxSurge, 0, maxReplicas)
	d.between(at+".max_unavailable", r.MaxUnavailable, 0, maxReplicas)
	d.above(at+".deadline", r.Deadline, "say 2m")
	d.above(at+".test_timeout", r.TestTimeout, "say 1m")
	if r.Window != nil && (*r.Window == 0 || time.Duration(*r.Window) > maxWindow) {
		d.wrong(at+".window", "the rollback window must be above zero and at most 30d", "say 10m")
	}
	d.steps(at, r)
	d.judge(at+".judge", r.Judge)
}

// steps checks that the weights rise and end at all of the traffic.
func (d *decoder) steps(at string, r *rolloutDoc) {
	if r.Steps == nil || d.bad[at+".steps"] {
		return
	}
	if len(r.Steps) == 0 {
		d.wrong(at+".steps", "the list is empty", "remove it, or say [5, 25, 50, 100]")
		return
	}
	var last delivery.Weight
	for i, s := range r.Steps {
		one := fmt.Sprintf("%s.steps[%d]", at, i)
		if s.Weight == nil {
			if !d.broken(one) {
				d.wrong(one+".weight", "the step has no weight", "say weight: 5")
			}
			last = 0
			continue
		}
		w := delivery.Weight(*s.Weight)
		if w <= last {
			d.wrong(one+".weight", fmt.Sprintf("the weights must rise, and %s comes after %s", w, last), "put the steps in order, or remove one")
		}
		last = w
		if i == len(r.Steps)-1 && w != delivery.Full {
			d.wrong(one+".weight", fmt.Sprintf("the last step must be 100 %%, is %s", w), "add 100 as the last step")
		}
	}
}

func (d *decoder) share(path string, f *float64) {
	if f != nil && (*f <= 0 || *f >= 1) {
		d.wrong(path, fmt.Sprintf("must be between 0 and 1, is %v", *f), "0.01 is one in a hundred; remove it for the default")
	}
}

func (d *decoder) ratio(path string, f *float64, least float64, example string) {
	if f != nil && (*f < least || *f == 0 || *f > 1000) {
		bound := "above 0"
		if least > 0 {
			bound = fmt.Sprintf("at least %v", least)
		}
		d.wrong(path, fmt.Sprintf("must be %s and at most 1000, is %v", bound, *f), example)
	}
}

// ordered checks that what is rolled back lies above what is promoted.
func (d *decoder) ordered(path string, rollback, promote *float64) {
	if rollback != nil && promote != nil && *promote <= *rollback {
		d.wrong(path, fmt.Sprintf("the margin of promotion, %v, must be wider than that of rollback, %v", *promote, *rollback), "raise it, or lower the other")
	}
}
