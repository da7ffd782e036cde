package traffic_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// notebook is a Driver that writes down what reaches it.
type notebook struct {
	applied []traffic.Table
	err     error
}

func (n *notebook) Apply(_ context.Context, t traffic.Table) error {
	n.applied = append(n.applied, t)
	return n.err
}
func (n *notebook) State(context.Context) (traffic.State, error) { return traffic.State{}, n.err }
func (n *notebook) Watch(context.Context, int64, func(traffic.Frame)) error {
	return n.err
}

func good() traffic.Table {
	return traffic.Table{
		Generation: 3,
		Listeners: []traffic.Listener{
			{Name: "prod", Addr: "127.0.0.1:8080", Env: "prod"},
			{Name: "prod/shop>cart", Addr: "127.0.0.1:20000", Env: "prod", Caller: "shop", Only: "prod/cart"},
		},
		Routes: []traffic.Route{
			{Name: "prod/shop", Env: "prod", Service: "shop", Own: []string{"shop.localhost"}, Paths: []string{"/"}, Pools: []traffic.Pool{
				{Release: "r2", Version: "v2", Weight: 500, Endpoints: []traffic.Endpoint{{ID: "b", Addr: "127.0.0.1:2"}}},
				{Release: "r1", Version: "v1", Weight: 9500, Endpoints: []traffic.Endpoint{{ID: "a", Addr: "127.0.0.1:1"}}},
			}},
			{Name: "prod/cart", Env: "prod", Service: "cart"},
		},
	}
}

func TestRouterRefusesWhatDoesNotAddUp(t *testing.T) {
	for _, c := range []struct {
		field string
		spoil func(*traffic.Table)
	}{
		{"generation", func(t *traffic.Table) { t.Generation = 0 }},
		{"listeners", func(t *traffic.Table) { t.Listeners[0].Name = "" }},
		{"listener prod", func(t *traffic.Table) { t.Listeners[1].Name = "prod" }},
		{"listener prod", func(t *traffic.Table) { t.Listeners[0].Addr = "8080" }},
		{"listener prod", func(t *traffic.Table) { t.Listeners[0].Addr = "127.0.0.1:0" }},
		{"listener prod", func(t *traffic.Table) { t.Listeners[0].Caller = "shop" }},
		{"listener prod/shop>cart", func(t *traffic.Table) { t.Listeners[1].Addr = t.Listeners[0].Addr }},
		{"listener prod/shop>cart", func(t *traffic.Table) { t.Listeners[1].Only = "prod/gone" }},
		{"routes", func(t *traffic.Table) { t.Routes[0].Name = "" }},
		{"route prod/shop", func(t *traffic.Table) { t.Routes[1].Name = "prod/shop" }},
		{"route prod/shop traffic.timeout", func(t *traffic.Table) { t.Routes[0].Timeout = -1 }},
		{"route prod/shop traffic.rates[0].rate", func(t *traffic.Table) { t.Routes[0].Rates = []delivery.Rate{{Per: delivery.PerIP}} }},
		{"plane.trusted[0]", func(t *traffic.Table) { t.Plane.Trusted = []string{"here"} }},
		{"listener prod tls.key", func(t *traffic.Table) { t.Listeners[0].TLS = &delivery.TLS{Cert: "a"} }},
		{"route prod/shop target testers.when", func(t *traffic.Table) {
			t.Routes[0].Targets = []traffic.Target{{Name: "testers", Release: t.Routes[0].Pools[0].Release}}
		}},
		{"route prod/shop mirror.share", func(t *traffic.Table) {
			t.Routes[0].Mirror = &traffic.Mirror{Release: t.Routes[0].Pools[0].Release}
		}},
		{"route prod/shop pool r2 check", func(t *traffic.Table) {
			t.Routes[0].Pools[0].Check = traffic.Check{HTTP: "/healthz", GRPC: new(string)}
		}},
		{"route prod/shop path shop", func(t *traffic.Table) { t.Routes[0].Paths = []string{"shop"} }},
		{"route prod/shop host Shop", func(t *traffic.Table) { t.Routes[0].Hosts = []string{"Shop"} }},
		{"route prod/cart", func(t *traffic.Table) { t.Routes[1].Paths = []string{"/"} }},
		{"route prod/cart", func(t *traffic.Table) { t.Routes[1].Own = []string{"shop.localhost"} }},
		{"route prod/shop", func(t *traffic.Table) { t.Routes[0].Pools[0].Release = "" }},
		{"route prod/shop pool r2", func(t *traffic.Table) { t.Routes[0].Pools[1].Release = "r2" }},
		{"route prod/shop", func(t *traffic.Table) { t.Routes[0].Pools[0].Weight = 501 }},
		{"route prod/shop pool r2", func(t *traffic.Table) { t.Routes[0].Pools[0].Weight = -1 }},
		{"route prod/shop pool r2", func(t *traffic.Table) { t.Routes[0].Pools[0].Weight = delivery.Full + 1 }},
		{"route prod/shop pool r2", func(t *traffic.Table) { t.Routes[0].Pools[0].Endpoints = nil }},
		{"route prod/shop pool r2", func(t *traffic.Table) { t.Routes[0].Pools[0].Endpoints[0].ID = "" }},
		{"route prod/shop pool r2 endpoint b", func(t *traffic.Table) { t.Routes[0].Pools[0].Endpoints[0].Addr = "nowhere" }},
		{"route prod/shop pool r1 endpoint a", func(t *traffic.Table) { t.Routes[0].Pools[0].Endpoints[0].ID = "a" }},
		{"route prod/shop pool r1 endpoint a", func(t *traffic.Table) { t.Routes[0].Pools[0].Endpoints[0].Addr = "127.0.0.1:1" }},
		{"route prod/shop pool r2 check", func(t *traffic.Table) { t.Routes[0].Pools[0].Check.HTTP = "healthz" }},
		{"route prod/shop pool r2 check", func(t *traffic.Table) { t.Routes[0].Pools[0].Check.Fall = -1 }},
		{"route prod/shop pool r2 check", func(t *traffic.Table) { t.Routes[0].Pools[0].Check.Interval = time.Microsecond }},
		{"route prod/shop pool r2 drain", func(t *traffic.Table) { t.Routes[0].Pools[0].Drain = -1 }},
	} {
		var n notebook
		bad := good()
		c.spoil(&bad)
		err := traffic.New(&n).Apply(t.Context(), bad)
		var field *delivery.FieldError
		if !errors.As(err, &field) || field.Field != c.field || field.Why == "" || len(n.applied) != 0 {
			t.Errorf("Apply(%s) = %v, applied %d, want a refusal of that field and nothing applied", c.field, err, len(n.applied))
		}
	}
	var n notebook
	if err := traffic.New(&n).Apply(t.Context(), good()); err != nil || len(n.applied) != 1 {
		t.Errorf("Apply(good) = %v, applied %d", err, len(n.applied))
	}
	dark := good() // nothing live yet: a first release waits at weight 0
	dark.Routes[0].Pools[0].Weight, dark.Routes[0].Pools[1].Weight = 0, 0
	if err := traffic.New(&n).Apply(t.Context(), dark); err != nil {
		t.Errorf("Apply(dark) = %v", err)
	}
}

