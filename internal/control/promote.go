package control

import (
	"context"
	"fmt"

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
}

// Promote moves a release on. A rollout of the change that waits for a person
// is approved; otherwise the release enters the next environment.
func (l *Loop) Promote(ctx context.Context, q PromoteRequest) (delivery.Rollout, error) {
	var out delivery.Rollout
	err := l.save(ctx, "promote", func(tx *store.Tx) error {
		p, _, err := tx.Project(ctx)
		if err != nil {
			return err
		}
		w, err := l.worldIn(ctx, tx, p)
		if err != nil {
			return err
		}
		if _, ok := p.Environment(q.To); q.To != "" && !ok {
			return delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", q.To, p.EnvironmentNames(), "slipway status")
		}
		if waiting, ok := waitingOf(w, q); ok {
			waiting.Asked = &delivery.Ask{Verb: delivery.AskApprove, By: q.By, Why: q.Reason, At: w.Now}
			if out, err = tx.SaveRollout(waiting); err != nil {
				return err
			}
			_, err = tx.Append(delivery.Event{At: w.Now, Kind: delivery.EventAsked, Change: out.Change, Rollout: out.ID, Service: out.Service, Env: out.Env, By: q.By, State: out.State, Step: out.Step, Text: fmt.Sprintf("%s approved %s in %s", q.By, out.Version, out.Env)})
			return err
		}
		c, err := l.promotable(ctx, tx, w, q)
		if err != nil {
			return err
		}
		out, err = l.promote(ctx, tx, c, q.By, q.Reason)
		return err
	})
	if err == nil {
		l.Ring()
	}
	return out, err
}

// waitingOf finds the rollout that waits for a person's decision.
func waitingOf(w promotion.World, q PromoteRequest) (delivery.Rollout, bool) {
	for _, r := range w.Open {
		if r.State != delivery.Waiting && r.State != delivery.Judging || q.To != "" && r.Env != q.To {
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
func (l *Loop) promote(ctx context.Context, tx *store.Tx, c promotion.Candidate, by, why string) (delivery.Rollout, error) {
	p, _, err := tx.Project(ctx)
	if err != nil {
		return delivery.Rollout{}, err
	}
	w, err := l.worldIn(ctx, tx, p)
	if err != nil {
		return delivery.Rollout{}, err
	}
	change, err := tx.Change(ctx, c.Change)
	if err != nil {
		return delivery.Rollout{}, err
	}
	rel, err := tx.Release(ctx, c.Release)
	if err != nil {
		return delivery.Rollout{}, err
	}
	text := fmt.Sprintf("%s promotes %s to %s", by, c.Version, c.Env)
	if why != "" {
		text += ": " + why
	}
	if _, err := tx.Append(delivery.Event{At: w.Now, Kind: delivery.EventAsked, Change: change.ID, Service: c.Service, Env: c.Env, By: by, Text: text}); err != nil {
		return delivery.Rollout{}, err
	}
	return l.queue(ctx, tx, w, queued{change: change, release: rel, env: c.Env, only: change.Only != ""})
}
