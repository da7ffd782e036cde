package layered

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Graph is what shall be laid out. Arrows may form cycles and begin where they
// end; several with the same ends are one.
type Graph struct {
	Nodes []Node
	Edges []Edge
}

// Node is a box with a name of its own.
type Node struct {
	ID            string
	Width, Height float64
}

// Edge is an arrow between two nodes.
type Edge struct{ From, To string }

// Space is how far apart things are. The zero value of each is a usual one.
type Space struct {
	Column float64 // between two columns
	Row    float64 // between two boxes of a column, and at least between a line and a box
	Margin float64 // around everything
}

// Layout is where everything is. The origin is the upper left corner.
type Layout struct {
	Width, Height float64
	Boxes         []Box  // by ID
	Lines         []Line // by From and To
}

// Box is a node in its place.
type Box struct {
	Node

	Column int     // from the left, 0 is the first
	X, Y   float64 // of its upper left corner
}

// Line is an edge as it is drawn: from the right side of the caller to the left
// side of the callee, and the other way round where it closes a cycle. Between
// two points with the same Y it is straight; between others it bends within the
// space between two columns, which no box reaches into.
type Line struct {
	Edge

	Points []Point
	Back   bool // it points to the left, against the others
	Loop   bool // it ends where it begins, around the upper right corner
	Direct bool // it passes behind boxes: there was no room for a way around them
}

// Point is a place.
type Point struct{ X, Y float64 }

// Bounds of the work, whatever the graph. Beyond them it is laid out all the
// same, only less well.
const (
	orderSweeps = 24     // over all columns, against crossings
	idleSweeps  = 4      // in a row that did no good
	placeSweeps = 12     // over all columns, for straight lines
	mostBends   = 20_000 // points at which lines pass through columns; the longest lines go without
)

// loopRoom is kept free above a box that calls itself.
const loopRoom = 16

// Place lays out a graph. An error names an edge that begins or ends nowhere, or
// two nodes of one name.
func Place(g Graph, s Space) (Layout, error) {
	s.Column, s.Row, s.Margin = cmp.Or(s.Column, 96), cmp.Or(s.Row, 20), cmp.Or(s.Margin, 16)
	d, err := drawingOf(g)
	if err != nil {
		return Layout{}, err
	}
	d.acyclic()
	d.rank()
	d.bend()
	d.untangle()
	d.place(s)
	return d.layout(s), nil
}

// Columns returns the column of each node, without the rest of the work.
func Columns(g Graph) (map[string]int, error) {
	d, err := drawingOf(g)
	if err != nil {
		return nil, err
	}
	d.acyclic()
	d.rank()
	out := make(map[string]int, len(d.nodes))
	for i, n := range d.nodes {
		out[n.ID] = d.vertices[i].column
	}
	return out, nil
}

// drawing is a graph on its way. Nodes are known by their index in the order of
// their IDs; vertices are the nodes and, behind them, the bends of long lines.
type drawing struct {
	nodes    []Node
	edges    []arrow
	vertices []vertex
	columns  [][]int // vertices of each column, from above
}

// arrow is one edge.
type arrow struct {
	from, to int // nodes
	back     bool
	loop     bool
	direct   bool
	bends    []int // vertices, from left to right
}

// left and right are the ends of an arrow as the layout has them.
func (a *arrow) left() int {
	if a.back {
		return a.to
	}
	return a.from
}

func (a *arrow) right() int {
	if a.back {
		return a.from
	}
	return a.to
}

// vertex is a node, or a bend of a line.
type vertex struct {
	node          int // -1 of a bend
	column, row   int
	width, height float64 // with the room for a loop
	y             float64 // of its middle
	left, right   []int   // its neighbours in the columns beside it
}

// drawingOf checks a graph and puts it in order.
func drawingOf(g Graph) (*drawing, error) {
	d := &drawing{nodes: slices.Clone(g.Nodes)}
	slices.SortFunc(d.nodes, func(a, b Node) int { return strings.Compare(a.ID, b.ID) })
	index := make(map[string]int, len(d.nodes))
	for i, n := range d.nodes {
		if _, twice := index[n.ID]; twice {
			return nil, delivery.Invalid("nodes", fmt.Sprintf("%q is there twice", n.ID))
		}
		index[n.ID] = i
		d.vertices = append(d.vertices, vertex{node: i, width: n.Width, height: n.Height})
	}
	for _, e := range g.Edges {
		from, known := index[e.From]
		to, alsoKnown := index[e.To]
		if !known || !alsoKnown {
			return nil, delivery.Invalid("edges", fmt.Sprintf("%q to %q names a node that is not there", e.From, e.To))
		}
		d.edges = append(d.edges, arrow{from: from, to: to, loop: from == to})
	}
	byEnds := func(a, b arrow) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) }
	slices.SortFunc(d.edges, byEnds)
	d.edges = slices.CompactFunc(d.edges, func(a, b arrow) bool { return byEnds(a, b) == 0 })
	for _, e := range d.edges {
		if e.loop {
			d.vertices[e.from].height += loopRoom
		}
	}
	return d, nil
}
