package traffic

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Validate refuses a table that does not add up. The error is a
// *delivery.FieldError that names the listener, route or pool and what is wrong
// with it. Every weight lies within 0 and delivery.Full and a route's weights
// sum to Full or, while nothing of it is live yet, to 0; a pool with weight has
// an endpoint (a dead one counts: the engine routes around it); names, listen
// addresses, public host and path pairs, and endpoints are each used once. The
// words of package delivery hold by its own checks.
func (t Table) Validate() error {
	if t.Generation <= 0 {
		return delivery.Invalid("generation", fmt.Sprintf("is %d; the first table is generation 1", t.Generation))
	}
	v := validation{routes: map[string]bool{}, public: map[string]string{}, endpoints: map[string]string{}, addrs: map[string]string{}}
	for i := range t.Routes {
		if err := v.route(&t.Routes[i]); err != nil {
			return err
		}
	}
	return cmp.Or(t.Plane.Check("plane"), v.listeners(t.Listeners))
}

// validation remembers what was seen, to refuse it the second time.
type validation struct {
	routes    map[string]bool
	public    map[string]string // env, host and path -> route
	endpoints map[string]string // ID -> route
	addrs     map[string]string // endpoint address -> ID
}

func (v *validation) route(r *Route) error {
	field := "route " + r.Name
	switch {
	case r.Name == "":
		return delivery.Invalid("routes", "a route has no name")
	case v.routes[r.Name]:
		return delivery.Invalid(field, "is there twice")
	}
	v.routes[r.Name] = true
	if err := cmp.Or(r.Check(field+" traffic"), v.reach(r, field)); err != nil {
		return err
	}
	var sum delivery.Weight
	releases := map[delivery.ReleaseID]bool{}
	for i := range r.Pools {
		p := &r.Pools[i]
		pool := field + " pool " + string(p.Release)
		switch {
		case p.Release == "":
			return delivery.Invalid(field, "a pool names no release")
		case releases[p.Release]:
			return delivery.Invalid(pool, "is there twice")
		case p.Weight < 0 || p.Weight > delivery.Full:
			return delivery.Invalid(pool, "weight "+p.Weight.String()+" is outside 0 % to 100 %")
		case p.Weight > 0 && len(p.Endpoints) == 0:
			return delivery.InvalidNext(pool, "has weight "+p.Weight.String()+" but no endpoint", "start an instance first, or give the pool weight 0")
		}
		releases[p.Release] = true
		sum += p.Weight
		if err := v.pool(p, pool, r.Name); err != nil {
			return err
		}
	}
	if sum != delivery.Full && sum != 0 {
		return delivery.Invalid(field, "its weights add up to "+sum.String()+", not 100 %")
	}
	return aims(r, field, releases)
}

// aims checks where targets and the mirror lead.
func aims(r *Route, field string, releases map[delivery.ReleaseID]bool) error {
	for _, t := range r.Targets {
		at := field + " target " + t.Name
		if !releases[t.Release] {
			return delivery.Invalid(at, "leads to release "+string(t.Release)+", which has no pool")
		}
		if err := (delivery.Target{Name: t.Name, When: t.When, To: string(t.Release)}).Check(at); err != nil {
			return err
		}
	}
	m := r.Mirror
	if m == nil {
		return nil
	}
	if !releases[m.Release] {
		return delivery.Invalid(field+" mirror", "copies to release "+string(m.Release)+", which has no pool")
	}
	return delivery.Mirror{To: string(m.Release), Share: m.Share, Unsafe: m.Unsafe, MaxBody: m.MaxBody}.Check(field + " mirror")
}

// reach checks how a route is found on a public listener.
func (v *validation) reach(r *Route, field string) error {
	for _, p := range r.Paths {
		if !strings.HasPrefix(p, "/") {
			return delivery.Invalid(field+" path "+p, "does not begin with /")
		}
	}
	for _, h := range slices.Concat(r.Own, r.Hosts) {
		if name, below := strings.CutPrefix(h, "*."); name != strings.ToLower(name) || strings.ContainsAny(name, ":/ *") || strings.HasSuffix(name, ".") || below && name == "" {
			return delivery.Invalid(field+" host "+h, "is not a lower-case host name without port, nor *. before one")
		}
	}
	conditions, err := json.Marshal(r.Match)
	if err != nil {
		return err
	}
	for _, at := range r.Reaches() {
		key := r.Env + " " + at.Host + " " + strings.TrimRight(at.Path, "/") + " " + string(conditions)
		if other, taken := v.public[key]; taken && other != r.Name {
			return delivery.Invalid(field, fmt.Sprintf("answers host %q path %q, and so does route %s", at.Host, at.Path, other))
		}
		v.public[key] = r.Name
	}
	return nil
}

