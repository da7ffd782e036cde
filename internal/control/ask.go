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
}

// Ask writes down what a person asks of a rollout under way; the loop acts on
// it. Asking twice is asking once: the first abort stays the cause.
func (l *Loop) Ask(ctx context.Context, verb delivery.AskVerb, q Request) (delivery.Rollout, error) {
	var out delivery.Rollout
	err := l.save(ctx, "ask "+string(verb), func(tx *store.Tx) error {
		r, err := l.flying(ctx, tx, verb, q)
		if err != nil {
			return err
		}
		out = r
		if err := fits(verb, r); err != nil {
			return err
		}
		now := stamp()
		if r.State == delivery.Reverting || r.Asked != nil && r.Asked.Verb == delivery.AskAbort {
			_, err := tx.Append(delivery.Event{At: now, Kind: delivery.EventAsked, Change: r.Change, Rollout: r.ID, Service: r.Service, Env: r.Env, By: q.By, State: r.State, Text: q.By + " asked to " + string(verb) + " again; it is on its way back already"})
			return err
		}
		r.Asked = &delivery.Ask{Verb: verb, By: q.By, Why: q.Reason, At: now}
		if out, err = tx.SaveRollout(r); err != nil {
			return err
		}
		text := fmt.Sprintf("%s asked to %s %s in %s", q.By, verb, r.Version, r.Env)
		if q.Reason != "" {
			text += ": " + q.Reason
		}
		_, err = tx.Append(delivery.Event{At: now, Kind: delivery.EventAsked, Change: r.Change, Rollout: r.ID, Service: r.Service, Env: r.Env, By: q.By, State: r.State, Step: r.Step, Text: text})
		return err
	})
	if err == nil {
		l.Ring()
	}
	return out, err
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

// fits refuses an ask that the rollout's state has no use for.
func fits(verb delivery.AskVerb, r delivery.Rollout) error {
	refuse := func(code delivery.RefusalCode, why, next string) error {
		return &delivery.Refusal{Code: code, Why: fmt.Sprintf("%s %s in %s %s", r.Service, r.Version, r.Env, why), Next: next}
	}
	switch verb {
	case delivery.AskResume:
		if r.Paused == nil {
			return refuse(delivery.CodeNotWaiting, "is not paused", fmt.Sprintf("slipway watch %d", r.Change))
		}
	case delivery.AskPause:
		if r.State == delivery.Reverting {
			return refuse(delivery.CodeNotWaiting, "is on its way back, which cannot be paused", fmt.Sprintf("slipway watch %d", r.Change))
		}
		if r.Paused != nil {
			return refuse(delivery.CodeNotWaiting, "is paused already by "+r.Paused.By, fmt.Sprintf("slipway resume %d", r.Change))
		}
	case delivery.AskApprove, delivery.AskPromote:
		if r.State == delivery.Reverting {
			return refuse(delivery.CodeNotWaiting, "is on its way back", fmt.Sprintf("slipway watch %d", r.Change))
		}
	case delivery.AskAbort:
	}
	return nil
}

// PutHold pins a service in an environment, or quarantines a release of it.
func (l *Loop) PutHold(ctx context.Context, h delivery.Hold) (delivery.Hold, error) {
	err := l.save(ctx, "hold", func(tx *store.Tx) error {
		p, _, err := tx.Project(ctx)
		if err != nil {
			return err
		}
		if _, _, err := names(p, h.Service, h.Env); err != nil {
			return err
		}
		h.At, h.Kind = stamp(), delivery.Pinned
		if h.Version != "" {
			rel, err := tx.ReleaseNamed(ctx, h.Service, h.Version)
			if err != nil {
				return err
			}
			h.Kind, h.Release, h.Env = delivery.Quarantine, rel.ID, ""
		} else if h.Env == "" {
			return delivery.InvalidNext("env", "a hold pins one environment, or names a version", "slipway hold "+h.Service+" --env "+p.Environments[len(p.Environments)-1].Name)
		}
		return putHold(ctx, tx, &h)
	})
	if err == nil {
		l.Ring()
	}
	return h, err
}

func putHold(ctx context.Context, tx *store.Tx, h *delivery.Hold) error {
	made, err := tx.PutHold(*h)
	if err != nil {
		return err
	}
	*h = made
	what := h.Service + " " + h.Version
	if h.Kind == delivery.Pinned {
		what = h.Service + " in " + h.Env
	}
	_, err = tx.Append(delivery.Event{At: h.At, Kind: delivery.EventHeld, Change: h.Change, Service: h.Service, Env: h.Env, By: h.By, Text: what + " is on hold: " + h.Why})
	return err
}

// Lift names the holds to lift: all of a version, or the pin of an environment.
type Lift struct {
	Service string `json:"service"`
	Version string `json:"version,omitempty"`
	Env     string `json:"env,omitempty"`
	Reason  string `json:"reason,omitempty"`
	By      string `json:"-"`
}

// LiftHold lifts holds and returns those that were lifted.
func (l *Loop) LiftHold(ctx context.Context, q Lift) ([]delivery.Hold, error) {
	var lifted []delivery.Hold
	err := l.save(ctx, "lift", func(tx *store.Tx) error {
		p, _, err := tx.Project(ctx)
		if err != nil {
			return err
		}
		if _, _, err := names(p, q.Service, q.Env); err != nil {
			return err
		}
		holds, err := tx.Holds(ctx)
		if err != nil {
			return err
		}
		for _, h := range holds {
			if h.Service != q.Service || q.Version != "" && (h.Kind != delivery.Quarantine || h.Version != q.Version) || q.Env != "" && h.Env != q.Env {
				continue
			}
			if q.Version == "" && q.Env == "" && h.Kind == delivery.Quarantine {
				continue // a quarantine is lifted by name only
			}
			now := stamp()
			if _, err := tx.LiftHold(h.ID, q.By, q.Reason, now); err != nil {
				return err
			}
			lifted = append(lifted, h)
			text := fmt.Sprintf("%s lifted the hold on %s %s%s", q.By, h.Service, h.Version, h.Env)
			if _, err := tx.Append(delivery.Event{At: now, Kind: delivery.EventLifted, Change: h.Change, Service: h.Service, Env: h.Env, By: q.By, Text: text}); err != nil {
				return err
			}
		}
		if len(lifted) == 0 {
			return &delivery.Refusal{Code: delivery.CodeUnknownHold, Field: "service", Why: "there is no such hold on " + q.Service, Next: "slipway status"}
		}
		return nil
	})
	if err == nil {
		l.Ring()
	}
	return lifted, err
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
