package server

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// batch is how many lines are read from the ledger at once; a client that reads
// slowly is never ahead of that.
const batch = 200

type eventsInput struct {
	Service string            `query:"service" maxLength:"100"`
	Change  delivery.ChangeID `query:"change" minimum:"1" doc:"number of a change"`
	Since   int64             `query:"since" minimum:"0" doc:"last line the client has; 0 begins with the first line"`
	LastID  string            `header:"Last-Event-ID" doc:"the same, and stronger: a browser sends it when it connects again"`
}

// events streams the ledger from a line on, without end.
func (s *Server) events(ctx context.Context, in *eventsInput) (*streamOutput, error) {
	q := store.EventQuery{Service: in.Service, Change: in.Change, Since: in.Since, Limit: batch}
	if in.LastID != "" {
		n, err := strconv.ParseInt(in.LastID, 10, 64)
		if err != nil || n < 0 {
			return nil, delivery.Invalid("header.Last-Event-ID", "must be the number of a line")
		}
		q.Since = n
	}
	if in.Service != "" {
		if err := s.familiar(ctx, in.Service, ""); err != nil {
			return nil, err
		}
	}
	if in.Change != 0 {
		if _, err := s.d.Store.Change(ctx, in.Change); err != nil {
			return nil, err
		}
	}
	if err := s.reached(ctx, q.Since); err != nil {
		return nil, err
	}
	return s.streamed(ctx, sse, func(ctx context.Context, st *stream) {
		if err := s.follow(ctx, st, q); err != nil && ctx.Err() == nil {
			s.d.Log.ErrorContext(ctx, "event stream ended", slog.Any("error", err))
		}
	})
}

// reached refuses to follow from a line that this ledger does not have yet: the
// client has it from another ledger, and would wait for what it will never get.
func (s *Server) reached(ctx context.Context, seq int64) error {
	if seq == 0 {
		return nil
	}
	last, err := s.d.Store.Events(ctx, store.EventQuery{Newest: true, Limit: 1})
	if err != nil {
		return err
	}
	if len(last) == 0 || last[0].Seq < seq {
		return delivery.InvalidNext("since", fmt.Sprintf("the ledger has no line %d yet; it is not the one you followed before", seq), "follow again from 0")
	}
	return nil
}

// follow sends every line that q selects, each once and in order. The bell is
// only a reason to look: what is sent is what the ledger has after the last line.
func (s *Server) follow(ctx context.Context, st *stream, q store.EventQuery) error {
	bell := s.d.Store.Subscribe(ctx)
	if !st.write("retry: 1000\n\n") {
		return nil
	}
	for {
		lines, err := s.d.Store.Events(ctx, q)
		if err != nil {
			return err
		}
		for _, e := range lines {
			if !st.send(message{id: e.Seq, event: string(e.Kind), data: e}) {
				return nil
			}
			q.Since = e.Seq
		}
		if !st.flush() {
			return nil
		}
		if len(lines) == q.Limit {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-bell:
		}
	}
}
