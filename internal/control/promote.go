package control

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
)

// PromoteRequest asks for a release to enter the next environment, or for a
// step that waits for a person to be left.
type PromoteRequest struct {
	Change  delivery.ChangeID `json:"change,omitempty"`
	Service string            `json:"service,omitempty"` // instead of Change: what is stable before To
	To      string            `json:"to,omitempty"`      // "": the environment after the last one it is stable in
	Reason  string            `json:"reason,omitempty"`
	By      string            `json:"-"`
	Seen    string            `json:"seen,omitempty"`    // mark of an effect: refuse if things have moved on since
	DryRun  bool              `json:"dry_run,omitempty"` // say what would happen, change nothing
}

// Promote moves a release on. A rollout of the change that waits for a person
// is approved; otherwise the release enters the next environment.
func (l *Loop) Promote(ctx context.Context, q PromoteRequest) (Asked, error) {
	var out Asked
	err := l.attempt(ctx, "promote", q.DryRun, func(tx *store.Tx) (err error) {
		out, err = l.moveOn(ctx, tx, q)
		return err
	})
	return out, err
}

// moveOn approves what waits, or brings the release into the next environment.
func (l *Loop) moveOn(ctx context.Context, tx *store.Tx, q PromoteRequest) (Asked, error) {
	p, _, err := tx.Project(ctx)
	if err != nil {
		return Asked{}, err
	}
	w, err := l.worldIn(ctx, tx, p)
	if err != nil {
		return Asked{}, err
	}
	if _, ok := p.Environment(q.To); q.To != "" && !ok {
		return Asked{}, delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", q.To, p.EnvironmentNames(), "slipway status")
	}
	if waiting, ok := waitingOf(w, q); ok {
		return l.askOf(ctx, tx, delivery.AskApprove, waiting, Request{Reason: q.Reason, By: q.By, Seen: q.Seen})
	}
	c, err := l.promotable(ctx, tx, w, q)
	if err != nil {
		if moved := standing(q.Seen, w, c.Service, c.Env); moved != nil && c.Env != "" && !errors.Is(err, delivery.ErrNotFound) {
			return Asked{}, moved
		}
		return Asked{}, err
	}
	return l.promote(ctx, tx, w, c, q)
}

// waitingOf finds the rollout that waits for a person's decision, or that is
// judged in the environment that is named: to promote it there is to approve it.
func waitingOf(w promotion.World, q PromoteRequest) (delivery.Rollout, bool) {
	for _, r := range w.Open {
		if q.To != "" && r.Env != q.To || !promotion.Approvable(r) && (r.State != delivery.Judging || q.To == "") {
			continue
		}
		if q.Change != 0 && r.Change == q.Change || q.Service != "" && r.Service == q.Service {
			return r, true
		}
	}
	return delivery.Rollout{}, false
}

// promotable finds what a request means and checks every gate.
func (l *Loop) promotable(ctx context.Context, tx *store.Tx, w promotion.World, q PromoteRequest) (promotion.Candidate, error) {
	c := promotion.Candidate{Service: q.Service, Env: q.To, Change: q.Change, Person: true}
	if q.Change != 0 {
		change, err := tx.Change(ctx, q.Change)
		if err != nil {
			return c, err
		}
		m := change.Members[0]
		c.Service, c.Release, c.Version = m.Service, m.To, m.Version
	} else if _, _, err := names(w.Project, q.Service, q.To); err != nil {
		return c, err
	}
	at := "" // the last environment it is stable in
	for _, env := range w.Project.EnvironmentNames() {
		if env == c.Env {
			break
		}
		if s, ok := w.Stable(c.Service, env); ok && (c.Release == "" || s.Release == c.Release) {
			if c.Env != "" || at == "" || c.Release != "" {
				at = env
			}
		}
	}
	if at == "" {
		return c, &delivery.Refusal{Code: delivery.CodeNotEligible, Field: "change", Why: c.Service + " is stable nowhere before " + orNext(c.Env) + " with what you ask for", Next: "slipway why " + c.Service}
	}
	if c.Env == "" {
		if c.Env = w.Project.After(at); c.Env == "" {
			return c, &delivery.Refusal{Code: delivery.CodeNothingToDo, Field: "to", Why: fmt.Sprintf("%s %s is stable in %s, the last environment", c.Service, c.Version, at), Next: "slipway status"}
		}
	}
	s, _ := w.Stable(c.Service, at)
	if c.Release == "" || q.Change == 0 {
		c.Release, c.Version, c.Change = s.Release, s.Version, s.Change
	}
	if there, ok := w.Stable(c.Service, c.Env); ok && there.Release == c.Release {
		return c, &delivery.Refusal{Code: delivery.CodeNothingToDo, Field: "to", Why: fmt.Sprintf("%s %s is stable in %s already", c.Service, c.Version, c.Env), Next: "slipway status"}
	}
	if r, ok := w.Flight(c.Service, c.Env); ok && r.To == c.Release {
		return c, &delivery.Refusal{Code: delivery.CodeNothingToDo, Field: "to", Why: fmt.Sprintf("%s %s is on its way into %s", c.Service, c.Version, c.Env), Next: fmt.Sprintf("slipway watch %d", r.Change)}
	}
	if err := mayEnter(w, c); err != nil {
		return c, err
	}
	for _, g := range promotion.Gates(w, c) {
		if g.Outcome == delivery.GateBlocked {
			return c, &delivery.Refusal{Code: delivery.CodeNotEligible, Field: "to", Why: g.What, Who: g.Who, Next: g.Lifts}
		}
	}
	return c, nil
}

func orNext(env string) string {
	if env == "" {
		return "the next environment"
	}
	return env
}

// promote queues the release of a candidate: the artifact that was judged, and no other.
func (l *Loop) promote(ctx context.Context, tx *store.Tx, w promotion.World, c promotion.Candidate, q PromoteRequest) (Asked, error) {
	change, err := tx.Change(ctx, c.Change)
	if err != nil {
		return Asked{}, err
	}
	rel, err := tx.Release(ctx, c.Release)
	if err != nil {
		return Asked{}, err
	}
	e := Effect{Service: c.Service, Env: c.Env, Change: c.Change, To: rel.Version, Notes: notes(w, c.Service, c.Env), Seen: placeMark(w, c.Service, c.Env, rel.ID)}
	if err := current(q.Seen, e.Seen, placeNow(w, c.Service, c.Env), 0); err != nil {
		return Asked{}, err
	}
	start := promotion.Starting{Version: rel.Version, Code: true}
	if st, ok := w.Stable(c.Service, c.Env); ok {
		before, err := tx.Release(ctx, st.Release)
		if err != nil {
			return Asked{}, err
		}
		start.Was, start.Keys = before.Version, e.between(before, rel, c.Env)
		start.Code = slices.Contains(e.Kinds, delivery.Code)
	}
	text := fmt.Sprintf("%s promotes %s to %s", q.By, c.Version, c.Env)
	if q.Reason != "" {
		text += ": " + q.Reason
	}
	if _, err := tx.Append(delivery.Event{At: w.Now, Kind: delivery.EventAsked, Change: change.ID, Service: c.Service, Env: c.Env, By: q.By, Text: text}); err != nil {
		return Asked{}, err
	}
	r, err := l.queue(ctx, tx, w, queued{change: change, release: rel, env: c.Env, only: change.Only != ""})
	if err != nil {
		return Asked{}, err
	}
	start.Ways = []promotion.Way{{Env: c.Env, Plan: r.Plan}}
	e.Text = start.Effect()
	return Asked{Rollout: r, Effect: e}, nil
}
