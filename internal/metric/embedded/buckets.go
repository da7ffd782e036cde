package embedded

import (
	"maps"
	"math"
	"slices"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/metric"
)

// The edges of buckets are kept on the grid of package analysis, which grows by
// 1 %, without its ends: grid i is Edge(i), above all grid points is open, and
// zero and below is the floor. Whatever buckets two instances have, what they
// counted can so be added up, and nothing is said to be known more finely than
// they knew it.
const (
	floorGrid = -8000 // 1e-39, as good as zero
	openGrid  = 8000
)

// bucket is a range of the grid: above low, up to high.
type bucket struct{ low, high int }

// gridOf returns the grid point at or above x.
func gridOf(x float64) int {
	if !(x > 0) {
		return floorGrid
	}
	return int(min(max(math.Ceil(math.Log(x/analysis.Edge(0))*perGrid), floorGrid), openGrid-1))
}

// perGrid is how many grid points a factor of e is; as analysis.Bin has it.
var perGrid = 1 / math.Log(analysis.Gamma)

// added says how much was counted from one state of a histogram to the next, by
// what both can tell: the bounds that both have. It is false if that is less
// than nothing: the instance started anew.
func added(before, now *metric.Buckets) (map[bucket]uint64, bool) {
	out := map[bucket]uint64{}
	low, i, j := floorGrid, 0, 0
	var had, has uint64
	for i < len(before.Counts) || j < len(now.Counts) {
		x, y := boundOf(before, i), boundOf(now, j)
		if x <= y {
			had += before.Counts[i]
			i++
		}
		if y <= x {
			has += now.Counts[j]
			j++
		}
		if x != y {
			continue // only one of them knows this bound
		}
		if has < had {
			return nil, false
		}
		high := openGrid
		if !math.IsInf(x, 1) {
			high = gridOf(x)
		}
		if n := has - had; n > 0 {
			out[bucket{low, high}] += n
		}
		low, had, has = high, 0, 0
	}
	return out, true
}

// boundOf returns the upper end of a bucket; beyond the last there is none.
func boundOf(b *metric.Buckets, i int) float64 {
	if i < len(b.Bounds) {
		return b.Bounds[i]
	}
	return math.Inf(1)
}

// wrongBuckets says why a histogram cannot be kept; "" is that it can.
func wrongBuckets(b *metric.Buckets) string {
	switch {
	case b == nil || len(b.Counts) != len(b.Bounds)+1:
		return "is no histogram"
	case len(b.Bounds) > maxBuckets:
		return "has too many buckets"
	case math.IsNaN(b.Sum) || math.IsInf(b.Sum, 0):
		return "is no number"
	}
	for i, x := range b.Bounds {
		if math.IsNaN(x) || math.IsInf(x, 0) || i > 0 && x <= b.Bounds[i-1] {
			return "has bounds that do not rise"
		}
	}
	return ""
}

// maxBuckets bounds the buckets of one histogram.
const maxBuckets = 640

// packBuckets writes buckets by their place.
func packBuckets(p packing, m map[bucket]uint64) packing {
	p.uint(uint64(len(m)))
	last := 0
	for _, b := range slices.SortedFunc(maps.Keys(m), byPlace) {
		p.int(int64(b.low - last))
		p.uint(uint64(b.high - b.low))
		p.uint(m[b])
		last = b.high
	}
	return p
}

func byPlace(a, b bucket) int {
	if a.low != b.low {
		return a.low - b.low
	}
	return a.high - b.high
}

// unpackBuckets adds what packBuckets wrote to m.
func unpackBuckets(data []byte, m map[bucket]uint64) {
	u := unpacking{b: data}
	last := 0
	for n := u.uint(); n > 0 && !u.bad; n-- {
		low := last + int(u.int())
		last = low + int(u.uint())
		m[bucket{low, last}] += u.uint()
	}
}

// shift is how many grid points up a unit has to go to become seconds.
func shift(scale float64) int {
	if scale == 1 {
		return 0
	}
	return int(math.Round(math.Log(scale) * perGrid))
}

// toBins spreads a bucket over the bins of analysis. How often the value was at
// most the bucket's two ends stays exact. Between them a bucket knows nothing, and
// its counts are laid evenly on a logarithmic scale, from a place that turns
// chooses: were they all put at one end, a release that is one per cent slower
// than that end would seem to be slower by the whole bucket, and no margin would
// ever be kept or proven. What is above every bound is in no bin.
func toBins(to map[int]uint32, b bucket, n uint64, up int, turn float64) {
	if b.high >= openGrid {
		return
	}
	low, high := b.low+up, b.high+up
	if b.low <= floorGrid || high-low <= 1 || high <= 0 {
		to[clampBin(high)] += uint32(n)
		return
	}
	width, done := uint64(high-low), uint64(0)
	for k := uint64(1); k <= width; k++ {
		upto := uint64(float64(n)*float64(k)/float64(width) + turn)
		if k == width {
			upto = n
		}
		if upto = min(upto, n); upto > done {
			to[clampBin(low+int(k))] += uint32(upto - done)
			done = upto
		}
	}
}

func clampBin(grid int) int { return min(max(grid, 0), analysis.Bins-1) }

// turnOf returns a number from 0 to 1 that is the same for the same second and
// arm, and otherwise as good as drawn (splitmix64, Steele, Lea and Flood 2014).
func turnOf(second int64, arm uint64) float64 {
	z := uint64(second)*2 + arm + 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}

// sortedBuckets lists buckets by their upper end.
func sortedBuckets(m map[bucket]uint64) []bucket {
	return slices.SortedFunc(maps.Keys(m), func(a, b bucket) int {
		if a.high != b.high {
			return a.high - b.high
		}
		return a.low - b.low
	})
}

// edgeOf returns the value of a grid point.
func edgeOf(grid int) float64 {
	switch {
	case grid >= openGrid:
		return math.Inf(1)
	case grid <= floorGrid:
		return 0
	}
	return analysis.Edge(0) * math.Exp(float64(grid)/perGrid)
}
