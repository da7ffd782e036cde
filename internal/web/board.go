package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// rowsOfPage is how many services a page of a list shows.
const rowsOfPage = 50

// maxFlights is how many rollouts the strip of the board shows; the list below has all.
const maxFlights = 6

// boardView is what runs where, and what can be deployed right now.
type boardView struct {
	Empty   *empty // nothing to show yet; then nothing else is
	Said    string // the big sentence
	Trouble []string
	Flights []flightCard
	Flying  int    // rollouts under way
	More    string // address of those that the strip leaves out; "" if it shows all
	Ask     boardAsk
	Envs    []string // all of them, for the filter
	Head    []string // of the columns
	Rows    []boardRow
	Found   int // services that the filter lets through
	All     int
	Pager   pager
}

// boardAsk is what of the board is asked for. It is the address of the page.
type boardAsk struct {
	Text  string
	Only  string // onlyBlocked, onlyFlying, onlyUnwell, or ""
	Env   string // this column alone
	Order string // orderName, or "" for what needs somebody first
	Page  int    // from 1
}

// What the board can be narrowed to, and another order of it.
const (
	onlyBlocked = "blocked"
	onlyFlying  = "flying"
	onlyUnwell  = "unwell"
	orderName   = "name"
)

// href is the address of a page of the same question.
func (a boardAsk) href(page int) string {
	v := url.Values{}
	for name, value := range map[string]string{"q": a.Text, "only": a.Only, "env": a.Env, "order": a.Order} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if page > 1 {
		v.Set("page", strconv.Itoa(page))
	}
	if len(v) == 0 {
		return "/"
	}
	return "/?" + v.Encode()
}

// Narrow says whether it asks for less than everything.
func (a boardAsk) Narrow() bool { return a.Text != "" || a.Only != "" || a.Env != "" }

// askBoard reads what is asked for, and refuses what no filter has.
func askBoard(r *http.Request, envs []string) (boardAsk, error) {
	q := r.URL.Query()
	a := boardAsk{Text: strings.TrimSpace(q.Get("q")), Only: q.Get("only"), Env: q.Get("env"), Order: q.Get("order")}
	if !slices.Contains([]string{"", onlyBlocked, onlyFlying, onlyUnwell}, a.Only) {
		return a, delivery.InvalidNext("only", "there is no such choice", "say blocked, flying or unwell")
	}
	if !slices.Contains([]string{"", orderName}, a.Order) {
		return a, delivery.InvalidNext("order", "there is no such order", "say name, or leave it out")
	}
	if a.Env != "" && !slices.Contains(envs, a.Env) {
		return a, delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", a.Env, envs, "slipway status")
	}
	var err error
	a.Page, err = pageNumber(q.Get("page"))
	return a, err
}

