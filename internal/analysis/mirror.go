package analysis

import (
	"fmt"
	"math"
)

// mirror judges mirrored requests by pairs: which of the two answers was bad, and
// which was slow. Its evidence begins after the first pairs with mirrorShare of
// all that there is then, so that who mirrors nothing pays nothing.
type mirror struct {
	bad, slow *pairedTest
	begun     bool
	stake     float64 // log of what it began with
	seconds   int
	pairs     float64 // in this step
}

const mirrorShare = 1. / 3

// Copies are sent a little later than what they are copies of, and find caches
// that it has filled or a queue that it is in, so that being slower now and then
// says less than failing alone.
var slowMargins = margins{ratio: 1.5, add: 0.05, promoteRatio: 2, promoteAdd: 0.1}

func newMirror(alpha float64) mirror {
	errors := margins{defaultErrorRatio, defaultErrorAdd, defaultPromoteErrorRatio, defaultPromoteErrorAdd}
	return mirror{bad: newPairedTest(errors, alpha), slow: newPairedTest(slowMargins, alpha)}
}

// impossible says what is wrong with pairs; "" if nothing is.
func (p Pairs) impossible() string {
	if p.CanaryBad > p.Both || p.StableBad > p.Both-p.CanaryBad {
		return fmt.Sprintf("of %d pairs %d and %d have one bad answer", p.Both, p.CanaryBad, p.StableBad)
	}
	if p.CanarySlow > p.Both || p.StableSlow > p.Both-p.CanarySlow {
		return fmt.Sprintf("of %d pairs %d and %d have one slow answer", p.Both, p.CanarySlow, p.StableSlow)
	}
	return ""
}

// begins says whether a block has the first pairs. They say that there are some, and no more.
func (m *mirror) begins(b Block) bool { return !m.begun && b.Pairs.Both > 0 }

// begin takes a share of all the log evidence there is.
func (m *mirror) begin(evidence float64) {
	m.begun, m.stake = true, evidence+math.Log(mirrorShare)
}

// observe takes the pairs of a block.
func (m *mirror) observe(b Block) {
	if b.Pairs.Both == 0 {
		return
	}
	m.bad.observe(b.Pairs.Both, b.Pairs.CanaryBad, b.Pairs.StableBad)
	if !b.Fresh {
		m.slow.observe(b.Pairs.Both, b.Pairs.CanarySlow, b.Pairs.StableSlow)
	}
	m.seconds++
	m.pairs += float64(b.Pairs.Both)
}

// join returns the log evidence with the pairs', given that without it.
func (m *mirror) join(rest float64) float64 {
	if !m.begun {
		return rest
	}
	return logAdd(rest+math.Log1p(-mirrorShare), m.stake+m.evidence())
}

func (m *mirror) evidence() float64 {
	return logAdd(m.bad.evidence(), m.slow.evidence()) - math.Ln2
}

func (m *mirror) nextStep() {
	m.pairs = 0
	m.bad.nextStep()
	m.slow.nextStep()
}

// remaining returns about how many more pairs prove a healthy canary.
func (m *mirror) remaining(passAt float64) float64 {
	return max(m.bad.remaining(passAt), m.slow.remaining(passAt))
}
