package metrics_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/proxy/metrics"
	"github.com/slipway-cd/slipway/internal/proxy/metrics/metricstest"
)

func TestText(t *testing.T) {
	var x metrics.Text
	x.Begin(metrics.Family{Name: "slipway_requests_total", Kind: metrics.Counter, Help: "Requests.\nBy class \\ route."})
	x.Count([]metrics.Label{{Name: "route", Value: `prod/"sh\op"`}, {Name: "caller"}, {Name: "class", Value: "a\nb"}}, 7)
	x.Count(nil, math.MaxUint64)
	x.Begin(metrics.Family{Name: "slipway_start_time_seconds", Kind: metrics.Gauge, Help: "Start."})
	x.Value(nil, 1.5e9)
	x.Value([]metrics.Label{{Name: "x", Value: "inf"}}, math.Inf(1))
	want := `# HELP slipway_requests_total Requests.\nBy class \\ route.
# TYPE slipway_requests_total counter
slipway_requests_total{route="prod/\"sh\\op\"",class="a\nb"} 7
slipway_requests_total 18446744073709551615
# HELP slipway_start_time_seconds Start.
# TYPE slipway_start_time_seconds gauge
slipway_start_time_seconds 1.5e+09
slipway_start_time_seconds{x="inf"} +Inf
`
	if got := string(x.Bytes()); got != want {
		t.Errorf("Text =\n%s\nwant\n%s", got, want)
	}
	metricstest.Parse(t, want)
}

func TestTimes(t *testing.T) {
	var h, other metrics.Times
	for _, ms := range []int64{0, 1, 2, 100, 101, 70_000} {
		h.Add(ms * 1e6)
	}
	other.Add(-5) // a clock that went back
	h.Merge(&other)
	var x metrics.Text
	x.Begin(metrics.Family{Name: "a_seconds", Kind: metrics.Histogram, Help: "A."})
	x.Times([]metrics.Label{{Name: "route", Value: "r"}}, &h)
	m := metricstest.Parse(t, string(x.Bytes()))
	for le, want := range map[string]float64{"0.0005": 2, "0.001": 3, "0.0025": 4, "0.05": 4, "0.1": 5, "0.25": 6, "60": 6, "+Inf": 7} {
		if got := m[`a_seconds_bucket{route="r",le="`+le+`"}`]; got != want {
			t.Errorf("%v are at most %s s, want %v", got, le, want)
		}
	}
	if sum := m[`a_seconds_sum{route="r"}`]; math.Abs(sum-70.204) > 1e-9 {
		t.Errorf("sum = %v s", sum)
	}
}

// Whatever labels hold, what is written is a valid exposition.
func TestAnyLabelIsEscaped(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		var x metrics.Text
		x.Begin(metrics.Family{Name: "a_total", Kind: metrics.Counter, Help: "A" + rapid.String().Draw(t, "help")})
		for i := range 3 {
			x.Count([]metrics.Label{{Name: "n", Value: fmt.Sprint(i)}, {Name: "v", Value: string(rapid.SliceOf(rapid.Byte()).Draw(t, "v"))}}, 1)
		}
		if m := metricstest.Parse(outer, string(x.Bytes())); m.Sum("a_total") != 3 {
			t.Fatalf("%s holds %v", x.Bytes(), m)
		}
		if strings.Count(string(x.Bytes()), "\n") != 5 {
			t.Fatalf("a line was split: %q", x.Bytes())
		}
	})
}
