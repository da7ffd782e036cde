package proxy

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// table is a compiled traffic.Table: immutable, read without locks, swapped whole.
type table struct {
	spec      traffic.Table
	body      []byte // spec as JSON: what is on disk, and what tells "again" from "other"
	routes    map[string]*route
	listeners map[string]*listener // by address
	endpoints map[endpointKey]*endpoint
}

type endpointKey struct{ id, addr string }

// route is one service's traffic in one environment.
type route struct {
	spec    *traffic.Route
	pools   []*pool
	split   bool // more than one release has weight
	timeout time.Duration
}

// pool is one release's endpoints behind a route, and its counts by caller.
type pool struct {
	spec      *traffic.Pool
	upto      int // callers whose bucket lies below, and not below that of the pool before
	endpoints []*endpoint
	series    map[string]*series
}

// listener says which routes an address leads to.
type listener struct {
	spec  traffic.Listener
	only  *route
	hosts map[string][]prefix // "" is any host; longest prefix first
}

type prefix struct {
	path  string
	route *route
}

// builder makes the parts that outlive one table.
type builder struct {
	endpoint func(spec traffic.Endpoint, release delivery.ReleaseID) *endpoint
	series   func(route string, release delivery.ReleaseID, caller string) *series
}

const defaultTimeout = 60 * time.Second

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
	}
	callers := map[string][]string{}
	for _, l := range spec.Listeners {
		if l.Only != "" && !slices.Contains(callers[l.Only], l.Caller) {
			callers[l.Only] = append(callers[l.Only], l.Caller)
		}
	}
	for i := range spec.Routes {
		r := t.route(&spec.Routes[i], old, b)
		for _, p := range r.pools {
			for _, c := range append([]string{"", traffic.PreviewCaller}, callers[r.spec.Name]...) {
				p.series[c] = b.series(r.spec.Name, p.spec.Release, c)
			}
		}
		t.routes[r.spec.Name] = r
	}
	for _, l := range spec.Listeners {
		t.listeners[l.Addr] = t.listener(l)
	}
	return t, nil
}

func (t *table) route(spec *traffic.Route, old *table, b builder) *route {
	r := &route{spec: spec, timeout: spec.Timeout}
	if r.timeout == 0 {
		r.timeout = defaultTimeout
	}
	upto, live := 0, 0
	for i := range spec.Pools {
		ps := &spec.Pools[i]
		upto += int(ps.Weight)
		if ps.Weight > 0 {
			live++
		}
		p := &pool{spec: ps, upto: upto, series: map[string]*series{}}
		for _, es := range ps.Endpoints {
			key := endpointKey{es.ID, es.Addr}
			e := old.endpoint(key, ps.Release)
			if e == nil {
				e = b.endpoint(es, ps.Release)
			}
			t.endpoints[key] = e
			p.endpoints = append(p.endpoints, e)
		}
		r.pools = append(r.pools, p)
	}
	r.split = live > 1
	return r
}

func (t *table) endpoint(key endpointKey, release delivery.ReleaseID) *endpoint {
	if t == nil {
		return nil
	}
	if e := t.endpoints[key]; e != nil && e.release == release {
		return e
	}
	return nil
}

// listener resolves an address's routes; public ones by host and path.
func (t *table) listener(spec traffic.Listener) *listener {
	l := &listener{spec: spec, hosts: map[string][]prefix{}}
	if spec.Only != "" {
		l.only = t.routes[spec.Only]
		return l
	}
	for i := range t.spec.Routes {
		r := t.routes[t.spec.Routes[i].Name]
		if r.spec.Env != spec.Env {
			continue
		}
		for _, at := range r.spec.Reaches() {
			l.hosts[at.Host] = append(l.hosts[at.Host], prefix{strings.TrimRight(at.Path, "/"), r})
		}
	}
	for _, prefixes := range l.hosts {
		slices.SortFunc(prefixes, func(a, b prefix) int { return len(b.path) - len(a.path) })
	}
	return l
}

// match finds the route of a request: the edge's only one; else the exact host,
// then any host; within it the longest path prefix that ends on a segment border.
func (l *listener) match(hostport, urlPath string) *route {
	if l.spec.Only != "" {
		return l.only
	}
	clean := urlPath
	if strings.Contains(clean, "/.") || strings.Contains(clean, "//") {
		clean = path.Clean(clean) // a service may resolve dots too: both must mean the same route
	}
	if r := longest(l.hosts[hostOf(hostport)], clean); r != nil {
		return r
	}
	return longest(l.hosts[""], clean)
}

func longest(prefixes []prefix, urlPath string) *route {
	for _, p := range prefixes {
		if strings.HasPrefix(urlPath, p.path) && (len(urlPath) == len(p.path) || urlPath[len(p.path)] == '/') {
			return p.route
		}
		if p.path == "" {
			return p.route // "*" of OPTIONS
		}
	}
	return nil
}

// hostOf returns a Host header's name in lower case, without port and final dot.
func hostOf(hostport string) string {
	host := hostport
	if strings.Contains(hostport, ":") {
		if h, _, err := net.SplitHostPort(hostport); err == nil {
			host = h
		}
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
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

// preview returns the pool that a preview header asks for, or nil.
func (r *route) preview(want string) *pool {
	if r.spec.Preview == "" {
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

// pick returns the less loaded of two random healthy endpoints that were not
// tried yet, or nil.
func (p *pool) pick(now time.Time, tried []*endpoint) *endpoint {
	return pickFrom(p.endpoints, func(e *endpoint) bool { return e.healthy(now) && !slices.Contains(tried, e) })
}

// pickAny ignores health: a check alone must not turn a pool into an outage.
func (p *pool) pickAny(tried []*endpoint) *endpoint {
	return pickFrom(p.endpoints, func(e *endpoint) bool { return !slices.Contains(tried, e) })
}

func pickFrom(all []*endpoint, ok func(*endpoint) bool) *endpoint {
	var a, b *endpoint // a uniform sample of two
	seen := 0
	for _, e := range all {
		if !ok(e) {
			continue
		}
		seen++
		switch {
		case a == nil:
			a = e
		case b == nil:
			b = e
		default:
			if i := rand.IntN(seen); i == 0 {
				a = e
			} else if i == 1 {
				b = e
			}
		}
	}
	if b == nil {
		return a
	}
	na, nb := a.inFlight(), b.inFlight()
	if nb < na || nb == na && rand.IntN(2) == 0 {
		return b
	}
	return a
}

// same says whether t was compiled from the same table.
func (t *table) same(body []byte) bool { return bytes.Equal(t.body, body) }

// state says what is in force.
func (t *table) state(now time.Time) []traffic.RouteState {
	out := make([]traffic.RouteState, 0, len(t.spec.Routes))
	for i := range t.spec.Routes {
		r := t.routes[t.spec.Routes[i].Name]
		s := traffic.RouteState{Name: r.spec.Name, Gen: r.spec.Gen, Preview: r.spec.Preview, Split: []delivery.Share{}, Pools: []traffic.PoolState{}}
		for _, p := range r.pools {
			s.Split = append(s.Split, delivery.Share{Release: p.spec.Release, Weight: p.spec.Weight})
			ps := traffic.PoolState{Release: p.spec.Release, Endpoints: []traffic.EndpointState{}}
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
