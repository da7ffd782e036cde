package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/fault"
	"github.com/slipway-cd/slipway/internal/proxy/forward"
	"github.com/slipway-cd/slipway/internal/proxy/limit"
	"github.com/slipway-cd/slipway/internal/proxy/match"
	"github.com/slipway-cd/slipway/internal/proxy/trace"
	"github.com/slipway-cd/slipway/internal/traffic"
)

var (
	errNoAnswer = errors.New("no answer in time")
	errPerTry   = errors.New("no answer") // of one attempt, in the time of one
)

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
	believed bool   // what the caller says of others
	account  string // the caller it is counted under
	drawn    drawn
	fault    *fault.Fault // that the request has to bear, or nil
	admitted bool         // counted in engine.carried
	ticket   ticket
	arms     []ticket // the same request once more, see arm
	pair     *pair    // with its copy; nil if there is none
	began    time.Time
	trace    trace.Context
	tried    []*endpoint
	last     *endpoint // asked now, or last
	since    time.Time // it was asked
	asks     int       // attempts begun
	tries    []try     // those that failed, if somebody wants to see them
	crossed  bool      // the stable pool answers for the chosen one
	first    failure   // of the chosen pool, when crossed
	store    [defaultAttempts]*endpoint

	arrived time.Time     // or was let go, if it was held
	until   time.Time     // a request that is held is held so long
	paid    *limit.Rates  // that it has the leave of
	waited  time.Duration // for slots
	turn    bool          // to look for a slot
	queuer  queuer        // is told of a wait for a slot; nil when ctx ends with the caller
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

// way is how the request came, for the instance.
func (x *passage) way() forward.Way {
	return forward.Way{Peer: x.asked.Remote(), Host: x.asked.Host(), Secure: x.asked.Scheme() == "https", Believed: x.believed}
}

// listen takes the word of whoever is believed on for whom the request is.
func (x *passage) listen(t *table) {
	remote := x.asked.Remote()
	x.believed = x.edge() || t.trust.Has(remote)
	if x.believed {
		x.asked.asksFor(t.trust.Client(remote, x.asked))
	} else {
		x.asked.asksFor(remote)
	}
}

// enter counts the request in and finds its way; close counts it out. It waits
// where the route asks for that, until ctx ends.
func (x *passage) enter(ctx context.Context, f *front, now time.Time) (*endpoint, *problem) {
	x.began, x.arrived = now, now
	why := x.admit()
	var p *endpoint
	if why == nil {
		p, why = x.find(ctx, f)
	} else {
		x.l = f.listener(x.e.table.Load())
	}
	switch {
	case why == notPlain:
		x.leave()
	case why != nil && x.ticket.s != nil: // its account is closed already
	case why != nil:
		x.leave()
		x.begun()
		x.refused(why)
	case p != nil && x.waited == 0:
		x.takes(p, x.arrived)
	case p != nil:
		x.takes(p, time.Now())
	}
	return p, why
}

// begun makes the request a part of its caller's trace, or the first of its own.
func (x *passage) begun() { x.trace = trace.Start(x.asked, x.e.table.Load().recording.traceShare) }

// takes notes that p is asked from now on.
func (x *passage) takes(p *endpoint, now time.Time) {
	x.last, x.since = p, now
	x.asks++
}

// find finds route, release and instance by the table in force and claims the
// instance. The claim counts only if that table is still in force after it: so
// once a change is acknowledged no request goes by the table before it. It
// returns nil for both when the release is known but no instance is there.
func (x *passage) find(ctx context.Context, f *front) (*endpoint, *problem) {
	for {
		x.tried, x.crossed, x.turn, x.pool = x.store[:0], false, false, nil
		t := x.e.table.Load()
		x.l = f.listener(t)
		if x.plain && t.challenges(x.asked.Path()) {
			return nil, notPlain
		}
		x.listen(t)
		x.route = x.l.match(x.asked)
		if x.route == nil {
			return nil, x.notRouted()
		}
		if x.plain && (!x.route.plain || x.e.faults.On(x.route.spec.Name)) {
			return nil, notPlain
		}
		x.who = callerOf(x.asked, x.edge(), x.believed, x.route.sticky)
		if why := x.pays(); why != nil {
			return nil, why
		}
		if why := x.choose(t, x.arrived); why != nil {
			return nil, why
		}
		if x.pool == nil || x.route.spec.Paused && x.drawn != byPreview {
			if why := x.held(ctx, t); why != nil {
				return nil, why
			}
			continue
		}
		p, wants := x.next(x.route, x.arrived, failure{})
		if wants != nil {
			if p, why, again := x.queued(ctx); !again {
				return p, why
			}
			continue
		}
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
		Hint:   "slipway proxy routes lists what is reachable",
	}
}

// choose picks the release: what a preview header asks for, the caller's
// cohort, a target that matches, or else where the split puts the sticky key,
// which is nowhere while no release has weight.
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
	if x.route.cohorts && x.believed {
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
		Hint:   "slipway preview " + x.route.spec.Service + " prints the header while a release is under way",
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
	if x.believed {
		return x.cohort()
	}
	return ""
}

