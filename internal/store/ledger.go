package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Head is the end of the ledger. A copy kept elsewhere proves later that
// nothing before it was rewritten.
type Head struct {
	Seq  int64  `json:"seq"`  // 0: the ledger is empty
	Hash string `json:"hash"` // 64 hex digits
}

// Append adds one line to the ledger and returns it with its Seq, Prev and
// Hash. A line whose Key is in the ledger already is not written again: the old
// line is returned, and does not count as the record of what this write changed.
func (t *Tx) Append(e delivery.Event) (delivery.Event, error) {
	if e.Kind == "" || e.At.IsZero() {
		return e, fmt.Errorf("store: append: %w", delivery.Invalid("event", "needs a kind and a time"))
	}
	if e.Key != "" {
		old, err := events(t.w.ctx, t, `SELECT doc, hash FROM events WHERE event_key = $1`, e.Key)
		if err != nil {
			return e, wrap("append", err)
		}
		if len(old) > 0 {
			return old[0], nil
		}
	}
	head := t.w.group.head
	e.At = e.At.UTC()
	e.Seq, e.Prev, e.Hash = head.Seq+1, head.Hash, ""
	doc, err := document(e)
	if err != nil {
		return e, fmt.Errorf("store: append: %w", delivery.Invalid("event.data", "is not JSON: "+err.Error()))
	}
	head = Head{Seq: e.Seq, Hash: link(e.Prev, doc)}
	var key any // NULL: lines without a key are never the same
	if e.Key != "" {
		key = e.Key
	}
	_, err = t.exec(`INSERT INTO events (seq, change_id, rollout_id, service, env, event_key, doc, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		e.Seq, e.Change, e.Rollout, e.Service, e.Env, key, doc, head.Hash)
	if err == nil && e.Kind == delivery.EventProject {
		_, err = t.exec(`UPDATE projects SET line = $1 WHERE id = 1`, e.Seq)
	}
	if err != nil {
		return e, wrap("append", err)
	}
	t.w.group.head = head
	t.recorded++
	t.book("")
	var kept delivery.Event // as it will be read
	err = json.Unmarshal([]byte(doc), &kept)
	kept.Hash = head.Hash
	return kept, wrap("append", err)
}

// link returns the hash of a line: SHA-256 of the hash before it, in hex,
// followed by the line as JSON with an empty hash.
func link(prev, doc string) string {
	sum := sha256.Sum256([]byte(prev + doc))
	return hex.EncodeToString(sum[:])
}

// head returns the end of the ledger as stored.
func head(ctx context.Context, q querier) (Head, error) {
	var h Head
	_, err := first(ctx, q, []any{&h.Seq, &h.Hash}, `SELECT seq, hash FROM ledger_heads WHERE id = 1`)
	return h, err
}
