package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// MaxExposureBytes bounds what is kept of one rollout's exposure.
const MaxExposureBytes = 64 << 10

// PutExposure keeps what a rollout did to those who asked, in the place of what
// was known of it. Once it is settled nothing comes after it. The store does not
// look into doc. It needs no line in the ledger.
func (t *Tx) PutExposure(id delivery.RolloutID, settled bool, doc json.RawMessage) error {
	what := "put exposure " + string(id)
	if len(doc) > MaxExposureBytes || !json.Valid(doc) {
		return fmt.Errorf("store: %s: %w", what, delivery.Invalid("exposure", fmt.Sprintf("is JSON of at most %d bytes", MaxExposureBytes)))
	}
	_, err := t.exec(`INSERT INTO exposures (rollout_id, settled, doc) VALUES ($1, $2, $3)
		ON CONFLICT (rollout_id) DO UPDATE SET settled = excluded.settled, doc = excluded.doc WHERE NOT exposures.settled`, id, settled, string(doc))
	t.book("")
	return wrap(what, err)
}

// Exposure returns what is kept of a rollout's exposure, if anything is.
func (r Reader) Exposure(ctx context.Context, id delivery.RolloutID) (doc json.RawMessage, found bool, err error) {
	var text string
	found, err = first(ctx, r.q, []any{&text}, `SELECT doc FROM exposures WHERE rollout_id = $1`, id)
	return json.RawMessage(text), found, wrap("exposure "+string(id), err)
}

// Unsettled returns the rollouts that began and whose exposure is not settled.
func (r Reader) Unsettled(ctx context.Context) ([]delivery.Rollout, error) {
	list, err := all[delivery.Rollout](ctx, r.q, `SELECT rollouts.doc FROM exposures JOIN rollouts ON rollouts.id = exposures.rollout_id
		WHERE NOT exposures.settled ORDER BY exposures.rollout_id LIMIT $1`, MaxLimit)
	return list, wrap("unsettled exposures", err)
}

// LastTrace makes a trace stay as long as its change. One that is not kept is none.
func (t *Tx) LastTrace(id string) error {
	_, err := t.exec(`UPDATE traces SET lasting = TRUE WHERE id = $1`, id)
	t.book("")
	return wrap("trace "+id, err)
}

// TraceIDs returns the names of the traces kept of a change, newest first.
func (r Reader) TraceIDs(ctx context.Context, id delivery.ChangeID) ([]string, error) {
	rows, err := r.q.query(ctx, `SELECT id FROM traces WHERE change_id = $1 ORDER BY at DESC, id`, id)
	if err != nil {
		return nil, wrap("traces", err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, wrap("traces", err)
		}
		list = append(list, name)
	}
	return list, wrap("traces", rows.Err())
}
