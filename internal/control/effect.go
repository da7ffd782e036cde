package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
)

// Effect is what an action does, in words and in what they are made of. Before
// it is done it is a promise, and Seen is the mark of what the promise rests on.
type Effect struct {
	Text    string            `json:"text" doc:"what it does, in a sentence"`
	Notes   []string          `json:"notes,omitempty" doc:"what else a person should know"`
	Service string            `json:"service"`
	Env     string            `json:"env,omitempty"`
	Change  delivery.ChangeID `json:"change,omitempty" doc:"that it is about, if there is one already"`
	From    string            `json:"from,omitempty" doc:"version that has the traffic now"`
	To      string            `json:"to,omitempty" doc:"version that gets it"`
	Kinds   []delivery.Kind   `json:"kinds,omitempty" doc:"what differs between the two"`
	Config  []Delta           `json:"config,omitempty" doc:"configuration in this environment, before and after"`
	Seen    string            `json:"seen" doc:"mark of what this rests on; sent along with the action, it is refused if that is no longer so"`
}

// between notes what differs between two releases in an environment, and returns
// the keys of the configuration.
func (e *Effect) between(from, to delivery.Release, env string) []string {
	e.From, e.To, e.Kinds = from.Version, to.Version, delivery.Difference(from, to)
	e.Config = deltas(from.ConfigFor(env), to.ConfigFor(env))
	var keys []string
	for _, d := range e.Config {
		keys = append(keys, d.Key)
	}
	return keys
}

// errDryRun takes back what was only tried.
var errDryRun = errors.New("dry run")

// attempt runs fn in one write and rings. A dry run is the same write, taken
// back: it meets every gate that the action itself meets, and leaves nothing.
func (l *Loop) attempt(ctx context.Context, what string, dry bool, fn func(*store.Tx) error) error {
	err := l.save(ctx, what, func(tx *store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		if dry {
			return errDryRun
		}
		return nil
	})
	if errors.Is(err, errDryRun) {
		return nil
	}
	if err == nil {
		l.Ring()
	}
	return err
}

// current refuses what was asked on sight of something that is no longer so. now
// says what is: "this rollout has moved on: ...".
func current(seen, mark, now string, change delivery.ChangeID) error {
	if seen == "" || seen == mark {
		return nil
	}
	next := "slipway status"
	if change != 0 {
		next = fmt.Sprintf("slipway watch %d", change)
	}
	return &delivery.Refusal{Code: delivery.CodeMovedOn, Field: "seen", Why: now + "; nothing was done", Next: next}
}

// overtaken turns the refusal of an ask whose rollout is over into what has
// become of it, for who saw it under way.
func (l *Loop) overtaken(ctx context.Context, tx *store.Tx, seen string, err error) error {
	no := (*delivery.Refusal)(nil)
	if seen == "" || !errors.As(err, &no) || no.Code != delivery.CodeNotInFlight {
		return err
	}
	if moved := l.landed(ctx, tx, seen); moved != nil {
		return moved
	}
	return err
}

// landed says what has become of the rollout that a mark is of, if it is of one:
// nothing of what was seen can be asked for any more.
func (l *Loop) landed(ctx context.Context, tx *store.Tx, seen string) error {
	id, _, _ := strings.Cut(seen, " ")
	if r, err := tx.Rollout(ctx, delivery.RolloutID(id)); seen != "" && err == nil {
		return current(seen, "", rolloutNow(r), r.Change)
	}
	return nil
}

// askMark is what a person relies on who asks something of a rollout. To go back
// or to stop is right at every step, so a rollout that has gone a step further
// meanwhile is no reason to refuse that; everything else is meant for the step
// that was seen.
func askMark(verb delivery.AskVerb, r delivery.Rollout) string {
	mark := string(r.ID)
	if r.State == delivery.Reverting || r.Asked != nil && r.Asked.Verb == delivery.AskAbort {
		return mark + " back"
	}
	if verb == delivery.AskAbort {
		return mark
	}
	if r.Paused != nil {
		mark += " paused"
	}
	if r.Asked != nil {
		mark += " asked " + string(r.Asked.Verb)
	}
	if verb == delivery.AskPause {
		return mark
	}
	return fmt.Sprintf("%s %s %d %d", mark, r.State, r.Step, r.Approved)
}

// placeMark is what a person relies on who brings a release into an environment:
// the release itself, what is stable there, and what is under way.
func placeMark(w promotion.World, service, env string, release delivery.ReleaseID) string {
	st, _ := w.Stable(service, env)
	words := []string{string(release), "after", cmp.Or(string(st.Release), "nothing")}
	for _, r := range w.Open {
		if r.Service == service && r.Env == env {
			words = append(words, string(r.ID))
		}
	}
	return strings.Join(words, " ")
}

// standing refuses what was asked on sight of an environment in which something
// else is stable or under way by now, whatever release was to come there.
func standing(seen string, w promotion.World, service, env string) error {
	if strings.HasSuffix(seen, placeMark(w, service, env, "")) {
		return nil
	}
	return current(seen, "", placeNow(w, service, env), 0)
}

// rolloutNow says what has become of a rollout that was seen elsewhere.
func rolloutNow(r delivery.Rollout) string { return "this rollout has moved on: " + promotion.Now(r) }

// placeNow says what has become of a service in an environment.
func placeNow(w promotion.World, service, env string) string {
	text := "nothing of " + service + " is stable in " + env
	if st, ok := w.Stable(service, env); ok {
		text = fmt.Sprintf("%s %s is stable in %s", service, st.Version, env)
	}
	if r, ok := w.Flight(service, env); ok {
		text += "; " + promotion.Now(r)
	}
	return "this service has moved on: " + text
}

// holdMark is what a person relies on who puts or lifts a hold.
func holdMark(holds []delivery.Hold) string {
	words := []string{"holds"}
	for _, h := range holds {
		words = append(words, fmt.Sprint(h.ID))
	}
	return strings.Join(words, " ")
}

// askEffect is what an ask does to a rollout.
func (l *Loop) askEffect(ctx context.Context, tx *store.Tx, verb delivery.AskVerb, r delivery.Rollout) (Effect, error) {
	e := Effect{Service: r.Service, Env: r.Env, Change: r.Change, From: r.Was, To: r.Version, Seen: askMark(verb, r)}
	a := promotion.Asking{Verb: verb, Rollout: r}
	routes, err := tx.Routes(ctx)
	if err != nil {
		return e, err
	}
	for _, route := range routes {
		if route.Service == r.Service && route.Env == r.Env && r.State != delivery.Queued {
			a.Weight = route.WeightOf(r.To)
		}
	}
	if r.From != "" && r.From != r.To {
		from, err := tx.Release(ctx, r.From)
		if err != nil {
			return e, err
		}
		to, err := tx.Release(ctx, r.To)
		if err != nil {
			return e, err
		}
		if verb == delivery.AskAbort {
			from, to = to, from
		}
		a.Keys = e.between(from, to, r.Env)
	}
	e.Text = a.Effect()
	return e, nil
}
