package traces

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// How traces are kept.
const (
	look      = time.Second      // between two looks at what waits
	settled   = 3 * time.Second  // after a failure is heard of, the data plane's spans of it are here
	complete  = 15 * time.Second // and so are those of SDKs, which send every five seconds
	enough    = store.MaxTraces  // kept of a change at once; from then on one every slow
	slow      = 10 * time.Second
	lifetime  = 30 * 24 * time.Hour
	pruneEach = time.Hour

	maxChanges = 1000 // of which is known how many traces are kept
)

// Keeper keeps the traces of failed requests of releases that are being rolled
// out. Make it with NewKeeper.
type Keeper struct {
	Buffer *Buffer

	store *store.Store
	log   *slog.Logger

	mu      sync.Mutex
	waiting map[string]*wanted

	kept map[delivery.ChangeID]*tally // of Run
}

// wanted is one failed request whose trace is waited for.
type wanted struct {
	sample traffic.Sample
	heard  time.Time
	change delivery.ChangeID // once it was written; it is written again when it is complete
}

// tally is how much of a change is kept.
type tally struct {
	n    int
	last time.Time
}

// NewKeeper returns a keeper that writes into s.
func NewKeeper(s *store.Store, log *slog.Logger) *Keeper {
	return &Keeper{Buffer: NewBuffer(), store: s, log: log, waiting: map[string]*wanted{}, kept: map[delivery.ChangeID]*tally{}}
}

// Failed hears of failed requests. It never waits; more than can be waited for
// are not.
func (k *Keeper) Failed(samples []traffic.Sample) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range samples {
		if s.Trace == "" || !traffic.Drawn(s.Caller) || k.waiting[s.Trace] != nil || !k.Buffer.Pin(s.Trace) {
			continue
		}
		k.waiting[s.Trace] = &wanted{sample: s, heard: time.Now()}
	}
}

// Run keeps what is heard of until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	var pruned time.Time
	for {
		now := time.Now()
		err := k.keep(ctx, now)
		if err == nil && now.Sub(pruned) > pruneEach {
			pruned = now
			err = k.prune(ctx, now.Add(-lifetime))
		}
		if err != nil && ctx.Err() == nil {
			k.log.WarnContext(ctx, "traces could not be kept; will try again", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// due takes the failures that have waited long enough, by whether it is their
// first or their last time.
func (k *Keeper) due(now time.Time) (out []*wanted) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, w := range k.waiting {
		age := now.Sub(w.heard)
		if age >= complete {
			delete(k.waiting, id)
		}
		if age >= complete || age >= settled && w.change == 0 {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *wanted) int { return a.sample.At.Compare(b.sample.At) })
	return out
}

// keep writes the traces of requests that a release under way failed.
func (k *Keeper) keep(ctx context.Context, now time.Time) error {
	due := k.due(now)
	if len(due) == 0 {
		return nil
	}
	world, err := k.store.Snapshot(ctx)
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	for _, w := range due {
		last := now.Sub(w.heard) >= complete
		if err := k.write(ctx, slices.Concat(world.Rollouts, world.Ended), w, now); err != nil {
			return err
		}
		if last {
			k.Buffer.Unpin(w.sample.Trace)
		}
	}
	return nil
}

// write keeps the trace of a failure, if a rollout under way at that time is to
// blame: the judge may have ended it since.
func (k *Keeper) write(ctx context.Context, rollouts []delivery.Rollout, w *wanted, now time.Time) error {
	t, there := k.Buffer.Trace(w.sample.Trace)
	if !there {
		return nil
	}
	if w.change == 0 {
		i := slices.IndexFunc(rollouts, func(r delivery.Rollout) bool {
			return r.To == w.sample.Release && r.Env+"/"+r.Service == w.sample.Route && (r.Ended.IsZero() || r.Ended.After(w.sample.At))
		})
		if i < 0 || !k.room(rollouts[i].Change, now) {
			return nil
		}
		w.change = rollouts[i].Change
	}
	t.Change, t.Release, t.Why = w.change, w.sample.Release, why(w.sample)
	t.Env, t.Service, _ = strings.Cut(w.sample.Route, "/")
	t, err := fit(t)
	if err == nil {
		err = k.store.Write(ctx, func(tx *store.Tx) error { return tx.PutTrace(t) })
	}
	if err != nil {
		return fmt.Errorf("traces: keep %s: %w", t.ID, err)
	}
	return nil
}

// room says whether one more trace of a change is worth a place: the first ones
// are, and then one now and then.
func (k *Keeper) room(id delivery.ChangeID, now time.Time) bool {
	c := k.kept[id]
	if c == nil {
		if len(k.kept) >= maxChanges {
			clear(k.kept)
		}
		c = &tally{}
		k.kept[id] = c
	}
	if c.n >= enough && now.Sub(c.last) < slow {
		return false
	}
	c.n++
	c.last = now
	return true
}

// why says how a request failed.
func why(s traffic.Sample) string {
	if s.Error != "" {
		return s.Error
	}
	return fmt.Sprintf("answered %d", s.Status)
}

// fit cuts spans from the end until the store can take the trace.
func fit(t delivery.Trace) (delivery.Trace, error) {
	for {
		doc, err := json.Marshal(t)
		if err != nil || len(doc) <= store.MaxTraceBytes || len(t.Spans) == 0 {
			return t, err
		}
		n := min(len(t.Spans)-1, len(t.Spans)*(store.MaxTraceBytes-(2<<10))/len(doc)) // as many as fit when they are alike
		t.Missing += len(t.Spans) - n
		t.Spans = t.Spans[:n]
	}
}

func (k *Keeper) prune(ctx context.Context, before time.Time) error {
	for n := 1; n > 0; {
		err := k.store.Write(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.PruneTraces(before)
			return err
		})
		if err != nil {
			return fmt.Errorf("traces: %w", err)
		}
	}
	return nil
}

// Trace returns one trace: as it is kept, with what was heard since, or as it is
// still held. A trace that is not known is delivery.ErrNotFound.
func (k *Keeper) Trace(ctx context.Context, id string) (delivery.Trace, error) {
	id = strings.ToLower(id)
	kept, found, err := k.store.Trace(ctx, id)
	if err != nil {
		return delivery.Trace{}, fmt.Errorf("traces: %w", err)
	}
	held, recent := k.Buffer.Trace(id)
	switch {
	case !found && !recent:
		return delivery.Trace{}, fmt.Errorf("traces: trace %.40q is neither kept nor recent: %w", id, delivery.ErrNotFound)
	case !found:
		return held, nil
	case recent && len(held.Spans) > len(kept.Spans):
		kept.Spans, kept.Missing = held.Spans, held.Missing
	}
	return kept, nil
}

// Of returns the traces that are kept of a change, newest first.
func (k *Keeper) Of(ctx context.Context, id delivery.ChangeID) ([]delivery.Trace, error) {
	list, err := k.store.Traces(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("traces: %w", err)
	}
	return list, nil
}
