package cli

import (
	"context"
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
	Draining    []traffic.EndpointState `json:"draining"`         // left the table, still answer requests
	Faults      []traffic.FaultState    `json:"faults,omitempty"` // in force now
	Started     time.Time               `json:"started"`          // of the process: from then on listeners count what they refuse
}

type listenerView struct {
	traffic.ListenerState
	Caller string      `json:"caller,omitempty"` // service that calls through it
	Routes []routeView `json:"routes"`
}

type routeView struct {
	Name  string     `json:"name"`
	At    []string   `json:"at"`             // host and path
	Held  int        `json:"held,omitempty"` // requests that wait for a release to serve them
	Pools []poolView `json:"pools"`
}

type poolView struct {
	Release   delivery.ReleaseID      `json:"release"`
	Version   string                  `json:"version"`
	Weight    delivery.Weight         `json:"weight"`
	Healthy   int                     `json:"healthy"`
	InFlight  int                     `json:"in_flight"`
	Waiting   int                     `json:"waiting,omitempty"`   // requests in the queue for its instances
	Rate      float64                 `json:"requests_per_second"` // over the last 10 s
	Errors    uint64                  `json:"errors"`              // of the last 10 s: 5xx, no connection, no answer, broken off
	Requests  uint64                  `json:"requests"`            // of the last 10 s
	Endpoints []traffic.EndpointState `json:"endpoints"`
}

func (s *session) proxyRoutes(o *planeOptions) *cobra.Command {
	endpoints := false
	cmd := &cobra.Command{
		Use: "routes", Short: "What the data plane routes, where to, and how it goes", Args: none,
		Long: "Lists each address and what is reached there: the releases behind it with their weight,\n" +
			"healthy of all endpoints, requests in flight, and requests and errors of the last 10 s.\n" +
			"Below stands what is not as it should be: instances that get no requests, requests that\n" +
			"wait or are refused, certificates, faults.",
		Example: "  slipway proxy routes\n  slipway proxy routes --endpoints\n  slipway proxy routes -o json\n  slipway proxy routes --socket ./proxy.sock",
		RunE: func(cmd *cobra.Command, _ []string) error {
			plane, err := s.plane(o)
			if err != nil {
				return err
			}
			v, err := viewOf(cmd.Context(), plane)
			if err != nil {
				return absence(err)
			}
			return s.show(v, func() string { return s.routesText(v, endpoints) }, v.names)
		},
	}
	cmd.Flags().BoolVar(&endpoints, "endpoints", false, "list every endpoint, the healthy ones too")
	return cmd
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
	v := planeView{Generation: state.Generation, PID: state.PID, Version: state.Version, Predecessor: state.Predecessor, Listeners: []listenerView{}, Draining: state.Draining, Faults: state.Faults, Started: state.Started}
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
				lv.Routes = append(lv.Routes, routeView{Name: r.Name, At: places(l, r), Held: routes[r.Name].Held, Pools: poolsOf(r, routes[r.Name], counted)})
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
			v.Healthy, v.Waiting, v.Endpoints = ps.Healthy, ps.Waiting, ps.Endpoints
			for _, e := range ps.Endpoints {
				v.InFlight += e.InFlight
			}
		}
		out = append(out, v)
	}
	return out
}
