package proxy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/field"
	"github.com/slipway-cd/slipway/internal/proxy/forward"
	"github.com/slipway-cd/slipway/internal/proxy/limit"
	"github.com/slipway-cd/slipway/internal/proxy/match"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// table is a compiled traffic.Table: immutable, read without locks, swapped whole.
type table struct {
	spec      traffic.Table
	body      []byte // spec as JSON: what is on disk, and what tells "again" from "other"
	routes    map[string]*route
	listeners map[string]*listener // by address
	endpoints map[endpointKey]*endpoint
	recording recording
	limits    delivery.PlaneLimits // no field is zero
	trust     forward.Trust        // of public listeners
	acme      bool                 // a listener gets its certificates by ACME
	plainAddr string               // of the first public listener without TLS
}

type endpointKey struct{ id, addr string }

// route is one service's traffic in one environment.
type route struct {
	spec    *traffic.Route
	pools   []*pool
	when    match.When // of its public listener
	targets []target
	split   bool       // more than one release has weight
	cohorts bool       // a pool is one
	plain   bool       // nothing of it needs the full path
	live    bool       // some release has weight
	memory  *offenders // nil unless split
	arms    []arm
	field   field.Path // of answers, that tells of a failure; nil is none
	care
	idle time.Duration // of a body
}

// target is traffic.Target, compiled.
type target struct {
	caller string // under which its requests are counted
	when   match.When
	pool   *pool
}

// pool is one release's endpoints behind a route, and its counts by caller.
type pool struct {
	spec      *traffic.Pool
	upto      int // callers whose bucket lies below, and not below that of the pool before
	endpoints []*endpoint
	series    map[string]*series
	slow      time.Duration // delivery.Traffic.SlowStart
	most      int           // requests at one endpoint at a time; 0 is any number
	queue     *limit.Queue  // of requests that wait for a slot; nil when most is 0
	bound     limit.Bound   // of queue
	budget    *limit.Budget // of retries

	drawn  draw // requests that the split gave it
	struck draw // of them, those that bear a fault
	aside  draw // requests that come to it another way
}

// builder makes the parts that outlive one table.
type builder struct {
	endpoint func(spec traffic.Endpoint, p *traffic.Pool) *endpoint
	series   func(route *traffic.Route, pool *traffic.Pool, caller string) *series
	lost     *atomic.Uint64 // offenders that there is no room for
	files    int            // that may be open
}

// compile builds the table that routes by spec. Parts that old has too are
// taken over from it by pointer.
func compile(spec traffic.Table, old *table, b builder) (*table, error) {
	body, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	t := &table{
		spec: spec, body: body,
		routes:    make(map[string]*route, len(spec.Routes)),
		listeners: make(map[string]*listener, len(spec.Listeners)),
		endpoints: map[endpointKey]*endpoint{},
		recording: recordingOf(spec),
		limits:    limitsOf(spec.Plane.Limits, b.files),
	}
	if t.trust, err = forward.Compile(spec.Plane.Trusted); err != nil {
		return nil, delivery.Invalid("plane.trusted", err.Error())
	}
	t.foundations()
	callers := map[string][]string{}
	for _, l := range spec.Listeners {
		if l.Only != "" && !slices.Contains(callers[l.Only], l.Caller) {
			callers[l.Only] = append(callers[l.Only], l.Caller)
		}
	}
	for i := range spec.Routes {
		r := t.compileRoute(&spec.Routes[i], old, b)
		if err := r.aim(); err != nil {
			return nil, err
		}
		for _, p := range r.pools {
			for _, c := range slices.Concat([]string{"", traffic.PreviewCaller, traffic.CohortCaller}, r.targetCallers(), callers[r.spec.Name]) {
				p.series[c] = b.series(r.spec, p.spec, c)
			}
		}
		if m := r.spec.Mirror; m != nil {
			if p := r.pool(m.Release); p != nil {
				p.series[traffic.MirrorCaller] = b.series(r.spec, p.spec, traffic.MirrorCaller)
			}
		}
		t.routes[r.spec.Name] = r
	}
	for _, r := range t.routes {
		r.arms = t.armsOf(r, old.route(r.spec.Name), b)
	}
	for _, l := range spec.Listeners {
		t.listeners[l.Addr] = t.listener(l)
	}
	return t, nil
}

func (t *table) compileRoute(spec *traffic.Route, old *table, b builder) *route {
	before := old.route(spec.Name)
	r := &route{spec: spec, field: field.Parse(spec.ErrorField), care: careFor(spec, before), idle: cmp.Or(spec.Idle, defaultIdle)}
	upto, live := 0, 0
	for i := range spec.Pools {
		ps := &spec.Pools[i]
		upto += int(ps.Weight)
		if ps.Weight > 0 {
			live++
		}
		p := &pool{
			spec: ps, upto: upto, series: map[string]*series{}, slow: spec.SlowStart, most: spec.Limits.InFlight,
			queue: queueFor(spec, ps.Release, before), bound: limit.Bound{Max: spec.Limits.Queue, Wait: spec.Limits.Wait},
			budget: budgetFor(ps.Release, before),
		}
		for _, es := range ps.Endpoints {
			key := endpointKey{es.ID, es.Addr}
			e := old.endpoint(key, ps)
			if e == nil {
				e = b.endpoint(es, ps)
			}
			t.endpoints[key] = e
			p.endpoints = append(p.endpoints, e)
		}
		r.pools = append(r.pools, p)
		r.cohorts = r.cohorts || ps.Cohort != ""
	}
	r.split, r.live = live > 1, live > 0
	r.draws(before, b)
	r.plain = spec.Mirror == nil && r.field == nil && !spec.Paused && spec.Hold.For == 0 && r.perTry == 0 &&
		!slices.ContainsFunc(spec.Pools, func(p traffic.Pool) bool { return p.Protocol != delivery.HTTP1 })
	return r
}

