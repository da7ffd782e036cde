package server

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// heard is one server-sent event as it came over the wire.
type heard struct{ id, event, data string }

// listening is an open stream.
type listening struct {
	*http.Response
	r *bufio.Reader
}

// listen opens a stream that ends with the test, or when cancelled.
func (h *house) listen(ctx context.Context, path string, header map[string]string) (*listening, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+Base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+testToken)
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) //nolint:bodyclose // the caller closes it
	if err != nil {
		return nil, err
	}
	return &listening{resp, bufio.NewReader(resp.Body)}, nil
}

// next returns the next whole event, skipping comments.
func (l *listening) next() (heard, error) {
	var e heard
	for {
		line, err := l.r.ReadString('\n')
		if err != nil {
			return e, err // what was not ended by a blank line was not heard
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.event = value
		case "data":
			e.data = value
		case "":
			if e.data != "" {
				return e, nil
			}
		}
	}
}

// No event is lost and none is doubled, however often the connection drops and
// wherever in the stream it does.
func TestEventsResume(t *testing.T) {
	h := build(t)
	const lines = 600
	written := make(chan struct{})
	go func() {
		defer close(written)
		for n := 0; n < lines; {
			some := min(1+rand.IntN(7), lines-n)
			h.note(some, delivery.Event{Kind: delivery.EventServer})
			n += some
		}
	}()
	deadline := time.Now().Add(patience)
	var got []int64
	connects := 0
	for len(got) < lines && time.Now().Before(deadline) {
		ctx, cancel := context.WithDeadline(t.Context(), deadline)
		header := map[string]string{}
		if len(got) > 0 {
			header["Last-Event-ID"] = strconv.FormatInt(got[len(got)-1], 10)
		}
		l, err := h.listen(ctx, "/events?since=0", header)
		if err != nil {
			cancel()
			t.Fatal(err)
		}
		connects++
		for range 1 + rand.IntN(40) {
			if len(got) == lines {
				break
			}
			e, err := l.next()
			if err != nil {
				t.Fatal(err)
			}
			var line delivery.Event
			if err := json.Unmarshal([]byte(e.data), &line); err != nil {
				t.Fatal(err)
			}
			if e.id != strconv.FormatInt(line.Seq, 10) || e.event != string(line.Kind) {
				t.Errorf("id %s, event %s; want those of line %d, %s", e.id, e.event, line.Seq, line.Kind)
			}
			got = append(got, line.Seq)
		}
		cancel() // drops the connection wherever it is
		l.Body.Close()
	}
	<-written
	if len(got) != lines {
		t.Fatalf("events = %d, want %d", len(got), lines)
	}
	for i, seq := range got {
		if seq != int64(i+1) {
			t.Fatalf("event %d has id %d: one was lost or doubled", i+1, seq)
		}
	}
	t.Logf("%d events over %d connections", len(got), connects)
	eventually(t, "every seat is free again", func() bool { return len(h.server.streams.seats) == 0 })
}

