package control

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// Verb is something that a person can do.
type Verb string

// The verbs, as they are on the command line; approve and finish are promote there.
const (
	ActDeploy   Verb = "deploy"
	ActPromote  Verb = "promote"
	ActApprove  Verb = "approve"
	ActFinish   Verb = "finish"
	ActPause    Verb = "pause"
	ActResume   Verb = "resume"
	ActAbort    Verb = "abort"
	ActRollback Verb = "rollback"
	ActSwitch   Verb = "switch"
	ActHold     Verb = "hold"
	ActRelease  Verb = "release" // of a hold
)

// Verbs lists what a person can do.
func Verbs() []Verb {
	return []Verb{ActDeploy, ActPromote, ActApprove, ActFinish, ActPause, ActResume, ActAbort, ActRollback, ActSwitch, ActHold, ActRelease}
}

// Act is one thing a person wants to be done, whatever it is: what a page can ask
// for. Each verb looks at the fields that it needs, and obeys the rules of the
// typed function that it stands for; there are no others.
type Act struct {
	Verb       Verb               `json:"verb"`
	Change     delivery.ChangeID  `json:"change,omitempty"`  // of what is under way, or promoted
	Service    string             `json:"service,omitempty"` // instead of Change
	Env        string             `json:"env,omitempty"`     // the environment meant; to promote: the one to enter
	Version    string             `json:"version,omitempty"` // to deploy, to go back to, to hold or to release
	Set        map[string]string  `json:"set,omitempty"`
	Unset      []string           `json:"unset,omitempty"`
	Strategy   *delivery.Override `json:"strategy,omitempty"`
	BreakGlass bool               `json:"break_glass,omitempty"`
	Back       bool               `json:"back,omitempty"` // switch: to blue again
	Reason     string             `json:"reason,omitempty"`
	By         string             `json:"by,omitempty"`
	Seen       string             `json:"seen,omitempty"` // mark of an effect: refuse if things have moved on since
	Key        string             `json:"-"`              // names the act: with the same key it is done once; "": it has no name
}

// Done is what was done, or in a preflight would be.
type Done struct {
	Effect Effect            `json:"effect"`
	Change delivery.ChangeID `json:"change,omitempty"` // to follow from here on
	Plans  []EnvPlan         `json:"plans,omitempty"`  // of a deploy
}

// Preflight says what an act would do, or why it would be refused. It is the act
// itself, taken back before it is kept: what it meets the act meets, and it
// leaves nothing.
func (l *Loop) Preflight(ctx context.Context, a Act) (Done, error) {
	a.Seen, a.Key = "", ""
	return l.act(ctx, a, true)
}

// Do does an act. With a key it is done once, however often it is asked for and
// whatever dies meanwhile: the key is kept in the same write as what was done.
func (l *Loop) Do(ctx context.Context, a Act) (Done, error) { return l.act(ctx, a, false) }

func (l *Loop) act(ctx context.Context, a Act, dry bool) (Done, error) {
	s, err := l.submission(ctx, a, dry)
	if err != nil {
		return Done{}, err
	}
	var out Done
	err = l.attempt(ctx, "act "+string(a.Verb), dry, func(tx *store.Tx) (err error) {
		out, err = l.once(ctx, tx, a, func() (Done, error) { return l.dispatch(ctx, tx, a, s) })
		return err
	})
	if err != nil {
		return Done{}, err
	}
	return out, nil
}

// submission is what a deploy submits, with the code of its version at hand.
func (l *Loop) submission(ctx context.Context, a Act, dry bool) (Submission, error) {
	if a.Verb != ActDeploy {
		return Submission{}, nil
	}
	return l.take(ctx, Submission{
		Service: a.Service, Version: a.Version, Env: a.Env, Set: a.Set, Unset: a.Unset, Strategy: a.Strategy, Reason: a.Reason, By: a.By,
		Origin: delivery.OriginPerson, Seen: a.Seen, DryRun: dry, BreakGlass: a.BreakGlass,
	})
}

