package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Case 35: a duplicate or redelivered command cannot move a terminal rollout back.
func TestCase35_TerminalRolloutStaysTerminal(t *testing.T) {
	for _, end := range delivery.States() {
		if !end.Final() {
			continue
		}
		t.Run(string(end), func(t *testing.T) {
			s := openStore(t)
			r := rollout(0, "cart", "prod")
			write(t, s, func(tx *Tx) error {
				c, err := tx.CreateChange(delivery.Change{Members: []delivery.Member{{Service: "cart"}}})
				if err != nil {
					return err
				}
				r.Change, r.State = c.ID, end
				r, err = tx.CreateRollout(r)
				return err
			})
			for _, state := range delivery.States() {
				if state == end {
					continue
				}
				again := r // with the generation of now: a command made of a fresh read
				again.State = state
				if err := record(t, s, func(tx *Tx) error { _, err := tx.SaveRollout(again); return err }); !errors.Is(err, delivery.ErrInvalid) {
					t.Errorf("%s became %s: %v", end, state, err)
				}
				again.Gen-- // a redelivered command made of an old read
				if err := record(t, s, func(tx *Tx) error { _, err := tx.SaveRollout(again); return err }); !errors.Is(err, delivery.ErrConflict) {
					t.Errorf("an old read moved %s to %s: %v", end, state, err)
				}
			}
			same(t, "rollout", must[delivery.Rollout](t)(s.Rollout(t.Context(), r.ID)), r)
		})
	}
}

// Case 36: write skew between deciders on old reads is rejected by the
// generation; exactly one of them wins each round.
func TestCase36_WriteSkewIsRejected(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	const deciders, rounds = 16, 10
	for round := range rounds {
		old := must[delivery.Rollout](t)(s.Rollout(t.Context(), r.ID))
		errs := crowd(t, s, deciders, func(i int, tx *Tx) error {
			mine := old
			mine.Reason = fmt.Sprintf("round %d by %d", round, i)
			if _, err := tx.SaveRollout(mine); err != nil {
				return err
			}
			_, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventMoved, Rollout: r.ID, Text: mine.Reason})
			return err
		})
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: %d and %d both won", round, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, delivery.ErrConflict):
				t.Fatalf("round %d: %v", round, err)
			}
		}
		now := must[delivery.Rollout](t)(s.Rollout(t.Context(), r.ID))
		if want := fmt.Sprintf("round %d by %d", round, winner); now.Reason != want || now.Gen != old.Gen+1 {
			t.Fatalf("rollout = %q at %d, want %q at %d", now.Reason, now.Gen, want, old.Gen+1)
		}
	}
	lines := must[[]delivery.Event](t)(s.Events(t.Context(), EventQuery{Rollout: r.ID}))
	if len(lines) != rounds {
		t.Errorf("%d lines for %d moves", len(lines), rounds)
	}
}

// Case 36: two queued rollouts, two deciders who each see the place free: one gets it.
func TestCase36_OnePlaceIsGivenOnce(t *testing.T) {
	s := openStore(t)
	var queued []delivery.Rollout
	for range 8 {
		queued = append(queued, start(t, s, "cart", "prod"))
	}
	errs := crowd(t, s, len(queued), func(i int, tx *Tx) error {
		r := queued[i]
		r.State = delivery.Preparing
		if _, err := tx.SaveRollout(r); err != nil {
			return err
		}
		return appendLine("begun")(tx)
	})
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, delivery.ErrConflict) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d rollouts got the place", won)
	}
}

// Case 36: a world that its reader changes is not the world that others read.
func TestCase36_SnapshotsAreNotShared(t *testing.T) {
	s := openStore(t)
	fleet(t, s, 3)
	start(t, s, "s001", "prod")
	spoil := must[World](t)(s.Snapshot(t.Context()))
	want := aside(t, s)
	for i := range spoil.Routes {
		spoil.Routes[i].Split[0].Weight = 1
	}
	spoil.Rollouts[0].Plan.Steps[0].Weight = 9999
	spoil.Rollouts[0].State = delivery.Done
	spoil.Stables[0].Release, spoil.Wants[0].Count, spoil.Holds[0].Why = "x", 99, "x"
	clear(spoil.Releases)
	same(t, "Snapshot", must[World](t)(s.Snapshot(t.Context())), want)
}

// Case 37: a status write that failed leaves no line behind, so what is counted
// and told from the ledger is counted and told once.
func TestCase37_FailedWriteTellsNothingTwice(t *testing.T) {
	s := openStore(t)
	r := start(t, s, "cart", "prod")
	const key = "1/prod/notify/reverted"
	for try := range 4 {
		err := s.Write(t.Context(), func(tx *Tx) error {
			if _, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventIntent, Rollout: r.ID, Key: key, Text: "tell"}); err != nil {
				return err
			}
			mine := r
			if try < 3 {
				mine.Gen += 5 // as after a lost race
			}
			_, err := tx.SaveRollout(mine)
			return err
		})
		if lost := errors.Is(err, delivery.ErrConflict); lost != (try < 3) {
			t.Fatalf("try %d: %v", try, err)
		}
	}
	for range 3 { // the answer got lost and the same is done again
		if err := s.Write(t.Context(), func(tx *Tx) error {
			_, err := tx.Append(delivery.Event{At: noon, Kind: delivery.EventIntent, Rollout: r.ID, Key: key, Text: "tell"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	lines := must[[]delivery.Event](t)(s.Events(t.Context(), EventQuery{Rollout: r.ID}))
	if len(lines) != 1 || lines[0].Key != key {
		t.Errorf("the ledger tells it %d times", len(lines))
	}
	if now := must[delivery.Rollout](t)(s.Rollout(t.Context(), r.ID)); now.Gen != 2 {
		t.Errorf("generation = %d, want 2", now.Gen)
	}
}
