package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
)

// rateSpan is over how many whole seconds requests are counted for people.
const rateSpan = 10

// planeView is what "slipway proxy routes -o json" prints.
type planeView struct {
	Generation  int64                   `json:"generation"`
	PID         int                     `json:"pid"`
	Version     string                  `json:"version"`
	Predecessor int                     `json:"predecessor,omitempty"` // pid of one that still finishes requests
	Listeners   []listenerView          `json:"listeners"`
	Draining    []traffic.EndpointState `json:"draining"` // left the table, still answer requests
}

type listenerView struct {
	traffic.ListenerState
	Caller string      `json:"caller,omitempty"` // service that calls through it
	Routes []routeView `json:"routes"`
}

type routeView struct {
	Name  string     `json:"name"`
	At    []string   `json:"at"` // host and path
	Pools []poolView `json:"pools"`
}

type poolView struct {
	Release   delivery.ReleaseID      `json:"release"`
	Version   string                  `json:"version"`
	Weight    delivery.Weight         `json:"weight"`
	Healthy   int                     `json:"healthy"`
	InFlight  int                     `json:"in_flight"`
	Rate      float64                 `json:"requests_per_second"` // over the last 10 s
	Errors    uint64                  `json:"errors"`              // of the last 10 s: 5xx, no connection, no answer, broken off
	Requests  uint64                  `json:"requests"`            // of the last 10 s
	Endpoints []traffic.EndpointState `json:"endpoints"`
}

func (s *session) proxyRoutes(o *planeOptions) *cobra.Command {
	return &cobra.Command{
		Use: "routes", Short: "What the data plane routes, where to, and how it goes", Args: none,
		Long:    "Lists each address and what is reached there: the releases behind it with their weight,\nhealthy of all endpoints, requests in flight, and requests and errors of the last 10 s.",
		Example: "  slipway proxy routes\n  slipway proxy routes -o json\n  slipway proxy routes --socket ./proxy.sock",
		RunE: func(cmd *cobra.Command, _ []string) error {
			plane, err := s.plane(o)
			if err != nil {
				return err
			}
			v, err := viewOf(cmd.Context(), plane)
			if err != nil {
				return absence(err)
			}
			return s.show(v, func() string { return s.routesTable(v) }, v.names)
		},
	}
}

func (v planeView) names() []string {
	var all []string
	for _, l := range v.Listeners {
		for _, r := range l.Routes {
			all = append(all, r.Name)
		}
	}
	return all
}

func viewOf(ctx context.Context, plane *driver.Driver) (planeView, error) {
	state, err := plane.State(ctx)
	if err != nil {
		return planeView{}, err
	}
	table, err := plane.Table(ctx)
	if err != nil {
		return planeView{}, err
	}
	counted, err := lately(ctx, plane, time.Now())
	if err != nil {
		return planeView{}, err
	}
	return combine(state, table, counted), nil
}

// combine puts together what is known of each route.
func combine(state traffic.State, table traffic.Table, counted map[poolKey]tally) planeView {
	v := planeView{Generation: state.Generation, PID: state.PID, Version: state.Version, Predecessor: state.Predecessor, Listeners: []listenerView{}, Draining: state.Draining}
	routes := map[string]traffic.RouteState{}
	for _, r := range state.Routes {
		routes[r.Name] = r
	}
	said := map[string]traffic.ListenerState{}
	for _, l := range state.Listeners {
		said[l.Addr] = l
	}
	for _, l := range table.Listeners {
		lv := listenerView{ListenerState: said[l.Addr], Caller: l.Caller, Routes: []routeView{}}
		lv.Name, lv.Addr = l.Name, l.Addr
		for _, r := range table.Routes {
			if l.Only == r.Name || l.Only == "" && l.Env == r.Env {
				lv.Routes = append(lv.Routes, routeView{Name: r.Name, At: places(l, r), Pools: poolsOf(r, routes[r.Name], counted)})
			}
		}
		v.Listeners = append(v.Listeners, lv)
	}
	return v
}

// places lists where a route is reached on a listener.
func places(l traffic.Listener, r traffic.Route) []string {
	if l.Only != "" {
		return []string{"every request of " + l.Caller}
	}
	var all []string
	for _, p := range r.Reaches() {
		host, path := p.Host, p.Path
		if host == "" {
			host = "*"
		}
		all = append(all, host+"/"+strings.TrimPrefix(path, "/"))
	}
	return all
}

// poolKey names whom requests are counted for.
type poolKey struct {
	route   string
	release delivery.ReleaseID
}

type tally struct{ requests, errors uint64 }

// lately counts the last whole seconds.
func lately(ctx context.Context, plane *driver.Driver, now time.Time) (map[poolKey]tally, error) {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	from := now.Unix() - rateSpan
	all, heard := map[poolKey]tally{}, false
	err := plane.Watch(watching, from, func(f traffic.Frame) {
		if heard {
			return
		}
		heard = true
		stop()
		for _, b := range f.Blocks {
			if b.Second < from || b.Second >= now.Unix() {
				continue
			}
			k := poolKey{b.Route, b.Release}
			t := all[k]
			t.requests += b.Requests
			t.errors += b.Server + b.Connect + b.Timeout + b.Broken
			all[k] = t
		}
	})
	if !heard {
		return nil, err
	}
	return all, nil
}

