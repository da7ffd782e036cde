package web

import (
	"fmt"
	"html/template"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/discreet"
)

// words are the functions of templates.
func words() template.FuncMap {
	return template.FuncMap{
		"asset":     asset,
		"build":     buildName,
		"clock":     clock,
		"ago":       func(t time.Time) string { return ago(time.Now(), t) },
		"stamp":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"percent":   percent,
		"inert":     inert,
		"discreet":  discreet.Value,
		"gateSign":  gateSign,
		"isCommand": isCommand,
		"glyphs":    signGlyphs,
		"links":     linksOfWay,
		"signOf":    signOf,
		"stateOf":   stateOf,
		"signedIn":  func(who delivery.Who) bool { return who.Access != delivery.Nobody && !who.Anonymous },
		"may":       func(who delivery.Who, need string) bool { return who.Access.Allows(delivery.Access(need)) },
	}
}

// sign is how a thing stands, in the one vocabulary of all pages: a glyph (an
// icon of static/icons.svg), a word and a colour, never a colour alone.
type sign struct {
	Icon  string // "good", and a symbol of the icons
	Word  string // for people
	Class string // "is-good", for the colour
}

// The signs.
var (
	signWaiting    = sign{"waiting", "waiting", "is-quiet"}
	signRunning    = sign{"running", "running", "is-run"}
	signGood       = sign{"good", "good", "is-good"}
	signFailed     = sign{"failed", "failed", "is-bad"}
	signBack       = sign{"back", "rolled back", "is-bad"}
	signPaused     = sign{"paused", "paused", "is-warn"}
	signBlocked    = sign{"blocked", "blocked", "is-bad"}
	signUnknown    = sign{"unknown", "not enough data", "is-warn"}
	signSuperseded = sign{"superseded", "superseded", "is-quiet"}
)

// signOf returns the sign of an outcome.
func signOf(o delivery.Outcome) sign {
	switch o {
	case delivery.Pass:
		return sign{"good", "no worse", "is-good"}
	case delivery.Fail:
		return sign{"failed", "worse", "is-bad"}
	case delivery.Broken:
		return sign{"failed", "cannot be judged", "is-warn"}
	case delivery.NoData:
		return sign{"unknown", "no data", "is-warn"}
	case delivery.Inconclusive:
		return signUnknown
	}
	return signUnknown
}

// stateOf returns the sign of a rollout.
func stateOf(r delivery.Rollout) sign {
	if r.Paused != nil && !r.State.Final() {
		return signPaused
	}
	switch r.State {
	case delivery.Queued:
		return signWaiting
	case delivery.Waiting:
		return signPaused
	case delivery.Preparing, delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Finishing, delivery.Soaking:
		return sign{signRunning.Icon, string(r.State), signRunning.Class}
	case delivery.Done:
		return sign{signGood.Icon, "done", signGood.Class}
	case delivery.Reverting:
		return sign{signBack.Icon, "going back", signBack.Class}
	case delivery.Reverted:
		return signBack
	case delivery.RevertFailed:
		return sign{signFailed.Icon, "could not go back", signFailed.Class}
	case delivery.Superseded:
		return signSuperseded
	case delivery.Cancelled:
		return sign{signSuperseded.Icon, "cancelled", signSuperseded.Class}
	}
	return sign{signUnknown.Icon, string(r.State), signUnknown.Class}
}

// clock is a time of day with its zone, and the day when that is not today.
func clock(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case sameDay(t, time.Now()):
		return t.Local().Format("15:04:05 MST")
	}
	return t.Local().Format("2006-01-02 15:04 MST")
}

// sameDay reports whether two moments are of one day in the zone of the server.
func sameDay(a, b time.Time) bool {
	a, b = a.Local(), b.Local()
	return a.YearDay() == b.YearDay() && a.Year() == b.Year()
}

// ago is how long ago t was, no finer than minutes: a page that shows it changes
// no more often.
func ago(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return ""
	case d < time.Minute:
		return "just now"
	default:
		return age(d) + " ago"
	}
}

// shortAge is how long something is so, for the cell of a table: "3 h".
func shortAge(since time.Time) string {
	switch d := time.Since(since); {
	case since.IsZero():
		return ""
	case d < time.Minute:
		return "now"
	default:
		return age(d)
	}
}

// age writes a time of a minute or more in one unit.
func age(d time.Duration) string {
	switch {
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d/time.Minute))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d/time.Hour))
	}
	return fmt.Sprintf("%d d", int(d/(24*time.Hour)))
}

// percent writes a share from 0 to 1 with as many digits as tell it from nothing.
func percent(share float64) string {
	switch p := share * 100; {
	case p == 0:
		return "0 %"
	case p < 0.095:
		return fmt.Sprintf("%.2f %%", p)
	case p < 9.95:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}
