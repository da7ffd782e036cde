package server

import (
	"context"
	"fmt"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// Selection picks lines of the ledger.
type Selection struct {
	Service string            `query:"service" maxLength:"100"`
	Env     string            `query:"env" maxLength:"100"`
	Change  delivery.ChangeID `query:"change" minimum:"1" doc:"number of a change"`
}

func (q Selection) query() store.EventQuery {
	return store.EventQuery{Service: q.Service, Env: q.Env, Change: q.Change}
}

type ledgerInput struct {
	Paging
	Selection
	Before string `query:"before" maxLength:"100" doc:"a line number, or next of the page before when newest"`
	Since  string `query:"since" maxLength:"100" doc:"a line number, or next of the page before when not newest"`
	Newest bool   `query:"newest" doc:"newest first"`
}

func (s *Server) getLedger(ctx context.Context, in *ledgerInput) (*output[page[delivery.Event]], error) {
	q := in.query()
	var err error
	if q.Before, err = before.read(in.Before); err != nil {
		return nil, err
	}
	if q.Since, err = since.read(in.Since); err != nil {
		return nil, err
	}
	q.Newest, q.Limit = in.Newest, in.Limit+1
	list, err := s.d.Store.Events(ctx, q)
	if err == nil && len(list) == 0 {
		err = s.familiar(ctx, in.Service, in.Env)
	}
	if err != nil {
		return nil, err
	}
	way := since
	if in.Newest {
		way = before
	}
	return answered(cut(list, in.Limit, way, func(e delivery.Event) int64 { return e.Seq }))
}

// audit is what a walk over the whole ledger found.
type audit struct {
	store.Report
	OK       bool   `json:"ok"`
	Sentence string `json:"sentence"`
}

func (s *Server) verify(ctx context.Context, _ *struct{}) (*output[audit], error) {
	r, err := s.d.Store.Verify(ctx)
	if err != nil {
		return nil, err
	}
	a := audit{Report: r, OK: r.Broken == nil, Sentence: fmt.Sprintf("all %d lines of the ledger hold", r.Lines)}
	if b := r.Broken; b != nil {
		a.Sentence = fmt.Sprintf("the ledger does not hold at line %d: %s", b.Seq, b.Why)
	}
	return answered(a)
}
