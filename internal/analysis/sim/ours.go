package sim

import (
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// ours drives an analysis.Judge as package control does.
type ours struct {
	judge *analysis.Judge
	raw   bool
	step  int
	said  string
}

// alpha is the chance of a false rollback that everybody is asked for.
const alpha = 0.01

func defaults() delivery.JudgePolicy { return delivery.JudgePolicy{Alpha: alpha, Beta: 0.05} }

// strict is a policy without margins on the way back.
func strict() delivery.JudgePolicy {
	p := defaults()
	p.ErrorRatio, p.ErrorAdd = 1, 1e-9
	p.LatencyRatio, p.LatencyAdd = 1e-9, time.Nanosecond
	return p
}

// only is a policy that one family alone decides.
func only(p delivery.JudgePolicy, f delivery.Family) delivery.JudgePolicy {
	p.Only = f
	return p
}

func newOurs(b *blueprint, before analysis.Arm, p delivery.JudgePolicy) *ours {
	p.Metrics = b.policy()
	return &ours{judge: analysis.New(p, before)}
}

func (o *ours) observe(s *second) decision {
	if o.step != s.step && !s.mixed {
		o.judge.NextStep()
		o.step = s.step
	}
	block := s.block
	if o.raw {
		block.Stable, block.Canary = plain(s.stable), plain(s.canary)
	}
	if s.mixed {
		o.judge.LeaveOut(block.Second, "the split changed in it")
	} else {
		_ = o.judge.Observe(block) // what is refused changes nothing, and the judge keeps the reason
		if s.repeat {
			_ = o.judge.Observe(block)
		}
	}
	v := o.judge.Verdict()
	switch {
	case v.Outcome == delivery.Fail:
		o.said = v.Sentence
		return rollback
	case v.Invalid != "" || v.Incident != "" || v.Outcome == delivery.Broken || v.Outcome == delivery.NoData:
		o.said = v.Sentence
		return none
	case v.Outcome == delivery.Pass && o.step == s.step:
		o.said = v.Sentence
		return promote
	}
	o.said = v.Sentence
	return goOn
}

// plain is what an arm looks like to who knows no keys.
func plain(s *side) analysis.Arm {
	a := analysis.Arm{Units: s.n, Bad: s.bad}
	if s.timed {
		a.Bins, a.Open = binned(&s.hist)
	}
	return a
}
