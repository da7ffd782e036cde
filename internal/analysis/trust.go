package analysis

import "math"

// trust watches whether the two releases can be compared at all: whether the
// split was carried out as it was set, and whether requests vanish from one of
// them. Once there is an alarm nothing is judged any more in this step, and what
// was judged before is no evidence either, as it may have been false already.
type trust struct {
	why   string // of the alarm in this step
	split mismatch
	loss  loss
	lost  bool // a request was lost before; until then there is nothing to test
}

func newTrust() trust { return trust{split: newMismatch(), loss: newLoss()} }

// observe takes the next second and says whether it can be judged.
func (t *trust) observe(b Block) bool {
	t.split.observe(b.Weight, b.Stable.Drawn, b.Canary.Drawn)
	if t.lost {
		t.loss.observe(b)
	} else { // the second of the first loss is no evidence: it was chosen for it
		t.lost = b.Stable.Lost+b.Canary.Lost > 0
	}
	if t.why != "" {
		return false
	}
	if bad, why := t.split.invalid(); bad {
		t.why = why
	} else if bad, why := t.loss.invalid(); bad {
		t.why = why
	}
	return t.why == ""
}

// doubt is the evidence that the split is not carried out, or that the release is
// worse, from which on nothing passes: the chance of that much is one in twenty if it
// is not so, and an alarm or a failure needs more.
const doubt = 20

// suspect says that the split may not be carried out; "" if nothing points at it.
func (t *trust) suspect() string {
	if t.split.process.evidence() < math.Log(doubt) {
		return ""
	}
	return "the split may not be carried out as set: " + t.split.drawn()
}
