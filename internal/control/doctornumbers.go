package control

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/slipway-cd/slipway/internal/metric/scrape"
)

// Pages is what is known of the pages that instances show their metrics on: those
// that do not answer first, then those of which something was left out.
func (l *Loop) Pages() []scrape.State {
	if l.d.Telemetry.Pages == nil {
		return nil
	}
	all := l.d.Telemetry.Pages()
	rank := func(s scrape.State) int {
		switch {
		case lost(s):
			return 0
		case s.Why != "" && s.Up:
			return 1
		}
		return 2
	}
	slices.SortFunc(all, func(a, b scrape.State) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Series.Service, b.Series.Service), cmp.Compare(a.Series.Env, b.Series.Env), cmp.Compare(a.Series.Instance, b.Series.Instance))
	})
	return all
}

// lost says whether a page that should be there does not answer. One that was only
// guessed and never found is none.
func lost(s scrape.State) bool { return !s.Up && !s.At.IsZero() && (s.Found || !s.Guess) }

// maxLost is how many pages that do not answer doctor lists.
const maxLost = 10

// telemetryFindings says whether numbers come in: from pages, and from SDKs.
func (l *Loop) telemetryFindings() []Finding {
	var out []Finding
	pages := l.Pages()
	up, bad := 0, 0
	for _, s := range pages {
		switch {
		case lost(s):
			if bad++; bad <= maxLost {
				out = append(out, Finding{
					Name: "metrics of " + s.Series.Instance, Outcome: FindWarn, What: s.URL + " does not answer as it should: " + cmp.Or(s.Why, "it is down"),
					Next: "slipway logs " + s.Series.Service + " --env " + s.Series.Env + ", or mend metrics: of services." + s.Series.Service + " in slipway.yaml",
				})
			}
		case s.Up && s.Why != "":
			out = append(out, Finding{
				Name: "metrics of " + s.Series.Instance, Outcome: FindWarn, What: "something is left out: " + s.Why,
				Next: "leave values without end, such as users or paths, out of labels of " + s.Series.Service,
			})
			up++
		case s.Up:
			up++
		}
	}
	if up+bad > 0 {
		all := Finding{Name: "metrics pages", Outcome: FindOK, What: fmt.Sprintf("%d of %d answer", up, up+bad)}
		if bad > 0 {
			all.Outcome, all.Next = FindWarn, "see the lines above"
		}
		out = append(out, all)
	}
	if l.d.Telemetry.Heard != nil {
		addr, err := l.d.Telemetry.Heard()
		heard := Finding{Name: "OTLP receiver", Outcome: FindOK, What: "takes metrics and traces of SDKs at " + addr}
		if err != nil {
			heard.Outcome, heard.What = FindBad, "metrics and traces that SDKs send to "+addr+" are not taken: "+err.Error()
			heard.Next = "end what uses the port; it is tried again every few seconds"
		}
		out = append(out, heard)
	}
	return out
}
