package web

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// environmentsView is the environments in the order of promotion, what is held, and
// what differs between two of them.
type environmentsView struct {
	Empty *empty
	List  []envCard
	Held  []holdRow // releases that may enter no environment
	Drift *driftView
	Names []string
}

// envCard is one environment.
type envCard struct {
	control.Surroundings

	Place string // "environment 1 of 3"
	Sign  sign
	Facts []fact
	Pins  []holdRow
}

// holdRow is one hold, and what lifts it.
type holdRow struct {
	delivery.Hold

	Said string // by whom and when
	Act  []action
}

// driftView is what differs between two environments.
type driftView struct {
	From, To string
	Said     string
	Rows     []driftRow
	Same     int
	Meant    int
	Pager    pager
}

// driftRow is one service that differs.
type driftRow struct {
	control.ServiceDrift

	Said sign
}

func (w *Web) environments(ctx context.Context, q request) (page, error) {
	p := page{Tab: "environments", Title: "Environments", Name: "environments", Live: true}
	list, held, err := w.d.Loop.Environments(ctx)
	if isNoProject(err) {
		p.View = environmentsView{Empty: noProject()}
		return p, nil
	}
	if err != nil {
		return page{}, err
	}
	v := environmentsView{Held: w.holdRows(q.Who, held)}
	for i, s := range list {
		v.Names = append(v.Names, s.Environment.Name)
		v.List = append(v.List, w.envCard(q.Who, s, i+1, len(list)))
	}
	if v.Drift, err = w.drift(ctx, q, v.Names); err != nil {
		return page{}, err
	}
	p.View = v
	return p, nil
}

// envCard says how an environment stands.
func (w *Web) envCard(who delivery.Who, s control.Surroundings, n, of int) envCard {
	c := envCard{Surroundings: s, Place: fmt.Sprintf("environment %d of %d", n, of), Sign: signGood, Pins: w.holdRows(who, s.Pins)}
	switch {
	case s.Unwell > 0:
		c.Sign = sign{signFailed.Icon, plural(s.Unwell, "service") + " unwell", signFailed.Class}
	case s.Flying > 0:
		c.Sign = sign{signRunning.Icon, fmt.Sprintf("%d in flight", s.Flying), signRunning.Class}
	case len(s.Pins) > 0:
		c.Sign = sign{signPaused.Icon, fmt.Sprintf("%d held", len(s.Pins)), signPaused.Class}
	case s.Stable == 0:
		c.Sign = sign{signSuperseded.Icon, "nothing yet", signSuperseded.Class}
	}
	enters := "when a person promotes it: slipway promote CHANGE --to " + s.Environment.Name
	switch {
	case n == 1:
		enters = "when it is deployed"
	case s.Environment.Promote != delivery.Manual:
		enters = "by itself, once it is stable in the environment before"
	}
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(s.Strategies)) {
		kinds = append(kinds, fmt.Sprintf("%s for %s", k, plural(s.Strategies[k], "service")))
	}
	replicas := plural(s.Replicas[0], "instance") + " of each service"
	if s.Replicas[0] != s.Replicas[1] {
		replicas = fmt.Sprintf("%d to %d instances of a service", s.Replicas[0], s.Replicas[1])
	}
	c.Facts = []fact{
		{Name: "Stable", Value: fmt.Sprintf("%d of %s", s.Stable, plural(s.Services, "service"))},
		{Name: "A release enters", Value: enters},
		{Name: "Instances", Value: replicas},
		{Name: "Strategies", Value: strings.Join(kinds, ", ")},
		{Name: "Judged", Value: fmt.Sprintf("%d of %s", s.Judged, plural(s.Services, "service"))},
		{Name: "Listener", Value: s.Environment.URL(), Class: "mono"},
	}
	return c
}

// holdRows are holds with what lifts them.
func (w *Web) holdRows(who delivery.Who, holds []delivery.Hold) []holdRow {
	var out []holdRow
	for _, h := range holds {
		said := ago(time.Now(), h.At)
		if by := "by " + h.By; !strings.HasSuffix(h.Why, by) { // a reason may name who it was
			said = inert(by) + ", " + said
		}
		out = append(out, holdRow{Hold: h, Said: said, Act: []action{w.actionOfHold(who, h)}})
	}
	return out
}

// drift compares the two environments that are asked for: the last two, unless the
// address says others. A project of one environment has none to compare.
func (w *Web) drift(ctx context.Context, q request, envs []string) (*driftView, error) {
	query := q.URL.Query()
	from, to := query.Get("from"), query.Get("to")
	if from == "" && to == "" {
		if len(envs) < 2 {
			return nil, nil
		}
		from, to = envs[len(envs)-2], envs[len(envs)-1]
	}
	n, err := pageNumber(query.Get("page"))
	if err != nil {
		return nil, err
	}
	d, err := w.d.Loop.Drift(ctx, from, to)
	if err != nil {
		return nil, err
	}
	v := &driftView{From: from, To: to, Same: d.Same, Meant: d.Meant}
	v.Said = fmt.Sprintf("%s differ between %s and %s.", plural(len(d.Services), "service"), from, to)
	switch len(d.Services) {
	case 0:
		v.Said = fmt.Sprintf("Nothing differs between %s and %s.", from, to)
	case 1:
		v.Said = fmt.Sprintf("1 service differs between %s and %s.", from, to)
	}
	shown, pages := pageOf(d.Services, n, func(page int) string {
		values := url.Values{"from": {from}, "to": {to}}
		if page > 1 {
			values.Set("page", strconv.Itoa(page))
		}
		return "/environments?" + values.Encode()
	})
	v.Pager = pages
	for _, s := range shown {
		v.Rows = append(v.Rows, driftRow{ServiceDrift: s, Said: driftSign(s)})
	}
	return v, nil
}

// Others are the kinds that differ besides code, which the sign tells.
func (d driftRow) Others() []delivery.Kind {
	return slices.DeleteFunc(slices.Clone(d.Kinds), func(k delivery.Kind) bool { return k == delivery.Code })
}

// driftSign says in a word what of a service differs.
func driftSign(s control.ServiceDrift) sign {
	switch {
	case s.From == nil:
		return sign{signWaiting.Icon, "only there", signWaiting.Class}
	case s.To == nil:
		return sign{signWaiting.Icon, "not there yet", signWaiting.Class}
	case s.From.Digest != s.To.Digest:
		return sign{"warning", "other code", signUnknown.Class}
	case slices.ContainsFunc(s.Config, func(c control.ConfigDelta) bool { return !c.Meant }):
		return sign{"warning", "other configuration", signUnknown.Class}
	}
	return sign{"warning", "other release", signUnknown.Class}
}
