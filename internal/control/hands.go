package control

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// hands do what takes long, beside the loop: stopping instances and running
// tests. The loop waits for them when it ends. What they did is seen by
// looking, except for the ends of tests, which they keep; a test whose end was
// lost with the server is run again.
type hands struct {
	mu       sync.Mutex
	stopping map[workload.ID]bool
	leaving  map[workload.ID]time.Time // since when an instance is not wanted
	tests    map[testKey]*rollout.Test // nil while running
	busy     sync.WaitGroup
}

type testKey struct {
	id   delivery.RolloutID
	step int
}

func newHands() *hands {
	return &hands{stopping: map[workload.ID]bool{}, leaving: map[workload.ID]time.Time{}, tests: map[testKey]*rollout.Test{}}
}

func (h *hands) wait() { h.busy.Wait() }

// stop stops an instance unless that is under way.
func (h *hands) stop(ctx context.Context, l *Loop, id workload.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping[id] {
		return
	}
	h.stopping[id] = true
	h.busy.Go(func() {
		err := l.d.Workload.Stop(ctx, id)
		if err != nil && ctx.Err() == nil {
			l.d.Log.ErrorContext(ctx, "instance could not be stopped; will try again", slog.String("instance", string(id)), slog.Any("error", err))
		}
		h.mu.Lock()
		delete(h.stopping, id)
		h.mu.Unlock()
		l.Ring()
	})
}

// going is the instances that are being stopped.
func (h *hands) going() map[workload.ID]bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.stopping)
}

// since says for how long an instance has not been wanted.
func (h *hands) since(id workload.ID, now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.leaving[id].IsZero() {
		h.leaving[id] = now
	}
	return now.Sub(h.leaving[id])
}

// forget drops what is known of instances that are wanted again or gone.
func (h *hands) forget(leaving map[workload.ID]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.leaving {
		if !leaving[id] {
			delete(h.leaving, id)
		}
	}
}

// test runs the test of a rollout's step once.
func (h *hands) test(ctx context.Context, l *Loop, v *view, r delivery.Rollout) {
	key := testKey{r.ID, r.Step}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, begun := h.tests[key]; begun {
		return
	}
	h.tests[key] = nil
	run, why := l.testRun(v, r)
	h.busy.Go(func() {
		end := &rollout.Test{Step: r.Step, Outcome: delivery.Broken, Text: why}
		if why == "" {
			end.Outcome, end.Text = l.d.Test(ctx, run)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if ctx.Err() != nil {
			delete(h.tests, key) // interrupted, so not an end
			return
		}
		h.tests[key] = end
		l.Ring()
	})
}

// testRun makes the command of a step's test; why says why it cannot be run.
func (l *Loop) testRun(v *view, r delivery.Rollout) (run TestRun, why string) {
	step, _ := r.At()
	rel := v.Releases[r.To]
	dir, ok := l.d.Artifacts.Path(rel.CodeDigest())
	env, _ := v.Project.Environment(r.Env)
	switch {
	case l.d.Test == nil:
		return run, "this server cannot run tests"
	case !ok:
		return run, "the files of " + r.Version + " are gone"
	}
	vars := map[string]string{
		"SLIPWAY_URL": env.URL(), "SLIPWAY_HOST": r.Service + ".localhost", "SLIPWAY_PREVIEW": l.previewHeader(routeName(r.Env, r.Service), string(r.To), v.now.Add(step.Timeout+time.Minute)),
		"SLIPWAY_SERVICE": r.Service, "SLIPWAY_ENV": r.Env, "SLIPWAY_VERSION": r.Version,
	}
	maps.Copy(vars, rel.ConfigFor(r.Env))
	return TestRun{Command: step.Test, Dir: dir, Vars: vars, Timeout: step.Timeout}, ""
}

// previewHeader returns the value of Slipway-Preview that asks route for a
// release id or version until then.
func (l *Loop) previewHeader(route, want string, until time.Time) string {
	if len(l.d.PreviewKey) == 0 {
		return want
	}
	return traffic.SignPreview(l.d.PreviewKey, route, want, until)
}

// over forgets the tests of a rollout that has ended.
func (h *hands) over(id delivery.RolloutID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.tests, func(k testKey, _ *rollout.Test) bool { return k.id == id })
}

// tested returns the end of a step's test, or nil.
func (h *hands) tested(id delivery.RolloutID, step int) *rollout.Test {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tests[testKey{id, step}]
}
