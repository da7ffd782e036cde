package layered

// How much lines between two kinds of vertices want to be straight: those that
// pass through many columns most, for their bends are seen most.
const (
	pullBox   = 1
	pullMixed = 2
	pullBends = 8
	pullNone  = 1e-3 // of a vertex without neighbours, which stays where it is if it can
)

// place gives each vertex its height on the page: as near to the middle of its
// neighbours as its order and distance in the column allow.
func (d *drawing) place(s Space) {
	for _, column := range d.columns {
		y := 0.0
		for i, v := range column {
			if i > 0 {
				y += d.apart(column[i-1], v, s)
			}
			d.vertices[v].y = y
		}
		for _, v := range column { // around one middle line
			d.vertices[v].y -= y / 2
		}
	}
	for sweep := range placeSweeps {
		left, right := sweep%2 == 0, sweep%2 == 1
		if sweep >= placeSweeps-2 {
			left, right = true, true
		}
		for k := range d.columns {
			c := k
			if sweep%2 == 1 {
				c = len(d.columns) - 1 - k
			}
			d.settle(c, s, func(v int) (y, pull float64) { return d.wish(v, left, right) })
		}
	}
}

// apart is the least distance of the middles of two vertices, one below the other.
func (d *drawing) apart(above, below int, s Space) float64 {
	a, b := &d.vertices[above], &d.vertices[below]
	gap := s.Row
	if a.node < 0 && b.node < 0 {
		gap /= 2
	}
	return (a.height+b.height)/2 + gap
}

// wish is where a vertex would be if it were alone, and how much it wants that.
func (d *drawing) wish(v int, left, right bool) (y, pull float64) {
	x := &d.vertices[v]
	var near []int
	if left {
		near = append(near, x.left...)
	}
	if right {
		near = append(near, x.right...)
	}
	for _, n := range near {
		w := float64(pullBox)
		switch bends := (x.node < 0) != (d.vertices[n].node < 0); {
		case bends:
			w = pullMixed
		case x.node < 0:
			w = pullBends
		}
		y, pull = y+w*d.vertices[n].y, pull+w
	}
	if pull == 0 {
		return x.y, pullNone
	}
	return y / pull, pull
}

// settle moves the vertices of a column to where the sum of the squares of how
// far each is from its wish is least. With the least distances taken out this is
// isotonic regression: neighbours that would pass each other become one block,
// which goes to the mean of their wishes.
func (d *drawing) settle(c int, s Space, wish func(v int) (y, pull float64)) {
	type block struct {
		y, pull float64
		n       int
	}
	column := d.columns[c]
	offsets := make([]float64, len(column))
	var blocks []block
	for i, v := range column {
		if i > 0 {
			offsets[i] = offsets[i-1] + d.apart(column[i-1], v, s)
		}
		y, pull := wish(v)
		b := block{y - offsets[i], pull, 1}
		for len(blocks) > 0 && blocks[len(blocks)-1].y >= b.y {
			last := blocks[len(blocks)-1]
			sum := last.pull + b.pull
			b = block{(last.y*last.pull + b.y*b.pull) / sum, sum, last.n + b.n}
			blocks = blocks[:len(blocks)-1]
		}
		blocks = append(blocks, b)
	}
	i := 0
	for _, b := range blocks {
		for range b.n {
			d.vertices[column[i]].y = b.y + offsets[i]
			i++
		}
	}
}
