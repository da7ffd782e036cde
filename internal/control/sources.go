package control

import (
	"context"
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
)

// asking is the server that answers PromQL, as the project in force names it.
type asking struct {
	at     delivery.Prometheus
	driver metric.Driver
}

// source returns who has the numbers of a metric, or nil. The server that answers
// PromQL may be named anew at any time, without a deploy.
func (l *Loop) source(v *view, from delivery.MetricSource) metric.Driver {
	if d := l.d.Metrics[from]; d != nil || from != delivery.FromPrometheus {
		return d
	}
	at := v.Project.Prometheus
	if at == (delivery.Prometheus{}) {
		return nil
	}
	if l.asking.driver == nil || l.asking.at != at {
		d, err := prometheus.New(at)
		if err != nil {
			return unusable{err}
		}
		l.asking = asking{at, d}
	}
	return l.asking.driver
}

// unusable is a source that cannot be asked.
type unusable struct{ err error }

// Read implements metric.Driver.
func (u unusable) Read(context.Context, metric.Ask) (metric.Answer, error) {
	return metric.Answer{}, fmt.Errorf("control: %w", u.err)
}

// exposed fills in what only the data plane knows: how many requests there were
// while another source counted events.
func (l *Loop) exposed(m delivery.Metric, r delivery.Rollout, x *metric.Reading) {
	if m.Kind != delivery.KindCount || m.From != delivery.FromPrometheus || m.Per != "" && m.Per != delivery.PerRequests {
		return
	}
	route, first := routeName(r.Env, r.Service), x.Second-int64(x.Seconds)+1
	stable, _ := l.counts.Exposure(route, r.From, first, x.Second)
	canary, _ := l.counts.Exposure(route, r.To, first, x.Second)
	x.Stable.N, x.Canary.N = float64(stable), float64(canary)
}
