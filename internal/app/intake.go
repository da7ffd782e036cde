package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/loglines"
	"github.com/slipway-cd/slipway/internal/metric/scrape"
	"github.com/slipway-cd/slipway/internal/otlp"
	"github.com/slipway-cd/slipway/internal/server"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traces"
	"github.com/slipway-cd/slipway/internal/workload"
)

// listenAgain is the time between two tries to listen, while another process has the port.
const listenAgain = 5 * time.Second

// intake takes in what instances and the data plane tell of themselves. It
// listens on a loopback port of its own, that stays the same for ever, since
// instances outlive the server and have no token of the API.
type intake struct {
	addr    string
	keys    otlp.Keys
	traces  *traces.Keeper
	numbers metric.Sink
	log     *slog.Logger

	pages atomic.Pointer[scrape.Scraper] // from when it runs on
	deaf  atomic.Pointer[error]          // why nothing is received; nil while it is
}

func openIntake(ctx context.Context, s *store.Store, key string, numbers metric.Sink, log *slog.Logger) (*intake, error) {
	port, err := control.TelemetryPort(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("app: %w", err)
	}
	return &intake{
		addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), keys: otlp.NewKeys([]byte(key)),
		traces: traces.NewKeeper(s, log), numbers: numbers, log: log,
	}, nil
}

// deps is what the loop tells others of it.
func (t *intake) deps() control.Telemetry {
	base := "http://" + t.addr
	return control.Telemetry{
		Vars:  func(id workload.ID) map[string]string { return t.keys.Vars(base, id) },
		Spans: t.keys.Plane(t.addr), Failed: t.traces.Failed, Heard: t.heard, Pages: t.states,
	}
}

// heard says where OTLP is received, and why it is not.
func (t *intake) heard() (string, error) {
	if err := t.deaf.Load(); err != nil {
		return t.addr, *err
	}
	return t.addr, nil
}

// states is what is known of the pages of instances.
func (t *intake) states() []scrape.State {
	if s := t.pages.Load(); s != nil {
		return s.States()
	}
	return nil
}

// run takes in until ctx ends.
func (t *intake) run(ctx context.Context, l *control.Loop, from workload.Driver) error {
	scraper := scrape.New(scrape.Options{Targets: l.Targets, Sink: t.numbers, Log: t.log})
	t.pages.Store(scraper)
	lines := loglines.Counter{From: from, To: t.numbers, Log: t.log}
	return together(ctx, t.receive, t.traces.Run, scraper.Run,
		func(ctx context.Context) error { lines.Run(ctx); return nil },
		func(ctx context.Context) error { return l.Meter(ctx, t.numbers) })
}

// receive listens for OTLP. Without its port the server does everything else, and
// tries again.
func (t *intake) receive(ctx context.Context) error {
	receiver := otlp.New(otlp.Options{Keys: t.keys, Metrics: t.numbers, Spans: t.traces.Buffer.Add})
	for first := true; ; first = false {
		l, err := net.Listen("tcp", t.addr)
		if err == nil {
			t.deaf.Store(nil)
			if err = server.Serve(ctx, l, receiver, t.log); ctx.Err() != nil {
				return err
			}
			first = true
		}
		t.deaf.Store(&err)
		if first {
			t.log.WarnContext(ctx, "metrics and traces that instances send are not taken; will try again", slog.String("addr", t.addr), slog.Any("error", err))
		}
		again := time.NewTimer(listenAgain)
		select {
		case <-ctx.Done():
			again.Stop()
			return nil
		case <-again.C:
		}
	}
}
