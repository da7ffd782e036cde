package control

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
)

// Request is what a person asks of a change that is under way.
type Request struct {
	Change  delivery.ChangeID `json:"change,omitempty"`
	Service string            `json:"service,omitempty"` // instead of Change: whatever is under way for it
	Env     string            `json:"env,omitempty"`     // "": wherever it is under way
	Reason  string            `json:"reason,omitempty"`
	By      string            `json:"-"`
	Seen    string            `json:"seen,omitempty"`    // mark of an effect: refuse if things have moved on since
	DryRun  bool              `json:"dry_run,omitempty"` // say what would happen, change nothing
}

// Asked is a rollout of which something was asked, and what comes of it.
type Asked struct {
	delivery.Rollout
	Effect Effect `json:"effect"`
}

// Ask writes down what a person asks of a rollout under way; the loop acts on
// it. Asking twice is asking once: the first abort stays the cause.
func (l *Loop) Ask(ctx context.Context, verb delivery.AskVerb, q Request) (Asked, error) {
	var out Asked
	err := l.attempt(ctx, "ask "+string(verb), q.DryRun, func(tx *store.Tx) (err error) {
		out, err = l.askFor(ctx, tx, verb, q)
		return err
	})
	return out, err
}

func (l *Loop) askFor(ctx context.Context, tx *store.Tx, verb delivery.AskVerb, q Request) (Asked, error) {
	r, err := l.flying(ctx, tx, verb, q)
	if err != nil {
		return Asked{}, l.overtaken(ctx, tx, q.Seen, err)
	}
	return l.askOf(ctx, tx, verb, r, q)
}

// askOf writes an ask down in a rollout that was found.
func (l *Loop) askOf(ctx context.Context, tx *store.Tx, verb delivery.AskVerb, r delivery.Rollout, q Request) (Asked, error) {
	if err := current(q.Seen, askMark(verb, r), rolloutNow(r), r.Change); err != nil {
		return Asked{}, err
	}
	if err := promotion.Fits(verb, r); err != nil {
		return Asked{}, err
	}
	effect, err := l.askEffect(ctx, tx, verb, r)
	if err != nil {
		return Asked{}, err
	}
	now := stamp()
	if r.State == delivery.Reverting || r.Asked != nil && r.Asked.Verb == delivery.AskAbort {
		_, err := tx.Append(delivery.Event{At: now, Kind: delivery.EventAsked, Change: r.Change, Rollout: r.ID, Service: r.Service, Env: r.Env, By: q.By, State: r.State, Text: q.By + " asked to " + string(verb) + " again; it is on its way back already"})
		return Asked{Rollout: r, Effect: effect}, err
	}
	r.Asked = &delivery.Ask{Verb: verb, By: q.By, Why: q.Reason, At: now}
	if r, err = tx.SaveRollout(r); err != nil {
		return Asked{}, err
	}
	text := fmt.Sprintf("%s asked to %s %s in %s", q.By, verb, r.Version, r.Env)
	if verb == delivery.AskApprove {
		text = fmt.Sprintf("%s approved %s in %s", q.By, r.Version, r.Env)
	}
	if q.Reason != "" {
		text += ": " + q.Reason
	}
	_, err = tx.Append(delivery.Event{At: now, Kind: delivery.EventAsked, Change: r.Change, Rollout: r.ID, Service: r.Service, Env: r.Env, By: q.By, State: r.State, Step: r.Step, Text: text})
	return Asked{Rollout: r, Effect: effect}, err
}

// flying finds the one rollout a request means.
func (l *Loop) flying(ctx context.Context, tx *store.Tx, verb delivery.AskVerb, q Request) (delivery.Rollout, error) {
	if q.Service != "" {
		p, _, err := tx.Project(ctx)
		if err != nil {
			return delivery.Rollout{}, err
		}
		if _, _, err := names(p, q.Service, q.Env); err != nil {
			return delivery.Rollout{}, err
		}
	} else if _, err := tx.Change(ctx, q.Change); err != nil {
		return delivery.Rollout{}, err
	}
	open, err := tx.Rollouts(ctx, store.RolloutQuery{Change: q.Change, Service: q.Service, Env: q.Env, Open: true})
	if err != nil {
		return delivery.Rollout{}, err
	}
	if r, ok := foremost(open); ok {
		return r, nil
	}
	what := q.Service
	if what == "" {
		what = fmt.Sprintf("change #%d", q.Change)
	}
	if q.Env != "" {
		what += " in " + q.Env
	}
	no := &delivery.Refusal{Code: delivery.CodeNotInFlight, Why: what + " has nothing under way, so there is nothing to " + string(verb) + "; what is stable was not touched", Next: "slipway status"}
	if verb == delivery.AskAbort {
		no.Next = "slipway rollback SERVICE takes back what is done"
		if q.Service != "" {
			no.Next = "slipway rollback " + q.Service
		}
	}
	return delivery.Rollout{}, no
}

// foremost is the rollout that is meant when one of several is: the one that
// has begun, or else the newest.
func foremost(open []delivery.Rollout) (delivery.Rollout, bool) {
	for _, r := range open {
		if r.State.Active() {
			return r, true
		}
	}
	if len(open) == 0 {
		return delivery.Rollout{}, false
	}
	return open[0], true
}

// stamp is the time that goes into the store: UTC, without a monotonic part,
// and no finer than the store keeps it.
func stamp() time.Time { return time.Now().UTC().Truncate(grain) }

// worldIn is what promotion decides on, read inside a transaction.
func (l *Loop) worldIn(ctx context.Context, tx *store.Tx, p delivery.Project) (promotion.World, error) {
	w := promotion.World{Now: stamp(), Project: p}
	var err error
	if w.Stables, err = tx.Stables(ctx); err != nil {
		return w, err
	}
	if w.Holds, err = tx.Holds(ctx); err != nil {
		return w, err
	}
	w.Open, err = tx.Rollouts(ctx, store.RolloutQuery{Open: true, Limit: store.MaxLimit})
	return w, err
}
