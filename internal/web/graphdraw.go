package web

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/web/layered"
)

// graphPicture is a call graph as SVG draws it.
type graphPicture struct {
	Width, Height float64
	Boxes         []graphBox
	Lines         []graphLine
	More          int // calls that are not drawn
}

// graphBox is one node in its place; its texts are at places of their own.
type graphBox struct {
	callNode

	Short               string // its name, if that is too long for the box
	X, Y, Width, Height float64
}

// graphLine is one edge.
type graphLine struct {
	Path  string
	Width string // of the stroke
	Class string
	Title string
	Label string // beside it
	X, Y  float64
}

// The sizes of a drawing, in CSS pixels at its natural size.
const (
	boxWidth  = 176
	boxHeight = 56
	boxColumn = 128
	nameRunes = 20 // that fit into a box

	mostLabels = 40 // lines beside each of which its rate is written; of more, beside those in trouble
)

// draw lays a graph out, with no more lines than most: those in front of the order.
func (g callGraph) draw(most int) graphPicture {
	g.order()
	out := graphPicture{More: max(0, len(g.Calls)-most)}
	g.Calls = g.Calls[:min(len(g.Calls), most)]
	l, err := layered.Place(g.shape(boxWidth, boxHeight), layered.Space{Column: boxColumn})
	if err != nil {
		return out // each edge has its nodes
	}
	out.Width, out.Height = l.Width, l.Height
	for _, b := range l.Boxes {
		n := g.Nodes[b.ID]
		box := graphBox{callNode: n, Short: cut(n.Name, nameRunes), X: b.X, Y: b.Y, Width: b.Width, Height: b.Height}
		box.Version = cut(n.Version, nameRunes/2)
		out.Boxes = append(out.Boxes, box)
	}
	for _, line := range l.Lines {
		i := slices.IndexFunc(g.Calls, func(e callEdge) bool { return e.From == line.From && e.To == line.To })
		drawn := g.line(g.Calls[i], line)
		if drawn.Label != "" {
			drawn.X, drawn.Y = out.free(line.Points)
		}
		out.Lines = append(out.Lines, drawn)
	}
	return out
}

// The room that a label takes.
const (
	labelWidth  = 110
	labelHeight = 14
)

// free returns a place on a line where no label is yet: its middle if it can be.
func (p *graphPicture) free(points []layered.Point) (x, y float64) {
	var places []layered.Point
	middle := len(points) / 2
	for _, share := range []float64{0.5, 0.25, 0.75} {
		for i := range len(points) - 1 {
			k := (middle - 1 + i) % (len(points) - 1)
			a, b := points[k], points[k+1]
			places = append(places, layered.Point{X: math.Round(a.X + share*(b.X-a.X)), Y: math.Round((a.Y + b.Y) / 2)})
			if share != 0.5 && a.Y != b.Y {
				places = places[:len(places)-1] // a bend passes only its middle for certain
			}
		}
	}
	for _, at := range places {
		if !slices.ContainsFunc(p.Lines, func(l graphLine) bool {
			return l.Label != "" && math.Abs(l.X-at.X) < labelWidth && math.Abs(l.Y-at.Y) < labelHeight
		}) {
			return at.X, at.Y
		}
	}
	return places[0].X, places[0].Y
}

// line draws the calls of one edge: thick for many, with the share that fails
// beside it if that is worth a look.
func (g callGraph) line(e callEdge, at layered.Line) graphLine {
	s := e.sign()
	out := graphLine{Path: pathThrough(at), Class: s.Class, Width: strokeOf(e.rate()), Title: g.Nodes[e.From].Name + " to " + g.Nodes[e.To].Name + ": "}
	if e.Requests == 0 {
		out.Class, out.Title = "is-unseen", out.Title+"declared in slipway.yaml, not seen"
		return out
	}
	out.Title += aSecond(e.rate()) + ", " + percent(e.share()) + " fail"
	if s.trouble() > 1 {
		out.Label = aSecond(e.rate()) + ", " + percent(e.share()) + " fail"
	} else if len(g.Calls) <= mostLabels {
		out.Label = aSecond(e.rate())
	}
	return out
}

// strokeOf is the width of a line: one step for each tenfold of requests a second.
func strokeOf(rate float64) string {
	width := 1.5 + 1.5*math.Log10(1+rate)
	return strconv.FormatFloat(math.Min(math.Round(width*2)/2, 9), 'f', -1, 64)
}

// pathThrough is the path of a line: straight within columns, bent between them.
func pathThrough(l layered.Line) string {
	var b strings.Builder
	p := l.Points
	if l.Loop {
		fmt.Fprintf(&b, "M%s C%s %s %s", xy(p[0]), xy(p[1]), xy(p[2]), xy(p[3]))
		return b.String()
	}
	b.WriteString("M" + xy(p[0]))
	for i := 1; i < len(p); i++ {
		if p[i].Y == p[i-1].Y {
			b.WriteString("H" + number(p[i].X))
			continue
		}
		x := (p[i-1].X + p[i].X) / 2
		fmt.Fprintf(&b, "C%s %s %s", xy(layered.Point{X: x, Y: p[i-1].Y}), xy(layered.Point{X: x, Y: p[i].Y}), xy(p[i]))
	}
	return b.String()
}

func xy(p layered.Point) string { return number(p.X) + " " + number(p.Y) }

// number writes a coordinate with a tenth at most.
func number(x float64) string { return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64) }

// aSecond writes a rate with two digits: a page that shows it changes when it
// changes by that much.
func aSecond(rate float64) string {
	switch {
	case rate >= 9950:
		return strconv.FormatFloat(rate/1000, 'f', 0, 64) + " k/s"
	case rate >= 995:
		return strconv.FormatFloat(rate/1000, 'f', 1, 64) + " k/s"
	case rate >= 99.5:
		return strconv.FormatFloat(math.Round(rate/10)*10, 'f', 0, 64) + "/s"
	case rate >= 9.95:
		return strconv.FormatFloat(rate, 'f', 0, 64) + "/s"
	case rate >= 0.095 || rate == 0:
		return strconv.FormatFloat(rate, 'f', 1, 64) + "/s"
	}
	return "under 0.1/s"
}

// cut leaves the first runes of a text that is too long.
func cut(text string, most int) string {
	r := []rune(text)
	if len(r) <= most {
		return text
	}
	return string(r[:most-1]) + "…"
}
