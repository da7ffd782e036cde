package proxy

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/door"
	"github.com/slipway-cd/slipway/internal/proxy/handover"
	"github.com/slipway-cd/slipway/internal/proxy/otlp"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Options say where a data plane keeps its things. Socket, StateDir, Log and
// Version are required.
type Options struct {
	Socket    string         // path of the control socket; at most 100 bytes
	StateDir  string         // folder of the last good table; made if it is not there
	Log       *slog.Logger   //
	Records   *otlp.Records  // what a collector is sent of Log; nil: nothing
	Version   string         // reported in State
	Grace     time.Duration  // for requests in flight at the end; 0 means 10 s
	AccessLog string         // file of the access log, when the table asks for one; "" is access.log in StateDir
	Metrics   string         // host:port at which GET /metrics answers anybody; "" is nowhere but the control socket
	First     *traffic.Table // put in force at the start, whatever is on disk; its generation is raised as needed
	Args      []string       // of a successor's command line, without the program
	Locks     []*os.File     // held under flock with the pid of the data plane in them; a successor gets them. Run closes them

	onStep func(step string) // tests end a process at a step of the hand-over
}

// maxSocketPath leaves room for ".new" within the kernel's 108 bytes.
const maxSocketPath = 100

// Run is the data plane. It serves the last good table of StateDir and obeys
// the control API on Socket until ctx ends; then it drains and returns. It
// depends on nothing but its instances: no server has to be there. A second
// data plane on the same StateDir is refused; a socket file left by a dead one
// is replaced.
//
// When a running data plane started this process to take its place, Run does
// that: it gets the predecessor's locks and listeners, and Options.Locks is not
// needed. And when its own successor serves, Run returns as soon as its last
// requests are done.
func Run(ctx context.Context, o Options) (err error) {
	if len(o.Socket) > maxSocketPath {
		return fmt.Errorf("proxy: socket path %s is longer than %d bytes: choose a shorter folder", o.Socket, maxSocketPath)
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if err := os.MkdirAll(o.StateDir, 0o700); err != nil {
		return fmt.Errorf("proxy: state folder: %w", err)
	}
	files, err := door.Files()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	e := newEngine(o, rand.Text(), files)
	before, err := handover.Inherit()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	enter := e.begin
	if before != nil {
		enter = func(ctx context.Context) (net.Listener, error) { return e.succeed(ctx, before) }
	}
	return errors.Join(e.run(ctx, o, enter), e.seat.leave())
}

// begin takes a place that is free.
func (e *engine) begin(ctx context.Context) (net.Listener, error) {
	if err := e.seat.lock(e.disk); err != nil {
		return nil, err
	}
	found, err := e.disk.load()
	if err != nil {
		return nil, err
	}
	if found.damaged != nil {
		e.log.Error("the newest table on disk is damaged, serving the one before it", slog.Any("why", found.damaged), slog.Int64("generation", found.table.Generation))
	}
	if found.unknown != nil {
		e.log.Error("the table on disk has rules that this version does not know; serving without them until a server sends a table", slog.Any("why", found.unknown))
	}
	control, err := e.seat.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	t, err := compile(found.table, nil, e.builder())
	if err == nil {
		err = e.seat.take()
	}
	if err != nil {
		return nil, errors.Join(err, control.Close())
	}
	e.keepOut(t)
	e.install(t, e.bindNew(ctx, t, nil))
	if err := e.beginWith(ctx, e.first); err != nil {
		e.drop(ctx)
		return nil, errors.Join(err, control.Close())
	}
	return control, nil
}

// beginWith puts the table that the process was started with in force, if there
// is one and it is not the one that is.
func (e *engine) beginWith(ctx context.Context, first *traffic.Table) error {
	if first == nil {
		return nil
	}
	spec, now := *first, e.table.Load()
	spec.Generation = max(spec.Generation, now.spec.Generation)
	body, err := json.Marshal(spec)
	if err != nil || now.same(body) {
		return err
	}
	if now.spec.Generation > 0 {
		spec.Generation = now.spec.Generation + 1
	}
	return e.apply(ctx, spec)
}

// run owns every goroutine of the engine. enter makes it serve, and returns the
// socket of the control API.
func (e *engine) run(ctx context.Context, o Options, enter func(context.Context) (net.Listener, error)) error {
	var tasks sync.WaitGroup
	working, stop := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the drain
	seated, rise := context.WithCancel(working)                     // ends when a successor has the place
	defer rise()
	e.spawn = func(task func(context.Context)) { tasks.Go(func() { task(working) }) }
	defer func() {
		stop()
		tasks.Wait()
	}()
	control, err := enter(ctx)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	done := make(chan struct{})
	api := controlServer(e.outside(e.control(done)), e.log)
	e.answer = func(ln net.Listener) { e.spawn(func(context.Context) { _ = api.Serve(ln) }) }
	back := make(chan error, 1)
	go func() { back <- api.Serve(control) }()
	e.spawn(e.mend)
	e.spawn(e.faults.Run)
	e.spawn(e.copies.Run)
	e.spawn(e.access.Run)
	e.spawn(e.spans.Run)
	e.spawn(e.records.Run)
	if o.Metrics != "" {
		e.spawn(func(context.Context) { e.publish(seated, o.Metrics) })
	}
	e.log.Info("data plane serves", slog.String("socket", o.Socket), slog.Int64("generation", e.table.Load().spec.Generation))

	var failed error
	select {
	case <-ctx.Done():
	case heir := <-e.given:
		rise()
		close(done) // who watches the counts goes to the successor
		closeServer(working, api)
		e.bequeath(ctx, working, heir, o.Grace)
		return nil
	case failed = <-back:
		failed = fmt.Errorf("proxy: control API: %w", failed)
	}
	grace, expire := context.WithTimeout(working, o.Grace+stopFirst)
	defer expire()
	before := e.elder.Load()
	before.hurry(grace)
	err = e.end(grace, stopFirst)
	if err = errors.Join(err, before.wait(grace)); err != nil {
		e.log.Warn("requests were cut at the end", slog.Any("why", err))
	}
	close(done) // streams of counts send their last frame
	closeServer(working, api)
	e.log.Info("data plane has ended")
	return failed
}

// controlServer returns a server of the control API.
func controlServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// lastAnswers is how long answers of the control API may take at the end: whoever
// asked for an upgrade must learn what came of it, however busy the machine is.
const lastAnswers = 5 * time.Second

// closeServer lets answers under way end.
func closeServer(ctx context.Context, api *http.Server) {
	ctx, stop := context.WithTimeout(ctx, lastAnswers)
	defer stop()
	if api.Shutdown(ctx) != nil {
		_ = api.Close()
	}
}
