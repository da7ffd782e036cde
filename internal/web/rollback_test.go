package web

import (
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// What pages say of a roll back is what one would do: every page that offers one
// says so before, and the action itself says the same.
func TestRollBackIsToldAsItIs(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	p := h.admin()
	v2 := h.deploy("payment", "v2")
	h.settled(v2)
	const href = `href="/act/rollback?env=prod&amp;service=payment"`
	p.get("/services/payment").want(http.StatusOK).has(href).hides("a roll back is refused")
	p.get("/").want(http.StatusOK).has(href)
	p.get(at(v2)).want(http.StatusOK).has(href)
	p.get("/act/rollback?env=prod&service=payment").want(http.StatusOK).says("back to v1")

	if _, err := h.loop.PutHold(t.Context(), control.HoldRequest{Service: "payment", Version: "v1", Why: "it leaks", By: "bo"}); err != nil {
		t.Fatal(err)
	}
	const why = "v1, which a roll back would go to, is on hold: it leaks"
	for _, path := range []string{"/services/payment", "/", at(v2)} {
		if r := p.get(path).want(http.StatusOK).says(why); strings.Contains(r.Body, href) {
			t.Errorf("%s offers a roll back that is refused", path)
		}
	}
	p.get("/services/payment").says("v1 on hold: a roll back is refused")
	p.get("/act/rollback?env=prod&service=payment").want(http.StatusConflict).says("v1, is on hold too: it leaks", "Back to payment")

	if _, err := h.loop.LiftHold(t.Context(), control.Lift{Service: "payment", Version: "v1", By: "bo"}); err != nil {
		t.Fatal(err)
	}
	p.get("/services/payment").want(http.StatusOK).has(href)
}

// While something is under way it is what a roll back takes back.
func TestRollBackOfWhatIsUnderWay(t *testing.T) {
	before := []control.Rollback{{Env: "prod", Version: "v1", Warm: true}, {Env: "staging", Version: "v0"}}
	for name, c := range map[string]struct {
		cell delivery.Cell
		want servicePlace
	}{
		"nothing under way": {delivery.Cell{Env: "prod", Version: "v2"}, servicePlace{Before: "v1", How: "still warm"}},
		"on hold":           {delivery.Cell{Env: "prod", Version: "v2", BeforeHeld: &delivery.Hold{}}, servicePlace{Before: "v1", Held: true}},
		"under way":         {delivery.Cell{Env: "prod", Version: "v2", Flight: &delivery.Flight{Version: "v3", State: delivery.Judging}}, servicePlace{Before: "v2", How: "takes v3 back"}},
		"going back":        {delivery.Cell{Env: "prod", Version: "v2", Flight: &delivery.Flight{Version: "v3", State: delivery.Reverting}}, servicePlace{Before: "v2", How: "v3 is on its way back"}},
		"the first":         {delivery.Cell{Env: "prod", Flight: &delivery.Flight{Version: "v1", State: delivery.Starting}}, servicePlace{Before: "nothing", How: "takes v1 back"}},
		"another place":     {delivery.Cell{Env: "dev", Version: "v2"}, servicePlace{}},
	} {
		var got servicePlace
		if got.goesBack(c.cell, before); got.Before != c.want.Before || got.How != c.want.How || got.Held != c.want.Held {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// To a release that is newer than what runs nobody goes back: it is deployed. What
// runs needs neither.
func TestActionsOfReleases(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.settled(h.submit(control.Submission{Service: "cart", Version: "v2", Bundle: h.bundle("cart v2")}))
	h.settled(h.submit(control.Submission{Service: "cart", Version: "v3", Bundle: h.bundle("cart v3"), Env: "staging"}))
	r := h.admin().get("/services/cart").want(http.StatusOK)
	r.says("Deploy v3…", "Hold v2…", "Roll back prod to v1…").hides("Roll back prod to v3…", "Roll back prod to v2…", "Deploy v1…", "Deploy v2…")
}

// The form of a deploy begins with what is most likely meant, and never with an
// older version than what runs.
func TestLikelyVersion(t *testing.T) {
	held := &delivery.Hold{}
	stable := []string{"prod"}
	for want, all := range map[string][]control.Version{
		"v9": {{Version: "v3", Release: "r3"}, {Version: "v2", Release: "r2", StableIn: stable}, {Version: "v9"}, {Version: "v8"}},
		"v3": {{Version: "v4", Release: "r4", Held: held}, {Version: "v3", Release: "r3"}, {Version: "v2", Release: "r2", StableIn: stable}},
		"":   {{Version: "v2", Release: "r2", StableIn: stable}, {Version: "v1", Release: "r1"}},
	} {
		if got := likely(all); got != want {
			t.Errorf("likely(%+v) = %q, want %q", all, got, want)
		}
	}
}
