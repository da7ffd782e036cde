package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options say where a data plane keeps its things. The first four are required.
type Options struct {
	Socket    string        // path of the control socket; at most 100 bytes
	StateDir  string        // folder of the last good table; made if it is not there
	Log       *slog.Logger  //
	Version   string        // reported in State
	Grace     time.Duration // for requests in flight at the end; 0 means 10 s
	AccessLog string        // file of the access log, when the table asks for one; "" is access.log in StateDir
	Metrics   string        // host:port at which GET /metrics answers anybody; "" is nowhere but the control socket
}

// maxSocketPath leaves room for ".new" within the kernel's 108 bytes.
const maxSocketPath = 100

// Run is the data plane. It serves the last good table of StateDir and obeys
// the control API on Socket until ctx ends; then it drains and returns. It
// depends on nothing but its instances: no server has to be there. A second
// data plane on the same StateDir is refused; a socket file left by a dead one
// is replaced.
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
	e := newEngine(o, rand.Text())
	unlock, err := e.disk.lock()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	defer unlock()
	found, err := e.disk.load()
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	control, err := listenSocket(ctx, o.Socket)
	if err != nil {
		return fmt.Errorf("proxy: control socket: %w", err)
	}
	defer func() { err = errors.Join(err, removeIfThere(o.Socket)) }()
	return e.run(ctx, o, found, control)
}

// run owns every goroutine of the engine.
func (e *engine) run(ctx context.Context, o Options, found loaded, control net.Listener) error {
	var tasks sync.WaitGroup
	working, stop := context.WithCancel(context.WithoutCancel(ctx)) // outlives ctx by the drain
	defer stop()
	e.spawn = func(task func(context.Context)) { tasks.Go(func() { task(working) }) }
	if err := e.restore(ctx, found); err != nil {
		return errors.Join(fmt.Errorf("proxy: %w", err), control.Close())
	}
	done := make(chan struct{})
	api := &http.Server{
		Handler:           e.control(done),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
	back := make(chan error, 1)
	go func() { back <- api.Serve(control) }()
	e.spawn(e.mend)
	e.spawn(e.faults.Run)
	e.spawn(e.copies.Run)
	e.spawn(e.access.Run)
	e.spawn(e.spans.Run)
	if o.Metrics != "" {
		e.spawn(func(ctx context.Context) { e.publish(ctx, o.Metrics) })
	}
	e.log.Info("data plane serves", slog.String("socket", o.Socket), slog.Int64("generation", found.table.Generation))

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-back:
		failed = fmt.Errorf("proxy: control API: %w", failed)
		back <- http.ErrServerClosed
	}
	grace, expire := context.WithTimeout(working, o.Grace+closeFirst)
	defer expire()
	if err := e.end(grace); err != nil {
		e.log.Warn("requests were cut at the end", slog.Any("why", err))
	}
	close(done) // streams of counts send their last frame
	last, late := context.WithTimeout(working, time.Second)
	defer late()
	if api.Shutdown(last) != nil {
		_ = api.Close()
	}
	<-back //nolint:errcheck // it was closed
	stop()
	tasks.Wait()
	e.log.Info("data plane has ended")
	return failed
}

// listenSocket opens the control socket for its owner only. It takes its name
// when its mode is set, in place of any file a dead process left.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	fresh := path + ".new"
	if err := removeIfThere(fresh); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", fresh)
	if err != nil {
		return nil, err
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
