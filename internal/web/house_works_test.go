package web

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/control/controltest"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// A version that answers well goes through the house, and one that does not is
// sent back by the judge: what every test of a page builds upon.
func TestHouse(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	for _, r := range h.settled(h.deploy("payment", "v2")) {
		if r.State != delivery.Done {
			t.Errorf("payment v2 in %s ended %s: %s", r.Env, r.State, r.Reason)
		}
	}
	h.m.Behave("v3-bad", controltest.Way{Fail: 0.6, Says: "bank: refused"})
	all := h.settled(h.deploy("payment", "v3-bad"))
	last := all[len(all)-1]
	if last.Env != "prod" || last.State != delivery.Reverted || last.Cause.Kind != delivery.CauseVerdict {
		t.Errorf("payment v3-bad in %s ended %s by %s: %s", last.Env, last.State, last.Cause.Kind, last.Reason)
	}
	h.m.Behave("slow", controltest.Way{Sick: "GET /healthz: 503"})
	id := h.submit(control.Submission{Service: "cart", Version: "slow", Bundle: h.bundle("slow"), Env: "staging"})
	h.rollout(id, "staging", "an instance starts", func(r delivery.Rollout) bool { return r.State == delivery.Starting })
	h.halt()
	h.nobody().get("/").want(http.StatusSeeOther)
	h.nobody().post("/sign-in", url.Values{"token": {"guess"}}).want(http.StatusForbidden)
	h.admin().get("/").want(http.StatusOK).says("payment", "v2").hides("is not there").has("<main", "</html>")
	for _, p := range []*person{h.deployer(), h.reader()} {
		p.get("/").want(http.StatusOK).says("payment")
	}
	h.anyone().get("/").want(http.StatusOK).says("payment", "v2")
}

// A house that listens can be stopped and started again where it was.
func TestHouseListens(t *testing.T) {
	t.Parallel()
	s := build(t).project(harborYAML).serve()
	for range 2 {
		res, err := http.DefaultTransport.RoundTrip(mustRequest(t, s.url("/sign-in")))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("GET /sign-in = %d, want 200", res.StatusCode)
		}
		s.stop()
		if res, err := http.DefaultTransport.RoundTrip(mustRequest(t, s.url("/sign-in"))); err == nil {
			res.Body.Close()
			t.Error("a house that was stopped still answers")
		}
		s.start()
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
