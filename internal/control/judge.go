package control

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// tuning is how much of the time before a rollout tunes its judge, in seconds.
const tuning = 600

// listen keeps the counts coming from the data plane until ctx ends.
func (l *Loop) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.d.Traffic.Watch(ctx, l.counts.since(), func(f traffic.Frame) {
			l.counts.take(f, time.Now())
			if l.d.Telemetry.Failed != nil {
				l.d.Telemetry.Failed(f.Failed)
			}
			l.Ring()
		})
		if ctx.Err() != nil {
			return
		}
		l.d.Log.DebugContext(ctx, "the data plane's counts stopped; asking again", slog.Any("error", err))
		pause := time.NewTimer(time.Second / 4)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// verdict brings a rollout's judge up to date and returns its word, or nil when
// there is nothing to judge. Only closed seconds are judged. While nothing was
// heard from the data plane yet that is no silence of its callers: the word is
// then what it was before the server came up, or that there is none.
func (l *Loop) verdict(ctx context.Context, v *view, r delivery.Rollout) *delivery.Verdict {
	if r.From == "" || r.From == r.To || r.Plan.Judge.Off || !judged(r.State) {
		return nil
	}
	last, heard := l.counts.closed()
	j, err := l.judgement(ctx, r, heard)
	switch {
	case err != nil:
		l.d.Log.ErrorContext(ctx, "the judge cannot go on; will try again", slog.Int64("change", int64(r.Change)), slog.String("rollout", string(r.ID)), slog.Any("error", err))
		return &delivery.Verdict{Outcome: delivery.Broken, Sentence: cannotGoOn + err.Error(), Checks: []delivery.Check{}, At: v.now}
	case j == nil:
		return &delivery.Verdict{Outcome: delivery.Inconclusive, Sentence: unheard, Checks: []delivery.Check{}, At: v.now}
	}
	if heard {
		l.feed(v, r, j, last)
		l.ask(ctx, v, r, j)
	}
	word := begun(j.tape.Verdict(), j.step >= r.Step)
	word.At = v.now
	return &word
}

// What is said while the judge cannot be asked.
const (
	cannotGoOn = "the judge cannot go on: "
	unheard    = "the data plane has told no counts yet"
)

// justBegun is what is said of a step whose first second is not judged yet.
const justBegun = "the step has just begun"

// begun takes a pass back that is of the step before.
func begun(word delivery.Verdict, here bool) delivery.Verdict {
	if !here && word.Outcome == delivery.Pass {
		word.Outcome, word.Sentence = delivery.Inconclusive, justBegun
	}
	return word
}

// judged says in which states the judge is asked.
func judged(s delivery.State) bool {
	switch s {
	case delivery.Shifting, delivery.Judging, delivery.Waiting, delivery.Finishing, delivery.Soaking, delivery.Reverting:
		return true
	case delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Done, delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled:
		return false
	}
	return false
}

// total adds up the stable arm.
func total(blocks []sum) analysis.Arm {
	out := analysis.Arm{Bins: map[int]uint32{}}
	for _, b := range blocks {
		out.Units += b.Stable.Units
		out.Bad += b.Stable.Bad
		out.Open += b.Stable.Open
		for bin, n := range b.Stable.Bins {
			out.Bins[bin] += n
		}
	}
	return out
}
