// Package analysis judges: counts in, verdict out. It is pure statistics with
// no clock and no I/O; its validity is proven by exact enumeration in its tests.
package analysis

import "math"

// Gamma is the growth of the log histogram's bins: 1 %.
const Gamma = 1.01

// Bins is the number of histogram bins; the last one holds everything longer.
const Bins = 1600

// lowest is the upper edge of bin 0 in seconds: 50 µs.
const lowest = 50e-6

var invLogGamma = 1 / math.Log(Gamma)

// Bin returns the histogram bin of a duration in seconds: bin i > 0 holds
// (lowest*Gamma^(i-1), lowest*Gamma^i]. Not-a-number and negatives go to bin 0.
func Bin(seconds float64) int {
	if !(seconds > lowest) {
		return 0
	}
	i := int(math.Ceil(math.Log(seconds/lowest) * invLogGamma))
	return min(max(i, 0), Bins-1)
}

// Edge returns the upper edge of bin i in seconds.
func Edge(i int) float64 { return lowest * math.Exp(float64(i)/invLogGamma) }