// aim compiles the route's conditions and its targets.
func (r *route) aim() (err error) {
	field := "route " + r.spec.Name
	if r.when, err = match.Compile(field, r.spec.Match); err != nil {
		return err
	}
	for _, spec := range r.spec.Targets {
		when, err := match.Compile(field+" target "+spec.Name, spec.When)
		if err != nil {
			return err
		}
		p := r.pool(spec.Release)
		if p == nil {
			return delivery.Invalid(field+" target "+spec.Name, "leads to release "+string(spec.Release)+", which has no pool")
		}
		r.targets = append(r.targets, target{caller: traffic.TargetCaller + spec.Name + ")", when: when, pool: p})
	}
	return nil
}

func (r *route) targetCallers() []string {
	var out []string
	for i := range r.targets {
		out = append(out, r.targets[i].caller)
	}
	return out
}

// target returns the first target that a request matches, or nil. One whose
// release has no instance is as good as not there.
func (r *route) target(a asked) *target {
	for i := range r.targets {
		if t := &r.targets[i]; len(t.pool.endpoints) > 0 && t.when.Holds(a) {
			return t
		}
	}
	return nil
}

// cohort returns the pool of a cohort, if it has an instance, or nil.
func (r *route) cohort(name string) *pool {
	for _, p := range r.pools {
		if p.spec.Cohort == name && len(p.endpoints) > 0 {
			return p
		}
	}
	return nil
}

// route returns a route of a table, which may be nil, by its name.
func (t *table) route(name string) *route {
	if t == nil {
		return nil
	}
	return t.routes[name]
}

func (t *table) endpoint(key endpointKey, p *traffic.Pool) *endpoint {
	if t == nil {
		return nil
	}
	if e := t.endpoints[key]; e != nil && e.release == p.Release && e.protocol == p.Protocol {
		return e
	}
	return nil
}

// choose returns the pool a bucket falls into, or nil when nothing has weight.
// Pools stand in the order of the table, candidates first: a growing weight of
// the first one only moves its upper border, so callers are only added, and a
// shrinking one only gives them back.
func (r *route) choose(bucket int) *pool {
	for _, p := range r.pools {
		if bucket < p.upto {
			return p
		}
	}
	return nil
}

// preview returns the pool that a preview asks for, or nil.
func (r *route) preview(want string) *pool {
	if r.spec.Preview == "" || want == "" {
		return nil
	}
	for _, p := range r.pools {
		if p.spec.Release == r.spec.Preview && (want == string(p.spec.Release) || want == p.spec.Version) {
			return p
		}
	}
	return nil
}

func (r *route) pool(release delivery.ReleaseID) *pool {
	for _, p := range r.pools {
		if p.spec.Release == release {
			return p
		}
	}
	return nil
}

// stable returns the pool that saves callers of a candidate that is down: the
// last one, if it has weight. A pool without weight never gets a caller.
func (r *route) stable() *pool {
	if n := len(r.pools); n > 0 && r.pools[n-1].spec.Weight > 0 {
		return r.pools[n-1]
	}
	return nil
}

// same says whether t was compiled from the same table.
func (t *table) same(body []byte) bool { return bytes.Equal(t.body, body) }

// state says what is in force.
func (t *table) state(now time.Time) []traffic.RouteState {
	out := make([]traffic.RouteState, 0, len(t.spec.Routes))
	for i := range t.spec.Routes {
		r := t.routes[t.spec.Routes[i].Name]
		troubled, forgotten := r.memory.size()
		s := traffic.RouteState{Troubled: troubled, Forgotten: forgotten, Name: r.spec.Name, Gen: r.spec.Gen, Preview: r.spec.Preview, Held: r.hold.Waiting(), Split: []delivery.Share{}, Pools: []traffic.PoolState{}}
		for _, p := range r.pools {
			s.Split = append(s.Split, delivery.Share{Release: p.spec.Release, Weight: p.spec.Weight})
			ps := traffic.PoolState{Release: p.spec.Release, Endpoints: []traffic.EndpointState{}}
			if p.queue != nil {
				ps.Waiting = p.queue.Waiting()
			}
			for _, e := range p.endpoints {
				es := e.state(now)
				if es.Healthy {
					ps.Healthy++
				}
				ps.Endpoints = append(ps.Endpoints, es)
			}
			s.Pools = append(s.Pools, ps)
		}
		out = append(out, s)
	}
	return out
}
