package embedded

import (
	"fmt"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// readTraffic answers from the data plane's own counts: errors or latency of the
// service's own requests, or of those of its callers by the arm that they are
// drawn to. Every reading is one second, of distinct sticky keys, without those
// that were in trouble before.
func (s *Store) readTraffic(a metric.Ask) (metric.Answer, error) {
	if a.Metric.Kind != delivery.KindShare && a.Metric.Kind != delivery.KindLatency {
		return metric.Answer{}, fmt.Errorf("metric %s: %w", a.Metric.Name,
			delivery.Invalid("kind", fmt.Sprintf("is %s; the data plane knows the share of failures and the latency", a.Metric.Kind)))
	}
	last, heard := s.Closed()
	if !heard {
		return metric.Answer{Until: a.First - 1, Missing: "nothing was heard from the data plane yet"}, nil
	}
	arms := Arms{Route: a.Env + "/" + a.Service, Stable: a.Stable.Release, Canary: a.Canary.Release, First: a.First, Last: min(a.Last, last)}
	var seconds []Second
	if len(a.Metric.Callers) == 0 {
		seconds = s.Seconds(arms)
	} else {
		routes := make([]string, len(a.Metric.Callers))
		for i, caller := range a.Metric.Callers {
			routes[i] = a.Env + "/" + caller
		}
		seconds = s.AtCallers(arms, routes)
	}
	out := metric.Answer{Until: max(arms.Last, a.First-1)}
	alone := ""
	for _, sec := range seconds {
		r := analysis.Reading{Metric: a.Metric.Name, Seconds: 1, Stable: unitsOf(sec.Stable, a.Metric.Kind), Canary: unitsOf(sec.Canary, a.Metric.Kind)}
		switch {
		case sec.Mixed: // the split changed in it
		case r.Stable.N == 0:
			alone = called(a.Stable)
		case r.Canary.N == 0:
			alone = called(a.Canary)
		default:
			out.Readings = append(out.Readings, metric.Reading{Second: sec.Second, Reading: r})
		}
	}
	switch {
	case len(out.Readings) > 0:
	case alone != "":
		out.Missing = fmt.Sprintf("release %s had no request while the other had", alone)
	case arms.Last >= arms.First:
		out.Missing = "there were no requests"
	}
	return out, nil
}

// unitsOf is what an arm's units say: without those whose key was in trouble
// before, for one caller in lasting trouble is one observation.
func unitsOf(a analysis.Arm, kind delivery.MetricKind) analysis.Value {
	v := analysis.Value{N: float64(a.Units), Sum: float64(a.Bad)}
	if a.Again != nil {
		v.N -= float64(a.Again.Units)
		v.Sum -= float64(a.Again.Bad)
	}
	if kind != delivery.KindLatency {
		return v
	}
	v.Sum, v.Bins = 0, make(map[int]uint32, len(a.Bins))
	for bin, n := range a.Bins {
		if a.Again != nil {
			n -= min(n, a.Again.Bins[bin])
		}
		if n > 0 {
			v.Bins[bin] = n
		}
	}
	return v
}
