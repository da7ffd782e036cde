package manifest

import (
	"cmp"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// own stands for a value that the judge chooses by itself.
const own = "the judge's own"

// judge lists what a release is judged by.
func (e *explainer) judge(at string, j delivery.JudgePolicy) {
	e.say(at+".off", strconv.FormatBool(j.Off))
	if j.Off {
		return
	}
	e.say(at+".alpha", orElse(j.Alpha, own))
	e.say(at+".beta", orElse(j.Beta, own))
	e.sayIf(at+".only", string(j.Only))
	e.say(at+".error_ratio", orElse(j.ErrorRatio, own))
	e.say(at+".error_add", orElse(j.ErrorAdd, own))
	e.say(at+".promote_error_ratio", orElse(j.PromoteErrorRatio, own))
	e.say(at+".promote_error_add", orElse(j.PromoteErrorAdd, own))
	e.say(at+".latency_ratio", orElse(j.LatencyRatio, own))
	e.say(at+".promote_latency", orElse(j.PromoteLatency, own))
	e.say(at+".warmup", spanOrWord(j.Warmup, own))
	e.say(at+".cold", spanOrWord(j.Cold, own))
	e.say(at+".at_least", orElse(float64(j.AtLeast), own))
	e.say(at+".slo.errors", orElse(j.SLO.Errors, "not promised"))
	e.say(at+".slo.latency", spanOrWord(j.SLO.Latency, "not promised"))
	if j.SLO.Latency > 0 {
		e.say(at+".slo.within", orElse(j.SLO.Within, own))
	}
	if j.SLO.Errors > 0 || j.SLO.Latency > 0 {
		e.say(at+".slo.patience", spanOrWord(j.SLO.Patience, own))
	}
	for _, m := range j.Metrics {
		e.metric(at+".metrics."+m.Name, m)
	}
}

// metric lists what is said of one metric; what is not said is left out, since
// most fields go with one kind or source only.
func (e *explainer) metric(at string, m delivery.Metric) {
	if m.Off {
		e.say(at+".off", "true")
		return
	}
	if delivery.BuiltinName(m.Name) {
		e.sayIf(at+".role", string(m.Role))
	} else {
		e.say(at+".kind", string(m.Kind))
		e.say(at+".from", string(m.From))
		e.say(at+".role", cmp.Or(string(m.Role), string(delivery.Guard)))
	}
	e.sayIf(at+".value", m.Value)
	e.sayIf(at+".per", m.Per)
	e.sayIf(at+".unit", m.Unit)
	e.sayIf(at+".better", string(m.Better))
	e.sayIf(at+".no_data", string(m.NoData))
	e.sayIf(at+".ratio", orElse(m.Ratio, ""))
	e.sayIf(at+".add", orElse(m.Add, ""))
	e.sayIf(at+".promote_ratio", orElse(m.PromoteRatio, ""))
	e.sayIf(at+".promote_add", orElse(m.PromoteAdd, ""))
	e.sayIf(at+".quantile", orElse(m.Quantile, ""))
	e.sayIf(at+".at_least", orElse(float64(m.AtLeast), ""))
	e.sayIf(at+".low", limit(m.Low))
	e.sayIf(at+".high", limit(m.High))
	e.sayIf(at+".every", spanOrWord(m.Every, ""))
}

// sayIf says a field that has a value.
func (e *explainer) sayIf(field, value string) {
	if value != "" {
		e.say(field, value)
	}
}

func spanOrWord(d time.Duration, zero string) string {
	if d == 0 {
		return zero
	}
	return delivery.Lasting(d)
}

func limit(f *float64) string {
	if f == nil {
		return ""
	}
	return strconv.FormatFloat(*f, 'g', -1, 64)
}
