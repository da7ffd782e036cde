package layered

import (
	"cmp"
	"math"
	"slices"
)

// acyclic turns as few edges around as is easily found, so that none of the
// others is in a cycle: after Eades, Lin and Smyth (1993), who take nodes away one
// by one, those that nobody calls to the left end, those that call nobody to the
// right end, and of the rest the one that calls most and is called least.
func (d *drawing) acyclic() {
	out, in := d.neighbours()
	p := peeling{calls: make([]int, len(d.nodes)), called: make([]int, len(d.nodes)), gone: make([]bool, len(d.nodes))}
	for i := range d.nodes {
		p.calls[i], p.called[i] = len(out[i]), len(in[i])
	}
	place := make([]int, len(d.nodes)) // in the order of the layout
	for first, last := 0, len(d.nodes)-1; first <= last; {
		i, end := p.next()
		if end {
			place[i], last = last, last-1
		} else {
			place[i], first = first, first+1
		}
		p.gone[i] = true
		for _, k := range out[i] {
			p.called[k]--
		}
		for _, k := range in[i] {
			p.calls[k]--
		}
	}
	for i := range d.edges {
		d.edges[i].back = place[d.edges[i].from] > place[d.edges[i].to]
	}
}

// peeling is what is left of a graph while nodes are taken away.
type peeling struct {
	calls, called []int // how many lines to and from nodes that are left
	gone          []bool
}

// next returns the node to take away, and whether it goes to the right end.
func (p *peeling) next() (node int, end bool) {
	node = -1
	for i := range p.gone {
		switch {
		case p.gone[i]:
		case p.calls[i] == 0:
			return i, true
		case p.called[i] == 0:
			return i, false
		case node < 0 || p.calls[i]-p.called[i] > p.calls[node]-p.called[node]:
			node = i
		}
	}
	return node, false
}

// neighbours lists for each node whom it calls and who calls it, without itself.
func (d *drawing) neighbours() (out, in [][]int) {
	out, in = make([][]int, len(d.nodes)), make([][]int, len(d.nodes))
	for _, e := range d.edges {
		if !e.loop {
			out[e.from] = append(out[e.from], e.to)
			in[e.to] = append(in[e.to], e.from)
		}
	}
	return out, in
}

// rank gives each node a column: right of all that lead to it, and as near to
// those it leads to as that allows. Nodes without lines fill the shortest columns.
func (d *drawing) rank() {
	after, before := make([][]int, len(d.nodes)), make([][]int, len(d.nodes))
	for i := range d.edges {
		if e := &d.edges[i]; !e.loop {
			after[e.left()] = append(after[e.left()], e.right())
			before[e.right()] = append(before[e.right()], e.left())
		}
	}
	order := topological(after, before)
	column := make([]int, len(d.nodes))
	for _, i := range order {
		for _, k := range before[i] {
			column[i] = max(column[i], column[k]+1)
		}
	}
	for _, i := range slices.Backward(order) {
		if len(after[i]) <= len(before[i]) {
			continue // its lines to the left would grow by more than the others shrink
		}
		nearest := math.MaxInt
		for _, k := range after[i] {
			nearest = min(nearest, column[k]-1)
		}
		column[i] = nearest
	}
	count := 0
	for i, c := range column {
		if len(after[i])+len(before[i]) > 0 {
			count = max(count, c+1)
		}
	}
	if count == 0 {
		count = max(1, int(math.Ceil(math.Sqrt(float64(len(d.nodes))))))
	}
	d.columns = make([][]int, count)
	var alone []int
	for i, c := range column {
		if len(after[i])+len(before[i]) == 0 {
			alone = append(alone, i)
			continue
		}
		d.put(i, c)
	}
	for _, i := range alone {
		shortest := 0
		for c := range d.columns {
			if len(d.columns[c]) < len(d.columns[shortest]) {
				shortest = c
			}
		}
		d.put(i, shortest)
	}
	d.columns = slices.DeleteFunc(d.columns, func(c []int) bool { return len(c) == 0 })
	for c := range d.columns {
		for _, v := range d.columns[c] {
			d.vertices[v].column = c
		}
	}
}

// put puts a vertex below the others of a column.
func (d *drawing) put(v, column int) {
	d.vertices[v].column, d.vertices[v].row = column, len(d.columns[column])
	d.columns[column] = append(d.columns[column], v)
}

// topological lists nodes so that each comes before those after it.
func topological(after, before [][]int) []int {
	waits := make([]int, len(before))
	var order []int
	for i := range before {
		if waits[i] = len(before[i]); waits[i] == 0 {
			order = append(order, i)
		}
	}
	for next := 0; next < len(order); next++ {
		for _, k := range after[order[next]] {
			if waits[k]--; waits[k] == 0 {
				order = append(order, k)
			}
		}
	}
	return order
}

// bend gives lines that pass through columns a place in each of them, the
// shortest lines first.
func (d *drawing) bend() {
	byLength := make([]int, len(d.edges))
	for i := range byLength {
		byLength[i] = i
	}
	length := func(i int) int {
		e := &d.edges[i]
		return d.vertices[e.right()].column - d.vertices[e.left()].column
	}
	slices.SortStableFunc(byLength, func(a, b int) int { return cmp.Compare(length(a), length(b)) })
	bends := 0
	for _, i := range byLength {
		e := &d.edges[i]
		if e.loop {
			continue
		}
		if bends += max(length(i)-1, 0); bends > mostBends {
			e.direct = true
			continue
		}
		last := e.left()
		for c := d.vertices[last].column + 1; c < d.vertices[e.right()].column; c++ {
			d.vertices = append(d.vertices, vertex{node: -1})
			v := len(d.vertices) - 1
			d.put(v, c)
			d.join(last, v)
			e.bends = append(e.bends, v)
			last = v
		}
		d.join(last, e.right())
	}
}

// join makes two vertices of columns side by side neighbours.
func (d *drawing) join(left, right int) {
	d.vertices[left].right = append(d.vertices[left].right, right)
	d.vertices[right].left = append(d.vertices[right].left, left)
}
