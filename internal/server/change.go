package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

type submitInput struct {
	Asker
	Body control.Submission
}

type submitOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     control.Submitted
}

// postChange submits. A dry run is 200 and changes nothing.
func (s *Server) postChange(ctx context.Context, in *submitInput) (*submitOutput, error) {
	q := in.Body
	q.By, q.Origin = in.by(), delivery.OriginPerson
	texts := []said{{"service", q.Service}, {"version", q.Version}, {"env", q.Env}, {"reason", q.Reason}, {"commit", q.Commit}}
	for _, name := range slices.Sorted(maps.Keys(q.Set)) {
		texts = append(texts, said{"set", name})
	}
	if err := plain(texts...); err != nil {
		return nil, err
	}
	if q.BreakGlass {
		if err := access.BreakGlass(in.pass.Who); err != nil {
			return nil, err
		}
	}
	done, err := s.d.Loop.Submit(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &submitOutput{Status: http.StatusOK, Body: done}
	if !q.DryRun {
		out.Status, out.Location = http.StatusCreated, fmt.Sprintf("%s/changes/%d", Base, done.Change.ID)
	}
	return out, nil
}

type changesInput struct {
	Paging
	IfNew
	Service string `query:"service" maxLength:"100"`
	Env     string `query:"env" maxLength:"100" doc:"queued for this environment"`
	Kind    string `query:"kind" maxLength:"20" doc:"code, config, flag, experiment, schema or secret"`
	Outcome string `query:"outcome" maxLength:"20" doc:"under-way, done, rolled-back, superseded or cancelled; in env if that is given"`
	By      string `query:"by" maxLength:"200" doc:"who submitted it"`
	From    string `query:"from" maxLength:"40" doc:"submitted on this day or later, or at this time: 2026-11-23, 2026-11-23T14:05:00Z"`
	To      string `query:"to" maxLength:"40" doc:"submitted on this day or earlier, or before this time"`
	Before  string `query:"before" maxLength:"100" doc:"next of the page before, or a change number"`
}

func (s *Server) getChanges(ctx context.Context, in *changesInput) (*tagged[page[control.Listed]], error) {
	at, err := before.read(in.Before)
	if err != nil {
		return nil, err
	}
	q, err := control.ChangeFilter{Service: in.Service, Env: in.Env, Kind: in.Kind, Outcome: in.Outcome, By: in.By, From: in.From, To: in.To}.Query()
	if err != nil {
		return nil, err
	}
	q.Before, q.Limit = delivery.ChangeID(at), in.Limit+1
	list, err := s.d.Loop.Changes(ctx, q)
	if err == nil && len(list) == 0 {
		err = s.familiar(ctx, in.Service, in.Env)
	}
	if err != nil {
		return nil, err
	}
	p := cut(list, in.Limit, before, func(c control.Listed) int64 { return int64(c.ID) })
	return tag(in.IfNew, p, p)
}

// ChangeRef names a change in the path.
type ChangeRef struct {
	ID delivery.ChangeID `path:"id" minimum:"1" doc:"number of the change"`
}

type changeView struct {
	Change   delivery.Change    `json:"change"`
	Rollouts []delivery.Rollout `json:"rollouts"`
	Release  delivery.Release   `json:"release"`
	Holds    []delivery.Hold    `json:"holds" doc:"in force, on what this change delivers or where it goes"`
}

func (s *Server) getChange(ctx context.Context, in *ChangeRef) (*output[changeView], error) {
	c, err := s.d.Store.Change(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	rollouts, err := s.d.Store.Rollouts(ctx, store.RolloutQuery{Change: in.ID, Limit: store.MaxLimit})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rollouts, func(a, b delivery.Rollout) int { return cmp.Compare(a.Seq, b.Seq) })
	m := c.Members[0]
	rel, err := s.d.Store.Release(ctx, m.To)
	if err != nil {
		return nil, err
	}
	holds, err := s.d.Store.Holds(ctx)
	if err != nil {
		return nil, err
	}
	holds = slices.DeleteFunc(holds, func(h delivery.Hold) bool {
		return h.Change != c.ID && h.Release != m.To && (h.Kind != delivery.Pinned || h.Service != m.Service)
	})
	return answered(changeView{Change: c, Rollouts: listed(rollouts).Items, Release: rel, Holds: listed(holds).Items})
}

// wish is what a person says along with a verb.
type wish struct {
	Env    string `json:"env,omitempty" doc:"the environment meant; empty: wherever it is under way"`
	Reason string `json:"reason,omitempty" doc:"why, for the ledger"`
	Trial
}

// Trial is how every verb is tried before it is done. Like every struct that inputs
// share, it is exported for huma to see into it.
type Trial struct {
	DryRun bool   `json:"dry_run,omitempty" doc:"say what would happen, change nothing"`
	Seen   string `json:"seen,omitempty" maxLength:"1000" doc:"mark of an effect that was seen; the verb is refused if things have moved on since"`
}

func (b *wish) orEmpty() (wish, error) {
	if b == nil {
		return wish{}, nil
	}
	return *b, plain(said{"env", b.Env}, said{"reason", b.Reason})
}

type askInput struct {
	Asker
	ChangeRef
	Body *wish
}

// askChange returns the handler of one verb.
func (s *Server) askChange(verb delivery.AskVerb) func(context.Context, *askInput) (*output[control.Asked], error) {
	return func(ctx context.Context, in *askInput) (*output[control.Asked], error) {
		b, err := in.Body.orEmpty()
		if err != nil {
			return nil, err
		}
		return s.ask(ctx, verb, control.Request{Change: in.ID, Env: b.Env, Reason: b.Reason, By: in.by(), Seen: b.Seen, DryRun: b.DryRun})
	}
}

func (s *Server) ask(ctx context.Context, verb delivery.AskVerb, q control.Request) (*output[control.Asked], error) {
	if q.Env != "" {
		if err := s.familiar(ctx, "", q.Env); err != nil {
			return nil, err
		}
	}
	r, err := s.d.Loop.Ask(ctx, verb, q)
	if err != nil {
		return nil, err
	}
	return answered(r)
}

type promoteInput struct {
	Asker
	ChangeRef
	Body *promoteWish
}

type promoteWish struct {
	To     string `json:"to,omitempty" doc:"the environment to enter; empty: the next one"`
	Reason string `json:"reason,omitempty" doc:"why, for the ledger"`
	Trial
}

func (s *Server) promoteChange(ctx context.Context, in *promoteInput) (*output[control.Asked], error) {
	q := control.PromoteRequest{Change: in.ID, By: in.by()}
	if in.Body != nil {
		q.To, q.Reason, q.Seen, q.DryRun = in.Body.To, in.Body.Reason, in.Body.Seen, in.Body.DryRun
	}
	return s.promote(ctx, q)
}

func (s *Server) promote(ctx context.Context, q control.PromoteRequest) (*output[control.Asked], error) {
	if err := plain(said{"to", q.To}, said{"reason", q.Reason}); err != nil {
		return nil, err
	}
	r, err := s.d.Loop.Promote(ctx, q)
	if err != nil {
		return nil, err
	}
	return answered(r)
}

// releasesOf returns the releases that a change delivers for service.
func (s *Server) releasesOf(ctx context.Context, id delivery.ChangeID, service string) ([]delivery.ReleaseID, error) {
	if id == 0 {
		return nil, nil
	}
	c, err := s.d.Store.Change(ctx, id)
	if err != nil {
		return nil, err
	}
	var out []delivery.ReleaseID
	for _, m := range c.Members {
		if m.Service == service {
			out = append(out, m.To)
		}
	}
	if len(out) == 0 {
		no := delivery.Unknown(delivery.CodeUnknownChange, "change of "+service, fmt.Sprint(id), nil, "slipway history "+service)
		return nil, no
	}
	return out, nil
}
