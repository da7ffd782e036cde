package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/fault"
	"github.com/slipway-cd/slipway/internal/proxy/field"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// exchange is a passage on the full path: net/http on the caller's side.
type exchange struct {
	passage
	w         http.ResponseWriter
	r         *http.Request
	from      httpAsked
	body      *body
	out       *http.Request
	head      http.Header             // of the instance's answer
	stop      context.CancelCauseFunc // of the exchange with the instance, unless it is direct
	watch     watch
	answering answering
	limit     time.Duration // for the head of the answer, from the last piece of the request on
	grpc      bool
	counts    int // as this HTTP status, though the answer has another one; 0 is none
	direct    asking
	gate      *gate          // of a caller that speaks HTTP/1.1
	deadline  time.Time      // for the head of a direct answer
	look      *field.Scanner // of the answer's body; nil when nothing is looked for
}

// longAnswer is from how many bytes on an answer may take its time.
const longAnswer = 1 << 20

var errCut = errors.New("the data plane ends, and streams with it")

// cut breaks off an answer that streams.
func (x *exchange) cut() { x.breakOff(errCut) }

// breakOff ends the exchange with the instance.
func (x *exchange) breakOff(cause error) {
	if x.stop == nil {
		x.direct.breakOff(cause)
		return
	}
	x.stop(cause)
}

// ServeHTTP carries one request.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := f.engine
	if e.ending.Load() || f.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	if r.Method == http.MethodConnect {
		if r.ProtoMajor == 1 { // what follows is meant for whom it asked for
			w.Header().Set("Connection", "close")
		}
		problem{Status: http.StatusMethodNotAllowed, Code: "no_tunnels", Detail: "this proxy opens no tunnels"}.answer(w, r)
		return
	}
	if e.challenged(w, r) {
		return
	}
	x := &exchange{w: w, r: r, from: asks(r), passage: passage{e: e}}
	x.asked = &x.from
	p, why := x.enter(r.Context(), f, time.Now())
	if why != nil {
		why.answer(w, r)
		return
	}
	x.arrive()
	if x.remembers() {
		remember(w.Header(), x.who.key)
	}
	x.carry(p) //nolint:contextcheck // the exchange has the request, and its context
}

// carry makes attempts until one is answered or none is left.
func (x *exchange) carry(p *endpoint) {
	var err error
	if x.body, err = takeBody(x.w, x.r, x.route.timeout); err != nil {
		if p != nil {
			p.unclaim()
		}
		x.end(failure{cancelled, err}, 0, 0)
		panic(http.ErrAbortHandler)
	}
	defer x.body.leave(x.w)
	if x.fault != nil {
		var on bool
		if p, on = x.bear(p); !on {
			return
		}
	}
	if p == nil {
		x.refuse(x.none())
		return
	}
	x.limit = x.patience()
	x.grpc = x.r.ProtoMajor == 2 && isGRPC(x.r.Header)
	if x.grpc {
		x.limit = grpcPatience(x.r.Header, x.route.spec.Timeout, x.route.idle)
	}
	x.deadline = time.Now().Add(x.limit)
	if x.isDirect() {
		if p = x.carryDirect(p); p == nil {
			return
		}
	}
	x.out = outgoing(x.r, x.way(), x.who.key, x.onward())
	x.tell(x.out.Header, x.onward())
	x.mirror()
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	x.stop = cancel
	timer := time.AfterFunc(time.Until(x.deadline), func() {
		cancel(errNoAnswer)
		x.body.end(x.w)
	})
	defer timer.Stop()
	for {
		a := &attempt{x: x, moved: func() { timer.Reset(x.limit) }}
		res, err := a.make(ctx, p)
		if err == nil {
			x.body.onMove(nil)
			if err = a.done(); err == nil && !timer.Stop() {
				err = errNoAnswer
			}
			if err != nil {
				_ = res.Body.Close()
			}
		}
		if err == nil {
			x.answer(ctx, p, res)
			return
		}
		why := x.why(ctx, err)
		x.lost(p, why)
		p = x.again(ctx, attempted{why: why, answered: a.answered.Load(), replayable: x.body.replayable(), untouched: x.body.untouched()})
		if p == nil {
			x.refuse(why)
			return
		}
		x.ticket.retried()
	}
}

