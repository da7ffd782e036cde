package control

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/workload"
)

// judgement is one rollout's judge, the tape of all that it was told, and how far
// it has read.
type judgement struct {
	tape  *analysis.Recorder
	step  int              // whose promotion evidence is collected; -1 before the first
	next  int64            // second to read next
	told  map[string]int64 // metric -> second of the block that its last good reading went with
	loose int              // seconds told since the tape was last kept
	kept  time.Time        // when that was
}

// maxLoose bounds what a judge is told before it is kept, so that a part of a
// tape never grows beyond what the store takes. It waits while nothing can be kept.
const maxLoose = 300

// tapeEvery is how often a tape is kept while the rollout does not move.
const tapeEvery = 10 * time.Second

// judgement returns the judge of a rollout: the one at work, the one that is on
// tape, where the server before this one left it, or else a new one. That is nil
// until the counts from before the rollout are there.
func (l *Loop) judgement(ctx context.Context, r delivery.Rollout, heard bool) (*judgement, error) {
	if j := l.judges[r.ID]; j != nil {
		return j, nil
	}
	parts, err := l.d.Store.Tape(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	j := &judgement{step: -1, next: r.Started.Unix(), told: map[string]int64{}, kept: time.Now()}
	switch {
	case len(parts) > 0:
		err = j.resume(parts)
	case !heard:
		return nil, nil
	default:
		before := l.counts.seconds(routeName(r.Env, r.Service), r.From, r.To, r.Started.Unix()-tuning, r.Started.Unix()-1)
		j.tape, err = analysis.Record(r.Plan.Judge, total(before))
	}
	if err != nil {
		return nil, fmt.Errorf("control: tape of %s: %w", r.ID, err)
	}
	l.judges[r.ID] = j
	return j, nil
}

// resume goes on where a tape ends.
func (j *judgement) resume(parts [][]byte) (err error) {
	j.tape, err = analysis.Resume(parts, func(e analysis.Entry) {
		if e.Step {
			j.step++
		}
		for _, reading := range e.Block.Readings {
			if reading.Wrong == "" {
				j.told[reading.Metric] = e.Block.Second
			}
		}
	})
	if err != nil {
		return err
	}
	if next, any := j.tape.Next(); any {
		j.next = next
	}
	return nil
}

// feed tells a judge all seconds up to last that it does not know yet.
func (l *Loop) feed(v *view, r delivery.Rollout, j *judgement, last int64) {
	last = min(last, j.next+int64(maxLoose-j.loose)-1)
	if last < j.next {
		return
	}
	route := routeName(r.Env, r.Service)
	arms := embedded.Arms{Route: route, Stable: r.From, Canary: r.To, First: j.next, Last: last}
	by := map[int64]*sum{}
	for _, s := range l.counts.Seconds(arms) {
		by[s.Second] = &s
	}
	l.atCallers(r, arms, by)
	for _, m := range r.Plan.Judge.Metrics {
		fill := func(x *metric.Reading) { l.exposed(m, r, x) }
		for _, x := range l.readers.due(dueOf{readKey{r.ID, m.Name}, j, r, by, last}, fill) {
			at(by, x.Second).Readings = append(at(by, x.Second).Readings, x.Reading)
			if x.Wrong == "" {
				j.told[m.Name] = x.Second
			}
		}
	}
	lost := l.lost(v, r, arms)
	cold := analysis.Defaults(r.Plan.Judge).Cold
	for _, second := range slices.Sorted(maps.Keys(by)) {
		s := by[second]
		s.Stable.Lost, s.Canary.Lost = lost[second].stable, lost[second].canary
		s.Fresh = l.young(v, r, time.Unix(second, 0).Add(-cold))
		j.read(r, *s)
	}
	j.next = last + 1
}

// at is the second of that time, which is made if nobody asked anything in it.
func at(by map[int64]*sum, second int64) *sum {
	if by[second] == nil {
		by[second] = &sum{Block: analysis.Block{Second: second}}
	}
	return by[second]
}

// read gives one second to the judge.
func (j *judgement) read(r delivery.Rollout, s sum) {
	for j.step < r.Step && !r.Shifted.IsZero() && s.Second > r.Shifted.Unix() {
		j.tape.NextStep()
		j.step++
	}
	switch why := leftOut(r, s); {
	case why != "":
		j.tape.LeaveOut(s.Second, why)
	case s.Stable.Units+s.Canary.Units+s.Pairs.Both == 0 && len(s.Readings) == 0:
		return
	default:
		// A second that cannot be judged makes the verdict an error; the judge keeps the reason.
		_ = j.tape.Observe(s.Block)
	}
	j.loose++
}

// leftOut says why a second is no evidence; "" if it is.
func leftOut(r delivery.Rollout, s sum) string {
	switch {
	case s.Mixed:
		return "the split changed in it"
	case warming(r, s.Second):
		return "warm-up after a weight change"
	}
	return ""
}

func warming(r delivery.Rollout, second int64) bool {
	return !r.Shifted.IsZero() && r.Plan.Judge.Warmup > 0 && second < r.Shifted.Add(r.Plan.Judge.Warmup).Unix() && second >= r.Shifted.Unix()
}

// atCallers adds what shows at the services that call this one, where each
// request was counted by the release that its key is drawn to here.
func (l *Loop) atCallers(r delivery.Rollout, arms embedded.Arms, by map[int64]*sum) {
	seen := map[string][]sum{} // two metrics look at each caller
	for _, m := range r.Plan.Judge.Metrics {
		if len(m.Callers) == 0 {
			continue
		}
		var routes []string
		for _, caller := range m.Callers {
			routes = append(routes, routeName(r.Env, caller))
		}
		key := fmt.Sprint(routes)
		if seen[key] == nil {
			seen[key] = l.counts.AtCallers(arms, routes)
		}
		for _, s := range seen[key] {
			if s.Mixed || s.Stable.Units == 0 && s.Canary.Units == 0 {
				continue
			}
			at(by, s.Second).Readings = append(at(by, s.Second).Readings, analysis.Reading{
				Metric: m.Name, Seconds: 1, Stable: valueOf(m.Kind, s.Stable), Canary: valueOf(m.Kind, s.Canary),
			})
		}
	}
}

// valueOf is what an arm's requests are worth as evidence for a metric: a key
// that is in lasting trouble is no new evidence each second.
func valueOf(kind delivery.MetricKind, a analysis.Arm) analysis.Value {
	again := analysis.Arm{}
	if a.Again != nil {
		again = *a.Again
	}
	v := analysis.Value{N: float64(a.Units - min(again.Units, a.Units))}
	if kind == delivery.KindShare {
		v.Sum = float64(a.Bad - min(again.Bad, a.Bad))
		return v
	}
	v.Bins = make(map[int]uint32, len(a.Bins))
	for bin, n := range a.Bins {
		if left := n - min(again.Bins[bin], n); left > 0 {
			v.Bins[bin] = left
		}
	}
	return v
}

// vanished counts the requests of both arms of which nothing was heard.
type vanished struct{ stable, canary uint64 }

// patience is how much longer than its route allows a request may take until it
// counts as lost; and longest is from when on nobody waits to tell.
const (
	lostPatience = 5 * time.Second
	lostLongest  = 10 * time.Minute
)

// lost says which requests of long ago were never answered, by the seconds that
// are read now: those in which their time was over.
func (l *Loop) lost(v *view, r delivery.Rollout, arms embedded.Arms) map[int64]vanished {
	svc, _ := v.Project.Service(r.Service)
	timeout := cmp.Or(svc.Traffic.Timeout, time.Minute) + lostPatience
	if timeout > lostLongest {
		return nil
	}
	later := int64(timeout / time.Second)
	arms.First, arms.Last = max(arms.First-later, r.Started.Unix()), arms.Last-later
	out := map[int64]vanished{}
	for _, s := range l.counts.Seconds(arms) {
		if s.Stable.Open+s.Canary.Open > 0 {
			out[s.Second+later] = vanished{s.Stable.Open, s.Canary.Open}
		}
	}
	return out
}

// young says whether an instance of the new release has been serving only since
// after a time. One that a server found running when it came up is as old as its process.
func (l *Loop) young(v *view, r delivery.Rollout, after time.Time) bool {
	return slices.ContainsFunc(v.statuses, func(s workload.Status) bool {
		if s.Spec.Service != r.Service || s.Spec.Env != r.Env || s.Spec.Release != r.To || s.Phase != workload.Ready {
			return false
		}
		since := s.Since
		if since.IsZero() || s.Started.Before(l.up) && since.After(l.up) {
			since = s.Started
		}
		return since.After(after)
	})
}
