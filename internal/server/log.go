package server

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/logs"
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
	LogFilter
	Accept string `header:"Accept" doc:"application/x-ndjson for one JSON object a line; else text/event-stream"`
}

// LogFilter says which lines. Of failed requests only since and until are asked.
type LogFilter struct {
	Version string    `query:"version" maxLength:"100" doc:"only instances of the newest release of this version"`
	Level   string    `query:"level" enum:"debug,info,warn,error,fatal" doc:"lines of this level and above; read from JSON, logfmt and plain lines"`
	Text    string    `query:"text" maxLength:"1000" doc:"part of the line, whatever its case"`
	Trace   string    `query:"trace" pattern:"^[0-9a-f]{32}$" doc:"W3C trace id that the line names"`
	Since   time.Time `query:"since" doc:"not before (RFC 3339)"`
	Until   time.Time `query:"until" doc:"not after (RFC 3339)"`
}

func (f LogFilter) filter() logs.Filter {
	return logs.Filter{Least: logs.ParseLevel(f.Level), Text: f.Text, Trace: f.Trace, Since: f.Since, Until: f.Until}
}

// logLine is one line, and what could be read of it.
type logLine struct {
	workload.LogLine
	Level string `json:"level,omitempty" doc:"debug, info, warn, error or fatal"`
	Trace string `json:"trace,omitempty" doc:"W3C trace id"`
}

// logs streams what instances wrote, or which requests failed.
func (s *Server) logs(ctx context.Context, in *logsInput) (*streamOutput, error) {
	if err := s.familiar(ctx, in.Service, in.Env); err != nil {
		return nil, err
	}
	releases, err := s.logged(ctx, in)
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

// logged returns the releases that are asked for, none for all of them.
func (s *Server) logged(ctx context.Context, in *logsInput) ([]delivery.ReleaseID, error) {
	if in.Version == "" {
		return s.releasesOf(ctx, in.Change, in.Service)
	}
	if in.Change != 0 {
		return nil, delivery.InvalidNext("version", "a change names its release already", "leave out change, or version")
	}
	rel, err := s.d.Store.ReleaseNamed(ctx, in.Service, in.Version)
	return []delivery.ReleaseID{rel.ID}, err
}

func (s *Server) lines(ctx context.Context, st *stream, in *logsInput, releases []delivery.ReleaseID) error {
	q := workload.LogQuery{Service: in.Service, Env: in.Env, Tail: in.Tail, Follow: in.Follow}
	if len(releases) > 0 {
		q.Release = releases[0]
	}
	if f := in.filter(); !f.Empty() {
		q.Want = func(l workload.LogLine) bool { return f.Selects(l.At, l.Text) }
	}
	if !st.flush() { // the head goes out before the first line comes
		return nil
	}
	err := s.d.Workload.Logs(ctx, q, func(l workload.LogLine) bool {
		read := logs.Parse(l.Text)
		return st.send(message{data: logLine{l, read.Level.String(), read.Trace}}) && (!in.Follow || st.flush())
	})
	st.flush()
	return err
}

// failures sends the failed requests that are kept, and those that come. Each
// is sent once: what is kept is in the order of time.
func (s *Server) failures(ctx context.Context, st *stream, in *logsInput, releases []delivery.ReleaseID) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	sent, within := map[traffic.Sample]bool{}, logs.Filter{Since: in.Since, Until: in.Until}
	for first := true; ; first = false {
		kept := slices.DeleteFunc(s.d.Loop.FailedSamples(in.Service, in.Env, releases), func(f traffic.Sample) bool { return !within.Selects(f.At, "") })
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
