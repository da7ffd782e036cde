package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
)

// RollbackRequest asks to go back: to the release before, or to a named one.
type RollbackRequest struct {
	Service string `json:"service"`
	Env     string `json:"env,omitempty"` // "": where something is under way, else the last environment
	To      string `json:"to,omitempty"`  // a version; "": the release before
	Reason  string `json:"reason,omitempty"`
	By      string `json:"-"`
	Seen    string `json:"seen,omitempty"`    // mark of an effect: refuse if things have moved on since
	DryRun  bool   `json:"dry_run,omitempty"` // say what would happen, change nothing
}

// RolledBack says what a rollback began.
type RolledBack struct {
	Rollout delivery.Rollout `json:"rollout"`
	Change  *delivery.Change `json:"change"`  // nil when a rollout under way was aborted
	Aborted bool             `json:"aborted"` // a rollout under way goes back
	Hold    *delivery.Hold   `json:"hold"`    // on the release that is left
	Effect  Effect           `json:"effect"`
}

// Rollback goes back. What is under way is aborted; otherwise the release
// before takes over again, with all that was in it: code and configuration.
func (l *Loop) Rollback(ctx context.Context, q RollbackRequest) (RolledBack, error) {
	var out RolledBack
	err := l.attempt(ctx, "rollback", q.DryRun, func(tx *store.Tx) (err error) {
		out, err = l.rollback(ctx, tx, q)
		return err
	})
	if err != nil {
		return RolledBack{}, err
	}
	return out, nil
}

func (l *Loop) rollback(ctx context.Context, tx *store.Tx, q RollbackRequest) (RolledBack, error) {
	if q.To == "" && q.Service != "" {
		open, err := tx.Rollouts(ctx, store.RolloutQuery{Service: q.Service, Env: q.Env, Open: true})
		if err != nil {
			return RolledBack{}, err
		}
		if r, ok := foremost(open); ok {
			return l.turnBack(ctx, tx, r, q)
		}
		if err := l.landed(ctx, tx, q.Seen); err != nil {
			return RolledBack{}, err // what was seen under way is over: what is stable was not meant
		}
	}
	return l.takeBack(ctx, tx, q)
}

// turnBack aborts what is under way. But a rollback that is under way already
// answers for this one too: asking twice is asking once, and must not send the
// rollback itself back.
func (l *Loop) turnBack(ctx context.Context, tx *store.Tx, r delivery.Rollout, q RollbackRequest) (RolledBack, error) {
	if r.Origin != delivery.OriginRollback || r.State == delivery.Reverting {
		done, err := l.askOf(ctx, tx, delivery.AskAbort, r, Request{Reason: q.Reason, By: q.By, Seen: q.Seen})
		return RolledBack{Rollout: done.Rollout, Aborted: true, Effect: done.Effect}, err
	}
	e := Effect{Service: r.Service, Env: r.Env, Change: r.Change, From: r.Was, To: r.Version, Seen: askMark(delivery.AskAbort, r)}
	if err := current(q.Seen, e.Seen, rolloutNow(r), r.Change); err != nil {
		return RolledBack{}, err
	}
	e.Text = fmt.Sprintf("changes nothing: %s goes back to %s in %s already, by change #%d", r.Service, r.Version, r.Env, r.Change)
	c, err := tx.Change(ctx, r.Change)
	return RolledBack{Rollout: r, Change: &c, Effect: e}, err
}

