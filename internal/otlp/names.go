package otlp

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/slipway-cd/slipway/internal/metric"
)

// maxText is how much of a value is kept, in bytes.
const maxText = 1024

// nameOf is what Prometheus would call a metric, so that one expression selects it
// here and there: http.server.request.duration in s is
// http_server_request_duration_seconds, and what only rises ends in _total.
func nameOf(m *metricspb.Metric, total bool) string {
	name := plain(m.GetName(), true)
	for _, word := range unitWords(m.GetUnit()) {
		if !slices.Contains(strings.Split(name, "_"), word) {
			name += "_" + word
		}
	}
	if total {
		name = strings.TrimSuffix(name, "_total") + "_total"
	} else if m.GetUnit() == "1" && m.GetGauge() != nil && !strings.HasSuffix(name, "_ratio") {
		name += "_ratio"
	}
	return name
}

// plain replaces what a name of Prometheus cannot hold.
func plain(s string, colons bool) string {
	var b strings.Builder
	for i, r := range s {
		ok := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == ':' && colons
		if i == 0 && r >= '0' && r <= '9' {
			b.WriteByte('_')
		}
		switch {
		case ok:
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	return cut(cmp.Or(b.String(), "_"))
}

// unitWords spells a UCUM unit as Prometheus does; what stands in braces says
// nothing of the number.
func unitWords(unit string) []string {
	above, below, per := strings.Cut(unit, "/")
	var words []string
	if w := unitWord(above); w != "" {
		words = append(words, w)
	}
	if w := unitWord(below); per && w != "" {
		words = append(words, "per", strings.TrimSuffix(w, "s"))
	}
	return words
}

func unitWord(u string) string {
	if open := strings.IndexByte(u, '{'); open >= 0 {
		u = u[:open]
	}
	known := map[string]string{
		"d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds",
		"By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes",
		"m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "%": "percent", "1": "",
	}
	if word, ok := known[u]; ok {
		return word
	}
	return strings.Trim(plain(u, false), "_")
}

// labels turns attributes into labels. Those that are called the same then are
// joined, as Prometheus does.
func labels(attrs []*commonpb.KeyValue) []metric.Label {
	out := make([]metric.Label, 0, len(attrs))
	for _, a := range attrs {
		l := metric.Label{Name: plain(a.GetKey(), false), Value: text(a.GetValue())}
		if i := slices.IndexFunc(out, func(o metric.Label) bool { return o.Name == l.Name }); i >= 0 {
			out[i].Value = cut(out[i].Value + ";" + l.Value)
		} else if l.Value != "" {
			out = append(out, l)
		}
	}
	return out
}

// text is a value as people read it.
func text(v *commonpb.AnyValue) string { return cut(say(v)) }

func say(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	case *commonpb.AnyValue_BytesValue:
		return base64.StdEncoding.EncodeToString(v.BytesValue[:min(len(v.BytesValue), maxText)])
	case *commonpb.AnyValue_ArrayValue:
		var parts []string
		for _, e := range v.ArrayValue.GetValues()[:min(len(v.ArrayValue.GetValues()), 100)] {
			parts = append(parts, text(e))
		}
		return "[" + strings.Join(parts, ",") + "]"
	case *commonpb.AnyValue_KvlistValue:
		var parts []string
		for _, e := range v.KvlistValue.GetValues()[:min(len(v.KvlistValue.GetValues()), 100)] {
			parts = append(parts, e.GetKey()+"="+text(e.GetValue()))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	return ""
}

// cut shortens a text to what is kept.
func cut(s string) string { return cutAt(s, maxText) }

// cutAt shortens a text between two letters.
func cutAt(s string, most int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
