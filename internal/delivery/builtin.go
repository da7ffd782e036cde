package delivery

import (
	"slices"
	"strings"
)

// The metrics that every release is judged by without being asked, beside the
// errors and latency of its own requests. They may be changed, or switched off,
// by these names.
const (
	MetricRestarts   = "restarts"    // times that its instances exited by themselves
	MetricMemory     = "memory"      // what its instances hold
	MetricErrorLines = "error-lines" // lines of the levels error and above that they write
)

// What is counted of the lines that instances write.
const (
	LinesAll   = "lines" // all of them
	LinesWarn  = "warn"  // those of the level warn
	LinesError = "error" // those of the level error and above
)

// The beginnings of the names of what is seen at a caller.
const (
	errorsAt  = "errors at "
	latencyAt = "latency at "
)

// BuiltinName says whether a metric of that name may be built in.
func BuiltinName(name string) bool {
	for _, at := range []string{errorsAt, latencyAt} {
		if caller, ok := strings.CutPrefix(name, at); ok && caller != "" {
			return true
		}
	}
	return name == MetricRestarts || name == MetricMemory || name == MetricErrorLines
}

// ReservedMetric says whether a name is that of a test which is always made.
func ReservedMetric(name string) bool {
	return slices.Contains([]string{"errors", "latency", "p50", "p90", "p95", "p99", "slo", "assignment"}, name)
}

// BuiltinMetrics lists the metrics of a service whose requests come from the
// services named, too: what is bad with it may show at them alone, as when they
// wait for it, or fail on an answer that is well-formed and wrong.
func BuiltinMetrics(callers []string) []Metric {
	out := []Metric{
		{Name: MetricRestarts, Kind: KindCount, From: FromWorkload, Value: "restarts", Per: PerSeconds, Unit: "1/s", Role: Guard, Builtin: true},
		{Name: MetricMemory, Kind: KindLevel, From: FromWorkload, Value: "memory", Unit: "bytes", Role: Guard, Builtin: true},
		{Name: MetricErrorLines, Kind: KindCount, From: FromLogs, Value: LinesError, Per: PerRequests, Unit: "1/request", Role: Guard, Builtin: true},
	}
	for _, caller := range callers {
		out = append(out,
			Metric{Name: errorsAt + caller, Kind: KindShare, From: FromTraffic, Unit: "share", Role: Guard, Builtin: true, Callers: []string{caller}},
			Metric{Name: latencyAt + caller, Kind: KindLatency, From: FromTraffic, Unit: "s", Role: Guard, Builtin: true, Callers: []string{caller}})
	}
	return out
}

// WithBuiltin returns the metrics that a release is judged by: the built-in ones
// as the policy changes them, and then the policy's own. What is switched off is
// left out, and so is a change to a built-in metric that the service does not have.
func (p JudgePolicy) WithBuiltin(builtin []Metric) []Metric {
	var out []Metric
	for _, m := range builtin {
		i := slices.IndexFunc(p.Metrics, func(own Metric) bool { return own.Name == m.Name })
		if i < 0 {
			out = append(out, m)
			continue
		}
		if !p.Metrics[i].Off {
			out = append(out, m.changed(p.Metrics[i]))
		}
	}
	for _, m := range p.Metrics {
		if !m.Off && !m.Builtin && !BuiltinName(m.Name) {
			out = append(out, m)
		}
	}
	return out
}

// changed lays the fields that by sets over a built-in metric; what is counted stays.
func (m Metric) changed(by Metric) Metric {
	by.Name, by.Kind, by.From, by.Value, by.Per, by.Callers, by.Builtin = m.Name, m.Kind, m.From, m.Value, m.Per, m.Callers, true
	if by.Unit == "" {
		by.Unit = m.Unit
	}
	if by.Role == "" {
		by.Role = m.Role
	}
	return by
}
