package control

import (
	"context"
	"slices"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// points is a rollout's seconds for drawing. Those of one that has ended are
// drawn from its tape alone, so that the picture is the same a year later. While
// it is under way the tape tells what is too long ago for the counts at hand.
func (l *Loop) points(ctx context.Context, r delivery.Rollout, until int64) ([]Point, error) {
	recent := []Point{}
	if !r.State.Final() {
		recent = l.counts.points(routeName(r.Env, r.Service), r.From, r.To, r.Started.Unix(), until)
		if len(recent) > 0 && recent[0].Second < r.Started.Unix()+tuning/2 {
			return recent, nil // all of it is at hand
		}
	}
	out := []Point{}
	err := l.films.read(ctx, l, r.ID, func(f *film) {
		old := f.points
		if len(recent) > 0 {
			old = old[:before(old, recent[0].Second)]
		}
		out = slices.Concat(out, old, recent)
	})
	if err == nil && len(out) == 0 { // no tape: nothing was judged
		out = l.counts.points(routeName(r.Env, r.Service), r.From, r.To, r.Started.Unix(), until)
	}
	return out, err
}

// before is how many points are earlier than a second.
func before(points []Point, second int64) int {
	n, _ := slices.BinarySearchFunc(points, second, func(p Point, at int64) int { return int(p.Second - at) })
	return n
}
