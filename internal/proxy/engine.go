package proxy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/accesslog"
	"github.com/slipway-cd/slipway/internal/proxy/door"
	"github.com/slipway-cd/slipway/internal/proxy/fault"
	"github.com/slipway-cd/slipway/internal/proxy/handover"
	"github.com/slipway-cd/slipway/internal/proxy/mirror"
	"github.com/slipway-cd/slipway/internal/proxy/otlp"
	"github.com/slipway-cd/slipway/internal/proxy/upstream"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// engine is a running data plane: the table in force and what it refers to.
type engine struct {
	log      *slog.Logger
	version  string
	boot     string
	started  time.Time
	succeeds bool // a predecessor
	disk     disk
	seat     *seat
	first    *traffic.Table
	args     []string // of a successor
	onStep   func(string)
	counts   *counts
	legacy   *legacy // counts of the predecessor
	buffers  *copyBuffers
	faults   *fault.Set
	copies   *mirror.Queue
	access   *accesslog.Log
	spans    *otlp.Spans
	records  *otlp.Records
	uppers   *upstream.Buffers           // shared by all instances
	spawn    func(func(context.Context)) // runs until Run's context ends; Run waits for it
	files    int                         // that may be open
	house    *door.House

	answer func(net.Listener) // serves the control API on one more socket

	table    atomic.Pointer[table]
	refusals refusals
	ending   atomic.Bool
	handed   atomic.Bool              // a successor has the place
	handedAt atomic.Int64             // epoch of the counts then
	given    chan *handover.Successor // who it is
	elder    atomic.Pointer[elder]    // the predecessor, while it has requests to finish
	climbing chan struct{}            // holds a token while a successor is started
	carried  atomic.Int64             // requests now
	upgrades sync.WaitGroup
	ejecting sync.Mutex    // one decision on ejection at a time
	turn     chan struct{} // holds a token while tables, listeners or rings are changed

	mu       sync.Mutex
	fronts   map[string]*front      // guarded by mu: by address, of the table in force
	leaving  map[*front]struct{}    // guarded by mu
	draining map[*endpoint]struct{} // guarded by mu
}

func newEngine(o Options, boot string, files int) *engine {
	e := &engine{
		files: files, house: door.New(door.Share(files), o.Log),
		log: o.Log, version: o.Version, boot: boot, started: time.Now(),
		disk: disk{o.StateDir}, counts: newCounts(), legacy: newLegacy(), buffers: newCopyBuffers(), uppers: upstream.NewBuffers(),
		seat: &seat{socket: o.Socket, locks: o.Locks}, first: o.First, args: o.Args, onStep: o.onStep,
		given: make(chan *handover.Successor, 1), climbing: make(chan struct{}, 1),
		faults: fault.New(bucket, o.Log), copies: mirror.New(mirror.Bounds()),
		access:  accesslog.New(cmp.Or(o.AccessLog, filepath.Join(o.StateDir, "access.log")), o.Log),
		spans:   otlp.NewSpans(otlp.From{Service: "slipway-proxy", Scope: "github.com/slipway-cd/slipway/internal/proxy", Version: o.Version}, o.Log),
		records: o.Records,
		turn:    make(chan struct{}, 1),
		fronts:  map[string]*front{}, leaving: map[*front]struct{}{}, draining: map[*endpoint]struct{}{},
	}
	if e.records == nil {
		e.records = otlp.NewRecords(otlp.From{}, o.Log) // that no line is handed to
	}
	e.table.Store(&table{limits: limitsOf(delivery.PlaneLimits{}, files)})
	return e
}

// logsTo is where the log goes besides its file: to the collector that the project
// names. Where it names none spans go to the control plane, which takes no logs.
func logsTo(spec traffic.Table) string {
	if spec.Failures {
		return ""
	}
	return spec.Plane.OTLP
}

// staleError says that a table is older than the one in force, or pretends to be it.
type staleError struct{ why string }

func (e *staleError) Error() string        { return e.why }
func (e *staleError) Is(target error) bool { return target == delivery.ErrConflict }

