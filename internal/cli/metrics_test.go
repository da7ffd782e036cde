package cli

import (
	"math"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
)

// What is known of releases is drawn to one scale, and what is not known is said.
func TestSignals(t *testing.T) {
	points := func(values ...float64) (out []embedded.LinePoint) {
		for i, v := range values {
			if !math.IsNaN(v) {
				out = append(out, embedded.LinePoint{At: 1000 + int64(i)*6, Value: v})
			}
		}
		return out
	}
	all := control.Golden{Service: "cart", Env: "prod", From: 1000, To: 1000 + 32*6, Step: 6, More: 2, Signals: []control.GoldenSignal{
		{Name: "requests", Unit: "req/s", Lines: []control.GoldenLine{
			{Version: "v1", Role: control.RoleStable, Points: points(80, 40, 0, math.NaN(), 10)},
			{Version: "v2", Role: control.RoleCanary, Points: points(20.26)},
		}},
		{Name: "errors", Unit: "%", Lines: []control.GoldenLine{
			{Version: "v1", Role: control.RoleStable, Points: points(0, 0.031)},
			{Version: "v2", Role: control.RoleCanary},
		}},
	}}
	s := &session{}
	want := `  cart in prod, last 10 minutes
  v1 stable
                                                  now       highest
    requests  █▅▁ ▂                             10 req/s  80 req/s
    errors    ▁█                                0.031 %   0.031 %
  v2 canary
                                                  now         highest
    requests  ▃                                 20.3 req/s  20.3 req/s
    errors    no numbers
  2 releases that answered before: slipway api GET '/metrics/query?service=cart&name=requests'
`
	if got := s.signals(all); squeeze(got) != squeeze(want) {
		t.Errorf("signals =\n%s\nwant\n%s", got, want)
	}
	all.To = all.From + 24*60*60
	if got := s.signals(all); !strings.Contains(got, "last 24 hours") {
		t.Errorf("signals of a day =\n%s", got)
	}
	if got := s.signals(control.Golden{Service: "cart", Env: "prod"}); !strings.Contains(got, "nothing was ever released here   next  slipway deploy cart VERSION") {
		t.Errorf("signals of nothing =\n%s", got)
	}
	for v, want := range map[float64]string{0: "0 ms", 0.0004: "0 ms", 0.5: "0.5 ms", 41.26: "41.3 ms", 1204: "1204 ms"} {
		if got := measure(v, "ms"); got != want {
			t.Errorf("measure(%v) = %q, want %q", v, got, want)
		}
	}
}

// squeeze leaves one blank of several.
func squeeze(text string) string {
	var out []string
	for line := range strings.Lines(text) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(out, "\n")
}
