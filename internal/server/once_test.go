package server

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// keyed submits under a key.
func (h *house) keyed(key string, s control.Submission) ask {
	h.t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		h.t.Fatal(err)
	}
	return ask{method: "POST", path: "/changes", contentType: "application/json", body: string(b), header: map[string]string{keyHeader: key}}
}

// The same request under the same key is done once, and answered the same each
// time, by another process too.
func TestKeyReplays(t *testing.T) {
	dir := t.TempDir()
	h := buildIn(t, dir).shop()
	a := h.keyed("deploy-1", control.Submission{Service: "cart", Version: "v1", Bundle: h.bundle("one")})
	first := h.call(a).want(http.StatusCreated)
	if first.Header.Get(replayHeader) != "" {
		t.Error("the first answer says it is a replay")
	}
	same := func(h *house) {
		t.Helper()
		again := h.call(a).want(http.StatusCreated)
		if again.Header.Get(replayHeader) != "true" || !bytes.Equal(again.Body, first.Body) || again.Header.Get("Location") != first.Header.Get("Location") || again.Header.Get("Content-Type") != first.Header.Get("Content-Type") {
			t.Errorf("replay = %v %s, want the first answer, marked", again.Header, again.Body)
		}
	}
	same(h)
	a.body = strings.Replace(a.body, `"v1"`, `"v2"`, 1)
	p := h.call(a).problem(http.StatusUnprocessableEntity, delivery.CodeKeyReused)
	if p.Hint == "" {
		t.Error("a reused key: want the next step")
	}
	b := h.keyed("deploy-1", control.Submission{Service: "cart"})
	b.path = "/holds/lift"
	h.call(b).problem(http.StatusUnprocessableEntity, delivery.CodeKeyReused)
	a.body = strings.Replace(a.body, `"v2"`, `"v1"`, 1)
	h.stop()
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h = buildIn(t, dir)
	same(h)
	var changes page[delivery.Change]
	h.get("/changes").want(http.StatusOK).into(&changes)
	if len(changes.Items) != 1 {
		t.Errorf("changes = %d, want 1", len(changes.Items))
	}
}

// Of many that come at once under one key, one executes.
func TestKeyAtOnce(t *testing.T) {
	h := build(t).shop()
	a := h.keyed("at-once", control.Submission{Service: "cart", Version: "v1", Bundle: h.bundle("one")})
	const many = 24
	replies := make([]*reply, many)
	errs := make([]error, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() { replies[i], errs[i] = h.try(a) })
	}
	wg.Wait()
	fresh := 0
	for i, r := range replies {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		r.want(http.StatusCreated)
		if r.Header.Get(replayHeader) == "" {
			fresh++
		}
		if !bytes.Equal(r.Body, replies[0].Body) {
			t.Errorf("answers differ: %s and %s", r.Body, replies[0].Body)
		}
	}
	var changes page[delivery.Change]
	h.get("/changes").into(&changes)
	if fresh != 1 || len(changes.Items) != 1 {
		t.Errorf("executed = %d, changes = %d; want 1 and 1", fresh, len(changes.Items))
	}
	if n := len(h.server.keys.held); n != 0 {
		t.Errorf("keys in use = %d after all ended, want 0", n)
	}
}

// A refusal changed nothing, so the same request is judged anew when the reason is gone.
func TestKeyAfterRefusal(t *testing.T) {
	h := build(t).shop()
	h.post("/holds", map[string]string{"service": "cart", "env": "staging", "why": "not today"}).want(http.StatusCreated)
	a := h.keyed("later", control.Submission{Service: "cart", Version: "v1", Bundle: h.bundle("one")})
	h.call(a).problem(http.StatusConflict, delivery.CodeHeld)
	h.post("/holds/lift", control.Lift{Service: "cart", Env: "staging"}).want(http.StatusOK)
	if r := h.call(a).want(http.StatusCreated); r.Header.Get(replayHeader) != "" {
		t.Error("a refusal was replayed")
	}
	h.call(a).want(http.StatusCreated)
}

// Keys that cannot be told apart on sight are refused.
func TestBadKeys(t *testing.T) {
	h := build(t).shop()
	for _, key := range []string{"", strings.Repeat("k", 256), "ключ", "a\tb"} {
		a := h.keyed(key, control.Submission{Service: "cart"})
		if p := h.call(a).problem(http.StatusUnprocessableEntity, codeInvalid); p.Errors[0].Location != "header."+keyHeader {
			t.Errorf("%q: errors = %+v", key, p.Errors)
		}
	}
	a := h.keyed(strings.Repeat("k", 255), control.Submission{Service: "cart", Version: "v1", Bundle: h.bundle("one")})
	h.call(a).want(http.StatusCreated)
}

// A dry run says what would happen, and nothing does.
func TestDryRun(t *testing.T) {
	h := build(t).shop()
	s := control.Submission{Service: "cart", Version: "v1", Bundle: h.bundle("one"), DryRun: true}
	var out control.Submitted
	h.post("/changes", s).want(http.StatusOK).into(&out)
	if len(out.Plans) != 2 || out.Release.Version != "v1" {
		t.Errorf("dry run = %+v, want both plans", out)
	}
	var changes page[delivery.Change]
	h.get("/changes").into(&changes)
	if len(changes.Items) != 0 {
		t.Errorf("changes = %+v after a dry run, want none", changes.Items)
	}
	s.DryRun = false
	r := h.post("/changes", s).want(http.StatusCreated)
	if got := r.Header.Get("Location"); got != Base+"/changes/1" {
		t.Errorf("Location = %q", got)
	}
}
