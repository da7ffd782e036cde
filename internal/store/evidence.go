package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds on evidence.
const (
	MaxTraces     = 50               // of a change
	MaxTraceBytes = 64 << 10         // of one trace's document
	MaxTapeBytes  = 1 << 20          // of one part of a tape
	MaxMinutes    = 31 * 24 * 60     // that one read may span, of a service
	stride        = 1000             // rows that one pruning takes away at most, so that others can write between
	foreword      = 10 * time.Minute // before a rollout, which tunes its judge and is evidence too
)

// Minute is the numbers of one release in one minute. The store does not look
// into Doc.
type Minute struct {
	Service string             `json:"service"`
	Env     string             `json:"env"`
	Release delivery.ReleaseID `json:"release"`
	At      time.Time          `json:"at"` // its beginning
	Doc     json.RawMessage    `json:"doc"`
}

// MinuteQuery selects minutes. Without a service it may span an hour at most.
type MinuteQuery struct {
	Service  string
	Env      string             // "" is any
	Release  delivery.ReleaseID // "" is any
	From, To time.Time          // From is included, To is not
}

// AppendTape keeps the next part of a rollout's tape; the first is part 0. The
// same bytes again change nothing; other bytes, and a part that is not the next,
// are refused with delivery.ErrConflict. It needs no line in the ledger.
func (t *Tx) AppendTape(id delivery.RolloutID, part int, data []byte) error {
	what := fmt.Sprintf("append tape %s part %d", id, part)
	if len(data) == 0 || len(data) > MaxTapeBytes {
		return fmt.Errorf("store: %s: %w", what, delivery.Invalid("data", fmt.Sprintf("has %d bytes; 1 to %d can be kept", len(data), MaxTapeBytes)))
	}
	if _, err := t.Rollout(t.w.ctx, id); err != nil {
		return fmt.Errorf("store: %s: %w", what, err)
	}
	var parts int
	if _, err := first(t.w.ctx, t, []any{&parts}, `SELECT COUNT(*) FROM tapes WHERE rollout_id = $1`, id); err != nil {
		return wrap(what, err)
	}
	text := base64.StdEncoding.EncodeToString(data)
	if part < parts {
		var old string
		found, err := first(t.w.ctx, t, []any{&old}, `SELECT data FROM tapes WHERE rollout_id = $1 AND part = $2`, id, part)
		if err == nil && (!found || old != text) {
			err = fmt.Errorf("it holds other bytes: %w", delivery.ErrConflict)
		}
		return wrap(what, err)
	}
	if part != parts {
		return fmt.Errorf("store: %s: %d is the next: %w", what, parts, delivery.ErrConflict)
	}
	_, err := t.exec(`INSERT INTO tapes (rollout_id, part, data) VALUES ($1, $2, $3)`, id, part, text)
	t.book("")
	return wrap(what, err)
}

// Tape returns the parts of a rollout's tape in order; none is no error.
func (r Reader) Tape(ctx context.Context, id delivery.RolloutID) ([][]byte, error) {
	return r.TapeFrom(ctx, id, 0)
}

// TapeFrom returns the parts of a rollout's tape from one on, in order.
func (r Reader) TapeFrom(ctx context.Context, id delivery.RolloutID, part int) ([][]byte, error) {
	what := "tape " + string(id)
	rows, err := r.q.query(ctx, `SELECT data FROM tapes WHERE rollout_id = $1 AND part >= $2 ORDER BY part`, id, part)
	if err != nil {
		return nil, wrap(what, err)
	}
	defer rows.Close()
	var parts [][]byte
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, wrap(what, err)
		}
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, wrap(what, err)
		}
		parts = append(parts, data)
	}
	return parts, wrap(what, rows.Err())
}

// PutMinutes keeps minutes, in the place of what was known of them. Those of a
// service and environment in which a rollout is under way, or was in that
// minute, stay as long as the rollout. It needs no line in the ledger.
func (t *Tx) PutMinutes(list []Minute) error {
	recent := map[[2]string][]delivery.Rollout{}
	for _, m := range list {
		if m.Service == "" || m.Env == "" || m.Release == "" || m.At.Unix()%60 != 0 || !json.Valid(m.Doc) {
			return fmt.Errorf("store: put minutes: %w", delivery.Invalid("minute", "needs a service, an environment, a release, the beginning of a minute and JSON"))
		}
		place := [2]string{m.Service, m.Env}
		rollouts, looked := recent[place]
		if !looked {
			var err error
			if rollouts, err = all[delivery.Rollout](t.w.ctx, t, selectRecent, m.Service, m.Env); err != nil {
				return wrap("put minutes", err)
			}
			recent[place] = rollouts
		}
		evidence := delivery.RolloutID("")
		if i := slices.IndexFunc(rollouts, func(r delivery.Rollout) bool { return within(m.At, r) }); i >= 0 {
			evidence = rollouts[i].ID
		}
		if _, err := t.exec(`INSERT INTO minutes (service, env, release_id, minute, rollout_id, doc) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (service, env, release_id, minute) DO UPDATE SET doc = excluded.doc`,
			m.Service, m.Env, m.Release, m.At.Unix(), evidence, string(m.Doc)); err != nil {
			return wrap("put minutes", err)
		}
		t.book("")
	}
	return nil
}

// selectRecent finds the rollout that owns a place, and the last that did.
const selectRecent = `SELECT doc FROM rollouts WHERE service = $1 AND env = $2 AND (active OR NOT open) ORDER BY active DESC, seq DESC LIMIT 5`

