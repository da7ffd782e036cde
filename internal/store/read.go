package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Rows returned by a read that does not say how many it wants, and by one that wants too many.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// querier runs a reading statement: the pool of a Store or the one transaction of a Tx.
type querier interface {
	query(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// Reader is every read. A Store reads what is committed; a Tx reads that and its
// own writes, and goes on when ctx ends.
type Reader struct{ q querier }

// RolloutQuery selects rollouts, newest first. Zero fields select everything.
type RolloutQuery struct {
	Service   string
	Env       string
	Change    delivery.ChangeID
	Open      bool  // only those that are not final
	BeforeSeq int64 // exclusive
	Limit     int   // 0: DefaultLimit; at most MaxLimit
}

// EventQuery selects lines of the ledger, oldest first. Zero fields select everything.
type EventQuery struct {
	Since   int64 // exclusive
	Before  int64 // exclusive
	Change  delivery.ChangeID
	Rollout delivery.RolloutID
	Service string
	Env     string
	Newest  bool // newest first, so that Limit keeps the newest
	Limit   int  // 0: DefaultLimit; at most MaxLimit
}

// HoldRecord is a hold and, once it is lifted, who lifted it.
type HoldRecord struct {
	delivery.Hold
	Lifted *Lifted `json:"lifted,omitempty"`
}

// Lifted says who lifted a hold, why, and when.
type Lifted struct {
	By  string    `json:"by"`
	Why string    `json:"why,omitempty"`
	At  time.Time `json:"at"`
}

// Project returns the project in force and the bytes of the file it came from.
// With none yet the error is a Refusal with CodeNoProject that matches ErrNotFound.
func (r Reader) Project(ctx context.Context) (delivery.Project, []byte, error) {
	var p delivery.Project
	var yaml, doc string
	found, err := first(ctx, r.q, []any{&doc, &yaml}, `SELECT doc, yaml FROM projects WHERE id = 1`)
	if err == nil && found {
		err = json.Unmarshal([]byte(doc), &p)
	}
	if err != nil {
		return p, nil, fmt.Errorf("store: project: %w", err)
	}
	if !found {
		return p, nil, &delivery.Refusal{Code: delivery.CodeNoProject, Field: "project", Why: "there is no project yet", Next: "slipway up"}
	}
	return p, []byte(yaml), nil
}

// ProjectLine returns the line of the ledger that says who put the project in force.
func (r Reader) ProjectLine(ctx context.Context) (e delivery.Event, found bool, err error) {
	lines, err := events(ctx, r.q, `SELECT e.doc, e.hash FROM projects p JOIN events e ON e.seq = p.line WHERE p.id = 1`)
	if err != nil || len(lines) == 0 {
		return e, false, wrap("project line", err)
	}
	return lines[0], true, nil
}

// Release returns one release.
func (r Reader) Release(ctx context.Context, id delivery.ReleaseID) (delivery.Release, error) {
	rel, found, err := one[delivery.Release](ctx, r.q, selectRelease, id)
	return known(rel, found, err, delivery.CodeUnknownVersion, "release", string(id))
}

// ReleaseNamed returns the newest release of service that people call version.
func (r Reader) ReleaseNamed(ctx context.Context, service, version string) (delivery.Release, error) {
	rel, found, err := one[delivery.Release](ctx, r.q,
		`SELECT doc FROM releases WHERE service = $1 AND version = $2 ORDER BY seq DESC LIMIT 1`, service, version)
	return known(rel, found, err, delivery.CodeUnknownVersion, "version", version)
}

// Releases returns the releases of service, newest first.
func (r Reader) Releases(ctx context.Context, service string, limit int) ([]delivery.Release, error) {
	list, err := all[delivery.Release](ctx, r.q,
		`SELECT doc FROM releases WHERE service = $1 ORDER BY seq DESC LIMIT $2`, service, atMost(limit))
	return list, wrap("releases", err)
}

// Change returns one change.
func (r Reader) Change(ctx context.Context, id delivery.ChangeID) (delivery.Change, error) {
	c, found, err := one[delivery.Change](ctx, r.q, `SELECT doc FROM changes WHERE id = $1`, id)
	return known(c, found, err, delivery.CodeUnknownChange, "change", strconv.FormatInt(int64(id), 10))
}

// Rollout returns one rollout.
func (r Reader) Rollout(ctx context.Context, id delivery.RolloutID) (delivery.Rollout, error) {
	ro, found, err := one[delivery.Rollout](ctx, r.q, `SELECT doc FROM rollouts WHERE id = $1`, id)
	return known(ro, found, err, delivery.CodeUnknownChange, "rollout", string(id))
}

// Rollouts returns the rollouts that q selects, newest first.
func (r Reader) Rollouts(ctx context.Context, q RolloutQuery) ([]delivery.Rollout, error) {
	var w where
	if q.Service != "" {
		w.add("service = ", q.Service)
	}
	if q.Env != "" {
		w.add("env = ", q.Env)
	}
	if q.Change != 0 {
		w.add("change_id = ", q.Change)
	}
	if q.Open {
		w.add("open", nil)
	}
	if q.BeforeSeq > 0 {
		w.add("seq < ", q.BeforeSeq)
	}
	list, err := all[delivery.Rollout](ctx, r.q, `SELECT doc FROM rollouts`+w.text()+` ORDER BY seq DESC`+w.limit(q.Limit), w.args...)
	return list, wrap("rollouts", err)
}

// Stables returns every stable pointer, by service and environment.
func (r Reader) Stables(ctx context.Context) ([]delivery.Stable, error) {
	list, err := all[delivery.Stable](ctx, r.q, selectStables)
	return list, wrap("stables", err)
}

// Holds returns the holds in force, oldest first.
func (r Reader) Holds(ctx context.Context) ([]delivery.Hold, error) {
	list, err := all[delivery.Hold](ctx, r.q, selectHolds)
	return list, wrap("holds", err)
}

// HoldsAll returns holds, lifted ones too, newest first.
func (r Reader) HoldsAll(ctx context.Context, limit int) ([]HoldRecord, error) {
	list, err := all[HoldRecord](ctx, r.q, `SELECT doc FROM holds ORDER BY id DESC LIMIT $1`, atMost(limit))
	return list, wrap("holds", err)
}

// HoldsOf returns the holds on a service and its releases, lifted ones too, newest first.
func (r Reader) HoldsOf(ctx context.Context, service string, limit int) ([]HoldRecord, error) {
	list, err := all[HoldRecord](ctx, r.q, `SELECT doc FROM holds WHERE service = $1 ORDER BY id DESC LIMIT $2`, service, atMost(limit))
	return list, wrap("holds", err)
}

// Routes returns every route, by service and environment.
func (r Reader) Routes(ctx context.Context) ([]delivery.Route, error) {
	list, err := all[delivery.Route](ctx, r.q, selectRoutes)
	return list, wrap("routes", err)
}

// Wants returns every want, by service, environment and release.
func (r Reader) Wants(ctx context.Context) ([]delivery.Want, error) {
	list, err := all[delivery.Want](ctx, r.q, selectWants)
	return list, wrap("wants", err)
}

// Events returns the lines of the ledger that q selects.
func (r Reader) Events(ctx context.Context, q EventQuery) ([]delivery.Event, error) {
	var w where
	if q.Since > 0 {
		w.add("seq > ", q.Since)
	}
	if q.Before > 0 {
		w.add("seq < ", q.Before)
	}
	if q.Change != 0 {
		w.add("change_id = ", q.Change)
	}
	if q.Rollout != "" {
		w.add("rollout_id = ", q.Rollout)
	}
	if q.Service != "" {
		w.add("service = ", q.Service)
	}
	if q.Env != "" {
		w.add("env = ", q.Env)
	}
	order := ` ORDER BY seq`
	if q.Newest {
		order = ` ORDER BY seq DESC`
	}
	list, err := events(ctx, r.q, `SELECT doc, hash FROM events`+w.text()+order+w.limit(q.Limit), w.args...)
	return list, wrap("events", err)
}

// Allotted returns every number that Allot gave out, by name.
func (r Reader) Allotted(ctx context.Context) (map[string]int, error) {
	rows, err := r.q.query(ctx, `SELECT name, number FROM allotments`)
	if err != nil {
		return nil, wrap("allotted", err)
	}
	defer rows.Close()
	out := map[string]int{}
	for rows.Next() {
		var name string
		var number int
		if err := rows.Scan(&name, &number); err != nil {
			return nil, wrap("allotted", err)
		}
		out[name] = number
	}
	return out, wrap("allotted", rows.Err())
}

// The reads of Snapshot; the single methods share some.
const (
	selectRevisions = `SELECT part, n FROM revisions`
	selectProject   = `SELECT doc FROM projects WHERE id = 1`
	selectRelease   = `SELECT doc FROM releases WHERE id = $1`
	selectStables   = `SELECT doc FROM stables ORDER BY service, env`
	selectHolds     = `SELECT doc FROM holds WHERE active ORDER BY id`
	selectRoutes    = `SELECT doc FROM routes ORDER BY service, env`
	selectWants     = `SELECT doc FROM wants ORDER BY service, env, release_id`
	selectRollouts  = `SELECT doc FROM rollouts WHERE open ORDER BY seq`
)

// endedAtOnce is of how many changes selectEnded reads.
const endedAtOnce = 100

// selectEnded is the final rollouts of endedAtOnce changes, by change, of each the
// newest first.
var selectEnded = func() string {
	places := make([]string, endedAtOnce)
	for i := range places {
		places[i] = "$" + strconv.Itoa(i+1)
	}
	return `SELECT doc FROM rollouts WHERE NOT open AND change_id IN (` + strings.Join(places, ", ") + `) ORDER BY change_id, seq DESC`
}()

// viewed returns the texts that a view runs often, to be prepared before there is one.
func viewed() []string {
	return []string{selectRevisions, selectProject, selectRelease, selectStables, selectHolds, selectRoutes, selectWants, selectRollouts, selectEnded}
}

// where adds up the conditions of one statement and their arguments.
type where struct {
	conds []string
	args  []any
}

// add appends "column op " and its argument; a nil argument stands for none.
func (w *where) add(cond string, arg any) {
	if arg != nil {
		w.args = append(w.args, arg)
		cond += "$" + strconv.Itoa(len(w.args))
	}
	w.conds = append(w.conds, cond)
}

func (w *where) text() string {
	if len(w.conds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conds, " AND ")
}

func (w *where) limit(n int) string {
	w.args = append(w.args, atMost(n))
	return " LIMIT $" + strconv.Itoa(len(w.args))
}

func atMost(limit int) int {
	if limit <= 0 {
		return DefaultLimit
	}
	return min(limit, MaxLimit)
}

// first scans the first row into dest and reports whether there was one.
func first(ctx context.Context, q querier, dest []any, text string, args ...any) (bool, error) {
	rows, err := q.query(ctx, text, args...)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return false, rows.Err()
	}
	return true, errors.Join(rows.Scan(dest...), rows.Close(), rows.Err())
}

// one decodes the document of the first row.
func one[T any](ctx context.Context, q querier, text string, args ...any) (v T, found bool, err error) {
	var doc string
	found, err = first(ctx, q, []any{&doc}, text, args...)
	if err == nil && found {
		err = json.Unmarshal([]byte(doc), &v)
	}
	return v, found, err
}

// all decodes the document of every row.
func all[T any](ctx context.Context, q querier, text string, args ...any) ([]T, error) {
	rows, err := q.query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		var doc sql.RawBytes
		if err := rows.Scan(&doc); err != nil {
			return nil, err
		}
		var v T
		if err := json.Unmarshal(doc, &v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// events decodes rows of doc and hash.
func events(ctx context.Context, q querier, text string, args ...any) ([]delivery.Event, error) {
	rows, err := q.query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []delivery.Event
	for rows.Next() {
		var doc sql.RawBytes
		var hash string
		if err := rows.Scan(&doc, &hash); err != nil {
			return nil, err
		}
		var e delivery.Event
		if err := json.Unmarshal(doc, &e); err != nil {
			return nil, err
		}
		e.Hash = hash
		list = append(list, e)
	}
	return list, rows.Err()
}

// known turns an absence into the refusal that names what was looked for.
func known[T any](v T, found bool, err error, code delivery.RefusalCode, field, name string) (T, error) {
	if err != nil {
		return v, fmt.Errorf("store: %s %s: %w", field, name, err)
	}
	if !found {
		return v, delivery.Unknown(code, field, name, nil, "slipway history")
	}
	return v, nil
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("store: %s: %w", what, err)
}
