package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/manifest"
	"github.com/slipway-cd/slipway/internal/store"
)

// settled deploys a version and waits until it is stable in staging.
func (h *house) settled(service, version string) control.Submitted {
	h.t.Helper()
	s := h.deploy(service, version)
	eventually(h.t, version+" is stable in staging", func() bool {
		stables, err := h.store.Stables(h.t.Context())
		for _, st := range stables {
			if st.Service == service && st.Env == "staging" && st.Version == version {
				return true
			}
		}
		return err != nil
	})
	return s
}

// Every refusal that a request can meet has its status, its code, and the
// command that comes next; and it changes nothing.
func TestRefusals(t *testing.T) {
	h := build(t).shop().run()
	h.settled("cart", "v1")
	h.post("/holds", map[string]string{"service": "payment", "env": "staging", "why": "audit week"}).want(http.StatusCreated)
	h.settled("cart", "v2")
	h.post("/holds", map[string]string{"service": "cart", "version": "v1", "why": "leaks memory"}).want(http.StatusCreated)
	bundle := h.bundle("payment")
	before := h.get("/ledger?limit=500").Body
	for _, c := range []struct {
		name, path string
		body       any
		status     int
		code       code
		field      string
		hint       string
	}{
		{"deploy of an unknown service", "/changes", control.Submission{Service: "kart"}, 404, delivery.CodeUnknownService, "", "slipway status"},
		{"deploy to an unknown environment", "/changes", control.Submission{Service: "cart", Env: "moon"}, 404, delivery.CodeUnknownEnvironment, "", "slipway status"},
		{"deploy of an unknown version", "/changes", control.Submission{Service: "cart", Version: "v9"}, 404, delivery.CodeUnknownVersion, "", "slipway deploy cart"},
		{"deploy of a bundle that is not here", "/changes", control.Submission{Service: "cart", Version: "v9", Bundle: delivery.DigestOf(nil)}, 422, codeInvalid, "bundle", "slipway deploy cart"},
		{"deploy of what Slipway sets itself", "/changes", control.Submission{Service: "cart", Set: map[string]string{"PORT": "1"}}, 422, codeInvalid, "set", ""},
		{"deploy into a pinned environment", "/changes", control.Submission{Service: "payment", Version: "v1", Bundle: bundle}, 409, delivery.CodeHeld, "service", "slipway release payment --env staging"},
		{"deploy of a quarantined version", "/changes", control.Submission{Service: "cart", Version: "v1"}, 409, delivery.CodeQuarantined, "service", "slipway release cart v1"},
		{"deploy of what is stable", "/changes", control.Submission{Service: "cart", Version: "v2"}, 409, delivery.CodeNothingToDo, "version", "slipway"},
		{"abort of an unknown change", "/changes/99/abort", nil, 404, delivery.CodeUnknownChange, "", "slipway history"},
		{"abort of what is over", "/changes/1/abort", nil, 409, delivery.CodeNotInFlight, "", "slipway rollback"},
		{"pause of what is over", "/services/cart/pause", nil, 409, delivery.CodeNotInFlight, "", "slipway status"},
		{"pause in an unknown environment", "/changes/1/pause", map[string]string{"env": "moon"}, 404, delivery.CodeUnknownEnvironment, "", "slipway status"},
		{"abort of an unknown service", "/services/kart/abort", nil, 404, delivery.CodeUnknownService, "", "slipway status"},
		{"promote to an unknown environment", "/services/cart/promote", map[string]string{"to": "moon"}, 404, delivery.CodeUnknownEnvironment, "", "slipway status"},
		{"promote of what is nowhere", "/services/payment/promote", map[string]string{"to": "prod"}, 409, delivery.CodeNotEligible, "change", "slipway why payment"},
		{"rollback with nothing to go back to", "/services/cart/rollback", map[string]string{"env": "prod"}, 409, delivery.CodeNoRollbackTarget, "service", "slipway deploy cart"},
		{"rollback to an unknown version", "/services/cart/rollback", map[string]string{"env": "staging", "to": "v9"}, 404, delivery.CodeUnknownVersion, "", "slipway history cart"},
		{"rollback to what is quarantined", "/services/cart/rollback", map[string]string{"env": "staging"}, 409, delivery.CodeQuarantined, "to", "slipway rollback cart"},
		{"hold on an unknown service", "/holds", map[string]string{"service": "kart", "env": "prod", "why": "x"}, 404, delivery.CodeUnknownService, "", "slipway status"},
		{"hold on nothing", "/holds", map[string]string{"service": "cart", "why": "x"}, 422, codeInvalid, "env", "slipway hold cart"},
		{"hold on two things", "/holds", map[string]string{"service": "cart", "env": "prod", "version": "v1", "why": "x"}, 422, codeInvalid, "env", ""},
		{"hold without a reason", "/holds", map[string]string{"service": "cart", "env": "prod"}, 422, codeInvalid, "body", "/docs"},
		{"lift of no hold", "/holds/lift", control.Lift{Service: "cart", Env: "prod"}, 404, delivery.CodeUnknownHold, "service", "slipway status"},
		{"preview of what is stable", "/previews", control.PreviewRequest{Service: "cart", Env: "staging"}, 409, delivery.CodeNotInFlight, "service", "slipway deploy cart VERSION"},
		{"preview of what was never there", "/previews", control.PreviewRequest{Service: "payment"}, 409, delivery.CodeNotInFlight, "service", "slipway deploy payment"},
		{"preview of an unknown service", "/previews", control.PreviewRequest{Service: "kart"}, 404, delivery.CodeUnknownService, "", "slipway status"},
		{"preview in an unknown environment", "/previews", control.PreviewRequest{Service: "cart", Env: "moon"}, 404, delivery.CodeUnknownEnvironment, "", "slipway status"},
		{"preview for ever", "/previews", control.PreviewRequest{Service: "cart", For: 365 * 24 * time.Hour}, 422, codeInvalid, "for", "slipway preview cart --for 1h"},
		{"preview of nothing", "/previews", map[string]string{}, 422, codeInvalid, "body", "/docs"},
		{"promote without saying where", "/services/cart/promote", map[string]string{}, 422, codeInvalid, "body", "/docs"},
		{"an unknown field", "/changes", map[string]string{"service": "cart", "versoin": "v1"}, 422, codeInvalid, "body.versoin", "/docs"},
		{"a wrong type", "/changes", map[string]any{"service": 7}, 422, codeInvalid, "body.service", "/docs"},
		{"a reason that spoils the terminal", "/changes", control.Submission{Service: "cart", Version: "v2", Reason: "\x1b[2J"}, 422, codeInvalid, "reason", ""},
		{"a reason without end", "/changes", control.Submission{Service: "cart", Version: "v2", Reason: strings.Repeat("x", 3000)}, 422, codeInvalid, "reason", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := h.post(c.path, c.body).problem(c.status, c.code)
			if c.field != "" && (len(p.Errors) == 0 || p.Errors[0].Location != c.field) {
				t.Errorf("errors = %+v, want the first at %q", p.Errors, c.field)
			}
			if !strings.Contains(p.Hint, c.hint) {
				t.Errorf("hint = %q, want %q in it", p.Hint, c.hint)
			}
		})
	}
	if after := h.get("/ledger?limit=500").Body; string(after) != string(before) {
		t.Errorf("refusals changed something:\n%s", after)
	}
}