// within says whether the minute that begins at at is evidence of a rollout.
func within(at time.Time, r delivery.Rollout) bool {
	begun := !r.Started.IsZero() && !at.Add(time.Minute).Before(r.Started.Add(-foreword))
	return begun && (r.Ended.IsZero() || !at.After(r.Ended))
}

// claim marks the minutes that are there as evidence of a rollout that begins.
func (t *Tx) claim(r delivery.Rollout) error {
	_, err := t.exec(`UPDATE minutes SET rollout_id = $1 WHERE service = $2 AND env = $3 AND minute >= $4 AND rollout_id = ''`,
		r.ID, r.Service, r.Env, r.Started.Add(-foreword-time.Minute).Unix())
	return err
}

// Minutes returns the minutes that q selects, oldest first.
func (r Reader) Minutes(ctx context.Context, q MinuteQuery) ([]Minute, error) {
	most := MaxMinutes * time.Minute
	if q.Service == "" {
		most = time.Hour
	}
	if span := q.To.Sub(q.From); span > most {
		return nil, fmt.Errorf("store: minutes: %w", delivery.Invalid("to", fmt.Sprintf("is %s after from; %s can be read at once", span, most)))
	}
	var w where
	w.add("minute >= ", q.From.Unix())
	w.add("minute < ", q.To.Unix())
	if q.Service != "" {
		w.add("service = ", q.Service)
	}
	if q.Env != "" {
		w.add("env = ", q.Env)
	}
	if q.Release != "" {
		w.add("release_id = ", q.Release)
	}
	rows, err := r.q.query(ctx, `SELECT service, env, release_id, minute, doc FROM minutes`+w.text()+` ORDER BY minute, service, env, release_id`, w.args...)
	if err != nil {
		return nil, wrap("minutes", err)
	}
	defer rows.Close()
	var list []Minute
	for rows.Next() {
		var m Minute
		var at int64
		var doc string
		if err := rows.Scan(&m.Service, &m.Env, &m.Release, &at, &doc); err != nil {
			return nil, wrap("minutes", err)
		}
		m.At, m.Doc = time.Unix(at, 0).UTC(), json.RawMessage(doc)
		list = append(list, m)
	}
	return list, wrap("minutes", rows.Err())
}

// PruneMinutes forgets a stride of minutes that began before the given time and
// are evidence of no rollout, and returns how many. Call it again until it is 0.
func (t *Tx) PruneMinutes(before time.Time) (int, error) {
	n, err := t.exec(`DELETE FROM minutes WHERE (service, env, release_id, minute) IN
		(SELECT service, env, release_id, minute FROM minutes WHERE rollout_id = '' AND minute < $1 ORDER BY minute LIMIT $2)`, before.Unix(), stride)
	t.book("")
	return int(n), wrap("prune minutes", err)
}

// PutTrace keeps a trace, in the place of what was known of it. Of each change
// the newest MaxTraces are kept. It needs no line in the ledger.
func (t *Tx) PutTrace(tr delivery.Trace) error {
	what := "put trace " + tr.ID
	if tr.ID == "" || tr.At.IsZero() {
		return fmt.Errorf("store: %s: %w", what, delivery.Invalid("trace", "needs an ID and a time"))
	}
	doc, err := document(tr)
	if err != nil {
		return wrap(what, err)
	}
	if len(doc) > MaxTraceBytes {
		return fmt.Errorf("store: %s: %w", what, delivery.Invalid("trace", fmt.Sprintf("has %d bytes; %d can be kept", len(doc), MaxTraceBytes)))
	}
	if _, err := t.exec(`INSERT INTO traces (id, change_id, at, doc) VALUES ($1, $2, $3, $4)
		ON CONFLICT (id) DO UPDATE SET change_id = excluded.change_id, at = excluded.at, doc = excluded.doc`,
		tr.ID, tr.Change, tr.At.Unix(), doc); err != nil {
		return wrap(what, err)
	}
	t.book("")
	_, err = t.exec(`DELETE FROM traces WHERE id IN
		(SELECT id FROM traces WHERE change_id = $1 ORDER BY at DESC, id LIMIT 1000 OFFSET $2)`, tr.Change, MaxTraces)
	return wrap(what, err)
}

// Traces returns the traces kept of a change, newest first.
func (r Reader) Traces(ctx context.Context, id delivery.ChangeID) ([]delivery.Trace, error) {
	list, err := all[delivery.Trace](ctx, r.q, `SELECT doc FROM traces WHERE change_id = $1 ORDER BY at DESC, id`, id)
	return list, wrap("traces", err)
}

// Trace returns one trace, if it is kept.
func (r Reader) Trace(ctx context.Context, id string) (tr delivery.Trace, found bool, err error) {
	tr, found, err = one[delivery.Trace](ctx, r.q, `SELECT doc FROM traces WHERE id = $1`, id)
	return tr, found, wrap("trace "+id, err)
}

// PruneTraces forgets a stride of traces from before the given time that are not
// lasting, and returns how many. Call it again until it is 0.
func (t *Tx) PruneTraces(before time.Time) (int, error) {
	n, err := t.exec(`DELETE FROM traces WHERE id IN (SELECT id FROM traces WHERE at < $1 AND NOT lasting ORDER BY at LIMIT $2)`, before.Unix(), stride)
	t.book("")
	return int(n), wrap("prune traces", err)
}
