package server

import (
	"context"
	"fmt"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

type rolloutsInput struct {
	Paging
	Service string `query:"service" maxLength:"100"`
	Env     string `query:"env" maxLength:"100"`
	Open    bool   `query:"open" doc:"only those that are not over"`
	Before  string `query:"before" maxLength:"100" doc:"next of the page before"`
}

func (s *Server) getRollouts(ctx context.Context, in *rolloutsInput) (*output[page[delivery.Rollout]], error) {
	at, err := before.read(in.Before)
	if err != nil {
		return nil, err
	}
	list, err := s.d.Store.Rollouts(ctx, store.RolloutQuery{Service: in.Service, Env: in.Env, Open: in.Open, BeforeSeq: at, Limit: in.Limit + 1})
	if err == nil && len(list) == 0 {
		err = s.familiar(ctx, in.Service, in.Env)
	}
	if err != nil {
		return nil, err
	}
	return answered(cut(list, in.Limit, before, func(r delivery.Rollout) int64 { return r.Seq }))
}

type rolloutInput struct {
	Change delivery.ChangeID `path:"change" minimum:"1" doc:"number of the change"`
	Env    string            `path:"env" maxLength:"100" doc:"the environment, with .2 after it for a second try"`
}

func (s *Server) getRollout(ctx context.Context, in *rolloutInput) (*output[control.Live], error) {
	live, err := s.d.Loop.Live(ctx, delivery.RolloutID(fmt.Sprintf("%d/%s", in.Change, in.Env)))
	if err != nil {
		return nil, err
	}
	return answered(live)
}
