package cli

import (
	"encoding/json"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// tale is a line of the ledger in the words of a person who watches.
type tale struct {
	sign    sign
	version string // that it is about, if it is about one
	text    string
	worth   bool // it is news; the ledger also keeps every breath
}

// moved is what a line about a rollout carries for machines.
type moved struct {
	From    delivery.State    `json:"from"`
	Weight  delivery.Weight   `json:"weight"`
	Waiting *delivery.Blocker `json:"waiting_on"`
	Verdict *delivery.Verdict `json:"verdict"`
}

// taleOf tells a line of the ledger.
func taleOf(e delivery.Event) tale {
	t := tale{sign: signWaits, text: printable(e.Text), worth: true}
	switch e.Kind {
	case delivery.EventMoved:
		return moving(e, t)
	case delivery.EventHeld:
		t.sign = signBlocked
	case delivery.EventLifted:
		t.sign = signGood
	case delivery.EventStable, delivery.EventIntent, delivery.EventInstance, delivery.EventRelease, delivery.EventVerdict:
		t.worth = false // another line says it, or nobody asked
	case delivery.EventSubmitted, delivery.EventAsked, delivery.EventProject, delivery.EventServer, delivery.EventAccess:
	}
	return t
}

// moving tells of a rollout that moved. One that only waits for something else
// than before is no news.
func moving(e delivery.Event, t tale) tale {
	var d moved
	if len(e.Data) > 0 && json.Unmarshal(e.Data, &d) != nil {
		return t
	}
	if version, rest, ok := strings.Cut(t.text, " in "+e.Env+": "); ok {
		t.version, t.text = version, rest
	}
	t.sign = signAt(e.State, nil)
	passed := d.Verdict != nil && d.Verdict.Outcome == delivery.Pass
	switch {
	case d.From == e.State:
		t.worth = person(d.Waiting)
		t.sign = signAt(e.State, d.Waiting)
	case e.State == delivery.Queued:
		version, _, _ := strings.Cut(t.text, " queued for ")
		t.version, t.text = version, "queued"
	case e.State == delivery.Starting:
		t.text = "starting"
	case e.State == delivery.Judging:
		t.text = d.Weight.String()
	case (e.State == delivery.Shifting || e.State == delivery.Finishing) && d.From == delivery.Judging && passed:
		t.sign, t.text = signGood, "no worse"+sample(d.Verdict)
	case e.State == delivery.Preparing || e.State == delivery.Shifting || e.State == delivery.Finishing || e.State == delivery.Soaking:
		t.worth = false
	case e.State == delivery.Waiting:
		t.sign = signPaused
	case e.State == delivery.Done:
		t.text = "done"
	case e.State == delivery.Reverting:
		t.sign = signBad
		if d.Verdict != nil && d.Verdict.Outcome == delivery.Fail {
			t.text = failed(d.Verdict, t.text)
		}
	case e.State == delivery.Reverted:
		t.text, _, _ = strings.Cut(t.text, "; ")
	}
	return t
}

// failed is the sentence of the check that failed, or else what was said.
func failed(v *delivery.Verdict, otherwise string) string {
	for _, c := range v.Checks {
		if c.Outcome == delivery.Fail && c.Sentence != "" {
			return c.Sentence
		}
	}
	return otherwise
}
