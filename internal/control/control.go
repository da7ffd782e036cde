package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/rollout"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Sweep is how often the world is looked at when nothing rings.
const Sweep = time.Second

// grain is how fine the store keeps time: a moment has come once the clock is
// past it by that much.
const grain = time.Microsecond

// Deps is all that the loop works with.
type Deps struct {
	Store      *store.Store
	Workload   workload.Driver
	Traffic    *traffic.Router
	Artifacts  *artifact.Store
	Metrics    map[delivery.MetricSource]metric.Driver // who has the numbers that policies name; a source that is missing has none
	Numbers    *embedded.Store                         // what the data plane counts, and more; nil is an empty one
	Test       Tester                                  // runs the test of a step; nil fails every test with the reason
	PreviewKey []byte                                  // signs preview headers; nil leaves them unsigned
	Telemetry  Telemetry                               // where instances and the data plane send what they tell of themselves
	Log        *slog.Logger
}

// Tester runs one command of a step against the preview route.
type Tester func(ctx context.Context, t TestRun) (delivery.Outcome, string)

// TestRun is a step's test: exit 0 of Command in Dir passes.
type TestRun struct {
	Command []string
	Dir     string
	Vars    map[string]string
	Timeout time.Duration
}

// Loop drives every open rollout and keeps the world as it is wanted. One
// goroutine, the one in Run, decides and writes; the others only listen.
type Loop struct {
	d       Deps
	bell    chan struct{}
	counts  *counts
	judges  map[delivery.RolloutID]*judgement // of the loop's goroutine alone
	crashs  map[delivery.RolloutID]int        // restarts seen before the rollout began
	hands   *hands
	readers *readers
	people  people
	sums    artifact.Sums
	up      time.Time      // when this server came up
	asking  asking         // of the loop's goroutine alone
	traces  traces         // of the loop's goroutine alone
	applied *traffic.Table // of the loop's goroutine alone
	claims  claims         // of the loop's goroutine alone
	vitals  vitals
	films   films
	tallied time.Time // of the loop's goroutine alone: when exposures were last looked at

	kept func(what string) // told what was just written; for the tests that end the process there

	mu   sync.Mutex
	live live // what the last pass saw, for views

	seen   shared[moment, *overview] // what views are made of
	strips strips
}

// live is a picture of the last pass. It is replaced whole.
type live struct {
	pass     int64 // counts the passes; 0 is before the first
	world    promotion.World
	statuses []workload.Status
	traffic  traffic.State
	known    bool
	verdicts map[delivery.RolloutID]delivery.Verdict
}

// picture is what the last pass saw; the caller may keep it.
func (l *Loop) picture() live {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.live
	out.verdicts = maps.Clone(out.verdicts)
	return out
}

// New returns a loop over d. It does no I/O.
func New(d Deps) *Loop {
	if d.Numbers == nil {
		d.Numbers = embedded.New()
	}
	return &Loop{
		d: d, bell: make(chan struct{}, 1), counts: &counts{d.Numbers},
		judges: map[delivery.RolloutID]*judgement{}, crashs: map[delivery.RolloutID]int{}, hands: newHands(), readers: newReaders(), people: people{slots: make(chan struct{}, maxAsking)}, up: time.Now(), claims: claims{},
	}
}

// Ring wakes the loop. It never blocks.
func (l *Loop) Ring() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// Run looks, decides, does and writes until ctx ends. It returns when
// everything it began has come back.
func (l *Loop) Run(ctx context.Context) error {
	var listeners sync.WaitGroup
	defer l.claims.end()
	defer l.hands.wait()
	defer l.readers.wait()
	defer listeners.Wait()
	listeners.Go(func() { l.listen(ctx) })
	listeners.Go(func() { l.hearWorkloads(ctx) })
	if err := l.began(ctx); err != nil && ctx.Err() == nil {
		l.d.Log.ErrorContext(ctx, "the ledger could not be written", slog.Any("error", err))
	}
	for {
		wake := time.Now().Add(Sweep)
		began := time.Now()
		next, err := l.pass(ctx)
		l.vitals.done(&l.vitals.passes, began, err)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			l.d.Log.ErrorContext(ctx, "pass failed; will look again", slog.Any("error", err))
		case !next.IsZero() && next.Before(wake):
			wake = next
		}
		alarm := time.NewTimer(max(time.Until(wake.Add(grain)), 0))
		select {
		case <-ctx.Done():
			alarm.Stop()
			return nil
		case <-l.bell:
		case <-alarm.C:
		}
		alarm.Stop()
	}
}

