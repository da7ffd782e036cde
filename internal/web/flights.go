package web

import (
	"context"
	"fmt"
	"math"

	"github.com/slipway-cd/slipway/internal/control"
)

// flights is the strip of what is under way, of one service or of all (""), and how
// many there are.
func (w *Web) flights(ctx context.Context, service string) ([]flightCard, int, error) {
	list, all, err := w.d.Loop.Flying(ctx, service, maxFlights)
	if err != nil {
		return nil, 0, err
	}
	var out []flightCard
	for _, f := range list {
		c := flightCard{Rollout: f.Rollout, Weight: f.Flight.Weight.String(), Sign: flightSign(f.Flight), Spark: errorSpark(f)}
		c.Sign.Word = stateWord(f)
		if f.Rollout.Paused != nil {
			c.Sign = signPaused
		}
		if v := f.Verdict; v != nil && f.Flight.Weight > 0 { // nobody is compared before it has requests
			s := signOf(v.Outcome)
			c.Verdict = &s
		}
		c.Note = f.Rollout.Reason
		if b := f.Rollout.Waiting; b != nil {
			c.Note = b.What
		}
		out = append(out, c)
	}
	return out, all, nil
}

// stateWord is the sign's word without the weight, which the strip says apart.
func stateWord(f control.Flying) string {
	flight := f.Flight
	flight.Weight = 0
	return flightSign(flight).Word
}

// errorSpark draws the share of failed requests of both arms.
func errorSpark(f control.Flying) spark {
	if len(f.Lately) == 0 {
		return spark{}
	}
	first := f.Lately[0].Second
	n := int((f.Lately[len(f.Lately)-1].Second-first)/control.LatelyStep) + 1
	canary, stable := gaps(n), gaps(n)
	var sums [2]control.Side
	for _, p := range f.Lately {
		i := int((p.Second - first) / control.LatelyStep)
		canary[i], stable[i] = failedShare(p.Canary), failedShare(p.Stable)
		for j, side := range []control.Side{p.Canary, p.Stable} {
			sums[j].Units += side.Units
			sums[j].Bad += side.Bad
		}
	}
	label := fmt.Sprintf("Failed requests lately: %s of %s, %s of %s", saidShare(sums[0]), f.Rollout.Version, saidShare(sums[1]), f.Rollout.Was)
	return sparkOf(label, series{Name: f.Rollout.Was, Class: "stable", Values: stable}, series{Name: f.Rollout.Version, Class: "canary", Values: canary})
}

func failedShare(s control.Side) float64 {
	if s.Units == 0 {
		return math.NaN()
	}
	return float64(s.Bad) / float64(s.Units)
}

func saidShare(s control.Side) string {
	if s.Units == 0 {
		return "none seen"
	}
	return percent(float64(s.Bad) / float64(s.Units))
}

// From is what a rollout replaces, in words.
func (c flightCard) From() string {
	if c.Was == "" {
		return "the first release here"
	}
	return c.Was
}
