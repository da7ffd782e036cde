package server

import (
	"context"

	"github.com/slipway-cd/slipway/internal/control"
)

type previewInput struct {
	Asker
	Body control.PreviewRequest
}

func (s *Server) postPreview(ctx context.Context, in *previewInput) (*output[control.Preview], error) {
	q := in.Body
	q.By = in.by()
	if err := plain(said{"service", q.Service}, said{"version", q.Version}, said{"env", q.Env}); err != nil {
		return nil, err
	}
	p, err := s.d.Loop.Preview(ctx, q)
	if err != nil {
		return nil, err
	}
	return answered(p)
}
