package control

import (
	"errors"
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
)

// Readable refuses a metric whose numbers nobody could ever be asked for: a
// rollout would wait for them until its time is over.
func Readable(p delivery.Project) error {
	for _, svc := range p.Services {
		for _, env := range p.Environments {
			policy := svc.In[env.Name].Strategy.Judge
			if policy.Off {
				continue
			}
			for _, m := range policy.Metrics {
				if err := readable(m, p.Prometheus != (delivery.Prometheus{})); err != nil && !m.Off {
					return in(fmt.Sprintf("services.%s.in.%s.rollout.judge.metrics.%s", svc.Name, env.Name, m.Name), err)
				}
			}
		}
	}
	return nil
}

// readable says what is wrong with the words of one metric.
func readable(m delivery.Metric, server bool) error {
	texts := []struct{ field, text string }{{"value", m.Value}}
	if m.Kind != delivery.KindCount { // a count has seconds or requests there
		texts = append(texts, struct{ field, text string }{"per", m.Per})
	}
	for _, t := range texts {
		if t.text == "" {
			continue
		}
		switch m.From {
		case delivery.FromService:
			if _, err := embedded.ParseSelector(t.text); err != nil {
				return delivery.InvalidNext(t.field, reason(err), `select a series of the service's own page, such as orders_total{result="failed"}; PromQL needs from: prometheus`)
			}
		case delivery.FromPrometheus:
			if err := prometheus.Check(t.text); err != nil {
				return delivery.InvalidNext(t.field, reason(err), `write what Slipway puts in as "$release", "$env" or "$service", within quotes`)
			}
		case delivery.FromWorkload, delivery.FromLogs, delivery.FromTraffic:
		}
	}
	if m.From == delivery.FromPrometheus && !server {
		return delivery.InvalidNext("from", "no server that answers PromQL is named", "name it at the top of slipway.yaml: prometheus: {url: http://127.0.0.1:9090}")
	}
	return nil
}

// in says of which metric an error is.
func in(metric string, err error) error {
	bad, ok := errors.AsType[*delivery.FieldError](err)
	if !ok {
		return err
	}
	return delivery.InvalidNext(metric+"."+bad.Field, bad.Why, bad.Next)
}

// reason is what an error says apart from its field.
func reason(err error) string {
	if bad, ok := errors.AsType[*delivery.FieldError](err); ok {
		return bad.Why
	}
	return err.Error()
}
