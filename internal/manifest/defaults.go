package manifest

import (
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// defaults is what holds where the file says nothing.
type defaults struct {
	replicas int
	health   delivery.Health
	stop     delivery.Stop
	listen   string
	promote  delivery.Promotion
	strategy delivery.Strategy
	step     delivery.StepSpec // what a step has that names only its weight
}

// defaultsFor returns the defaults in the environment at place, counted from 0,
// of all environments there are. Real traffic is expected in the last one only:
// proof is wanted there, and the way through the earlier ones is quick.
func defaultsFor(kind delivery.StrategyKind, place, all int) defaults {
	last := place == all-1
	d := defaults{
		replicas: 1,
		health:   delivery.Health{TCP: true, Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 3},
		stop:     delivery.Stop{Drain: 10 * time.Second, Grace: 5 * time.Second},
		listen:   "127.0.0.1:" + strconv.Itoa(7580+all-1-place),
		promote:  delivery.Auto,
		step:     delivery.StepSpec{Hold: 10 * time.Second, Proven: true, Max: 10 * time.Minute},
		strategy: delivery.Strategy{
			Kind:      kind,
			Deadline:  2 * time.Minute,
			Window:    time.Minute,
			OnSilence: delivery.SilenceWaits,
			Supersede: delivery.Replace,
		},
	}
	if last {
		d.strategy.Soak, d.strategy.Window = 30*time.Second, 10*time.Minute
	}
	switch kind {
	case delivery.Canary:
		if !last {
			d.strategy.Steps = []delivery.StepSpec{{Weight: delivery.Full, Hold: 5 * time.Second}}
			break
		}
		for _, percent := range []int{5, 25, 50, 100} {
			step := d.step
			step.Weight = delivery.Percent(percent)
			d.strategy.Steps = append(d.strategy.Steps, step)
		}
	case delivery.BlueGreen:
		d.strategy.TestTimeout = time.Minute
	case delivery.Rolling:
		d.strategy.MaxSurge = 1
	case delivery.Recreate: // has nothing of its own
	}
	return d
}
