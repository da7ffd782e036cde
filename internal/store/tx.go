package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Tx is one write under way. It is valid within the function given to Write,
// in that goroutine. Its reads see its own writes. After an error of the engine
// the write as a whole fails, whatever the function returns.
type Tx struct {
	Reader
	w        *writer
	over     bool
	failed   error // first error of the engine
	changed  []string
	recorded int // lines added to the ledger
}

// The parts of the world whose revisions are counted.
const (
	partProject  = "project"
	partStables  = "stables"
	partHolds    = "holds"
	partRoutes   = "routes"
	partWants    = "wants"
	partRollouts = "rollouts"
)

// SaveProject makes p the project in force. yaml is the file it was read from, in UTF-8.
func (t *Tx) SaveProject(p delivery.Project, yaml []byte) error {
	if !utf8.Valid(yaml) || strings.ContainsRune(string(yaml), 0) {
		return fmt.Errorf("store: save project: %w", delivery.Invalid("yaml", "is not UTF-8 text"))
	}
	doc, err := document(p)
	if err != nil {
		return wrap("save project", err)
	}
	n, err := t.exec(`INSERT INTO projects (id, doc, yaml) VALUES (1, $1, $2)
		ON CONFLICT (id) DO UPDATE SET doc = excluded.doc, yaml = excluded.yaml
		WHERE projects.doc <> excluded.doc OR projects.yaml <> excluded.yaml`, doc, string(yaml))
	if n > 0 {
		t.touch("the project", partProject)
	}
	return wrap("save project", err)
}

// PutRelease keeps a sealed release. One that is there already stays as it is.
func (t *Tx) PutRelease(r delivery.Release) error {
	if sealed := r.Seal().ID; r.ID != sealed {
		return fmt.Errorf("store: put release: %w", delivery.Invalid("release.id", fmt.Sprintf("is %q but its content is %s", r.ID, sealed)))
	}
	doc, err := document(r)
	if err != nil {
		return wrap("put release", err)
	}
	n, err := t.exec(`INSERT INTO releases (id, seq, service, version, doc)
		SELECT $1, COALESCE(MAX(seq), 0) + 1, $2, $3, $4 FROM releases WHERE TRUE
		ON CONFLICT (id) DO NOTHING`, r.ID, r.Service, r.Version, doc)
	if n > 0 {
		t.touch("release "+string(r.ID), "")
	}
	return wrap("put release", err)
}

