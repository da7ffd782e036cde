package layered

import (
	"cmp"
	"math"
	"slices"
)

// layout tells where everything is, with the upper left corner at the origin.
func (d *drawing) layout(s Space) Layout {
	var out Layout
	top, bottom := math.Inf(1), math.Inf(-1)
	for i := range d.vertices {
		v := &d.vertices[i]
		top, bottom = min(top, v.y-v.height/2), max(bottom, v.y+v.height/2)
	}
	if len(d.vertices) == 0 {
		top, bottom = 0, 0
	}
	for i := range d.vertices {
		d.vertices[i].y += s.Margin - top
	}
	x := s.Margin
	spans := make([]span, len(d.columns))
	for c, column := range d.columns {
		if c > 0 {
			x += s.Column
		}
		spans[c].left = x
		for _, v := range column {
			spans[c].right = max(spans[c].right, x+d.vertices[v].width)
		}
		x = spans[c].right
	}
	out.Width, out.Height = round(x+s.Margin), round(bottom-top+2*s.Margin)
	for i, n := range d.nodes {
		v := &d.vertices[i]
		out.Boxes = append(out.Boxes, Box{Node: n, Column: v.column, X: round(spans[v.column].left), Y: round(v.y + v.height/2 - n.Height)})
	}
	from, to := d.ports(out.Boxes)
	for i := range d.edges {
		out.Lines = append(out.Lines, d.line(i, out.Boxes, spans, from[i], to[i]))
	}
	return out
}

// span is from where to where a column reaches.
type span struct{ left, right float64 }

// ports spreads the ends of lines over the sides of their boxes, in the order in
// which they come from above, so that two lines between the same boxes are two.
func (d *drawing) ports(boxes []Box) (left, right []float64) {
	left, right = make([]float64, len(d.edges)), make([]float64, len(d.edges))
	leaving, coming := make([][]int, len(d.nodes)), make([][]int, len(d.nodes))
	for i := range d.edges {
		if e := &d.edges[i]; !e.loop {
			leaving[e.left()] = append(leaving[e.left()], i)
			coming[e.right()] = append(coming[e.right()], i)
		}
	}
	spread := func(at []float64, lines []int, b Box, next func(*arrow) int) {
		slices.SortStableFunc(lines, func(i, k int) int {
			return cmp.Compare(d.vertices[next(&d.edges[i])].y, d.vertices[next(&d.edges[k])].y)
		})
		for n, i := range lines {
			at[i] = round(b.Y + b.Height*float64(n+1)/float64(len(lines)+1))
		}
	}
	for n, b := range boxes {
		spread(left, leaving[n], b, func(e *arrow) int { return append(slices.Clone(e.bends), e.right())[0] })
		spread(right, coming[n], b, func(e *arrow) int { return append([]int{e.left()}, e.bends...)[len(e.bends)] })
	}
	return left, right
}

// line draws one edge, whose ends are at the heights begin and end.
func (d *drawing) line(i int, boxes []Box, spans []span, begin, end float64) Line {
	e := &d.edges[i]
	l := Line{Edge: Edge{d.nodes[e.from].ID, d.nodes[e.to].ID}, Back: e.back, Loop: e.loop, Direct: e.direct}
	left, right := boxes[e.left()], boxes[e.right()]
	if e.loop {
		far, near := left.X+left.Width*3/4, left.X+left.Width*7/8
		l.Points = []Point{{round(far), left.Y}, {round(far), left.Y - loopRoom}, {round(near), left.Y - loopRoom}, {round(near), left.Y}}
		return l
	}
	add := func(x, y float64) {
		if p := (Point{round(x), round(y)}); len(l.Points) == 0 || l.Points[len(l.Points)-1] != p {
			l.Points = append(l.Points, p)
		}
	}
	add(left.X+left.Width, begin)
	add(spans[left.Column].right, begin)
	for _, b := range e.bends {
		v := &d.vertices[b]
		add(spans[v.column].left, v.y)
		add(spans[v.column].right, v.y)
	}
	add(right.X, end)
	if e.back {
		slices.Reverse(l.Points)
	}
	return l
}

// round leaves a tenth of a pixel.
func round(x float64) float64 { return math.Round(x*10) / 10 }
