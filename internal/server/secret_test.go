package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/discreet"
)

// secretYAML is a project with a secret in every place that configuration has.
var secretYAML = strings.NewReplacer(
	"run: ./cart,", "run: './cart --token hunter2', health: { command: 'ask --api-key=hunter2' },",
	"config: { CURRENCY: EUR }", "config: { CURRENCY: EUR, API_TOKEN: hunter2, DB_URL: 'postgres://ann:hunter2@db/x' }, in: { prod: { config: { DB_PASSWORD: hunter2 } } }",
).Replace(shopYAML)

// secretive is a house whose cart runs in staging and has a secret that a change replaced.
func secretive(t *testing.T) *house {
	t.Helper()
	h := build(t)
	h.call(ask{method: "PUT", path: "/project?dir=/srv/shop", contentType: "application/yaml", body: secretYAML}).want(http.StatusOK)
	h.run()
	h.deploy("cart", "v1")
	stable := func(env int, version string) {
		eventually(t, version+" is stable", func() bool {
			var b delivery.Board
			h.get("/status").into(&b)
			return b.Services[0].Cells[env].Version == version && b.Services[0].Cells[env].Flight == nil
		})
	}
	stable(0, "v1")
	h.post("/changes/1/promote", map[string]string{"to": "prod"}).want(http.StatusOK)
	stable(1, "v1")
	h.post("/changes", control.Submission{Service: "cart", Version: "v2", Bundle: h.bundle("cartv1"), Set: map[string]string{"API_TOKEN": "hunter22"}}).want(http.StatusCreated)
	stable(0, "v2")
	return h
}

// Every route that shows something, asked by everybody who may: a secret is told to who
// may change the project and shows a token, and to nobody else.
func TestWhoIsToldSecrets(t *testing.T) {
	h := secretive(t)
	bearer := func(name string, a delivery.Access) map[string]string { return h.token(name, a) }
	askers := []struct {
		name   string
		header map[string]string
		told   bool
	}{
		{"reader", bearer("eyes", delivery.Reader), false},
		{"deployer", bearer("hands", delivery.Deployer), false},
		{"admin", bearer("head", delivery.Admin), true},
		{"owner", map[string]string{"Authorization": "Bearer " + testToken}, true},
		{"owner in a browser", map[string]string{"Cookie": h.signIn(testToken)}, false},
	}
	extra := []promised{
		{method: "GET", example: "/services/cart/diff?from=v1&to=v2"},
		{method: "GET", example: "/rollouts/1/staging"},
		{method: "GET", example: "/rollouts/2/staging"},
		{method: "GET", example: "/changes/2"},
		{method: "GET", example: "/project/explain"},
	}
	shows := map[string]bool{} // routes that tell who may know
	for _, route := range append(contract(), extra...) {
		if route.method != http.MethodGet || route.path == "/events" {
			continue
		}
		for _, a := range askers {
			r := h.call(ask{method: route.method, path: route.example, bare: true, header: a.header})
			tells := strings.Contains(string(r.Body), "hunter2")
			if tells && !a.told {
				t.Errorf("%s tells the %s a secret: %s", r.asked, a.name, r.Body)
			}
			if tells {
				shows[route.example] = true
			}
			if a.told && strings.Contains(string(r.Body), discreet.Mask) {
				t.Errorf("%s hides something from the %s", r.asked, a.name)
			}
		}
	}
	for _, path := range []string{"/project", "/project/explain", "/services/cart/diff?from=v1&to=v2", "/changes/2", "/rollouts/2/staging", "/drift?from=staging&to=prod"} {
		if !shows[path] {
			t.Errorf("GET %s tells nobody a secret: the test has nothing to find there", path)
		}
	}
}