// Cases 52 and 54: whatever the numbers, a table that gets through gives every
// caller an endpoint, or the route is dark as a whole.
func TestCase54_WhatGetsThroughAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := good()
		pools := table.Routes[0].Pools[:0]
		for i := range rapid.IntRange(0, 4).Draw(t, "pools") {
			p := traffic.Pool{Release: delivery.ReleaseID(fmt.Sprint("r", i)), Weight: delivery.Weight(rapid.OneOf(
				rapid.Int(), rapid.IntRange(-2, 3), rapid.SampledFrom([]int{0, 2500, 5000, 10000, 10001})).Draw(t, "weight"))}
			for k := range rapid.IntRange(0, 2).Draw(t, "endpoints") {
				p.Endpoints = append(p.Endpoints, traffic.Endpoint{ID: fmt.Sprint(i, ".", k), Addr: fmt.Sprint("127.0.0.1:", 1000+10*i+k)})
			}
			pools = append(pools, p)
		}
		table.Routes[0].Pools = pools
		var n notebook
		if err := traffic.New(&n).Apply(t.Context(), table); err != nil {
			if len(n.applied) != 0 || !errors.Is(err, delivery.ErrInvalid) {
				t.Fatalf("Apply() = %v, and the driver got %v", err, n.applied)
			}
			return
		}
		var sum delivery.Weight
		for _, p := range n.applied[0].Routes[0].Pools {
			if p.Weight < 0 || p.Weight > delivery.Full || p.Weight > 0 && len(p.Endpoints) == 0 {
				t.Fatalf("pool %+v got through", p)
			}
			sum += p.Weight
		}
		if sum != 0 && sum != delivery.Full {
			t.Fatalf("a split of %d got through", sum)
		}
	})
}

func TestRouterKeepsTheDriversErrors(t *testing.T) {
	r := traffic.New(&notebook{err: delivery.ErrConflict})
	_, errState := r.State(t.Context())
	for name, err := range map[string]error{"Apply": r.Apply(t.Context(), good()), "State": errState, "Watch": r.Watch(t.Context(), 0, nil)} {
		if !errors.Is(err, delivery.ErrConflict) || err.Error() == delivery.ErrConflict.Error() {
			t.Errorf("%s() = %v, want the driver's error, wrapped", name, err)
		}
	}
}

func TestReaches(t *testing.T) {
	for _, c := range []struct {
		route traffic.Route
		want  []traffic.Reach
	}{
		{traffic.Route{}, nil},
		{traffic.Route{Own: []string{"a"}}, []traffic.Reach{{Host: "a", Path: "/"}}},
		{traffic.Route{Hosts: []string{"a"}}, []traffic.Reach{{Host: "a", Path: "/"}}},
		{traffic.Route{Paths: []string{"/x"}}, []traffic.Reach{{Host: "", Path: "/x"}}},
		{traffic.Route{Own: []string{"o"}, Hosts: []string{"a", "b"}, Paths: []string{"/x"}}, []traffic.Reach{{Host: "o", Path: "/"}, {Host: "a", Path: "/x"}, {Host: "b", Path: "/x"}}},
	} {
		if got := c.route.Reaches(); !slices.Equal(got, c.want) {
			t.Errorf("Reaches(%+v) = %v, want %v", c.route, got, c.want)
		}
	}
}
