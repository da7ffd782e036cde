package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/handover"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// How long answers carry "Connection: close" before idle connections are closed:
// a close without it races with the next request. While the address is open
// elsewhere nothing hurries; a data plane that stops is waited for.
const (
	closeFirst = 2 * time.Second
	stopFirst  = time.Second
)

// front is one address that requests come in on. It has its own HTTP server,
// so that it can leave without touching the others.
type front struct {
	engine  *engine
	addr    string
	last    atomic.Pointer[traffic.Listener] // as it last was in a table
	leaving atomic.Bool
	srv     *http.Server
	conns   atomic.Int64 // of net/http

	mu  sync.Mutex
	ln  net.Listener // guarded by mu; nil while not bound
	err error        // guarded by mu: why not
}

func newFront(e *engine, l traffic.Listener) *front {
	f := &front{engine: e, addr: l.Addr}
	f.last.Store(&l)
	f.srv = serverFor(f, e.log)
	f.srv.ConnState = f.track
	return f
}

// track counts callers' connections; an upgraded one is a request in flight, and
// no connection of net/http any more.
func (f *front) track(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		f.conns.Add(1)
	case http.StateClosed, http.StateHijacked:
		f.conns.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// listener returns what the address leads to in t. Connections of a listener
// that has left the table go where it led.
func (f *front) listener(t *table) *listener {
	if l := t.listeners[f.addr]; l != nil {
		return l
	}
	return t.listener(*f.last.Load())
}

// bind opens the address; requests wait in the kernel until serve.
func (f *front) bind(ctx context.Context) net.Listener {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", f.addr)
	f.mu.Lock()
	news := (err == nil) != (f.err == nil)
	f.ln, f.err = ln, err
	f.mu.Unlock()
	switch {
	case err != nil:
		if news {
			f.engine.log.Error("listener cannot be bound, trying again each second", slog.String("addr", f.addr), slog.Any("error", err))
		}
		return nil
	case news:
		f.engine.log.Info("listener bound at last", slog.String("addr", f.addr))
	}
	return ln
}

// adopt takes over an address that is open already.
func (f *front) adopt(ln net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ln = ln
}

// descriptor returns the open socket, for a successor, or nil.
func (f *front) descriptor() handover.Descriptor {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, _ := f.ln.(handover.Descriptor)
	return d
}

// serve accepts until the listener closes; a socket that fails by itself is
// bound again by the engine.
func (f *front) serve(ln net.Listener) {
	err := f.srv.Serve(ln)
	if f.leaving.Load() || errors.Is(err, http.ErrServerClosed) {
		return
	}
	f.mu.Lock()
	f.ln, f.err = nil, err
	f.mu.Unlock()
	f.engine.log.Error("listener failed", slog.String("addr", f.addr), slog.Any("error", err))
}

func (f *front) bound() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ln != nil
}

func (f *front) state(l traffic.Listener) traffic.ListenerState {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := traffic.ListenerState{Name: l.Name, Addr: l.Addr}
	if f.err != nil {
		s.Error = f.err.Error()
	}
	return s
}

// leave stops accepting and lets open connections finish: their answers say
// "Connection: close" for a while, then those that are idle are closed. It
// returns when the last one is done or ctx ends.
func (f *front) leave(ctx context.Context) {
	f.yield()
	pause(ctx, closeFirst)
	_ = f.srv.Shutdown(ctx)
}

// yield stops accepting. Connections that wait in the kernel are lost only if
// no other process has the socket.
func (f *front) yield() {
	f.leaving.Store(true)
	f.unbind()
}

// finish lets what is open end until ctx does, then cuts it.
func (f *front) finish(ctx context.Context) error {
	err := f.srv.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, f.srv.Close())
	}
	f.unbind() // bound but never served
	return err
}

// pause lets d pass, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
}

func (f *front) unbind() {
	f.mu.Lock()
	ln := f.ln
	f.ln = nil
	f.mu.Unlock()
	if ln != nil {
		_ = ln.Close()
	}
}

// serverFor returns the HTTP server of one listener, with every bound set.
func serverFor(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		Protocols:         frontProtocols(),
		HTTP2:             frontHTTP2(),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
