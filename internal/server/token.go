package server

import (
	"context"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
)

type whoInput struct{ Asker }

type whoView struct {
	delivery.Who
	Via access.Via `json:"via" enum:"owner,token,session,public" doc:"what lets them in"`
}

func (s *Server) whoami(_ context.Context, in *whoInput) (*output[whoView], error) {
	return answered(whoView{Who: in.pass.Who, Via: in.pass.Via})
}

func (s *Server) getTokens(ctx context.Context, _ *struct{}) (*output[items[delivery.Token]], error) {
	all, err := s.d.Guard.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	return answered(listed(all))
}

type tokenInput struct {
	Asker
	Body struct {
		Name   string          `json:"name" minLength:"1" maxLength:"64" doc:"whom the ledger names"`
		Access delivery.Access `json:"access" enum:"reader,deployer,admin"`
		Ends   time.Time       `json:"ends,omitzero" doc:"it opens nothing from then on; left out: it does not end"`
	}
}

type tokenMade struct {
	Token  delivery.Token `json:"token"`
	Secret string         `json:"secret" doc:"what opens it; nobody can find it out again"`
}

func (s *Server) postToken(ctx context.Context, in *tokenInput) (*output[tokenMade], error) {
	b := in.Body
	tok, secret, err := s.d.Guard.Create(ctx, access.NewToken{Name: b.Name, Access: b.Access, Ends: b.Ends, By: in.by()})
	if err != nil {
		return nil, err
	}
	return answered(tokenMade{Token: tok, Secret: secret})
}

type revokeInput struct {
	Asker
	Name string `path:"name" maxLength:"64" doc:"of the token"`
	Body *struct{}
}

func (s *Server) revokeToken(ctx context.Context, in *revokeInput) (*output[delivery.Token], error) {
	tok, err := s.d.Guard.Revoke(ctx, in.Name, in.by())
	if err != nil {
		return nil, err
	}
	return answered(tok)
}

type linkInput struct {
	Asker
	Body *struct{}
}

func (s *Server) postSignInLink(ctx context.Context, in *linkInput) (*output[access.SignInLink], error) {
	l, err := s.d.Guard.Link(ctx, in.pass)
	if err != nil {
		return nil, err
	}
	return answered(l)
}
