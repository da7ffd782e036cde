package web

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Whoever has to sign in is led there from every page, by a link and by a script that
// asks for a part of one; what is not there is told without.
func TestStrangersAreLedToSignIn(t *testing.T) {
	p := build(t).project(harborYAML).nobody()
	for _, path := range []string{"/", "/changes", "/commands?q=a", "/keys", "/services/crane/logs", "/settings", "/act/deploy"} {
		if at := p.get(path).want(http.StatusSeeOther).Header.Get("Location"); !strings.HasPrefix(at, "/sign-in?to=%2F") {
			t.Errorf("GET %s leads to %q", path, at)
		}
		r := p.fragment(path).want(http.StatusNoContent)
		if at := r.Header.Get("HX-Redirect"); !strings.HasPrefix(at, "/sign-in?to=%2F") || r.Body != "" {
			t.Errorf("GET %s by a script leads to %q with %q", path, at, r.Body)
		}
	}
	for _, path := range []string{"/settings/tokens", "/settings/revoke", "/act/deploy"} {
		p.post(path, nil).want(http.StatusForbidden).says("Not allowed")
	}
	p.get("/nowhere").want(http.StatusNotFound).says("there is no page /nowhere")
}

// A stream that cannot find out who asks does not say that nobody is signed in.
func TestStreamWhoseReaderIsNotKnown(t *testing.T) {
	h := build(t).project(harborYAML)
	p := h.admin()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the store answers nobody who is gone
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:7500/", nil)
	r.Header.Set("Accept", "text/event-stream")
	for _, c := range p.cookies {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	h.pages.ServeHTTP(rec, r)
	if rec.Code != http.StatusInternalServerError || strings.Contains(rec.Body.String(), "event: gone") {
		t.Errorf("%d: %s", rec.Code, rec.Body)
	}
}
