package server

import (
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// openRoutes lists the routes that need nobody.
func openRoutes() map[string]bool {
	return map[string]bool{"GET /healthz": true, "GET /docs": true, "GET /openapi.json": true, "GET /openapi.yaml": true}
}

// needed is the access a route must ask for, by the rule and not by the code: to look
// is a reader's, to change what runs a deployer's, and the rest an admin's.
func needed(method, path string) delivery.Access {
	switch {
	case openRoutes()[method+" "+path]:
		return delivery.Nobody
	case strings.HasPrefix(path, "/tokens"), strings.HasPrefix(path, "/sign-in-links"), method == http.MethodPut:
		return delivery.Admin
	case method == http.MethodGet, method == http.MethodHead:
		return delivery.Reader
	}
	return delivery.Deployer
}

// token makes a named token and returns the header that shows it.
func (h *house) token(name string, a delivery.Access) map[string]string {
	h.t.Helper()
	_, secret, err := h.guard.Create(h.t.Context(), access.NewToken{Name: name, Access: a, By: "ann"})
	if err != nil {
		h.t.Fatal(err)
	}
	return map[string]string{"Authorization": "Bearer " + secret}
}

// Every route of the API, asked by everybody: who may less than it needs is refused,
// and told who can give more; everybody else is not.
func TestWhoMayAskWhat(t *testing.T) {
	h := build(t).shop()
	askers := []struct {
		name   string
		access delivery.Access
		header map[string]string
	}{
		{"nobody", delivery.Nobody, nil},
		{"reader", delivery.Reader, h.token("eyes", delivery.Reader)},
		{"deployer", delivery.Deployer, h.token("hands", delivery.Deployer)},
		{"admin", delivery.Admin, h.token("head", delivery.Admin)},
		{"owner", delivery.Admin, map[string]string{"Authorization": "Bearer " + testToken}},
	}
	for _, route := range contract() {
		need := needed(route.method, route.path)
		for _, a := range askers {
			if a.access.Allows(need) && route.path == "/events" {
				continue // never ends; its own tests read it
			}
			q := ask{method: route.method, path: route.example, bare: true, header: a.header}
			if route.method == http.MethodPost {
				q.contentType = "application/json"
			}
			r := h.call(q)
			refused := r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden
			switch {
			case a.access.Allows(need) && refused:
				t.Errorf("%s by %s = %d %s, want that it is let in", r.asked, a.name, r.Status, r.Body)
			case !a.access.Allows(need) && !refused:
				t.Errorf("%s by %s = %d, want that it is refused", r.asked, a.name, r.Status)
			case !refused || route.method == http.MethodHead:
			case a.access == delivery.Nobody:
				r.problem(http.StatusUnauthorized, delivery.CodeUnauthorized)
			default:
				p := r.problem(http.StatusForbidden, delivery.CodeForbidden)
				if p.Who == "" || !strings.Contains(p.Hint, "slipway token create NAME --role "+string(need)) || !strings.Contains(p.Detail, string(a.access)) {
					t.Errorf("%s by %s = %+v, want who gives access and how", r.asked, a.name, p)
				}
			}
		}
	}
}

// The document says of each route what it asks for, and so does the page.
func TestDocumentSaysWhoMay(t *testing.T) {
	page := string(build(t).call(ask{method: "GET", path: "/docs", bare: true}).want(http.StatusOK).Body)
	for path, item := range object(theSpec().doc["paths"]) {
		for method, op := range object(item) {
			need := needed(strings.ToUpper(method), path)
			said := delivery.Nobody
			for _, one := range object(op)["security"].([]any) {
				for _, roles := range object(one) {
					if list, _ := roles.([]any); len(list) == 1 {
						text, _ := list[0].(string)
						said = delivery.Access(text)
					}
				}
			}
			if said != need {
				t.Errorf("%s %s: the document says %q, want %q", method, path, said, need)
			}
			id, _ := object(op)["operationId"].(string)
			_, article, _ := strings.Cut(page, `<article id="`+id+`">`)
			article, _, _ = strings.Cut(article, "</article>")
			want := "No token."
			if need != delivery.Nobody {
				want = "Needs: " + string(need) + "."
			}
			if !strings.Contains(article, want) {
				t.Errorf("the page says of %s not that it %q", id, want)
			}
		}
	}
}

// Reading may be open to all; what changes something asks them to sign in.
func TestAnonymousReads(t *testing.T) {
	h := build(t).shop()
	guard := access.New(access.Deps{Root: testToken, Addr: strings.TrimPrefix(h.url, "http://"), Public: true, Store: h.store})
	h.server.d.Guard = guard
	for _, route := range contract() {
		if route.path == "/events" {
			continue
		}
		q := ask{method: route.method, path: route.example, bare: true}
		if route.method == http.MethodPost {
			q.contentType = "application/json"
		}
		r := h.call(q)
		if may := delivery.Reader.Allows(needed(route.method, route.path)); may == (r.Status == http.StatusUnauthorized) {
			t.Errorf("%s by nobody = %d %s", r.asked, r.Status, r.Body)
		}
	}
	var who whoView
	h.call(ask{method: "GET", path: "/whoami", bare: true}).want(http.StatusOK).into(&who)
	if !who.Anonymous || who.Access != delivery.Reader || who.Via != access.ViaPublic {
		t.Errorf("whoami = %+v", who)
	}
	h.call(ask{method: "GET", path: "/status", bare: true, header: map[string]string{"Authorization": "Bearer wrong"}}).problem(http.StatusUnauthorized, delivery.CodeUnauthorized)
}

// The ledger names a named token by its name, whatever its holder says, and the
// owner's by the name that comes along.
func TestWhoTheLedgerNames(t *testing.T) {
	h := build(t).shop()
	body := `{"service":"cart","env":"prod","why":"month end"}`
	for _, c := range []struct {
		header map[string]string
		want   string
	}{
		{h.token("ci", delivery.Deployer), "ci"},
		{map[string]string{}, "ben"},
	} {
		c.header["Slipway-User"] = "ben"
		var hold delivery.Hold
		h.call(ask{method: "POST", path: "/holds", contentType: "application/json", body: body, header: c.header}).want(http.StatusCreated).into(&hold)
		if hold.By != c.want {
			t.Errorf("held by %q, want %q", hold.By, c.want)
		}
		lines, err := h.store.Events(t.Context(), store.EventQuery{Newest: true, Limit: 1})
		if err != nil || lines[0].By != c.want {
			t.Errorf("ledger = %+v %v, want by %s", lines, err, c.want)
		}
		h.call(ask{method: "POST", path: "/holds/lift", contentType: "application/json", body: `{"service":"cart","env":"prod"}`}).want(http.StatusOK)
	}
}

// Only an admin goes past the order of environments.
func TestBreakGlassNeedsAnAdmin(t *testing.T) {
	h := build(t).shop()
	body := `{"service":"cart","version":"v1","bundle":"` + string(h.bundle("cart")) + `","env":"prod","break_glass":true,"reason":"fire"}`
	p := h.call(ask{method: "POST", path: "/changes", contentType: "application/json", body: body, header: h.token("ci", delivery.Deployer)}).problem(http.StatusForbidden, delivery.CodeForbidden)
	if len(p.Errors) != 1 || p.Errors[0].Location != "break_glass" || !strings.Contains(p.Who, "admin") || !strings.Contains(p.Hint, "--break-glass") {
		t.Errorf("problem = %+v", p)
	}
	h.call(ask{method: "POST", path: "/changes", contentType: "application/json", body: body, header: h.token("ops", delivery.Admin)}).want(http.StatusCreated)
}

// A browser that is signed in reads; what it changes has to come from a page of ours.
func TestSessionAtTheAPI(t *testing.T) {
	h := build(t).shop()
	cookie := h.signIn(testToken)
	get := func(header map[string]string) *reply {
		header["Cookie"] = cookie
		return h.call(ask{method: "GET", path: "/status", bare: true, header: header})
	}
	get(map[string]string{}).want(http.StatusOK)
	get(map[string]string{"Sec-Fetch-Site": "same-origin"}).want(http.StatusOK)
	get(map[string]string{"Sec-Fetch-Site": "cross-site"}).problem(http.StatusForbidden, delivery.CodeCrossSite)
	hold := func(header map[string]string) *reply {
		header["Cookie"] = cookie
		return h.call(ask{method: "POST", path: "/holds", contentType: "application/json", body: `{"service":"cart","env":"prod","why":"x"}`, bare: true, header: header})
	}
	hold(map[string]string{}).problem(http.StatusForbidden, delivery.CodeCrossSite)
	hold(map[string]string{"Origin": "http://127.0.0.1:3000"}).problem(http.StatusForbidden, delivery.CodeCrossSite)
	hold(map[string]string{"Origin": h.url}).want(http.StatusCreated)
	var who whoView
	h.call(ask{method: "GET", path: "/whoami", bare: true, header: map[string]string{"Cookie": cookie}}).want(http.StatusOK).into(&who)
	if who.Via != access.ViaSession || who.Access != delivery.Admin || who.Name != "owner" {
		t.Errorf("whoami = %+v", who)
	}
}

// signIn returns the cookie of a new session.
func (h *house) signIn(token string) string {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.url+"/sign-in", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	rec := &recorder{header: http.Header{}}
	if _, err := h.guard.SignIn(rec, r, token); err != nil {
		h.t.Fatal(err)
	}
	cookie, _, _ := strings.Cut(rec.header.Get("Set-Cookie"), ";")
	return cookie
}

// A token is told once. It is not kept with the answer, whatever key comes along.
func TestTokensOverTheAPI(t *testing.T) {
	dir := t.TempDir()
	h := buildIn(t, dir)
	create := ask{method: "POST", path: "/tokens", contentType: "application/json", body: `{"name":"ci","access":"deployer","ends":"2999-01-01T00:00:00Z"}`, header: map[string]string{"Slipway-User": "ann", keyHeader: "once"}}
	var made tokenMade
	h.call(create).want(http.StatusCreated).into(&made)
	if made.Token.Name != "ci" || made.Token.Access != delivery.Deployer || made.Token.By != "ann" || made.Token.Ends == nil || !strings.HasPrefix(made.Secret, "slw_") {
		t.Errorf("made = %+v", made)
	}
	p := h.call(create).problem(http.StatusUnprocessableEntity, codeInvalid)
	if p.Hint != "slipway token revoke ci" || len(p.Errors) != 1 || p.Errors[0].Location != "name" {
		t.Errorf("the same again = %+v", p)
	}
	var link access.SignInLink
	h.call(ask{method: "POST", path: "/sign-in-links", contentType: "application/json", header: map[string]string{"Slipway-User": "ann", keyHeader: "link"}}).want(http.StatusCreated).into(&link)
	if !strings.HasPrefix(link.Path, "/sign-in?code=") || time.Until(link.Ends) > 2*time.Minute {
		t.Errorf("link = %+v", link)
	}
	list := h.get("/tokens").want(http.StatusOK)
	shows := map[string]string{"Authorization": "Bearer " + made.Secret}
	h.call(ask{method: "GET", path: "/status", bare: true, header: shows}).problem(http.StatusConflict, delivery.CodeNoProject)
	h.call(ask{method: "POST", path: "/tokens/ci/revoke", contentType: "application/json", body: `{}`}).want(http.StatusOK)
	gone := h.call(ask{method: "GET", path: "/status", bare: true, header: shows})
	if p := gone.problem(http.StatusUnauthorized, delivery.CodeUnauthorized); !strings.Contains(p.Detail, "was revoked") {
		t.Errorf("problem = %+v", p)
	}
	h.call(ask{method: "POST", path: "/tokens/ci/revoke", contentType: "application/json"}).problem(http.StatusConflict, delivery.CodeNothingToDo)
	h.call(ask{method: "POST", path: "/tokens/nobody/revoke", contentType: "application/json"}).problem(http.StatusNotFound, delivery.CodeUnknownToken)
	h.call(ask{method: "POST", path: "/tokens", contentType: "application/json", body: `{"name":"x","access":"root"}`}).problem(http.StatusUnprocessableEntity, codeInvalid)

	ledger := h.get("/ledger").want(http.StatusOK)
	said := string(list.Body) + string(gone.Body) + string(ledger.Body)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		said += string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(link.Path, "=")
	for _, secret := range []string{made.Secret, code, testToken} {
		if strings.Contains(said, secret) {
			t.Errorf("%q is kept or shown", secret)
		}
	}
	if !strings.Contains(said, "token ci made for a deployer") {
		t.Error("the ledger does not say who made a token")
	}
}

// Who follows a stream may read as long as the token stands.
func TestStreamEndsWithTheToken(t *testing.T) {
	h := build(t)
	header := h.token("wall", delivery.Reader)
	l, err := h.listen(t.Context(), "/events", header)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.next(); err != nil { // the line of the token itself
		t.Fatal(err)
	}
	if _, err := h.guard.Revoke(t.Context(), "wall", "ann"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err = l.next(); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("the stream goes on")
	}
	h.call(ask{method: "GET", path: "/events", bare: true, header: header}).problem(http.StatusUnauthorized, delivery.CodeUnauthorized)
}
