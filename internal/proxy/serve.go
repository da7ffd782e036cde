package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// maxAttempts is the first attempt and at most two more.
const maxAttempts = 3

var errNoAnswer = errors.New("no answer in time")

// exchange is one request on its way through the data plane.
//
// It is counted once, under the release that the split (or the preview header)
// chose for it, whatever happens next. A retry inside that release's pool saves
// the request, and only Retries tells of it. When a candidate's pool has no
// instance left that could answer, the stable pool answers instead so that the
// caller does not suffer, but the request stays on the candidate's account as
// Connect or Broken: the judge sees the failure, and the stable release's
// counts are not touched by callers that the split never gave it.
type exchange struct {
	e       *engine
	w       http.ResponseWriter
	r       *http.Request
	l       *listener
	route   *route
	pool    *pool // chosen, on whose account the request is
	who     caller
	preview bool
	ticket  ticket
	body    *body
	out     *http.Request
	tried   []*endpoint
	crossed bool    // the stable pool answers for the chosen one
	first   failure // of the chosen pool, when crossed
	store   [maxAttempts]*endpoint
}

// failure is why an attempt came to nothing.
type failure struct {
	how outcome
	err error
}

// ServeHTTP routes one request.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e := f.engine
	if e.ending.Load() || f.leaving.Load() {
		w.Header().Set("Connection", "close")
	}
	if r.Method == http.MethodConnect {
		problem{Status: http.StatusMethodNotAllowed, Code: "no_tunnels", Detail: "this proxy opens no tunnels"}.write(w)
		return
	}
	x := &exchange{e: e, w: w, r: r}
	x.tried = x.store[:0]
	began := time.Now()
	p, why := x.enter(f, began)
	if why != nil {
		why.write(w)
		return
	}
	x.ticket = x.account().begin(began, x.route.spec.Gen, x.who)
	if x.route.split && x.who.fresh && x.l.spec.Only == "" {
		remember(w.Header(), x.who.key)
	}
	x.carry(p) //nolint:contextcheck // the exchange has the request, and its context
}

// enter finds route, release and instance by the table in force and claims the
// instance. The claim counts only if that table is still in force after it: so
// once a change is acknowledged no request goes by the table before it.
func (x *exchange) enter(f *front, now time.Time) (*endpoint, *problem) {
	for {
		t := x.e.table.Load()
		l := f.listener(t)
		route := l.match(x.r.Host, x.r.URL.Path)
		if route == nil {
			return nil, notRouted(l, x.r)
		}
		edge := l.spec.Only != ""
		if x.who.key == "" {
			x.who = callerOf(x.r, edge)
		}
		x.l, x.route, x.preview = l, route, false
		if want := x.r.Header.Get(previewHeader); want != "" {
			x.pool = route.preview(want)
			x.preview = x.pool != nil
			if !x.preview && !edge { // on an edge the header may be meant for another service
				return nil, &problem{
					Status: http.StatusNotFound, Code: "no_preview", Field: previewHeader,
					Detail: fmt.Sprintf("route %s has no preview %q", route.spec.Name, want),
				}
			}
		}
		if !x.preview {
			x.pool = route.choose(bucket(route.spec.Salt, x.who.key))
		}
		if x.pool == nil {
			return nil, &problem{Status: http.StatusServiceUnavailable, Code: "no_release", Detail: "no release of " + route.spec.Name + " takes traffic yet"}
		}
		p := x.next(route, now, failure{})
		if x.e.table.Load() == t {
			return p, nil
		}
		if p != nil {
			p.unclaim()
		}
		x.tried, x.crossed = x.store[:0], false
	}
}

func notRouted(l *listener, r *http.Request) *problem {
	host := hostOf(r.Host)
	return &problem{
		Status: http.StatusNotFound, Code: "no_route", Field: "host",
		Detail: fmt.Sprintf("nothing answers host %q path %q on listener %s", host, r.URL.Path, l.spec.Name),
		Hint:   "slipway status lists what is reachable",
	}
}

// account returns the counts of the chosen release for who calls.
func (x *exchange) account() *series {
	who := x.l.spec.Caller
	if x.preview {
		who = traffic.PreviewCaller
	}
	if s := x.pool.series[who]; s != nil {
		return s
	}
	return x.e.counts.get(x.route.spec.Name, x.pool.spec.Release, who) // an edge that has left the table
}

