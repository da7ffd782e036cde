package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/fault"
	"github.com/slipway-cd/slipway/internal/proxy/match"
	"github.com/slipway-cd/slipway/internal/proxy/trace"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// maxAttempts is how often a request is tried when its route does not say.
const maxAttempts = 3

var errNoAnswer = errors.New("no answer in time")

// passage is one request's way through the data plane, whichever path carries it.
//
// It is counted once, under the release that was chosen for it, whatever
// happens next. A retry inside that release's pool saves the request, and only
// Retries tells of it. When a candidate's pool has no instance left that could
// answer, the stable pool answers instead so that the caller does not suffer,
// but the request stays on the candidate's account as Connect or Broken: the
// judge sees the failure, and the stable release's counts are not touched by
// callers that the split never gave it.
type passage struct {
	e        *engine
	asked    asked
	plain    bool // only plain routes are entered
	l        *listener
	route    *route
	pool     *pool // chosen, on whose account the request is
	who      caller
	account  string // the caller it is counted under
	drawn    drawn
	fault    *fault.Fault // that the request has to bear, or nil
	admitted bool         // counted in engine.carried
	ticket   ticket
	began    time.Time
	trace    trace.Context
	tried    []*endpoint
	last     *endpoint // asked now, or last
	since    time.Time // it was asked
	asks     int       // attempts begun
	tries    []try     // those that failed, if somebody wants to see them
	crossed  bool      // the stable pool answers for the chosen one
	first    failure   // of the chosen pool, when crossed
	store    [maxAttempts]*endpoint
}

// drawn is how a request's release was chosen.
type drawn int

const (
	bySplit drawn = iota
	byPreview
	byCohort
	byTarget
)

// failure is why an attempt came to nothing.
type failure struct {
	how outcome
	err error
}

// edge says that a service of ours calls, through a port of its own.
func (x *passage) edge() bool { return x.l.spec.Only != "" }

// enter counts the request in and finds its way; close counts it out.
func (x *passage) enter(f *front, now time.Time) (*endpoint, *problem) {
	x.began = now
	why := x.admit()
	var p *endpoint
	if why == nil {
		p, why = x.find(f, now)
	} else {
		x.l = f.listener(x.e.table.Load())
	}
	switch {
	case why == notPlain:
		x.leave()
	case why != nil:
		x.leave()
		x.begun()
		x.refused(why)
	case p != nil:
		x.takes(p, now)
	}
	return p, why
}

// find finds route, release and instance by the table in force and claims the
// instance. The claim counts only if that table is still in force after it: so
// once a change is acknowledged no request goes by the table before it. It
// returns nil for both when the release is known but no instance is there.
// begun makes the request a part of its caller's trace, or the first of its own.
func (x *passage) begun() { x.trace = trace.Start(x.asked, x.e.table.Load().recording.traceShare) }

// takes notes that p is asked from now on.
func (x *passage) takes(p *endpoint, now time.Time) {
	x.last, x.since = p, now
	x.asks++
}

func (x *passage) find(f *front, now time.Time) (*endpoint, *problem) {
	for {
		x.tried, x.crossed, x.pool = x.store[:0], false, nil
		t := x.e.table.Load()
		x.l = f.listener(t)
		x.route = x.l.match(x.asked)
		if x.route == nil {
			return nil, x.notRouted()
		}
		if x.plain && (!x.route.plain || x.e.faults.On(x.route.spec.Name)) {
			return nil, notPlain
		}
		x.who = callerOf(x.asked, x.edge(), x.route.spec.Sticky)
		if why := x.choose(t, now); why != nil {
			return nil, why
		}
		p := x.next(x.route, now, failure{})
		if x.e.table.Load() == t {
			return p, nil
		}
		if p != nil {
			p.unclaim()
		}
	}
}

// notPlain is no answer: it says that the request is not for the raw path.
var notPlain = &problem{Code: "not_plain"}

func (x *passage) notRouted() *problem {
	return &problem{
		Status: http.StatusNotFound, Code: "no_route", Field: "host",
		Detail: fmt.Sprintf("nothing answers host %q path %q on listener %s", hostOf(x.asked.Host()), x.asked.Path(), x.l.spec.Name),
		Hint:   "slipway status lists what is reachable",
	}
}

// choose picks the release: what a preview header asks for, the caller's
// cohort, a target that matches, or else where the split puts the sticky key.
func (x *passage) choose(t *table, now time.Time) *problem {
	x.drawn, x.account = bySplit, x.l.spec.Caller
	if header, there := x.asked.Value(previewHeader, 0); there && header != "" {
		if why := x.preview(t, header, now); why != nil {
			return why
		}
		if x.drawn == byPreview {
			return nil
		}
	}
	if x.route.cohorts && x.edge() {
		if p := x.route.cohort(x.cohort()); p != nil {
			x.pool, x.drawn, x.account = p, byCohort, traffic.CohortCaller
			return nil
		}
	}
	if tg := x.route.target(x.asked); tg != nil {
		x.pool, x.drawn, x.account = tg.pool, byTarget, tg.caller
		return nil
	}
	x.pool = x.route.choose(bucket(x.route.spec.Salt, x.who.key))
	if x.pool == nil {
		return &problem{Status: http.StatusServiceUnavailable, Code: "no_release", Detail: "no release of " + x.route.spec.Name + " takes traffic yet"}
	}
	return nil
}

