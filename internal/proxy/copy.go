package proxy

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/mirror"
	"github.com/slipway-cd/slipway/internal/proxy/redact"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Bounds of a copy that is sent.
const (
	copyTimeout = 10 * time.Second // at most, of dial, head and body of the answer together
	copyAnswers = 1 << 20          // bytes of an answer that are read; a longer one is left
)

// copied is a request that goes to one more release, whose answer nobody sees.
// It is a request like others to that release's instances: it claims one, so
// that a drain waits for it, and is counted, under a caller of its own. It is
// tried once, and no instance is ejected for it: what nobody waits for must not
// change where others are sent.
type copied struct {
	e     *engine
	route string
	came  *route // as the request came by it
	to    *traffic.Mirror
	limit time.Duration
	who   caller
	head  *http.Request // without body
	trace string        // ID, of the request's
	pair  *pair         // with the request; nil for one that a fault disturbs
}

// copying is a copy whose body is still coming in.
type copying struct {
	of     *copied
	copy   *mirror.Copy
	length int64 // of the body, or -1
	read   int64
	drawn  *draw
	over   bool // whole, or dropped
}

// mirror makes a copy of the request if its route wants one, which costs the
// request no more than that. Only whole requests are copied: not those that
// become something else than an answer, and none that is a copy itself.
func (x *exchange) mirror() {
	m := x.route.spec.Mirror
	if m == nil || !x.copyable(m) || !mirror.Draw(m.Share) {
		return
	}
	pool := x.route.pool(m.Release)
	if pool == nil || len(pool.endpoints) == 0 {
		return
	}
	c := &copied{e: x.e, route: x.route.spec.Name, came: x.route, to: m, limit: min(x.route.timeout, copyTimeout), who: x.who, head: x.twin(pool), trace: hex.EncodeToString(x.trace.Trace[:])}
	most := m.MaxBody
	if most == 0 {
		most = mirror.MaxBody
	}
	t := &copying{of: c, length: x.r.ContentLength, drawn: &pool.aside}
	if t.length <= most {
		t.copy = x.e.copies.Copy(mirror.Job{Lane: c.route + " " + string(m.Release), Head: headBytes(c.head), Most: most, Send: c.send})
	}
	if t.copy == nil {
		t.dropped()
		return
	}
	if x.fault == nil {
		x.pair = newPair(c.series(), t.drawn, x.ticket.began, x.body.replayable())
		c.pair = x.pair
	}
	x.body.twice(t)
}

// copyable says whether the request may be made a second time, to m.
func (x *exchange) copyable(m *traffic.Mirror) bool {
	h := x.r.Header
	return x.drawn != byPreview && m.Release != x.pool.spec.Release &&
		(mirror.Copyable(x.r.Method) || m.Unsafe && !mirror.Never(x.r.Method)) &&
		h[mirror.Header] == nil && h["Expect"] == nil && x.out.Header["Upgrade"] == nil && x.r.Trailer == nil
}

// twin returns the head that a copy has at an instance of p.
func (x *exchange) twin(p *pool) *http.Request {
	h := x.out.Header.Clone()
	h[mirror.Header] = []string{"1"}
	delete(h, cohortHeader)
	c := x.onwardFrom(p)
	if c != "" {
		h[cohortHeader] = []string{c}
	}
	x.tell(h, c)
	r := *x.out
	r.Header = h
	return &r
}

// headBytes is about what a head takes.
func headBytes(r *http.Request) int64 {
	n := len(r.Method) + len(r.URL.Path) + len(r.URL.RawQuery) + len(r.Host)
	for name, values := range r.Header {
		n += len(name)
		for _, v := range values {
			n += len(v)
		}
	}
	return int64(n)
}

// piece takes what was read of the caller's body.
func (t *copying) piece(b []byte, err error) {
	if t.over {
		return
	}
	t.read += int64(len(b))
	switch {
	case len(b) > 0 && !t.copy.Add(b):
		t.dropped()
	case errors.Is(err, io.EOF), t.length >= 0 && t.read >= t.length:
		t.done()
	}
}

// whole takes a body that came at once.
func (t *copying) whole(body []byte) {
	if !t.copy.Whole(body) {
		t.dropped()
		return
	}
	t.done()
}

func (t *copying) done() {
	t.over = true
	if !t.copy.Done() {
		t.dropped()
	}
}

