package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// The table of routes: a listener, a route and a release are named where they
// begin, and what is not well is said below with its reason.
func TestRoutesTable(t *testing.T) {
	synctest.Test(t, testRoutesTable) // no time passes between what is made here and its text
}

func testRoutesTable(t *testing.T) {
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
		Routes: []traffic.RouteState{{Name: "prod/cart", Held: 2, Pools: []traffic.PoolState{
			{Release: "r12", Healthy: 1, Waiting: 5, Endpoints: []traffic.EndpointState{{ID: "cart.r12.0", Addr: "127.0.0.1:9001", Healthy: true, InFlight: 2}}},
			{Release: "r11", Healthy: 0, Endpoints: []traffic.EndpointState{
				{ID: "cart.r11.0", Addr: "127.0.0.1:9002", InFlight: 1, Drained: &traffic.Drained{By: "ann", Why: "disk swap", At: time.Now().Add(-5 * time.Minute)}},
				{ID: "cart.r11.1", Addr: "127.0.0.1:9003", Why: "check failed: refused"},
			}},
		}}},
		Listeners: []traffic.ListenerState{
			{Name: "prod", Addr: "127.0.0.1:8080", Refused: map[string]uint64{"no_route": 7, "rate_limited": 1234}, TLS: &traffic.TLSState{NotAfter: time.Now().Add(5*24*time.Hour + time.Minute)}},
			{Name: "dev", Addr: "127.0.0.1:8081", Error: "in use", TLS: &traffic.TLSState{Waiting: "a certificate in a.pem", Error: "no such file"}},
		},
		Draining: []traffic.EndpointState{{ID: "cart.r10.0", Addr: "127.0.0.1:9000", InFlight: 1}},
		Started:  time.Now().Add(-2 * time.Hour),
		Faults:   []traffic.FaultState{{Fault: traffic.Fault{ID: "slow-cart", Route: "prod/cart", Share: 500, Delay: 300 * time.Millisecond}, Until: time.Now().Add(8 * time.Second), Touched: 12}},
	}
	counted := map[poolKey]tally{{"prod/cart", "r12"}: {requests: 40, errors: 4}, {"prod/cart", "r11"}: {requests: 800}}
	s := &session{}
	v := combine(state, table, counted)
	got := s.routesText(v, false)
	want := `
  LISTENS           AT                     ROUTE      RELEASE  WEIGHT  HEALTHY  IN FLIGHT  REQ/S  ERRORS
  127.0.0.1:8080    cart.localhost/        prod/cart  v2 r12   5 %     1/1      2          4.0    10 %
                                                      v1 r11   95 %    0/2      1          80.0   0 %
  127.0.0.1:9100    every request of shop  prod/cart
  ✖ 127.0.0.1:8081  nothing

  ○ prod/cart        v2              5 requests in the queue for an instance with room
  ⛔ cart.r11.0      127.0.0.1:9002  drained by ann 5 m ago: disk swap, 1 request in flight
  ✖ cart.r11.1       127.0.0.1:9003  check failed: refused
  ○ prod/cart        held            2 requests until a release takes traffic
  ○ 127.0.0.1:8080   prod            its certificate ends in 5 d
  ⛔ 127.0.0.1:8080  prod            refused in 2 h: 1,234 rate_limited, 7 no_route
  ✖ 127.0.0.1:8081   dev             cannot be opened: in use
  ✖ 127.0.0.1:8081   dev             nobody can connect: no such file
  ○ cart.r10.0       127.0.0.1:9000  has left the table, 1 request in flight
  ⏸ slow-cart        fault           delay by 300ms, 5 % of prod/cart; 12 requests so far, ends in 8 s unless renewed

  generation 7, pid 42, version 0.1.0; pid 41, which served before, finishes its requests
`
	if got != strings.TrimPrefix(want, "\n") {
		t.Errorf("routes:\n%s\nwant:%s", got, want)
	}
	every := s.routesText(v, true)
	for _, line := range []string{"  ✔ cart.r12.0  127.0.0.1:9001  prod/cart  v2  2 requests in flight\n", "  ✖ cart.r11.1  127.0.0.1:9003  prod/cart  v1  0 requests in flight\n"} {
		if strings.Count(every, line) != 1 {
			t.Errorf("--endpoints:\n%s\nhas %q not once", every, line)
		}
	}
	for width, want := range map[int]string{
		120: "LISTENS           AT                     ROUTE      RELEASE  WEIGHT  HEALTHY  IN FLIGHT  REQ/S  ERRORS\n",
		80:  "LISTENS           ROUTE      RELEASE  WEIGHT  UP   BUSY  REQ/S  ERRORS\n",
	} {
		s := &session{look: look{live: true, width: width}}
		got := s.routesTable(v)
		if !strings.Contains(got, want) || width == 80 && strings.Contains(got, "r12") {
			t.Errorf("at %d columns:\n%s", width, got)
		}
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

// The table that docs/data-plane.md begins with is one.
func TestTableOfThePage(t *testing.T) {
	page, err := os.ReadFile("../../docs/data-plane.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	doc, _, found := strings.Cut(rest, "```")
	path := filepath.Join(t.TempDir(), "t.json")
	if err := os.WriteFile(path, []byte(doc), 0o600); err != nil || !found {
		t.Fatal(found, err)
	}
	if got, err := readTable(path, "t.json"); err != nil || len(got.Routes[0].Pools) != 2 || got.Listeners[0].TLS == nil {
		t.Errorf("the page's table = %+v, %v", got, err)
	}
}

// A table that cannot be read is refused with the line and the field.
func TestReadTable(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ doc, says, next string }{
		"time as text":  {"{\n\"routes\": [\n{\"timeout\": \"5s\"}]}", "t.json line 3: routes.timeout is of the wrong kind: string; a time is a number of nanoseconds", tableHelp},
		"other kind":    {`{"routes": 7}`, "t.json line 1: routes is of the wrong kind: number", tableHelp},
		"unknown field": {`{"rouets": []}`, `t.json is no table: unknown field "rouets"`, tableHelp},
		"bad JSON":      {"{\n\"routes\": }", "t.json line 2: is no JSON", tableHelp},
		"cut off":       {"{\n\"routes\": [", "t.json line 2: ends before the table does", tableHelp},
		"empty":         {"", "t.json line 1: ends before the table does", tableHelp},
		"weights":       {`{"routes": [{"name": "a", "env": "e", "hosts": [], "pools": [{"release": "r", "weight": 5, "endpoints": [{"id": "i", "addr": "127.0.0.1:1"}]}]}]}`, "add up to 0.05 %, not 100 %", "mend it in t.json"},
		"protocol":      {`{"routes": [{"name": "a", "env": "e", "hosts": [], "pools": [{"release": "r", "protocol": "h3"}]}]}`, `protocol: "h3" is not known`, "h2c"},
	} {
		path := filepath.Join(dir, "t.json")
		if err := os.WriteFile(path, []byte(c.doc), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readTable(path, "t.json")
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(complaintOf(err).next, c.next) || exitOf(err) != exitUsage {
			t.Errorf("%s: %v, next %q; want %q, next %q", name, err, complaintOf(err).next, c.says, c.next)
		}
	}
}