// preview chooses the release that the header asks for. On an edge the header
// may be meant for another service, and nothing is wrong with one that asks for
// what is not here.
func (x *passage) preview(t *table, header string, now time.Time) *problem {
	want := header
	if key := t.spec.PreviewKey; len(key) > 0 && !x.edge() {
		var ok bool
		if want, ok = traffic.CheckPreview(key, x.route.spec.Name, header, now); !ok {
			return &problem{
				Status: http.StatusForbidden, Code: "preview_not_signed", Field: previewHeader,
				Detail: "the preview of " + x.route.spec.Name + " needs a header that is signed for it and still valid",
				Hint:   "slipway preview " + x.route.spec.Service + " prints one",
			}
		}
	}
	if p := x.route.preview(want); p != nil {
		x.pool, x.drawn, x.account = p, byPreview, traffic.PreviewCaller
		return nil
	}
	if x.edge() {
		return nil
	}
	return &problem{
		Status: http.StatusNotFound, Code: "no_preview", Field: previewHeader,
		Detail: fmt.Sprintf("route %s has no preview %q", x.route.spec.Name, want),
	}
}

// cohort returns the cohort that the calling service was itself chosen for.
func (x *passage) cohort() string {
	if c, there := x.asked.Value(cohortHeader, 0); there && c != "" {
		return c
	}
	c, _ := match.Baggage(x.asked, cohortBaggage)
	return c
}

// onward returns the cohort that services called on behalf of this request
// learn: the chosen release's own, else the one it came with.
func (x *passage) onward() string { return x.onwardFrom(x.pool) }

func (x *passage) onwardFrom(p *pool) string {
	if p.spec.Cohort != "" {
		return p.spec.Cohort
	}
	if x.edge() {
		return x.cohort()
	}
	return ""
}

// begin counts the request in.
func (x *passage) begin(now time.Time) {
	x.begun()
	s := x.pool.series[x.account]
	if s == nil { // an edge that has left the table
		s = x.e.counts.of(x.route.spec, x.pool.spec, x.account)
	}
	x.ticket = s.begin(now, x.route.spec.Gen, x.who)
}

// remembers says whether the caller is to be given its key as a cookie: while it
// decides about a release, or about a fault.
func (x *passage) remembers() bool {
	return x.who.keep && !x.edge() && (x.route.split || x.e.faults.On(x.route.spec.Name))
}

// next claims an instance for the next attempt, or returns nil when there is
// none: another healthy one of the chosen release; for a candidate that the
// split gave the request, one of the stable release; and as a last resort,
// before any attempt was made, an unhealthy one of the chosen release.
func (x *passage) next(route *route, now time.Time, last failure) *endpoint {
	if len(x.tried) >= maxAttempts {
		return nil
	}
	chosen, stable := route.pool(x.pool.spec.Release), route.stable()
	if !x.crossed && chosen != nil {
		if p := x.claim(chosen.pick, now); p != nil {
			return p
		}
	}
	if stable != nil && stable != chosen && x.drawn != byPreview {
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
func (x *passage) claim(pick func(time.Time, []*endpoint) *endpoint, now time.Time) *endpoint {
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

// lost counts a failed attempt towards the ejection of its instance and gives
// the claim back.
func (x *passage) lost(p *endpoint, why failure) {
	x.blame(p, why)
	p.unclaim()
	x.tried = append(x.tried, p)
	if x.traced() {
		x.tries = append(x.tries, try{at: p, began: x.since, end: time.Now(), how: why.how})
	}
}

func (x *passage) blame(p *endpoint, why failure) {
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

// attempted is what is known of a failed attempt.
type attempted struct {
	why        failure
	answered   bool // the first byte came
	replayable bool // the body can be sent again in full
	untouched  bool // nothing of the body is used up
}

// again claims an instance for one more attempt, if the request may be made
// again: after a connect failure any request whose body is still whole; after
// a connection that died before the first byte of an answer, an idempotent
// one. A timeout is never tried again: the caller has waited long enough.
func (x *passage) again(a attempted) *endpoint {
	switch a.why.how {
	case unreached:
		if !a.untouched {
			return nil
		}
	case broken:
		if a.answered || !a.replayable || !idempotent(x.asked.Method()) {
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
	if p := x.next(route, now, a.why); p != nil {
		x.takes(p, now)
		return p
	}
	// Alone in its pool: the connection died, perhaps not the instance.
	last := x.tried[len(x.tried)-1]
	if a.why.how == broken && len(x.tried) == 1 && last.healthy(now) && last.claim() {
		x.takes(last, now)
		return last
	}
	return nil
}

// none is why a request is refused when its release has no instance.
func (x *passage) none() failure {
	return failure{unreached, errors.New("there is no instance of " + string(x.pool.spec.Release))}
}

// refusal is what a caller is told when no instance answered.
func (x *passage) refusal(why failure) problem {
	service := x.route.spec.Service
	p := problem{Status: http.StatusBadGateway, Code: "no_connection", Detail: "no instance of " + service + " could be reached", Hint: "slipway status " + service}
	switch why.how {
	case late:
		p.Status, p.Code, p.Detail = http.StatusGatewayTimeout, "no_answer", service+" gave "+why.err.Error()
	case broken:
		p.Code, p.Detail = "broken_answer", service+" closed the connection without an answer"
	case unreached:
		if len(x.tried) == 0 {
			p.Status = http.StatusServiceUnavailable
		}
	case finished, cancelled:
	}
	return p
}

// ended is how a request ended, and how much passed.
type ended struct {
	why     failure
	status  int
	in, out int64 // bytes of the bodies
	head    lines // of the instance's answer, if there was one
}

// close ends the account of the request.
func (x *passage) close(n ended) {
	own := n.why
	x.leave()
	if x.crossed && n.why.how != cancelled {
		n.why = x.first
	}
	c := x.ticket.end(n.why.how, n.status, n.in, n.out)
	x.record(n, own, c)
}
