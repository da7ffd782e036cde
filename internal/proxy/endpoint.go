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

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/limit"
	"github.com/slipway-cd/slipway/internal/proxy/upstream"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Bounds of one upstream connection.
const (
	dialTimeout  = time.Second
	idleUpstream = 4 * time.Second // below 5 s, the shortest keep-alive of common servers: they must not close under a request
)

// retired is the bit of endpoint.load that says: no new claims.
const retired = 1 << 62

// endpoint is one instance. It is shared by pointer between tables, so that its
// requests in flight and its health survive a change.
//
// A request claims its endpoint before it uses it. Claims and the retired bit
// live in one word: once retire has returned no claim can succeed, so a count
// of zero seen after that is final.
type endpoint struct {
	id, addr string
	release  delivery.ReleaseID
	protocol delivery.Protocol
	client   *http.Transport  // of an instance that speaks HTTP/2
	upstream *upstream.Client // of one that speaks HTTP/1.1
	load     atomic.Int64     // requests in flight, and the retired bit
	gone     chan struct{}
	check    atomic.Pointer[traffic.Check]
	drain    atomic.Int64                // traffic.Pool.Drain
	up       atomic.Bool                 // passes its check
	ejected  atomic.Int64                // until this Unix nanosecond
	failures atomic.Int32                // in a row
	fresh    atomic.Int64                // came, or came back, at this Unix nanosecond
	queue    atomic.Pointer[limit.Queue] // of requests that wait for a slot here or at its fellows; nil while nothing is bounded
	log      *slog.Logger
	streams  set[stream]
	drained  atomic.Pointer[traffic.Drained] // by a person, until undone

	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
	cut   bool                  // guarded by mu: drain limit passed, no connection may be open
	why   string                // guarded by mu: not healthy
	wait  time.Duration         // guarded by mu: last ejection
	timer *time.Timer           // guarded by mu: cuts at the drain limit
}

func newEndpoint(spec traffic.Endpoint, release delivery.ReleaseID, protocol delivery.Protocol, buffers *upstream.Buffers, log *slog.Logger) *endpoint {
	p := &endpoint{
		id: spec.ID, addr: spec.Addr, release: release, protocol: protocol,
		gone:  make(chan struct{}),
		conns: map[net.Conn]struct{}{},
		log:   log.With(slog.String("endpoint", spec.ID), slog.String("addr", spec.Addr)),
	}
	p.up.Store(true)
	p.fresh.Store(time.Now().UnixNano())
	p.upstream = upstream.New(upstream.Options{Addr: p.addr, DialTimeout: dialTimeout, Idle: idleUpstream, Buffers: buffers})
	p.client = &http.Transport{
		DialContext:            p.dial,
		MaxIdleConnsPerHost:    1024,
		IdleConnTimeout:        idleUpstream,
		ExpectContinueTimeout:  time.Second,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 256 << 10,
		WriteBufferSize:        8 << 10,
		ReadBufferSize:         8 << 10,
	}
	if protocol == delivery.H2C {
		speakH2C(p.client)
	}
	return p
}

// dialError marks that no byte of a request was sent.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func (p *endpoint) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	c, err := upstream.DialWithin(ctx, dialTimeout, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", p.addr)
	})
	if err != nil {
		return nil, &dialError{err}
	}
	t := &tracked{Conn: c, of: p}
	p.mu.Lock()
	cut := p.cut
	if !cut {
		p.conns[t] = struct{}{}
	}
	p.mu.Unlock()
	if cut {
		return nil, &dialError{errors.Join(errors.New("the instance has left and its drain limit has passed"), c.Close())}
	}
	return t, nil
}

// tracked is an upstream connection that its endpoint can cut.
type tracked struct {
	net.Conn
	of *endpoint
}

func (t *tracked) Close() error {
	t.of.mu.Lock()
	delete(t.of.conns, t)
	t.of.mu.Unlock()
	return t.Conn.Close()
}

// claim counts one request in, or says no because the endpoint has left or has
// most requests already; 0 is any number.
func (p *endpoint) claim(most int) bool {
	for {
		n := p.load.Load()
		if n&retired != 0 || most > 0 && n >= int64(most) {
			return false
		}
		if p.load.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// unclaim counts one request out and lets the next one that waits look.
func (p *endpoint) unclaim() {
	p.load.Add(-1)
	if q := p.queue.Load(); q != nil {
		q.Freed()
	}
}

// stir lets those that wait look again: the endpoint takes requests now, or
// takes none any more.
func (p *endpoint) stir() {
	if q := p.queue.Load(); q != nil {
		q.Stir()
	}
}

// left says that the endpoint refuses claims for good.
func (p *endpoint) left() bool { return p.load.Load()&retired != 0 }

func (p *endpoint) inFlight() int { return int(p.load.Load() &^ retired) }

// connections returns how many connections to the instance are open.
func (p *endpoint) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// retire ends new claims and checks, and starts the clock of the drain limit.
func (p *endpoint) retire() {
	p.load.Or(retired)
	close(p.gone)
	p.client.CloseIdleConnections()
	p.upstream.CloseIdle()
	if limit := time.Duration(p.drain.Load()); limit > 0 {
		p.mu.Lock()
		p.timer = time.AfterFunc(limit, p.sever)
		p.mu.Unlock()
	}
}

// sever closes every connection to the instance: what is still in flight ends
// now, and its callers see a broken connection, never a clean end.
func (p *endpoint) sever() {
	p.mu.Lock()
	p.cut = true
	open := make([]net.Conn, 0, len(p.conns))
	for c := range p.conns {
		open = append(open, c)
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
	p.upstream.Sever()
}

// healthy says whether the endpoint passes its check, is not ejected and not
// taken out by a person.
func (p *endpoint) healthy(now time.Time) bool {
	return p.up.Load() && p.ejected.Load() <= now.UnixNano() && p.drained.Load() == nil
}

func (p *endpoint) state(now time.Time) traffic.EndpointState {
	s := traffic.EndpointState{ID: p.id, Addr: p.addr, Healthy: p.healthy(now), InFlight: p.inFlight()}
	if !s.Healthy {
		p.mu.Lock()
		s.Why = p.why
		p.mu.Unlock()
	}
	if s.Drained = p.drained.Load(); s.Drained != nil {
		s.Why = "drained by " + s.Drained.By
	}
	return s
}