func (l *Loop) hearWorkloads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-l.d.Workload.Changed():
			if !open {
				return
			}
			l.Ring()
		}
	}
}

// pass looks at everything once, moves each open rollout at most once, and
// makes the world what is wanted. It returns the soonest time to look again.
func (l *Loop) pass(ctx context.Context) (time.Time, error) {
	w, err := l.d.Store.Snapshot(ctx)
	if err != nil || w.Project.Name == "" {
		return time.Time{}, err
	}
	v, err := l.look(ctx, w)
	if err != nil {
		return time.Time{}, err
	}
	if err := l.trace(ctx, v); err != nil {
		return time.Time{}, err
	}
	var soon time.Time
	wrote := false
	for _, r := range v.open {
		wake, moved, err := l.step(ctx, v, r)
		if err != nil {
			l.d.Log.ErrorContext(ctx, "rollout could not be moved; will look again", slog.Int64("change", int64(r.Change)), slog.String("rollout", string(r.ID)), slog.Any("error", err))
			continue
		}
		wrote = wrote || moved
		soon = sooner(soon, wake)
	}
	l.keepTapes(ctx, v)
	l.tally(ctx, v)
	proposed, err := l.propose(ctx, v)
	if err != nil {
		return soon, err
	}
	expired, err := l.expire(ctx, v)
	if err != nil {
		return soon, err
	}
	if wrote || proposed || expired {
		soon = v.now // the rows are new: look again at once, after converging
		if w, err = l.d.Store.Snapshot(ctx); err != nil {
			return soon, err
		}
		v.World, v.open = w, w.Rollouts
	}
	return soon, l.converge(ctx, v)
}

// step is the life of the product: read, see, decide, write, and then do. What
// it writes says what the world shall be; converge makes it so, and may be
// killed and begun again anywhere.
func (l *Loop) step(ctx context.Context, v *view, r delivery.Rollout) (time.Time, bool, error) {
	if !known(r.State) {
		return time.Time{}, false, fmt.Errorf("control: %s", strange(r))
	}
	stale := ""
	if r.State == delivery.Queued {
		stale = v.stale(r)
		aimed, err := l.aim(v, r)
		if err != nil {
			return time.Time{}, false, err
		}
		r = aimed
	}
	facts := l.see(ctx, v, r)
	facts.Stale = stale
	m := rollout.Next(r, facts)
	if m.Test {
		l.hands.test(ctx, l, v, r)
	}
	wrote, err := l.write(ctx, v, r, m)
	if errors.Is(err, delivery.ErrConflict) {
		return v.now, true, nil // someone moved it first: look again
	}
	if err != nil {
		return time.Time{}, false, fmt.Errorf("control: %s: %w", r.ID, err)
	}
	if m.Rollout.State.Final() {
		delete(l.judges, r.ID)
		delete(l.crashs, r.ID)
		l.hands.over(r.ID)
		l.readers.over(r.ID)
	}
	return m.Wake, wrote, nil
}

// save is the one way into the store: everything in fn or nothing, and then the
// ledger has it for ever. what names the write without anything that differs
// from one run to the next.
func (l *Loop) save(ctx context.Context, what string, fn func(*store.Tx) error) error {
	began := time.Now()
	err := l.d.Store.Write(ctx, fn)
	l.vitals.done(&l.vitals.writes, began, err)
	if err == nil && l.kept != nil {
		l.kept(what)
	}
	return err
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
