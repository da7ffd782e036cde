package analysis

import (
	"fmt"
	"math"
)

// mismatch tests whether the split was carried out as it was set (a sample-ratio
// mismatch): each sticky key that was made for a unit was drawn once, with the
// chance Weight for the canary. Where that is not so, the two releases were asked
// by different callers, and no comparison of them means anything.
//
//	E = mean over rho of prod (q/w)^c ((1-q)/(1-w))^(n-c), q = w rho/(w rho + 1 - w)
//
// is a martingale if each draw has the chance w that was in force for it, and so
// however the weight changes; a fixed-size test looked at again and again is not.
type mismatch struct {
	process  mixture
	keys     float64 // drawn
	canary   float64 // of them, to the canary
	expected float64 // to the canary
	fewer    float64 // log of how much likelier these draws are if hollow of the canary's are not counted than if all are
	found    bool
}

// A pass wants all of the canary's callers to be counted: those that are not may
// well be those that failed. That hollow of them are missing must be the unlikelier
// story by a factor of e^likelier, which is a test of it at 5 %. It is asked for where
// about enoughDraws were meant for the canary; of fewer it can hardly be told.
const (
	hollow      = 0.1
	likelier    = 3
	enoughDraws = 400
)

// mismatches are the factors by which the canary's odds may be off.
var mismatches = [...]float64{.8, .87, .93, .97, 1.03, 1.07, 1.15, 1.25}

// mismatchAlpha is the chance to call a split wrong that is not.
const mismatchAlpha = 0.001

func newMismatch() mismatch { return mismatch{process: newMixture(len(mismatches))} }

// observe takes one block's drawn keys, under the weight that was in force. A
// weight that is not known, or that leaves nothing to chance, says nothing.
func (m *mismatch) observe(weight float64, drawnStable, drawnCanary uint64) {
	if !(weight > 0 && weight < 1) || drawnStable+drawnCanary == 0 {
		return
	}
	b, c := float64(drawnStable), float64(drawnCanary)
	for k, rho := range mismatches {
		m.process.win(k, offBy(rho, weight, b, c))
	}
	m.fewer += offBy(1-hollow, weight, b, c)
	m.process.close()
	m.keys += b + c
	m.canary += c
	m.expected += (b + c) * weight
	m.found = m.found || m.process.evidence() >= -math.Log(mismatchAlpha)
}

// offBy is the log of how much likelier b and c draws are if the canary's odds
// are off by the factor rho.
func offBy(rho, weight, b, c float64) float64 {
	total := math.Log1p(weight * (rho - 1))
	return c*(math.Log(rho)-total) - b*total
}

// missing says whether callers of the canary may not be counted. That is no
// evidence that they are not, for which invalid waits, and keeps a release from
// passing before there can be any.
func (m *mismatch) missing() bool { return m.expected >= enoughDraws && m.fewer > -likelier }

// invalid says whether the split was not carried out, and with what numbers. It
// stays so for the rollout.
func (m *mismatch) invalid() (bool, string) {
	if !m.found {
		return false, ""
	}
	return true, fmt.Sprintf("the split is not carried out as set: %s, so the two releases are not asked by the same kind of callers", m.drawn())
}

// drawn says who was sent where.
func (m *mismatch) drawn() string {
	return fmt.Sprintf("%s of %s new callers were sent to the new release, about %s were meant to be",
		count(uint64(m.canary)), count(uint64(m.keys)), count(uint64(math.Round(m.expected))))
}

// loss tests whether requests vanish from one arm more than from the other: such
// requests are counted nowhere, and may well be those that failed. Lost requests
// come in bunches, so the evidence is tempered.
type loss struct{ canary, stable *countTest }

// The part of lost requests by which the arms may differ.
const (
	lossRatio = 1.5
	lossAdd   = 0.001 // a unit
)

func newLoss() loss {
	fresh := func() *countTest {
		return &countTest{
			limits: [2]line{{lossRatio, 0}, {1, lossAdd}}, fit: line{lossRatio, lossAdd},
			against: newMixture(len(multiples)), promote: newMixture(1), kept: 1,
		}
	}
	return loss{canary: fresh(), stable: fresh()}
}

func (l loss) observe(b Block) {
	stable := Value{N: float64(b.Stable.Units), Sum: float64(b.Stable.Lost)}
	canary := Value{N: float64(b.Canary.Units), Sum: float64(b.Canary.Lost)}
	l.canary.observe(Reading{Stable: stable, Canary: canary, Approx: true})
	l.stable.observe(Reading{Stable: canary, Canary: stable, Approx: true})
}

// invalid says whether one arm loses more requests than the other. It stays so.
func (l loss) invalid() (bool, string) {
	limit := math.Log(2 / mismatchAlpha)
	if l.canary.peak() < limit && l.stable.peak() < limit {
		return false, ""
	}
	e := l.canary.estimates()
	return true, fmt.Sprintf("requests vanish: nothing was heard again of %s to the new release (%s callers) and of %s to stable (%s callers), so their outcomes cannot be compared",
		count(uint64(e.badCanary)), count(uint64(e.nCanary)), count(uint64(e.badStable)), count(uint64(e.nStable)))
}
