package cli

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// explained says for each rollout what was judged: the sentence first, then the
// figures it rests on, then what is to be known of them.
func (s *session) explained(all []control.Explained, env string) string {
	var b strings.Builder
	for _, e := range all {
		if env != "" && e.Env != env {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		title := fmt.Sprintf("%s %s in %s", e.Service, e.Version, e.Env)
		if e.Was != "" {
			title += ", beside " + e.Was
		}
		fmt.Fprintf(&b, "  %s %s   %s\n", s.look.sign(signAt(e.State, e.Waiting)), s.look.strong(title), s.look.faint(string(e.State)+": "+printable(e.Reason)))
		if e.Verdict == nil {
			fmt.Fprintf(&b, "    nothing was judged: %s\n", e.Nothing)
			continue
		}
		s.verdict(&b, e)
	}
	return b.String()
}

func (s *session) verdict(b *strings.Builder, e control.Explained) {
	v, l := e.Verdict, s.look
	say := func(text string) {
		for _, line := range l.lines(printable(text), 4) {
			b.WriteString("    " + line + "\n")
		}
	}
	when := "when it last moved"
	if e.Live {
		when = "now"
	}
	say(fmt.Sprintf("%s %s: %s", l.sign(signOfCheck(v.Outcome)), strings.ToUpper(string(v.Outcome)), v.Sentence))
	if v.Incident != "" {
		say("INCIDENT: " + v.Incident + "; it is no verdict on the release, and nothing moves on while it stands")
	}
	if v.Invalid != "" {
		say("NOT COMPARABLE: " + v.Invalid + "; nothing is proven by such figures")
	}
	facts := fmt.Sprintf("%s: %s judged", when, plural(v.Seconds, "second"))
	if v.LeftOut > 0 {
		facts += fmt.Sprintf(", %d left out", v.LeftOut)
		if v.Why != "" {
			facts += " (" + v.Why + ")"
		}
	}
	if v.Limit > 0 {
		facts += fmt.Sprintf("; evidence against it %s, and %s sends it back", evidence(v.Evidence), evidence(v.Limit))
	}
	say(facts)
	if len(v.Checks) == 0 {
		return
	}
	rows := [][]string{{"", "check", "stable", "new", "difference", "against", "for", "role"}}
	for _, c := range v.Checks {
		rows = append(rows, s.checkRow(c))
	}
	b.WriteString("\n")
	text := grid("    ", rows)
	if l.overflows(text) {
		for i := range rows { // the interval is in the sentences as well
			rows[i] = append(rows[i][:4:4], rows[i][5:]...)
		}
		text = grid("    ", rows)
	}
	b.WriteString(text + "\n")
	s.checkWords(say, v.Checks)
	say(margins(e.Policy))
	if e.Twin {
		say("levels are compared between fresh instances of both releases (a twin)")
	}
}

// checkRow is one check as figures.
func (s *session) checkRow(c delivery.Check) []string {
	role := string(cmp.Or(c.Role, delivery.Required))
	if c.Culprit {
		role += ", culprit"
	}
	if c.NStable == 0 && c.NCanary == 0 {
		return []string{s.look.sign(signOfCheck(c.Outcome)), printable(c.Name), "–", "–", "–", "–", "–", role}
	}
	unit := unitOf(c)
	return []string{
		s.look.sign(signOfCheck(c.Outcome)), printable(c.Name), quantity(c.Stable, unit), quantity(c.Canary, unit), interval(c),
		evidence(c.Against) + " of " + evidence(c.FailAt), evidence(c.For) + " of " + evidence(c.PassAt), role,
	}
}

// unitOf is the unit of a check's values, which one's own metric need not say.
func unitOf(c delivery.Check) string {
	switch c.Kind {
	case delivery.KindShare:
		return "share"
	case delivery.KindLatency:
		return "s"
	case delivery.KindCount, delivery.KindMean, delivery.KindLevel:
	}
	return c.Unit
}

// interval is the interval of a check. An end of which nothing is known is left open.
func interval(c delivery.Check) string {
	most, unit := math.MaxFloat64, unitOf(c)
	if unit == "share" {
		most = 1 // no two shares differ by more
	}
	low, high := quantity(c.Low, unit), quantity(c.High, unit)
	switch below, above := c.Low > -most, c.High < most; {
	case !below && !above:
		return "not known yet"
	case !below:
		return "… " + high
	case !above:
		return low + " …"
	}
	return low + " … " + high
}

// checkWords says what each check came to, on how much, and what is missing.
// What holds for several in the same words is said of them together.
func (s *session) checkWords(say func(string), checks []delivery.Check) {
	var texts []string
	names := map[string][]string{}
	for _, c := range checks {
		text := words(c)
		if names[text] == nil {
			texts = append(texts, text)
		}
		names[text] = append(names[text], c.Name)
	}
	for _, text := range texts {
		if of := names[text]; len(of) > 1 || !strings.HasPrefix(text, of[0]+" ") {
			text = strings.Join(of, ", ") + ": " + text
		}
		say(text)
	}
}

// words says one check, with what its sentence leaves unsaid.
func words(c delivery.Check) string {
	text := strings.TrimPrefix(c.Sentence, c.Name+": ")
	var more []string
	if c.NCanary > 0 && (c.Kind == "" || c.Kind == delivery.KindShare || c.Kind == delivery.KindLatency) {
		if counts := fmt.Sprintf("%s of %s", grouped(int64(c.Bad)), grouped(int64(c.NCanary))); !strings.Contains(text, counts) {
			more = append(more, fmt.Sprintf("%s new, %s of %s stable", counts, grouped(int64(c.BadStable)), grouped(int64(c.NStable))))
		}
		if c.PValue > 0 && c.PValue < 1 {
			more = append(more, fmt.Sprintf("p %.2g", c.PValue))
		}
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, "; ") + ")"
	}
	if c.Approx && !strings.Contains(text, "approximate") {
		text += "; approximate, from sums that others made"
	}
	if c.Missing != "" && !strings.Contains(text, c.Missing) {
		text += "; missing: " + c.Missing
	}
	return text
}

