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

// judgement is one rollout's judge and how far it has read.
type judgement struct {
	judge *analysis.Judge
	step  int   // whose promotion evidence is collected
	next  int64 // second to read next
}

// listen keeps the counts coming from the data plane until ctx ends.
func (l *Loop) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := l.d.Traffic.Watch(ctx, l.counts.since(), func(f traffic.Frame) {
			l.counts.take(f, time.Now())
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
// there is nothing to judge. Only closed seconds are judged; a second in which
// the split changed is left out.
func (l *Loop) verdict(v *view, r delivery.Rollout) *delivery.Verdict {
	if r.From == "" || r.From == r.To || r.Plan.Judge.Off || !judged(r.State) {
		return nil
	}
	last, heard := l.counts.closed()
	if !heard {
		return nil // this server has not seen any count yet
	}
	route := routeName(r.Env, r.Service)
	j := l.judges[r.ID]
	if j == nil {
		before := l.counts.seconds(route, r.From, r.To, r.Started.Unix()-tuning, r.Started.Unix()-1)
		j = &judgement{judge: analysis.New(r.Plan.Judge, total(before)), step: -1, next: r.Started.Unix()}
		l.judges[r.ID] = j
	}
	for _, s := range l.counts.seconds(route, r.From, r.To, j.next, last) {
		j.read(r, s)
	}
	j.next = max(j.next, last+1)
	word := j.judge.Verdict()
	word.At = v.now
	if j.step != r.Step && word.Outcome == delivery.Pass {
		word.Outcome, word.Sentence = delivery.Inconclusive, "the step has just begun"
	}
	return &word
}

// read gives one second to the judge.
func (j *judgement) read(r delivery.Rollout, s sum) {
	if j.step != r.Step && !r.Shifted.IsZero() && s.Second > r.Shifted.Unix() {
		j.judge.NextStep()
		j.step = r.Step
	}
	switch {
	case s.Mixed:
		j.judge.LeaveOut(s.Second, "the split changed in it")
	case !r.Shifted.IsZero() && s.Second < r.Shifted.Add(r.Plan.Judge.Warmup).Unix():
		j.judge.LeaveOut(s.Second, "warm-up after a weight change")
	case s.Canary.Units == 0 && s.Stable.Units == 0:
	default:
		// A second that cannot be judged makes the verdict an error; the judge keeps the reason.
		_ = j.judge.Observe(s.Block)
	}
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
