package proxy

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// rawDone is what became of a request, and so of its connection.
type rawDone int

const (
	rawServed   rawDone = iota // the next request may come
	rawCut                     // the connection ends
	rawHandOver                // the full path carries it
)

// rawSlack is how much later than the deadlines of an exchange its connection is
// given up.
const rawSlack = 10 * time.Second

// carry answers one request, whose body is whole.
func (c *rawConn) carry(ctx context.Context, body []byte) rawDone {
	c.req.decode()
	began := time.Now()
	c.patience.Store(math.MaxInt64) // a wait for a slot ends by itself
	c.enters(rawBusy, began)
	x := &c.x
	*x = passage{e: c.e, asked: &c.req, plain: true, queuer: c, arms: x.arms[:0]}
	p, why := x.enter(ctx, c.f, began)
	if why == notPlain {
		return rawHandOver
	}
	if why != nil {
		return c.problem(*why)
	}
	x.arrive()
	c.patience.Store(int64(max(x.route.timeout, 2*x.route.idle) + rawSlack)) // an instance may be silent for twice the time; see Body.SetIdle
	if p == nil {
		return c.refuse(x.none(), len(body))
	}
	c.body, c.deadline = body, x.arrived.Add(x.route.timeout) // waits included
	for {
		c.held = p
		conn, res, err := c.ask(ctx, x, p)
		if err == nil {
			return c.answer(p, conn, res, len(body))
		}
		failed := attempted{why: c.why(err), replayable: true, untouched: true, answered: conn != nil && conn.Answered()}
		if conn != nil {
			conn.Discard()
		}
		c.held = nil
		x.lost(p, failed.why)
		if p = x.again(ctx, failed); p == nil {
			return c.refuse(failed.why, len(body))
		}
		x.ticket.retried()
	}
}

// watched is speaker's: the sweep breaks off what nobody waits for.
func (c *rawConn) watched() (by, left bool) { return true, false }

// appendHead writes the head that the instance gets.
func (c *rawConn) appendHead(b []byte) []byte {
	x := &c.x
	b = append(b, c.req.Request.Method...)
	b = append(b, ' ')
	b = append(b, c.req.Target...)
	b = append(b, " HTTP/1.1\r\n"...)
	for i := range c.req.Fields {
		f := &c.req.Fields[i]
		if f.Kind.Framing() || x.ours(f.Kind, text(f.Name)) {
			continue
		}
		b = wire.AppendField(b, f.Name, f.Value)
	}
	b = x.appendOurs(b)
	if c.req.Has(wire.KindContentLength) {
		b = appendLength(b, c.req.Length)
	}
	return append(b, "\r\n"...)
}

// passInterim passes 103 and its like on.
func (c *rawConn) passInterim(res *wire.Response) error {
	if res.Status <= http.StatusSwitchingProtocols {
		return nil
	}
	b := appendStatus(c.out[:0], res)
	for i := range res.Fields {
		if f := &res.Fields[i]; !f.Kind.Framing() {
			b = wire.AppendField(b, f.Name, f.Value)
		}
	}
	c.out = append(b, "\r\n"...)
	_, err := c.tcp.Write(c.out)
	return err
}

// why sorts an attempt's error.
func (c *rawConn) why(err error) failure { return sort(err, c.x.route.timeout) }

// refuse answers for a request that no instance answered.
func (c *rawConn) refuse(why failure, in int) rawDone {
	if why.how == cancelled {
		c.x.close(ended{why: why, in: int64(in)})
		return rawCut
	}
	p := c.x.refusal(why)
	c.x.close(ended{why: why, status: p.Status, in: int64(in)})
	return c.problem(p)
}

// problem answers by itself.
func (c *rawConn) problem(p problem) rawDone {
	body := p.body()
	b := append(c.out[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(p.Status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(p.Status)...)
	b = append(b, "\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n"...)
	if after := p.retryAfter(); after != "" {
		b = append(b, "Retry-After: "...)
		b = append(b, after...)
		b = append(b, "\r\n"...)
	}
	b = appendDate(b)
	ends := c.ends()
	if ends {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(appendLength(b, int64(len(body))), "\r\n"...)
	if c.req.Method() != http.MethodHead {
		b = append(b, body...)
	}
	c.out = b
	if _, err := c.tcp.Write(b); err != nil || ends {
		return rawCut
	}
	return rawServed
}

// ends says whether this answer is the connection's last.
func (c *rawConn) ends() bool {
	return c.req.Close || c.e.ending.Load() || c.f.leaving.Load()
}

// refuseHead answers a request that breaks the rules of HTTP. The connection
// ends: where the next request begins nobody can say.
func (c *rawConn) refuseHead(err error) {
	c.req.Request = wire.Request{}
	c.req.Close = true
	c.e.refusals.add(c.f.last.Load().Name, "bad_request")
	c.problem(*badHead(err))
	c.lingers = true
}

// badHead is what a caller is told whose request breaks the rules of HTTP.
func badHead(err error) *problem {
	p := &problem{Status: http.StatusBadRequest, Code: "bad_request", Detail: "this is not well-formed HTTP: " + err.Error()}
	if broken, ok := errors.AsType[*wire.Error](err); ok {
		p.Status = broken.Status
	}
	return p
}
