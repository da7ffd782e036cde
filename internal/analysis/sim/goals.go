package sim

import (
	"cmp"
	"fmt"
	"math"
	"strings"
)

// goalReps is how often a scenario with a goal is played: enough for the interval of a median to mean something.
const goalReps = 200

// goal is a time that was set for a scenario, who has to keep it, and who judges
// as those did of whom it was taken: by one family of tests that has all of alpha.
type goal struct {
	judge, alone string
	wanted       float64
}

// goals are the times that were set for a scenario.
func (s Scenario) goals() []goal {
	alone := "slipway, errors only"
	if s.Table == "latency" {
		alone = "slipway, latency only"
	}
	var all []goal
	for _, g := range []goal{
		{"slipway", alone, cmp.Or(s.Goal, s.Median)},
		{"slipway, no margin", alone + ", no margin", s.Strict},
	} {
		if g.wanted > 0 {
			all = append(all, g)
		}
	}
	return all
}

// Goals plays the scenarios for which a time was set, with part as a factor of
// 200 repetitions, and hands over what was wanted beside what was reached, scenario
// by scenario as they are done.
func Goals(all []Scenario, part float64, done func(markdown string)) error {
	done("### Goals and what was reached\n\n" +
		"| scenario | margins | wanted | errors and latency judged | one of them alone | runs |\n|---|---|---|---|---|---|\n")
	for _, s := range all {
		goals := s.goals()
		if len(goals) == 0 {
			continue
		}
		var who []string
		for _, g := range goals {
			who = append(who, g.judge, g.alone)
		}
		scores, err := Play(s, who, max(1, int(part*goalReps)))
		if err != nil {
			return err
		}
		var b strings.Builder
		for i, g := range goals {
			both, alone := scores[2*i], scores[2*i+1]
			margins := "default"
			if g.wanted == s.Strict && strings.HasSuffix(g.judge, "no margin") {
				margins = "none"
			}
			fmt.Fprintf(&b, "| %s | %s | %s s | %s | %s | %d |\n", s.Name, margins, short(g.wanted), both.median(g.wanted), alone.median(g.wanted), both.Reps)
		}
		done(b.String())
	}
	done("\n")
	return nil
}

// median says the median time of a right decision, with its 95 % interval, and how
// many came to none. It is loud where even the interval is above what was wanted.
func (s Score) median(wanted float64) string {
	seconds := s.Decided().Seconds
	if len(seconds) == 0 {
		return "–"
	}
	low, high := medianInterval(seconds)
	text := fmt.Sprintf("%s s [%s–%s]", short(quantile(seconds, .5)), short(low), short(high))
	if missed := s.Reps - len(seconds); missed > 0 {
		text += fmt.Sprintf(", %s in time", share(len(seconds), s.Reps))
	}
	return loud(text, low > wanted)
}

// medianInterval returns the ends of the 95 % interval of the median of what the
// sorted values are drawn from, whatever its distribution.
func medianInterval(sorted []float64) (low, high float64) {
	n := len(sorted)
	k := 0
	for upTo(k, n, .5) <= .025 {
		k++
	}
	if k == 0 {
		return math.Inf(-1), math.Inf(1)
	}
	return sorted[k-1], sorted[n-k]
}