// Reading what is not there says so, with what is.
func TestUnknownReads(t *testing.T) {
	h := build(t)
	h.get("/project").problem(http.StatusConflict, delivery.CodeNoProject)
	h.get("/status").problem(http.StatusConflict, delivery.CodeNoProject)
	if p := h.post("/changes", control.Submission{Service: "cart"}).problem(http.StatusConflict, delivery.CodeNoProject); p.Hint == "" {
		t.Error("no project: want the next command")
	}
	h.get("/changes").want(http.StatusOK)
	h.get("/ledger").want(http.StatusOK)
	h.shop()
	for path, want := range map[string]code{
		"/changes/7":                                 delivery.CodeUnknownChange,
		"/changes?service=kart":                      delivery.CodeUnknownService,
		"/rollouts?env=moon":                         delivery.CodeUnknownEnvironment,
		"/rollouts/7/prod":                           delivery.CodeUnknownChange,
		"/ledger?service=kart":                       delivery.CodeUnknownService,
		"/services/kart/why":                         delivery.CodeUnknownService,
		"/services/cart/why?env=moon":                delivery.CodeUnknownEnvironment,
		"/services/kart/calls":                       delivery.CodeUnknownService,
		"/services/kart/logs":                        delivery.CodeUnknownService,
		"/services/cart/logs?env=moon":               delivery.CodeUnknownEnvironment,
		"/services/cart/logs?change=7":               delivery.CodeUnknownChange,
		"/services/kart/diff?from=prod&to=prod":      delivery.CodeUnknownService,
		"/services/cart/diff?from=v1&to=v2":          delivery.CodeUnknownVersion,
		"/events?service=kart":                       delivery.CodeUnknownService,
		"/events?change=7":                           delivery.CodeUnknownChange,
		"/bundles/" + string(delivery.DigestOf(nil)): codeNotFound,
		"/bundles/nonsense":                          codeNotFound,
	} {
		h.get(path).problem(http.StatusNotFound, want)
	}
	for _, path := range []string{
		"/changes/0", "/changes/-1", "/changes/x", "/changes?limit=0", "/changes?limit=501", "/changes?limit=x", "/changes?before=zzz", "/changes?before=-1",
		"/ledger?since=1.5", "/changes?lmit=5", "/events?since=-1", "/events?since=99", "/rollouts/x/prod", "/services/cart/diff?from=prod", "/services/cart/logs?tail=0",
		"/services/cart/diff?from=staging&to=prod", "/project/explain?prefix=services.kart",
	} {
		if p := h.get(path).problem(http.StatusUnprocessableEntity, codeInvalid); len(p.Errors) == 0 || p.Errors[0].Location == "" {
			t.Errorf("%s: errors = %+v, want the place to mend", path, p.Errors)
		}
	}
	h.call(ask{method: "GET", path: "/events", header: map[string]string{"Last-Event-ID": "abc"}}).problem(http.StatusUnprocessableEntity, codeInvalid)
}