// apply puts spec in force, durably: it is on disk before the first request
// goes by it. On an error nothing has changed. Whoever asks with a generation
// lower than the one in force, or with another table under the same number, is
// told so. A predecessor that still has requests gets the table too before it
// is acknowledged.
func (e *engine) apply(ctx context.Context, spec traffic.Table) error {
	if err := e.enforce(ctx, spec, e.ours); err != nil {
		return err
	}
	return e.elder.Load().apply(ctx, e.table.Load())
}

// follow puts a table in force that the successor has.
func (e *engine) follow(ctx context.Context, spec traffic.Table) error {
	return e.enforce(ctx, spec, func() error { return nil })
}

// ours says no once the place is another process's; e.turn is held.
func (e *engine) ours() error {
	if e.handed.Load() {
		return errHanded
	}
	return nil
}

func (e *engine) enforce(ctx context.Context, spec traffic.Table, allowed func() error) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	if err := e.take(ctx); err != nil {
		return err
	}
	defer e.give()
	if err := allowed(); err != nil {
		return err
	}
	if e.ending.Load() && !e.handed.Load() { // nobody would close what is opened now
		return errEnding
	}
	old := e.table.Load()
	if spec.Generation < old.spec.Generation {
		return &staleError{fmt.Sprintf("generation %d is older than %d, which is in force", spec.Generation, old.spec.Generation)}
	}
	t, err := compile(spec, old, e.builder())
	if err != nil {
		return err
	}
	if spec.Generation == old.spec.Generation {
		if t.same(old.body) {
			return nil
		}
		return &staleError{fmt.Sprintf("generation %d is in force with other content; send it with a higher number", spec.Generation)}
	}
	var fresh []*front
	if !e.handed.Load() { // else disk and listeners are the successor's
		fresh = e.bindNew(ctx, t, nil)
		if err := e.disk.save(t.body); err != nil {
			for _, f := range fresh {
				f.unbind()
			}
			return fmt.Errorf("the table cannot be kept on disk, so it is not put in force: %w", err)
		}
	}
	e.install(t, fresh)
	e.forgetDrained(old, t)
	e.log.Info("table in force", slog.Int64("generation", spec.Generation), slog.Int("routes", len(spec.Routes)), slog.Int("listeners", len(spec.Listeners)))
	return nil
}

func (e *engine) builder() builder {
	return builder{
		endpoint: func(spec traffic.Endpoint, p *traffic.Pool) *endpoint {
			return newEndpoint(spec, p.Release, p.Protocol, e.uppers, e.log)
		},
		series: e.counts.of,
		lost:   &e.counts.lost,
		files:  e.files,
	}
}

// bindNew opens the addresses that t has and the table in force has not, or takes
// the open listener from inherited. One that cannot be opened is in State and
// tried again each second.
func (e *engine) bindNew(ctx context.Context, t *table, inherited map[string]net.Listener) []*front {
	var fresh []*front
	for _, l := range t.spec.Listeners {
		e.mu.Lock()
		_, there := e.fronts[l.Addr]
		e.mu.Unlock()
		if !there {
			f := newFront(e, l)
			if ln := inherited[l.Addr]; ln != nil {
				f.adopt(ln)
			} else {
				f.bind(ctx)
			}
			fresh = append(fresh, f)
		}
	}
	return fresh
}

