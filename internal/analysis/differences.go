package analysis

import "math"

// differences is a confidence sequence for canary minus stable: what of a grid no
// e-process has refuted, on any border canary = stable + d. An end moves only over
// candidates that are refuted one after the other from outside, so that it is wrong
// only if the one candidate next to the truth is refuted. Only the next few
// candidates are played; which, the past says.
type differences struct {
	limit float64        // log evidence that refutes
	scale float64        // of the grid; 0 is not chosen yet. It may be chosen from the past
	up    [2*far + 1]end // evidence that the difference is above the candidate
	down  [2*far + 1]end // or below it
	low   int            // candidates that are refuted from below
	high  int            // or from above
}

type end struct {
	log     float64
	refuted bool
}

// The candidates are 0 and both ways from 1/32 to 32 times the scale, a third of an
// octave apart.
const (
	far    = 31
	inPlay = 5
)

// offset returns the candidate at a place of the grid, in units of the scale.
func offset(place int) float64 {
	switch i := float64(place - far); {
	case i > 0:
		return math.Exp2((i-1)/3 - 5)
	case i < 0:
		return -math.Exp2((-i-1)/3 - 5)
	}
	return 0
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
	last := len(d.up) - 1
	for i := d.low; i <= min(d.low+inPlay, last); i++ {
		if l := (line{1, offset(i) * d.scale}); sc > l.at(sb) {
			d.up[i].win(gain(l), d.limit)
		}
	}
	for i := last - d.high; i >= max(last-d.high-inPlay, 0); i-- {
		if l := (line{1, offset(i) * d.scale}); sc < l.at(sb) {
			d.down[i].win(gain(l), d.limit)
		}
	}
	for d.low <= last && d.up[d.low].refuted {
		d.low++
	}
	for d.high <= last && d.down[last-d.high].refuted {
		d.high++
	}
}

func (e *end) win(gain, limit float64) {
	e.log += gain
	e.refuted = e.refuted || e.log >= limit
}

func (d *differences) interval() (low, high float64, known [2]bool) {
	low, high = math.Inf(-1), math.Inf(1)
	if d.low > 0 {
		low, known[0] = offset(d.low-1)*d.scale, true
	}
	if d.high > 0 {
		high, known[1] = offset(len(d.down)-d.high)*d.scale, true
	}
	return min(low, high), max(low, high), known
}
