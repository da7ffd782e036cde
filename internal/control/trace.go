package control

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/workload"
)

// traceEvery is the least time between two ledger lines about one instance: one
// that crashes in a loop leaves a trace, not a flood.
const traceEvery = 30 * time.Second

// traces remembers what the ledger knows of instances and the data plane. It
// belongs to the loop's goroutine; a new server begins it anew.
type traces struct {
	restarts map[workload.ID]int
	told     map[workload.ID]time.Time
	plane    int // pid of the data plane
}

// began writes that a control plane runs.
func (l *Loop) began(ctx context.Context) error {
	return l.save(ctx, "server", func(tx *store.Tx) error {
		_, err := tx.Append(delivery.Event{At: stamp(), Kind: delivery.EventServer, By: "slipway", Text: fmt.Sprintf("control plane runs, pid %d", os.Getpid())})
		return err
	})
}

// trace writes down what happened by itself since the last pass: instances that
// exited, and a data plane that was started anew.
func (l *Loop) trace(ctx context.Context, v *view) error {
	t := &l.traces
	if t.restarts == nil {
		t.restarts, t.told = map[workload.ID]int{}, map[workload.ID]time.Time{}
	}
	var lines []delivery.Event
	for _, s := range v.statuses {
		before, known := t.restarts[s.Spec.ID]
		if s.Phase == workload.Stopped || s.Restarts <= before || !known {
			t.restarts[s.Spec.ID] = s.Restarts
			continue
		}
		if v.now.Sub(t.told[s.Spec.ID]) < traceEvery {
			continue // the count goes on, and the next line holds it
		}
		t.restarts[s.Spec.ID], t.told[s.Spec.ID] = s.Restarts, v.now
		lines = append(lines, delivery.Event{
			At: v.now, Kind: delivery.EventInstance, Change: s.Spec.Change, Service: s.Spec.Service, Env: s.Spec.Env, By: "slipway",
			Text: fmt.Sprintf("instance %s of %s in %s exited by itself (%s), %s so far", s.Spec.ID, s.Spec.Version, s.Spec.Env, s.LastExit, times(s.Restarts)),
		})
	}
	if v.known && v.traffic.PID != t.plane {
		if t.plane != 0 {
			lines = append(lines, delivery.Event{At: v.now, Kind: delivery.EventServer, By: "slipway", Text: fmt.Sprintf("the data plane was started anew, pid %d after %d", v.traffic.PID, t.plane)})
		}
		t.plane = v.traffic.PID
	}
	if len(lines) == 0 {
		return nil
	}
	return l.save(ctx, "trace", func(tx *store.Tx) error {
		for _, e := range lines {
			if _, err := tx.Append(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
