package cli

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 41 * time.Millisecond: "41 ms", 999 * time.Millisecond: "999 ms", 999900 * time.Microsecond: "1 s",
		1900 * time.Millisecond: "1.9 s", 2 * time.Second: "2 s", 9949 * time.Millisecond: "9.9 s", 9960 * time.Millisecond: "10 s",
		12300 * time.Millisecond: "12 s", 59600 * time.Millisecond: "1 m", 112 * time.Second: "1 m 52 s", 2 * time.Minute: "2 m",
		125 * time.Minute: "2 h 5 m", 76 * time.Hour: "3 d 4 h", -2 * time.Second: "-2 s", math.MinInt64: "-106751 d 23 h",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0 %", 0.004: "0.4 %", 0.061: "6.1 %", 0.02: "2 %", 0.0004: "0.04 %", 0.0995: "10 %", 0.12: "12 %", 1: "100 %"} {
		if got := percent(v); got != want {
			t.Errorf("percent(%v) = %q, want %q", v, got, want)
		}
	}
}

// What comes from elsewhere does not steer the terminal.
func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "\x1b[31mred\x1b[0m": "red", "a\x1b]0;title\x07b": "a]0;titleb", "\x1b[2J\x1b[1;1Hgone": "gone",
		"tab\tkept": "tab\tkept", "line\r\nbreak": "linebreak", "bad \xff utf": "bad  utf", "\x1b[": "", "ümläut ✔": "ümläut ✔",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		if got := printable(text); strings.IndexFunc(got, spoils) >= 0 {
			t.Fatalf("printable(%q) = %q, which still holds control characters", text, got)
		}
	})
}

func TestShell(t *testing.T) {
	for in, want := range map[string]string{"v1.2": "v1.2", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$(rm)": "'$(rm)'"} {
		if got := shell(in); got != want {
			t.Errorf("shell(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestTargetOf(t *testing.T) {
	for in, want := range map[string]target{
		"7": {change: 7}, "#7": {change: 7}, "7/prod": {change: 7, env: "prod"}, "7/prod.2": {change: 7, env: "prod"}, "payment": {service: "payment"}, "v2-x": {service: "v2-x"},
	} {
		got, err := targetOf(in)
		if err != nil || got != want {
			t.Errorf("targetOf(%q) = %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0/x", "-1/x", "a b", "#x", "x/y"} {
		if got, err := targetOf(in); exitOf(err) != exitUsage {
			t.Errorf("targetOf(%q) = %+v, %v, want a usage error", in, got, err)
		}
	}
}

func TestCommonest(t *testing.T) {
	if got := commonest(nil); got != "" {
		t.Errorf("commonest of nothing = %q", got)
	}
	m := rolledBack()
	if got, want := commonest(m.live["7/prod"].Failed), "POST /charge → 502: connection refused   (38 of 41)"; got != want {
		t.Errorf("commonest = %q, want %q", got, want)
	}
}

// Every state has a glyph, a rollout that a person must act on looks so, and no
// two signs share a glyph.
func TestSigns(t *testing.T) {
	glyphs := map[string]string{}
	for _, s := range []sign{signWaits, signRuns, signGood, signBad, signBack, signPaused, signBlocked, signNoData, signSuperseded} {
		if other := glyphs[s.glyph]; other != "" {
			t.Errorf("%q and %q share %s", other, s.word, s.glyph)
		}
		glyphs[s.glyph] = s.word
	}
	if len(glyphs) != 9 {
		t.Errorf("%d signs, want nine", len(glyphs))
	}
	for _, state := range delivery.States() {
		if signAt(state, nil).glyph == "" {
			t.Errorf("%s has no glyph", state)
		}
	}
	for on, want := range map[string]sign{"approval": signPaused, "decision": signPaused, "pause": signPaused, "not enough data": signNoData, "instances": signRuns} {
		if got := signAt(delivery.Judging, &delivery.Blocker{On: on}); got != want {
			t.Errorf("waiting on %s looks %s, want %s", on, got.glyph, want.glyph)
		}
	}
	if got := signAt(delivery.Queued, &delivery.Blocker{On: "hold", Who: "anyone"}); got != signBlocked {
		t.Errorf("a held service looks %s, want %s", got.glyph, signBlocked.glyph)
	}
}
