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
	tail
	run   int // how many entries, the last among them, went on as the one before
	runAt int // where that is written in the last page
}

// tail is the last entry: the next is written as what is different in it.
type tail struct {
	last, gap, covered int64
	value              float64
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

// An entry's first number is twice the difference from the value before; where
// that is not all, it is odd, and these bits above say what there is.
const (
	isFloat  = 1 << iota // eight bytes follow, in the place of a difference
	isSpaced             // how long after the one before, and how much it covers, follow
	hasRest              // more follows, its length first
	isRun                // so many entries like the one before, and nothing else
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
		c.tail, c.run = startOf(e.at), 0
	}
	p := &c.pages[len(c.pages)-1].data
	flags, diff, gap := uint64(0), int64(0), e.at-c.last
	if d := e.value - c.value; whole(e.value) && whole(c.value) && whole(d) {
		diff = int64(d)
	} else {
		flags |= isFloat
	}
	if gap != c.gap || e.covered != c.covered {
		flags |= isSpaced
	}
	if len(e.rest) > 0 {
		flags |= hasRest
	}
	c.tail = tail{last: e.at, gap: gap, covered: e.covered, value: e.value}
	if flags == 0 && diff == 0 && len(*p) > 0 {
		if c.run == 0 {
			c.runAt = len(*p)
		}
		c.run++
		*p = (*p)[:c.runAt]
		p.uint(first(uint64(c.run), isRun))
		return
	}
	c.run = 0
	p.uint(first(uint64(diff<<1^diff>>63), flags))
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
}

// first makes the first number of an entry.
func first(n, flags uint64) uint64 {
	if flags == 0 {
		return n << 1
	}
	return (n<<flagBits|flags)<<1 | 1
}

// parted takes the first number of an entry apart.
func parted(x uint64) (n, flags uint64) {
	if x&1 == 0 {
		return x >> 1, 0
	}
	return x >> (flagBits + 1), x >> 1 & (1<<flagBits - 1)
}

// startOf is the entry before the first of a page.
func startOf(first int64) tail { return tail{last: first - 1, gap: 1, covered: 1} }

// whole says whether x is a number without a fraction that every sum of a few
// keeps exactly.
func whole(x float64) bool { return x == math.Trunc(x) && math.Abs(x) < 1<<50 }

// each calls fn with the entries between from and last, both included. rest is valid until fn returns.
func (c *column) each(from, last int64, fn func(entry)) {
	for i := range c.pages {
		if c.pages[i].first > last {
			return
		}
		if i+1 < len(c.pages) && c.pages[i+1].first <= from {
			continue // all of it is earlier
		}
		c.pages[i].each(from, last, fn)
	}
}

func (g page) each(from, last int64, fn func(entry)) {
	u, t := unpacking{b: g.data}, startOf(g.first)
	for len(u.b) > 0 && !u.bad {
		n, flags := parted(u.uint())
		if flags&isRun != 0 {
			for range n {
				t.last += t.gap
				if t.last >= from && t.last <= last {
					fn(entry{at: t.last, covered: t.covered, value: t.value})
				}
			}
			continue
		}
		if flags&isSpaced != 0 {
			t.gap, t.covered = int64(u.uint()), int64(u.uint())
		}
		t.last += t.gap
		if flags&isFloat != 0 {
			t.value = u.float()
		} else {
			t.value += float64(int64(n>>1) ^ -int64(n&1))
		}
		e := entry{at: t.last, covered: t.covered, value: t.value}
		if flags&hasRest != 0 {
			e.rest = packing(u.bytes())
		}
		if e.at > last {
			return
		}
		if e.at >= from {
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
