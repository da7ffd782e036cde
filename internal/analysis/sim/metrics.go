package sim

import (
	"fmt"
	"math"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// policy returns the metrics as a judge is told of them.
func (b *blueprint) policy() []delivery.Metric {
	var all []delivery.Metric
	for i, m := range b.Metrics {
		for n := range m.Count {
			all = append(all, delivery.Metric{
				Name: metricName(i, n), Kind: delivery.MetricKind(m.Kind),
				From: delivery.FromService, Role: delivery.Guard,
			})
		}
	}
	return all
}

func metricName(group, n int) string { return fmt.Sprintf("metric %d.%d", group+1, n+1) }

// readings makes what the metrics were in a second with so many units.
func (w *world) readings(stable, canary uint64) []analysis.Reading {
	var all []analysis.Reading
	for i, m := range w.Metrics {
		for n := range m.Count {
			ratio := 1.0
			if n < m.Bad {
				ratio = m.Ratio
			}
			all = append(all, analysis.Reading{
				Metric: metricName(i, n), Seconds: 1, Approx: m.Approx,
				Stable: w.value(m, stable, 1), Canary: w.value(m, canary, ratio),
			})
		}
	}
	return all
}

// value makes what one metric was in one arm.
func (w *world) value(m Metrics, units uint64, ratio float64) analysis.Value {
	v := analysis.Value{N: float64(units)}
	switch delivery.MetricKind(m.Kind) {
	case delivery.KindMean:
		for range units {
			x := m.Base * ratio * math.Exp(0.8*w.r.NormFloat64()-0.32)
			v.Sum += x
			v.Squares += x * x
		}
	case delivery.KindShare, delivery.KindCount, delivery.KindLatency, delivery.KindLevel:
		together := max(m.Burst, 1)
		for range poisson(w.r, v.N*m.Base*ratio/together) {
			v.Sum += 1 + float64(geometric(w.r, together-1))
		}
		if m.Kind == string(delivery.KindShare) {
			v.Sum = min(v.Sum, v.N)
		}
	}
	return v
}
