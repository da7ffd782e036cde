package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

const (
	rootToken = "correct-horse-battery-staple"
	testAddr  = "127.0.0.1:7500"
)

// house is a guard over a real store, and a page and an API that say who asks.
type house struct {
	t     *testing.T
	dir   string
	store *store.Store
	guard *Guard
	log   *book
}

// book keeps what was logged.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func build(t *testing.T, change ...func(*Deps)) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), log: &book{}}
	h.start(change...)
	t.Cleanup(func() { h.stop() })
	return h
}

// start opens the store, at the second time where it was before.
func (h *house) start(change ...func(*Deps)) {
	h.t.Helper()
	st, err := store.Open(h.t.Context(), filepath.Join(h.dir, "store.db"))
	if err != nil {
		h.t.Fatal(err)
	}
	d := Deps{Root: rootToken, Addr: testAddr, Store: st, Log: slog.New(slog.NewTextHandler(h.log, nil))}
	for _, c := range change {
		c(&d)
	}
	h.store, h.guard = st, New(d)
}

func (h *house) stop() {
	h.t.Helper()
	if h.store == nil {
		return
	}
	if err := h.store.Close(); err != nil {
		h.t.Errorf("close: %v", err)
	}
	h.store = nil
}

// ServeHTTP says who asks: of the API below /api, as a page elsewhere.
func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	enter := h.guard.Visit
	if strings.HasPrefix(r.URL.Path, "/api") {
		enter = h.guard.Enter
	}
	var err error
	switch r.Method + " " + r.URL.Path {
	case "POST /sign-in":
		_, err = h.guard.SignIn(w, r, r.PostFormValue("token"))
	case "POST /redeem":
		_, err = h.guard.Redeem(w, r, r.PostFormValue("code"))
	case "POST /sign-out":
		err = h.guard.SignOut(w, r)
	default:
		var p Pass
		if p, err = enter(w, r); errors.Is(err, ErrWithheld) {
			_, _ = io.WriteString(w, "again")
			return
		}
		if err == nil {
			fmt.Fprintf(w, "%s %s %s", p.Name, p.Access, p.Via)
		}
	}
	if err != nil {
		no, ok := errors.AsType[*delivery.Refusal](err)
		if !ok {
			h.t.Error(err)
			return
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, "%s: %s; %s", no.Code, no.Why, no.Next)
	}
}

// browser keeps the cookies it is given, as one at one address does.
type browser struct {
	h       *house
	cookies map[string]*http.Cookie
	from    string // address and port; "" is 127.0.0.1
	header  http.Header
}

func (h *house) browser() *browser {
	return &browser{h: h, cookies: map[string]*http.Cookie{}, from: "127.0.0.1:4711", header: http.Header{}}
}

// ask sends one request and returns what was answered.
func (b *browser) ask(method, path string, form ...string) string {
	b.h.t.Helper()
	var body io.Reader
	if len(form) > 0 {
		body = strings.NewReader(form[0])
	}
	r := httptest.NewRequest(method, "http://"+testAddr+path, body)
	r.RemoteAddr = b.from
	r.Header = b.header.Clone()
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range b.cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w.Body.String()
}

// wants fails unless an answer begins as it must.
func (h *house) wants(what, got, want string) {
	h.t.Helper()
	if !strings.HasPrefix(got, want) {
		h.t.Errorf("%s = %q, want %q", what, got, want)
	}
}

// signIn opens a session with a token.
func (b *browser) signIn(token string) string { return b.ask("POST", "/sign-in", "token="+token) }

func (b *browser) session() string {
	if c := b.cookies[b.h.guard.Cookie()]; c != nil {
		return c.Value
	}
	return ""
}

// token makes a named token and returns what opens it.
func (h *house) token(name string, a delivery.Access, ends time.Time) string {
	h.t.Helper()
	_, secret, err := h.guard.Create(h.t.Context(), NewToken{Name: name, Access: a, Ends: ends, By: "ann"})
	if err != nil {
		h.t.Fatal(err)
	}
	return secret
}

// bearer asks the API with a token and returns the answer.
func (h *house) bearer(token string, header ...string) string {
	h.t.Helper()
	b := h.browser()
	b.header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(header); i += 2 {
		b.header.Set(header[i], header[i+1])
	}
	return b.ask("GET", "/api/x")
}

// link asks for a sign-in link as the owner, who says to be ann, and returns its code.
func (h *house) link() string {
	h.t.Helper()
	l, err := h.guard.Link(h.t.Context(), Pass{Who: delivery.Who{Name: "ann", Access: delivery.Admin}, Via: ViaOwner, token: h.guard.root})
	if err != nil {
		h.t.Fatal(err)
	}
	_, code, ok := strings.Cut(l.Path, "?code=")
	if !ok {
		h.t.Fatalf("path = %q, want a code in it", l.Path)
	}
	return code
}
