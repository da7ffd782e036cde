package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
)

// Where a number may be asked for.
const (
	whereSlipway    = "slipway"
	wherePrometheus = "prometheus"
)

// Bounds of an answer, and of the names that are offered.
const (
	maxAskedLines = 6
	maxNames      = 100
	maxNameLinks  = 40
)

// numbersAsk is a question for any number, and its answer.
type numbersAsk struct {
	Query    string
	Where    string
	Server   string // that answers PromQL, as slipway.yaml names it; "" is none
	Show     string
	Shows    []string
	Quantile string
	Names    []embedded.Name
	More     int // names that are not offered
	Links    []nameLink

	Answer *chart
	Note   string // what the answer leaves out
	Wrong  string // why there is none
	Next   string
}

// nameLink leads to one number.
type nameLink struct{ Name, Href string }

// links leads to the first of the names that are known, those of the service itself
// before those that everybody has.
func (a *numbersAsk) links(v numbersView) {
	names := slices.Clone(a.Names)
	slices.SortStableFunc(names, func(x, y embedded.Name) int {
		own := map[bool]int{true: 0, false: 1}
		return own[x.From == delivery.FromService] - own[y.From == delivery.FromService]
	})
	for _, n := range names[:min(len(names), maxNameLinks)] {
		where := url.Values{"service": {v.Service}, "env": {v.Env}, "last": {v.Last}, "where": {whereSlipway}, "q": {n.Name}}
		a.Links = append(a.Links, nameLink{inert(n.Name), "/numbers?" + where.Encode()})
	}
}

// askNumbers reads a question and answers it. What is wrong with it is a part of
// the page; an error is of the page itself.
func (w *Web) askNumbers(ctx context.Context, form url.Values, v numbersView, server string) (numbersAsk, error) {
	a := numbersAsk{
		Query: form.Get("q"), Where: form.Get("where"), Server: server, Show: form.Get("show"), Quantile: form.Get("quantile"),
		Shows: []string{string(embedded.ShowRate), string(embedded.ShowIncrease), string(embedded.ShowMean), string(embedded.ShowMax), string(embedded.ShowQuantile)},
	}
	if a.Where != whereSlipway && server != "" {
		a.Where = wherePrometheus
	} else {
		a.Where = whereSlipway
	}
	if a.Quantile == "" {
		a.Quantile = "0.95"
	}
	if a.Names, a.More = w.d.Loop.Names(v.Env, v.Service); len(a.Names) > maxNames {
		a.Names, a.More = a.Names[:maxNames], a.More+len(a.Names)-maxNames
	}
	a.links(v)
	if strings.TrimSpace(a.Query) == "" {
		return a, nil
	}
	var err error
	if a.Where == wherePrometheus {
		err = w.askPrometheus(ctx, &a, v)
	} else {
		err = w.askSlipway(ctx, &a, v)
	}
	bad, ours := errors.AsType[*delivery.FieldError](err)
	switch {
	case ctx.Err() != nil:
		return a, ctx.Err()
	case ours:
		a.Wrong, a.Next = inert(bad.Why), inert(bad.Next)
	case err != nil:
		a.Wrong = inert(err.Error())
	}
	return a, nil
}

// askSlipway answers from what Slipway itself keeps.
func (w *Web) askSlipway(ctx context.Context, a *numbersAsk, v numbersView) error {
	sel, err := embedded.ParseSelector(a.Query)
	if err != nil {
		if a.Server != "" {
			return err
		}
		bad, _ := errors.AsType[*delivery.FieldError](err)
		return delivery.InvalidNext("q", bad.Why, `ask for one series here, such as requests or orders_total{result="failed"}; for all of PromQL name a server at the top of slipway.yaml: prometheus: {url: http://127.0.0.1:9090}`)
	}
	from, kind := a.find(sel.Name)
	show := embedded.Show(a.Show)
	if show == "" {
		show = usualShow(kind)
	}
	q := shownQuery{embedded.Query{Env: v.Env, Service: v.Service, From: from, Select: sel, Show: show}}
	if show == embedded.ShowQuantile {
		if q.Quantile, err = strconv.ParseFloat(a.Quantile, 64); err != nil {
			return delivery.Invalid("quantile", "is no number between 0 and 1")
		}
	}
	first, last, step := control.Window(v.span(), time.Now())
	q.First, q.Last, q.Step = time.Unix(first, 0), time.Unix(last-1, 0), time.Duration(step)*time.Second
	lines, err := w.d.Loop.Query(ctx, q.Query)
	if err != nil {
		return err
	}
	if len(lines) == 0 {
		return delivery.InvalidNext("q", fmt.Sprintf("%s has told no %s in %s in this time", v.Service, a.Query, v.Env), "choose one of the names that are offered, or slipway doctor to see who is asked for metrics")
	}
	c := chart{ID: "number-asked", Title: q.said() + " of " + inert(a.Query), From: first, To: last - step}
	for _, line := range lines[:min(len(lines), maxAskedLines)] {
		c.Series = append(c.Series, series{Name: inert(cmp.Or(line.Version, string(line.Release)) + labelsText(line.Labels)), Values: spreadPoints(line.Points, first, last, step)})
	}
	a.answer(c, len(lines)-maxAskedLines)
	return nil
}

