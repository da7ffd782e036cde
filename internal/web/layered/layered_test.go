package layered

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// anyGraph draws a graph with cycles, loops, doubled lines and lone nodes.
func anyGraph(t *rapid.T) Graph {
	n := rapid.IntRange(0, 30).Draw(t, "nodes")
	var g Graph
	for i := range n {
		g.Nodes = append(g.Nodes, Node{fmt.Sprintf("n%02d", i), rapid.Float64Range(10, 200).Draw(t, "width"), rapid.Float64Range(10, 60).Draw(t, "height")})
	}
	if n == 0 {
		return g
	}
	id := func(what string) string { return g.Nodes[rapid.IntRange(0, n-1).Draw(t, what)].ID }
	for range rapid.IntRange(0, 60).Draw(t, "edges") {
		g.Edges = append(g.Edges, Edge{id("from"), id("to")})
	}
	return g
}

func place(t interface {
	Helper()
	Fatal(args ...any)
}, g Graph, s Space,
) Layout {
	t.Helper()
	l, err := Place(g, s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const tiny = 0.2 // what rounding to a tenth may move two things

// Whatever the graph: every node has a place of its own, every edge is drawn from
// its caller to its callee, and no line passes over a box that is not its own.
func TestLayout(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, s := anyGraph(t), Space{Column: 60, Row: 12, Margin: 10}
		l := place(t, g, s)
		boxes := boxesOf(t, g, l, s)
		linesOf(t, g, l, boxes)
	})
}

func boxesOf(t *rapid.T, g Graph, l Layout, s Space) map[string]Box {
	boxes := map[string]Box{}
	for _, b := range l.Boxes {
		boxes[b.ID] = b
		if b.X < s.Margin-tiny || b.Y < s.Margin-tiny || b.X+b.Width > l.Width-s.Margin+tiny || b.Y+b.Height > l.Height-s.Margin+tiny {
			t.Fatalf("%+v leaves the picture of %v x %v", b, l.Width, l.Height)
		}
	}
	if len(boxes) != len(g.Nodes) || len(l.Boxes) != len(g.Nodes) {
		t.Fatalf("%d boxes of %d nodes", len(l.Boxes), len(g.Nodes))
	}
	for i, a := range l.Boxes {
		for _, b := range l.Boxes[:i] {
			aside := a.X+a.Width+s.Column <= b.X+tiny || b.X+b.Width+s.Column <= a.X+tiny
			apart := a.Y+a.Height+s.Row <= b.Y+tiny || b.Y+b.Height+s.Row <= a.Y+tiny
			if a.Column == b.Column && !apart || a.Column != b.Column && !aside {
				t.Fatalf("%+v and %+v are too near", a, b)
			}
		}
	}
	return boxes
}

func linesOf(t *rapid.T, g Graph, l Layout, boxes map[string]Box) {
	want := map[Edge]bool{}
	for _, e := range g.Edges {
		want[e] = true
	}
	for _, line := range l.Lines {
		if !want[line.Edge] {
			t.Fatalf("%v is drawn twice, or was never asked for", line.Edge)
		}
		delete(want, line.Edge)
		from, to := boxes[line.From], boxes[line.To]
		if line.Direct || line.Loop != (line.From == line.To) || !line.Loop && line.Back != (from.Column > to.Column) || !line.Loop && from.Column == to.Column {
			t.Fatalf("%+v from column %d to %d", line, from.Column, to.Column)
		}
		first, last := line.Points[0], line.Points[len(line.Points)-1]
		if line.Loop {
			if first.Y != from.Y || last.Y != from.Y || first.X <= from.X || last.X >= from.X+from.Width || first.X >= last.X {
				t.Fatalf("%+v does not stand on %+v", line, from)
			}
			continue
		}
		begin, end := from.X+from.Width, to.X
		if line.Back {
			begin, end = from.X, to.X+to.Width
		}
		if math.Abs(first.X-begin) > tiny || first.Y <= from.Y || first.Y >= from.Y+from.Height || math.Abs(last.X-end) > tiny || last.Y <= to.Y || last.Y >= to.Y+to.Height {
			t.Fatalf("%+v does not go from %+v to %+v", line, from, to)
		}
		for i := 1; i < len(line.Points); i++ {
			crosses(t, line, line.Points[i-1], line.Points[i], l.Boxes)
		}
	}
	if len(want) > 0 {
		t.Fatalf("%v are not drawn", want)
	}
}

// crosses fails for a piece of a line that touches a box, or bends where boxes are.
func crosses(t *rapid.T, line Line, a, b Point, boxes []Box) {
	if a.X > b.X {
		a, b = b, a
	}
	for _, box := range boxes {
		beside := b.X <= box.X+tiny || a.X >= box.X+box.Width-tiny
		if beside {
			continue
		}
		inside := a.Y > box.Y-tiny && a.Y < box.Y+box.Height+tiny
		if a.Y != b.Y || inside {
			t.Fatalf("%v from %v to %v touches %+v", line.Edge, a, b, box)
		}
	}
}

// The same graph is laid out the same, in whichever order it is told and however
// often a line is named.
func TestOrderOfInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := anyGraph(t)
		want := place(t, g, Space{})
		again := Graph{slices.Clone(g.Nodes), append(slices.Clone(g.Edges), g.Edges...)}
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		r.Shuffle(len(again.Nodes), func(i, k int) { again.Nodes[i], again.Nodes[k] = again.Nodes[k], again.Nodes[i] })
		r.Shuffle(len(again.Edges), func(i, k int) { again.Edges[i], again.Edges[k] = again.Edges[k], again.Edges[i] })
		if got := place(t, again, Space{}); !reflect.DeepEqual(got, want) {
			t.Fatalf("Place = %+v in another order, want %+v", got, want)
		}
	})
}

