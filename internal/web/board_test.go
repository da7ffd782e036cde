package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// rowsOf makes services in two environments, well and up to date but for what change does.
func rowsOf(names []string, change map[string]func(*delivery.Row)) delivery.Board {
	b := delivery.Board{Environments: []string{"staging", "prod"}}
	for _, name := range names {
		row := delivery.Row{Service: name, Now: true, Sentence: "yes, up to date"}
		for _, env := range b.Environments {
			row.Cells = append(row.Cells, delivery.Cell{Env: env, Release: "r1", Version: "v1", Want: 2, Healthy: 2})
		}
		if f := change[name]; f != nil {
			f(&row)
		}
		b.Services = append(b.Services, row)
	}
	return b
}

// neighbourhood is one service of every kind, in no order.
func neighbourhood() delivery.Board {
	flight := func(state delivery.State, on string) *delivery.Flight {
		return &delivery.Flight{Version: "v2", State: state, Waiting: &delivery.Blocker{On: on}}
	}
	return rowsOf([]string{"well", "also-well", "sick", "flying", "held", "incident", "going-back", "quarantined"}, map[string]func(*delivery.Row){
		"sick":       func(r *delivery.Row) { r.Cells[1].Healthy = 1 },
		"flying":     func(r *delivery.Row) { r.Cells[0].Flight = flight(delivery.Judging, "data") },
		"incident":   func(r *delivery.Row) { r.Cells[1].Flight = flight(delivery.Judging, "incident") },
		"going-back": func(r *delivery.Row) { r.Cells[1].Flight = flight(delivery.Reverting, "") },
		"held": func(r *delivery.Row) {
			r.Cells[0].Held = &delivery.Hold{Kind: delivery.Pinned, Env: "staging", Service: "held", By: "ann", Why: "a sale"}
			r.Now, r.Sentence, r.First = false, "NO  held in staging by ann: a sale", &delivery.Gate{Outcome: delivery.GateBlocked, Lifts: "slipway release held --env staging"}
		},
		"quarantined": func(r *delivery.Row) {
			r.Cells[1].Held = &delivery.Hold{Kind: delivery.Quarantine, Version: "v9"}
		},
	})
}