// drop gives up a copy whose body was not read to its end.
func (t *copying) drop() {
	if t.copy.Drop() {
		t.dropped()
	}
}

// dropped counts a copy that is not sent.
func (t *copying) dropped() {
	t.over = true
	t.of.series().dropped(time.Now(), t.drawn)
}

func (c *copied) series() *series {
	return c.e.counts.get(c.route, c.to.Release, traffic.MirrorCaller)
}

// find claims an instance by the table in force, as passage.enter does, or
// returns nil when the release has none any more. Where requests wait for one, or
// would have to, a copy gives way, and full is true.
func (c *copied) find(now time.Time) (p *endpoint, drawn *draw, full bool) {
	for {
		t := c.e.table.Load()
		r := t.routes[c.route]
		if r == nil || r.pool(c.to.Release) == nil {
			return nil, nil, false
		}
		pool := r.pool(c.to.Release)
		if pool.queue != nil && pool.queue.Waiting() > 0 {
			return nil, &pool.aside, true
		}
		if p, full = pool.pick(now, nil); p == nil && !full {
			p, full = pool.pickAny(now, nil)
		}
		if p == nil {
			return nil, &pool.aside, full
		}
		if p.claim(pool.most) {
			if c.e.table.Load() == t {
				return p, &pool.aside, false
			}
			p.unclaim()
		}
	}
}

// send carries the copy and counts how it ends.
func (c *copied) send(ctx context.Context, body []byte) {
	began := time.Now()
	p, drawn, full := c.find(began)
	if full {
		c.series().dropped(began, drawn)
	}
	if p == nil {
		return
	}
	defer p.unclaim()
	k := c.series().begin(began, drawn, c.who)
	ctx, stop := context.WithTimeoutCause(ctx, c.limit, errNoAnswer)
	defer stop()
	res, err := roundTrip(ctx, p, call{req: c.request(ctx, p, body), whole: body})
	if err != nil {
		c.close(&k, p, ended{why: c.why(ctx, err), in: int64(len(body))})
		return
	}
	defer func() { _ = res.Body.Close() }()
	k.answered(time.Since(began))
	look := c.came.lookIntoHeader(res.StatusCode, res.Header)
	n, err := io.CopyN(io.Discard, io.TeeReader(res.Body, look), copyAnswers)
	end := ended{why: failure{how: finished}, status: res.StatusCode, in: int64(len(body)), out: n, head: httpLines(res.Header)}
	if look.Found() {
		end.why.err, end.counts, end.field = c.came.fieldError(), failedByField, true
	}
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil { // one that takes longer than we read is none of its fault
		end.why, end.counts, end.field = failure{broken, err}, 0, false
	}
	c.close(&k, p, end)
}

// request returns the copy as p gets it.
func (c *copied) request(ctx context.Context, p *endpoint, body []byte) *http.Request {
	r := c.head.WithContext(ctx)
	u := *c.head.URL
	u.Host = p.addr
	r.URL = &u
	r.ContentLength = int64(len(body))
	return r
}

// why sorts the error of a copy that got no answer.
func (c *copied) why(ctx context.Context, err error) failure {
	var dial *dialError
	switch {
	case errors.Is(context.Cause(ctx), errNoAnswer):
		return failure{late, fmt.Errorf("no answer within %s", c.limit)}
	case ctx.Err() != nil || c.e.ending.Load():
		return failure{cancelled, err} // the data plane ends, and waits for no copy
	case errors.As(err, &dial):
		return failure{unreached, err}
	}
	return sort(err, c.limit)
}

func (c *copied) close(k *ticket, p *endpoint, n ended) {
	now := time.Now()
	k.field = n.field && n.why.how == finished
	how := k.end(n.why.how, cmp.Or(n.counts, n.status), n.in, n.out)
	c.pair.copied(how, k.took)
	if !how.bad() || !c.e.counts.samples(now) {
		return
	}
	s := traffic.Sample{
		At: k.began, Route: c.route, Release: c.to.Release, Caller: traffic.MirrorCaller,
		Method: c.head.Method, Path: redact.Text(c.head.URL.Path), Status: n.status, Took: now.Sub(k.began),
		Error: redact.Error(n.why.err), Endpoint: p.id, Trace: c.trace, Asked: headOf(c.head.Host, httpLines(c.head.Header)),
	}
	if n.head != nil {
		s.Answered = redact.Head(n.head.Lines())
	}
	c.e.counts.sample(s)
}