// install swaps the table, then retires what only the old one had. State takes
// the same lock, so nobody sees the new generation before the last endpoint of
// the old one refuses claims.
func (e *engine) install(t *table, fresh []*front) {
	old := e.table.Load()
	for _, r := range t.routes {
		for _, p := range r.pools {
			for _, ep := range p.endpoints {
				ep.check.Store(&p.spec.Check)
				ep.drain.Store(int64(p.spec.Drain))
				ep.queue.Store(p.queue)
			}
		}
	}
	var gone []*front
	e.mu.Lock()
	for _, f := range fresh {
		e.fronts[f.addr] = f
	}
	e.table.Store(t)
	e.spans.To(t.spec.Plane.OTLP)
	e.records.To(logsTo(t.spec))
	now := time.Now()
	for key, ep := range old.endpoints {
		if t.endpoints[key] != ep {
			ep.retire()
			e.draining[ep] = struct{}{}
		}
	}
	for addr, f := range e.fronts {
		if l := t.listeners[addr]; l != nil {
			f.last.Store(&l.spec)
			f.door.Limit(t.limits.Connections)
			continue
		}
		delete(e.fronts, addr)
		e.leaving[f] = struct{}{}
		gone = append(gone, f)
	}
	e.mu.Unlock()
	moveOn(old, t)
	e.secure(t)
	for name, r := range t.routes {
		if before := old.routes[name]; before != nil && !sameSplit(before.spec, r.spec) {
			e.counts.splitChanged(name, now)
		}
	}
	for key, ep := range t.endpoints {
		if old.endpoints[key] != ep {
			e.spawn(ep.watch)
		}
	}
	for _, f := range fresh {
		e.serve(f)
	}
	for _, f := range gone {
		f.yield() // before the table is said to be in force: its address may be wanted again
		e.spawn(func(ctx context.Context) {
			f.leave(ctx)
			e.mu.Lock()
			defer e.mu.Unlock()
			if ctx.Err() == nil { // else Run ends it
				delete(e.leaving, f)
			}
		})
	}
}

func (e *engine) serve(f *front) {
	f.mu.Lock()
	ln := f.ln
	f.mu.Unlock()
	if ln != nil {
		e.spawn(func(ctx context.Context) { f.serve(ctx, ln) })
	}
}

// sameSplit says whether two tables draw callers alike.
func sameSplit(a, b *traffic.Route) bool {
	return a.Gen == b.Gen && a.Salt == b.Salt && slices.EqualFunc(a.Pools, b.Pools, func(p, q traffic.Pool) bool {
		return p.Release == q.Release && p.Weight == q.Weight
	})
}

// take waits for the turn to change things.
func (e *engine) take(ctx context.Context) error {
	select {
	case e.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *engine) give() { <-e.turn }

// mend binds what could not be bound, each second, and sweeps old counts.
func (e *engine) mend(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e.house.Tick()
		e.sweepConns(time.Now())
		if e.take(ctx) != nil {
			return
		}
		if !e.handed.Load() { // else what is not bound is the successor's to bind
			e.bindAgain(ctx)
			e.secure(e.table.Load())
		}
		if n%10 == 0 {
			e.sweep()
		}
		e.give()
	}
}

func (e *engine) bindAgain(ctx context.Context) {
	e.mu.Lock()
	var open []*front
	for _, f := range e.fronts {
		if !f.bound() {
			open = append(open, f)
		}
	}
	e.mu.Unlock()
	for _, f := range open {
		if f.bind(ctx) != nil {
			e.serve(f)
		}
	}
}

func (e *engine) sweep() {
	t := e.table.Load()
	e.legacy.sweep(time.Now().Unix())
	e.counts.sweep(time.Now(), func(k seriesKey) bool {
		r := t.routes[k.route]
		if r == nil {
			return false
		}
		return r.counts(k)
	})
	e.mu.Lock()
	e.prune()
	e.mu.Unlock()
}

// prune forgets endpoints whose last request is done; e.mu is held. They are
// retired, so a count of zero is final.
func (e *engine) prune() {
	for ep := range e.draining {
		if ep.inFlight() == 0 {
			ep.sever()
			delete(e.draining, ep)
		}
	}
}

// state says what is in force now.
func (e *engine) state() traffic.State {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.table.Load()
	e.prune()
	s := traffic.State{
		Generation: t.spec.Generation,
		Routes:     t.state(now),
		Draining:   []traffic.EndpointState{},
		Listeners:  []traffic.ListenerState{},
		Faults:     e.faults.List(now),
		Started:    e.started, PID: os.Getpid(), Version: e.version,
	}
	for ep := range e.draining {
		s.Draining = append(s.Draining, ep.state(now))
	}
	slices.SortFunc(s.Draining, func(a, b traffic.EndpointState) int { return strings.Compare(a.ID, b.ID) })
	for _, l := range t.spec.Listeners {
		if f := e.fronts[l.Addr]; f != nil {
			ls := f.state(l)
			ls.Refused = e.refusals.of(l.Name)
			s.Listeners = append(s.Listeners, ls)
		}
	}
	return s
}
