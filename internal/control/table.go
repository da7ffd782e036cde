package control

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// table builds all that the data plane routes by: one listener an environment,
// one an edge, one route a service and environment.
func (l *Loop) table(v *view, edges map[string]int, wanted map[workload.ID]workload.Spec) traffic.Table {
	t := traffic.Table{Plane: v.Project.DataPlane, PreviewKey: l.d.PreviewKey}
	l.traced(v, &t)
	for _, env := range v.Project.Environments {
		t.Listeners = append(t.Listeners, traffic.Listener{Name: env.Name, Addr: env.Listen, Env: env.Name, TLS: env.TLS})
		for _, svc := range v.Project.Services {
			t.Routes = append(t.Routes, v.tableRoute(env.Name, svc, wanted))
		}
	}
	each(v.Project, func(env, caller, callee string) {
		name := edgeName(env, caller, callee)
		t.Listeners = append(t.Listeners, traffic.Listener{
			Name: name, Addr: "127.0.0.1:" + strconv.Itoa(edges[name]), Env: env, Caller: caller, Only: routeName(env, callee),
		})
	})
	return t
}

func (v *view) tableRoute(env string, svc delivery.Service, wanted map[workload.ID]workload.Spec) traffic.Route {
	r := traffic.Route{Name: routeName(env, svc.Name), Env: env, Service: svc.Name, Own: []string{svc.Name + ".localhost"}, Hosts: svc.Public.Hosts, Paths: svc.Public.Paths, Traffic: svc.Traffic}
	for _, n := range svc.Run.Needs {
		if c, ok := v.underWay(env, n.Service); ok && c.From != "" && c.From != c.To {
			r.Arms = append(r.Arms, routeName(env, n.Service)) // what is bad with it may show here
		}
	}
	row, ok := v.routeRow(env, svc.Name)
	if !ok {
		return r
	}
	r.Gen, r.Salt, r.Preview = row.Gen, row.Salt, cmp.Or(row.Preview, v.candidate(env, svc.Name))
	for _, share := range row.Split {
		rel, known := v.Releases[share.Release]
		if !known {
			continue
		}
		pool := traffic.Pool{
			Release: rel.ID, Version: rel.Version, Weight: share.Weight, Protocol: rel.Run.Protocol,
			Check: check(rel.Run.Health), Drain: rel.Run.Stop.Drain,
		}
		for _, s := range v.statuses {
			if _, ok := wanted[s.Spec.ID]; ok && s.Spec.Env == env && s.Spec.Service == svc.Name && s.Spec.Release == rel.ID && v.eligible(s) && !v.usurped(s) {
				pool.Endpoints = append(pool.Endpoints, traffic.Endpoint{ID: string(s.Spec.ID), Addr: s.Addr})
			}
		}
		slices.SortFunc(pool.Endpoints, func(a, b traffic.Endpoint) int { return strings.Compare(a.ID, b.ID) })
		r.Pools = append(r.Pools, pool)
	}
	rescue(r.Pools)
	v.aim(&r, svc)
	if r.Hold.For == 0 && v.recreates(env, svc.Name) {
		r.Hold.For = recreateHold
	}
	return r
}

// recreateHold is how long a request waits between the old and the new release
// of a recreate, where the service does not say: longer than most programs take
// to stop and start, and shorter than callers give up in.
const recreateHold = 10 * time.Second

// recreates says whether a rollout is under way that stops the old release
// before it starts the new one.
func (v *view) recreates(env, service string) bool {
	r, ok := v.underWay(env, service)
	return ok && r.From != "" && r.Plan.Strategy == delivery.Recreate
}

// underWay is the rollout that owns a route now.
func (v *view) underWay(env, service string) (delivery.Rollout, bool) {
	i := slices.IndexFunc(v.open, func(r delivery.Rollout) bool { return r.Env == env && r.Service == service && r.State.Active() })
	if i < 0 {
		return delivery.Rollout{}, false
	}
	return v.open[i], true
}

