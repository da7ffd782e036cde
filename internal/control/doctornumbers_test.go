package control

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/scrape"
)

// Doctor says of pages that do not answer, of what is left out, and of a port that
// somebody else has; a page that was only guessed is no failure.
func TestTelemetryFindings(t *testing.T) {
	page := func(instance string, guess, found, up bool, why string) scrape.State {
		return scrape.State{
			Target: scrape.Target{Series: metric.Series{Service: "cart", Env: "prod", Instance: instance}, URL: "http://127.0.0.1:1/" + instance, Guess: guess},
			Found:  found, Up: up, At: time.Now(), Why: why,
		}
	}
	pages := []scrape.State{
		page("good", true, true, true, ""), page("guessed", true, false, false, "404"), page("much", false, true, true, "its labels have too many values"),
		page("gone", true, true, false, "connection refused"), page("named", false, false, false, ""),
		{Target: scrape.Target{Series: metric.Series{Instance: "not asked yet"}}},
	}
	var deaf error
	l := New(Deps{Telemetry: Telemetry{Pages: func() []scrape.State { return slices.Clone(pages) }, Heard: func() (string, error) { return "127.0.0.1:4318", deaf }}})
	said := func() string {
		var b strings.Builder
		for _, f := range l.telemetryFindings() {
			fmt.Fprintf(&b, "%s %s: %s | %s\n", f.Outcome, f.Name, f.What, f.Next)
		}
		return b.String()
	}
	want := `warn metrics of gone: http://127.0.0.1:1/gone does not answer as it should: connection refused | slipway logs cart --env prod, or mend metrics: of services.cart in slipway.yaml
warn metrics of named: http://127.0.0.1:1/named does not answer as it should: it is down | slipway logs cart --env prod, or mend metrics: of services.cart in slipway.yaml
warn metrics of much: something is left out: its labels have too many values | leave values without end, such as users or paths, out of labels of cart
warn metrics pages: 2 of 4 answer | see the lines above
ok OTLP receiver: takes metrics and traces of SDKs at 127.0.0.1:4318 | 
`
	if got := said(); got != want {
		t.Errorf("findings =\n%s\nwant\n%s", got, want)
	}
	deaf, pages = errors.New("listen tcp 127.0.0.1:4318: bind: address already in use"), pages[:1]
	want = `ok metrics pages: 1 of 1 answer | 
bad OTLP receiver: metrics and traces that SDKs send to 127.0.0.1:4318 are not taken: listen tcp 127.0.0.1:4318: bind: address already in use | end what uses the port; it is tried again every few seconds
`
	if got := said(); got != want {
		t.Errorf("findings =\n%s\nwant\n%s", got, want)
	}
	if got := New(Deps{}).telemetryFindings(); len(got) != 0 {
		t.Errorf("without telemetry: %v", got)
	}
	pages = nil
	for i := range 30 {
		pages = append(pages, page(fmt.Sprint("i", i), false, true, false, "down"))
	}
	if got := strings.Count(said(), "warn metrics of"); got != maxLost {
		t.Errorf("%d of 30 pages that are down are listed, want %d", got, maxLost)
	}
}