// A stream shows only what it was asked for, and goes on when more comes.
func TestEventsFilter(t *testing.T) {
	h := build(t).shop()
	h.note(300, delivery.Event{Kind: delivery.EventServer})
	l, err := h.listen(t.Context(), "/events?service=cart", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Body.Close()
	if got := l.Header.Get("X-Accel-Buffering"); got != "no" || l.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("headers = %v, want a stream that nobody buffers", l.Header)
	}
	s := h.deploy("cart", "v1")
	h.deploy("payment", "v1")
	h.deploy("cart", "v2")
	for _, want := range []delivery.EventKind{delivery.EventSubmitted, delivery.EventMoved, delivery.EventSubmitted} {
		e, err := l.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.event != string(want) || !strings.Contains(e.data, `"service":"cart"`) {
			t.Errorf("event = %+v, want %s of cart", e, want)
		}
	}
	one, err := h.listen(t.Context(), fmt.Sprintf("/events?change=%d", s.Change.ID), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Body.Close()
	if e, err := one.next(); err != nil || !strings.Contains(e.data, `"change":1`) {
		t.Errorf("event = %+v, %v; want one of change 1", e, err)
	}
}

// There are so many seats and no more; a stream that ends gives its seat back.
func TestStreamsAreBounded(t *testing.T) {
	h := build(t).shop()
	var open []*listening
	for range maxStreams {
		l, err := h.listen(t.Context(), "/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Body.Close()
		l.want(t, http.StatusOK)
		open = append(open, l)
	}
	for _, path := range []string{"/events", "/services/cart/logs?follow=true"} {
		r := h.get(path)
		if p := r.problem(http.StatusServiceUnavailable, codeTooMany); p.Hint == "" || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s = %+v %v, want when to try again", path, p, r.Header)
		}
	}
	h.get("/status").want(http.StatusOK) // ordinary requests need no seat
	open[0].Body.Close()
	eventually(t, "the seat is free again", func() bool { return len(h.server.streams.seats) < maxStreams })
	l, err := h.listen(t.Context(), "/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Body.Close()
	l.want(t, http.StatusOK)
}

func (l *listening) want(t *testing.T, status int) {
	t.Helper()
	if l.StatusCode != status {
		t.Fatalf("status = %d, want %d", l.StatusCode, status)
	}
}

// When the server stops, streams end and ordinary requests are answered.
func TestStopEndsStreams(t *testing.T) {
	h := build(t).shop()
	l, err := h.listen(t.Context(), "/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Body.Close()
	if _, err := l.next(); err != nil {
		t.Fatal(err)
	}
	h.stop()
	for err == nil {
		_, err = l.next()
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the stream ended with %v, want its end", err)
	}
	if _, err := h.server.streams.enter(); err == nil {
		t.Error("a stream began after the server stopped")
	}
}

// Logs come as lines of JSON, the last ones first asked for, and go on.
func TestLogs(t *testing.T) {
	h := build(t).shop()
	for i := range 10 {
		h.say("r1", fmt.Sprintf("line %d", i))
	}
	lines := strings.Split(strings.TrimSpace(string(h.call(ask{method: "GET", path: "/services/cart/logs?tail=3", header: map[string]string{"Accept": "application/x-ndjson"}}).want(http.StatusOK).Body)), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "line 7") || !strings.Contains(lines[2], "line 9") {
		t.Errorf("lines = %q, want the last three", lines)
	}
	l, err := h.listen(t.Context(), "/services/cart/logs?tail=1&follow=true", map[string]string{"Accept": "application/x-ndjson"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Body.Close()
	if got := l.Header.Get("Content-Type"); got != "application/x-ndjson" {
		t.Errorf("Content-Type = %q", got)
	}
	for _, want := range []string{"line 9", "a\nb", "later"} {
		if want != "line 9" {
			h.say("r1", want)
		}
		text, err := l.r.ReadString('\n')
		var line workload.LogLine
		if err != nil || json.Unmarshal([]byte(text), &line) != nil || line.Text != want {
			t.Fatalf("line = %q, %v; want %q", text, err, want)
		}
	}
	events, err := h.listen(t.Context(), "/services/cart/logs?tail=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	if e, err := events.next(); err != nil || !strings.Contains(e.data, "later") {
		t.Errorf("event = %+v, %v; want the last line", e, err)
	}
}

// Lines are searched by level, text, trace, time and release, and say what was read of them.
func TestSearchLogs(t *testing.T) {
	h := build(t).shop()
	rel := h.deploy("cart", "v1").Release.ID
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	h.say(rel, "plain")
	h.say(rel, `{"level":"INFO","msg":"listening"}`)
	h.say(rel, `level=warn msg="slow bank"`)
	h.say(rel, `{"level":"ERROR","msg":"Bank refused","trace_id":"`+trace+`"}`)
	for query, want := range map[string][]string{
		"":                                    {"plain", "listening", "slow bank", "Bank refused"},
		"level=warn":                          {"slow bank", "Bank refused"},
		"level=error":                         {"Bank refused"},
		"text=BANK":                           {"slow bank", "Bank refused"},
		"text=bank&tail=1":                    {"Bank refused"},
		"trace=" + trace:                      {"Bank refused"},
		"since=2000-01-01T00:00:00Z&text=pla": {"plain"},
		"until=2000-01-01T00:00:00Z":          nil,
		"level=fatal":                         nil,
		"version=v1&level=info&text=listen":   {"listening"},
		"level=info&text=listen":              {"listening"},
	} {
		body := string(h.call(ask{method: "GET", path: "/services/cart/logs?" + query, header: map[string]string{"Accept": "application/x-ndjson"}}).want(http.StatusOK).Body)
		lines := strings.FieldsFunc(body, func(c rune) bool { return c == '\n' })
		if len(lines) != len(want) {
			t.Errorf("%s: %q, want %q", query, lines, want)
			continue
		}
		for i, line := range lines {
			if !strings.Contains(line, want[i]) {
				t.Errorf("%s: line %d is %s, want %q", query, i, line, want[i])
			}
			if refused := want[i] == "Bank refused"; refused != (strings.Contains(line, `"level":"error"`) && strings.Contains(line, `"trace":"`+trace+`"`)) {
				t.Errorf("%s: of %s was read the wrong thing", query, line)
			}
		}
	}
	for query, status := range map[string]int{
		"level=loud": http.StatusUnprocessableEntity, "trace=xyz": http.StatusUnprocessableEntity, "since=yesterday": http.StatusUnprocessableEntity,
		"version=v9": http.StatusNotFound, "version=v1&change=1": http.StatusUnprocessableEntity,
	} {
		h.call(ask{method: "GET", path: "/services/cart/logs?" + query}).want(status)
	}
}

// Failed requests come once each, those that come later too.
func TestFailedRequests(t *testing.T) {
	h := build(t).shop().run()
	fail := func(path string) {
		h.m.Fail(traffic.Sample{At: time.Now(), Route: "prod/cart", Release: "r1", Method: "GET", Path: path, Status: 500})
	}
	fail("/a")
	fail("/b")
	eventually(t, "the loop has both", func() bool { return len(h.loop.FailedSamples("cart", "", nil)) == 2 })
	l, err := h.listen(t.Context(), "/services/cart/logs?failed=true&follow=true", map[string]string{"Accept": "application/x-ndjson"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Body.Close()
	fail("/c")
	for _, want := range []string{"/a", "/b", "/c"} {
		text, err := l.r.ReadString('\n')
		if err != nil || !strings.Contains(text, `"path":"`+want+`"`) {
			t.Fatalf("line = %q, %v; want %s", text, err, want)
		}
	}
	last := h.call(ask{method: "GET", path: "/services/cart/logs?failed=true&tail=1", header: map[string]string{"Accept": "application/x-ndjson"}}).want(http.StatusOK)
	if strings.Count(string(last.Body), "\n") != 1 || !strings.Contains(string(last.Body), "/c") {
		t.Errorf("last failed = %s, want /c alone", last.Body)
	}
}
