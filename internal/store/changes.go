package store

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// ChangeQuery selects changes, newest first. Zero fields select everything.
type ChangeQuery struct {
	Service string
	Env     string            // it has been queued for this environment
	Kind    delivery.Kind     // among its kinds
	States  []delivery.State  // one of its rollouts, in Env if that is set, is in one of these
	Person  string            // who submitted it
	From    time.Time         // submitted then or later
	To      time.Time         // submitted before then
	Before  delivery.ChangeID // exclusive
	Limit   int               // 0: DefaultLimit; at most MaxLimit
}

// Changes returns the changes that q selects, newest first.
func (r Reader) Changes(ctx context.Context, q ChangeQuery) ([]delivery.Change, error) {
	var w where
	from := `SELECT doc FROM changes`
	if q.Service != "" {
		from = `SELECT changes.doc FROM change_members JOIN changes ON changes.id = change_members.change_id`
		w.add("change_members.service = ", q.Service)
	}
	if q.Person != "" {
		w.add("changes.person = ", q.Person)
	}
	if !q.From.IsZero() {
		w.add("changes.submitted >= ", q.From.UnixMicro())
	}
	if !q.To.IsZero() {
		w.add("changes.submitted < ", q.To.UnixMicro())
	}
	if q.Kind != "" {
		w.within("changes.id", "SELECT change_id FROM change_kinds", "kind", string(q.Kind))
	}
	switch {
	case len(q.States) > 0:
		w.rolled(q)
	case q.Env != "":
		w.within("changes.id", "SELECT change_id FROM rollouts", "env", q.Env)
	}
	if q.Before > 0 {
		w.add("changes.id < ", q.Before)
	}
	list, err := all[delivery.Change](ctx, r.q, from+w.text()+` ORDER BY changes.id DESC`+w.limit(q.Limit), w.args...)
	return list, wrap("changes", err)
}

// within adds that column is among what a select with one condition finds.
func (w *where) within(column, text, name, value string) {
	w.add(column+" IN ("+text+" WHERE "+name+" = ", value)
	w.conds[len(w.conds)-1] += ")"
}

// rolled adds that a rollout of the change is in one of the states.
func (w *where) rolled(q ChangeQuery) {
	var marks []string
	for _, s := range q.States {
		w.args = append(w.args, s)
		marks = append(marks, "$"+strconv.Itoa(len(w.args)))
	}
	cond := "changes.id IN (SELECT change_id FROM rollouts WHERE state IN (" + strings.Join(marks, ", ") + ")"
	if q.Env != "" {
		w.args = append(w.args, q.Env)
		cond += " AND env = $" + strconv.Itoa(len(w.args))
	}
	w.conds = append(w.conds, cond+")")
}

// People returns who has submitted changes, by name, at most limit of them.
func (r Reader) People(ctx context.Context, limit int) ([]string, error) {
	rows, err := r.q.query(ctx, `SELECT DISTINCT person FROM changes ORDER BY person LIMIT $1`, atMost(limit))
	if err != nil {
		return nil, wrap("people", err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, wrap("people", err)
		}
		list = append(list, name)
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" }), wrap("people", rows.Err())
}

// RolloutsOf returns the rollouts of each of these changes, oldest first. A change
// without any is left out.
func (r Reader) RolloutsOf(ctx context.Context, ids []delivery.ChangeID) (map[delivery.ChangeID][]delivery.Rollout, error) {
	out := map[delivery.ChangeID][]delivery.Rollout{}
	for chunk := range slices.Chunk(ids, maxTogether) {
		args := make([]any, maxTogether) // what is left over asks for change 0, which is none
		for i := range args {
			args[i] = 0
		}
		for i, id := range chunk {
			args[i] = id
		}
		list, err := all[delivery.Rollout](ctx, r.q, selectRolloutsOf, args...)
		if err != nil {
			return nil, wrap("rollouts of changes", err)
		}
		for _, rollout := range list {
			out[rollout.Change] = append(out[rollout.Change], rollout)
		}
	}
	return out, nil
}

// maxTogether is how many changes one statement asks for.
const maxTogether = 10

const selectRolloutsOf = `SELECT doc FROM rollouts WHERE change_id IN ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ORDER BY seq`
