package web

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// One who follows too many pages has to wait, others need not, and a seat that is
// left can be taken.
func TestSeats(t *testing.T) {
	var s seats
	var leave []func()
	for range maxSeatsOne {
		out, ok := s.take("ben")
		if !ok {
			t.Fatal("no seat for the first")
		}
		leave = append(leave, out)
	}
	if _, ok := s.take("ben"); ok {
		t.Error("one has more than there may be")
	}
	if _, ok := s.take("ann"); !ok {
		t.Error("another has none")
	}
	leave[0]()
	if _, ok := s.take("ben"); !ok {
		t.Error("a seat that was left cannot be taken")
	}
	for len(s.of) < maxSeats && s.all < maxSeats {
		s.take(strings.Repeat("x", s.all))
	}
	if _, ok := s.take("zoe"); ok || s.all != maxSeats {
		t.Errorf("%d seats are taken, want %d", s.all, maxSeats)
	}
}

// Streams are counted where they open: whoever has too many is told so.
func TestStreamsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t).project(harborYAML)
		anyone := h.anyone()
		ctx, cancel := context.WithCancel(t.Context())
		open := func(ctx context.Context) int {
			r := httptest.NewRequest(http.MethodGet, "/keys", nil).WithContext(ctx)
			r.Header.Set("Accept", "text/event-stream")
			r.Host, r.RemoteAddr = "127.0.0.1:7500", "127.0.0.1:40000"
			rec := httptest.NewRecorder()
			anyone.pages.ServeHTTP(rec, r)
			return rec.Code
		}
		for range maxSeatsOne {
			go open(ctx)
		}
		synctest.Wait()
		if got := open(ctx); got != http.StatusTooManyRequests {
			t.Errorf("one stream too many is answered %d", got)
		}
		anyone.get("/keys").want(http.StatusOK)
		cancel()
		synctest.Wait()
		if n := anyone.pages.seats.all; n != 0 {
			t.Errorf("%d seats are taken when all have left", n)
		}
	})
}

// slowForm is an answer whose request arrives as slowly as its sender likes.
type slowForm struct {
	*httptest.ResponseRecorder
	io.Reader

	until time.Time
	begun bool // it was read while there was an end to it
}

func (s *slowForm) SetReadDeadline(at time.Time) error {
	s.until = at
	return nil
}

func (s *slowForm) Read(p []byte) (int, error) {
	s.begun = s.begun || !s.until.IsZero()
	return s.Reader.Read(p)
}

// Whoever is not signed in cannot keep a form open for ever; what is done with the
// form may take its time.
func TestFormsEnd(t *testing.T) {
	h := build(t)
	s := &slowForm{ResponseRecorder: httptest.NewRecorder(), Reader: strings.NewReader(url.Values{"token": {testToken}}.Encode())}
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:7500/sign-in", s)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	h.pages.ServeHTTP(s, r)
	if s.Code != http.StatusSeeOther || !s.begun || !s.until.IsZero() {
		t.Errorf("%d, read with an end: %v, which is then %v", s.Code, s.begun, s.until)
	}
	h.nobody().post("/sign-in", url.Values{"token": {strings.Repeat("x", maxForm)}}).want(http.StatusUnprocessableEntity).says("form: cannot be read")
}

// A query of thousands of words is cut before each is looked for in each command.
func TestLongQuery(t *testing.T) {
	h := build(t).project(harborYAML)
	body := h.admin().into("dialog#dialog", "/commands?q="+strings.Repeat("a+", 20_000)).want(http.StatusOK).Body
	if n := strings.Count(body, "a a"); len(body) > 20_000 || n == 0 {
		t.Errorf("%d bytes are answered", len(body))
	}
}
