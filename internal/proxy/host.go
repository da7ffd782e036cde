package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/door"
)

// host is net/http at work for a front, under one set of limits. Other limits
// need another one; connections stay with the one they came to.
type host struct {
	front   *front
	limits  delivery.PlaneLimits
	tls     *tls.Config // nil without TLS
	srv     *http.Server
	in      *inlet
	leaving atomic.Bool
}

func newHost(f *front, l delivery.PlaneLimits, secure *tls.Config) *host {
	h := &host{front: f, limits: l, tls: secure, in: &inlet{addr: f.addr, conns: make(chan net.Conn), closed: make(chan struct{})}}
	h.srv = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: l.HeadTime, // and of a TLS handshake
		IdleTimeout:       l.Idle,
		MaxHeaderBytes:    l.HeadBytes,
		TLSConfig:         secure,
		Protocols:         frontProtocols(),
		HTTP2:             frontHTTP2(),
		ConnState:         connState,
		ConnContext:       withConn,
		ErrorLog:          slog.NewLogLogger(f.engine.log.Handler(), slog.LevelDebug),

		DisableGeneralOptionsHandler: true, // "OPTIONS *" has a route as any other
	}
	return h
}

// fits says whether the host serves as l and secure ask.
func (h *host) fits(l *delivery.PlaneLimits, secure *tls.Config) bool {
	return h.limits.HeadBytes == l.HeadBytes && h.limits.HeadTime == l.HeadTime && h.limits.Idle == l.Idle && h.tls == secure
}

// serve takes connections until the host is shut down.
func (h *host) serve(context.Context) {
	err := h.srv.Serve(h.in)
	_ = h.in.Close()
	if !errors.Is(err, http.ErrServerClosed) {
		h.front.engine.log.Error("connections cannot be served", slog.String("addr", h.front.addr), slog.Any("error", err))
	}
}

// ServeHTTP carries one request.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	if r.ProtoMajor == 2 {
		defer countStream(r, time.Now())
		if why := misframed(r); why != nil {
			h.front.engine.refusals.add(h.front.last.Load().Name, "bad_request")
			badHead(why).answer(w, r)
			return
		}
	} else if why := h.passed(w, r); why != nil {
		why.write(w)
		return
	}
	h.front.ServeHTTP(w, r)
}

// passed restores what net/http cannot see through the gate, and returns why the
// gate let this request through in place of another, if it did.
func (h *host) passed(w http.ResponseWriter, r *http.Request) *problem {
	g, _ := r.Context().Value(gateKey{}).(*gate)
	if g == nil {
		return nil
	}
	if h.tls != nil {
		if secure, ok := beneath[*tls.Conn](g); ok {
			r.TLS = new(secure.ConnectionState())
		}
	}
	why := g.why.Load()
	if why == nil || r.RequestURI != refusedTarget || r.Host != refusedHost {
		return nil
	}
	w.Header().Set("Connection", "close")
	h.front.engine.refusals.add(h.front.last.Load().Name, "bad_request")
	return badHead(why)
}

// greet brings a connection to net/http by TLS: behind a gate unless it speaks
// HTTP/2.
func (h *host) greet(ctx context.Context, c net.Conn) {
	secure := tls.Server(c, h.tls)
	timed, stop := context.WithTimeout(ctx, h.limits.HeadTime)
	err := secure.HandshakeContext(timed)
	stop()
	switch proto := secure.ConnectionState().NegotiatedProtocol; {
	case err != nil:
		h.front.engine.log.Debug("TLS handshake failed", slog.String("addr", h.front.addr), slog.Any("error", err))
		_ = c.Close()
	case proto == "h2":
		h.in.give(secure)
	case proto != "" && proto != "http/1.1": // an authority that has seen what it asked for (RFC 8737)
		_ = secure.Close()
	default:
		h.in.give(gated(secure, h.limits.HeadBytes, &h.front.gates))
	}
}

// withConn is http.Server.ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return withGate(withH2Conn(ctx, c), c)
}

// retire drains a host that a newer one has taken over from.
func (h *host) retire(ctx context.Context) {
	h.leaving.Store(true)
	settle(ctx, closeFirst, h.front)
	_ = h.shutdown(ctx)
	f := h.front
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts = slices.DeleteFunc(slices.Clone(f.hosts), func(o *host) bool { return o == h })
}

// shutdown ends idle connections and waits for the others until ctx ends, when
// they are cut.
func (h *host) shutdown(ctx context.Context) error {
	_ = h.in.Close() // it may not have begun to serve
	err := h.srv.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, h.srv.Close())
	}
	return err
}

// connState tells a guest when it has a request. net/http calls it for HTTP/2
// too, when the first stream opens and when the last one is done.
func connState(c net.Conn, s http.ConnState) {
	g, ok := beneath[*door.Guest](c)
	if !ok {
		return
	}
	switch s {
	case http.StateActive:
		if !g.Enter() {
			_ = g.Close()
		}
	case http.StateIdle:
		g.Leave()
	case http.StateNew, http.StateHijacked, http.StateClosed:
	}
}

// inlet is the listener of a host: connections are accepted elsewhere and given to it.
type inlet struct {
	addr   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// give hands a connection over, or closes it if the host has ended.
func (i *inlet) give(c net.Conn) {
	select {
	case i.conns <- c:
	case <-i.closed:
		_ = c.Close()
	}
}

// Accept is net.Listener's.
func (i *inlet) Accept() (net.Conn, error) {
	select {
	case c := <-i.conns:
		return c, nil
	case <-i.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (i *inlet) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Addr is net.Listener's.
func (i *inlet) Addr() net.Addr { return inletAddr(i.addr) }

type inletAddr string

func (inletAddr) Network() string  { return "tcp" }
func (a inletAddr) String() string { return string(a) }
