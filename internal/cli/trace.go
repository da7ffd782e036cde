package cli

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *session) trace() *cobra.Command {
	return &cobra.Command{
		Use: "trace ID|CHANGE", Short: "One request on its way through the services", Args: between(1, 1),
		Long:    "Shows the spans of a trace below each other. With the number of a change it lists the\ntraces that are kept of it: those of requests that its release failed.",
		Example: "  slipway trace 0af7651916cd43dd8448eb211c80319c\n  slipway trace 12",
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := s.api()
			if err != nil {
				return err
			}
			if isTrace(args[0]) {
				t, raw, err := client.Read[delivery.Trace](cmd.Context(), api, "/traces/"+args[0])
				if err != nil {
					return err
				}
				return s.show(raw, func() string { return s.waterfall(t, time.Now()) }, func() []string { return []string{t.ID} })
			}
			id, err := strconv.ParseInt(strings.TrimPrefix(args[0], "#"), 10, 64)
			if err != nil || id < 1 {
				return delivery.InvalidNext("trace", fmt.Sprintf("%q is neither a trace ID of 32 hex digits nor the number of a change", args[0]), "slipway history names changes, and slipway logs --failed traces")
			}
			list, raw, err := client.Read[client.List[delivery.Trace]](cmd.Context(), api, fmt.Sprintf("/changes/%d/traces", id))
			if err != nil {
				return err
			}
			return s.show(raw, func() string { return s.traceList(id, list.Items, time.Now()) }, func() []string {
				var ids []string
				for _, t := range list.Items {
					ids = append(ids, t.ID)
				}
				return ids
			})
		},
	}
}

func isTrace(s string) bool { return regexp.MustCompile(`^[0-9a-fA-F]{32}$`).MatchString(s) }

// traceList is a line a trace.
func (s *session) traceList(change int64, all []delivery.Trace, now time.Time) string {
	if len(all) == 0 {
		return fmt.Sprintf("  no trace of a failed request is kept of change %d\n", change)
	}
	var rows [][]string
	for _, t := range all {
		rows = append(rows, []string{t.ID, clock(t.At, now), plural(len(t.Spans), "span"), printable(t.Why)})
	}
	return grid("  ", rows)
}

// barWidth is how many places a trace is drawn over.
const barWidth = 24

// waterfall draws the spans of a trace: each below the one it is part of, over
// the time from the first to the last.
func (s *session) waterfall(t delivery.Trace, now time.Time) string {
	l := s.look
	var b strings.Builder
	begin, end := t.At, t.At
	for _, sp := range t.Spans {
		if stop := sp.Start.Add(sp.Took); stop.After(end) {
			end = stop
		}
	}
	fmt.Fprintf(&b, "  %s  %s  %s\n", l.strong(t.ID), clock(t.At, now), span(end.Sub(begin)))
	if t.Change != 0 {
		fmt.Fprintf(&b, "  kept for change %d: %s in %s, %s\n", t.Change, t.Service, t.Env, printable(t.Why))
	}
	var rows [][]string
	for _, n := range nested(t.Spans) {
		sp := n.span
		who := sp.Service
		if who == "" {
			who = "?"
		}
		name := strings.Repeat("  ", n.depth) + printable(who+"  "+sp.Name)
		row := []string{stretch(sp, begin, end.Sub(begin)), span(sp.Took), name, ""}
		if sp.Failed {
			row[3] = l.sign(signBad) + " " + printable(sp.Why)
		}
		rows = append(rows, row)
	}
	b.WriteString(grid("  ", rows))
	if t.Missing > 0 {
		fmt.Fprintf(&b, "  %s are left out: a trace keeps as many as there is room for\n", plural(t.Missing, "span"))
	}
	return b.String()
}

// stretch is where in the trace a span lies.
func stretch(sp delivery.Span, begin time.Time, whole time.Duration) string {
	place := func(d time.Duration) int {
		if whole <= 0 {
			return 0
		}
		return min(max(int(int64(d)*barWidth/int64(whole)), 0), barWidth)
	}
	from := min(place(sp.Start.Sub(begin)), barWidth-1)
	to := max(place(sp.Start.Add(sp.Took).Sub(begin)), from+1)
	return strings.Repeat("·", from) + strings.Repeat("█", to-from) + strings.Repeat("·", barWidth-to)
}

// node is a span and how deep it is nested.
type node struct {
	span  delivery.Span
	depth int
}

// nested puts each span below its parent. One whose parent is not known, or that
// is its own ancestor, stands by itself.
func nested(spans []delivery.Span) []node {
	below := map[string][]delivery.Span{}
	known := map[string]bool{}
	for _, sp := range spans {
		known[sp.ID] = true
	}
	for _, sp := range spans {
		parent := sp.Parent
		if !known[parent] || parent == sp.ID {
			parent = ""
		}
		below[parent] = append(below[parent], sp)
	}
	var out []node
	done := map[string]bool{}
	var walk func(list []delivery.Span, depth int)
	walk = func(list []delivery.Span, depth int) {
		for _, sp := range list {
			if done[sp.ID] {
				continue
			}
			done[sp.ID] = true
			out = append(out, node{sp, depth})
			walk(below[sp.ID], depth+1)
		}
	}
	walk(below[""], 0)
	rest := slices.DeleteFunc(slices.Clone(spans), func(sp delivery.Span) bool { return done[sp.ID] })
	for _, sp := range rest { // a circle
		walk([]delivery.Span{sp}, 0)
	}
	return out
}
