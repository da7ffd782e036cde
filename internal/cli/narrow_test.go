package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// What a person must know is never cut off: numbers that matter less go first.
func TestRowKeepsWhatMatters(t *testing.T) {
	r := rolling("prod", delivery.Judging)
	r.Waiting = &delivery.Blocker{On: "not enough data", What: "the judge has not proven v2 no worse yet"}
	v := &delivery.Verdict{Outcome: delivery.Inconclusive}
	for _, name := range []string{"errors", "p50", "p90", "p95", "p99"} {
		c := delivery.Check{Name: name, Unit: "s", Outcome: delivery.Inconclusive, Stable: 0.1234, Canary: 0.1234, NCanary: 1930}
		if name == "errors" {
			c.Unit, c.Stable, c.Canary = "share", 0.061, 0.061
		}
		v.Checks = append(v.Checks, c)
	}
	for width, want := range map[int][]string{
		200: {"▕", "errors", "p90", "p95", "p99"},
		140: {"▕", "errors", "p90", "p95"},
		120: {"▕", "errors", "p90"},
		100: {"▕", "errors"},
		70:  {"▕"},
		48:  {},
	} {
		f := &follower{s: &session{look: look{width: width}}, seen: scene{now: born}}
		got := f.row(r, control.Live{Verdict: v}, width-12)
		if columns(got) > width-12 || !strings.Contains(got, "n=1,930") || !strings.Contains(got, "not enough data yet") {
			t.Errorf("at %d columns: %q", width, got)
		}
		for _, part := range []string{"▕", "errors", "p90", "p95", "p99"} {
			if strings.Contains(got, part) != strings.Contains(fmt.Sprint(want), part) {
				t.Errorf("at %d columns: %q, want only %v", width, got, want)
			}
		}
	}
}

// The label of the rollback is whole wherever the rollback was.
func TestRollbackLabelIsWhole(t *testing.T) {
	points := story()
	for width := 60; width <= 140; width++ {
		for _, p := range points {
			c := chartOf(points, false, min(width-2, 90))
			c.Back, c.Room = p.Second, width-1
			line := c.heading(c.backAt(), look{})
			if columns(line) > width-1 || !strings.Contains(line, "rollback "+time.Unix(p.Second, 0).Format(time.TimeOnly)) {
				t.Fatalf("at %d columns: %q", width, line)
			}
		}
	}
}

// What a terminal is too narrow for is broken between words, and no word is lost.
func TestWhyIsBrokenBetweenWords(t *testing.T) {
	long := strings.Repeat("the new release is worse than the one before it, ", 4) + "over."
	a := delivery.Answer{Sentence: "cart v2 is not in prod, because " + long, Gates: []delivery.Gate{
		{Name: "order", Outcome: delivery.GatePass, What: "v2 is stable in dev"},
		{Name: "quarantine", Outcome: delivery.GateBlocked, What: "v2 is on hold: " + long, Lifts: "slipway release cart v2", Who: "anyone with access"},
	}}
	text := func(l look) string { return (&session{look: l}).answers([]delivery.Answer{a}, born) }
	wide := text(look{width: 80})
	for _, width := range []int{60, 80, 120, 400} {
		got := text(look{live: true, width: width})
		for line := range strings.Lines(got) {
			if columns(strings.TrimSuffix(line, "\n")) > width {
				t.Errorf("at %d columns: %q", width, line)
			}
		}
		if words := strings.Fields(strings.ReplaceAll(got, "→ ", "")); len(words) != len(strings.Fields(wide)) {
			t.Errorf("at %d columns there are %d words of %d:\n%s", width, len(words), len(strings.Fields(wide)), got)
		}
	}
	if strings.Count(wide, "\n") != 3 {
		t.Errorf("to a file:\n%s", wide)
	}
}

// Lines about a proof come at once, and then only with news and not too often.
func TestProofLines(t *testing.T) {
	var out strings.Builder
	r := rolling("prod", delivery.Judging)
	r.Waiting = &delivery.Blocker{On: "not enough data", What: "the judge has not proven v2 no worse yet", Since: born}
	f := &follower{s: &session{}, screen: screen{out: &out}}
	see := func(second int, sentence string) {
		m := at(r)
		live := m.live[r.ID]
		if sentence != "" {
			live.Verdict = &delivery.Verdict{Sentence: sentence}
		}
		f.seen = scene{now: born.Add(time.Duration(second) * time.Second), whole: m.whole, live: map[delivery.RolloutID]control.Live{r.ID: live}}
		f.lines()
	}
	see(1, "too early to tell")
	see(4, "not enough data: 12 requests so far")
	see(6, "signs of harm: too soon after the last line")
	see(20, "not enough data: 15 requests so far")
	see(40, "not enough data: 1,040 requests so far")
	see(60, "no harm found in 1,930 requests")
	r.Step++
	see(61, "")
	var got []string
	for line := range strings.Lines(out.String()) {
		_, text, _ := strings.Cut(line, "? ")
		got = append(got, strings.TrimSpace(text))
	}
	want := []string{"not enough data: 12 requests so far", "not enough data: 1,040 requests so far", "no harm found in 1,930 requests", "the judge has not proven v2 no worse yet"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("lines\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
