package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// errTape is a part of a tape that the store does not take.
var errTape = errors.New("the tape in the store is another one")

// appendTape keeps what a rollout's judge was told since the last time, within
// the write of whatever it led to: a verdict that moved something is always on tape.
func (l *Loop) appendTape(tx *store.Tx, id delivery.RolloutID) error {
	j := l.judges[id]
	if j == nil {
		return nil
	}
	n, part := j.tape.Part()
	if part == nil {
		return nil
	}
	if err := tx.AppendTape(id, n, part); err != nil {
		return fmt.Errorf("control: %w: %w", errTape, err)
	}
	return nil
}

// taped says how a write ended that had a part of a tape in it. What does not fit
// to what is in the store is read again from there.
func (l *Loop) taped(v *view, id delivery.RolloutID, err error) {
	j := l.judges[id]
	switch {
	case j == nil:
	case err == nil:
		j.tape.Kept()
		j.loose, j.kept = 0, v.now
	case errors.Is(err, errTape) && errors.Is(err, delivery.ErrConflict):
		delete(l.judges, id)
	}
}

// keepTapes keeps the tapes that grew for a while, all in one write.
func (l *Loop) keepTapes(ctx context.Context, v *view) {
	var due []delivery.RolloutID
	for _, r := range v.open {
		if j := l.judges[r.ID]; j != nil && j.loose > 0 && (v.now.Sub(j.kept) >= tapeEvery || j.loose >= maxLoose) {
			due = append(due, r.ID)
		}
	}
	if len(due) == 0 {
		return
	}
	var refused delivery.RolloutID
	err := l.save(ctx, "tapes", func(tx *store.Tx) error {
		for _, id := range due {
			if err := l.appendTape(tx, id); err != nil {
				refused = id
				return err
			}
		}
		return nil
	})
	if err != nil {
		l.taped(v, refused, err)
		l.d.Log.ErrorContext(ctx, "what judges were told could not be kept; will try again", slog.Any("error", err))
		return
	}
	for _, id := range due {
		l.taped(v, id, nil)
	}
}
