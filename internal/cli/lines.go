package cli

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
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
	if b.On == "not enough data" {
		f.proving(r, b)
		return
	}
	what := fmt.Sprintf("%s/%d/%s/%s", r.ID, r.Step, r.State, b.What)
	if f.said[what] {
		return
	}
	f.said[what] = true
	f.line(f.seen.now, r.Env, signOf(r), printable(b.What))
}

// betweenProofs is the least time between two lines about the same proof.
const betweenProofs = 15 * time.Second

// proof is what was last said of the proof that a rollout waits for.
type proof struct {
	at   time.Time
	step int
	text string
}

// proving says what the judge makes of a rollout that waits for proof: at once
// in each step, and then when it says something else, not more often than every
// betweenProofs. A count that grew is nothing else.
func (f *follower) proving(r delivery.Rollout, b *delivery.Blocker) {
	text := b.What
	if v := f.seen.live[r.ID].Verdict; v != nil && v.Sentence != "" {
		text = v.Sentence
	}
	last, told := f.proofs[r.ID]
	if told && last.step == r.Step && (f.seen.now.Sub(last.at) < betweenProofs || gist(last.text) == gist(text)) {
		return
	}
	if f.proofs == nil {
		f.proofs = map[delivery.RolloutID]proof{}
	}
	f.proofs[r.ID] = proof{f.seen.now, r.Step, text}
	f.line(f.seen.now, r.Env, signOf(r), printable(text))
}

// gist is a sentence with its whole numbers rounded to powers of two: of 12 and
// 15 requests it is the same, of 12 and 40 it is not.
func gist(sentence string) string {
	var b strings.Builder
	rest := strings.ReplaceAll(sentence, ",", "")
	for point := false; rest != ""; {
		var first string
		first, rest = delivery.Chunk(rest)
		n, err := strconv.ParseUint(first, 10, 64)
		switch {
		case err != nil:
			b.WriteString(first)
		case !point:
			fmt.Fprintf(&b, "2^%d", bits.Len64(n))
		}
		point = strings.HasSuffix(first, ".")
	}
	return b.String()
}

func (f *follower) line(at time.Time, env string, g sign, text string) {
	l := f.s.look
	f.say(fmt.Sprintf("  %s  %s %s %s", l.faint(at.Local().Format(time.TimeOnly)), pad(env, 8), l.sign(g), text))
}
