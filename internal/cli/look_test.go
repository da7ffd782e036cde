package cli

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestLook(t *testing.T) {
	for _, c := range []struct {
		tty          bool
		vars         map[string]string
		colour, live bool
	}{
		{tty: true, colour: true, live: true},
		{tty: false},
		{tty: true, vars: map[string]string{"NO_COLOR": "1"}, live: true},
		{tty: true, vars: map[string]string{"TERM": "dumb"}},
		{tty: true, vars: map[string]string{"CI": "true"}, colour: true},
		{tty: true, vars: map[string]string{"CI": "false"}, colour: true, live: true},
	} {
		l := lookOf(Env{Vars: func(name string) string { return c.vars[name] }, Terminal: func() (int, bool) { return 80, c.tty }})
		if l.colour != c.colour || l.live != c.live || l.width != 80 {
			t.Errorf("look(tty %v, %v) = %+v, want colour %v, live %v", c.tty, c.vars, l, c.colour, c.live)
		}
		if text := l.good("✔"); strings.Contains(text, "\x1b") != c.colour {
			t.Errorf("good(✔) = %q with colour %v", text, c.colour)
		}
	}
	if l := lookOf(Env{Vars: func(string) string { return "" }}); l.width != 100 || l.colour || l.live {
		t.Errorf("look without a terminal = %+v", l)
	}
}

func TestColumns(t *testing.T) {
	for text, want := range map[string]int{"": 0, "abc": 3, "✔ ok": 4, "\x1b[31m✖\x1b[0m": 1, "⛔ held": 7, "日本": 4, "é": 1} {
		if got := columns(text); got != want {
			t.Errorf("columns(%q) = %d, want %d", text, got, want)
		}
	}
}

// A line that is cut never wraps, keeps its beginning and ends its colour.
func TestFit(t *testing.T) {
	if got, want := fit("\x1b[31mfailed badly\x1b[0m", 7), "\x1b[31mfailed…\x1b[0m"; got != want {
		t.Errorf("fit = %q, want %q", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOf(rapid.SampledFrom([]string{"a", "word ", "✔", "⛔", "日", "\x1b[31m", "\x1b[0m", "é"})).Draw(t, "words")
		text, width := strings.Join(words, ""), rapid.IntRange(1, 30).Draw(t, "width")
		got := fit(text, width)
		if columns(got) > width {
			t.Fatalf("fit(%q, %d) = %q takes %d columns", text, width, got, columns(got))
		}
		if columns(text) <= width && got != text {
			t.Fatalf("fit(%q, %d) = %q although it fits", text, width, got)
		}
		if pad := pad(text, width); columns(pad) != max(width, columns(text)) {
			t.Fatalf("pad(%q, %d) takes %d columns", text, width, columns(pad))
		}
	})
}

func TestGrid(t *testing.T) {
	got := grid("  ", [][]string{{"title that is long"}, {"a", "⛔ b", "last"}, {"long", "c", "as long as it likes"}})
	want := "  title that is long\n  a     ⛔ b  last\n  long  c     as long as it likes\n"
	if got != want {
		t.Errorf("grid =\n%swant\n%s", got, want)
	}
}

func TestBar(t *testing.T) {
	for share, want := range map[float64]string{0: "▕░░░░░░░░░░▏", 0.25: "▕███░░░░░░░▏", 1: "▕██████████▏", 2: "▕██████████▏", -1: "▕░░░░░░░░░░▏"} {
		if got := bar(share, 10); got != want {
			t.Errorf("bar(%v) = %s, want %s", share, got, want)
		}
	}
}

// A screen draws its block again in its place and leaves what came before.
func TestScreen(t *testing.T) {
	var out strings.Builder
	s := screen{out: &out, width: 20}
	s.draw([]string{"one", "two"})
	s.draw([]string{"three", strings.Repeat("x", 40)})
	s.above("news")
	s.draw([]string{"end"})
	want := "\x1b[2Kone\n\x1b[2Ktwo\n\x1b[J" +
		"\r\x1b[2A\x1b[2Kthree\n\x1b[2K" + strings.Repeat("x", 18) + "…\n\x1b[J" +
		"\r\x1b[2A\x1b[Jnews\n" + "\x1b[2Kend\n\x1b[J"
	if out.String() != want {
		t.Errorf("screen wrote\n%q, want\n%q", out.String(), want)
	}
}

func TestBoard(t *testing.T) {
	b := delivery.Board{
		Project: "shop", Environments: []string{"dev", "staging", "prod"}, Deployable: 2,
		Services: []delivery.Row{
			{Service: "cart", Now: true, Sentence: "yes, up to date", Cells: []delivery.Cell{{Env: "dev", Version: "v2", Want: 1, Healthy: 1}, {Env: "staging", Version: "v2", Want: 1, Healthy: 1}, {Env: "prod", Version: "v2", Want: 2, Healthy: 2}}},
			{Service: "payment", Now: true, Sentence: "yes, takes over from v3", Cells: []delivery.Cell{{Env: "dev", Version: "v3", Want: 1, Healthy: 1}, {Env: "staging", Version: "v2", Flight: &delivery.Flight{Version: "v3", State: delivery.Soaking, Weight: delivery.Full}}, {Env: "prod", Version: "v2", Want: 2, Healthy: 1, Flight: &delivery.Flight{Version: "v3", State: delivery.Judging, Weight: delivery.Percent(25), Waiting: &delivery.Blocker{On: "incident", What: "incident: payment is in trouble whichever release answers; 12 % of all requests fail, 1 % may"}}}}},
			{Service: "shop", Sentence: "NO  held in prod by ann: closing", Cells: []delivery.Cell{{Env: "dev"}, {Env: "staging", Version: "v1", Held: &delivery.Hold{Kind: delivery.Quarantine, Version: "v2"}}, {Env: "prod", Version: "v1", Held: &delivery.Hold{Kind: delivery.Pinned}}}},
		},
		Trouble: []string{"listener prod on 127.0.0.1:7580: address already in use"},
	}
	var all strings.Builder
	for _, colour := range []bool{false, true} {
		s := &session{look: look{colour: colour, width: 100}}
		fmt.Fprintf(&all, "colour %v\n%s", colour, s.board(b))
	}
	golden(t, "board.txt", all.String())
}
