package server

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

type logsInput struct {
	ServiceRef
	Env    string            `query:"env" maxLength:"100" doc:"empty: every environment"`
	Change delivery.ChangeID `query:"change" minimum:"1" doc:"only instances of the release of this change"`
	Failed bool              `query:"failed" doc:"failed requests instead of log lines"`
	Tail   int               `query:"tail" minimum:"1" maximum:"10000" default:"100" doc:"last lines of each instance"`
	Follow bool              `query:"follow" doc:"go on until the client leaves"`
	Accept string            `header:"Accept" doc:"application/x-ndjson for one JSON object a line; else text/event-stream"`
}

// logs streams what instances wrote, or which requests failed.
func (s *Server) logs(ctx context.Context, in *logsInput) (*streamOutput, error) {
	if err := s.familiar(ctx, in.Service, in.Env); err != nil {
		return nil, err
	}
	releases, err := s.releasesOf(ctx, in.Change, in.Service)
	if err != nil {
		return nil, err
	}
	f := sse
	if strings.Contains(in.Accept, string(ndjson)) {
		f = ndjson
	}
	return s.streamed(ctx, f, func(ctx context.Context, st *stream) {
		if in.Failed {
			s.failures(ctx, st, in, releases)
			return
		}
		if err := s.lines(ctx, st, in, releases); err != nil && ctx.Err() == nil {
			s.d.Log.ErrorContext(ctx, "log stream ended", slog.String("service", in.Service), slog.Any("error", err))
		}
	})
}

func (s *Server) lines(ctx context.Context, st *stream, in *logsInput, releases []delivery.ReleaseID) error {
	q := workload.LogQuery{Service: in.Service, Env: in.Env, Tail: in.Tail, Follow: in.Follow}
	if len(releases) > 0 {
		q.Release = releases[0]
	}
	if !st.flush() { // the head goes out before the first line comes
		return nil
	}
	err := s.d.Workload.Logs(ctx, q, func(l workload.LogLine) bool {
		return st.send(message{data: l}) && (!in.Follow || st.flush())
	})
	st.flush()
	return err
}

// failures sends the failed requests that are kept, and those that come. Each
// is sent once: what is kept is in the order of time.
func (s *Server) failures(ctx context.Context, st *stream, in *logsInput, releases []delivery.ReleaseID) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	sent := map[traffic.Sample]bool{}
	for first := true; ; first = false {
		kept := s.d.Loop.FailedSamples(in.Service, in.Env, releases)
		if first && len(kept) > in.Tail {
			for _, old := range kept[:len(kept)-in.Tail] {
				sent[old] = true
			}
		}
		now := make(map[traffic.Sample]bool, len(kept))
		for _, f := range kept {
			if !sent[f] && !now[f] && !st.send(message{data: f}) {
				return
			}
			now[f] = true
		}
		sent = now // what is no longer kept is not sent again
		if !st.flush() || !in.Follow {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
