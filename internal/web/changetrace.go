package web

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// traceView is one request on its way through the services.
type traceView struct {
	Change  delivery.ChangeID
	Service string
	Env     string
	Why     string
	At      string
	Took    string
	ID      string
	Spans   []spanRow
	Missing int
}

// spanRow is one span: a bar on the line of time, and its numbers.
type spanRow struct {
	Depth   []struct{} // one for each span that it is part of
	Name    string
	Service string
	Kind    string
	Start   string // after the beginning
	Took    string
	X, W    string // of the bar, in hundredths of the whole
	Class   string // "bad" of one that failed, else "run"
	Why     string
	Attrs   []fact
}

// Bounds of what a page shows of a trace.
const (
	maxSpans = 150
	maxDepth = 12
	maxAttrs = 8
)

func traceViewOf(tr delivery.Trace) traceView {
	v := traceView{Change: tr.Change, Service: tr.Service, Env: tr.Env, Why: sentence(tr.Why), At: dated(tr.At), ID: tr.ID, Missing: tr.Missing}
	if len(tr.Spans) == 0 {
		return v
	}
	begin, end := tr.Spans[0].Start, tr.Spans[0].Start
	parents := map[string]string{}
	for _, s := range tr.Spans {
		parents[s.ID] = s.Parent
		if s.Start.Before(begin) {
			begin = s.Start
		}
		if e := s.Start.Add(s.Took); e.After(end) {
			end = e
		}
	}
	whole := max(end.Sub(begin), time.Microsecond)
	v.Took = amountOf(whole.Seconds(), "s")
	for i, s := range tr.Spans {
		if i == maxSpans {
			v.Missing += len(tr.Spans) - maxSpans
			break
		}
		row := spanRow{
			Depth: make([]struct{}, depth(parents, s.ID)), Name: inert(s.Name), Service: inert(s.Service), Kind: inert(s.Kind),
			Start: amountOf(s.Start.Sub(begin).Seconds(), "s"), Took: amountOf(s.Took.Seconds(), "s"), Class: "run",
			X: hundredths(float64(s.Start.Sub(begin)) / float64(whole)), W: hundredths(max(float64(s.Took)/float64(whole), 0.005)),
		}
		if s.Failed {
			row.Class, row.Why = "bad", sentence(s.Why)
		}
		for n, key := range slices.Sorted(maps.Keys(s.Attrs)) {
			if n == maxAttrs {
				row.Attrs = append(row.Attrs, fact{Name: "more", Value: fmt.Sprint(len(s.Attrs) - maxAttrs)})
				break
			}
			row.Attrs = append(row.Attrs, fact{Name: inert(key), Value: cutText(inert(s.Attrs[key]), 300), Class: "mono"})
		}
		v.Spans = append(v.Spans, row)
	}
	return v
}

// depth is how many known spans a span is part of.
func depth(parents map[string]string, id string) int {
	for n := range maxDepth {
		parent, known := parents[id]
		if _, there := parents[parent]; !known || !there || parent == id {
			return n
		}
		id = parent
	}
	return maxDepth
}

// hundredths writes a share of the width of a drawing that is 100 wide.
func hundredths(share float64) string { return strconv.FormatFloat(100*min(share, 1), 'f', 2, 64) }