// next claims an instance for the next attempt, or returns nil when there is
// none: another healthy one of the chosen release; for a candidate, not for a
// preview, one of the stable release; and as a last resort, before any attempt
// was made, an unhealthy one of the chosen release.
func (x *exchange) next(route *route, now time.Time, last failure) *endpoint {
	if len(x.tried) >= maxAttempts {
		return nil
	}
	chosen, stable := route.pool(x.pool.spec.Release), route.stable()
	if !x.crossed && chosen != nil {
		if p := x.claim(chosen.pick, now); p != nil {
			return p
		}
	}
	if stable != nil && stable != chosen && !x.preview {
		if p := x.claim(stable.pick, now); p != nil {
			if !x.crossed {
				x.crossed, x.first = true, last
				if last.err == nil {
					x.first = failure{unreached, errors.New("no healthy instance of " + string(x.pool.spec.Release))}
				}
			}
			return p
		}
	}
	if len(x.tried) == 0 && chosen != nil {
		return x.claim(func(_ time.Time, tried []*endpoint) *endpoint { return chosen.pickAny(tried) }, now)
	}
	return nil
}

// claim picks until an endpoint that has not left accepts the claim.
func (x *exchange) claim(pick func(time.Time, []*endpoint) *endpoint, now time.Time) *endpoint {
	skip := x.tried
	for {
		p := pick(now, skip)
		if p == nil {
			return nil
		}
		if p.claim() {
			return p
		}
		skip = append(slices.Clone(skip), p)
	}
}

// carry makes attempts until one is answered or none is left.
func (x *exchange) carry(p *endpoint) {
	var err error
	if x.body, err = takeBody(x.w, x.r, x.route.timeout); err != nil {
		if p != nil {
			p.unclaim()
		}
		x.close(failure{cancelled, err}, 0, 0)
		panic(http.ErrAbortHandler)
	}
	defer x.body.end(x.w)
	if p == nil {
		x.refuse(failure{unreached, errors.New("there is no instance of " + string(x.pool.spec.Release))})
		return
	}
	x.out = outgoing(x.r, x.l.spec.Only != "", x.who.key)
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	timer := time.AfterFunc(x.route.timeout, func() {
		cancel(errNoAnswer)
		x.body.end(x.w)
	})
	defer timer.Stop()
	x.body.onMove(func() { timer.Reset(x.route.timeout) })
	for {
		a := &attempt{x: x}
		res, err := a.make(ctx, p)
		if err == nil {
			x.body.onMove(nil)
			if !timer.Stop() {
				_ = res.Body.Close()
				err = errNoAnswer
			}
		}
		if err == nil {
			x.answer(ctx, p, res)
			return
		}
		why := x.why(ctx, err)
		x.blame(p, why)
		p.unclaim()
		x.tried = append(x.tried, p)
		if p = x.again(a, why); p == nil {
			x.refuse(why)
			return
		}
		x.ticket.retried()
	}
}

// attempt is one try of a request at one instance.
type attempt struct {
	x        *exchange
	answered atomic.Bool // the first byte came

	mu   sync.Mutex
	over bool // guarded by mu: the client's goroutines may no longer touch the caller
}

func (a *attempt) make(ctx context.Context, p *endpoint) (*http.Response, error) {
	trace := &httptrace.ClientTrace{
		GotFirstResponseByte: func() { a.answered.Store(true) },
		Got1xxResponse:       a.interim,
	}
	req := a.x.out.WithContext(httptrace.WithClientTrace(ctx, trace))
	u := *a.x.out.URL
	u.Host = p.addr
	req.URL = &u
	a.x.body.attach(req)
	res, err := roundTrip(p, req)
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	return res, err
}

// interim passes on 103 and its like. The server itself answers 100 when the
// body is first read, and 101 ends the exchange.
func (a *attempt) interim(code int, header textproto.MIMEHeader) error {
	if code <= http.StatusSwitchingProtocols {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		return nil
	}
	h := a.x.w.Header()
	for name, values := range header {
		h[name] = append([]string(nil), values...)
	}
	a.x.w.WriteHeader(code)
	for name := range header {
		delete(h, name)
	}
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
		return failure{late, fmt.Errorf("no answer within %s", x.route.timeout)}
	case errors.As(err, &dial):
		return failure{unreached, err}
	}
	return failure{broken, err}
}

// blame counts a failed attempt towards the ejection of its instance.
func (x *exchange) blame(p *endpoint, why failure) {
	if why.how != unreached && why.how != broken {
		return
	}
	t := x.e.table.Load()
	if r := t.routes[x.route.spec.Name]; r != nil {
		if pool := r.pool(p.release); pool != nil {
			p.failed(why.err, pool.endpoints, &x.e.ejecting)
		}
	}
}

