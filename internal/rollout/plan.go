package rollout

import (
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Course is all that a plan depends on.
type Course struct {
	Strategy delivery.Strategy
	Replicas int
	Kind     delivery.Kind
	From, To delivery.ReleaseID // stable release, and the one asked for
	Warm     bool               // To still runs at full capacity from before
	Back     bool               // a person or a rollback asked to go back to To
	Old      int                // instances of From that are wanted now; 0: as many as Replicas
	Builtin  []delivery.Metric  // that the service is judged by without being asked
}

// PlanFor computes the whole plan of a rollout. The kind of a change picks the
// default steps, never another mechanism.
func PlanFor(c Course) delivery.Plan {
	s := c.Strategy
	c.Replicas = max(c.Replicas, 1)
	if c.From == "" || c.From == c.To || c.Old <= 0 {
		c.Old = c.Replicas
	}
	p := delivery.Plan{
		Strategy: s.Kind, Replicas: c.Replicas, Old: c.Old, Deadline: s.Deadline, Soak: s.Soak, Window: s.Window,
		OnSilence: s.OnSilence, Supersede: s.Supersede, Judge: s.Judge,
	}
	switch {
	case c.From == "":
		p.Soak = 0
		p.Reason = "first release here: nothing to compare with, so straight to full"
		return p
	case c.To == c.From:
		p.Soak, p.Window = 0, 0
		p.Reason = "already the stable release: no steps"
		return p
	case c.Back && c.Warm:
		p.Soak, p.Window = 0, 0
		p.Reason = "still warm from before: one route write"
		return p
	}
	p.Twin = s.Twin && s.Kind == delivery.Canary && !s.Judge.Off
	p.Judge.Metrics = metrics(s.Judge, c.Builtin, p.Twin)
	p.Reason = fmt.Sprintf("%s change, strategy %s", c.Kind, s.Kind)
	if c.Back {
		p.Window = 0
		p.Reason = fmt.Sprintf("outside the rollback window: the full %s plan", s.Kind)
	}
	switch s.Kind {
	case delivery.Canary:
		p.Steps = canary(s, c.Replicas)
	case delivery.BlueGreen:
		p.Steps = blueGreen(s, c.Replicas)
	case delivery.Rolling:
		p.Spare = min(max(s.MaxUnavailable, 0), c.Replicas)
		p.Steps = rolling(s, c.Replicas, c.Old)
	case delivery.Recreate:
		p.Steps = []delivery.Step{{Do: delivery.DoWeight, Weight: delivery.Full, New: c.Replicas, During: 0, Old: 0, Dark: true}}
	}
	return p
}

// metrics lists what the release is judged by. Instances that have run for long
// are no measure of the level of fresh ones, so without a twin levels are only shown.
func metrics(p delivery.JudgePolicy, builtin []delivery.Metric, twin bool) []delivery.Metric {
	if p.Off {
		return nil
	}
	out := p.WithBuiltin(builtin)
	for i := range out {
		if out[i].Kind == delivery.KindLevel && !twin {
			out[i].Role, out[i].NoData = delivery.Watch, ""
		}
	}
	return out
}

func canary(s delivery.Strategy, replicas int) []delivery.Step {
	var steps []delivery.Step
	for _, spec := range s.Steps {
		steps = append(steps, delivery.Step{
			Do: delivery.DoWeight, Weight: spec.Weight, New: Need(spec.Weight, replicas), During: -1, Old: -1,
			Hold: spec.Hold, Max: spec.Max, Approve: spec.Approve,
			// At full weight there is no concurrent stable traffic to prove anything against.
			Proven: spec.Proven && spec.Weight < delivery.Full && !s.Judge.Off,
		})
	}
	return steps
}

func blueGreen(s delivery.Strategy, replicas int) []delivery.Step {
	start := delivery.Step{Do: delivery.DoStart, New: replicas, During: -1, Old: -1, Preview: true, Test: s.Test, Timeout: s.TestTimeout}
	flip := delivery.Step{Do: delivery.DoWeight, Weight: delivery.Full, New: replicas, During: -1, Old: -1}
	for _, spec := range s.Steps { // an approval before the switch, a hold after it
		start.Approve = start.Approve || spec.Approve
		flip.Hold = max(flip.Hold, spec.Hold)
	}
	return []delivery.Step{start, flip}
}

// rolling replaces instances in batches of surge plus unavailable. While a
// batch comes up, at most replicas+surge instances run and at least
// replicas-unavailable serve. A step's weight is what its instances have to
// take while the next batch comes up, so that no share ever points at instances
// that are about to go.
func rolling(s delivery.Strategy, replicas, old int) []delivery.Step {
	surge, missing := max(s.MaxSurge, 0), min(max(s.MaxUnavailable, 0), replicas)
	if surge+missing == 0 {
		surge = 1
	}
	during := func(n int) int { return min(old, max(replicas+surge-n, 0)) }
	var hold delivery.StepSpec
	if len(s.Steps) > 0 {
		hold = s.Steps[0]
	}
	var steps []delivery.Step
	for n := 0; n < replicas; {
		n = min(n+surge+missing, replicas)
		step := delivery.Step{Do: delivery.DoWeight, Weight: delivery.Full, New: n, During: during(n), Hold: hold.Hold}
		step.Dark = len(steps) == 0 && step.During == 0
		old = min(step.During, replicas-n)
		step.Old = old
		if next := during(min(n+surge+missing, replicas)); next > 0 && n < replicas {
			step.Weight = min(delivery.Full*delivery.Weight(n)/delivery.Weight(n+next), Carry(n, replicas-missing))
		}
		steps = append(steps, step)
	}
	return steps
}