// margins says what is tolerated of errors and latency.
func margins(p delivery.JudgePolicy) string {
	return fmt.Sprintf("margins: goes back above %s times the errors of stable and %s points more, or %s slower; proven below %s times plus %s points, and %s slower; a good release goes back with a chance of %s, per rollout",
		figure(p.ErrorRatio), figure(100*p.ErrorAdd), percent(p.LatencyRatio), figure(p.PromoteErrorRatio), figure(100*p.PromoteErrorAdd), percent(p.PromoteLatency), percent(p.Alpha))
}

func figure(f float64) string { return strconv.FormatFloat(f, 'g', 3, 64) }

// evidence says an e-value so that two of them can be compared at a glance.
func evidence(f float64) string {
	switch {
	case f >= 1e6:
		return "over a million"
	case f >= 10:
		return grouped(int64(math.Round(f)))
	case f < 0.01:
		return "0"
	}
	return strconv.FormatFloat(f, 'g', 2, 64)
}

// quantity says a value in its unit.
func quantity(f float64, unit string) string {
	switch unit {
	case "share":
		return percent(f)
	case "s":
		if math.Abs(f) < 1 {
			return figure(1000*f) + " ms"
		}
		return span(time.Duration(f * float64(time.Second)))
	case "bytes":
		return size(f)
	}
	if per, ok := strings.CutPrefix(unit, "1/"); ok {
		return figure(f) + "/" + per
	}
	return strings.TrimSpace(figure(f) + " " + unit)
}

// size says a size as the judge's sentences do: "512 B", "20.6 MB".
func size(f float64) string {
	units := [...]string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for math.Abs(f) >= 1000 && i < len(units)-1 {
		f /= 1000
		i++
	}
	return figure(f) + " " + units[i]
}

// replayed says for each rollout whether its tape gives the same verdict again.
func (s *session) replayed(all []control.Replayed) string {
	var b strings.Builder
	for _, r := range all {
		title := fmt.Sprintf("%s in %s", r.Version, r.Env)
		switch {
		case r.Rules == 0 && r.Same:
			fmt.Fprintf(&b, "  – %s: %s\n", title, r.Note)
			continue
		case r.Same && r.Stored != nil:
			fmt.Fprintf(&b, "  %s %s: same data, same verdict: %s on %s, %s on tape, rules %d\n", s.look.good("✔"), title, r.Stored.Outcome, plural(r.Stored.Seconds, "second"), plural(r.Entries, "line"), r.Rules)
		case r.Same:
			fmt.Fprintf(&b, "  ✔ %s: %s on tape, rules %d\n", title, plural(r.Entries, "line"), r.Rules)
		default:
			fmt.Fprintf(&b, "  %s %s: the verdict differs\n", s.look.bad("✖"), title)
			for _, d := range r.Differs {
				fmt.Fprintf(&b, "      %s\n", printable(d))
			}
		}
		if r.Note != "" {
			fmt.Fprintf(&b, "      %s\n", r.Note)
		}
	}
	return b.String()
}

// forecast is the power table: what is seen when, at each step.
func (s *session) forecast(f control.Forecast) string {
	l := s.look
	var b strings.Builder
	fmt.Fprintf(&b, "  %s   %s a second, %s of them fail, half within %s, 95 %% within %s (last %s)\n\n",
		l.strong(f.Service+" in "+f.Env), figure(f.Rate)+" callers", percent(f.Errors), quantity(f.P50, "s"), quantity(f.P95, "s"), span(time.Duration(f.Seconds)*time.Second))
	head := []string{"a release with"}
	for i, w := range f.Plan.Weights {
		head = append(head, fmt.Sprintf("at %s (held %s)", w, span(f.Holds[i])))
	}
	rows := [][]string{head}
	for _, r := range f.Plan.Regressions {
		row := []string{r.What}
		for _, w := range r.Caught {
			row = append(row, caught(w, r.Allowed))
		}
		rows = append(rows, row)
	}
	healthy := []string{"nothing wrong is proven fit"}
	for _, w := range f.Plan.Healthy {
		healthy = append(healthy, after(w))
	}
	b.WriteString(grid("  ", append(rows, healthy)))
	fmt.Fprintf(&b, "\n  Times are medians from the beginning of a step; in brackets is how many callers it fails or slows by then.\n")
	return b.String()
}

func caught(w analysis.Wait, allowed bool) string {
	switch {
	case allowed:
		return "tolerated"
	case w.Never:
		return "not within a day"
	}
	return fmt.Sprintf("%s (%s)", after(w), grouped(int64(math.Ceil(w.Spoiled))))
}

func after(w analysis.Wait) string {
	if w.Never {
		return "not within a day"
	}
	return span(max(w.After, time.Second))
}
