package analysis

import "math"

// differences is a confidence sequence for canary minus stable: what of a grid no
// e-process has refuted, on any border canary = stable + d. An end moves only over
// candidates that are refuted one after the other from outside, so that it is wrong
// only if the one candidate next to the truth is refuted.
type differences struct {
	limit float64           // log evidence that refutes
	scale float64           // of the grid; 0 is not chosen yet. It may be chosen from the past
	up    [len(offsets)]end // evidence that the difference is above the candidate
	down  [len(offsets)]end // or below it
}

type end struct {
	log     float64
	refuted bool
}

// offsets are the candidates in units of the scale.
var offsets = [...]float64{
	-32, -16, -8, -4, -2, -1, -.5, -.25, -.125, -.0625, 0,
	.0625, .125, .25, .5, 1, 2, 4, 8, 16, 32,
}

// endLimit is the log evidence that refutes one end of an interval: both
// together are wrong with a chance of at most alpha.
func endLimit(alpha float64) float64 { return math.Log(2 / alpha) }

// weigh takes in a block. The past predicts sb and sc; gain is the log of the
// block's e-variable of that alternative against a border.
func (d *differences) weigh(sb, sc float64, gain func(line) float64) {
	if d.scale == 0 {
		return
	}
	for i, offset := range offsets {
		l := line{1, offset * d.scale}
		to := &d.up[i]
		if sc < l.at(sb) {
			to = &d.down[i]
		}
		if !to.refuted && sc != l.at(sb) {
			to.log += gain(l)
			to.refuted = to.log >= d.limit
		}
	}
}

func (d *differences) interval() (low, high float64, known [2]bool) {
	low, high = math.Inf(-1), math.Inf(1)
	for i := 0; i < len(offsets) && d.up[i].refuted; i++ {
		low, known[0] = offsets[i]*d.scale, true
	}
	for i := len(offsets) - 1; i >= 0 && d.down[i].refuted; i-- {
		high, known[1] = offsets[i]*d.scale, true
	}
	return min(low, high), max(low, high), known
}
