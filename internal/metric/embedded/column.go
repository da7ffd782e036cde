package embedded

import (
	"math"
	"slices"
)

// column is entries by time, oldest first: of a series by second, of a rollup by
// minute. It is written at its end only. Entries stand one behind the other as
// bytes, in pages that are forgotten whole, so that a value which changes little
// takes one byte or two.
type column struct {
	pages []page
	last  int64   // time of the last entry
	value float64 // of the last entry; the next is written as the difference
}

// page is the entries of a span of time.
type page struct {
	first int64 // time before which nothing is in it; its first entry is written from here
	data  packing
}

// entry is what a column holds at one time. Covered is how far back it reaches:
// of a counter, the time in which it rose by Value.
type entry struct {
	at, covered int64
	value       float64 // of a counter what was added, of a gauge the value, of a histogram the sum of what was added
	rest        packing // of a histogram its buckets, of a rollup what else it has
}

// The lowest bits of an entry's first number say what it is.
const (
	isFloat  = 1 << iota // eight bytes follow, in the place of a difference
	isSpaced             // how long after the one before, and how much it covers, follow
	hasRest              // more follows, its length first
	flagBits = iota
)

// add appends an entry, which must be later than the last. span is how much time
// a page holds.
func (c *column) add(e entry, span int64) {
	n := len(c.pages)
	if n == 0 || e.at >= c.pages[n-1].first+span {
		if n > 0 {
			c.pages[n-1].data = slices.Clip(slices.Clone(c.pages[n-1].data))
		}
		c.pages = append(c.pages, page{first: e.at})
		c.last, c.value = e.at-1, 0
	}
	p := &c.pages[len(c.pages)-1].data
	flags, diff := uint64(0), int64(0)
	if d := e.value - c.value; whole(e.value) && whole(c.value) && whole(d) {
		diff = int64(d)
	} else {
		flags |= isFloat
	}
	gap := e.at - c.last
	if gap != 1 || e.covered != 1 {
		flags |= isSpaced
	}
	if len(e.rest) > 0 {
		flags |= hasRest
	}
	p.uint(uint64(diff<<1^diff>>63)<<flagBits | flags)
	if flags&isSpaced != 0 {
		p.uint(uint64(gap))
		p.uint(uint64(e.covered))
	}
	if flags&isFloat != 0 {
		p.float(e.value)
	}
	if flags&hasRest != 0 {
		p.uint(uint64(len(e.rest)))
		*p = append(*p, e.rest...)
	}
	c.last, c.value = e.at, e.value
}

// whole says whether x is a number without a fraction that every sum of a few
// keeps exactly.
func whole(x float64) bool { return x == math.Trunc(x) && math.Abs(x) < 1<<50 }

// each calls fn with the entries from first to last. rest is valid until fn returns.
func (c *column) each(first, last int64, fn func(entry)) {
	for i := range c.pages {
		if c.pages[i].first > last {
			return
		}
		if i+1 < len(c.pages) && c.pages[i+1].first <= first {
			continue // all of it is earlier
		}
		c.pages[i].each(first, last, fn)
	}
}

func (g page) each(first, last int64, fn func(entry)) {
	u, e := unpacking{b: g.data}, entry{at: g.first - 1}
	for len(u.b) > 0 && !u.bad {
		n := u.uint()
		zig := n >> flagBits
		gap := int64(1)
		e.covered, e.rest = 1, nil
		if n&isSpaced != 0 {
			gap, e.covered = int64(u.uint()), int64(u.uint())
		}
		e.at += gap
		if n&isFloat != 0 {
			e.value = u.float()
		} else {
			e.value += float64(int64(zig>>1) ^ -int64(zig&1))
		}
		if n&hasRest != 0 {
			e.rest = packing(u.bytes())
		}
		if e.at > last {
			return
		}
		if e.at >= first {
			fn(e)
		}
	}
}

// forget drops the pages in which all is earlier than limit.
func (c *column) forget(limit int64) {
	n := 0
	for n+1 < len(c.pages) && c.pages[n+1].first <= limit {
		n++
	}
	if n+1 == len(c.pages) && c.last < limit {
		n++
	}
	if n > 0 {
		c.pages = slices.Delete(c.pages, 0, n)
	}
}

// size is roughly how many bytes it takes.
func (c *column) size() (n int) {
	for _, p := range c.pages {
		n += cap(p.data)
	}
	return n + 32*cap(c.pages)
}
