package web

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/scrape"
	"github.com/slipway-cd/slipway/internal/server"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// tuned is a house whose pages know what the API lets whom do.
func tuned(t *testing.T) *house {
	t.Helper()
	h := build(t)
	h.loop = control.New(control.Deps{
		Store: h.store, Workload: h.m, Traffic: traffic.New(h.m.Plane()), Artifacts: h.bundles, Numbers: h.numbers, Log: h.deps.Log,
		Telemetry: control.Telemetry{
			Heard: func() (string, error) { return "127.0.0.1:4318", errors.New("address already in use") },
			Pages: func() []scrape.State {
				return []scrape.State{{Target: scrape.Target{Series: metric.Series{Service: "cart", Env: "prod", Instance: "prod.cart.r1.0"}, URL: "http://127.0.0.1:9/metrics"}, Found: true, At: h.pages.began, Why: "connection refused"}}
			},
		},
	})
	h.deps.Loop, h.deps.Addr = h.loop, "127.0.0.1:7500"
	h.deps.Rights = server.New(server.Deps{Loop: h.loop, Store: h.store, Artifacts: h.bundles, Workload: h.m, Log: h.deps.Log}).Rights()
	h.pages, h.public = h.open(false), h.open(true)
	return h
}

// Settings say what this server is, what is wrong with it, what project is in force
// and who may do what, to whoever may read; and no secrets.
func TestSettings(t *testing.T) {
	t.Parallel()
	h := tuned(t)
	h.admin().get("/settings").want(http.StatusOK).says("Settings", "slipway up in the folder of your slipway.yaml", "the ledger is empty")
	h.project(strings.Replace(harborYAML, "CURRENCY: EUR", "API_TOKEN: hunter2", 1))
	r := h.reader().get("/settings").want(http.StatusOK)
	r.says("Slipway v0-test", "127.0.0.1:7500", "Data plane", "does not answer",
		"checks say that something is broken", "2 lines, chain intact: all were walked at ", "OTLP receiver", "address already in use", "end what uses the port",
		"Metrics of instances", "prod.cart.r1.0", "connection refused",
		"Project harbor", "Put in force by ann", "slipway.yaml in force", "API_TOKEN: (hidden)", "project: harbor",
		"Nobody may read without signing in", "After 5 failed tries from one address the next waits 1 s, then twice as long each time, up to 1 min", "Only admins see the tokens",
		"Submit a change POST /changes no yes yes", "Put a slipway.yaml in force PUT /project no no yes", "Changes, newest first, and how they stand GET /changes yes yes yes",
		"Licences of what is built in", "htmx", "uplot", "Permission")
	r.hides("hunter2", "Make a token")
	r.has(`<i>1</i>project: harbor`)
	if len(r.Body) > 100_000 || strings.Contains(r.Body, "hx-sse:connect") {
		t.Errorf("the page has %d bytes, or looks at everything each second", len(r.Body))
	}
	h.anyone().get("/settings").want(http.StatusOK).says("Everybody who reaches this server may read", "Only admins see the tokens")
	h.nobody().get("/settings").want(http.StatusSeeOther)
}

var tokenShown = regexp.MustCompile(`id="token-secret">(slw_[A-Z0-9]+)<`)

// An admin makes a token, which is shown once and opens what it should, and takes it
// back; nobody else can do either.
func TestTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // "just now" is a minute, which a machine may be busy for
		h := tuned(t)
		admin := h.admin()
		form := url.Values{"name": {"ci"}, "role": {"deployer"}, "life": {"30d"}}
		made := admin.post("/settings/tokens", form).want(http.StatusOK).says("Token ci for a deployer", "It is shown this once", "It ends")
		found := tokenShown.FindStringSubmatch(made.Body)
		if found == nil {
			t.Fatalf("no token is shown:\n%s", made.Body)
		}
		if made.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("Cache-Control = %q, want that a token is kept nowhere", made.Header.Get("Cache-Control"))
		}
		admin.get("/settings").want(http.StatusOK).says("ci deployer opens just now by owner never").hides(found[1])
		ci := h.signedIn(found[1])
		ci.get("/settings").want(http.StatusOK).says("Only admins see the tokens")
		ci.post("/settings/tokens", url.Values{"name": {"mine"}, "role": {"admin"}, "life": {"never"}}).want(http.StatusForbidden).says("admin")
		ci.post("/settings/revoke", url.Values{"name": {"ci"}}).want(http.StatusForbidden)
		ci.get("/settings/revoke?name=ci").want(http.StatusForbidden)
		h.nobody().post("/settings/tokens", form).want(http.StatusForbidden)

		admin.post("/settings/tokens", form).want(http.StatusUnprocessableEntity).says("ci")
		bad := admin.post("/settings/tokens", url.Values{"name": {"<b>x"}, "role": {"reader"}, "life": {"7d"}}).want(http.StatusUnprocessableEntity)
		bad.says("is 1 to 64 letters").has(`value="&lt;b&gt;x"`, `role="alert"`, `<option selected>reader</option>`, `<option value="7d" selected>7 days</option>`)
		admin.post("/settings/tokens", url.Values{"name": {"x"}, "role": {"king"}, "life": {"7d"}}).want(http.StatusUnprocessableEntity).says("king")
		admin.post("/settings/tokens", url.Values{"name": {"x"}, "role": {"reader"}, "life": {"1s"}}).want(http.StatusUnprocessableEntity).says("1s")

		admin.get("/settings/revoke?name=nobody").want(http.StatusUnprocessableEntity).says("nobody", "slipway token list")
		admin.get("/settings/revoke?name=ci").want(http.StatusOK).says("takes back ci, the token of a deployer that owner made just now", "slipway token revoke ci")
		admin.post("/settings/revoke", url.Values{"name": {"ci"}}).want(http.StatusSeeOther)
		ci.get("/settings").want(http.StatusSeeOther)
		admin.get("/settings").want(http.StatusOK).says("ci deployer revoked by owner")
		admin.post("/settings/revoke", url.Values{"name": {"ci"}}).want(http.StatusConflict)
	})
}
