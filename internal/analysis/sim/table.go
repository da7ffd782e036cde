package sim

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Table is a group of scenarios that are printed together, and who plays them.
type Table struct {
	Name        string
	Title       string
	Contestants []string
}

// Tables returns all of them in the order of printing.
func Tables() []Table {
	errors := []string{"slipway", "slipway, no margin", "oracle", "fixed 99 %", "Flagger tutorial", "fixed 99.9 %", "ratio 1.2", "z each minute", "Kayenta, once", "Kayenta", "GrowthBook"}
	few := []string{"slipway", "z each minute", "Kayenta", "GrowthBook"}
	return []Table{
		{"errors", "Errors", errors},
		{"latency", "Latency", []string{"slipway", "slipway, no margin", "oracle", "p99 500 ms", "p99 known", "Kayenta on p99", "Kayenta on the mean", "Kayenta on p99, once", "KS each minute", "CDF band"}},
		{"time", "What the hour does", []string{"slipway", "slipway, no margin", "fixed 99 %", "ratio 1.2", "z each minute", "Kayenta", "GrowthBook"}},
		{"promotion", "Proving a release fit", []string{"slipway"}},
		{"policies", "From the first request to the end", []string{"slipway", "Flagger tutorial", "Argo docs", "Kayenta, 10 min"}},
		{"low", "Low traffic", []string{"slipway", "oracle"}},
		{"callers", "Callers who stay with one release", []string{"slipway", "slipway, counts alone", "z each minute", "Kayenta", "GrowthBook"}},
		{"hard", "Made to break it", few},
		{"unlike", "Arms that cannot be compared", []string{"slipway"}},
		{"metrics", "Further metrics", []string{"slipway"}},
	}
}

// Markdown renders the scores of one table, a row for each contestant of each scenario.
func Markdown(t Table, scores []Score) string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n", t.Title)
	b.WriteString("| scenario | truth | judge | runs | rolled back | proven or shipped | held | seconds p50 / p90 | canary requests p50 / p90 | extra failed | × oracle |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	last := ""
	for _, s := range scores {
		name, truth := s.Scenario.Name, string(s.Scenario.Truth)
		if name == last {
			name, truth = "", ""
		}
		last = s.Scenario.Name
		spent := s.Decided()
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %s | %s | %s | %s | %s | %s | %s |\n", name, truth, s.Contestant, s.Reps,
			s.rolled(), s.shipped(), s.held(), pair(spent.Seconds), pair(spent.Canary), s.extra(spent), s.efficiency(scores, spent))
	}
	b.WriteString("\n")
	for _, s := range scores {
		if s.Scenario.About != "" && last != "" && s.Contestant == scores[0].Contestant {
			fmt.Fprintf(&b, "- *%s*: %s\n", s.Scenario.Name, s.Scenario.About)
		}
	}
	return b.String() + "\n"
}

// rolled says the share that was rolled back, with its interval where it is a mistake.
func (s Score) rolled() string {
	n := s.RolledBack()
	text := share(n, s.Reps)
	if s.Scenario.harmless() {
		low, high := clopperPearson(n, s.Reps)
		text += fmt.Sprintf(" [%s–%s]", percent(low), percent(high))
	}
	return loud(text, s.Scenario.harmless() && n > most(s.Reps, .01))
}

func (s Score) shipped() string {
	n := s.Promoted()
	return loud(share(n, s.Reps), s.Scenario.harmful() && n > most(s.Reps, .05))
}

// held says the share that was left to a person, and in how many the judge said that it cannot tell.
func (s Score) held() string {
	text := share(s.Held(), s.Reps)
	if n := s.Unsure(); n > 0 {
		text += fmt.Sprintf(" (says so in %s)", share(n, s.Reps))
	}
	return text
}

func (s Score) extra(spent Spent) string {
	mean := 0.0
	for _, x := range spent.Extra {
		mean += x / float64(len(spent.Extra))
	}
	if math.Abs(mean) < 0.05 {
		return "0"
	}
	return short(mean)
}

func (s Score) efficiency(all []Score, spent Spent) string {
	i := slices.IndexFunc(all, func(o Score) bool {
		return o.Contestant == "oracle" && o.Scenario.Name == s.Scenario.Name && len(o.Decided().Canary) > 0
	})
	if i < 0 || len(spent.Canary) == 0 || s.Scenario.harmless() {
		return "–"
	}
	return fmt.Sprintf("%.1f", quantile(spent.Canary, .5)/quantile(all[i].Decided().Canary, .5))
}

// harmless says whether to roll back is a mistake, harmful whether to promote is one.
func (s Scenario) harmless() bool { return s.Truth == Fit || s.Truth == Margin || s.Truth == Unlike }

func (s Scenario) harmful() bool { return s.Truth == Bound || s.Truth == Unfit || s.Truth == Unlike }

// most returns the 99.99 % quantile of Bin(n, p): what chance alone does not pass.
func most(n int, p float64) int {
	for x := range n {
		if upTo(x, n, p) >= .9999 {
			return x
		}
	}
	return n
}

func loud(text string, wrong bool) string {
	if wrong {
		return "**" + text + "**"
	}
	return text
}

func share(n, of int) string { return percent(float64(n) / float64(of)) }

func percent(p float64) string {
	switch {
	case p == 0 || p == 1:
		return fmt.Sprintf("%.0f %%", 100*p)
	case p < 0.1:
		return fmt.Sprintf("%.1f %%", 100*p)
	}
	return fmt.Sprintf("%.0f %%", 100*p)
}

func pair(sorted []float64) string {
	if len(sorted) == 0 {
		return "–"
	}
	return short(quantile(sorted, .5)) + " / " + short(quantile(sorted, .9))
}

// short writes a number as people read it: two digits below ten, commas above a thousand.
func short(v float64) string {
	if math.Abs(v) < 10 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
	}
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
