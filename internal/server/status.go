package server

import (
	"context"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// output is an answer with one body.
type output[T any] struct {
	Body T
}

func answered[T any](body T) (*output[T], error) { return &output[T]{body}, nil }

func (s *Server) status(ctx context.Context, in *IfNew) (*tagged[delivery.Board], error) {
	b, err := s.d.Loop.Board(ctx)
	if err != nil {
		return nil, err
	}
	still := b
	still.At = time.Time{}
	return tag(*in, b, still)
}

func (s *Server) doctor(ctx context.Context, _ *struct{}) (*output[items[control.Finding]], error) {
	return answered(listed(s.d.Loop.Doctor(ctx)))
}
