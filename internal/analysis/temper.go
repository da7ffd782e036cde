package analysis

import "math"

// times returns the counts as if only the share k of the units were there. The
// log of a block e-variable is proportional to the sizes of the block, because
// its projection depends on their ratio alone; so fewer units temper it to S^k,
// and E[S^k] <= E[S]^k <= 1.
func (p pair) times(k float64) pair { return pair{k * p.nb, k * p.xb, k * p.nc, k * p.xc} }

// dispersion learns by how much stable's counts vary more than independent units
// would: the variance of what a block had, over the variance that its units
// alone explain. Where retries or bursts make one incident many events, their
// evidence would be counted as often. It is of the past only, so tempering by it
// keeps every e-process of independent units one; for dependent ones it is a
// correction that holds in simulation and not by proof.
type dispersion struct{ seen, expected float64 }

const (
	priorSpread  = 3   // the dispersion that is assumed before any is known
	priorEvents  = 4   // and how many expected events that assumption counts for
	spreadMemory = 500 // expected events that are remembered
	caution      = 1.5 // the estimate is one itself
)

// add learns from a block: the squared distance of its count from what the past
// predicted, and the variance of independent units.
func (d *dispersion) add(squared, variance float64) {
	if !(variance > 0) || math.IsInf(squared/variance, 0) {
		return
	}
	d.seen += squared
	d.expected += variance
	if d.expected > spreadMemory {
		d.seen *= spreadMemory / d.expected
		d.expected = spreadMemory
	}
}

// keep is the share of the log evidence that is kept: 1/(1.5 phi), where phi is
// the dispersion and at least 1.
func (d *dispersion) keep() float64 {
	phi := (d.seen + priorSpread*priorEvents) / (d.expected + priorEvents)
	return 1 / (caution * max(phi, 1))
}

// keeps is keep for sums that others made, and 1 for units that were counted once.
func (d *dispersion) keeps(r Reading) float64 {
	if r.Approx {
		return d.keep()
	}
	return 1
}

// mostClump is how many nats one block of sums that others made may say against
// the canary: however large a clump is, it is one incident.
const mostClump = 1

// mostOf is the most that a block may say against the canary, in nats. Capping is
// valid as tempering is: E[min(S, c)] <= E[S].
func mostOf(r Reading) float64 {
	if r.Approx {
		return mostClump
	}
	return math.Inf(1)
}
