package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// A trace is drawn as a tree over time; spans that came without their parent, or
// in a circle, are there too, and what is hostile in them does not reach the terminal.
func TestWaterfall(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.Local)
	at := func(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }
	tr := delivery.Trace{ID: "0af7651916cd43dd8448eb211c80319c", At: noon, Change: 12, Service: "pay", Env: "prod", Why: "answered 500", Missing: 3, Spans: []delivery.Span{
		{ID: "1", Name: "GET prod/shop", Service: "slipway-proxy", Start: at(0), Took: 240 * time.Millisecond},
		{ID: "3", Parent: "2", Name: "POST /pay", Service: "pay", Start: at(120), Took: 60 * time.Millisecond, Failed: true, Why: "no such \x1b[2Jcolumn"},
		{ID: "2", Parent: "1", Name: "GET /", Service: "shop", Start: at(10), Took: 220 * time.Millisecond},
		{ID: "9", Parent: "unknown", Name: "alone", Start: at(0), Took: 0},
		{ID: "7", Parent: "8", Name: "seven", Service: "loop", Start: at(0), Took: time.Millisecond},
		{ID: "8", Parent: "7", Name: "eight", Service: "loop", Start: at(0), Took: time.Millisecond},
	}}
	s := &session{}
	text := s.waterfall(tr, noon.Add(time.Minute))
	for _, want := range []string{
		"0af7651916cd43dd8448eb211c80319c  12:00", "kept for change 12: pay in prod, answered 500",
		"████████████████████████  240 ms  slipway-proxy  GET prod/shop",
		"·██████████████████████·  220 ms    shop  GET /",
		"············██████······  60 ms       pay  POST /pay",
		"✖ no such", "0 ms    ?  alone", "1 ms    loop  seven", "1 ms      loop  eight", "3 spans are left out",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("an escape came through:\n%q", text)
	}
	if n := len(nested(tr.Spans)); n != len(tr.Spans) {
		t.Errorf("%d of %d spans are shown", n, len(tr.Spans))
	}
	if got := s.traceList(12, nil, noon); got != "  no trace of a failed request is kept of change 12\n" {
		t.Errorf("no traces = %q", got)
	}
}