// A slipway.yaml with five mistakes is answered with five places, each with its
// line, its column and a caret, and nothing is put in force.
func TestFiveMistakes(t *testing.T) {
	h := build(t)
	const bad = `project: shop
services:
  cart:
    run: ./cart
    replicsa: 2
    health: { http: healthz }
  payment: { run: ./payment, replicas: -1 }
environments: [staging, staging]
rollout: canarry
`
	r := h.call(ask{method: "PUT", path: "/project?file=shop/slipway.yaml&dir=/srv", contentType: "application/yaml", body: bad})
	p := r.problem(http.StatusUnprocessableEntity, codeInvalid)
	if len(p.Errors) != 5 {
		t.Fatalf("errors = %d: %+v, want 5", len(p.Errors), p.Errors)
	}
	for i, line := range []int{5, 6, 7, 8, 9} {
		e := p.Errors[i]
		var at, column int
		if n, err := fmt.Sscanf(strings.TrimPrefix(e.Location, "shop/slipway.yaml:"), "%d:%d", &at, &column); n != 2 || err != nil || at != line || column < 1 {
			t.Errorf("location = %q, want shop/slipway.yaml:%d:column", e.Location, line)
		}
		if snippet, _ := e.Value.(string); !strings.Contains(snippet, "^") || e.Message == "" {
			t.Errorf("error = %+v, want a message and a caret", e)
		}
	}
	if !strings.Contains(p.Errors[0].Message, "did you mean replicas?") {
		t.Errorf("message = %q, want the cure in it", p.Errors[0].Message)
	}
	h.get("/project").problem(http.StatusConflict, delivery.CodeNoProject)
	h.call(ask{method: "PUT", path: "/project?dir=relative", contentType: "application/yaml", body: shopYAML}).problem(http.StatusUnprocessableEntity, codeInvalid)
	h.call(ask{method: "PUT", path: "/project", contentType: "application/yaml", body: shopYAML}).problem(http.StatusUnprocessableEntity, codeInvalid)
	h.call(ask{method: "PUT", path: "/project?dir=/srv", contentType: "application/yaml", body: ""}).problem(http.StatusBadRequest, codeMalformed)
}

// Errors of the floors below become the problems they are, wrapped or not.
func TestExpected(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("control: 7/prod: %w", err) }
	mistakes := manifest.Mistakes{{File: "slipway.yaml", Line: 1, Column: 2, Why: "is wrong"}}
	for _, c := range []struct {
		err    error
		status int
		code   code
	}{
		{delivery.ErrConflict, 409, codeConflict},
		{delivery.ErrNotFound, 404, codeNotFound},
		{delivery.ErrInvalid, 422, codeInvalid},
		{delivery.Invalid("env", "is empty"), 422, codeInvalid},
		{&delivery.Refusal{Code: delivery.CodeNotWaiting}, 409, delivery.CodeNotWaiting},
		{&delivery.Refusal{Code: "unknown_planet"}, 404, "unknown_planet"},
		{&delivery.Refusal{Code: "frozen"}, 409, "frozen"},
		{mistakes, 422, codeInvalid},
		{&mistakes, 422, codeInvalid},
		{&store.FileError{Path: "/s.db", What: "the disk is full", Next: "free some space"}, 500, codeStorage},
		{store.ErrClosed, 503, codeStopping},
		{context.Canceled, 503, codeStopping},
	} {
		for _, err := range []error{c.err, wrap(c.err)} {
			p := expected(err)
			if p == nil || p.Status != c.status || p.Code != c.code {
				t.Errorf("expected(%v) = %+v, want %d %s", err, p, c.status, c.code)
			}
		}
	}
	if p := expected(fmt.Errorf("disk on fire")); p != nil {
		t.Errorf("expected(an unknown error) = %+v, want nil: it is ours, and is logged", p)
	}
	seen := map[code]bool{}
	for _, k := range kinds() {
		if seen[k.code] || k.title == "" || http.StatusText(k.status) == "" {
			t.Errorf("kind %+v is there twice or is not whole", k)
		}
		seen[k.code] = true
	}
}

// What goes wrong inside is not told to the outside.
func TestInternalErrorsKeepTheirSecrets(t *testing.T) {
	h := build(t).shop()
	p := h.server.explain(t.Context(), fmt.Errorf("secret path /srv/x"))
	if p.Code != codeInternal || strings.Contains(p.Detail+p.Hint, "secret") {
		t.Errorf("explain = %+v, want an internal problem without the text", p)
	}
}