// once does what has a key, or answers as before.
func (l *Loop) once(ctx context.Context, tx *store.Tx, a Act, do func() (Done, error)) (Done, error) {
	if a.Key == "" {
		return do()
	}
	asked, err := json.Marshal(a)
	if err != nil {
		return Done{}, fmt.Errorf("control: %s: %w", a.Verb, err)
	}
	key, print := "act/"+a.Key, string(delivery.DigestOf(asked))
	kept, found, err := tx.Recall(ctx, key, print, time.Now())
	if err != nil {
		return Done{}, err
	}
	var out Done
	if found {
		if err := json.Unmarshal(kept, &out); err != nil {
			return Done{}, fmt.Errorf("control: %s: answer kept under its key: %w", a.Verb, err)
		}
		return out, nil
	}
	if out, err = do(); err != nil {
		return Done{}, err
	}
	text, err := json.Marshal(out)
	if err != nil {
		return Done{}, fmt.Errorf("control: %s: %w", a.Verb, err)
	}
	return out, tx.Remember(key, print, text, time.Now())
}

// dispatch does an act by the typed function that it stands for.
func (l *Loop) dispatch(ctx context.Context, tx *store.Tx, a Act, s Submission) (Done, error) {
	request := Request{Change: a.Change, Service: a.Service, Env: a.Env, Reason: a.Reason, By: a.By, Seen: a.Seen}
	if request.Change != 0 {
		request.Service = ""
	}
	switch a.Verb {
	case ActDeploy:
		done, err := l.submit(ctx, tx, s)
		return Done{Effect: done.Effect, Change: done.Change.ID, Plans: done.Plans}, err
	case ActPromote:
		done, err := l.moveOn(ctx, tx, PromoteRequest{Change: request.Change, Service: request.Service, To: a.Env, Reason: a.Reason, By: a.By, Seen: a.Seen})
		return touched(done), err
	case ActApprove:
		done, err := l.askFor(ctx, tx, delivery.AskApprove, request)
		return touched(done), err
	case ActFinish:
		done, err := l.askFor(ctx, tx, delivery.AskPromote, request)
		return touched(done), err
	case ActPause:
		done, err := l.askFor(ctx, tx, delivery.AskPause, request)
		return touched(done), err
	case ActResume:
		done, err := l.askFor(ctx, tx, delivery.AskResume, request)
		return touched(done), err
	case ActAbort:
		done, err := l.askFor(ctx, tx, delivery.AskAbort, request)
		return touched(done), err
	case ActRollback:
		done, err := l.rollback(ctx, tx, RollbackRequest{Service: a.Service, Env: a.Env, To: a.Version, Reason: a.Reason, By: a.By, Seen: a.Seen})
		return Done{Effect: done.Effect, Change: done.Rollout.Change}, err
	case ActSwitch:
		done, err := l.flip(ctx, tx, SwitchRequest{Service: a.Service, Env: a.Env, Back: a.Back, Reason: a.Reason, By: a.By, Seen: a.Seen})
		return Done{Effect: done.Effect, Change: done.Rollout.Change}, err
	case ActHold:
		done, err := l.hold(ctx, tx, HoldRequest{Service: a.Service, Env: a.Env, Version: a.Version, Why: a.Reason, By: a.By, Seen: a.Seen})
		return Done{Effect: done.Effect}, err
	case ActRelease:
		done, err := l.lift(ctx, tx, Lift{Service: a.Service, Env: a.Env, Version: a.Version, Reason: a.Reason, By: a.By, Seen: a.Seen})
		return Done{Effect: done.Effect}, err
	}
	return Done{}, delivery.InvalidNext("verb", fmt.Sprintf("there is no action %q", a.Verb), "slipway --help lists what can be done")
}

func touched(a Asked) Done { return Done{Effect: a.Effect, Change: a.Change} }