// What needs somebody comes first, then what is under way, then what is unwell; who
// wants the rows to stand still pins them by name.
func TestBoardOrderAndFilter(t *testing.T) {
	b := neighbourhood()
	for _, c := range []struct {
		name string
		ask  boardAsk
		want []string
	}{
		{"usual", boardAsk{}, []string{"going-back", "held", "incident", "quarantined", "flying", "sick", "also-well", "well"}},
		{"by name", boardAsk{Order: orderName}, []string{"also-well", "flying", "going-back", "held", "incident", "quarantined", "sick", "well"}},
		{"of prod", boardAsk{Env: "prod"}, []string{"going-back", "incident", "quarantined", "sick", "also-well", "flying", "held", "well"}},
		{"not deployable", boardAsk{Only: onlyBlocked}, []string{"held"}},
		{"in flight", boardAsk{Only: onlyFlying}, []string{"going-back", "incident", "flying"}},
		{"in flight in prod", boardAsk{Only: onlyFlying, Env: "prod"}, []string{"going-back", "incident"}},
		{"in need", boardAsk{Only: onlyUnwell}, []string{"going-back", "held", "incident", "quarantined", "sick"}},
		{"part of a name", boardAsk{Text: "WELL"}, []string{"also-well", "well"}},
		{"a version under way", boardAsk{Text: "v2"}, []string{"going-back", "incident", "flying"}},
		{"nothing", boardAsk{Text: "zebra"}, nil},
	} {
		var got []string
		for _, row := range rowsChosen(b, c.ask) {
			got = append(got, row.Service)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if b.Services[0].Service != "well" {
		t.Error("sorting changed the board, which others share")
	}
}

// One sign says how a service stands in an environment.
func TestBoardSigns(t *testing.T) {
	b := neighbourhood()
	for service, want := range map[string]struct {
		cell int
		word string
	}{
		"well": {0, "good"}, "sick": {1, "1 of 2 healthy"}, "flying": {0, "judging"}, "incident": {1, "incident"},
		"going-back": {1, "going back"}, "held": {0, "held"}, "quarantined": {1, "rolled back"},
	} {
		i := slices.IndexFunc(b.Services, func(r delivery.Row) bool { return r.Service == service })
		if got := boardCellOf(b.Services[i].Cells[want.cell]); got.Sign.Word != want.word || got.Sign.Icon == "" || got.Sign.Class == "" {
			t.Errorf("%s: %+v, want %q", service, got.Sign, want.word)
		}
	}
	if got := boardCellOf(delivery.Cell{Env: "prod"}); got.Sign.Word != "nothing yet" {
		t.Errorf("an empty cell says %q", got.Sign.Word)
	}
	for _, c := range []struct {
		f    delivery.Flight
		want string
	}{
		{delivery.Flight{State: delivery.Judging, Weight: delivery.Percent(25)}, "25 %, judging"},
		{delivery.Flight{State: delivery.Waiting, Weight: delivery.Percent(50), Waiting: &delivery.Blocker{Who: "anyone"}}, "50 %, waits for a person"},
		{delivery.Flight{State: delivery.Soaking, Weight: delivery.Full}, "soaking"},
		{delivery.Flight{State: delivery.Queued}, "waiting"},
	} {
		if got := flightSign(c.f).Word; got != c.want {
			t.Errorf("flight %+v is %q, want %q", c.f, got, c.want)
		}
	}
	held := b.Services[slices.IndexFunc(b.Services, func(r delivery.Row) bool { return r.Service == "held" })]
	if s, why, lifts := deployableOf(held); s.Word != "no" || why != "held in staging by ann: a sale" || lifts != "slipway release held --env staging" {
		t.Errorf("deployable = %v, %q, %q", s, why, lifts)
	}
	held.First = &delivery.Gate{Outcome: delivery.GateWaits, Lifts: "passes when it ends"}
	if s, _, lifts := deployableOf(held); s.Word != "soon" || lifts != "passes when it ends" {
		t.Errorf("deployable = %v, %q", s, lifts)
	}
	if s, why, lifts := deployableOf(b.Services[0]); s.Word != "yes" || why != "up to date" || lifts != "" {
		t.Errorf("deployable = %v, %q, %q", s, why, lifts)
	}
}

func TestPageOf(t *testing.T) {
	var all []int
	for i := range 120 {
		all = append(all, i)
	}
	href := func(n int) string { return fmt.Sprint("/p", n) }
	for _, c := range []struct {
		page, first, len int
		want             pager
	}{
		{1, 0, 50, pager{Next: "/p2", Text: "1 to 50 of 120"}},
		{2, 50, 50, pager{Prev: "/p1", Next: "/p3", Text: "51 to 100 of 120"}},
		{3, 100, 20, pager{Prev: "/p2", Text: "101 to 120 of 120"}},
		{9, 0, 0, pager{Prev: "/p3", Text: "nothing here, of 120"}},
	} {
		got, p := pageOf(all, c.page, href)
		if len(got) != c.len || c.len > 0 && got[0] != c.first || p != c.want {
			t.Errorf("page %d = %d from %v, %+v; want %+v", c.page, len(got), got[:min(1, len(got))], p, c.want)
		}
	}
}

// The address is the whole question, there and back, and a wrong one is refused.
func TestBoardAddress(t *testing.T) {
	envs := []string{"staging", "prod"}
	for _, a := range []boardAsk{
		{Page: 1}, {Text: "a b&c", Page: 1}, {Only: onlyFlying, Env: "prod", Order: orderName, Page: 3},
	} {
		got, err := askBoard(httptest.NewRequest(http.MethodGet, a.href(a.Page), nil), envs)
		if err != nil || got != a {
			t.Errorf("%s reads as %+v, %v; want %+v", a.href(a.Page), got, err, a)
		}
	}
	for address, says := range map[string]string{
		"/?only=x": "only", "/?order=x": "order", "/?env=prd": "staging, prod", "/?page=0": "page", "/?page=x": "page", "/?page=99999999": "page",
	} {
		if _, err := askBoard(httptest.NewRequest(http.MethodGet, address, nil), envs); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want a word of %q", address, err, says)
		}
	}
}

// Before there is anything, the board teaches how to begin.
func TestBoardTeaches(t *testing.T) {
	h := build(t)
	for _, path := range []string{"/", "/services", "/environments"} {
		h.admin().get(path).want(http.StatusOK).says("There is no project yet", "slipway init", "slipway up", "slipway deploy SERVICE")
	}
	h.project(harborYAML)
	a := h.pages.actBack(delivery.Who{Name: "ann", Access: delivery.Admin}, "cart", delivery.Cell{Env: "prod", Version: "v1", Release: "r1"})
	if a.Why != "cart v1 is the first release in prod: there is nothing to go back to" {
		t.Errorf("the way back of a first release = %+v", a)
	}
	h.admin().get("/").want(http.StatusOK).says("Nothing is deployed yet", "slipway deploy shop", "3 of 3 services can be deployed right now", "staging, then prod")
	h.admin().get("/services/cart").want(http.StatusOK).says("No release yet", "slipway deploy cart", "None runs", "nothing before it")
	h.admin().get("/environments").want(http.StatusOK).says("Nothing differs between staging and prod", "nothing yet")
}

// The board of a system in which everything goes on at once.
func TestBoardOfACity(t *testing.T) {
	t.Parallel()
	c := settleCity(t)
	a := c.admin()
	r := a.get("/").want(http.StatusOK)
	r.says("3 of 3 services can be deployed right now.", "In flight 1", "v1 → v2", "paused by ann: lunch", "rolled back v3-bad", "yes but not v3-bad (on hold)", "25 %")
	r.has(`href="/services/payment#why"`, `id="s-cart"`, `/act/rollback?`)
	if strings.Contains(r.Body, "<script>alert") || strings.Contains(r.Body, "\x1b") || strings.Contains(r.Body, "\u202e") {
		t.Error("hostile text acts on the board")
	}
	text := r.text()
	if pay, cart := strings.Index(text, "payment v3-bad"), strings.LastIndex(text, "cart v2"); pay < 0 || cart < pay {
		t.Errorf("cart stands before payment, which is held:\n%s", text)
	}
	a.get("/?env=prod&only=flying").want(http.StatusOK).says("cart").hides("shop v1")
	a.get("/?q=nothing-like-it").want(http.StatusOK).says("No service is like that", "Show all 3")
	a.get("/?env=prd").want(http.StatusNotFound).says(`there is no environment "prd"; there is staging, prod`)
	a.get("/?only=x").want(http.StatusUnprocessableEntity).says("say blocked, flying or unwell")
	again := a.get("/")
	if strings.Contains(again.text(), " ms") {
		t.Errorf("the board shows what changes at each look:\n%s", again.text())
	}
	c.nobody().get("/").want(http.StatusSeeOther)
	c.anyone().get("/").want(http.StatusOK).says("3 of 3 services")
}

// Troubles of the whole system come before everything else.
func TestBoardTrouble(t *testing.T) {
	h := build(t).harbor()
	h.m.Deafen()
	h.eventually("the board says that the data plane is gone", func() bool {
		return strings.Contains(h.admin().get("/").text(), "0 of 3 services can be deployed right now.")
	}, func() string { return h.admin().get("/").text() })
	r := h.admin().get("/").says("the data plane does not answer", "slipway doctor", "no")
	if text := r.text(); strings.Index(text, "the data plane does not answer") > strings.Index(text, "What runs where") {
		t.Errorf("the trouble stands below the matrix:\n%s", text)
	}
	h.admin().get("/services/cart").says("Not deployable right now", "What lifts it: slipway doctor")
	h.m.Mend()
}

// BenchmarkBoard500x5 is the server's time for the board at 500 services in 5
// environments: for one who looks just after something moved, and for one more
// viewer of the same moment.
func BenchmarkBoard500x5(b *testing.B) {
	h := fleet(b, fleetOf)
	h.halt()
	admin := h.admin()
	b.Run("moved", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			b.StopTimer()
			if _, err := h.loop.PutHold(b.Context(), control.HoldRequest{Service: fleetService(i % fleetOf), Env: fleetEnvironments()[i/fleetOf%5], Why: "a bench", By: "ann"}); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			admin.get("/").want(http.StatusOK)
		}
	})
	b.Run("viewer", func(b *testing.B) {
		for b.Loop() {
			admin.get("/").want(http.StatusOK)
		}
	})
}