// arrive counts the request in, once.
func (x *passage) arrive() {
	if x.ticket.s != nil {
		return
	}
	if !x.plain {
		x.strike(x.arrived)
	}
	x.begun()
	x.open()
	x.pool.budget.Asked(x.arrived)
}

// remembers says whether the caller is to be given its key as a cookie: while it
// decides about a release, or about a fault.
func (x *passage) remembers() bool {
	return x.who.keep && !x.edge() && (x.route.split || x.e.faults.On(x.route.spec.Name))
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

// blame does not count a request that is late as a whole, which may be a long
// one; what one attempt may take, people have said.
func (x *passage) blame(p *endpoint, why failure) {
	if why.how != unreached && why.how != broken && !errors.Is(why.err, errPerTry) || shortage(why.err) {
		return
	}
	t := x.e.table.Load()
	if r := t.routes[x.route.spec.Name]; r != nil {
		if pool := r.pool(p.release); pool != nil {
			p.failed(why.err, pool.endpoints, r.eject, &x.e.ejecting)
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
// a connection that died before the first byte of an answer, or an attempt that
// took its time, an idempotent one. The latter has cost an instance work, which
// the release's budget of retries bounds. A request that is late by the time of all
// attempts has had them.
func (x *passage) again(ctx context.Context, a attempted) *endpoint {
	switch a.why.how {
	case unreached:
		if !a.untouched {
			return nil
		}
	case broken, late:
		if a.answered || !a.replayable || !idempotent(x.asked.Method()) || a.why.how == late && !errors.Is(a.why.err, errPerTry) {
			return nil
		}
	case finished, cancelled, shed:
		return nil
	}
	p, err := x.seat(ctx, a.why)
	if err != nil {
		return nil
	}
	if p == nil {
		p = x.alone(a)
	}
	if p != nil && a.why.how != unreached && !x.pool.budget.Retry(time.Now(), x.route.share) {
		p.unclaim()
		return nil
	}
	if p != nil {
		x.takes(p, time.Now())
	}
	return p
}

// alone claims the instance of the first attempt once more where there is no
// other: the connection died, perhaps not the instance.
func (x *passage) alone(a attempted) *endpoint {
	last := x.tried[len(x.tried)-1]
	if a.why.how == broken && len(x.tried) == 1 && x.route.attempts > 1 && last.healthy(time.Now()) && last.claim(x.pool.most) {
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
	p := problem{Status: http.StatusBadGateway, Code: "no_connection", Detail: "no instance of " + service + " could be reached", Hint: "slipway proxy routes says why"}
	switch why.how {
	case late:
		p.Status, p.Code, p.Detail = http.StatusGatewayTimeout, "no_answer", service+" gave "+why.err.Error()
	case broken:
		p.Code, p.Detail = "broken_answer", service+" closed the connection without an answer"
	case unreached:
		if len(x.tried) == 0 {
			p.Status = http.StatusServiceUnavailable
		}
		if shortage(why.err) {
			p = problem{
				Status: http.StatusServiceUnavailable, Code: "no_resources", Detail: "the data plane has no means to reach an instance: " + why.err.Error(),
				Hint: "give its process more open files (ulimit -n), memory or ports, or lower data_plane.limits in slipway.yaml",
			}
		}
	case finished, cancelled, shed:
	}
	return p
}

// ended is how a request ended, and how much passed.
type ended struct {
	why     failure
	status  int
	counts  int   // as this status instead, if it is not 0
	field   bool  // by what the answer's body says
	in, out int64 // bytes of the bodies
	head    lines // of the instance's answer, if there was one
}

// fell ends the account of a request that a mistake of ours has ended, if it is
// still open. Nobody is to blame for it.
func (x *passage) fell() {
	if x.admitted && x.ticket.s != nil {
		x.ends(cancelled, 0, 0, 0)
	}
	x.leave()
}

// place is the chosen release's instance that had the request last, or nil.
func (x *passage) place() *endpoint {
	if !x.crossed {
		return x.last
	}
	for _, p := range slices.Backward(x.tried) {
		if p.release == x.pool.spec.Release {
			return p
		}
	}
	return nil
}

// sinceAsked is the time from the last attempt to the head of the answer; negative
// when the chosen release gave none.
func (x *passage) sinceAsked() time.Duration {
	if x.ticket.took < 0 {
		return -1
	}
	return max(0, x.ticket.began.Add(x.ticket.took).Sub(x.since))
}

// close ends the account of the request.
func (x *passage) close(n ended) {
	own := n.why
	x.leave()
	if x.crossed && n.why.how != cancelled {
		n.why = x.first
	}
	if n.why.how == unreached && shortage(n.why.err) {
		n.why.how = cancelled
	}
	if x.ticket.d.places {
		x.ticket.at = x.place()
	}
	x.ticket.field = n.field && n.why.how == finished
	c := x.ends(n.why.how, cmp.Or(n.counts, n.status), n.in, n.out)
	if x.pair != nil {
		x.pair.original(c, x.sinceAsked())
	}
	x.record(n, own, c)
}
