package cli

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *session) why() *cobra.Command {
	var env string
	cmd := &cobra.Command{
		Use: "why SERVICE", Short: "Why a release is, or is not, in an environment", Args: between(1, 1),
		Example:           "  slipway why payment\n  slipway why payment --env prod",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			path := "/services/" + url.PathEscape(args[0]) + "/why"
			if env != "" {
				path += "?env=" + url.QueryEscape(env)
			}
			answers, raw, err := client.Read[client.List[delivery.Answer]](cmd.Context(), api, path)
			if err != nil {
				return err
			}
			return s.show(raw, func() string { return s.answers(answers.Items, time.Now()) }, func() []string {
				var names []string
				for _, a := range answers.Items {
					names = append(names, a.Env)
				}
				return names
			})
		},
	}
	cmd.Flags().StringVar(&env, "env", "", "this environment alone (default: all, in order)")
	s.completeFlag(cmd, "env", s.environmentNames)
	return cmd
}

// answers says for each environment whether the release may be there, and what
// lifts each thing that keeps it out.
func (s *session) answers(all []delivery.Answer, now time.Time) string {
	l := s.look
	var b strings.Builder
	for _, a := range all {
		if a.May && a.Running == a.Next && a.Flight == nil {
			fmt.Fprintf(&b, "  %s %s\n", l.good("✔"), a.Sentence)
			continue
		}
		for _, line := range l.lines(a.Sentence, 2) {
			fmt.Fprintf(&b, "  %s\n", l.strong(line))
		}
		var rows [][]string
		for i, g := range a.Gates {
			rows = append(rows, []string{fmt.Sprintf("%2d %s %s", i+1, l.sign(signOfGate(g)), g.Name), g.What, lifts(g, now)})
		}
		b.WriteString(s.gates(rows))
	}
	return b.String()
}

// gates lays out rows of a gate, what it says and what lifts it: side by side,
// or one below the other where the terminal is narrower than that.
func (s *session) gates(rows [][]string) string {
	text, l := grid("  ", rows), s.look
	if !l.overflows(text) {
		return text
	}
	indent := 0
	for _, row := range rows {
		indent = max(indent, len("  ")+columns(row[0])+len("  "))
	}
	var low [][]string
	for _, row := range rows {
		said := l.lines(row[1], indent)
		if row[2] != "" {
			said = append(said, l.lines("→ "+row[2], indent)...)
		}
		for i, line := range said {
			name := row[0]
			if i > 0 {
				name = ""
			}
			low = append(low, []string{name, line})
		}
	}
	return grid("  ", low)
}

// lifts says what ends a gate's no, and who may.
func lifts(g delivery.Gate, now time.Time) string {
	if g.Outcome == delivery.GatePass {
		return ""
	}
	text := g.Lifts
	if !g.Until.IsZero() {
		text += "   " + g.ByItself() + " " + clock(g.Until, now)
	}
	if g.Who != "" {
		text += "   (" + g.Who + ")"
	}
	return strings.TrimSpace(text)
}