func poolsOf(r traffic.Route, seen traffic.RouteState, counted map[poolKey]tally) []poolView {
	out := make([]poolView, 0, len(r.Pools))
	for _, p := range r.Pools {
		n := counted[poolKey{r.Name, p.Release}]
		v := poolView{
			Release: p.Release, Version: p.Version, Weight: p.Weight,
			Rate: float64(n.requests) / rateSpan, Requests: n.requests, Errors: n.errors, Endpoints: []traffic.EndpointState{},
		}
		for _, ps := range seen.Pools {
			if ps.Release != p.Release {
				continue
			}
			v.Healthy, v.Endpoints = ps.Healthy, ps.Endpoints
			for _, e := range ps.Endpoints {
				v.InFlight += e.InFlight
			}
		}
		out = append(out, v)
	}
	return out
}

// routesTable lays the view out for people. A listener, a route and a release
// are named where they begin.
func (s *session) routesTable(v planeView) string {
	rows := [][]string{}
	head := []string{"LISTENS", "AT", "ROUTE", "RELEASE", "WEIGHT", "HEALTHY", "IN FLIGHT", "REQ/S", "ERRORS"}
	for i := range head {
		head[i] = s.look.faint(head[i])
	}
	rows = append(rows, head)
	var bad [][]string
	seen := map[string]bool{}
	for _, l := range v.Listeners {
		listens := l.Addr
		if l.Error != "" {
			listens = s.look.bad("✖ ") + l.Addr
			bad = append(bad, []string{s.look.bad("✖") + " " + l.Addr, "cannot be opened: " + l.Error})
		}
		for _, r := range l.Routes {
			for _, where := range shortList(r.At) {
				rows = append(rows, []string{listens, where, r.Name})
				listens = ""
			}
			last := rows[len(rows)-1]
			if l.Caller != "" && seen[r.Name] {
				continue // its releases are listed already
			}
			seen[r.Name] = true
			for i, p := range r.Pools {
				cells := s.poolCells(p)
				if i == 0 {
					rows[len(rows)-1] = append(last, cells...)
					continue
				}
				rows = append(rows, append([]string{"", "", ""}, cells...))
			}
			bad = append(bad, s.ailing(r)...)
		}
		if len(l.Routes) == 0 {
			rows = append(rows, []string{listens, s.look.faint("nothing")})
		}
	}
	for _, e := range v.Draining {
		bad = append(bad, []string{s.look.sign(signWaits) + " " + e.ID, e.Addr, "has left the table, " + plural(e.InFlight, "request") + " in flight"})
	}
	text := grid("  ", rows)
	if len(v.Listeners) == 0 {
		text = "  – nothing is routed\n"
	}
	if len(bad) > 0 {
		text += "\n" + grid("  ", bad)
	}
	foot := fmt.Sprintf("generation %d, pid %d, version %s", v.Generation, v.PID, v.Version)
	if v.Predecessor != 0 {
		foot += fmt.Sprintf("; pid %d, which served before, finishes its requests", v.Predecessor)
	}
	return text + "\n  " + s.look.faint(foot) + "\n"
}

// mostPlaces is how many places of a route are listed.
const mostPlaces = 4

func shortList(at []string) []string {
	if len(at) == 0 {
		return []string{"nowhere"}
	}
	if len(at) <= mostPlaces {
		return []string{strings.Join(at, " ")}
	}
	return []string{strings.Join(at[:mostPlaces], " ") + fmt.Sprintf(" and %d more", len(at)-mostPlaces)}
}

func (s *session) poolCells(p poolView) []string {
	release := p.Version
	if release != string(p.Release) {
		release += s.look.faint(" " + string(p.Release))
	}
	healthy := fmt.Sprintf("%d/%d", p.Healthy, len(p.Endpoints))
	if p.Healthy < len(p.Endpoints) {
		healthy = s.look.bad(healthy)
	}
	errs := "–"
	if p.Requests > 0 {
		errs = percent(float64(p.Errors) / float64(p.Requests))
		if p.Errors > 0 {
			errs = s.look.bad(errs)
		}
	}
	return []string{release, p.Weight.String(), healthy, fmt.Sprint(p.InFlight), fmt.Sprintf("%.1f", p.Rate), errs}
}

// ailing lists the endpoints of a route that take no requests, and why.
func (s *session) ailing(r routeView) [][]string {
	var rows [][]string
	for _, p := range r.Pools {
		for _, e := range p.Endpoints {
			switch {
			case e.Drained != nil:
				why := "drained by " + e.Drained.By + " " + span(time.Since(e.Drained.At)) + " ago"
				if e.Drained.Why != "" {
					why += ": " + printable(e.Drained.Why)
				}
				rows = append(rows, []string{s.look.sign(signBlocked) + " " + e.ID, e.Addr, why + ", " + plural(e.InFlight, "request") + " in flight"})
			case !e.Healthy:
				rows = append(rows, []string{s.look.bad("✖") + " " + e.ID, e.Addr, printable(e.Why)})
			}
		}
	}
	return rows
}