// again claims an instance for one more attempt, if the request may be made
// again: after a connect failure any request whose body is still whole; after
// a connection that died before the first byte of an answer, an idempotent
// one. A timeout is never tried again: the caller has waited long enough.
func (x *exchange) again(a *attempt, why failure) *endpoint {
	switch why.how {
	case unreached:
		if !x.body.untouched() {
			return nil
		}
	case broken:
		if a.answered.Load() || !idempotent(x.r.Method) || !x.body.replayable() {
			return nil
		}
	case finished, late, cancelled:
		return nil
	}
	route := x.e.table.Load().routes[x.route.spec.Name]
	if route == nil {
		return nil
	}
	now := time.Now()
	if p := x.next(route, now, why); p != nil {
		return p
	}
	// Alone in its pool: the connection died, perhaps not the instance.
	last := x.tried[len(x.tried)-1]
	if why.how == broken && len(x.tried) == 1 && last.healthy(now) && last.claim() {
		return last
	}
	return nil
}

// answer passes an instance's answer on.
func (x *exchange) answer(ctx context.Context, p *endpoint, res *http.Response) {
	defer p.unclaim()
	defer func() { _ = res.Body.Close() }()
	if !x.crossed {
		x.ticket.answered(time.Since(x.ticket.began))
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		x.upgrade(p, res)
		return
	}
	h := x.w.Header()
	announced := len(res.Trailer)
	copyAnswer(h, res.Header)
	if announced > 0 {
		names := make([]string, 0, announced)
		for name := range res.Trailer {
			names = append(names, name)
		}
		h.Set("Trailer", strings.Join(names, ", "))
	}
	x.w.WriteHeader(res.StatusCode)
	var flush func() error
	if streams(res) {
		flush = http.NewResponseController(x.w).Flush
		_ = flush()
	}
	n, err := x.e.buffers.stream(ctx, x.w, res.Body, flush)
	if err != nil {
		why := failure{broken, err}
		if errors.Is(err, errCaller) {
			why.how = cancelled
		} else {
			x.blame(p, why)
		}
		x.close(why, res.StatusCode, n)
		// The caller must see a broken connection: a clean end would be a lie.
		panic(http.ErrAbortHandler)
	}
	p.answered()
	if len(res.Trailer) == announced {
		maps.Copy(h, res.Trailer)
	} else {
		for name, values := range res.Trailer {
			h[http.TrailerPrefix+name] = values
		}
	}
	x.close(failure{how: finished}, res.StatusCode, n)
}

// streams says whether an answer's pieces must not wait for each other.
func streams(res *http.Response) bool {
	return res.ContentLength == -1 || strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream")
}

// refuse answers for a request that no instance answered.
func (x *exchange) refuse(why failure) {
	status := http.StatusBadGateway
	p := problem{Code: "no_connection", Detail: "no instance of " + x.route.spec.Service + " could be reached", Hint: "slipway status " + x.route.spec.Service}
	switch why.how {
	case late:
		status, p.Code, p.Detail = http.StatusGatewayTimeout, "no_answer", x.route.spec.Service+" gave "+why.err.Error()
	case broken:
		p.Code, p.Detail = "broken_answer", x.route.spec.Service+" closed the connection without an answer"
	case unreached:
		if len(x.tried) == 0 {
			status = http.StatusServiceUnavailable
		}
	case cancelled:
		x.close(why, 0, 0)
		panic(http.ErrAbortHandler)
	case finished:
	}
	x.close(why, status, 0)
	p.Status = status
	p.write(x.w)
}

// close ends the account of the request.
func (x *exchange) close(why failure, status int, sent int64) {
	if x.crossed && why.how != cancelled {
		why = x.first
	}
	if !x.ticket.end(why.how, status, x.body.bytes(), sent) {
		return
	}
	s := traffic.Sample{
		At: x.ticket.began, Route: x.route.spec.Name, Release: x.pool.spec.Release, Caller: x.ticket.s.key.caller,
		Method: x.r.Method, Path: x.r.URL.Path, Status: status, Took: time.Since(x.ticket.began),
	}
	if why.err != nil {
		s.Error = why.err.Error()
	}
	x.e.counts.sample(s)
}

// serverFor returns the HTTP server of one listener, with every bound set.
func serverFor(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