// shownQuery is a query as people read it.
type shownQuery struct{ embedded.Query }

// said is what is shown of the numbers, in words.
func (q shownQuery) said() string {
	switch q.Show {
	case embedded.ShowRate:
		return "rate a second"
	case embedded.ShowIncrease:
		return "increase in " + q.Step.String()
	case embedded.ShowQuantile:
		return strconv.FormatFloat(q.Quantile, 'g', 3, 64) + " quantile"
	case embedded.ShowMean, embedded.ShowMax:
	}
	return string(q.Show)
}

// find returns who tells a number, and of which kind it is.
func (a *numbersAsk) find(name string) (delivery.MetricSource, metric.SeriesKind) {
	for _, part := range []string{"", "_sum", "_count"} {
		i := slices.IndexFunc(a.Names, func(n embedded.Name) bool { return n.Name == strings.TrimSuffix(name, part) })
		if i >= 0 {
			return a.Names[i].From, a.Names[i].Kind
		}
	}
	switch name {
	case embedded.Latency:
		return delivery.FromTraffic, metric.Histogram
	case embedded.Requests, embedded.Failures, embedded.Units, embedded.UnitsBad:
		return delivery.FromTraffic, metric.Counter
	}
	return delivery.FromService, ""
}

// usualShow is what is shown of a kind when nobody says.
func usualShow(k metric.SeriesKind) embedded.Show {
	switch k {
	case metric.Gauge:
		return embedded.ShowMean
	case metric.Histogram:
		return embedded.ShowQuantile
	case metric.Counter:
	}
	return embedded.ShowRate
}

// askPrometheus lets the server answer that slipway.yaml names.
func (w *Web) askPrometheus(ctx context.Context, a *numbersAsk, v numbersView) error {
	first, last, step := control.Window(v.span(), time.Now())
	got, err := w.d.Loop.PromQL(ctx, prometheus.RangeQuery{Expr: a.Query, First: time.Unix(first, 0), Last: time.Unix(last-step, 0), Step: time.Duration(step) * time.Second})
	if err != nil {
		return err
	}
	if len(got.Lines) == 0 {
		return delivery.InvalidNext("q", "the server has no series for this in this time", "look at the names and labels: count by (__name__) ({release!=\"\"})")
	}
	c := chart{ID: "number-asked", Title: inert(a.Query), From: first, To: last - step}
	for _, line := range got.Lines[:min(len(got.Lines), maxAskedLines)] {
		points := make([]embedded.LinePoint, len(line.Points))
		for i, p := range line.Points {
			points[i] = embedded.LinePoint(p)
		}
		name := labelsText(line.Labels)
		if name == "" {
			name = "value"
		}
		c.Series = append(c.Series, series{Name: inert(name), Values: spreadPoints(points, first, last, step)})
	}
	a.answer(c, len(got.Lines)+got.More-maxAskedLines)
	if got.Natives > 0 {
		a.note("Whole histograms cannot be drawn: ask for histogram_quantile(0.95, …) of them.")
	}
	for _, warning := range got.Warnings {
		a.note("The server warns: " + inert(warning))
	}
	return nil
}

// answer draws what was found, and says how many lines there are beside.
func (a *numbersAsk) answer(c chart, more int) {
	c.Offset, c.Zone = zone(time.Unix(c.To, 0))
	var said []string
	for i := range c.Series {
		c.Series[i].Class = fmt.Sprintf("c%d", 1+i%6)
		said = append(said, c.Series[i].Name+" "+saidOf(c.Series[i].Values, ""))
	}
	c.Sentence = c.Title + ": " + strings.Join(said, "; ") + "."
	a.Answer = &c
	if more > 0 {
		a.note(strconv.Itoa(more) + " more series are not drawn: add labels, or sum them up.")
	}
	if c.silent() {
		a.note("No value in this time is a number.")
	}
}

func (a *numbersAsk) note(text string) { a.Note = strings.TrimSpace(a.Note + " " + text) }

// labelsText writes labels as they are asked for.
func labelsText(labels []metric.Label) string {
	name, parts := "", []string(nil)
	for _, l := range labels {
		if l.Name == "__name__" {
			name = l.Value
			continue
		}
		parts = append(parts, l.Name+"="+strconv.Quote(l.Value))
	}
	if len(parts) == 0 {
		return name
	}
	return name + "{" + strings.Join(parts, ", ") + "}"
}
