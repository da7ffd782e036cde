package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/mirror"
	"github.com/slipway-cd/slipway/internal/proxy/upstream"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// asking is the exchange of a request, whose body is whole, with instances that
// speak HTTP/1.1. Both paths ask so. Others may break it off meanwhile.
type asking struct {
	from     speaker
	interim  func(*wire.Response) error // passes 103 and its like on
	body     []byte
	deadline time.Time // for the head of an answer, all attempts together
	up       upstream.Request

	mu    sync.Mutex
	waits *upstream.Conn // guarded by mu: for whose answer the caller waits
}

// speaker is who asks.
type speaker interface {
	appendHead(b []byte) []byte
	// watched says whether somebody else breaks the exchange off when the caller
	// leaves, and whether it has left.
	watched() (by, left bool)
}

// ask sends the request to p and returns the head of its answer. A kept
// connection that turns out to have been closed is not the instance's fault, and
// another one is tried at once if the request may be repeated. The end of ctx ends
// the dialling and, if nobody else watches the caller, the exchange.
func (a *asking) ask(ctx context.Context, x *passage, p *endpoint) (*upstream.Conn, *wire.Response, error) {
	limit := a.deadline
	if perTry := x.route.perTry; perTry > 0 {
		if mine := x.since.Add(perTry); mine.Before(limit) {
			limit = mine
		}
	}
	method := x.asked.Method()
	repeatable := idempotent(method)
	get := p.upstream.Get
	if !repeatable {
		get = p.upstream.GetChecked
	}
	for {
		conn, err := get(ctx)
		if err != nil {
			return nil, nil, err
		}
		head := append(a.from.appendHead(conn.Scratch()), a.body...)
		a.waitsFor(conn)
		by, left := a.from.watched()
		if left {
			a.waitsFor(nil)
			return conn, nil, &upstream.Cancelled{Cause: errCaller}
		}
		during := ctx
		if by && ctx.Done() != nil {
			during = context.WithoutCancel(ctx) // to watch it too costs more
		}
		a.up = upstream.Request{Head: head, Method: method, Deadline: limit, Interim: a.interim}
		res, err := conn.Do(during, &a.up)
		a.waitsFor(nil)
		if limit != a.deadline && errors.Is(err, upstream.ErrDeadline) {
			return conn, nil, fmt.Errorf("%w within %s", errPerTry, x.route.perTry)
		}
		if err == nil || !repeatable || !stale(err) {
			return conn, res, err
		}
		conn.Discard()
		get = p.upstream.GetFresh
	}
}

// stale says whether a connection broke that the instance has most likely closed
// while it was idle.
func stale(err error) bool {
	broke, ok := errors.AsType[*upstream.ConnError](err)
	return ok && broke.Stale()
}

// waitsFor notes the connection that breakOff is for. It is told nil before the
// connection is given back, for then it may be somebody else's.
func (a *asking) waitsFor(conn *upstream.Conn) {
	a.mu.Lock()
	a.waits = conn
	a.mu.Unlock()
}

// breakOff ends the exchange that is waited for, if there is one.
func (a *asking) breakOff(cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waits != nil {
		a.waits.Cancel(cause)
	}
}

// ours says whether a line of a request is left out because the data plane
// writes it itself, or because it is not believed.
func (x *passage) ours(kind wire.Kind, name string) bool {
	switch kind { //nolint:exhaustive // the others are the caller's
	case wire.KindForwarded, wire.KindXForwardedFor, wire.KindXForwardedHost, wire.KindXForwardedProto, wire.KindTraceparent, wire.KindBaggage:
		return true
	case wire.KindTracestate:
		return !x.trace.KeepsState()
	case wire.KindXForwardedPort, wire.KindXRealIP:
		return !x.believed
	case wire.KindOther:
		switch len(name) {
		case len(keyHeader):
			return sameName(name, keyHeader)
		case len(cohortHeader): // as long as the mirror's mark
			return sameName(name, cohortHeader) || !x.believed && sameName(name, mirror.Header)
		}
	}
	return false
}

// appendOurs writes the lines that an instance gets in place of those.
func (x *passage) appendOurs(b []byte) []byte {
	b = x.way().Append(b, x.asked)
	cohort := x.onward()
	b = append(append(append(b, keyHeader+": "...), x.who.key...), "\r\n"...)
	if cohort != "" {
		b = append(append(append(b, cohortHeader+": "...), cohort...), "\r\n"...)
	}
	b = append(x.trace.AppendParent(append(b, "Traceparent: "...)), "\r\n"...)
	return append(x.appendBaggage(append(b, "Baggage: "...), cohort), "\r\n"...)
}

func appendLength(b []byte, n int64) []byte {
	b = append(b, "Content-Length: "...)
	return append(strconv.AppendInt(b, n, 10), "\r\n"...)
}