// pageNumber reads which page of a list is asked for.
func pageNumber(text string) (int, error) {
	if text == "" {
		return 1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1_000_000 {
		return 0, delivery.InvalidNext("page", "is not the number of a page", "leave it out for the first")
	}
	return n, nil
}

// pageOf cuts one page out of a list, and says how to turn it.
func pageOf[T any](all []T, n int, href func(page int) string) ([]T, pager) {
	from := min((n-1)*rowsOfPage, len(all))
	to := min(from+rowsOfPage, len(all))
	p := pager{Text: fmt.Sprintf("%s to %s of %s", grouped(from+1), grouped(to), grouped(len(all)))}
	if from == to {
		p.Text = "nothing here, of " + grouped(len(all))
	}
	if n > 1 {
		p.Prev = href(min(n-1, max(1, (len(all)+rowsOfPage-1)/rowsOfPage)))
	}
	if to < len(all) {
		p.Next = href(n + 1)
	}
	return all[from:to], p
}

// boardRow is one service.
type boardRow struct {
	Service string
	Tone    string // of the row's edge
	Cells   []boardCell
	Now     sign   // can a new change of it go out?
	Why     string // why not, or what to know
	Lifts   string // what ends a no
	Act     []action
}

// boardCell is one service in one environment.
type boardCell struct {
	Env     string
	Version string // that is stable; "" is none
	Change  delivery.ChangeID
	Sign    sign
	Age     string
	Other   string // a version that is under way or on hold here
	OtherIs delivery.ChangeID
}

// flightCard is one rollout of the strip.
type flightCard struct {
	delivery.Rollout

	Weight  string
	Sign    sign
	Verdict *sign
	Spark   spark
	Note    string // what it waits for, or why it is where it is
}

func (w *Web) board(ctx context.Context, q request) (page, error) {
	p := page{Tab: "board", Title: "Board", Name: "board", Live: true}
	b, err := w.d.Loop.Board(ctx)
	if isNoProject(err) {
		p.View = boardView{Empty: noProject()}
		return p, nil
	}
	if err != nil {
		return page{}, err
	}
	ask, err := askBoard(q.Request, b.Environments)
	if err != nil {
		return page{}, err
	}
	v := boardView{Said: deployableSaid(b.Deployable, len(b.Services)), Trouble: b.Trouble, Ask: ask, Envs: b.Environments, All: len(b.Services)}
	if !deployed(b) {
		v.Empty = noRelease(b)
	}
	rows := rowsChosen(b, ask)
	v.Found = len(rows)
	rows, v.Pager = pageOf(rows, ask.Page, ask.href)
	for i, env := range b.Environments {
		if ask.Env != "" && env != ask.Env {
			continue
		}
		v.Head = append(v.Head, env)
		if v.Rows == nil {
			v.Rows = make([]boardRow, len(rows))
		}
		for j, row := range rows {
			v.Rows[j].Cells = append(v.Rows[j].Cells, boardCellOf(row.Cells[i]))
		}
	}
	for j, row := range rows {
		r := &v.Rows[j]
		r.Service, r.Tone, r.Act = row.Service, toneOf(row, ask.Env), w.actionsOfRow(q.Who, row, ask.Env)
		r.Now, r.Why, r.Lifts = deployableOf(row)
	}
	if v.Flights, v.Flying, err = w.flights(ctx, ""); err != nil {
		return page{}, err
	}
	if v.Flying > len(v.Flights) {
		v.More = boardAsk{Only: onlyFlying}.href(1)
	}
	p.View = v
	return p, nil
}

// deployableSaid is the big sentence.
func deployableSaid(can, all int) string {
	services := "services"
	if all == 1 {
		services = "service"
	}
	return fmt.Sprintf("%s of %s %s can be deployed right now.", grouped(can), grouped(all), services)
}

// rowsChosen are the rows that are asked for, in the order that is asked for.
func rowsChosen(b delivery.Board, ask boardAsk) []delivery.Row {
	var out []delivery.Row
	text := strings.ToLower(ask.Text)
	for _, row := range b.Services {
		if text != "" && !holdsText(row, text) || !ask.lets(row) {
			continue
		}
		out = append(out, row)
	}
	slices.SortStableFunc(out, func(a, b delivery.Row) int {
		if ask.Order == orderName {
			return strings.Compare(a.Service, b.Service)
		}
		return cmp.Or(cmp.Compare(urgency(a, ask.Env), urgency(b, ask.Env)), strings.Compare(a.Service, b.Service))
	})
	return out
}

// holdsText says whether the name of a service or a version of it holds a text.
func holdsText(row delivery.Row, low string) bool {
	if strings.Contains(strings.ToLower(row.Service), low) {
		return true
	}
	return slices.ContainsFunc(row.Cells, func(c delivery.Cell) bool {
		return strings.Contains(strings.ToLower(c.Version), low) || c.Flight != nil && strings.Contains(strings.ToLower(c.Flight.Version), low)
	})
}

// lets says whether a row is one of those asked for.
func (a boardAsk) lets(row delivery.Row) bool {
	switch a.Only {
	case onlyBlocked:
		return !row.Now
	case onlyFlying:
		return urgencyWhere(row, a.Env, func(c delivery.Cell) bool { return c.Flight != nil })
	case onlyUnwell:
		return urgencyWhere(row, a.Env, func(c delivery.Cell) bool { return inNeed(c) || unwell(c) })
	}
	return true
}

// urgency orders services: what failed, is held or in an incident comes before what
// is under way, that before instances that are not well, and that before the rest.
func urgency(row delivery.Row, env string) int {
	switch {
	case urgencyWhere(row, env, inNeed):
		return 0
	case urgencyWhere(row, env, func(c delivery.Cell) bool { return c.Flight != nil }):
		return 1
	case urgencyWhere(row, env, unwell):
		return 2
	}
	return 3
}

// toneOf marks what needs somebody at the edge of its row.
func toneOf(row delivery.Row, env string) string {
	return [...]string{"is-bad", "is-run", "is-warn", ""}[urgency(row, env)]
}

// actionsOfRow is the way back, of one environment or of the last that runs anything.
func (w *Web) actionsOfRow(who delivery.Who, row delivery.Row, env string) []action {
	for _, c := range slices.Backward(row.Cells) {
		if c.Env == env || env == "" && (c.Version != "" || c.Flight != nil) {
			a := w.actBack(who, row.Service, c).class("plain")
			a.ID = "back-" + row.Service // the one of its row, and short: there are fifty
			return []action{a}
		}
	}
	return nil
}

// urgencyWhere says whether a cell is so, of one environment or of any.
func urgencyWhere(row delivery.Row, env string, is func(delivery.Cell) bool) bool {
	return slices.ContainsFunc(row.Cells, func(c delivery.Cell) bool { return (env == "" || c.Env == env) && is(c) })
}

// inNeed says whether something failed in a cell, is held, or is in an incident.
func inNeed(c delivery.Cell) bool {
	f := c.Flight
	return c.Held != nil || f != nil && (f.State == delivery.Reverting || f.Waiting != nil && f.Waiting.On == "incident")
}

// unwell says whether fewer instances are healthy in a cell than are wanted.
func unwell(c delivery.Cell) bool { return c.Version != "" && c.Healthy < c.Want }

// boardCellOf says how a service stands in an environment, in one sign.
func boardCellOf(c delivery.Cell) boardCell {
	out := boardCell{Env: c.Env, Version: c.Version, Change: c.Change, Age: shortAge(c.Since)}
	switch {
	case c.Flight != nil:
		out.Sign, out.Other, out.OtherIs = flightSign(*c.Flight), c.Flight.Version, c.Flight.Change
	case c.Held != nil && c.Held.Kind == delivery.Pinned:
		out.Sign = sign{signPaused.Icon, "held", signPaused.Class}
	case c.Held != nil:
		out.Sign, out.Other, out.OtherIs = signBack, c.Held.Version, c.Held.Change
	case c.Version == "":
		out.Sign = sign{signSuperseded.Icon, "nothing yet", signSuperseded.Class}
	case unwell(c):
		out.Sign = sign{signFailed.Icon, fmt.Sprintf("%d of %d healthy", c.Healthy, c.Want), signFailed.Class}
	default:
		out.Sign = signGood
	}
	return out
}

// flightSign is the sign of a rollout under way, with the traffic it has.
func flightSign(f delivery.Flight) sign {
	s := sign{signRunning.Icon, string(f.State), signRunning.Class}
	switch {
	case f.State == delivery.Reverting:
		return sign{signBack.Icon, "going back", signBack.Class}
	case f.Waiting != nil && f.Waiting.On == "incident":
		return sign{signFailed.Icon, "incident", signFailed.Class}
	case f.State == delivery.Queued:
		s = signWaiting
	case f.Waiting != nil && f.Waiting.Who != "":
		s = sign{signPaused.Icon, "waits for a person", signPaused.Class}
	}
	if f.Weight > 0 && f.Weight < delivery.Full {
		s.Word = f.Weight.String() + ", " + s.Word
	}
	return s
}

// deployableOf answers whether a change of a service can go out now.
func deployableOf(row delivery.Row) (s sign, why, lifts string) {
	if row.Now {
		return sign{signGood.Icon, "yes", signGood.Class}, strings.TrimPrefix(row.Sentence, "yes, "), ""
	}
	_, why, _ = strings.Cut(row.Sentence, "  ")
	s = sign{signBlocked.Icon, "no", signBlocked.Class}
	if row.First != nil {
		lifts = row.First.Lifts
		if row.First.Outcome == delivery.GateWaits {
			s = sign{signRunning.Icon, "soon", signRunning.Class}
		}
	}
	return s, why, lifts
}

// deployed says whether anything was ever deployed, or is about to be.
func deployed(b delivery.Board) bool {
	return slices.ContainsFunc(b.Services, func(row delivery.Row) bool {
		return slices.ContainsFunc(row.Cells, func(c delivery.Cell) bool { return c.Version != "" || c.Flight != nil })
	})
}

func noProject() *empty {
	return &empty{
		Title: "There is no project yet",
		Why:   "Three commands bring your services here. Run them in the folder of your code.",
		Commands: []emptyCommand{
			{"Write a slipway.yaml for what is in the folder:", "slipway init"},
			{"Put the project in force:", "slipway up"},
			{"Deliver the first version of a service:", "slipway deploy SERVICE"},
		},
	}
}

func noRelease(b delivery.Board) *empty {
	e := &empty{Title: "Nothing is deployed yet", Why: "Each service waits for its first version. It goes through " + strings.Join(b.Environments, ", then ") + "."}
	for _, row := range b.Services[:min(3, len(b.Services))] {
		e.Commands = append(e.Commands, emptyCommand{"", "slipway deploy " + row.Service})
	}
	return e
}