// takeBack makes the release before the stable one again.
func (l *Loop) takeBack(ctx context.Context, tx *store.Tx, q RollbackRequest) (RolledBack, error) {
	p, _, err := tx.Project(ctx)
	if err != nil {
		return RolledBack{}, err
	}
	w, err := l.worldIn(ctx, tx, p)
	if err != nil {
		return RolledBack{}, err
	}
	if _, _, err := names(p, q.Service, q.Env); err != nil {
		return RolledBack{}, err
	}
	env := cmp.Or(q.Env, p.Environments[len(p.Environments)-1].Name)
	st, ok := w.Stable(q.Service, env)
	if !ok {
		return RolledBack{}, &delivery.Refusal{Code: delivery.CodeNoRollbackTarget, Field: "service", Why: q.Service + " has never been deployed in " + env, Next: "slipway deploy " + q.Service}
	}
	if err := standing(q.Seen, w, q.Service, env); err != nil {
		return RolledBack{}, err
	}
	rel, err := l.target(ctx, tx, w, st, q)
	if err != nil {
		return RolledBack{}, err
	}
	here, err := tx.Release(ctx, st.Release)
	if err != nil {
		return RolledBack{}, err
	}
	e := Effect{Service: q.Service, Env: env, Notes: notes(w, q.Service, env), Seen: placeMark(w, q.Service, env, rel.ID)}
	if err := current(q.Seen, e.Seen, placeNow(w, q.Service, env), 0); err != nil {
		return RolledBack{}, err
	}
	back := promotion.Back{Env: env, From: here.Version, To: rel.Version, Held: w.HoldOn(q.Service, "", here.ID) != nil, Keys: e.between(here, rel, env)}
	back.Code = slices.Contains(e.Kinds, delivery.Code)
	if st.Previous == rel.ID && w.Now.Before(st.Warm) {
		back.Warm = st.Warm
	}
	why := cmp.Or(q.Reason, "rolled back by "+q.By)
	hold := delivery.Hold{Kind: delivery.Quarantine, Service: q.Service, Release: st.Release, Version: st.Version, Why: why, By: q.By, Change: st.Change, At: w.Now}
	if err := putHold(ctx, tx, &hold); err != nil {
		return RolledBack{}, err
	}
	kinds := delivery.Difference(here, rel)
	if len(kinds) == 0 {
		kinds = []delivery.Kind{delivery.Code}
	}
	change := delivery.Change{
		Kind: kinds[0], Kinds: kinds, Origin: delivery.OriginRollback, Only: env, Reason: why, By: q.By, Submitted: w.Now,
		Members: []delivery.Member{{Service: q.Service, From: st.Release, To: rel.ID, Version: rel.Version}},
	}
	done, err := l.accept(ctx, tx, w, accepted{change: change, release: rel, env: env, only: true, back: true})
	if err != nil {
		return RolledBack{}, err
	}
	back.Plan = done.Rollouts[0].Plan
	e.Text = back.Effect()
	return RolledBack{Rollout: done.Rollouts[0], Change: &done.Change, Hold: &hold, Effect: e}, nil
}

// target is the release to go back to.
func (l *Loop) target(ctx context.Context, tx *store.Tx, w promotion.World, st delivery.Stable, q RollbackRequest) (delivery.Release, error) {
	id := st.Previous
	if q.To != "" {
		rel, err := tx.ReleaseNamed(ctx, q.Service, q.To)
		if errors.Is(err, delivery.ErrNotFound) {
			return rel, delivery.Unknown(delivery.CodeUnknownVersion, "version of "+q.Service, q.To, nil, "slipway history "+q.Service)
		}
		if err != nil {
			return rel, err
		}
		id = rel.ID
	}
	switch id {
	case "":
		return delivery.Release{}, &delivery.Refusal{Code: delivery.CodeNoRollbackTarget, Field: "service", Why: fmt.Sprintf("%s %s is the first release in %s: there is nothing to go back to", q.Service, st.Version, st.Env), Next: "slipway deploy " + q.Service + " VERSION"}
	case st.Release:
		return delivery.Release{}, &delivery.Refusal{Code: delivery.CodeNothingToDo, Field: "to", Why: fmt.Sprintf("%s %s is what runs in %s", q.Service, st.Version, st.Env), Next: "slipway history " + q.Service}
	}
	rel, err := tx.Release(ctx, id)
	if err != nil {
		return rel, err
	}
	for _, h := range w.Holds {
		if h.Kind == delivery.Quarantine && h.Release == id {
			return rel, &delivery.Refusal{Code: delivery.CodeQuarantined, Field: "to", Why: fmt.Sprintf("the release before, %s, is on hold too: %s", rel.Version, h.Why), Who: "anyone with access", Next: "slipway rollback " + q.Service + " --to VERSION, or " + h.Lift()}
		}
	}
	if !l.d.Artifacts.Has(rel.CodeDigest()) {
		return rel, &delivery.Refusal{Code: delivery.CodeNoRollbackTarget, Field: "to", Why: "the files of " + rel.Version + " are no longer kept", Next: "slipway deploy " + q.Service + " " + rel.Version + " --from PATH"}
	}
	return rel, nil
}
