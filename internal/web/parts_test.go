package web

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// part renders one template.
func part(t *testing.T, name string, of any) string {
	t.Helper()
	var out bytes.Buffer
	if err := parsed().ExecuteTemplate(&out, name, of); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Each part shows what it is given, says it in words, and shows hostile text inert.
func TestParts(t *testing.T) {
	const hostile = `<script>alert(1)</script>"'`
	judged := chart{
		ID: "err", Title: hostile, Unit: "%", Sentence: "6.1 % against 0.4 %", Size: "tall", From: 60, To: 61,
		Series: []series{{Name: "canary", Class: "canary", Values: []float64{0.4, 6.1}}},
		Band:   band{Name: "99 % interval", Class: "canary", Low: []float64{0, 5}, High: []float64{1, 7}},
	}
	for _, c := range []struct {
		name string
		of   any
		want []string
	}{
		{"sign", signBlocked, []string{`class="sign is-bad"`, "#blocked", "blocked"}},
		{"chart", judged, []string{`id="err"`, `class="chart is-tall"`, `role="img" aria-label="6.1 % against 0.4 %"`, "canary (band: 99 % interval)", `<th scope="row">00:01:01</th>`, "highest", `data-chart="{&#34;u&#34;:&#34;%&#34;`}},
		{"chart", chart{ID: "none"}, []string{"No numbers yet."}},
		{"spark", sparkOf("error rate 6 %", series{Class: "canary", Values: []float64{1, 2}}), []string{`aria-label="error rate 6 %"`, `class="ink-canary"`, `d="M2.0 12.0h0L94.0 2.0"`}},
		{"empty", empty{Title: "No service yet", Why: hostile, Commands: []emptyCommand{{Text: "Write slipway.yaml", Command: "slipway init"}}, Href: "/x", LinkText: "See how"}, []string{"<h2>No service yet</h2>", "slipway init", `data-copy="slipway init"`, `<a href="/x">See how</a>`}},
		{"pager", pager{Next: "?page=2", Text: "1 to 50 of 60"}, []string{`rel="next" href="?page=2"`, `aria-disabled="true"`, "1 to 50 of 60"}},
		{"facts", []fact{{Name: "Image", Value: hostile, Class: "mono", Href: "/i"}}, []string{"<dt>Image</dt>", `<dd class="mono"><a href="/i">`}},
		{"trouble", trouble{Status: 409, Title: "Refused", Why: hostile, Who: "an admin lifts it", Next: "slipway release cart", Back: "/", BackText: "Go to the board"}, []string{"<h1>Refused</h1>", "an admin lifts it", "slipway release cart", "Go to the board"}},
	} {
		got := part(t, c.name, c.of)
		for _, want := range c.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s is\n%s\nwant %q in it", c.name, got, want)
			}
		}
		if strings.Contains(got, "<script") {
			t.Errorf("%s lets a script in:\n%s", c.name, got)
		}
	}
	if got := part(t, "pager", pager{Text: "all"}); strings.TrimSpace(got) != "" {
		t.Errorf("a list of one page has a pager: %s", got)
	}
}

// An event is one message however its text is broken into lines.
func TestEvent(t *testing.T) {
	if got, want := string(event("beat", "")), "event: beat\n\n"; got != want {
		t.Errorf("event is %q, want %q", got, want)
	}
	if got, want := string(event("", "a\nb\r\nc\rd\n")), "data: a\ndata: b \ndata: c d\n\n"; got != want {
		t.Errorf("event is %q, want %q", got, want)
	}
}

// A tab is there when its page is, in the order of the navigation.
func TestNav(t *testing.T) {
	w := &Web{mux: http.NewServeMux()}
	if got := w.nav(); len(got) != 0 {
		t.Errorf("nav without a page is %v, want none", got)
	}
	w.mux.Handle("GET /changes", http.NotFoundHandler())
	w.mux.Handle("GET /{$}", http.NotFoundHandler())
	got := w.nav()
	if len(got) != 2 || got[0].Name != "board" || got[1].Name != "changes" {
		t.Errorf("nav is %v, want the board and the changes", got)
	}
}
