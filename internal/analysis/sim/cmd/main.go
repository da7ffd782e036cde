// Command cmd plays the scenarios of package sim and prints what the judges
// made of them, or writes it into a document. It is no part of Slipway's binary;
// "make sim-analysis" runs it.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis/sim"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	share := flag.Float64("reps", 1, "how many repetitions, as a factor of each scenario's own")
	only := flag.String("only", "", "play only the tables with these names, separated by commas; goals is what was wanted and what was reached")
	one := flag.String("scenario", "", "play only scenarios whose name contains this")
	judges := flag.String("judges", "", "let only these judges play, separated by semicolons")
	into := flag.String("write", "", "the document whose tables are replaced")
	say := flag.Bool("say", false, "print how each rollout of Slipway's judge ended, in its own words")
	flag.Parse()

	all, err := sim.Scenarios()
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, t := range sim.Tables() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), t.Name) {
			continue
		}
		var scores []sim.Score
		for _, s := range all {
			if s.Table != t.Name || !strings.Contains(s.Name, *one) {
				continue
			}
			began := time.Now()
			who := t.Contestants
			if len(s.Contestants) > 0 {
				who = s.Contestants
			}
			who = chosen(who, *judges)
			got, err := sim.Play(s, who, max(1, int(*share*float64(s.Reps))))
			if err != nil {
				return err
			}
			scores = append(scores, got...)
			fmt.Fprintf(os.Stderr, "%s: %s, %.1f s\n", t.Name, s.Name, time.Since(began).Seconds())
			if *say {
				tell(got)
			}
		}
		if len(scores) > 0 {
			part := sim.Markdown(t, scores)
			fmt.Println(part)
			text.WriteString(part)
		}
	}
	if *only == "" || slices.Contains(strings.Split(*only, ","), "goals") {
		some := slices.DeleteFunc(all, func(s sim.Scenario) bool { return !strings.Contains(s.Name, *one) })
		err := sim.Goals(some, *share, func(markdown string) {
			fmt.Print(markdown)
			text.WriteString(markdown)
		})
		if err != nil {
			return err
		}
	}
	if *into == "" {
		return nil
	}
	return replace(*into, text.String())
}

// chosen returns those of the judges that are asked for.
func chosen(judges []string, only string) []string {
	if only == "" {
		return judges
	}
	asked := strings.Split(only, ";")
	return slices.DeleteFunc(slices.Clone(judges), func(name string) bool { return !slices.Contains(asked, name) })
}

// tell prints the last sentence of each kind of ending, and how often it came.
func tell(scores []sim.Score) {
	for _, s := range scores {
		for i, e := range s.Ends {
			if e.Said != "" && i < 20 {
				fmt.Fprintf(os.Stderr, "  %s %d: %d s, rolled back %v: %s\n", s.Contestant, i, e.At, e.Rolled, e.Said)
			}
		}
	}
}

// The tables stand between these lines.
const (
	begin = "<!-- tables: begin -->\n"
	end   = "<!-- tables: end -->\n"
)

func replace(path, tables string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	from, to := bytes.Index(text, []byte(begin)), bytes.Index(text, []byte(end))
	if from < 0 || to < from {
		return errors.New(path + ": the lines between which the tables stand are missing")
	}
	out := slices.Concat(text[:from+len(begin)], []byte("\n"+tables), text[to:])
	if err := os.WriteFile(path, out, 0o644); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