// attempt is one try of a request at one instance.
type attempt struct {
	x        *exchange
	moved    func()      // called at each piece of the body
	answered atomic.Bool // the first byte came
	timer    *time.Timer // of this attempt; nil when only that of all counts

	mu   sync.Mutex
	over bool // guarded by mu: the client's goroutines may no longer touch the caller
}

func (a *attempt) make(ctx context.Context, p *endpoint) (*http.Response, error) {
	ctx = a.limit(ctx)
	req := a.x.out.WithContext(ctx)
	u := *a.x.out.URL
	u.Host = p.addr
	req.URL = &u
	c := call{req: req, whole: a.x.body.whole, answered: func() { a.answered.Store(true) }, interim: a.interim}
	if !a.x.body.replayable() {
		req.Body, c.stop = a.x.body, func() { a.x.body.end(a.x.w) }
	}
	res, err := roundTrip(ctx, p, c)
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	var dial *dialError
	if err != nil && a.done() != nil && !errors.As(err, &dial) {
		err = a.late()
	}
	return res, err
}

// limit bounds this attempt, when the route asks for that, from the last piece
// of the body on. The context ends with that of all attempts at the latest.
func (a *attempt) limit(ctx context.Context) context.Context {
	perTry := a.x.route.perTry
	if perTry == 0 {
		a.x.body.onMove(a.moved)
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a.timer = time.AfterFunc(perTry, func() {
		cancel(a.late())
		if !a.x.body.replayable() {
			a.x.body.end(a.x.w)
		}
	})
	a.x.body.onMove(func() {
		a.moved()
		a.timer.Reset(perTry)
	})
	return ctx
}

func (a *attempt) late() error { return fmt.Errorf("%w within %s", errPerTry, a.x.route.perTry) }

// done ends the time of this attempt, or says that it is over.
func (a *attempt) done() error {
	if a.timer != nil && !a.timer.Stop() {
		return a.late()
	}
	return nil
}

// interim is the exchange's, as long as the attempt is not over.
func (a *attempt) interim(code int, header textproto.MIMEHeader) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return nil
	}
	return a.x.interim(code, http.Header(header))
}

// interim passes on 103 and its like. The server itself answers 100 when the
// body is first read, and 101 ends the exchange. HTTP/1.0 knows none of them
// (RFC 9110, 15.2).
func (x *exchange) interim(code int, header http.Header) error {
	if code <= http.StatusSwitchingProtocols || !x.r.ProtoAtLeast(1, 1) {
		return nil
	}
	removeHopByHop(header)
	h := x.w.Header()
	ours := http.Header{} // what the final answer has by these names
	for name, values := range header {
		if mine, there := h[name]; there {
			ours[name] = mine
		}
		h[name] = append([]string(nil), values...)
	}
	x.w.WriteHeader(code)
	if err := x.r.Context().Err(); err != nil {
		return err // a stream that was reset: net/http may still read the header, which nobody may touch
	}
	for name := range header {
		delete(h, name)
	}
	maps.Copy(h, ours)
	return nil
}

// why sorts an attempt's error.
func (x *exchange) why(ctx context.Context, err error) failure {
	var dial *dialError
	switch {
	case x.r.Context().Err() != nil:
		return failure{cancelled, err}
	case x.body.callerBroke() != nil:
		return failure{cancelled, x.body.callerBroke()}
	case errors.Is(err, errNoAnswer) || errors.Is(context.Cause(ctx), errNoAnswer):
		return failure{late, fmt.Errorf("no answer within %s", x.limit)}
	case errors.Is(err, errPerTry):
		return failure{late, err}
	case errors.As(err, &dial):
		return failure{unreached, err}
	}
	return sort(err, x.limit)
}

