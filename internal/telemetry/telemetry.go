package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/otlp"
	"github.com/slipway-cd/slipway/internal/store"
)

// Deps is all that is told about.
type Deps struct {
	Loop    *control.Loop
	Store   *store.Store
	Log     *slog.Logger
	Records *otlp.Records // what a collector is sent of Log; nil: nothing
	Version string
	Mark    string // file that holds up to which line of the ledger traces were sent
}

// Telemetry follows the ledger. It is an http.Handler of the numbers; make it
// with New.
type Telemetry struct {
	d       Deps
	started time.Time
	spans   *otlp.Spans
	tally   tally
}

// New returns the telemetry of a control plane. It does no I/O.
func New(d Deps) *Telemetry {
	if d.Records == nil {
		d.Records = otlp.NewRecords(otlp.From{}, d.Log) // that no line is handed to
	}
	return &Telemetry{
		d: d, started: time.Now(),
		spans: otlp.NewSpans(otlp.From{Service: "slipway", Scope: "github.com/slipway-cd/slipway/internal/telemetry", Version: d.Version}, d.Log),
	}
}

// Run follows the ledger until ctx ends.
func (t *Telemetry) Run(ctx context.Context) error {
	head, err := t.head(ctx)
	if err != nil {
		return stopped(ctx, err)
	}
	mark, err := readMark(t.d.Mark)
	if errors.Is(err, os.ErrNotExist) {
		mark, err = head, writeMark(t.d.Mark, head) // what was before anybody listened is not told
	}
	if err != nil || mark > head { // or it is of another ledger
		t.d.Log.WarnContext(ctx, "traces begin anew with the next change", slog.Any("error", err), slog.Int64("mark", mark), slog.Int64("ledger", head))
		mark = head
		if err := writeMark(t.d.Mark, head); err != nil {
			return stopped(ctx, err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- t.follow(ctx, mark, t.export) }()
	err = t.follow(ctx, head, func(ctx context.Context, e delivery.Event) {
		if e.Kind == delivery.EventProject {
			t.Aim(ctx)
		}
		t.tally.take(ctx, e)
		t.log(ctx, e)
	})
	return errors.Join(err, <-done)
}

// Aim sends the log to where the project in force says, or nowhere.
func (t *Telemetry) Aim(ctx context.Context) {
	p, _, err := t.d.Store.Project(ctx)
	switch {
	case err == nil:
		t.d.Records.To(p.DataPlane.OTLP)
	case !errors.Is(err, delivery.ErrNotFound) && ctx.Err() == nil:
		t.d.Log.WarnContext(ctx, "where the log is to be sent could not be read", slog.Any("error", err))
	}
}

// log says that a rollout came into another state, so that whoever collects logs
// finds it beside those of the services, under the ID of the change's trace.
func (t *Telemetry) log(ctx context.Context, e delivery.Event) {
	var m struct {
		From delivery.State `json:"from"`
	}
	if e.Kind != delivery.EventMoved || json.Unmarshal(e.Data, &m) != nil || m.From == e.State {
		return
	}
	at := []slog.Attr{
		slog.Int64("change", int64(e.Change)), slog.String("rollout", string(e.Rollout)), slog.String("service", e.Service), slog.String("env", e.Env),
		slog.String("from", string(m.From)), slog.String("state", string(e.State)), slog.String("why", e.Text),
	}
	whole := context.WithoutCancel(ctx) // a line that is begun is not cut short at the end
	p, _, err := t.d.Store.Project(whole)
	c, err2 := t.d.Store.Change(whole, e.Change)
	if err == nil && err2 == nil && p.DataPlane.OTLP != "" {
		s := story{project: p.Name, change: c}
		at = append(at, slog.String("trace_id", fmt.Sprintf("%x", s.trace())))
	}
	t.d.Log.LogAttrs(ctx, slog.LevelInfo, "rollout moved", at...)
}

// head is the number of the newest line.
func (t *Telemetry) head(ctx context.Context) (int64, error) {
	newest, err := t.d.Store.Events(ctx, store.EventQuery{Newest: true, Limit: 1})
	if err != nil || len(newest) == 0 {
		return 0, err
	}
	return newest[0].Seq, nil
}

// again is how long to wait after a read that failed.
const again = time.Second

// follow gives each line after one to take, in order, until ctx ends.
func (t *Telemetry) follow(ctx context.Context, after int64, take func(context.Context, delivery.Event)) error {
	bell := t.d.Store.Subscribe(ctx)
	for {
		lines, err := t.d.Store.Events(ctx, store.EventQuery{Since: after, Limit: store.MaxLimit})
		if err != nil && ctx.Err() == nil {
			t.d.Log.WarnContext(ctx, "the ledger could not be read; will try again", slog.Any("error", err))
			pause(ctx, again)
			continue
		}
		for _, e := range lines {
			take(ctx, e)
			if ctx.Err() != nil {
				return nil
			}
			after = e.Seq
		}
		if len(lines) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-bell:
		}
	}
}

// Longest and shortest time between two tries to hand a trace over.
const (
	firstTry = time.Second
	lastTry  = time.Minute
)

// export sends the trace of a rollout that ended with this line, and remembers
// that it did. A collector that is away is waited for: the ledger keeps the rest.
func (t *Telemetry) export(ctx context.Context, e delivery.Event) {
	if e.Kind == delivery.EventMoved && e.State.Final() {
		if !t.tell(ctx, e) {
			return // ctx has ended; the next server begins with this line
		}
	}
	if err := writeMark(t.d.Mark, e.Seq); err != nil {
		t.d.Log.WarnContext(ctx, "it could not be written down which traces were sent; the last may come twice", slog.Any("error", err))
	}
}

// tell sends the trace of the rollout of a line. It returns false when ctx ended
// before that.
func (t *Telemetry) tell(ctx context.Context, e delivery.Event) bool {
	for wait := firstTry; ; wait = min(2*wait, lastTry) {
		err := t.send(ctx, e)
		if err == nil {
			return true
		}
		at := []any{slog.Int64("change", int64(e.Change)), slog.String("rollout", string(e.Rollout)), slog.Any("error", err)}
		if errors.Is(err, otlp.ErrRefused) || errors.Is(err, delivery.ErrNotFound) {
			t.d.Log.WarnContext(ctx, "the trace of a rollout is lost", at...)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		t.d.Log.WarnContext(ctx, "the trace of a rollout could not be sent; will try again", at...)
		pause(ctx, wait)
		if ctx.Err() != nil {
			return false
		}
	}
}

func (t *Telemetry) send(ctx context.Context, e delivery.Event) error {
	p, _, err := t.d.Store.Project(ctx)
	if err != nil {
		return err
	}
	if t.spans.To(p.DataPlane.OTLP); !t.spans.On() {
		return nil
	}
	s, err := t.story(ctx, p, e)
	if err != nil {
		return err
	}
	spans := s.spans()
	call, end := outlive(ctx, lastCall)
	defer end()
	if err := t.spans.Send(call, spans); err != nil {
		return err
	}
	t.d.Log.InfoContext(ctx, "the trace of a rollout was sent", slog.Int64("change", int64(e.Change)), slog.String("rollout", string(e.Rollout)),
		slog.String("trace_id", fmt.Sprintf("%x", s.trace())), slog.Int("spans", len(spans)))
	return nil
}

// lastCall is how long a call under way at the end may go on: the collector may
// have taken it, and would get it twice.
const lastCall = 2 * time.Second

// outlive returns a context that ends some time after ctx.
func outlive(ctx context.Context, by time.Duration) (context.Context, func()) {
	longer, cut := context.WithCancel(context.WithoutCancel(ctx))
	late := time.AfterFunc(by, cut)
	late.Stop()
	unhook := context.AfterFunc(ctx, func() { late.Reset(by) })
	return longer, func() {
		unhook()
		late.Stop()
		cut()
	}
}

// story reads all that a trace is made of.
func (t *Telemetry) story(ctx context.Context, p delivery.Project, e delivery.Event) (story, error) {
	c, err := t.d.Store.Change(ctx, e.Change)
	if err != nil {
		return story{}, err
	}
	s := story{project: p.Name, change: c}
	all, err := t.d.Store.Rollouts(ctx, store.RolloutQuery{Change: e.Change, Limit: store.MaxLimit})
	if err != nil {
		return story{}, err
	}
	for _, r := range all {
		if r.ID == e.Rollout {
			s.rollout = r
		}
	}
	s.over, s.failed = over(p, c, all)
	for after := int64(0); ; {
		lines, err := t.d.Store.Events(ctx, store.EventQuery{Since: after, Rollout: e.Rollout, Limit: store.MaxLimit})
		if err != nil {
			return story{}, err
		}
		if len(lines) == 0 || len(s.lines) >= mostLines {
			break
		}
		s.lines = append(s.lines, lines...)
		after = lines[len(lines)-1].Seq
	}
	return s, nil
}

// mostLines bounds the ledger lines that one trace is made of.
const mostLines = 5000

func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("telemetry: %w", err)
}

func readMark(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("telemetry: %s holds %q and not the number of a line", path, b)
	}
	return n, nil
}

// writeMark replaces the file whole. It is not synced: after a power cut some
// traces are sent again, under the same IDs.
func writeMark(path string, seq int64) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".mark-*")
	if err != nil {
		return fmt.Errorf("telemetry: %w", err)
	}
	_, err = fmt.Fprintln(tmp, seq)
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("telemetry: %w", err), os.Remove(tmp.Name()))
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
