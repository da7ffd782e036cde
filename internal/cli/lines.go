package cli

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// lines prints a line for each thing in the ledger that was not printed yet.
func (f *follower) lines() {
	if f.shown == nil {
		f.shown = map[int64]bool{}
	}
	for _, e := range f.seen.events {
		if f.shown[e.Seq] {
			continue
		}
		f.shown[e.Seq] = true
		if told(e) {
			f.say(f.line(e))
		}
	}
}

// told says whether a line of the ledger is news to whoever watches a change.
func told(e delivery.Event) bool {
	switch e.Kind {
	case delivery.EventMoved, delivery.EventVerdict, delivery.EventAsked, delivery.EventHeld, delivery.EventLifted:
		return true
	case delivery.EventProject, delivery.EventRelease, delivery.EventSubmitted, delivery.EventIntent, delivery.EventStable, delivery.EventInstance, delivery.EventServer:
		return false
	}
	return false
}

func (f *follower) line(e delivery.Event) string {
	l := f.s.look
	return fmt.Sprintf("  %s  %s %s %s", l.faint(e.At.Local().Format(time.TimeOnly)), pad(e.Env, 8), l.sign(signOfEvent(e)), printable(e.Text))
}

// signOfEvent is how a line of the ledger looks.
func signOfEvent(e delivery.Event) sign {
	switch e.Kind {
	case delivery.EventMoved:
		if e.State == delivery.Waiting {
			return signPaused
		}
		return signAt(e.State, nil)
	case delivery.EventHeld:
		return signBlocked
	case delivery.EventStable, delivery.EventLifted:
		return signGood
	case delivery.EventVerdict, delivery.EventAsked, delivery.EventProject, delivery.EventRelease, delivery.EventSubmitted, delivery.EventIntent, delivery.EventInstance, delivery.EventServer:
	}
	return signWaits
}
