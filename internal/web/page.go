package web

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

//go:embed templates
var templateFiles embed.FS

// page is one page as it is now.
type page struct {
	Tab   string // of the navigation that it belongs to: "board", "changes" ...
	Title string // of the window; what and where, most important word first
	Name  string // of its template
	View  any    // what the template shows
	Live  bool   // it changes while it is looked at
}

// frame is a page with what is around every page.
type frame struct {
	page

	Who     delivery.Who
	Nav     []tab
	Version string
	Path    string // with the query: where the page is; "" is what was asked for
	Offset  int    // of the server's zone, in seconds east of UTC
	Zone    string // and its name
	Main    template.HTML
}

// serve answers with a page.
func (w *Web) serve(rw http.ResponseWriter, r *http.Request, who delivery.Who, look look) {
	s := look(r.Context(), request{Request: r, Who: who})
	if s.err != nil {
		w.refuse(rw, r, who, s.err)
		return
	}
	w.put(rw, r, http.StatusOK, frame{page: s.page, Who: who, Main: s.main})
}

// write renders a page and answers with it.
func (w *Web) write(rw http.ResponseWriter, r *http.Request, status int, f frame) {
	var err error
	if f.Main, err = w.render(f.page); err != nil {
		w.unrendered(rw, r, err)
		return
	}
	w.put(rw, r, status, f)
}

// put answers with a page in its frame, or without if it goes into one that is there.
func (w *Web) put(rw http.ResponseWriter, r *http.Request, status int, f frame) {
	f.Version, f.Path, f.Nav = w.d.Version, cmp.Or(f.Path, r.URL.RequestURI()), w.nav()
	f.Offset, f.Zone = zone(time.Now())
	out := []byte(f.Main)
	if !isFragment(r) {
		var whole bytes.Buffer
		if err := w.templates().ExecuteTemplate(&whole, "frame", f); err != nil {
			w.unrendered(rw, r, err)
			return
		}
		out = whole.Bytes()
	}
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.WriteHeader(status)
	_, _ = rw.Write(out) // a browser that is gone asks again
}

func (w *Web) unrendered(rw http.ResponseWriter, r *http.Request, err error) {
	w.d.Log.ErrorContext(r.Context(), "page could not be rendered", slog.String("path", r.URL.Path), slog.Any("error", err))
	http.Error(rw, "this page could not be rendered; the log of the server says why", http.StatusInternalServerError)
}

// render fills the template of a page: all that its stream renews.
func (w *Web) render(p page) (template.HTML, error) {
	var out bytes.Buffer
	if err := w.templates().ExecuteTemplate(&out, p.Name, p.View); err != nil {
		return "", fmt.Errorf("web: %s: %w", p.Name, err)
	}
	return template.HTML(out.String()), nil //nolint:gosec // rendered by html/template above
}

// codeNoPage is of an address without a page.
const codeNoPage delivery.RefusalCode = "unknown_page"

// trouble is what a page of refusal shows.
type trouble struct {
	Status   int
	Title    string
	Why      string
	Who      string // who can lift it
	Next     string // the command or the edit that comes next
	Back     string // address of the page to go on with
	BackText string
}

// refuse answers with why a page is not shown, and what comes next. Whoever has to
// sign in is led there.
func (w *Web) refuse(rw http.ResponseWriter, r *http.Request, who delivery.Who, err error) {
	if no := refusalOf(err); no != nil && no.Code == delivery.CodeUnauthorized && r.Method == http.MethodGet {
		toSignIn(rw, r)
		return
	}
	t := w.troubleOf(r.Context(), err)
	w.write(rw, r, t.Status, frame{page: page{Title: t.Title, Name: "trouble", View: t}, Who: who})
}

func (w *Web) troubleOf(ctx context.Context, err error) trouble {
	err = w.noted(ctx, err)
	t := trouble{Status: http.StatusInternalServerError, Title: "Something went wrong", Why: err.Error(), Back: "/", BackText: "Go to the board"}
	var no *delivery.Refusal
	var field *delivery.FieldError
	switch {
	case errors.As(err, &no):
		t.Status, t.Title, t.Why, t.Who, t.Next = http.StatusConflict, "Refused", no.Why, no.Who, no.Next
		switch {
		case errors.Is(err, delivery.ErrNotFound):
			t.Status, t.Title = http.StatusNotFound, "Not there"
			if no.Code == delivery.CodeUnknownChange || no.Code == codeNoTrace {
				t.Back, t.BackText = "/changes", "See all changes"
			}
		case no.Code == delivery.CodeUnauthorized || no.Code == delivery.CodeForbidden || no.Code == delivery.CodeCrossSite:
			t.Status, t.Title = http.StatusForbidden, "Not allowed"
		case no.Code == delivery.CodeWrongHost:
			t.Status = http.StatusMisdirectedRequest
		case no.Code == delivery.CodeTooManyTries:
			t.Status = http.StatusTooManyRequests
		}
	case errors.As(err, &field):
		t.Status, t.Title, t.Why, t.Next = http.StatusUnprocessableEntity, "That cannot be", field.Error(), field.Next
	case errors.Is(err, delivery.ErrNotFound):
		t.Status, t.Title = http.StatusNotFound, "Not there"
	default:
		t.Why = "something went wrong inside Slipway; the log of the server says what"
	}
	return t
}

// errInside stands for an error that the log has already, and that says nothing to
// whoever looks at a page.
var errInside = errors.New("something went wrong inside Slipway")

// noted returns what whoever asked is told of an error: itself if it answers them,
// errInside once it is in the log. That somebody is gone is nobody's error.
func (w *Web) noted(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, errInside), errors.Is(err, delivery.ErrNotFound), refusalOf(err) != nil:
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return errInside
	}
	if _, says := errors.AsType[*delivery.FieldError](err); says {
		return err
	}
	w.d.Log.ErrorContext(ctx, "page failed", slog.Any("error", err))
	return errInside
}
