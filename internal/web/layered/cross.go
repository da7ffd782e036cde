package layered

import (
	"cmp"
	"slices"
)

// untangle orders the columns so that fewer lines cross: each vertex goes to the
// middle of its neighbours in the column before, forth and back over all columns,
// and the best of these orders stays.
func (d *drawing) untangle() {
	best, fewest := d.rows(), d.crossings()
	idle := 0
	for sweep := 0; sweep < orderSweeps && idle < idleSweeps && fewest > 0; sweep++ {
		if sweep%2 == 0 {
			for c := 1; c < len(d.columns); c++ {
				d.order(c, func(v *vertex) []int { return v.left })
			}
		} else {
			for c := len(d.columns) - 2; c >= 0; c-- {
				d.order(c, func(v *vertex) []int { return v.right })
			}
		}
		idle++
		if n := d.crossings(); n < fewest {
			best, fewest, idle = d.rows(), n, 0
		}
	}
	d.columns = best
	for _, column := range d.columns {
		for row, v := range column {
			d.vertices[v].row = row
		}
	}
}

// rows is the order of all columns now.
func (d *drawing) rows() [][]int {
	out := make([][]int, len(d.columns))
	for c := range d.columns {
		out[c] = slices.Clone(d.columns[c])
	}
	return out
}

// order sorts a column by where the neighbours on one side are. What has none
// there stays about where it is.
func (d *drawing) order(c int, side func(*vertex) []int) {
	column := d.columns[c]
	middle := make(map[int]float64, len(column))
	for _, v := range column {
		near := side(&d.vertices[v])
		if len(near) == 0 {
			middle[v] = float64(d.vertices[v].row)
			continue
		}
		sum := 0
		for _, n := range near {
			sum += d.vertices[n].row
		}
		middle[v] = float64(sum) / float64(len(near))
	}
	slices.SortStableFunc(column, func(a, b int) int { return cmp.Compare(middle[a], middle[b]) })
	for row, v := range column {
		d.vertices[v].row = row
	}
}

// crossings counts the lines that cross between columns.
func (d *drawing) crossings() int {
	n := 0
	for c := 0; c+1 < len(d.columns); c++ {
		n += d.crossingsAfter(c)
	}
	return n
}

// crossingsAfter counts those right of a column: pairs of lines of which one
// begins above the other and ends below it (Barth, Mutzel and Jünger, 2002).
func (d *drawing) crossingsAfter(c int) int {
	below := make([]int, len(d.columns[c+1])+1) // a binary indexed tree of the ends so far
	n, ends := 0, 0
	for _, v := range d.columns[c] {
		rows := make([]int, 0, len(d.vertices[v].right))
		for _, to := range d.vertices[v].right {
			rows = append(rows, d.vertices[to].row)
		}
		for _, row := range rows {
			upTo := 0
			for i := row + 1; i > 0; i &= i - 1 {
				upTo += below[i]
			}
			n += ends - upTo
		}
		for _, row := range rows {
			for i := row + 1; i < len(below); i += i & -i {
				below[i]++
			}
		}
		ends += len(rows)
	}
	return n
}
