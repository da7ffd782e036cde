package analysis

import (
	"math"
	"slices"
)

// bound is one candidate end of a confidence sequence: evidence that the canary
// lies above the line in some block (up), or below it in some block. A
// candidate is refuted once its evidence reaches the limit, and stays so.
//
// Inverting e-processes gives intervals that are valid at every time (Turner and
// Grünwald, arXiv 2203.09785): if the difference is the same in every block, all
// intervals ever shown hold it with probability 1-alpha. If it moves, the lower
// ends stay below its largest and the upper ends above its smallest value. Candidates lie on a grid; an end is rounded outwards to it.
type bound struct {
	line    line
	up      bool
	refuted bool
	canary  rate // of the past; one of the alternatives
	log     [1 + len(spread)]float64
}

// spread are the odds ratios of a bound's fixed alternatives.
var spread = [...]float64{1.5, 3, 10}

// prior is the weight in units of stable's share in the canary's predicted share.
const prior = 20

// ratios are the e-variables of a bound's fixed alternatives, up or down from
// the line where stable's share is sb.
func (l line) ratios(up bool, nb, nc, sb float64) (all [len(spread)]ratio) {
	from := l.at(sb)
	if from <= least || from >= most {
		return all
	}
	for k, m := range spread {
		if !up {
			m = 1 / m
		}
		all[k] = l.ratio(nb, nc, sb, timesOdds(from, m))
	}
	return all
}

func (b *bound) observe(p pair, sb float64, fixed [len(spread)]ratio, limit float64) {
	from := b.line.at(sb)
	plug := inside((b.canary.x + prior*sb) / (b.canary.n + prior))
	if b.up && plug > from || !b.up && plug < from {
		b.log[0] += b.line.logE(p, sb, plug)
	}
	top := b.log[0]
	for k, r := range fixed {
		b.log[1+k] += r.log(p)
		top = max(top, b.log[1+k])
	}
	b.refuted = top >= limit && logMean(b.log[:]) >= limit
	b.canary.add(p.nc, p.xc)
}

// errorSteps are the candidate differences of error shares, both ways and with 0.
var errorSteps = [...]float64{
	0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.007, 0.01, 0.015, 0.02,
	0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7,
}

// rungs is how many candidates of one direction are weighed at a time: those that
// are refuted next. A candidate is weighed from the time on at which the one that
// many before it was refuted, which costs it little, for the nearer one took
// longer; that time is known beforehand, so it stays an e-process.
// In the first blocks all of them are, as what is bad from the start is soon over.
const (
	rungs       = 6
	eagerBlocks = 10
)

// skips says whether so many active candidates are enough after so many blocks.
func skips(active, blocks int) bool { return active >= rungs && blocks >= eagerBlocks }

// errorBounds are ordered from the candidates that are refuted first, up and then down.
func errorBounds() []bound {
	var all []bound
	for _, up := range []bool{true, false} {
		sign := 1.
		if up {
			sign = -1
		}
		for _, d := range slices.Backward(errorSteps[:]) {
			all = append(all, bound{line: line{1, sign * d}, up: up})
		}
		all = append(all, bound{line: line{1, 0}, up: up})
		for _, d := range errorSteps {
			all = append(all, bound{line: line{1, -sign * d}, up: up})
		}
	}
	return all
}

// narrow moves the ends of the interval.
func (e *errorTest) narrow(p pair, sb, limit float64) {
	var active [2]int
	for i := range e.bounds {
		b := &e.bounds[i]
		if b.refuted || skips(active[b.direction()], e.seen.blocks) {
			continue
		}
		active[b.direction()]++
		b.observe(p, sb, b.line.ratios(b.up, p.nb, p.nc, sb), limit)
	}
}

func (b *bound) direction() int {
	if b.up {
		return 0
	}
	return 1
}

// interval returns the difference canary minus stable that is not refuted.
func (e *errorTest) interval() (low, high float64) {
	low, high = -1, 1
	for i := range e.bounds {
		switch b := &e.bounds[i]; {
		case !b.refuted:
		case b.up:
			low = max(low, b.line.a)
		default:
			high = min(high, b.line.a)
		}
	}
	return min(low, high), max(low, high)
}

// latencySteps are the candidate ratios of latencies in bins, both ways and
// with 0: 2 % to a factor of 98.
var latencySteps = [...]int{2, 5, 10, 15, 22, 30, 40, 55, 70, 110, 160, 230, 460}

// slowBound is a bound on how many bins slower the canary is at one quantile of
// stable: on the ratio of latencies, when the quantile moves.
type slowBound struct {
	bound
	shift int
}

// slowBounds are ordered as errorBounds are.
func slowBounds() []slowBound {
	var all []slowBound
	for _, up := range []bool{true, false} {
		sign := 1
		if up {
			sign = -1
		}
		one := bound{line: line{1, 0}, up: up}
		for _, k := range slices.Backward(latencySteps[:]) {
			all = append(all, slowBound{one, sign * k})
		}
		all = append(all, slowBound{bound: one})
		for _, k := range latencySteps {
			all = append(all, slowBound{one, -sign * k})
		}
	}
	return all
}

// slower returns the difference in seconds, canary minus stable, that is not
// refuted for stable's latency x. Known says which ends were found; the others
// are infinite.
func slower(all []slowBound, x float64) (low, high float64, known [2]bool) {
	low, high = math.Inf(-1), math.Inf(1)
	for i := range all {
		b := &all[i]
		d := x * math.Expm1(float64(b.shift)/invLogGamma)
		switch {
		case !b.refuted:
		case b.up:
			low, known[0] = max(low, d), true
		default:
			high, known[1] = min(high, d), true
		}
	}
	return min(low, high), max(low, high), known
}
