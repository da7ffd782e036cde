package web

import (
	"math"
	"slices"
	"strconv"
)

// spark is a chart of the size of a word: lines without axes. Make it with sparkOf.
type spark struct {
	Label         string // what it shows, with its numbers
	Lines         []sparkLine
	Width, Height int
}

type sparkLine struct {
	Class string // as of a series
	Path  string // of an SVG
}

// The size of a spark, and how many values it can tell apart.
const (
	sparkWidth  = 96
	sparkHeight = 24
	sparkPoints = 64
	sparkEdge   = 2 // left free, so that a line at the edge is whole
)

// sparkOf draws series on one scale from zero.
func sparkOf(label string, lines ...series) spark {
	out := spark{Label: label, Width: sparkWidth, Height: sparkHeight}
	top, n := 0.0, 0
	for _, l := range lines {
		if _, high := extremes(l.Values); !math.IsNaN(high) {
			top = max(top, high)
		}
		n = max(n, len(l.Values))
	}
	for _, l := range lines {
		if path := pathOf(l.Values, n, top); path != "" {
			out.Lines = append(out.Lines, sparkLine{Class: l.Class, Path: path})
		}
	}
	return out
}

// sinceFirst cuts off the time before anything is known, which would leave the lines
// too small to see, and returns how many places are left: at least as many as asked.
func sinceFirst(lines []series, least int) int {
	n, first := 0, math.MaxInt
	for _, l := range lines {
		n = max(n, len(l.Values))
		if i := slices.IndexFunc(l.Values, func(v float64) bool { return !math.IsNaN(v) }); i >= 0 {
			first = min(first, i)
		}
	}
	cut := max(0, min(first, n-least))
	for i := range lines {
		lines[i].Values = lines[i].Values[min(cut, len(lines[i].Values)):]
	}
	return n - cut
}

// pathOf returns the line through values on n places of a spark whose upper edge is
// top. A gap lifts the pen; a value between two gaps is a dot.
func pathOf(values []float64, n int, top float64) string {
	if top <= 0 {
		top = 1
	}
	every := max(1, (n+sparkPoints-1)/sparkPoints)
	var b []byte
	down := false
	for i := 0; i < len(values); i += every {
		_, v := extremes(values[i:min(i+every, len(values))]) // a peak shows, whatever is left out
		if math.IsNaN(v) {
			down = false
			continue
		}
		x := sparkEdge + (sparkWidth-2*sparkEdge)*float64(i)/float64(max(1, n-1))
		y := sparkHeight - sparkEdge - (sparkHeight-2*sparkEdge)*(max(0, v)/top)
		if down {
			b = append(b, 'L')
		} else {
			b = append(b, 'M')
		}
		b = append(strconv.AppendFloat(b, x, 'f', 1, 64), ' ')
		b = strconv.AppendFloat(b, y, 'f', 1, 64)
		if !down {
			b = append(b, "h0"...)
		}
		down = true
	}
	return string(b)
}