// An answer to an action never holds a secret: it is kept, and may be given again.
func TestActionsTellNoSecret(t *testing.T) {
	h := secretive(t)
	would := control.Submission{Service: "cart", Version: "v3", Bundle: h.bundle("cartv1"), Set: map[string]string{"API_TOKEN": "hunter222"}, DryRun: true}
	for _, r := range []*reply{
		h.post("/changes", would).want(http.StatusOK),
		h.post("/services/cart/rollback", map[string]any{"env": "staging", "dry_run": true}).want(http.StatusOK),
		h.call(ask{method: "POST", path: "/services/cart/rollback", contentType: "application/json", body: `{"env":"staging"}`, header: map[string]string{keyHeader: "once"}}).want(http.StatusOK),
		h.call(ask{method: "POST", path: "/services/cart/rollback", contentType: "application/json", body: `{"env":"staging"}`, header: map[string]string{keyHeader: "once"}}).want(http.StatusOK),
	} {
		if body := string(r.Body); strings.Contains(body, "hunter2") || !strings.Contains(body, discreet.Mask) {
			t.Errorf("%s = %s", r.asked, body)
		}
	}
}

// A secret that changed is said to have changed, although neither value is shown.
func TestHiddenValueThatChanged(t *testing.T) {
	h := secretive(t)
	var d control.Diff
	h.call(ask{method: "GET", path: "/services/cart/diff?from=v1&to=v2", bare: true, header: h.token("eyes", delivery.Reader)}).want(http.StatusOK).into(&d)
	want := control.Delta{Key: "API_TOKEN", From: discreet.Mask, To: discreet.Mask, Hidden: true}
	if len(d.Config) != 1 || d.Config[0] != want || len(d.Kinds) != 1 || d.Kinds[0] != delivery.Config {
		t.Errorf("diff = %+v, want that API_TOKEN alone changed", d)
	}
	if d.From.Config["API_TOKEN"] != discreet.Mask || d.From.Config["CURRENCY"] != "EUR" {
		t.Errorf("from = %+v", d.From.Config)
	}
	var known control.Diff
	h.get("/services/cart/diff?from=v1&to=v2").want(http.StatusOK).into(&known)
	if want := (control.Delta{Key: "API_TOKEN", From: "hunter2", To: "hunter22"}); known.Config[0] != want {
		t.Errorf("the owner is told %+v, want %+v", known.Config[0], want)
	}
}

// What was shown in place of a secret is taken for a value nowhere.
func TestMaskIsNoValue(t *testing.T) {
	h := secretive(t)
	var shown projectSource
	h.call(ask{method: "GET", path: "/project", bare: true, header: h.token("eyes", delivery.Reader)}).want(http.StatusOK).into(&shown)
	r := h.call(ask{method: "PUT", path: "/project?dir=/srv/shop", contentType: "application/yaml", body: shown.Source})
	p := r.problem(http.StatusUnprocessableEntity, codeInvalid)
	fields := map[string]bool{}
	for _, e := range p.Errors {
		field, _, _ := strings.Cut(e.Message, ":")
		fields[field] = true
		if !strings.Contains(e.Message, "in place of a secret") {
			t.Errorf("refused for %+v", e)
		}
	}
	for _, want := range []string{"services.cart.config.API_TOKEN", "services.cart.config.DB_URL", "services.cart.run", "services.cart.health.command", "services.cart.in.prod.config.DB_PASSWORD"} {
		if !fields[want] {
			t.Errorf("the refusal does not name %s: %s", want, r.Body)
		}
	}
	var owner projectSource
	h.get("/project").want(http.StatusOK).into(&owner)
	if owner.Source != secretYAML {
		t.Error("the project is another one now")
	}
	r = h.post("/changes", control.Submission{Service: "cart", Version: "v3", Bundle: h.bundle("cartv1"), Set: map[string]string{"API_TOKEN": discreet.Mask}})
	if p := r.problem(http.StatusUnprocessableEntity, codeInvalid); len(p.Errors) != 1 || p.Errors[0].Location != "set.API_TOKEN" {
		t.Errorf("problem = %+v", p)
	}
}
