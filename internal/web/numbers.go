package web

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
)

// numbersView is the numbers of a service in an environment, by release, and any
// other number that is asked for.
type numbersView struct {
	Service      string
	Services     []string
	Listed       bool // they are few enough to be listed
	Env          string
	Environments []string
	Last         string // "10m" or "24h"
	Charts       []chart
	Silent       []string // the titles of those without a number
	More         int      // releases that are not drawn
	Ask          numbersAsk
	Empty        *empty // there is no service
}

// The spans that can be chosen.
const (
	lastShort = "10m"
	lastLong  = "24h"
)

func (w *Web) numbers(ctx context.Context, q request) (page, error) {
	p := page{Tab: "numbers", Title: "Metrics", Name: "numbers", Live: true}
	project, err := w.d.Loop.Project(ctx)
	if none := nothingYet(project, err); none != nil {
		p.View = numbersView{Empty: none}
		return p, nil
	}
	if err != nil {
		return page{}, err
	}
	v := numbersView{Listed: len(project.Services) <= maxListed, Services: project.ServiceNames(), Environments: project.EnvironmentNames(), Last: lastShort}
	form := q.URL.Query()
	if v.Service = form.Get("service"); v.Service == "" {
		v.Service = v.Services[0]
	}
	if v.Env, err = envAsked(project, form.Get("env")); err != nil {
		return page{}, err
	}
	switch last := form.Get("last"); last {
	case "", lastShort:
	case lastLong:
		v.Last = lastLong
	default:
		return page{}, delivery.InvalidNext("last", fmt.Sprintf("%q is not kept", last), "choose 10m or 24h")
	}
	golden, err := w.d.Loop.Golden(ctx, v.Service, v.Env, v.span())
	if err != nil {
		return page{}, err
	}
	v.More = golden.More
	for _, s := range golden.Signals {
		c := goldenChart(golden, s)
		if c.silent() {
			v.Silent = append(v.Silent, s.Title)
			continue
		}
		v.Charts = append(v.Charts, c)
	}
	if v.Ask, err = w.askNumbers(ctx, form, v, project.Prometheus.URL); err != nil {
		return page{}, err
	}
	p.Title, p.View, p.Live = "Metrics of "+v.Service+" in "+v.Env, v, v.Ask.Where != wherePrometheus || v.Ask.Query == ""
	return p, nil
}

func (v numbersView) span() time.Duration {
	if v.Last == lastLong {
		return control.LongSpan
	}
	return control.ShortSpan
}

// goldenChart draws one signal, a line for each release.
func goldenChart(g control.Golden, s control.GoldenSignal) chart {
	c := chart{ID: "number-" + s.Name, Title: s.Title, Unit: s.Unit, From: g.From, To: g.To - g.Step}
	c.Offset, c.Zone = zone(time.Unix(g.To, 0))
	var said []string
	others := 0
	for _, line := range s.Lines {
		x := series{Name: line.Version, Class: line.Role, Values: spreadPoints(line.Points, g.From, g.To, g.Step)}
		if x.Name == "" {
			x.Name = string(line.Release)
		}
		if line.Role == "" {
			x.Class = []string{"c1", "c3", "c4", "c5", "c6"}[others%5] // c2 is as the canary
			others++
		} else {
			x.Name += " (" + line.Role + ")"
		}
		if slices.ContainsFunc(c.Series, func(other series) bool { return other.Name == x.Name }) {
			x.Name += " " + string(line.Release)
		}
		c.Series = append(c.Series, x)
		said = append(said, x.Name+" "+saidOf(x.Values, s.Unit))
	}
	c.Sentence = s.Title + " of " + g.Service + " in " + g.Env + ": " + strings.Join(said, "; ") + "."
	if len(said) == 0 {
		c.Sentence = s.Title + " of " + g.Service + " in " + g.Env + ": nothing was released there yet."
	}
	return c
}

// silent says whether a chart has no number at all.
func (c chart) silent() bool {
	return !slices.ContainsFunc(c.Series, func(s series) bool { _, high := extremes(s.Values); return !math.IsNaN(high) })
}

// spreadPoints lays points out at equal distances; what is not known is NaN.
func spreadPoints(points []embedded.LinePoint, from, to, step int64) []float64 {
	out := make([]float64, max(0, (to-from)/step))
	for i := range out {
		out[i] = math.NaN()
	}
	for _, p := range points {
		if i := (p.At - from) / step; i >= 0 && i < int64(len(out)) {
			out[i] = p.Value
		}
	}
	return out
}

// saidOf is a line in words: its last value and its highest.
func saidOf(values []float64, unit string) string {
	_, high := extremes(values)
	if math.IsNaN(high) {
		return "has no numbers"
	}
	last := math.NaN()
	for _, v := range values {
		if !math.IsNaN(v) {
			last = v
		}
	}
	return strings.TrimRight("last "+short(last)+" "+unit, " ") + strings.TrimRight(", at most "+short(high)+" "+unit, " ")
}
