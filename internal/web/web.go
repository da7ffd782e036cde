package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traces"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Deps is all that the pages show and act through.
type Deps struct {
	Loop     *control.Loop
	Store    *store.Store
	Workload workload.Driver // read for logs only
	Traces   *traces.Keeper  // nil knows none
	Guard    *access.Guard
	Log      *slog.Logger
	Version  string           // of Slipway
	Addr     string           // that people reach the server at
	Rights   []delivery.Right // what the API lets whom do
}

// Web is the pages. It is an http.Handler; make it with New.
type Web struct {
	d       Deps
	mux     *http.ServeMux
	files   files
	began   time.Time
	every   time.Duration // between two looks at what a page shows, for its stream
	closed  chan struct{} // streams end
	seats   seats
	glances glances
	once    sync.Once
}

// New returns the pages over d. It does no I/O.
func New(d Deps) *Web {
	w := &Web{d: d, mux: http.NewServeMux(), files: gather(), began: time.Now(), every: lookTime, closed: make(chan struct{})}
	w.routes()
	return w
}

// routes is every page and action in one place.
func (w *Web) routes() {
	w.mux.Handle("GET /static/", http.StripPrefix("/static/", w.files))
	w.mux.HandleFunc("GET /sign-in", w.signInPage)
	w.mux.HandleFunc("POST /sign-in", w.signIn)
	w.mux.HandleFunc("POST /sign-out", w.signOut)
	w.mux.HandleFunc("GET /act/{verb}", w.actPage)
	w.mux.HandleFunc("POST /act/{verb}", w.actDo)
	w.live("GET /{$}", w.board)
	w.live("GET /changes", w.changes)
	w.live("GET /changes/{id}", w.change)
	w.page("GET /changes/{id}/traces/{trace}", w.trace)
	w.live("GET /graph", w.graph)
	w.page("GET /commands", w.commands)
	w.page("GET /keys", w.keys)
	w.live("GET /numbers", w.numbers)
	w.live("GET /services", w.services)
	w.live("GET /services/{service}", w.service)
	w.pageAnd("GET /services/{service}/logs", w.alone(w.serviceLogs), w.followLogs)
	w.page("GET /services/{service}/settings", w.serviceSettings)
	w.live("GET /environments", w.environments)
	w.mux.HandleFunc("POST /previews", w.signPreview)
	w.page("GET /settings", w.settings)
	w.page("GET /settings/revoke", w.revokePage)
	w.mux.HandleFunc("POST /settings/tokens", w.createToken)
	w.mux.HandleFunc("POST /settings/revoke", w.revokeToken)
}

// page registers a page that whoever may read may see.
func (w *Web) page(pattern string, show show) {
	look := w.alone(show)
	w.pageAnd(pattern, look, w.streams(look))
}

// live registers a page that many follow.
func (w *Web) live(pattern string, show show) {
	now, lately := w.forAll(show)
	w.pageAnd(pattern, now, w.streams(lately))
}

// pageAnd registers a page with a stream of its own.
func (w *Web) pageAnd(pattern string, look look, live live) {
	w.mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
		if wantsStream(r) {
			w.follow(rw, r, live)
			return
		}
		if who, ok := w.admit(rw, r, delivery.Reader); ok {
			w.serve(rw, r, who, look)
		}
	})
}

// streams sends what a page shows whenever it changes.
func (w *Web) streams(look look) live {
	return func(ctx context.Context, rw http.ResponseWriter, q request) { w.stream(ctx, rw, q, look) }
}

// HangUp ends every stream. Serve of package server calls it when it stops.
func (w *Web) HangUp() { w.once.Do(func() { close(w.closed) }) }

// policy lets a browser load what this server sends, and nothing else: no script
// and no style within a page, no other origin, no frame, no form to elsewhere.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP answers one request.
func (w *Web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	defer w.recovered(rw, r)
	h := rw.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if err := w.d.Guard.Named(r); err != nil { // also where nobody is asked for: a page under another's name is that other's to read
		w.refuse(rw, r, delivery.Who{}, err)
		return
	}
	if _, pattern := w.mux.Handler(r); pattern == "" {
		w.noPage(rw, r)
		return
	}
	w.mux.ServeHTTP(rw, r)
}

// noPage answers for an address without a page.
func (w *Web) noPage(rw http.ResponseWriter, r *http.Request) {
	if who, ok := w.admit(rw, r, delivery.Nobody); ok {
		w.refuse(rw, r, who, &delivery.Refusal{Code: codeNoPage, Why: "there is no page " + r.URL.Path, Next: "the board shows what there is"})
	}
}

// recovered turns a panic of a page into a page that says so, and a line in the log.
func (w *Web) recovered(rw http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	w.d.Log.ErrorContext(r.Context(), "page panicked", slog.String("path", r.URL.Path), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
	w.refuse(rw, r, delivery.Who{}, errInside)
}

// show reads what a page shows. It is called for a page and again for each
// moment of its stream, and writes nothing.
type show func(ctx context.Context, q request) (page, error)

// request is what a page may know of the request for it.
type request struct {
	*http.Request

	Who  delivery.Who
	pass access.Pass
}
