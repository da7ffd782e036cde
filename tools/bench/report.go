package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report prints what was measured: cells are medians, and × is the ratio of a
// median to that of HAProxy.
func report(w io.Writer, r results, peers []*peer) error {
	fmt.Fprintf(w, "\nCPU µs per request (× HAProxy), memory, added latency; medians\n\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := []string{"peer"}
	for _, l := range loads {
		if !l.open {
			head = append(head, l.title)
		}
	}
	head = append(head, "MB after 256", "added p50 µs", "p90 µs", "req/s c=32")
	fmt.Fprintf(t, "%s\n", strings.Join(head, "\t"))
	for _, p := range peers {
		row := []string{p.name}
		for _, l := range loads {
			if !l.open {
				row = append(row, ratio(r.cpu(p.name, l.id), r.cpu(base, l.id)))
			}
		}
		row = append(row, ratio(r.memory(p.name)/1e6, r.memory(base)/1e6),
			figure("%+.0f", r.added(p.name, func(s sample) time.Duration { return s.P50 })),
			figure("%+.0f", r.added(p.name, func(s sample) time.Duration { return s.P90 })),
			figure("%.0f", r.of(p.name, "small-32").median(func(s sample) float64 { return float64(s.Requests) / s.Wall.Seconds() })))
		fmt.Fprintf(t, "%s\n", strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	direct := r.of("direct", "open")
	fmt.Fprintf(w, "\nupstream alone, open loop at %d/s over %d connections: p50 %s µs, p90 %s µs\n", openRate, openConns,
		figure("%.0f", direct.median(func(s sample) float64 { return float64(s.P50.Nanoseconds()) / 1e3 })),
		figure("%.0f", direct.median(func(s sample) float64 { return float64(s.P90.Nanoseconds()) / 1e3 })))
	noise(w, r, peers)
	return goals(w, r, peers)
}

func ratio(mine, theirs float64) string {
	if math.IsNaN(theirs) {
		return figure("%.1f", mine)
	}
	return figure("%.1f", mine) + figure(" (%.2f)", mine/theirs)
}

// figure formats x, or shows that there is none.
func figure(format string, x float64) string {
	if math.IsNaN(x) {
		if strings.Contains(format, "(") {
			return ""
		}
		return "–"
	}
	return fmt.Sprintf(format, x)
}

// noise says how far the figures may be trusted.
func noise(w io.Writer, r results, peers []*peer) {
	var all []float64
	worst, where := 0.0, ""
	for _, p := range peers {
		for _, l := range loads {
			if x := r.spread(p.name, l.id); !l.open && !math.IsNaN(x) {
				all = append(all, x)
				if x > worst {
					worst, where = x, p.name+", "+l.title
				}
			}
		}
	}
	var foreign, wall time.Duration
	for _, s := range r {
		if s.Peer != "direct" {
			foreign += s.Foreign
			wall += s.Wall
		}
	}
	fmt.Fprintf(w, "noise: others worked %.1f %% of the time on the proxies' core", 100*foreign.Seconds()/wall.Seconds())
	if len(all) > 0 {
		fmt.Fprintf(w, "; the rounds of a cell lie %.0f %% apart (median), at most %.0f %% (%s)", 100*median(all), 100*worst, where)
	}
	fmt.Fprintf(w, "\n")
}

// goal is one thing that was promised: a peer's figure is at most limit times
// that of whichever of the others does best.
type goal struct {
	peer   string
	load   string // or "memory"
	limit  float64
	others []string
}

// promises are the goals of the data plane.
func promises(peers []*peer) []goal {
	raw, full, ours := "slipway-raw", "slipway-full", []string{"slipway-raw", "slipway-full"}
	var out []goal
	for _, l := range []string{"small-32", "small-256"} {
		out = append(out, goal{raw, l, 1.0, []string{base}}, goal{full, l, 1.6, []string{base}})
	}
	for _, l := range []string{"large-32", "large-256"} {
		for _, p := range ours {
			out = append(out, goal{p, l, 0.9, []string{base}})
		}
	}
	for _, p := range ours {
		out = append(out, goal{p, "memory", 2, []string{base}})
	}
	var reverse []string
	for _, p := range peers {
		if p.reverse {
			reverse = append(reverse, p.name)
		}
	}
	for _, p := range ours {
		for _, l := range loads {
			if !l.open {
				out = append(out, goal{p, l.id, 0.5, reverse})
			}
		}
	}
	return out
}

// reached is how many times the figure of the best of the others a peer's is.
func (g goal) reached(r results) (x float64, other string) {
	of := func(peer string) float64 { return r.cpu(peer, g.load) }
	if g.load == "memory" {
		of = r.memory
	}
	x = math.NaN()
	for _, o := range g.others {
		if y := of(g.peer) / of(o); math.IsNaN(x) || y > x {
			x, other = y, o
		}
	}
	return x, other
}

// goals prints each promise that could be measured, and whether it is kept.
func goals(w io.Writer, r results, peers []*peer) error {
	fmt.Fprintf(w, "\ngoals (in brackets: the lowest and highest ratio of a round)\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	kept, all := 0, 0
	for _, g := range promises(peers) {
		x, other := g.reached(r)
		if math.IsNaN(x) {
			continue
		}
		all++
		mark := "✘"
		if x <= g.limit {
			mark = "✔"
			kept++
		}
		within := ""
		if low, high := r.rounds(g.peer, other, g.load); !math.IsNaN(low) {
			within = fmt.Sprintf("(%.2f to %.2f)", low, high)
		}
		fmt.Fprintf(t, "%s %s\t%s\t%.2f x %s\t%s\tgoal <= %.1f x\n", mark, g.peer, titleOf(g.load), x, other, within, g.limit)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	fmt.Fprintf(w, "%d of %d kept\n", kept, all)
	return nil
}

func titleOf(load string) string {
	if i := slices.IndexFunc(loads[:], func(l loadKind) bool { return l.id == load }); i >= 0 {
		return loads[i].title
	}
	return "memory"
}
