package server

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// Every route that does something says with dry_run what it would do, and changes
// nothing; with the mark of what was seen it is refused once that is no longer so.
func TestTrials(t *testing.T) {
	h := build(t).shop().run()
	for _, v := range []string{"v1", "v2"} {
		id := h.deploy("cart", v).Change.ID
		eventually(t, v+" is stable in staging", func() bool { return h.running("cart", "staging") == v })
		h.post(fmt.Sprintf("/changes/%d/promote", id), nil).want(http.StatusOK)
		eventually(t, v+" is stable in prod", func() bool { return h.running("cart", "prod") == v })
	}
	h.deploy("payment", "v1")
	eventually(t, "payment is stable in staging", func() bool { return h.running("payment", "staging") == "v1" })
	h.post("/holds", control.HoldRequest{Service: "cart", Version: "v1", Why: "leaks"}).want(http.StatusCreated)
	lines := func() int64 {
		last, err := h.store.Events(t.Context(), store.EventQuery{Newest: true, Limit: 1})
		if err != nil || len(last) != 1 {
			t.Fatalf("%d lines, %v", len(last), err)
		}
		return last[0].Seq
	}
	before := lines()
	type body map[string]any
	for path, c := range map[string]struct {
		body   body
		effect string
	}{
		"/changes":                   {body{"service": "cart", "set": map[string]string{"CURRENCY": "USD"}}, "starts v2+"},
		"/services/payment/promote":  {body{"to": "prod"}, "starts v1 in prod; all traffic at once"},
		"/changes/3/promote":         {body{}, "starts v1 in prod; all traffic at once"},
		"/services/payment/rollback": {body{"env": "staging"}, ""},
		"/holds":                     {body{"service": "cart", "env": "prod", "why": "a sale"}, "lets nothing new of cart into prod until the hold is lifted; what runs or is under way there goes on"},
		"/holds/lift":                {body{"service": "cart", "version": "v1"}, "lifts the hold on cart v1; nothing is deployed by that"},
	} {
		c.body["dry_run"] = true
		r := h.post(path, c.body)
		if c.effect == "" {
			r.problem(http.StatusConflict, delivery.CodeNoRollbackTarget)
			continue
		}
		var got struct {
			Effect control.Effect `json:"effect"`
		}
		r.want(http.StatusOK).into(&got)
		if len(got.Effect.Text) < len(c.effect) || got.Effect.Text[:len(c.effect)] != c.effect || got.Effect.Seen == "" {
			t.Errorf("%s: %+v, want %q", path, got.Effect, c.effect)
		}
		delete(c.body, "dry_run")
		c.body["seen"] = got.Effect.Seen + " or so"
		h.post(path, c.body).problem(http.StatusConflict, delivery.CodeMovedOn)
	}
	if after := lines(); after != before {
		t.Errorf("%d lines were written", after-before)
	}
	var known items[control.Version]
	h.get("/services/cart/versions").want(http.StatusOK).into(&known)
	if len(known.Items) != 2 || known.Items[0].Version != "v2" || known.Items[1].Held == nil {
		t.Errorf("versions = %+v, want v2, and v1 that is held", known.Items)
	}
	h.get("/services/none/versions").problem(http.StatusNotFound, delivery.CodeUnknownService)
}

// What is under way is tried in the same way, through each verb.
func TestTrialsUnderWay(t *testing.T) {
	h := build(t).shop()
	h.deploy("cart", "v1")
	for verb, effect := range map[string]string{
		"pause": "keeps v1 from beginning in staging until it is resumed", "finish": "lets v1 take all staging traffic as soon as its instances are ready, as it would by itself",
		"abort": "takes change #1 (v1) out of the line before staging; nothing changes there",
	} {
		var got control.Asked
		h.post("/changes/1/"+verb, map[string]any{"dry_run": true}).want(http.StatusOK).into(&got)
		if got.Effect.Text != effect || got.ID != "1/staging" {
			t.Errorf("%s: %+v, want %q", verb, got.Effect, effect)
		}
		h.post("/changes/1/"+verb, map[string]any{"seen": "1/staging judging 3 0"}).problem(http.StatusConflict, delivery.CodeMovedOn)
		if r, err := h.store.Rollout(t.Context(), "1/staging"); err != nil || r.Asked != nil {
			t.Errorf("after %s that was tried: %+v, %v", verb, r.Asked, err)
		}
	}
	var back control.RolledBack
	h.post("/services/cart/switch", map[string]any{"back": true, "dry_run": true}).want(http.StatusOK).into(&back)
	if back.Effect.Text != "takes change #1 (v1) out of the line before staging; nothing changes there" {
		t.Errorf("switch back = %+v", back.Effect)
	}
}
