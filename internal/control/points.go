package control

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// points is a rollout's seconds for drawing. Those of one that has ended are
// drawn from its tape alone, so that the picture is the same a year later. While
// it is under way the tape tells what is too long ago for the counts at hand.
func (l *Loop) points(ctx context.Context, r delivery.Rollout, until time.Time) ([]Point, error) {
	recent := []Point{}
	if !r.State.Final() {
		recent = l.counts.points(routeName(r.Env, r.Service), r.From, r.To, r.Started.Unix(), until.Unix())
		if len(recent) > 0 && recent[0].Second < r.Started.Unix()+tuning/2 {
			return recent, nil // all of it is at hand
		}
	}
	parts, err := l.d.Store.Tape(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if len(parts) == 0 {
		return l.counts.points(routeName(r.Env, r.Service), r.From, r.To, r.Started.Unix(), until.Unix()), nil
	}
	out := []Point{}
	_, err = analysis.Entries(parts, func(e analysis.Entry) {
		b := e.Block
		if e.Step || e.Left != "" || b.Stable.Units+b.Canary.Units == 0 || len(recent) > 0 && b.Second >= recent[0].Second {
			return
		}
		p := Point{Second: b.Second, Stable: side(b.Stable), Canary: side(b.Canary)}
		p.Stable.Requests, p.Canary.Requests = b.Stable.Units, b.Canary.Units // a tape counts callers
		out = append(out, p)
	})
	if err != nil {
		return nil, fmt.Errorf("control: tape of %s: %w", r.ID, err)
	}
	return append(out, recent...), nil
}
