package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/fault"
)

// strike counts the request with the faults of its route, and puts it on the
// account of the one that touches it: what was disturbed on purpose is no
// evidence for or against a release.
func (x *passage) strike(now time.Time) {
	if !x.e.faults.On(x.route.spec.Name) {
		return
	}
	x.fault = x.e.faults.Strike(fault.Request{
		Route: x.route.spec.Name, Release: x.pool.spec.Release, Cohort: x.onward(), Key: x.who.key, Asked: x.asked,
	}, now)
	if x.fault != nil {
		x.account = x.fault.Caller()
	}
}

// bear lets the request bear its fault before it is carried. It holds no
// instance meanwhile, and returns one that it claimed again and whether the
// request is still to be carried.
func (x *exchange) bear(p *endpoint) (_ *endpoint, on bool) {
	if p != nil {
		p.unclaim()
		x.last, x.asks = nil, 0
	}
	x.w.Header().Set(fault.Header, x.fault.ID())
	if err := x.fault.Wait(x.r.Context()); err != nil {
		x.end(failure{cancelled, err}, 0, 0)
		panic(http.ErrAbortHandler)
	}
	now := time.Now()
	if status := x.fault.Abort(now); status != 0 {
		x.answered(now.Sub(x.ticket.began))
		x.end(failure{finished, errors.New("aborted by fault " + x.fault.ID())}, status, 0)
		problem{Status: status, Code: "fault", Detail: "fault " + x.fault.ID() + " made this answer, on purpose"}.answer(x.w, x.r)
		return nil, false
	}
	if x.fault.Reset(now) {
		x.end(failure{broken, errors.New("reset by fault " + x.fault.ID())}, 0, 0)
		x.reset()
		panic(http.ErrAbortHandler)
	}
	return x.rejoin()
}

// rejoin claims an instance by the table now in force, which a delayed request
// did not hold while it waited.
func (x *exchange) rejoin() (_ *endpoint, on bool) {
	x.tried, x.crossed = x.store[:0], false
	p, err := x.seat(x.r.Context(), failure{})
	if err != nil {
		x.shed(err).answer(x.w, x.r)
		return nil, false
	}
	if p != nil {
		x.takes(p, time.Now())
	}
	return p, true
}

// bend returns an answer's body as the fault passes it on, each piece at once.
func (x *exchange) bend(ctx context.Context, res *http.Response, flush func() error) (io.Reader, func() error) {
	length := res.ContentLength
	if x.r.Method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified {
		length = 0
	}
	if !x.fault.Bends(length) {
		return res.Body, flush
	}
	flush = http.NewResponseController(x.w).Flush
	_ = flush()
	return x.fault.Body(ctx.Done(), res.Body, length), flush
}

// sever makes sure that the caller will see an answer as cut off, where the end
// of the connection is the end of the body.
func (x *exchange) sever() {
	if !x.r.ProtoAtLeast(1, 1) {
		x.reset()
	}
}

// lingering is a TCP connection.
type lingering interface {
	SetLinger(sec int) error
	Close() error
}

// reset closes the caller's connection with RST, if it is of HTTP/1. A stream
// of HTTP/2 is reset by a panic with http.ErrAbortHandler.
func (x *exchange) reset() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := beneath[lingering](conn); ok {
		_ = tcp.SetLinger(0) // what is not sent is dropped, and the peer learns it (RFC 9293, 3.10.4)
		_ = tcp.Close()      // TLS would say good-bye first
	}
	_ = conn.Close()
}
