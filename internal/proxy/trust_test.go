package proxy_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// What peers say about forwarding, keys and cohorts counts only when they are
// believed: from a trusted range, or on an edge.
func TestWhoIsBelieved(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		edge := porttest.Free(t)
		w.Listeners = append(w.Listeners, traffic.Listener{Name: "prod/shop>cart", Addr: edge, Env: "prod", Caller: "cart", Only: "prod/shop"})
		p := backend(t, "1", func(rw http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(rw).Encode(r.Header) })
		said := [][2]string{
			{"X-Forwarded-For", "192.0.2.7, 127.0.0.9"},
			{"X-Forwarded-Proto", "https"},
			{"X-Forwarded-Host", "outer.example"},
			{"X-Forwarded-Port", "443"},
			{"X-Real-Ip", "192.0.2.7"},
			{"Forwarded", "for=192.0.2.7"},
			{"Slipway-Key", "ada"},
			{"Slipway-Cohort", "blue"},
			{"Slipway-Mirror", "1"},
		}
		seen := func(addr string) http.Header {
			t.Helper()
			code, body, _ := ask(t, asking{addr: addr, host: "shop.example:80", target: "/", header: said})
			var h http.Header
			if err := json.Unmarshal([]byte(body), &h); err != nil || code != http.StatusOK {
				t.Fatalf("%d %s: %v", code, body, err)
			}
			return h
		}
		check := func(who string, h http.Header, want map[string]string) {
			t.Helper()
			for name, v := range want {
				if h.Get(name) != v || len(h[name]) > 1 {
					t.Errorf("%s: the instance got %s: %q, want %q", who, name, h[name], v)
				}
			}
		}
		w.Plane.Trusted = []string{"10.0.0.0/8"}
		one(w, p)
		h := seen(w.Addr)
		check("a stranger", h, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "shop.example:80", "X-Forwarded-Port": "", "X-Real-Ip": "",
			"Forwarded": `for=127.0.0.1;host="shop.example:80";proto=http`, "Slipway-Cohort": "", "Slipway-Mirror": "",
		})
		if key := h.Get("Slipway-Key"); key == "" || key == "ada" {
			t.Errorf("a stranger's key %q was passed on, want one of our own", key)
		}
		believed := map[string]string{
			"X-Forwarded-For": "192.0.2.7, 127.0.0.9, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "outer.example", "X-Forwarded-Port": "443", "X-Real-Ip": "192.0.2.7",
			"Forwarded": `for=192.0.2.7, for=127.0.0.1;host="shop.example:80";proto=http`, "Slipway-Cohort": "blue", "Slipway-Key": "ada", "Slipway-Mirror": "1",
		}
		check("an edge", seen(edge), believed)
		w.Plane.Trusted = []string{"10.0.0.0/8", "127.0.0.0/8"}
		one(w, p)
		check("a trusted peer", seen(w.Addr), believed)
	})
}

// Callers known by address are known by that of the caller behind trusted proxies.
func TestStickyByTheAddressBehindProxies(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		v1, v2 := w.Instance("v1", "r1", "v1"), w.Instance("v2", "r2", "v2")
		r := w.Route("prod/shop", []string{""}, traffictest.Share(v2, delivery.Full/2), traffictest.Share(v1, delivery.Full/2))
		r.Sticky = delivery.Sticky{By: delivery.ByIP}
		w.Routes = []traffic.Route{r}
		w.MustApply()
		by := map[string]map[string]bool{}
		for _, from := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "2001:db8::1", "2001:db8::2", "198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"} {
			by[from] = map[string]bool{}
			for _, said := range []string{from, "6.6.6.6, " + from, from + ", 127.0.0.2", `"6.6.6.6, ` + from} {
				code, body, _ := ask(t, asking{addr: w.Addr, target: "/", header: [][2]string{{"X-Forwarded-For", said}}})
				if code != http.StatusOK {
					t.Fatalf("%q = %d", said, code)
				}
				by[from][body] = true
			}
			if len(by[from]) != 1 {
				t.Errorf("%s was answered by %v, want one release", from, by[from])
			}
		}
		both := map[string]bool{}
		for _, one := range by {
			for release := range one {
				both[release] = true
			}
		}
		if len(both) != 2 { // 2 in 2^10
			t.Errorf("ten addresses were all answered by %v", both)
		}
	})
}
