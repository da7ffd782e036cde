package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// servicesView is the list of services, with what they are asked in one environment.
type servicesView struct {
	Empty *empty
	Ask   servicesAsk
	Envs  []string
	Rows  []serviceRow
	Found int
	All   int
	Pager pager
}

// servicesAsk is what of the services is asked for.
type servicesAsk struct {
	Text string
	Env  string // whose traffic is shown
	Page int
}

func (a servicesAsk) href(page int) string {
	v := url.Values{}
	if a.Text != "" {
		v.Set("q", a.Text)
	}
	if a.Env != "" {
		v.Set("env", a.Env)
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return "/services"
	}
	return "/services?" + v.Encode()
}

// serviceRow is one service of the list.
type serviceRow struct {
	Service  string
	Versions []boardCell
	Asked    string // requests a second; "" is none
	Failed   string // of them
	Bad      bool   // enough of them fail to be looked at
	Well     sign   // instances, of all environments
}

// badShare is from which share of failed requests on a number stands out.
const badShare = 0.01

func (w *Web) services(ctx context.Context, q request) (page, error) {
	p := page{Tab: "services", Title: "Services", Name: "services", Live: true}
	b, err := w.boardOrNone(ctx)
	if err != nil {
		return page{}, err
	}
	if len(b.Services) == 0 {
		p.View = servicesView{Empty: noProject()}
		return p, nil
	}
	ask, err := askServices(q.Request, b.Environments)
	if err != nil {
		return page{}, err
	}
	rows := slices.DeleteFunc(slices.Clone(b.Services), func(row delivery.Row) bool {
		return ask.Text != "" && !holdsText(row, strings.ToLower(ask.Text))
	})
	slices.SortStableFunc(rows, func(a, b delivery.Row) int { return strings.Compare(a.Service, b.Service) })
	v := servicesView{Ask: ask, Envs: b.Environments, Found: len(rows), All: len(b.Services)}
	rows, v.Pager = pageOf(rows, ask.Page, ask.href)
	shown := map[string]bool{}
	for _, row := range rows {
		shown[row.Service] = true
	}
	env := ask.Env
	if env == "" {
		env = b.Environments[len(b.Environments)-1]
	}
	v.Ask.Env = env
	rates := map[string]control.Rate{}
	for _, r := range w.d.Loop.Rates(func(service string) bool { return shown[service] }) {
		if r.Env == env {
			rates[r.Service] = r
		}
	}
	for _, row := range rows {
		v.Rows = append(v.Rows, serviceRowOf(row, rates))
	}
	p.View = v
	return p, nil
}

// boardOrNone is the board; the zero Board while there is no project.
func (w *Web) boardOrNone(ctx context.Context) (delivery.Board, error) {
	b, err := w.d.Loop.Board(ctx)
	if isNoProject(err) {
		return delivery.Board{}, nil
	}
	return b, err
}

func askServices(r *http.Request, envs []string) (servicesAsk, error) {
	q := r.URL.Query()
	a := servicesAsk{Text: strings.TrimSpace(q.Get("q")), Env: q.Get("env")}
	if a.Env != "" && !slices.Contains(envs, a.Env) {
		return a, delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", a.Env, envs, "slipway status")
	}
	var err error
	a.Page, err = pageNumber(q.Get("page"))
	return a, err
}

func serviceRowOf(row delivery.Row, rates map[string]control.Rate) serviceRow {
	out := serviceRow{Service: row.Service}
	healthy, want := 0, 0
	for _, c := range row.Cells {
		out.Versions = append(out.Versions, boardCellOf(c))
		if c.Version != "" {
			healthy += c.Healthy
			want += c.Want
		}
	}
	if r, ok := rates[row.Service]; ok {
		out.Asked, out.Failed, out.Bad = perSecond(r.Second), percent(r.Failed), r.Failed >= badShare
	}
	out.Well = sign{signGood.Icon, fmt.Sprintf("%d of %d healthy", healthy, want), signGood.Class}
	switch {
	case want == 0:
		out.Well = sign{signSuperseded.Icon, "none wanted", signSuperseded.Class}
	case healthy < want:
		out.Well.Icon, out.Well.Class = signFailed.Icon, signFailed.Class
	}
	return out
}

// perSecond writes a rate with its unit.
func perSecond(v float64) string {
	return strconv.FormatFloat(v, 'f', -1, 64) + " req/s"
}
