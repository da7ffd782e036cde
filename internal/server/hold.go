package server

import (
	"context"
	"net/http"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *Server) getHolds(ctx context.Context, _ *struct{}) (*output[items[delivery.Hold]], error) {
	all, err := s.d.Store.Holds(ctx)
	if err != nil {
		return nil, err
	}
	return answered(listed(all))
}

type holdInput struct {
	Asker
	Body struct {
		Service string `json:"service" minLength:"1"`
		Env     string `json:"env,omitempty" doc:"pins this environment"`
		Version string `json:"version,omitempty" doc:"or quarantines this version"`
		Why     string `json:"why" minLength:"1" doc:"why, for whoever meets the hold"`
		Trial
	}
}

// holdOutput is 200 for a dry run, which puts no hold.
type holdOutput struct {
	Status int
	Body   control.Held
}

func (s *Server) postHold(ctx context.Context, in *holdInput) (*holdOutput, error) {
	b := in.Body
	if b.Env != "" && b.Version != "" {
		return nil, delivery.Invalid("env", "a hold pins an environment or quarantines a version, not both")
	}
	if err := plain(said{"service", b.Service}, said{"env", b.Env}, said{"version", b.Version}, said{"why", b.Why}); err != nil {
		return nil, err
	}
	h, err := s.d.Loop.PutHold(ctx, control.HoldRequest{Service: b.Service, Env: b.Env, Version: b.Version, Why: b.Why, By: in.by(), Seen: b.Seen, DryRun: b.DryRun})
	if err != nil {
		return nil, err
	}
	out := &holdOutput{Status: http.StatusCreated, Body: h}
	if b.DryRun {
		out.Status = http.StatusOK
	}
	return out, nil
}

type liftInput struct {
	Asker
	Body control.Lift
}

func (s *Server) liftHold(ctx context.Context, in *liftInput) (*output[control.Lifted], error) {
	q := in.Body
	q.By = in.by()
	if err := plain(said{"service", q.Service}, said{"env", q.Env}, said{"version", q.Version}, said{"reason", q.Reason}); err != nil {
		return nil, err
	}
	lifted, err := s.d.Loop.LiftHold(ctx, q)
	if err != nil {
		return nil, err
	}
	return answered(lifted)
}
