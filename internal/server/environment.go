package server

import (
	"context"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// surroundings is every environment, and what is on hold in all of them.
type surroundings struct {
	Items       []control.Surroundings `json:"items" doc:"in the order of promotion"`
	Quarantined []delivery.Hold        `json:"quarantined" doc:"releases that may enter no environment"`
}

func (s *Server) environments(ctx context.Context, _ *struct{}) (*output[surroundings], error) {
	list, held, err := s.d.Loop.Environments(ctx)
	if err != nil {
		return nil, err
	}
	return answered(surroundings{Items: list, Quarantined: listed(held).Items})
}

type driftInput struct {
	From string `query:"from" required:"true" maxLength:"100" doc:"an environment"`
	To   string `query:"to" required:"true" maxLength:"100" doc:"another one"`
}

func (s *Server) drift(ctx context.Context, in *driftInput) (*output[control.Drift], error) {
	d, err := s.d.Loop.Drift(ctx, in.From, in.To)
	if err != nil {
		return nil, err
	}
	return answered(d)
}

type releasesInput struct {
	Paging
	ServiceRef
	Before string `query:"before" maxLength:"100" doc:"a change, or next of the page before"`
}

func (s *Server) releases(ctx context.Context, in *releasesInput) (*output[page[control.Released]], error) {
	from, err := before.read(in.Before)
	if err != nil {
		return nil, err
	}
	list, next, err := s.d.Loop.Releases(ctx, control.ReleaseQuery{Service: in.Service, Before: delivery.ChangeID(from), Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	out := page[control.Released]{Items: listed(list).Items}
	if next > 0 {
		out.Next = before.write(int64(next))
	}
	return answered(out)
}

type linksInput struct {
	ServiceRef
	Env string `query:"env" required:"true" maxLength:"100" doc:"the environment that is looked at"`
}

func (s *Server) links(ctx context.Context, in *linksInput) (*output[items[control.Link]], error) {
	list, err := s.d.Loop.Links(ctx, in.Service, in.Env)
	if err != nil {
		return nil, err
	}
	return answered(listed(list))
}