// CreateChange keeps a new change and returns it with its ID.
func (t *Tx) CreateChange(c delivery.Change) (delivery.Change, error) {
	if len(c.Members) == 0 {
		return c, fmt.Errorf("store: create change: %w", delivery.Invalid("members", "are none"))
	}
	id, err := t.next("change")
	if err != nil {
		return c, wrap("create change", err)
	}
	c.ID = delivery.ChangeID(id)
	doc, err := document(c)
	if err != nil {
		return c, wrap("create change", err)
	}
	if _, err := t.exec(`INSERT INTO changes (id, doc, submitted, person) VALUES ($1, $2, $3, $4)`, id, doc, max(c.Submitted.UnixMicro(), 1), c.By); err != nil {
		return c, wrap("create change", err)
	}
	for _, kind := range c.Kinds {
		if _, err := t.exec(insertKind, kind, id); err != nil {
			return c, wrap("create change", err)
		}
	}
	for _, m := range c.Members {
		if _, err := t.exec(`INSERT INTO change_members (service, change_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, m.Service, id); err != nil {
			return c, wrap("create change", err)
		}
	}
	t.touch(fmt.Sprintf("change %d", id), "")
	return c, nil
}

// CreateRollout keeps a new rollout and returns it with its Seq, at generation 1.
// An ID that is taken, or a second active rollout of the same service and
// environment, is refused with delivery.ErrConflict.
func (t *Tx) CreateRollout(r delivery.Rollout) (delivery.Rollout, error) {
	what := "create rollout " + string(r.ID)
	switch {
	case r.ID == "":
		return r, fmt.Errorf("store: create rollout: %w", delivery.Invalid("rollout.id", "is empty"))
	case r.Service == "" || r.Env == "":
		return r, fmt.Errorf("store: %s: %w", what, delivery.Invalid("rollout", "names no service or no environment"))
	}
	if _, err := t.Change(t.w.ctx, r.Change); err != nil {
		return r, fmt.Errorf("store: %s: %w", what, err)
	}
	_, taken, err := one[delivery.Rollout](t.w.ctx, t, `SELECT doc FROM rollouts WHERE id = $1`, r.ID)
	if err != nil {
		return r, wrap(what, err)
	}
	if taken {
		return r, fmt.Errorf("store: %s: it is there already: %w", what, delivery.ErrConflict)
	}
	if err := t.alone(r); err != nil {
		return r, wrap(what, err)
	}
	seq, err := t.next("rollout")
	if err != nil {
		return r, wrap(what, err)
	}
	r.Seq, r.Gen = seq, 1
	doc, err := document(r)
	if err != nil {
		return r, wrap(what, err)
	}
	_, err = t.exec(`INSERT INTO rollouts (id, seq, change_id, service, env, gen, open, active, state, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		r.ID, r.Seq, r.Change, r.Service, r.Env, r.Gen, !r.State.Final(), r.State.Active(), r.State, doc)
	t.touch("rollout "+string(r.ID), partRollouts)
	return r, wrap(what, err)
}

// SaveRollout moves a rollout: r.Gen must be the generation that is stored, and
// one more is stored and returned. Another generation, or a second active
// rollout of the same service and environment, is refused with
// delivery.ErrConflict; a move that the state machine does not have, or another
// place or change, with delivery.ErrInvalid.
func (t *Tx) SaveRollout(r delivery.Rollout) (delivery.Rollout, error) {
	what := "save rollout " + string(r.ID)
	old, err := t.Rollout(t.w.ctx, r.ID)
	switch {
	case err != nil:
		return r, wrap(what, err)
	case old.Gen != r.Gen:
		return r, fmt.Errorf("store: %s: it is at generation %d, not %d: %w", what, old.Gen, r.Gen, delivery.ErrConflict)
	case old.Service != r.Service || old.Env != r.Env || old.Change != r.Change || old.Seq != r.Seq:
		return r, fmt.Errorf("store: %s: %w", what, delivery.Invalid("rollout", "a rollout keeps its change, service, environment and place in the order"))
	case !old.State.MayMove(r.State):
		return r, fmt.Errorf("store: %s: %w", what, delivery.Invalid("rollout.state", fmt.Sprintf("%s never becomes %s", old.State, r.State)))
	}
	if err := t.alone(r); err != nil {
		return r, wrap(what, err)
	}
	next := r
	next.Gen++
	doc, err := document(next)
	if err != nil {
		return r, wrap(what, err)
	}
	n, err := t.exec(`UPDATE rollouts SET gen = $1, open = $2, active = $3, state = $4, doc = $5 WHERE id = $6 AND gen = $7`,
		next.Gen, !next.State.Final(), next.State.Active(), next.State, doc, r.ID, r.Gen)
	if err != nil {
		return r, wrap(what, err)
	}
	if n != 1 {
		return r, fmt.Errorf("store: %s: %w", what, delivery.ErrConflict)
	}
	if old.Started.IsZero() && !next.Started.IsZero() {
		if err := t.claim(next); err != nil {
			return r, wrap(what, err)
		}
	}
	t.touch("rollout "+string(r.ID), partRollouts)
	return next, nil
}

// alone refuses an active rollout where another one is active.
func (t *Tx) alone(r delivery.Rollout) error {
	if !r.State.Active() {
		return nil
	}
	var other string
	found, err := first(t.w.ctx, t, []any{&other}, `SELECT id FROM rollouts WHERE service = $1 AND env = $2 AND active AND id <> $3`, r.Service, r.Env, r.ID)
	if err != nil || !found {
		return err
	}
	return fmt.Errorf("rollout %s is active in %s of %s: %w", other, r.Env, r.Service, delivery.ErrConflict)
}

// SetStable moves the stable pointer of a service in an environment.
func (t *Tx) SetStable(s delivery.Stable) error {
	what := "set stable " + s.Service + "/" + s.Env
	if s.Service == "" || s.Env == "" || s.Release == "" {
		return fmt.Errorf("store: %s: %w", what, delivery.Invalid("stable", "needs a service, an environment and a release"))
	}
	doc, err := document(s)
	if err != nil {
		return wrap(what, err)
	}
	n, err := t.exec(`INSERT INTO stables (service, env, doc) VALUES ($1, $2, $3)
		ON CONFLICT (service, env) DO UPDATE SET doc = excluded.doc WHERE stables.doc <> excluded.doc`, s.Service, s.Env, doc)
	if n > 0 {
		t.touch("stable "+s.Service+"/"+s.Env, partStables)
	}
	return wrap(what, err)
}

// PutHold keeps a hold and returns it with its ID. If the same thing is held
// already (a quarantine of the same release, a pin of the same service and
// environment), that hold is returned and nothing changes.
func (t *Tx) PutHold(h delivery.Hold) (delivery.Hold, error) {
	if err := checkHold(h); err != nil {
		return h, wrap("put hold", err)
	}
	text := `SELECT doc FROM holds WHERE active AND kind = $1 AND service = $2 AND env = $3`
	args := []any{h.Kind, h.Service, h.Env}
	if h.Kind == delivery.Quarantine {
		text, args = `SELECT doc FROM holds WHERE active AND kind = $1 AND release_id = $2`, []any{h.Kind, h.Release}
	}
	old, found, err := one[delivery.Hold](t.w.ctx, t, text, args...)
	if err != nil || found {
		return old, wrap("put hold", err)
	}
	if h.ID, err = t.next("hold"); err != nil {
		return h, wrap("put hold", err)
	}
	doc, err := document(HoldRecord{Hold: h})
	if err != nil {
		return h, wrap("put hold", err)
	}
	_, err = t.exec(`INSERT INTO holds (id, kind, service, env, release_id, active, doc) VALUES ($1, $2, $3, $4, $5, TRUE, $6)`,
		h.ID, h.Kind, h.Service, h.Env, h.Release, doc)
	t.touch(fmt.Sprintf("hold %d", h.ID), partHolds)
	return h, wrap("put hold", err)
}

func checkHold(h delivery.Hold) error {
	switch {
	case h.Service == "":
		return delivery.Invalid("hold.service", "is empty")
	case h.Kind == delivery.Quarantine && h.Release == "":
		return delivery.Invalid("hold.release", "a quarantine names a release")
	case h.Kind == delivery.Pinned && h.Env == "":
		return delivery.Invalid("hold.env", "a pin names an environment")
	case h.Kind != delivery.Quarantine && h.Kind != delivery.Pinned:
		return delivery.Invalid("hold.kind", fmt.Sprintf("%q is neither quarantine nor pin", h.Kind))
	}
	return nil
}

// LiftHold ends a hold and returns it. One that is not in force is refused with CodeUnknownHold.
func (t *Tx) LiftHold(id int64, by, why string, at time.Time) (delivery.Hold, error) {
	h, found, err := one[HoldRecord](t.w.ctx, t, `SELECT doc FROM holds WHERE id = $1`, id)
	if err != nil {
		return h.Hold, wrap("lift hold", err)
	}
	refusal := delivery.Refusal{Code: delivery.CodeUnknownHold, Field: "hold", Next: "slipway status"}
	switch {
	case !found:
		refusal.Why = fmt.Sprintf("there is no hold %d", id)
		return h.Hold, &refusal
	case h.Lifted != nil:
		refusal.Why = fmt.Sprintf("hold %d was lifted by %s at %s", id, h.Lifted.By, h.Lifted.At.Format(time.RFC3339))
		return h.Hold, &refusal
	}
	h.Lifted = &Lifted{By: by, Why: why, At: at}
	doc, err := document(h)
	if err != nil {
		return h.Hold, wrap("lift hold", err)
	}
	_, err = t.exec(`UPDATE holds SET active = FALSE, doc = $1 WHERE id = $2`, doc, id)
	t.touch(fmt.Sprintf("hold %d", id), partHolds)
	return h.Hold, wrap("lift hold", err)
}

// SaveRoute keeps the desired split of a service in an environment. A generation
// below the stored one is refused with delivery.ErrConflict, and so is another
// split under the same generation: a data plane that has acknowledged it would
// never take it. Acked never goes down.
func (t *Tx) SaveRoute(r delivery.Route) error {
	what := "save route " + r.Service + "/" + r.Env
	if err := r.Validate(); err != nil {
		return wrap(what, err)
	}
	if r.Service == "" || r.Env == "" || r.Acked > r.Gen {
		return fmt.Errorf("store: %s: %w", what, delivery.Invalid("route", "needs a service, an environment and an acknowledged generation that exists"))
	}
	old, found, err := t.route(r.Service, r.Env)
	if err != nil {
		return wrap(what, err)
	}
	if found {
		switch {
		case r.Gen < old.Gen:
			return fmt.Errorf("store: %s: it is at generation %d, not %d: %w", what, old.Gen, r.Gen, delivery.ErrConflict)
		case r.Gen == old.Gen && !sameSplit(r, old):
			return fmt.Errorf("store: %s: generation %d is another split: %w", what, r.Gen, delivery.ErrConflict)
		case r.Gen == old.Gen:
			return t.MarkAcked(r.Service, r.Env, r.Acked)
		}
		r.Acked = max(r.Acked, old.Acked)
	}
	t.touch("route "+r.Service+"/"+r.Env, partRoutes)
	return wrap(what, t.putRoute(r))
}

// MarkAcked remembers the highest generation of a route that the data plane has
// acknowledged. A lower one changes nothing; one that was never saved is
// refused with delivery.ErrConflict.
func (t *Tx) MarkAcked(service, env string, gen int64) error {
	what := "mark acked " + service + "/" + env
	r, found, err := t.route(service, env)
	switch {
	case err != nil:
		return wrap(what, err)
	case !found || gen > r.Gen:
		return fmt.Errorf("store: %s: generation %d was never saved, %d is the newest: %w", what, gen, r.Gen, delivery.ErrConflict)
	case gen <= r.Acked:
		return nil
	}
	r.Acked = gen
	t.book(partRoutes)
	return wrap(what, t.putRoute(r))
}

func (t *Tx) route(service, env string) (delivery.Route, bool, error) {
	return one[delivery.Route](t.w.ctx, t, `SELECT doc FROM routes WHERE service = $1 AND env = $2`, service, env)
}

func (t *Tx) putRoute(r delivery.Route) error {
	doc, err := document(r)
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO routes (service, env, doc) VALUES ($1, $2, $3) ON CONFLICT (service, env) DO UPDATE SET doc = excluded.doc`,
		r.Service, r.Env, doc)
	return err
}

// sameSplit reports whether a data plane that has one need not be given the other.
func sameSplit(a, b delivery.Route) bool {
	if len(a.Split) != len(b.Split) || a.Preview != b.Preview || a.Salt != b.Salt {
		return false
	}
	for i := range a.Split {
		if a.Split[i] != b.Split[i] {
			return false
		}
	}
	return true
}

// SetWant keeps how many instances of a release shall run; a Count of 0 forgets it.
func (t *Tx) SetWant(w delivery.Want) error {
	what := "set want " + w.Service + "/" + w.Env + "/" + string(w.Release)
	if w.Service == "" || w.Env == "" || w.Release == "" || w.Count < 0 {
		return fmt.Errorf("store: %s: %w", what, delivery.Invalid("want", "needs a service, an environment, a release and a count of 0 or more"))
	}
	doc, err := document(w)
	if err != nil {
		return wrap(what, err)
	}
	var n int64
	if w.Count == 0 {
		n, err = t.exec(`DELETE FROM wants WHERE service = $1 AND env = $2 AND release_id = $3`, w.Service, w.Env, w.Release)
	} else {
		n, err = t.exec(`INSERT INTO wants (service, env, release_id, doc) VALUES ($1, $2, $3, $4)
			ON CONFLICT (service, env, release_id) DO UPDATE SET doc = excluded.doc WHERE wants.doc <> excluded.doc`,
			w.Service, w.Env, w.Release, doc)
	}
	if n > 0 {
		t.touch("want "+w.Service+"/"+w.Env, partWants)
	}
	return wrap(what, err)
}

// touch notes that state has changed, and which part of the world, if any, has to be read again.
func (t *Tx) touch(what, part string) {
	t.changed = append(t.changed, what)
	t.book(part)
}

// book notes a change that needs no line in the ledger.
func (t *Tx) book(part string) {
	t.w.group.changed = true
	if part != "" {
		t.w.group.parts[part] = true
	}
}

// complete says whether the write may be kept.
func (t *Tx) complete() error {
	if t.failed != nil {
		return fmt.Errorf("store: write: %w", t.failed)
	}
	if len(t.changed) > 0 && t.recorded == 0 {
		return fmt.Errorf("store: write: %w: %s", ErrUnrecorded, strings.Join(t.changed, ", "))
	}
	return nil
}

// errOver is returned by a Tx that is used after its function ended.
var errOver = errors.New("the write is over")

// exec runs a statement that changes something and returns how many rows it changed.
func (t *Tx) exec(text string, args ...any) (int64, error) {
	if t.over {
		return 0, errOver
	}
	st, err := t.w.stmt(text) //nolint:sqlclosecheck // the writer keeps it
	if err != nil {
		return 0, t.fail(err)
	}
	res, err := st.ExecContext(t.w.ctx, args...)
	if err != nil {
		return 0, t.fail(err)
	}
	return res.RowsAffected()
}

// query runs a read on the transaction. ctx is not used: a statement that is
// cut off would take the writes of others with it.
func (t *Tx) query(_ context.Context, text string, args ...any) (*sql.Rows, error) {
	if t.over {
		return nil, errOver
	}
	st, err := t.w.stmt(text) //nolint:sqlclosecheck // the writer keeps it
	if err != nil {
		return nil, t.fail(err)
	}
	rows, err := st.QueryContext(t.w.ctx, args...) //nolint:contextcheck // see above
	if err != nil {
		return nil, t.fail(err)
	}
	return rows, nil
}

func (t *Tx) fail(err error) error {
	err = explain(t.w.path, err)
	if t.failed == nil {
		t.failed = err
	}
	return err
}

// next counts name up and returns the new count.
func (t *Tx) next(name string) (int64, error) {
	var n int64
	_, err := first(t.w.ctx, t, []any{&n}, `INSERT INTO counters (name, value) VALUES ($1, 1)
		ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value`, name)
	return n, err
}

func document(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}
