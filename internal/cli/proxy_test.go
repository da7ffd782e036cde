package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// The table of routes: a listener, a route and a release are named where they
// begin, and what is not well is said below with its reason.
func TestRoutesTable(t *testing.T) {
	table := traffic.Table{
		Listeners: []traffic.Listener{
			{Name: "prod", Addr: "127.0.0.1:8080", Env: "prod"},
			{Name: "prod/shop>cart", Addr: "127.0.0.1:9100", Env: "prod", Caller: "shop", Only: "prod/cart"},
			{Name: "dev", Addr: "127.0.0.1:8081", Env: "dev"},
		},
		Routes: []traffic.Route{{
			Name: "prod/cart", Env: "prod", Service: "cart", Hosts: []string{"cart.localhost"},
			Pools: []traffic.Pool{{Release: "r12", Version: "v2", Weight: 500}, {Release: "r11", Version: "v1", Weight: 9500}},
		}},
	}
	state := traffic.State{
		Generation: 7, PID: 42, Version: "0.1.0", Predecessor: 41,
		Routes: []traffic.RouteState{{Name: "prod/cart", Pools: []traffic.PoolState{
			{Release: "r12", Healthy: 1, Endpoints: []traffic.EndpointState{{ID: "cart.r12.0", Addr: "127.0.0.1:9001", Healthy: true, InFlight: 2}}},
			{Release: "r11", Healthy: 0, Endpoints: []traffic.EndpointState{
				{ID: "cart.r11.0", Addr: "127.0.0.1:9002", InFlight: 1, Drained: &traffic.Drained{By: "ann", Why: "disk swap", At: time.Now().Add(-5 * time.Minute)}},
				{ID: "cart.r11.1", Addr: "127.0.0.1:9003", Why: "check failed: refused"},
			}},
		}}},
		Listeners: []traffic.ListenerState{{Name: "prod", Addr: "127.0.0.1:8080"}, {Name: "dev", Addr: "127.0.0.1:8081", Error: "in use"}},
		Draining:  []traffic.EndpointState{{ID: "cart.r10.0", Addr: "127.0.0.1:9000", InFlight: 1}},
	}
	counted := map[poolKey]tally{{"prod/cart", "r12"}: {requests: 40, errors: 4}, {"prod/cart", "r11"}: {requests: 800}}
	s := &session{}
	got := s.routesTable(combine(state, table, counted))
	want := `
  LISTENS           AT                     ROUTE      RELEASE  WEIGHT  HEALTHY  IN FLIGHT  REQ/S  ERRORS
  127.0.0.1:8080    cart.localhost/        prod/cart  v2 r12   5 %     1/1      2          4.0    10 %
                                                      v1 r11   95 %    0/2      1          80.0   0 %
  127.0.0.1:9100    every request of shop  prod/cart
  ✖ 127.0.0.1:8081  nothing

  ⛔ cart.r11.0     127.0.0.1:9002  drained by ann 5 m ago: disk swap, 1 request in flight
  ✖ cart.r11.1      127.0.0.1:9003  check failed: refused
  ✖ 127.0.0.1:8081  cannot be opened: in use
  ○ cart.r10.0      127.0.0.1:9000  has left the table, 1 request in flight

  generation 7, pid 42, version 0.1.0; pid 41, which served before, finishes its requests
`
	if got != strings.TrimPrefix(want, "\n") {
		t.Errorf("routes:\n%s\nwant:%s", got, want)
	}
}

// What the flags of slipway proxy describe is a table that a data plane takes.
func TestFirstTable(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "t.json")
	if err := os.WriteFile(file, []byte(`{"generation":0,"listeners":[],"routes":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, err := planeOptions{listen: "127.0.0.1:80", to: []string{"127.0.0.1:1", "127.0.0.1:2"}}.first(dir)
	if err != nil || len(plain.Routes[0].Pools[0].Endpoints) != 2 || plain.Routes[0].Pools[0].Weight != delivery.Full {
		t.Errorf("--listen --to = %+v, %v", plain, err)
	}
	if got, err := (planeOptions{table: "t.json"}).first(dir); err != nil || got.Generation != 1 {
		t.Errorf("--table = %+v, %v, want generation 1", got, err)
	}
	if got, err := (planeOptions{}).first(dir); got != nil || err != nil {
		t.Errorf("no flag = %+v, %v, want the table on disk", got, err)
	}
	for name, o := range map[string]planeOptions{
		"to alone":   {to: []string{"127.0.0.1:1"}},
		"both":       {listen: "127.0.0.1:80", to: []string{"127.0.0.1:1"}, table: "t.json"},
		"no file":    {table: "none.json"},
		"same twice": {listen: "127.0.0.1:80", to: []string{"127.0.0.1:1", "127.0.0.1:1"}},
	} {
		if got, err := o.first(dir); err == nil || exitOf(err) != exitUsage {
			t.Errorf("%s = %+v, %v, want a usage error", name, got, err)
		}
	}
}