// Sweeps never leave more crossings than there were, and they are counted as
// whoever compares all pairs would.
func TestCrossings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, err := drawingOf(anyGraph(t))
		if err != nil {
			t.Fatal(err)
		}
		d.acyclic()
		d.rank()
		d.bend()
		before := d.crossings()
		if slow := d.allPairs(); before != slow {
			t.Fatalf("crossings = %d, want %d", before, slow)
		}
		d.untangle()
		if after := d.crossings(); after > before || after != d.allPairs() {
			t.Fatalf("%d crossings after untangling %d", after, before)
		}
	})
}

func (d *drawing) allPairs() (n int) {
	for _, column := range d.columns {
		type line struct{ left, right int }
		var lines []line
		for _, v := range column {
			for _, to := range d.vertices[v].right {
				lines = append(lines, line{d.vertices[v].row, d.vertices[to].row})
			}
		}
		for i, a := range lines {
			for _, b := range lines[:i] {
				if (a.left-b.left)*(a.right-b.right) < 0 {
					n++
				}
			}
		}
	}
	return n
}

// What can be drawn without crossings and in straight lines is.
func TestSimple(t *testing.T) {
	box := func(ids ...string) (out []Node) {
		for _, id := range ids {
			out = append(out, Node{id, 100, 40})
		}
		return out
	}
	chain := place(t, Graph{box("a", "b", "c", "d"), []Edge{{"d", "c"}, {"c", "b"}, {"b", "a"}}}, Space{})
	for i, b := range chain.Boxes {
		if b.Y != chain.Boxes[0].Y || b.Column != 3-i {
			t.Errorf("%s is at %v in column %d of a chain", b.ID, b.Y, b.Column)
		}
	}
	crossed, err := drawingOf(Graph{box("a", "b", "x", "y", "z"), []Edge{{"a", "z"}, {"b", "x"}, {"b", "y"}, {"a", "y"}}})
	if err != nil {
		t.Fatal(err)
	}
	crossed.acyclic()
	crossed.rank()
	crossed.bend()
	if crossed.crossings() == 0 {
		t.Fatal("nothing to untangle")
	}
	if crossed.untangle(); crossed.crossings() != 0 {
		t.Errorf("%d crossings are left in a tree", crossed.crossings())
	}
	pair := place(t, Graph{box("a", "b"), []Edge{{"a", "b"}, {"b", "a"}}}, Space{})
	there, back := pair.Lines[0], pair.Lines[1]
	if there.Back == back.Back || there.Points[0].Y == back.Points[0].Y {
		t.Errorf("two services that call each other are drawn as %+v and %+v, want two lines apart", there, back)
	}
	lone := place(t, Graph{Nodes: box("a", "b", "c", "d", "e", "f", "g", "h", "i")}, Space{})
	if lone.Boxes[8].Column != 2 || lone.Height > 5*60 {
		t.Errorf("nine lone nodes are %v high, the last in column %d; want a square", lone.Height, lone.Boxes[8].Column)
	}
	if empty := place(t, Graph{}, Space{Margin: 5}); empty.Width != 10 || empty.Height != 10 {
		t.Errorf("nothing is %v x %v, want its margins", empty.Width, empty.Height)
	}
}

func TestWrong(t *testing.T) {
	for what, g := range map[string]Graph{
		"twice":   {Nodes: []Node{{"a", 1, 1}, {"a", 2, 2}}},
		"nowhere": {Nodes: []Node{{"a", 1, 1}}, Edges: []Edge{{"a", "b"}}},
	} {
		_, err := Place(g, Space{})
		_, err2 := Columns(g)
		if !errors.Is(err, delivery.ErrInvalid) || !errors.Is(err2, delivery.ErrInvalid) {
			t.Errorf("%s: Place = %v, Columns = %v; want what is wrong", what, err, err2)
		}
	}
}

// Graphs that nobody should draw take their time, and no more.
func TestThousand(t *testing.T) {
	const n, limit = 1000, 30 * time.Second
	nodes := make([]Node, n)
	for i := range nodes {
		nodes[i] = Node{fmt.Sprintf("n%04d", i), 160, 44}
	}
	r := rand.New(rand.NewPCG(1, 2))
	some := func(k int) (out []Edge) {
		for range k {
			out = append(out, Edge{nodes[r.IntN(n)].ID, nodes[r.IntN(n)].ID})
		}
		return out
	}
	var chain, star, ring, all []Edge
	for i := range nodes {
		if i > 0 {
			chain = append(chain, Edge{nodes[i-1].ID, nodes[i].ID})
			star = append(star, Edge{nodes[0].ID, nodes[i].ID})
		}
		ring = append(ring, Edge{nodes[i].ID, nodes[(i+1)%n].ID})
		for k := range 300 { // of 300, everybody calls everybody and itself
			if i < 300 {
				all = append(all, Edge{nodes[i].ID, nodes[k].ID})
			}
		}
	}
	for what, edges := range map[string][]Edge{"none": nil, "chain": chain, "star": star, "ring": ring, "sparse": some(1500), "dense": some(20_000), "all of 300": all} {
		began := time.Now()
		l := place(t, Graph{nodes, edges}, Space{})
		took := time.Since(began)
		t.Logf("%-10s %6d lines in %v", what, len(l.Lines), took.Round(time.Millisecond))
		if took > limit || len(l.Boxes) != n {
			t.Errorf("%s: %d boxes in %v, want %d within %v", what, len(l.Boxes), took, n, limit)
		}
	}
}
