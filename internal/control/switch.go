package control

import (
	"context"
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
)

// SwitchRequest asks to switch the traffic of a service between blue, which is
// stable, and green, which a blue-green rollout has made ready beside it.
type SwitchRequest struct {
	Service string `json:"service"`
	Env     string `json:"env,omitempty"`  // "": where one waits for it; back: as for a rollback
	Back    bool   `json:"back,omitempty"` // from green to blue again
	Reason  string `json:"reason,omitempty"`
	By      string `json:"-"`
	Seen    string `json:"seen,omitempty"`    // mark of an effect: refuse if things have moved on since
	DryRun  bool   `json:"dry_run,omitempty"` // say what would happen, change nothing
}

// Switch approves the switch of the blue-green rollout that waits for it. Back is
// a rollback: it needs no other rule than that to go back is always right.
func (l *Loop) Switch(ctx context.Context, q SwitchRequest) (RolledBack, error) {
	var out RolledBack
	err := l.attempt(ctx, "switch", q.DryRun, func(tx *store.Tx) (err error) {
		out, err = l.flip(ctx, tx, q)
		return err
	})
	if err != nil {
		return RolledBack{}, err
	}
	return out, nil
}

func (l *Loop) flip(ctx context.Context, tx *store.Tx, q SwitchRequest) (RolledBack, error) {
	if q.Back {
		return l.rollback(ctx, tx, RollbackRequest{Service: q.Service, Env: q.Env, Reason: q.Reason, By: q.By, Seen: q.Seen})
	}
	p, _, err := tx.Project(ctx)
	if err != nil {
		return RolledBack{}, err
	}
	if _, _, err := names(p, q.Service, q.Env); err != nil {
		return RolledBack{}, err
	}
	open, err := tx.Rollouts(ctx, store.RolloutQuery{Service: q.Service, Env: q.Env, Open: true})
	if err != nil {
		return RolledBack{}, err
	}
	for _, r := range open {
		if promotion.Switchable(r) {
			done, err := l.askOf(ctx, tx, delivery.AskApprove, r, Request{Reason: q.Reason, By: q.By, Seen: q.Seen})
			return RolledBack{Rollout: done.Rollout, Effect: done.Effect}, err
		}
	}
	return RolledBack{}, l.overtaken(ctx, tx, q.Seen, unswitched(q, open))
}

// unswitched says why nothing can be switched.
func unswitched(q SwitchRequest, open []delivery.Rollout) error {
	no := &delivery.Refusal{Code: delivery.CodeNotInFlight, Field: "service", Why: q.Service + " has no blue-green rollout that waits for its switch"}
	if q.Env != "" {
		no.Why += " in " + q.Env
	}
	no.Next = "slipway deploy " + q.Service + " VERSION --strategy blue-green --approve"
	r, ok := foremost(open)
	if !ok {
		return no
	}
	no.Next = fmt.Sprintf("slipway watch %d", r.Change)
	if step, at := r.At(); at && r.Plan.Strategy == delivery.BlueGreen && !step.Approve && step.Do == delivery.DoStart {
		no.Why += fmt.Sprintf("; %s in %s switches by itself once it is ready", r.Version, r.Env)
		return no
	}
	no.Why += "; " + promotion.Now(r)
	return no
}
