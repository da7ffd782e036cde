package server

import (
	"context"
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func (s *Server) getTraces(ctx context.Context, in *ChangeRef) (*output[items[delivery.Trace]], error) {
	if _, err := s.d.Store.Change(ctx, in.ID); err != nil {
		return nil, err
	}
	if s.d.Traces == nil {
		return answered(listed[delivery.Trace](nil))
	}
	list, err := s.d.Traces.Of(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answered(listed(list))
}

type traceRef struct {
	ID string `path:"id" pattern:"^[0-9a-fA-F]{32}$" doc:"W3C trace ID, 32 hex digits"`
}

func (s *Server) getTrace(ctx context.Context, in *traceRef) (*output[delivery.Trace], error) {
	if s.d.Traces == nil {
		return nil, fmt.Errorf("server: trace %s: %w", in.ID, delivery.ErrNotFound)
	}
	t, err := s.d.Traces.Trace(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return answered(t)
}
