package control

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/proxy/metrics"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Vitals is how everything is and how the loop itself does, for whoever watches.
type Vitals struct {
	Board     delivery.Board // empty without a project
	Open      []delivery.Rollout
	Holds     []delivery.Hold
	Instances []workload.Status
	Passes    Work                                    // looks at everything
	Writes    Work                                    // into the store and its ledger
	DataPlane bool                                    // it answered the last pass
	Verdicts  map[delivery.RolloutID]delivery.Verdict // of the last pass, on what is under way
	Numbers   embedded.Size                           // that are kept of services, workloads and logs
	Refused   []embedded.Refused                      // samples that were not
}

// Work is something that is done again and again.
type Work struct {
	Took   metrics.Times // whether it failed or not
	Failed uint64
}

// vitals counts what the loop does.
type vitals struct {
	mu             sync.Mutex
	passes, writes Work // guarded by mu
}

// done counts one piece of work.
func (v *vitals) done(w *Work, began time.Time, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w.Took.Add(time.Since(began).Nanoseconds())
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, delivery.ErrConflict) && !errors.Is(err, delivery.ErrRefused) && !errors.Is(err, delivery.ErrInvalid) {
		w.Failed++
	}
}

// Vitals returns how everything is as of the last pass and the rows of now.
func (l *Loop) Vitals(ctx context.Context) (Vitals, error) {
	w, pic, err := l.fresh(ctx)
	if errors.Is(err, delivery.ErrNotFound) { // no project yet
		err = nil
	}
	if err != nil {
		return Vitals{}, err
	}
	out := Vitals{Open: w.Open, Holds: w.Holds, Instances: pic.statuses, DataPlane: pic.known, Numbers: l.counts.Size(), Refused: l.counts.Refused()}
	if w.Project.Name != "" {
		if out.Board, err = l.Board(ctx); err != nil {
			return Vitals{}, err
		}
	}
	out.Verdicts = pic.verdicts
	l.vitals.mu.Lock()
	defer l.vitals.mu.Unlock()
	out.Passes, out.Writes = l.vitals.passes, l.vitals.writes
	return out, nil
}
