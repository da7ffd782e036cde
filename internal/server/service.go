package server

import (
	"context"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// ServiceRef names a service in the path.
type ServiceRef struct {
	Service string `path:"service" maxLength:"100" doc:"name of the service"`
}

type askServiceInput struct {
	Asker
	ServiceRef
	Body *wish
}

// askService returns the handler of one verb, for whatever is under way.
func (s *Server) askService(verb delivery.AskVerb) func(context.Context, *askServiceInput) (*output[control.Asked], error) {
	return func(ctx context.Context, in *askServiceInput) (*output[control.Asked], error) {
		b, err := in.Body.orEmpty()
		if err != nil {
			return nil, err
		}
		return s.ask(ctx, verb, control.Request{Service: in.Service, Env: b.Env, Reason: b.Reason, By: in.by(), Seen: b.Seen, DryRun: b.DryRun})
	}
}

type promoteServiceInput struct {
	Asker
	ServiceRef
	Body struct {
		To     string `json:"to" minLength:"1" doc:"the environment to enter"`
		Reason string `json:"reason,omitempty" doc:"why, for the ledger"`
		Trial
	}
}

func (s *Server) promoteService(ctx context.Context, in *promoteServiceInput) (*output[control.Asked], error) {
	b := in.Body
	return s.promote(ctx, control.PromoteRequest{Service: in.Service, To: b.To, Reason: b.Reason, By: in.by(), Seen: b.Seen, DryRun: b.DryRun})
}

type rollbackInput struct {
	Asker
	ServiceRef
	Body *rollbackWish
}

type rollbackWish struct {
	Env    string `json:"env,omitempty" doc:"the environment meant; empty: where something is under way, else the last one"`
	To     string `json:"to,omitempty" doc:"a version; empty: the release before"`
	Reason string `json:"reason,omitempty" doc:"why, for the ledger"`
	Trial
}

func (s *Server) rollback(ctx context.Context, in *rollbackInput) (*output[control.RolledBack], error) {
	q := control.RollbackRequest{Service: in.Service, By: in.by()}
	if in.Body != nil {
		q.Env, q.To, q.Reason, q.Seen, q.DryRun = in.Body.Env, in.Body.To, in.Body.Reason, in.Body.Seen, in.Body.DryRun
	}
	if err := plain(said{"env", q.Env}, said{"to", q.To}, said{"reason", q.Reason}); err != nil {
		return nil, err
	}
	done, err := s.d.Loop.Rollback(ctx, q)
	if err != nil {
		return nil, err
	}
	return answered(done)
}

type switchInput struct {
	Asker
	ServiceRef
	Body *switchWish
}

type switchWish struct {
	Env    string `json:"env,omitempty" doc:"the environment meant; empty: where a blue-green rollout waits; back: as for rollback"`
	Back   bool   `json:"back,omitempty" doc:"back to what was stable before"`
	Reason string `json:"reason,omitempty" doc:"why, for the ledger"`
	Trial
}

func (s *Server) switchOver(ctx context.Context, in *switchInput) (*output[control.RolledBack], error) {
	q := control.SwitchRequest{Service: in.Service, By: in.by()}
	if b := in.Body; b != nil {
		q.Env, q.Back, q.Reason, q.Seen, q.DryRun = b.Env, b.Back, b.Reason, b.Seen, b.DryRun
	}
	if err := plain(said{"env", q.Env}, said{"reason", q.Reason}); err != nil {
		return nil, err
	}
	done, err := s.d.Loop.Switch(ctx, q)
	if err != nil {
		return nil, err
	}
	return answered(done)
}

func (s *Server) versions(ctx context.Context, in *ServiceRef) (*output[items[control.Version]], error) {
	all, err := s.d.Loop.Versions(ctx, in.Service)
	if err != nil {
		return nil, err
	}
	return answered(listed(all))
}

type whyInput struct {
	ServiceRef
	Env string `query:"env" maxLength:"100" doc:"empty: every environment in order"`
}

func (s *Server) why(ctx context.Context, in *whyInput) (*output[items[delivery.Answer]], error) {
	all, err := s.d.Loop.Why(ctx, in.Service, in.Env)
	if err != nil {
		return nil, err
	}
	return answered(listed(all))
}

type diffInput struct {
	ServiceRef
	From string `query:"from" required:"true" maxLength:"200" doc:"an environment or a version"`
	To   string `query:"to" required:"true" maxLength:"200" doc:"an environment or a version"`
}

func (s *Server) diff(ctx context.Context, in *diffInput) (*output[control.Diff], error) {
	d, err := s.d.Loop.Diff(ctx, in.Service, in.From, in.To)
	if err != nil {
		return nil, err
	}
	return answered(d)
}

func (s *Server) calls(ctx context.Context, in *ServiceRef) (*output[items[control.Call]], error) {
	if err := s.familiar(ctx, in.Service, ""); err != nil {
		return nil, err
	}
	return answered(listed(s.d.Loop.Calls(in.Service)))
}
