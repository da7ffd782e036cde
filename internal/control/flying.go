package control

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
)

// Flying is one rollout under way, with what happened to it lately.
type Flying struct {
	Rollout delivery.Rollout  `json:"rollout"`
	Flight  delivery.Flight   `json:"in_flight"`
	Verdict *delivery.Verdict `json:"verdict"`
	Lately  []Point           `json:"lately"` // of both arms, a few seconds each
}

// lately is how far back Flying tells what happened, and LatelyStep how many seconds
// are one point of it.
const (
	lately     = 5 * time.Minute
	LatelyStep = 10
)

// Flying lists the rollouts that are under way, of one service or of all (""): first
// those that need a person or go back, then the newest. It returns most of them at
// most, and how many there are.
func (l *Loop) Flying(ctx context.Context, service string, most int) ([]Flying, int, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return nil, 0, err
	}
	open := slices.DeleteFunc(slices.Clone(o.Rollouts), func(r delivery.Rollout) bool { return service != "" && r.Service != service })
	all := slices.SortedFunc(slices.Values(open), func(a, b delivery.Rollout) int {
		return cmp.Or(cmp.Compare(urgency(a), urgency(b)), cmp.Compare(b.Seq, a.Seq))
	})
	verdicts := l.picture().verdicts
	now := time.Now()
	l.strips.keep(o.Rollouts)
	out := make([]Flying, 0, min(most, len(all)))
	for _, r := range all[:min(most, len(all))] {
		f := Flying{Rollout: r, Flight: *promotion.Brief(r), Verdict: r.Verdict}
		if f.Lately, err = l.lately(ctx, r, now); err != nil {
			return nil, 0, err
		}
		if v, ok := verdicts[r.ID]; ok {
			f.Verdict = &v
		}
		out = append(out, f)
	}
	return out, len(all), nil
}

// urgency orders rollouts: what needs a person or goes back comes before what goes
// on by itself, and that before what has not begun.
func urgency(r delivery.Rollout) int {
	switch {
	case r.State == delivery.Reverting || r.Waiting != nil && (r.Waiting.Who != "" || r.Waiting.On == "incident"):
		return 0
	case r.State.Active():
		return 1
	}
	return 2
}

// lately sums up the last minutes of a rollout, in points of a few seconds that
// begin at round times: the same point is the same the next time it is asked for.
// It is worked out once, however many look.
func (l *Loop) lately(ctx context.Context, r delivery.Rollout, now time.Time) ([]Point, error) {
	last, known := l.counts.closed()
	if r.Exposed.IsZero() || r.From == "" || !known {
		return []Point{}, nil
	}
	first := max(r.Exposed.Unix(), now.Add(-lately).Unix())
	first -= first % LatelyStep
	last -= (last + 1) % LatelyStep
	if last < first {
		return []Point{}, nil
	}
	return l.strips.of(r.ID).get(ctx, [2]int64{first, last}, func(context.Context) ([]Point, error) {
		return l.bySteps(r, first, last), nil
	})
}

// bySteps adds up the seconds of a rollout from first to last.
func (l *Loop) bySteps(r delivery.Rollout, first, last int64) []Point {
	byStep := make([]Point, 0, (last-first+1)/LatelyStep)
	for _, p := range l.counts.points(routeName(r.Env, r.Service), r.From, r.To, first, last) {
		at := p.Second - p.Second%LatelyStep
		if n := len(byStep); n == 0 || byStep[n-1].Second != at {
			byStep = append(byStep, Point{Second: at})
		}
		sum := &byStep[len(byStep)-1]
		sum.Stable.add(p.Stable)
		sum.Canary.add(p.Canary)
	}
	return byStep
}

// add adds what an arm did in another second; of the latency the slowest counts.
func (s *Side) add(other Side) {
	s.Requests += other.Requests
	s.Units += other.Units
	s.Bad += other.Bad
	s.P95 = max(s.P95, other.P95)
}

// strips is what happened lately to each rollout under way, as it was last worked out.
type strips struct {
	mu sync.Mutex
	by map[delivery.RolloutID]*shared[[2]int64, []Point]
}

func (s *strips) of(id delivery.RolloutID) *shared[[2]int64, []Point] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = map[delivery.RolloutID]*shared[[2]int64, []Point]{}
	}
	if s.by[id] == nil {
		s.by[id] = &shared[[2]int64, []Point]{}
	}
	return s.by[id]
}

// keep forgets the rollouts that are over.
func (s *strips) keep(open []delivery.Rollout) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.by, func(id delivery.RolloutID, _ *shared[[2]int64, []Point]) bool {
		return !slices.ContainsFunc(open, func(r delivery.Rollout) bool { return r.ID == id })
	})
}
