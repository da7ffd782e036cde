package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/door"
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

// front is one address that requests come in on. It has its own door and hosts,
// so that it can leave without touching the others.
type front struct {
	engine  *engine
	addr    string
	last    atomic.Pointer[traffic.Listener] // as it last was in a table
	leaving atomic.Bool
	door    *door.Door
	raws    rawSet
	gates   set[*reads] // whose waits may be parked

	mu     sync.Mutex
	ln     net.Listener // guarded by mu; nil while not bound
	err    error        // guarded by mu: why not
	hosts  []*host      // guarded by mu: the last one takes new connections
	shut   bool         // guarded by mu: no host will
	proven proven       // guarded by mu
}

func newFront(e *engine, l traffic.Listener) *front {
	f := &front{engine: e, addr: l.Addr, door: e.house.Door(e.limits().Connections, e.log.With(slog.String("addr", l.Addr)))}
	f.last.Store(&l)
	return f
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
	if f.shut {
		f.mu.Unlock()
		if err == nil {
			_ = ln.Close()
		}
		return nil
	}
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
func (f *front) serve(ctx context.Context, ln net.Listener) {
	err := f.door.Serve(ctx, ln, func(g *door.Guest) { f.take(ctx, g) })
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) { // it was unbound
		return
	}
	f.mu.Lock()
	f.ln, f.err = nil, err
	f.mu.Unlock()
	f.engine.log.Error("listener failed", slog.String("addr", f.addr), slog.Any("error", err))
}

// hand gives a connection to net/http: the full path. It takes whatever speaks
// HTTP, also what another path has begun to read and put back.
func (f *front) hand(c net.Conn) {
	t := f.engine.table.Load()
	limits, secure := &t.limits, f.listener(t).spec.TLS != nil
	f.mu.Lock()
	var h *host
	if n := len(f.hosts); n > 0 && f.hosts[n-1].fits(limits, f.proven.config) {
		h = f.hosts[n-1]
	}
	shut := f.shut || secure && f.proven.config == nil // not yet: the table is newer than the proof
	if h == nil && !shut {
		h = newHost(f, *limits, f.proven.config)
		if n := len(f.hosts); n > 0 {
			f.engine.spawn(f.hosts[n-1].retire)
		}
		f.hosts = append(f.hosts, h)
		f.engine.spawn(h.serve)
	}
	f.mu.Unlock()
	if shut {
		_ = c.Close()
		return
	}
	if h.tls == nil {
		h.in.give(gated(c, h.limits.HeadBytes, &f.gates))
		return
	}
	f.engine.spawn(func(ctx context.Context) { h.greet(ctx, c) })
}

func (f *front) bound() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ln != nil
}

// hasEnded says that no host takes connections any more.
func (f *front) hasEnded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.shut
}

func (f *front) state(l traffic.Listener) traffic.ListenerState {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := f.door.Stats()
	s := traffic.ListenerState{Name: l.Name, Addr: l.Addr, Open: in.Open, Most: in.Most, Waited: in.Waited, Dismissed: in.Dismissed}
	s.TLS = f.proven.state()
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
	settle(ctx, closeFirst, f)
	_ = f.finish(ctx)
}

// yield stops accepting. Connections that wait in the kernel are lost only if
// no other process has the socket.
func (f *front) yield() {
	f.leaving.Store(true)
	f.unbind()
}

// finish ends idle connections and waits for the others until ctx ends, when
// they are cut.
func (f *front) finish(ctx context.Context) error {
	f.mu.Lock()
	f.shut = true // and is not bound again
	f.proven.end()
	f.proven.proof = nil
	hosts := f.hosts
	f.mu.Unlock()
	f.unbind()
	errs := make(chan error, len(hosts)+1)
	go func() { errs <- f.raws.drain(ctx) }()
	for _, h := range hosts {
		go func() { errs <- h.shutdown(ctx) }()
	}
	err := <-errs
	for range hosts {
		err = errors.Join(err, <-errs)
	}
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

// settle lets d pass, or less when ctx ends or nobody is connected any more.
func settle(ctx context.Context, d time.Duration, of ...*front) {
	wait := time.NewTimer(d)
	defer wait.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for slices.ContainsFunc(of, func(f *front) bool { return f.door.Stats().Open > 0 }) {
		select {
		case <-wait.C:
			return
		case <-ctx.Done():
			return
		case <-look.C:
		}
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
