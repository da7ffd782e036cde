package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/store"
)

// How long minutes are kept that are evidence of no rollout, how much of them a
// start may read, and how much time it may take for it.
const (
	minutesLife = 30 * 24 * time.Hour
	readBack    = 24 * time.Hour
	readFor     = 5 * time.Second
)

// numbers moves minutes between the store of numbers and the database.
type numbers struct {
	of   *embedded.Store
	kept *store.Store
	log  *slog.Logger
}

// restore takes back the last day, so that a server that was started again draws
// it. It begins with the newest hour and goes back as far as its time allows.
func (n numbers) restore(ctx context.Context) error {
	began := time.Now()
	var hours [][]embedded.Minute
	for to := began.Truncate(time.Minute).Add(time.Minute); began.Sub(to) < readBack && time.Since(began) < readFor; to = to.Add(-time.Hour) {
		rows, err := n.kept.Minutes(ctx, store.MinuteQuery{From: to.Add(-time.Hour), To: to})
		if err != nil {
			return fmt.Errorf("app: restore numbers: %w", err)
		}
		hours = append(hours, n.decode(ctx, rows))
	}
	for _, hour := range slices.Backward(hours) {
		n.of.Restore(hour)
	}
	return nil
}

// decode reads rows. One that cannot be read is left out: it is history, and no
// reason not to start.
func (n numbers) decode(ctx context.Context, rows []store.Minute) []embedded.Minute {
	out := make([]embedded.Minute, 0, len(rows))
	for _, r := range rows {
		m := embedded.Minute{Env: r.Env, Service: r.Service, Release: r.Release, At: r.At.Unix()}
		if err := json.Unmarshal(r.Doc, &m.Numbers); err != nil {
			n.log.WarnContext(ctx, "a minute of numbers cannot be read", slog.String("release", string(r.Release)), slog.Time("at", r.At), slog.Any("error", err))
			continue
		}
		out = append(out, m)
	}
	return out
}

// Run keeps each minute once it is whole, and forgets those that are too old,
// until ctx ends.
func (n numbers) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	next := time.Now().Add(-readBack / 24).Truncate(time.Minute) // the data plane tells again what this server missed
	var pruned time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			until := now.Add(-embedded.Settled).Truncate(time.Minute)
			err := n.keep(ctx, next, until)
			if err == nil {
				next = until
			}
			if now.Sub(pruned) >= time.Hour {
				pruned = now
				err = errors.Join(err, n.prune(ctx, now.Add(-minutesLife)))
			}
			if err != nil && ctx.Err() == nil {
				n.log.ErrorContext(ctx, "minutes of numbers could not be kept; will try again", slog.Any("error", err))
			}
		}
	}
}

// keep writes down the minutes that begin from first on and before until.
func (n numbers) keep(ctx context.Context, first, until time.Time) error {
	var rows []store.Minute
	for _, m := range n.of.Minutes(first.Unix(), until.Unix()-1) {
		doc, err := json.Marshal(m.Numbers)
		if err != nil {
			return fmt.Errorf("app: keep numbers: %w", err)
		}
		rows = append(rows, store.Minute{Env: m.Env, Service: m.Service, Release: m.Release, At: time.Unix(m.At, 0), Doc: doc})
	}
	for stride := range slices.Chunk(rows, 500) { // others write between
		if err := n.kept.Write(ctx, func(tx *store.Tx) error { return tx.PutMinutes(stride) }); err != nil {
			return fmt.Errorf("app: keep numbers: %w", err)
		}
	}
	return nil
}

func (n numbers) prune(ctx context.Context, before time.Time) error {
	for {
		gone := 0
		err := n.kept.Write(ctx, func(tx *store.Tx) (err error) {
			gone, err = tx.PruneMinutes(before)
			return err
		})
		if err != nil || gone == 0 {
			return err
		}
	}
}
