package control

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// Forecast says before a deploy what its judge will see, and when.
type Forecast struct {
	Service string               `json:"service"`
	Env     string               `json:"env"`
	Seconds int                  `json:"seconds"` // of traffic that it reckons with
	Rate    float64              `json:"rate"`    // callers a second
	Errors  float64              `json:"errors"`  // share of them that fail
	P50     float64              `json:"p50"`     // seconds
	P95     float64              `json:"p95"`
	P99     float64              `json:"p99"`
	Holds   []time.Duration      `json:"holds"` // least time at each weight
	Policy  delivery.JudgePolicy `json:"policy"`
	Plan    analysis.Plan        `json:"plan"`
}

// Forecast reckons with the traffic that a service had in the last ten minutes.
// Without an environment it is the last one, where the real traffic is.
func (l *Loop) Forecast(ctx context.Context, service, env string) (Forecast, error) {
	w, _, err := l.fresh(ctx)
	if err != nil {
		return Forecast{}, err
	}
	svc, _, err := names(w.Project, service, env)
	if err != nil {
		return Forecast{}, err
	}
	if env == "" {
		env = w.Project.Environments[len(w.Project.Environments)-1].Name
	}
	strategy := svc.In[env].Strategy
	out := Forecast{Service: service, Env: env, Policy: analysis.Defaults(strategy.Judge)}
	out.Policy.Metrics = strategy.Judge.WithBuiltin(l.builtin(w.Project, service))
	var weights []delivery.Weight
	for _, s := range strategy.Steps {
		if s.Weight < delivery.Full {
			weights, out.Holds = append(weights, s.Weight), append(out.Holds, s.Hold)
		}
	}
	if len(weights) == 0 || strategy.Judge.Off {
		return Forecast{}, delivery.InvalidNext("env", fmt.Sprintf("%s goes to everybody at once in %s, so nothing is compared there", service, env), "say an environment with steps, or give it some: rollout: {steps: [5, 25, 50, 100]}")
	}
	last, _ := l.counts.closed()
	st, _ := w.Stable(service, env)
	all := l.counts.seconds(routeName(env, service), st.Release, "", last-tuning+1, last)
	if len(all) == 0 {
		return Forecast{}, delivery.InvalidNext("service", fmt.Sprintf("nobody has asked %s in %s in the last ten minutes, so there is nothing to reckon with", service, env), "send it requests, or ask again when it has some")
	}
	arm := total(all)
	out.Seconds = int(last - all[0].Second + 1)
	out.Rate = float64(arm.Units) / float64(out.Seconds)
	out.Errors = float64(arm.Bad) / float64(max(arm.Units, 1))
	out.P50, out.P95, out.P99 = quantile(arm, 0.5), quantile(arm, 0.95), quantile(arm, 0.99)
	out.Plan, err = analysis.PowerTable(strategy.Judge, analysis.Load{PerSecond: out.Rate, Errors: out.Errors, Latency: arm.Bins, Weights: weights})
	return out, err
}
