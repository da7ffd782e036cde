package cli

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// unsettled is how long a rollout may wait for a thing before it is worth a
// line: most waits are over before anyone has read of them.
const unsettled = 3 * time.Second

// lines prints a line for each thing that is news: what the ledger says since
// the last look, and what is waited for longer than usual.
func (f *follower) lines() {
	if f.said == nil {
		f.said = map[string]bool{}
	}
	for _, e := range f.seen.events[f.told:] {
		if t := taleOf(e); t.worth && e.Seq > f.after && e.Kind != delivery.EventSubmitted {
			f.line(e.At, e.Env, t.sign, t.text)
		}
	}
	f.told = len(f.seen.events)
	for _, r := range f.seen.whole.Rollouts {
		f.waiting(r)
	}
}

// waiting says what a rollout waits for, once for each thing in each step.
func (f *follower) waiting(r delivery.Rollout) {
	b := r.Waiting
	if b == nil || person(b) || b.On == "hold" || b.On == "soak" || f.seen.now.Sub(b.Since) < unsettled {
		return
	}
	what := fmt.Sprintf("%s/%d/%s/%s", r.ID, r.Step, r.State, b.What)
	if b.On == "not enough data" {
		what = fmt.Sprintf("%s/%d/%s", r.ID, r.Step, b.On)
	}
	if f.said[what] {
		return
	}
	f.said[what] = true
	f.line(f.seen.now, r.Env, signOf(r), printable(b.What))
}

func (f *follower) line(at time.Time, env string, g sign, text string) {
	l := f.s.look
	f.say(fmt.Sprintf("  %s  %s %s %s", l.faint(at.Local().Format(time.TimeOnly)), pad(env, 8), l.sign(g), text))
}
