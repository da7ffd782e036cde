package proxy

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/door"
)

// rawSet is a front's connections on the raw path.
type rawSet struct {
	mu    sync.Mutex
	conns map[*rawConn]struct{} // guarded by mu
	empty chan struct{}         // guarded by mu: closed when the last one has gone; nil while nobody waits for that
}

// take lets a connection in, on the raw path where that is allowed.
func (f *front) take(ctx context.Context, g *door.Guest) {
	t := f.engine.table.Load()
	if t.spec.Plane.FullOnly || f.listener(t).spec.TLS != nil {
		f.hand(g)
		return
	}
	c := newRawConn(f, g)
	f.raws.add(c)
	dial := context.WithoutCancel(ctx) // what is in flight ends by the drain, not by ctx
	go func() {
		defer f.raws.remove(c)
		c.serve(dial)
	}()
}

func (s *rawSet) add(c *rawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*rawConn]struct{}{}
	}
	s.conns[c] = struct{}{}
}

func (s *rawSet) remove(c *rawConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.empty != nil && len(s.conns) == 0 {
		close(s.empty)
		s.empty = nil
	}
}

func (s *rawSet) all() []*rawConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// drain ends connections as soon as they have no request, and returns when the
// last one has gone; those still there when ctx ends are cut.
func (s *rawSet) drain(ctx context.Context) error {
	s.mu.Lock()
	empty := make(chan struct{})
	if len(s.conns) == 0 {
		close(empty)
	} else {
		s.empty = empty
	}
	s.mu.Unlock()
	for _, c := range s.all() {
		if rawPhase(c.phase.Load()) != rawAwaitsBody { // else it has a request, and is told of the end in its answer
			c.wake()
		}
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
	}
	for _, c := range s.all() {
		c.cut()
	}
	<-empty
	return ctx.Err()
}

// bodyLimit is how long the raw path waits for the rest of a short body, before
// the full path does.
const bodyLimit = time.Second

// silence is how long a caller may be silent: between two requests, within a
// head, and within a body.
type silence struct{ idle, head, body time.Duration }

// silence returns how long callers may be silent here. Who drains has no full
// path any more that could wait for the rest of a body.
func (f *front) silence() silence {
	l := f.engine.limits()
	s := silence{l.Idle, l.HeadTime, bodyLimit}
	if f.leaving.Load() || f.engine.ending.Load() {
		s.body = l.HeadTime
	}
	return s
}

// sweep ends connections that have been silent for too long, and exchanges whose
// caller has gone away. It is called each second.
func (s *rawSet) sweep(now time.Time, most silence) {
	for _, c := range s.all() {
		phase := rawPhase(c.phase.Load()) // before its time; see enters
		since := time.Duration(now.UnixNano() - c.since.Load())
		limit := most.idle
		switch phase {
		case rawIdle:
			// The end of a connection that came together with its last request is
			// not told again; one look in each rest finds it.
			if since > time.Second && !c.looked.Swap(true) && c.gone() {
				limit = 0
			}
		case rawHead: // nor is an end that came together with half a head
			if limit = most.head; since > time.Second && c.gone() {
				limit = 0
			}
		case rawAwaitsBody:
			limit = most.body
		case rawBusy:
			if since > time.Second && c.gone() {
				c.abandon()
			}
			if since > time.Duration(c.patience.Load()) {
				c.cut()
			}
			continue
		}
		if since > limit {
			c.wake()
		}
	}
}

// sweepConns closes connections that nobody needs any more, on both sides.
func (e *engine) sweepConns(now time.Time) {
	for _, ep := range e.table.Load().endpoints {
		ep.upstream.Sweep(now)
	}
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.fronts))
	all = slices.AppendSeq(all, maps.Keys(e.leaving))
	e.mu.Unlock()
	for _, f := range all {
		f.raws.sweep(now, f.silence())
		sweepParked(&f.gates)
	}
}
