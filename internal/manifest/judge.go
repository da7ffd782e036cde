package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// judged reads one field of what a layer says of the judge.
func judged[T any](m merged, name string, get func(*judgeDoc) *T) T {
	var own T // zero is the judge's own default
	return layered(m, "judge."+name, own, "default", m.all, func(d *rolloutDoc) *T {
		if d.Judge == nil {
			return nil
		}
		return get(d.Judge)
	})
}

// judge merges what layers say of the judge, field by field.
func (m merged) judge() delivery.JudgePolicy {
	return delivery.JudgePolicy{
		Off:               judged(m, "off", func(j *judgeDoc) *bool { return j.Off }),
		Alpha:             judged(m, "alpha", func(j *judgeDoc) *float64 { return j.Alpha }),
		Beta:              judged(m, "beta", func(j *judgeDoc) *float64 { return j.Beta }),
		Only:              delivery.Family(judged(m, "only", func(j *judgeDoc) *string { return j.Only })),
		ErrorRatio:        judged(m, "error_ratio", func(j *judgeDoc) *float64 { return j.ErrorRatio }),
		ErrorAdd:          judged(m, "error_add", func(j *judgeDoc) *float64 { return j.ErrorAdd }),
		PromoteErrorRatio: judged(m, "promote_error_ratio", func(j *judgeDoc) *float64 { return j.PromoteErrorRatio }),
		PromoteErrorAdd:   judged(m, "promote_error_add", func(j *judgeDoc) *float64 { return j.PromoteErrorAdd }),
		LatencyRatio:      judged(m, "latency_ratio", func(j *judgeDoc) *float64 { return j.LatencyRatio }),
		PromoteLatency:    judged(m, "promote_latency", func(j *judgeDoc) *float64 { return j.PromoteLatency }),
		Warmup:            time.Duration(judged(m, "warmup", func(j *judgeDoc) *duration { return j.Warmup })),
		Cold:              time.Duration(judged(m, "cold", func(j *judgeDoc) *duration { return j.Cold })),
		AtLeast:           uint64(max(judged(m, "at_least", func(j *judgeDoc) *int { return j.AtLeast }), 0)),
		SLO:               m.slo(),
		Metrics:           m.metrics(),
	}
}

func (m merged) slo() delivery.SLO {
	return delivery.SLO{
		Errors:   promised(m, "errors", func(s *sloDoc) *float64 { return s.Errors }),
		Latency:  time.Duration(promised(m, "latency", func(s *sloDoc) *duration { return s.Latency })),
		Within:   promised(m, "within", func(s *sloDoc) *float64 { return s.Within }),
		Patience: time.Duration(promised(m, "patience", func(s *sloDoc) *duration { return s.Patience })),
	}
}

func promised[T any](m merged, name string, get func(*sloDoc) *T) T {
	return judged(m, "slo."+name, func(j *judgeDoc) *T {
		if j.SLO == nil {
			return nil
		}
		return get(j.SLO)
	})
}

// metrics merges the metrics that layers name, field by field, in the order in
// which the weakest layer that has them does.
func (m merged) metrics() []delivery.Metric {
	var order []string
	layersOf := map[string][]layer{} // strongest first
	for _, l := range slices.Backward(m.all) {
		if l.doc.Judge == nil {
			continue
		}
		for _, name := range l.doc.Judge.Metrics.names {
			if layersOf[name] == nil {
				order = append(order, name)
			}
			layersOf[name] = slices.Insert(layersOf[name], 0, l)
		}
	}
	var out []delivery.Metric
	for _, name := range order {
		one := metricOf{merged: m, name: name, layers: layersOf[name]}
		if metric, on := one.read(); on {
			out = append(out, metric)
		}
	}
	return out
}

// metricOf is one metric while its layers are merged, strongest first.
type metricOf struct {
	merged
	name   string
	layers []layer
}

// asked reads one field of a metric.
func asked[T any](m metricOf, name string, fallback T, get func(*metricDoc) *T) T {
	field := "judge.metrics." + m.name + "." + name
	return layered(m.merged, field, fallback, "default", m.layers, func(d *rolloutDoc) *T {
		return get(d.Judge.Metrics.of[m.name])
	})
}

func (m metricOf) number(name string, get func(*metricDoc) *float64) float64 {
	return asked(m, name, 0, get)
}

func (m metricOf) word(name, fallback string, get func(*metricDoc) *string) string {
	return asked(m, name, fallback, get)
}