// answer passes an instance's answer on.
func (x *exchange) answer(ctx context.Context, p *endpoint, res *http.Response) {
	defer p.unclaim()
	defer func() { _ = res.Body.Close() }()
	if !x.crossed {
		x.answered(time.Since(x.ticket.began))
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.upgrade(p, res)
		return
	}
	x.head = res.Header
	x.look = x.route.lookIntoHeader(res.StatusCode, res.Header)
	h := x.w.Header()
	announced := slices.Collect(maps.Keys(res.Trailer))
	copyAnswer(h, res.Header)
	if res.StatusCode == http.StatusNoContent {
		delete(h, "Content-Length") // as in putHead
	}
	if len(announced) > 0 {
		h.Set("Trailer", strings.Join(announced, ", "))
	}
	x.w.WriteHeader(res.StatusCode)
	var flush func() error
	if streams(res) {
		flush = http.NewResponseController(x.w).Flush
	}
	from := io.Reader(res.Body)
	if x.fault != nil {
		from, flush = x.bend(ctx, res, flush)
	}
	if flush != nil || res.ContentLength > longAnswer {
		p.streams.add(x)
		defer p.streams.remove(x)
	}
	n, err := x.passOn(ctx, from, flush)
	if err != nil {
		why := failure{broken, err}
		switch {
		case errors.Is(err, fault.ErrCut):
			x.sever() // nobody is to blame
		case errors.Is(err, errCaller):
			why.how = cancelled
		default:
			x.blame(p, why)
		}
		x.end(why, res.StatusCode, n)
		// The caller must see a broken connection: a clean end would be a lie.
		panic(http.ErrAbortHandler)
	}
	p.answered()
	for name, values := range res.Trailer {
		if len(values) == 0 { // it did not come, and HTTP/2 would wait for it
			continue
		}
		if !slices.Contains(announced, name) {
			name = http.TrailerPrefix + name
		}
		h[name] = values
	}
	x.end(x.verdict(res), res.StatusCode, n)
}

// verdict is how an answer that came whole counts: by its status, by that of gRPC,
// which is 200 in HTTP whatever happened, or by what its body says.
func (x *exchange) verdict(res *http.Response) failure {
	if x.look.Found() {
		x.counts = failedByField
		return failure{finished, x.route.fieldError()}
	}
	if !x.grpc || res.StatusCode != http.StatusOK || !isGRPC(res.Header) {
		return failure{how: finished}
	}
	code, message := grpcCode(res.Header, res.Trailer)
	if code == grpcOK {
		return failure{how: finished}
	}
	x.counts = statusOfGRPC(code)
	return failure{finished, errors.New(strings.TrimSuffix(fmt.Sprintf("gRPC status %d: %s", code, message), ": "))}
}

// streams says whether an answer's pieces must not wait for each other.
func streams(res *http.Response) bool {
	return res.ContentLength == -1 || strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream")
}

// misframed returns which rule of framing the caller's body broke, if that is
// what the exchange came to nothing for. net/http hides it behind an error of its
// own when it is one of the trailers'.
func (x *exchange) misframed(why failure) *wire.Error {
	if why.how != cancelled || x.body.callerBroke() == nil {
		return nil
	}
	if g, _ := x.r.Context().Value(gateKey{}).(*gate); g != nil {
		broken, _ := errors.AsType[*wire.Error](g.err)
		return broken
	}
	return nil
}

// refuse answers for a request that no instance answered.
func (x *exchange) refuse(why failure) {
	if broken := x.misframed(why); broken != nil {
		x.w.Header().Set("Connection", "close") // where the next request begins nobody can say
		x.end(why, broken.Status, 0)
		badHead(broken).write(x.w)
		return
	}
	if why.how == cancelled {
		x.end(why, 0, 0)
		panic(http.ErrAbortHandler)
	}
	p := x.refusal(why)
	x.end(why, p.Status, 0)
	p.answer(x.w, x.r)
}

func (x *exchange) end(why failure, status int, sent int64) {
	x.close(ended{why: why, status: status, counts: x.counts, field: x.look.Found(), in: x.body.bytes(), out: sent, head: httpLines(x.head)})
}