// aim turns what targets and the mirror of a service are aimed at into releases
// of the route. What is not there now is left out until it is.
func (v *view) aim(r *traffic.Route, svc delivery.Service) {
	for _, t := range svc.Targets {
		if id, ok := v.aimed(r, t.To); ok {
			r.Targets = append(r.Targets, traffic.Target{Name: t.Name, When: t.When, Release: id})
		}
	}
	if m := svc.Mirror; m != nil {
		if id, ok := v.aimed(r, m.To); ok {
			r.Mirror = &traffic.Mirror{Release: id, Share: m.Share, Unsafe: m.Unsafe, MaxBody: m.MaxBody}
		}
	}
}

// aimed finds the release of a route that a target or a mirror leads to, if it
// has instances.
func (v *view) aimed(r *traffic.Route, to string) (delivery.ReleaseID, bool) {
	var id delivery.ReleaseID
	stable, known := promotion.World{Stables: v.Stables}.Stable(r.Service, r.Env)
	switch {
	case to == delivery.TargetStable:
		id = stable.Release
	case to == delivery.TargetCandidate && known:
		id = v.candidate(r.Env, r.Service)
	}
	i := slices.IndexFunc(r.Pools, func(p traffic.Pool) bool {
		return (p.Release == id || p.Version == to) && len(p.Endpoints) > 0
	})
	if i < 0 {
		return "", false
	}
	return r.Pools[i].Release, true
}

// candidate is what a rollout under way brings in, and not what one left behind
// or takes back; "" if there is none.
func (v *view) candidate(env, service string) delivery.ReleaseID {
	r, ok := v.underWay(env, service)
	if !ok || r.State == delivery.Reverting || r.To == r.From {
		return ""
	}
	return r.To
}

// eligible says whether an instance may get requests. One that was ready and is
// in trouble stays: the data plane checks it itself, and knows sooner.
func (v *view) eligible(s workload.Status) bool {
	switch s.Phase {
	case workload.Ready, workload.Unready:
		return s.Addr != ""
	case workload.Starting, workload.Backoff:
		for _, rs := range v.traffic.Routes {
			for _, p := range rs.Pools {
				for _, e := range p.Endpoints {
					if e.ID == string(s.Spec.ID) && e.Addr == s.Addr {
						return true
					}
				}
			}
		}
		return false
	case workload.Stopping, workload.Stopped:
		return false
	}
	return false
}

// usurped says whether an instance that is down remembers a port that another
// one serves on by now.
func (v *view) usurped(s workload.Status) bool {
	if s.Phase == workload.Ready {
		return false
	}
	return slices.ContainsFunc(v.statuses, func(o workload.Status) bool {
		return o.Addr == s.Addr && o.Spec.ID != s.Spec.ID && o.Phase != workload.Stopped && (o.Phase == workload.Ready || o.Spec.ID < s.Spec.ID)
	})
}

// rescue takes the weight of pools that nobody is in and gives it to the last
// pool with instances and weight, so that no weight ever points into the void.
// With nobody anywhere the route is dark, and the data plane says so.
func rescue(pools []traffic.Pool) {
	var lost delivery.Weight
	heir := -1
	for i, p := range pools {
		if len(p.Endpoints) == 0 {
			lost += p.Weight
			pools[i].Weight = 0
		} else if p.Weight > 0 {
			heir = i
		}
	}
	switch {
	case lost == 0:
	case heir >= 0:
		pools[heir].Weight += lost
	default:
		for i := range pools {
			pools[i].Weight = 0
		}
	}
}

// check is how the data plane checks an instance. A command cannot be run from
// there, so it opens a connection instead; the workload runs the command.
func check(h delivery.Health) traffic.Check {
	return traffic.Check{HTTP: h.HTTP, GRPC: h.GRPC, Interval: h.Interval, Timeout: h.Timeout, Rise: h.Rise, Fall: h.Fall}
}

// sameTable compares all but the generation.
func sameTable(a, b traffic.Table) bool {
	a.Generation, b.Generation = 0, 0
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