func (v *validation) pool(p *Pool, field, route string) error {
	c := p.Check
	switch {
	case c.HTTP != "" && c.GRPC != nil:
		return delivery.Invalid(field+" check", "has both a path and a gRPC service")
	case c.HTTP != "" && !strings.HasPrefix(c.HTTP, "/"):
		return delivery.Invalid(field+" check", "path "+c.HTTP+" does not begin with /")
	case c.Interval < 0 || c.Timeout < 0 || c.Rise < 0 || c.Fall < 0:
		return delivery.Invalid(field+" check", "has a negative number")
	case c.Interval > 0 && c.Interval < time.Millisecond:
		return delivery.Invalid(field+" check", "has an interval below 1 ms")
	case p.Drain < 0:
		return delivery.Invalid(field+" drain", "is negative")
	case p.Protocol != delivery.HTTP1 && p.Protocol != delivery.H2C:
		return delivery.InvalidNext(field+" protocol", fmt.Sprintf("%q is not known", p.Protocol), "leave it out for HTTP/1.1, or say h2c for HTTP/2 and gRPC")
	}
	for _, e := range p.Endpoints {
		if e.ID == "" {
			return delivery.Invalid(field, "an endpoint has no id")
		}
		if err := address(e.Addr); err != nil {
			return delivery.Invalid(field+" endpoint "+e.ID, err.Error())
		}
		if other, taken := v.endpoints[e.ID]; taken {
			return delivery.Invalid(field+" endpoint "+e.ID, "is already an endpoint of route "+other)
		}
		if other, taken := v.addrs[e.Addr]; taken {
			return delivery.Invalid(field+" endpoint "+e.ID, "has the address "+e.Addr+" of endpoint "+other)
		}
		v.endpoints[e.ID], v.addrs[e.Addr] = route, e.ID
	}
	return nil
}

func (v *validation) listeners(all []Listener) error {
	names, addrs := map[string]bool{}, map[string]string{}
	for _, l := range all {
		field := "listener " + l.Name
		switch {
		case l.Name == "":
			return delivery.Invalid("listeners", "a listener has no name")
		case names[l.Name]:
			return delivery.Invalid(field, "is there twice")
		case l.Only != "" && !v.routes[l.Only]:
			return delivery.Invalid(field, "leads to route "+l.Only+", which is not in the table")
		case l.Only == "" && l.Caller != "":
			return delivery.Invalid(field, "names the caller "+l.Caller+" but not the one route it leads to")
		}
		if err := address(l.Addr); err != nil {
			return delivery.Invalid(field, err.Error())
		}
		if other, taken := addrs[l.Addr]; taken {
			return delivery.Invalid(field, "has the address "+l.Addr+" of listener "+other)
		}
		if l.TLS != nil {
			if err := l.TLS.Check(field + " tls"); err != nil {
				return err
			}
		}
		names[l.Name], addrs[l.Addr] = true, l.Name
	}
	return nil
}

// address accepts host:port with a port from 1 to 65535.
func address(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q is not host:port", addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("address %q has no port from 1 to 65535", addr)
	}
	return nil
}

// Reach is one place at which a public listener leads to a route.
type Reach struct {
	Host string // "" is any
	Path string // prefix
}

// Reaches lists where the public listeners of its environment lead to a route.
// One without hosts and paths is reached through edges only.
func (r *Route) Reaches() []Reach {
	var out []Reach
	for _, h := range r.Own {
		out = append(out, Reach{h, "/"})
	}
	hosts, paths := r.Hosts, r.Paths
	if len(hosts) == 0 && len(paths) > 0 {
		hosts = []string{""}
	}
	if len(paths) == 0 {
		paths = []string{"/"}
	}
	for _, h := range hosts {
		for _, p := range paths {
			out = append(out, Reach{h, p})
		}
	}
	return out
}
