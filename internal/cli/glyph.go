package cli

import (
	"github.com/slipway-cd/slipway/internal/delivery"
)

// sign is one of the nine states there are, everywhere: a glyph, a word and a
// tone. The glyph alone says it; the tone only helps.
type sign struct{ glyph, word, tone string }

var (
	signWaits      = sign{"○", "waiting", toneFaint}
	signRuns       = sign{"◐", "running", toneRun}
	signGood       = sign{"✔", "good", toneGood}
	signBad        = sign{"✖", "failed", toneBad}
	signBack       = sign{"↩", "rolled back", toneWarn}
	signPaused     = sign{"⏸", "paused for a person", toneWarn}
	signBlocked    = sign{"⛔", "blocked", toneBad}
	signNoData     = sign{"?", "not enough data", toneWarn}
	signSuperseded = sign{"–", "superseded", toneFaint}
)

func (l look) sign(s sign) string { return l.in(s.tone, s.glyph) }

// signOf is how a rollout stands.
func signOf(r delivery.Rollout) sign { return signAt(r.State, r.Waiting) }

func signAt(state delivery.State, waiting *delivery.Blocker) sign {
	switch state {
	case delivery.Done:
		return signGood
	case delivery.Reverting, delivery.Reverted:
		return signBack
	case delivery.RevertFailed:
		return signBad
	case delivery.Superseded, delivery.Cancelled:
		return signSuperseded
	case delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Waiting, delivery.Finishing, delivery.Soaking:
	}
	switch {
	case person(waiting) && waiting.On == "hold":
		return signBlocked
	case person(waiting):
		return signPaused
	case waiting != nil && waiting.On == "not enough data":
		return signNoData
	case state == delivery.Queued:
		return signWaits
	}
	return signRuns
}

// person reports whether only a person ends what b waits for.
func person(b *delivery.Blocker) bool {
	if b == nil {
		return false
	}
	switch b.On {
	case "approval", "decision", "pause":
		return true
	case "hold": // of a step it passes by itself; of a service it does not
		return b.Who != ""
	}
	return false
}

// signOfGate is how one condition stands.
func signOfGate(g delivery.Gate) sign {
	switch g.Outcome {
	case delivery.GatePass:
		return signGood
	case delivery.GateWaits:
		return signRuns
	case delivery.GateBlocked:
		return signBad
	}
	return signNoData
}

// signOfCheck is what the judge says of one metric.
func signOfCheck(o delivery.Outcome) sign {
	switch o {
	case delivery.Pass:
		return signGood
	case delivery.Fail:
		return signBad
	case delivery.Inconclusive, delivery.NoData:
		return signNoData
	case delivery.Broken:
		return signBad
	}
	return signNoData
}