// read merges the metric; it is not on when it was removed and nobody but the
// built-in metrics would have it.
func (m metricOf) read() (delivery.Metric, bool) {
	builtin := delivery.BuiltinName(m.name)
	from := string(delivery.FromService)
	if builtin {
		from = "" // its own
	}
	out := delivery.Metric{
		Name:         m.name,
		Off:          asked(m, "off", false, func(d *metricDoc) *bool { return d.Off }),
		Kind:         delivery.MetricKind(m.word("kind", "", func(d *metricDoc) *string { return d.Kind })),
		From:         delivery.MetricSource(m.word("from", from, func(d *metricDoc) *string { return d.From })),
		Value:        m.word("value", "", func(d *metricDoc) *string { return d.Value }),
		Per:          m.word("per", "", func(d *metricDoc) *string { return d.Per }),
		Unit:         m.word("unit", "", func(d *metricDoc) *string { return d.Unit }),
		Better:       delivery.Better(m.word("better", "", func(d *metricDoc) *string { return d.Better })),
		Role:         delivery.Role(m.word("role", "", func(d *metricDoc) *string { return d.Role })),
		NoData:       delivery.Absence(m.word("no_data", "", func(d *metricDoc) *string { return d.NoData })),
		Ratio:        m.number("ratio", func(d *metricDoc) *float64 { return d.Ratio }),
		Add:          m.number("add", func(d *metricDoc) *float64 { return d.Add }),
		PromoteRatio: m.number("promote_ratio", func(d *metricDoc) *float64 { return d.PromoteRatio }),
		PromoteAdd:   m.number("promote_add", func(d *metricDoc) *float64 { return d.PromoteAdd }),
		Quantile:     m.number("quantile", func(d *metricDoc) *float64 { return d.Quantile }),
		AtLeast:      uint64(max(asked(m, "at_least", 0, func(d *metricDoc) *int { return d.AtLeast }), 0)),
		Low:          asked(m, "low", nil, func(d *metricDoc) **float64 { return bound(d.Low) }),
		High:         asked(m, "high", nil, func(d *metricDoc) **float64 { return bound(d.High) }),
		Every:        time.Duration(asked(m, "every", 0, func(d *metricDoc) *duration { return d.Every })),
	}
	if out.Off {
		out = delivery.Metric{Name: m.name, Off: true}
		return out, builtin
	}
	if !m.spoilt() {
		m.check(out, builtin)
	}
	return out, true
}

// bound lets the absence of a bound through pick.
func bound(v *float64) **float64 {
	if v == nil {
		return nil
	}
	return &v
}

// spoilt says whether part of the metric could not be read; it is complained of already.
func (m metricOf) spoilt() bool {
	return slices.ContainsFunc(m.layers, func(l layer) bool { return m.broken(l.path + ".judge.metrics." + m.name) })
}

// check notes what is wrong with a metric once its layers are merged. It points
// at the strongest layer that says the field, or else names the metric.
func (m metricOf) check(metric delivery.Metric, builtin bool) {
	if builtin {
		for _, field := range []string{"kind", "from", "value", "per"} {
			if path, said := m.said(field); said {
				m.wrong(path, m.name+" is built in, and what it counts is fixed", "remove "+field+", or choose another name for a metric of your own")
			}
		}
		return
	}
	if f, wrong := errors.AsType[*delivery.FieldError](metric.Check("")); wrong {
		path, _ := m.said(f.Field)
		if !m.complained(path) {
			m.wrong(path, f.Why, f.Next)
		}
	}
}

// said returns where the strongest layer writes a field, or else the place
// where it would.
func (m metricOf) said(field string) (string, bool) {
	for _, l := range m.layers {
		path := join(l.path+".judge.metrics."+m.name, field)
		if _, ok := m.keys[path]; ok {
			return path, true
		}
	}
	return join(m.layers[0].path+".judge.metrics."+m.name, field), false
}

// metricName says what is wrong with a name that a person chose for a metric.
func metricName(name string) (why, next string) {
	switch {
	case delivery.BuiltinName(name):
		return "", ""
	case delivery.ReservedMetric(name):
		return fmt.Sprintf("%s of the service's own requests is always judged", name), "its margins are error_ratio, latency_ratio and those beside them; choose another name for a metric of your own"
	case !validMetric.MatchString(name):
		return fmt.Sprintf("%q is not a name for a metric: lower-case letters, digits, dashes and underscores, a letter first, at most 63", clip(name)), "say " + strings.ReplaceAll(nameFrom(name), "-", "_")
	}
	return "", ""
}
