package web

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/workload"
)

// talker is a house with one instance that writes.
func talker(t *testing.T) (*house, workload.ID) {
	t.Helper()
	h := build(t).project(harborYAML).run()
	h.settled(h.deploy("payment", "v1"))
	s, err := h.loop.Service(t.Context(), "payment")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range s.Instances {
		if i.Spec.Env == "prod" {
			return h, i.Spec.ID
		}
	}
	t.Fatalf("no instance in prod: %+v", s.Instances)
	return nil, ""
}

const traced = "4bf92f3577b34da6a3ce929d0e0e4736"

// Lines are found by level, text, trace, version, change and time, in the address.
// Lines come from instances as people know them; one that nobody knows keeps its ID.
func TestSpeakers(t *testing.T) {
	h, id := talker(t)
	s := speakers{releases: h.store}
	place, _ := strings.CutSuffix(string(id), ".0")
	for id, want := range map[workload.ID]string{
		id: "prod v1", workload.ID(place + ".2"): "prod v1/2", "prod.payment.rffffffffffffffff.0": "prod.payment.rffffffffffffffff.0", "strange": "strange",
	} {
		if got := s.name(t.Context(), id); got != want {
			t.Errorf("%s is called %q, want %q", id, got, want)
		}
	}
}

func TestLogs(t *testing.T) {
	h, id := talker(t)
	h.m.Say(id, `{"level":"INFO","msg":"listening"}`)
	h.m.Say(id, `{"level":"ERROR","msg":"bank refused","trace_id":"`+traced+`"}`)
	h.m.Say(id, hostile)
	h.m.Say(id, strings.Repeat("ö", 20_000))
	a := h.admin()
	const logs = "/services/payment/logs"
	r := a.get(logs).want(http.StatusOK)
	r.says("Logs of payment", "listening", "bank refused", "error", "⟨U+001B⟩[31mred", "⟨U+202E⟩", "Show the whole line, 39 KiB", "bytes more are not shown").has(`data-src="/services/payment/logs?after=`, "logs.")
	if strings.Contains(r.Body, "<script>alert") || strings.Contains(r.Body, "\x1b") || strings.Contains(r.Body, "\u202e") || !utf8.ValidString(r.Body) {
		t.Error("a hostile line acts")
	}
	if n := strings.Count(r.Body, "ö"); n > maxLogWhole/2 {
		t.Errorf("%d letters of a long line are sent, want at most %d bytes", n, maxLogWhole)
	}
	for query, want := range map[string][2]string{
		"level=error":              {"bank refused", "listening"},
		"level=fatal":              {"No line is like that", "bank refused"},
		"text=BANK":                {"bank refused", "listening"},
		"trace=" + traced:          {"bank refused", "listening"},
		"env=prod&version=v1":      {"listening", "No line"},
		"env=staging":              {"No line is like that yet", "listening"},
		"change=1":                 {"listening", "No line"},
		"change=%231&version=v1":   {"listening", "No line"},
		"since=2020-01-01T00:00":   {"listening", "No line"},
		"since=2099-01-01T00:00":   {"No line is like that yet", "listening"},
		"until=2020-01-01+00%3A00": {"No line is like that.", "listening"},
	} {
		a.get(logs + "?" + query).want(http.StatusOK).says(want[0]).hides(want[1])
	}
	for query, says := range map[string]string{
		"level=loud": "say one of debug, info", "env=moon": "staging, prod", "version=v9": `there is no version of payment "v9"`, "change=x": "is not the number of a change",
		"change=99": "99", "since=yesterday": "write it as 2026-11-23 14:30", "until=x": "is no time", "change=1&version=v9": "v9",
	} {
		if r := a.get(logs + "?" + query); r.Status < 400 || r.Status >= 500 || !strings.Contains(r.text(), says) {
			t.Errorf("%s = %d, want a refusal that says %q:\n%s", query, r.Status, says, r.text())
		}
	}
	if r := a.get(logs + "?until=2020-01-01+00:00"); strings.Contains(r.Body, "data-src") {
		t.Error("lines until a time of the past are followed")
	}
	a.get("/services/none/logs").want(http.StatusNotFound)
	h.nobody().get(logs).want(http.StatusSeeOther)
}

// listener reads the stream of a page of lines.
type listener struct {
	t    *testing.T
	body *bufio.Scanner
	stop context.CancelFunc
	ID   string // of the last line
}

// follow opens the stream that a page names, as a browser does.
func (s *served) follow(t *testing.T, path, after string) *listener {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+testToken)
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("follow = %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return &listener{t: t, body: lines, stop: stop}
}

// next is the next line of the log, as HTML.
func (l *listener) next() string {
	l.t.Helper()
	late := time.AfterFunc(patience, l.stop)
	defer late.Stop()
	var html []string
	kind := ""
	for l.body.Scan() {
		switch name, value, _ := strings.Cut(l.body.Text(), ": "); {
		case name == "id":
			l.ID = value
		case name == "event":
			kind = value
		case name == "data":
			html = append(html, value)
		case l.body.Text() == "" && kind == "line":
			return strings.Join(html, "\n")
		}
	}
	l.t.Fatalf("the stream ended: %v", l.body.Err())
	return ""
}

// Who follows is sent each line that comes, once, also after the connection broke
// or the server was started again, and no line that is not asked for.
func TestFollowLogs(t *testing.T) {
	h, id := talker(t)
	s := h.serve()
	h.m.Say(id, `{"level":"ERROR","msg":"before"}`)
	page := h.admin().get("/services/payment/logs?level=error").want(http.StatusOK)
	_, rest, found := strings.Cut(page.Body, `data-src="`)
	src, _, _ := strings.Cut(rest, `"`)
	if src = strings.ReplaceAll(src, "&amp;", "&"); !found || !strings.Contains(src, "level=error") {
		t.Fatalf("the page names no stream: %q", src)
	}
	l := s.follow(t, src, "")
	h.m.Say(id, `{"level":"INFO","msg":"quiet"}`)
	h.m.Say(id, `{"level":"ERROR","msg":"first <b>"}`)
	if line := l.next(); !strings.Contains(line, "first &lt;b&gt;") || !strings.Contains(line, `class="line is-bad"`) {
		t.Errorf("first line = %s", line)
	}
	l.stop()
	for i := range 3 {
		h.m.Say(id, fmt.Sprintf(`{"level":"ERROR","msg":"missed %d"}`, i))
	}
	l = s.follow(t, src, l.ID)
	for i := range 3 {
		if line := l.next(); !strings.Contains(line, fmt.Sprint("missed ", i)) {
			t.Errorf("after coming back, line %d = %s", i, line)
		}
	}
	s.stop()
	for l.body.Scan() {
		if strings.HasPrefix(l.body.Text(), "data") {
			t.Errorf("a stopping server sends %q", l.body.Text())
		}
	}
	s.start()
	h.m.Say(id, `{"level":"ERROR","msg":"after a restart"}`)
	if line := s.follow(t, src, l.ID).next(); !strings.Contains(line, "after a restart") {
		t.Errorf("after a restart = %s", line)
	}
}

// Who may not read is not sent lines.
func TestFollowLogsNeedsAReader(t *testing.T) {
	h, _ := talker(t)
	s := h.serve()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url("/services/payment/logs"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK || strings.Contains(resp.Header.Get("Content-Type"), "event-stream") {
		t.Errorf("nobody follows: %d", resp.StatusCode)
	}
}
