package delivery

import (
	"errors"
	"math"
	"testing"
)

// What a policy says of a built-in metric changes it, takes it away, or is
// passed over where the service has no such metric; what is counted stays.
func TestWithBuiltin(t *testing.T) {
	p := JudgePolicy{Metrics: []Metric{
		{Name: "orders", Kind: KindCount, From: FromService, Value: "orders_total"},
		{Name: "latency at frontend", Role: Watch, Value: "ignored"},
		{Name: "errors at nobody", Role: Required},
		{Name: MetricErrorLines, Off: true},
		{Name: MetricMemory, Ratio: 1.5},
	}}
	var names []string
	for _, m := range p.WithBuiltin(BuiltinMetrics([]string{"frontend"})) {
		names = append(names, m.Name)
		switch m.Name {
		case "latency at frontend":
			if m.Role != Watch || m.Value != "" || m.Kind != KindLatency || len(m.Callers) != 1 || !m.Builtin {
				t.Errorf("latency at frontend = %+v", m)
			}
		case MetricMemory:
			if m.Ratio != 1.5 || m.Role != Guard || m.Unit != "bytes" {
				t.Errorf("memory = %+v", m)
			}
		}
	}
	want := []string{MetricRestarts, MetricMemory, "errors at frontend", "latency at frontend", "orders"}
	if len(names) != len(want) {
		t.Fatalf("judged by %q, want %q", names, want)
	}
	for i := range want {
		if names[i] != want[i] {
			t.Errorf("metric %d is %q, want %q", i, names[i], want[i])
		}
	}
}

// Numbers that are none are refused wherever they stand; YAML cannot say them,
// but the API can.
func TestMetricNumbers(t *testing.T) {
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1} {
		for field, m := range map[string]Metric{
			"ratio": {Ratio: v}, "promote_ratio": {PromoteRatio: v}, "add": {Add: v}, "promote_add": {PromoteAdd: v},
		} {
			m.Name, m.Kind, m.From, m.Value = "m", KindCount, FromService, "x"
			err, wrong := errors.AsType[*FieldError](m.Check("metrics.m"))
			if !wrong || err.Field != "metrics.m."+field || err.Next == "" {
				t.Errorf("%s of %v: %v", field, v, err)
			}
		}
		low, high := v, 5.0
		m := Metric{Name: "m", Kind: KindMean, From: FromService, Value: "x", Per: "y", Low: &low, High: &high}
		if err := m.Check(""); (err == nil) != (v == -1) {
			t.Errorf("low %v: %v", v, err)
		}
	}
	for _, m := range BuiltinMetrics([]string{"a"}) {
		if !BuiltinName(m.Name) || m.Check("") != nil {
			t.Errorf("built-in %q: %v", m.Name, m.Check(""))
		}
	}
}
