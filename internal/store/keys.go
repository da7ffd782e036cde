package store

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// KeyLife is how long the answer to an Idempotency-Key is kept.
const KeyLife = 24 * time.Hour

// Allot returns the number that belongs to name for ever. The first time pick
// chooses it; it is given the numbers that are taken and must return another.
func (t *Tx) Allot(name string, pick func(taken map[int]bool) (int, error)) (int, error) {
	what := "allot " + name
	allotted, err := t.Allotted(t.w.ctx)
	if err != nil {
		return 0, wrap(what, err)
	}
	if n, ok := allotted[name]; ok {
		return n, nil
	}
	taken := make(map[int]bool, len(allotted))
	for _, n := range allotted {
		taken[n] = true
	}
	n, err := pick(taken)
	if err != nil {
		return 0, wrap(what, err)
	}
	for other, m := range allotted {
		if m == n {
			return 0, fmt.Errorf("store: %s: %w", what, delivery.Invalid("number", fmt.Sprintf("%d belongs to %s", n, other)))
		}
	}
	if _, err := t.exec(`INSERT INTO allotments (name, number) VALUES ($1, $2)`, name, n); err != nil {
		return 0, wrap(what, err)
	}
	t.book("")
	return n, nil
}

// Counter counts name up and returns the new count, 1 the first time. A count is
// never returned twice once its write was kept.
func (t *Tx) Counter(name string) (int64, error) {
	n, err := t.next("user:" + name)
	t.book("")
	return n, wrap("counter "+name, err)
}

// Remember keeps the answer to a request under its Idempotency-Key for KeyLife.
// An answer that is kept already stays; a key kept for another request is
// refused with CodeKeyReused. fingerprint says which request it was.
func (t *Tx) Remember(key, fingerprint string, response []byte, at time.Time) error {
	_, found, err := t.Recall(t.w.ctx, key, fingerprint, at)
	if err != nil || found {
		return err
	}
	if _, err := t.exec(`DELETE FROM answers WHERE at <= $1`, at.Add(-KeyLife).UnixMicro()); err != nil {
		return wrap("remember", err)
	}
	_, err = t.exec(`INSERT INTO answers (answer_key, fingerprint, response, at) VALUES ($1, $2, $3, $4)`,
		key, fingerprint, base64.StdEncoding.EncodeToString(response), at.UnixMicro())
	t.book("")
	return wrap("remember", err)
}

// Recall returns the answer kept under an Idempotency-Key, if there is one that
// has not expired at now. A key kept for another request is refused with CodeKeyReused.
func (r Reader) Recall(ctx context.Context, key, fingerprint string, now time.Time) (response []byte, found bool, err error) {
	var kept, text string
	found, err = first(ctx, r.q, []any{&kept, &text}, `SELECT fingerprint, response FROM answers WHERE answer_key = $1 AND at > $2`,
		key, now.Add(-KeyLife).UnixMicro())
	if err != nil || !found {
		return nil, false, wrap("recall", err)
	}
	if kept != fingerprint {
		return nil, false, &delivery.Refusal{
			Code: delivery.CodeKeyReused, Field: "Idempotency-Key",
			Why:  fmt.Sprintf("the key %q was used for another request less than %s ago", key, KeyLife),
			Next: "send the request again with a new key",
		}
	}
	response, err = base64.StdEncoding.DecodeString(text)
	return response, true, wrap("recall", err)
}
