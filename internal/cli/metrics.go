package cli

import (
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
)

func (s *session) metrics() *cobra.Command {
	var env, last string
	cmd := &cobra.Command{
		Use: "metrics SERVICE", Short: "Requests, errors, times and what instances take, by release", Args: between(1, 1),
		Long:              "Each line is a number over time, with now at the right, its last value and its\nhighest. All releases of a service are drawn to one scale. The page /numbers shows the same.\n\"metrics query\" asks the Prometheus server that slipway.yaml names for any expression.",
		Example:           "  slipway metrics payment\n  slipway metrics payment --env staging --last 24h\n  slipway metrics payment -o json",
		ValidArgsFunction: s.completeService,
		RunE: func(cmd *cobra.Command, args []string) error {
			if last != "10m" && last != "24h" {
				return usageError{err: fmt.Errorf("--last: %q is not kept; say 10m or 24h", last), next: cmd.CommandPath() + " " + args[0] + " --last 24h"}
			}
			api, err := s.api()
			if err != nil {
				return err
			}
			path := "/services/" + url.PathEscape(args[0]) + "/signals?" + url.Values{"env": {env}, "last": {last}}.Encode()
			got, raw, err := client.Read[control.Golden](cmd.Context(), api, path)
			if err != nil {
				return err
			}
			return s.show(raw, func() string { return s.signals(got) }, func() []string {
				var names []string
				for _, line := range got.Signals[0].Lines {
					names = append(names, line.Version)
				}
				return names
			})
		},
	}
	cmd.Flags().StringVar(&env, "env", "", "the environment meant (default: the last one)")
	cmd.Flags().StringVar(&last, "last", "10m", "how far back: 10m or 24h")
	s.completeFlag(cmd, "env", s.environmentNames)
	cmd.AddCommand(s.metricsQuery())
	return cmd
}

// sparkColumns is how wide a number over time is drawn.
const sparkColumns = 32

// signals lays out what is known of each release, one below the other.
func (s *session) signals(all control.Golden) string {
	l := s.look
	var b strings.Builder
	span := "10 minutes"
	if all.To-all.From > int64(control.ShortSpan.Seconds()) {
		span = "24 hours"
	}
	fmt.Fprintf(&b, "  %s\n", l.strong(all.Service+" in "+all.Env+", last "+span))
	lines := 0
	if len(all.Signals) > 0 {
		lines = len(all.Signals[0].Lines)
	}
	if lines == 0 {
		fmt.Fprintf(&b, "  nothing was ever released here   next  slipway deploy %s VERSION\n", all.Service)
	}
	for i := range lines {
		of := all.Signals[0].Lines[i]
		fmt.Fprintf(&b, "  %s %s\n", l.strong(of.Version), l.faint(of.Role))
		rows := [][]string{{"", "", "now", "highest"}}
		for _, signal := range all.Signals {
			line := signal.Lines[i]
			if len(line.Points) == 0 {
				rows = append(rows, []string{signal.Name, l.faint("no numbers"), "", ""})
				continue
			}
			values, high := spread(all, line)
			now := line.Points[len(line.Points)-1].Value
			rows = append(rows, []string{signal.Name, spark(values, highest(signal)), measure(now, signal.Unit), measure(high, signal.Unit)})
		}
		b.WriteString(grid("    ", rows))
	}
	if all.More > 0 {
		fmt.Fprintf(&b, "  %s that answered before: slipway api GET '/metrics/query?service=%s&name=requests'\n", plural(all.More, "release"), all.Service)
	}
	return b.String()
}

// spread lays the points of a line over the columns of a drawing, the highest of
// each. A column in which nothing is known is NaN.
func spread(of control.Golden, line control.GoldenLine) (values []float64, high float64) {
	values, high = make([]float64, sparkColumns), math.Inf(-1)
	for i := range values {
		values[i] = math.NaN()
	}
	for _, p := range line.Points {
		i := int((p.At - of.From) * sparkColumns / max(of.To-of.From, 1))
		if i < 0 || i >= len(values) {
			continue
		}
		if math.IsNaN(values[i]) || p.Value > values[i] {
			values[i] = p.Value
		}
		high = max(high, p.Value)
	}
	return values, high
}

// highest is the top of the scale of a signal, of whichever release.
func highest(s control.GoldenSignal) float64 {
	top := 0.0
	for _, line := range s.Lines {
		for _, p := range line.Points {
			top = max(top, p.Value)
		}
	}
	return top
}

// spark draws values between zero and top, each as one block.
func spark(values []float64, top float64) string {
	blocks := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case top <= 0 || v <= 0:
			b.WriteRune(blocks[0])
		default:
			b.WriteRune(blocks[min(len(blocks)-1, int(v/top*float64(len(blocks))))])
		}
	}
	return b.String()
}

// measure writes a value with two or three digits that matter, and its unit.
func measure(v float64, unit string) string {
	digits := 0
	switch a := math.Abs(v); {
	case a == 0:
	case a < 0.0995:
		digits = 3
	case a < 0.995:
		digits = 2
	case a < 99.5:
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return strings.TrimRight(text+" "+unit, " ")
}
