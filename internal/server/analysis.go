package server

import (
	"context"

	"github.com/slipway-cd/slipway/internal/control"
)

func (s *Server) explainAnalysis(ctx context.Context, in *ChangeRef) (*output[items[control.Explained]], error) {
	all, err := s.d.Loop.Explain(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answered(listed(all))
}

func (s *Server) replayAnalysis(ctx context.Context, in *ChangeRef) (*output[items[control.Replayed]], error) {
	all, err := s.d.Loop.Replay(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answered(listed(all))
}

type planAnalysisInput struct {
	ServiceRef
	Env string `query:"env" maxLength:"100" doc:"the environment meant; empty: the last one"`
}

func (s *Server) planAnalysis(ctx context.Context, in *planAnalysisInput) (*output[control.Forecast], error) {
	f, err := s.d.Loop.Forecast(ctx, in.Service, in.Env)
	if err != nil {
		return nil, err
	}
	return answered(f)
}
