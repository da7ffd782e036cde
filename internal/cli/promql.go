package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
)

// promQLOptions say of when an expression is asked.
type promQLOptions struct {
	last, step time.Duration
	now        bool
}

func (s *session) metricsQuery() *cobra.Command {
	o := promQLOptions{}
	cmd := &cobra.Command{
		Use: "query EXPR", Short: "Any expression in PromQL, over time or now", Args: between(1, 1),
		Long: "Asks the server that slipway.yaml names (prometheus: {url: ...}); it changes nothing there.\n" +
			"At most 50 lines of 1,000 steps are told.",
		Example: "  slipway metrics query 'sum by (release) (rate(http_requests_total[1m]))'\n" +
			"  slipway metrics query 'up' --now\n  slipway metrics query 'orders_total' --last 6h --step 1m -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.now && (cmd.Flags().Changed("last") || cmd.Flags().Changed("step")) {
				return usageError{err: errors.New("--now is of this moment, and has no --last and no --step"), next: "slipway metrics query EXPR --now"}
			}
			return s.runPromQL(cmd.Context(), args[0], o)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.last, "last", 10*time.Minute, "how far back")
	f.DurationVar(&o.step, "step", 0, "between two values, in whole seconds (default: as fine as fits)")
	f.BoolVar(&o.now, "now", false, "the values of this moment alone")
	return cmd
}

// promQL is an answer, as the API says it.
type promQL struct {
	From  int64 `json:"from"`
	To    int64 `json:"to"`
	Lines []struct {
		Labels map[string]string    `json:"labels"`
		Points []embedded.LinePoint `json:"points"`
	} `json:"lines"`
	More     int      `json:"more"`
	Natives  int      `json:"natives"`
	Warnings []string `json:"warnings"`
}

func (s *session) runPromQL(ctx context.Context, expr string, o promQLOptions) error {
	switch {
	case o.last < time.Second:
		return delivery.InvalidNext("--last", "is at least 1s", "slipway metrics query EXPR --last 10m")
	case o.step < 0 || o.step%time.Second != 0:
		return delivery.InvalidNext("--step", "is in whole seconds", "slipway metrics query EXPR --step 15s")
	}
	api, err := s.api()
	if err != nil {
		return err
	}
	path := "/metrics/promql?" + url.Values{"query": {expr}}.Encode()
	if !o.now {
		to := time.Now().Unix()
		path = "/metrics/promql/range?" + url.Values{
			"query": {expr}, "from": {strconv.FormatInt(to-int64(o.last/time.Second), 10)}, "to": {strconv.FormatInt(to, 10)},
			"step": {strconv.FormatInt(int64(o.step/time.Second), 10)},
		}.Encode()
	}
	got, raw, err := client.Read[promQL](ctx, api, path)
	if err != nil {
		return err
	}
	return s.show(raw, func() string { return s.promQLTable(got) }, func() []string {
		var names []string
		for _, line := range got.Lines {
			names = append(names, labelText(line.Labels))
		}
		return names
	})
}

// promQLTable lays out lines for people, all to one scale.
func (s *session) promQLTable(all promQL) string {
	var b strings.Builder
	top := 0.0
	for _, line := range all.Lines {
		for _, p := range line.Points {
			top = max(top, p.Value)
		}
	}
	var rows [][]string
	for _, line := range all.Lines {
		name := labelText(line.Labels)
		if len(line.Points) == 0 {
			rows = append(rows, []string{name, s.look.faint("no numbers")})
			continue
		}
		now := measure(line.Points[len(line.Points)-1].Value, "")
		if all.From == all.To {
			rows = append(rows, []string{name, now})
			continue
		}
		values, high := spread(control.Golden{From: all.From, To: all.To + 1}, control.GoldenLine{Points: line.Points})
		rows = append(rows, []string{name, spark(values, top), now, measure(high, "")})
	}
	switch {
	case len(rows) == 0:
		b.WriteString("  the server has no series for this in this time\n" + next("slipway metrics query 'count by (__name__) ({release!=\"\"})' --now"))
	case all.From == all.To:
		b.WriteString(grid("  ", rows))
	default:
		b.WriteString(grid("  ", slices.Insert(rows, 0, []string{"", "", "now", "highest"})))
	}
	if all.More > 0 {
		fmt.Fprintf(&b, "  and %s: add labels, or sum them up\n", plural(all.More, "more line"))
	}
	if all.Natives > 0 {
		b.WriteString("  whole histograms cannot be shown: ask for histogram_quantile(0.95, …) of them\n")
	}
	for _, w := range all.Warnings {
		fmt.Fprintf(&b, "  %s the server warns: %s\n", s.look.sign(signNoData), printable(w))
	}
	return b.String()
}

// labelText writes labels as they are asked for.
func labelText(labels map[string]string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		if name != "__name__" {
			parts = append(parts, name+"="+strconv.Quote(labels[name]))
		}
	}
	text := labels["__name__"]
	if len(parts) > 0 {
		text += "{" + strings.Join(parts, ", ") + "}"
	}
	return printable(cmp.Or(text, "value"))
}
