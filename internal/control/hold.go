package control

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
)

// HoldRequest asks to let nothing new into an environment, or a version into none.
type HoldRequest struct {
	Service string `json:"service"`
	Env     string `json:"env,omitempty"`
	Version string `json:"version,omitempty"`
	Why     string `json:"why"`
	By      string `json:"-"`
	Seen    string `json:"seen,omitempty"`    // mark of an effect: refuse if things have moved on since
	DryRun  bool   `json:"dry_run,omitempty"` // say what would happen, change nothing
}

// Held is a hold that was put, and what it does.
type Held struct {
	delivery.Hold
	Effect Effect `json:"effect"`
}

// PutHold pins a service in an environment, or quarantines a release of it.
func (l *Loop) PutHold(ctx context.Context, q HoldRequest) (Held, error) {
	var out Held
	err := l.attempt(ctx, "hold", q.DryRun, func(tx *store.Tx) (err error) {
		out, err = l.hold(ctx, tx, q)
		return err
	})
	return out, err
}

func (l *Loop) hold(ctx context.Context, tx *store.Tx, q HoldRequest) (Held, error) {
	p, _, err := tx.Project(ctx)
	if err != nil {
		return Held{}, err
	}
	if _, _, err := names(p, q.Service, q.Env); err != nil {
		return Held{}, err
	}
	h := delivery.Hold{Kind: delivery.Pinned, Service: q.Service, Env: q.Env, Version: q.Version, Why: q.Why, By: q.By, At: stamp()}
	if h.Version != "" {
		rel, err := tx.ReleaseNamed(ctx, h.Service, h.Version)
		if err != nil {
			return Held{}, err
		}
		h.Kind, h.Release, h.Env = delivery.Quarantine, rel.ID, ""
	} else if h.Env == "" {
		return Held{}, delivery.InvalidNext("env", "a hold pins one environment, or names a version", "slipway hold "+h.Service+" --env "+p.Environments[len(p.Environments)-1].Name)
	}
	holds, err := tx.Holds(ctx)
	if err != nil {
		return Held{}, err
	}
	effect := Effect{Text: promotion.HoldEffect(h), Service: h.Service, Env: h.Env, To: h.Version}
	same := slices.DeleteFunc(holds, func(o delivery.Hold) bool {
		return o.Service != h.Service || o.Kind != h.Kind || o.Env != h.Env || o.Release != h.Release
	})
	effect.Seen = holdMark(same)
	if len(same) > 0 {
		effect.Text = fmt.Sprintf("changes nothing: %s held it already: %s", same[0].By, same[0].Why)
	}
	if err := current(q.Seen, effect.Seen, heldNow(h.Service, same), 0); err != nil {
		return Held{}, err
	}
	if err := putHold(ctx, tx, &h); err != nil {
		return Held{}, err
	}
	return Held{Hold: h, Effect: effect}, nil
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
	Seen    string `json:"seen,omitempty"`    // mark of an effect: refuse if things have moved on since
	DryRun  bool   `json:"dry_run,omitempty"` // say what would happen, change nothing
}

// lifts reports whether a hold is meant. A quarantine is lifted by name only.
func (q Lift) lifts(h delivery.Hold) bool {
	switch {
	case h.Service != q.Service:
		return false
	case h.Kind == delivery.Quarantine:
		return q.Version == h.Version && (q.Env == "" || q.Env == h.Env)
	}
	return q.Version == "" && (q.Env == "" || q.Env == h.Env)
}

// Lifted are the holds that were lifted, and what comes of it.
type Lifted struct {
	Holds  []delivery.Hold `json:"items"`
	Effect Effect          `json:"effect"`
}

// LiftHold lifts holds and returns those that were lifted.
func (l *Loop) LiftHold(ctx context.Context, q Lift) (Lifted, error) {
	var out Lifted
	err := l.attempt(ctx, "lift", q.DryRun, func(tx *store.Tx) (err error) {
		out, err = l.lift(ctx, tx, q)
		return err
	})
	return out, err
}

func (l *Loop) lift(ctx context.Context, tx *store.Tx, q Lift) (Lifted, error) {
	p, _, err := tx.Project(ctx)
	if err != nil {
		return Lifted{}, err
	}
	if _, _, err := names(p, q.Service, q.Env); err != nil {
		return Lifted{}, err
	}
	w, err := l.worldIn(ctx, tx, p)
	if err != nil {
		return Lifted{}, err
	}
	out := Lifted{Holds: []delivery.Hold{}}
	for _, h := range w.Holds {
		if q.lifts(h) {
			out.Holds = append(out.Holds, h)
		}
	}
	mark := holdMark(out.Holds)
	if err := current(q.Seen, mark, heldNow(q.Service, out.Holds), 0); err != nil {
		return Lifted{}, err
	}
	if len(out.Holds) == 0 {
		return Lifted{}, &delivery.Refusal{Code: delivery.CodeUnknownHold, Field: "service", Why: "there is no such hold on " + q.Service, Next: "slipway status"}
	}
	if w, err = l.withHistory(ctx, tx, w, q.Service); err != nil {
		return Lifted{}, err
	}
	out.Effect = Effect{Text: promotion.LiftEffect(w, out.Holds), Service: q.Service, Env: q.Env, To: q.Version, Seen: mark}
	for _, h := range out.Holds {
		now := stamp()
		if _, err := tx.LiftHold(h.ID, q.By, q.Reason, now); err != nil {
			return Lifted{}, err
		}
		text := fmt.Sprintf("%s lifted the hold on %s %s%s", q.By, h.Service, h.Version, h.Env)
		if _, err := tx.Append(delivery.Event{At: now, Kind: delivery.EventLifted, Change: h.Change, Service: h.Service, Env: h.Env, By: q.By, Text: text}); err != nil {
			return Lifted{}, err
		}
	}
	return out, nil
}

// withHistory returns w with what is over of one service, as the rules want it
// that say what the automation would do.
func (l *Loop) withHistory(ctx context.Context, tx *store.Tx, w promotion.World, service string) (promotion.World, error) {
	all, err := tx.Rollouts(ctx, store.RolloutQuery{Service: service, Limit: store.MaxLimit})
	if err != nil {
		return w, err
	}
	w.Ended = slices.DeleteFunc(all, func(r delivery.Rollout) bool { return !r.State.Final() })
	w.Trouble = l.picture().world.Trouble
	return w, nil
}

// heldNow says which holds there are by now.
func heldNow(service string, holds []delivery.Hold) string {
	const moved = "this hold has moved on: "
	if len(holds) == 0 {
		return moved + "there is none such on " + service
	}
	var texts []string
	for _, h := range holds {
		what := h.Service + " " + h.Version
		if h.Kind == delivery.Pinned {
			what = h.Service + " in " + h.Env
		}
		texts = append(texts, what+" is held by "+h.By+": "+h.Why)
	}
	return moved + strings.Join(texts, "; ")
}
