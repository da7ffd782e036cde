package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// A release that holds at its first step can be asked for by a signed header.
func TestPreview(t *testing.T) {
	h := build(t).shop().run()
	h.settled("cart", "v1")
	var s control.Submitted
	h.post("/changes", control.Submission{
		Service: "cart", Version: "v2", Bundle: h.bundle("cart v2"), Env: "staging",
		Strategy: &delivery.Override{Steps: []delivery.StepSpec{{Weight: delivery.Percent(10), Hold: time.Hour}, {Weight: delivery.Full}}},
	}).want(http.StatusCreated).into(&s)
	var p control.Preview
	eventually(t, "v2 is under way", func() bool {
		r := h.post("/previews", control.PreviewRequest{Service: "cart", For: 2 * time.Hour})
		if r.Status != http.StatusCreated {
			return false
		}
		r.into(&p)
		return p.Answers
	})
	if p.Service != "cart" || p.Env != "staging" || p.Version != "v2" || p.Change != s.Change.ID || p.Header != "Slipway-Preview" || p.Host != "cart.localhost" || p.URL == "" {
		t.Errorf("preview = %+v", p)
	}
	want, ok := traffic.CheckPreview([]byte(testKey), "staging/cart", p.Value, time.Now().Add(time.Hour))
	if !ok || want != string(s.Release.ID) {
		t.Errorf("the header asks for %q (%t), want %s", want, ok, s.Release.ID)
	}
	h.post("/previews", control.PreviewRequest{Service: "cart", Env: "prod"}).problem(http.StatusConflict, delivery.CodeNotInFlight)
}
