package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// bothPaths runs a test with the raw path allowed and with net/http alone.
func bothPaths(t *testing.T, test func(t *testing.T, w *traffictest.World)) {
	t.Helper()
	for name, plane := range map[string]delivery.DataPlane{"raw": {}, "full": {FullOnly: true}} {
		t.Run(name, func(t *testing.T) {
			w := world(t)
			w.Plane = plane
			test(t, w)
		})
	}
}

// asking is one request and what answers it.
type asking struct {
	addr, method, host, target string
	header                     [][2]string
}

// ask sends a request over a connection of its own and returns its status and
// body, and the answer's header.
func ask(t *testing.T, a asking) (int, string, http.Header) {
	t.Helper()
	if a.method == "" {
		a.method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), a.method, "http://"+a.addr+a.target, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = a.host
	for _, h := range a.header {
		req.Header.Add(h[0], h[1])
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s%s: %v", a.method, a.host, a.target, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body), res.Header
}

func TestRoutesByHostPathAndConditions(t *testing.T) {
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		add := func(name string, hosts, paths []string, when ...delivery.Condition) {
			in := w.Instance(name, delivery.ReleaseID("r-"+name), "v1")
			r := w.Route("prod/"+name, hosts, traffictest.Share(in, delivery.Full))
			r.Paths, r.Match = paths, when
			w.Routes = append(w.Routes, r)
		}
		add("exact", []string{"a.example.org"}, nil)
		add("below", []string{"*.example.org"}, nil)
		add("deeper", []string{"*.deep.example.org"}, nil)
		add("path", []string{"a.example.org"}, []string{"/api"})
		add("posts", []string{"a.example.org"}, []string{"/api"}, delivery.Condition{On: delivery.OnMethod, Is: []string{"POST"}})
		add("beta-posts", []string{"a.example.org"}, []string{"/api"},
			delivery.Condition{On: delivery.OnMethod, Is: []string{"POST"}}, delivery.Condition{On: delivery.OnQuery, Name: "beta"})
		add("cookie", []string{"a.example.org"}, []string{"/api"}, delivery.Condition{On: delivery.OnCookie, Name: "plan", Prefix: "pro"})
		add("any", []string{""}, []string{"/open"})
		w.MustApply()
		for _, tc := range []struct {
			asking
			want string
		}{
			{asking{host: "a.example.org", target: "/x"}, "exact"},
			{asking{host: "A.Example.Org.:80", target: "/x"}, "exact"},
			{asking{host: "b.example.org", target: "/x"}, "below"},
			{asking{host: "c.b.example.org", target: "/x"}, "below"},
			{asking{host: "x.deep.example.org", target: "/x"}, "deeper"},
			{asking{host: "example.org", target: "/x"}, ""},
			{asking{host: "a.example.org", target: "/api/x"}, "path"},
			{asking{host: "a.example.org", target: "/apix"}, "exact"},
			{asking{host: "a.example.org", target: "/%61pi/x"}, "path"},
			{asking{host: "a.example.org", target: "/x/../api"}, "path"},
			{asking{host: "a.example.org", target: "/api", method: "POST"}, "posts"},
			{asking{host: "a.example.org", target: "/api?beta=1", method: "POST"}, "beta-posts"},
			{asking{host: "a.example.org", target: "/api", header: [][2]string{{"Cookie", "a=b; plan=pro-1"}}}, "cookie"},
			{asking{host: "b.example.org", target: "/open/x"}, "below"},
			{asking{host: "elsewhere.test", target: "/open/x"}, "any"},
			{asking{host: "elsewhere.test", target: "/openx"}, ""},
		} {
			tc.addr = w.Addr
			status, body, _ := ask(t, tc.asking)
			if want := "r-" + tc.want; tc.want != "" && (status != http.StatusOK || body != want) {
				t.Errorf("%s %s%s %v = %d %q, want %s", tc.method, tc.host, tc.target, tc.header, status, body, want)
			} else if tc.want == "" && status != http.StatusNotFound {
				t.Errorf("%s %s%s = %d %q, want 404", tc.method, tc.host, tc.target, status, body)
			}
		}
	})
}

// Testers get the candidate though it has no weight; nobody else does, and the
// split's counts do not see them.
func TestTargetsPassTheSplitBy(t *testing.T) {
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		v1, v2 := w.Instance("i1", "r1", "v1"), w.Instance("i2", "r2", "v2")
		r := w.Route("prod/cart", []string{""}, traffictest.Share(v2, 0), traffictest.Share(v1, delivery.Full))
		r.Targets = []traffic.Target{
			{Name: "testers", Release: "r2", When: []delivery.Condition{{On: delivery.OnHeader, Name: "X-Tester"}}},
			{Name: "acme", Release: "r2", When: []delivery.Condition{{On: delivery.OnBaggage, Name: "tenant", Is: []string{"acme"}}}},
		}
		w.Routes = []traffic.Route{r}
		w.MustApply()
		for i, tc := range []struct{ name, value, want string }{
			{"X-Tester", "1", "r2"}, {"Baggage", "tenant=acme", "r2"}, {"Baggage", "tenant=other", "r1"}, {"X-Other", "1", "r1"},
		} {
			if _, body, _ := ask(t, asking{addr: w.Addr, target: "/", header: [][2]string{{tc.name, tc.value}}}); body != tc.want {
				t.Errorf("request %d with %s: %s was answered by %s, want %s", i, tc.name, tc.value, body, tc.want)
			}
		}
		want := map[string]uint64{"r1 ": 2, "r2 (target testers)": 1, "r2 (target acme)": 1}
		w.AwaitBlocks(fmt.Sprint("the counts ", want), func(all map[traffictest.BlockKey]traffic.Block) bool {
			got := map[string]uint64{}
			for k, b := range all {
				got[string(k.Release)+" "+k.Caller] += b.OK
			}
			return fmt.Sprint(got) == fmt.Sprint(want)
		})
	})
}

func TestStickyKeys(t *testing.T) {
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		for i, by := range []delivery.Sticky{{By: delivery.ByHeader, Name: "x-user"}, {By: delivery.ByCookie, Name: "uid"}, {By: delivery.ByIP}, {By: delivery.ByNobody}} {
			name := fmt.Sprint("s", i)
			a, b := w.Instance(name+"a", delivery.ReleaseID("a"), "v2"), w.Instance(name+"b", delivery.ReleaseID("b"), "v1")
			r := w.Route("prod/"+name, []string{name}, traffictest.Share(a, delivery.Full/2), traffictest.Share(b, delivery.Full/2))
			r.Sticky = by
			w.Routes = append(w.Routes, r)
		}
		w.MustApply()
		answers := func(host string, header func(i int) [2]string) (map[string]int, bool) {
			seen, cookie := map[string]int{}, false
			for i := range 40 {
				_, body, h := ask(t, asking{addr: w.Addr, host: host, target: "/", header: [][2]string{header(i)}})
				seen[body]++
				cookie = cookie || strings.HasPrefix(h.Get("Set-Cookie"), "slipway_id=")
			}
			return seen, cookie
		}
		same := func(name, value string) func(int) [2]string {
			return func(int) [2]string { return [2]string{name, value} }
		}
		each := func(name, prefix string) func(int) [2]string {
			return func(i int) [2]string { return [2]string{name, fmt.Sprint(prefix, i)} }
		}
		for _, tc := range []struct {
			what, host string
			header     func(int) [2]string
			releases   int
			cookie     bool
		}{
			{"one user by header", "s0", same("X-User", "ada"), 1, false},
			{"forty users by header", "s0", each("X-User", "u"), 2, false},
			{"users without the header", "s0", same("X-Other", "x"), 2, true},
			{"one user by cookie", "s1", same("Cookie", "uid=ada"), 1, false},
			{"forty users by cookie", "s1", each("Cookie", "uid=u"), 2, false},
			{"one address", "s2", each("X-User", "u"), 1, false},
			{"nobody is known", "s3", same("X-User", "ada"), 2, false},
		} {
			if seen, cookie := answers(tc.host, tc.header); len(seen) != tc.releases || cookie != tc.cookie {
				t.Errorf("%s: answered by %v, our cookie set: %v; want %d releases and %v", tc.what, seen, cookie, tc.releases, tc.cookie)
			}
		}
	})
}

// A service of a cohort calls the release of that cohort, however the split draws.
func TestCohortsStayTogether(t *testing.T) {
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		edge := porttest.Free(t)
		shop := func(release, cohort string) traffic.Pool {
			p := backend(t, release, func(rw http.ResponseWriter, r *http.Request) {
				req, _ := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+edge+"/", nil)
				for _, name := range []string{"Slipway-Key", "Slipway-Cohort"} {
					if v := r.Header.Get(name); v != "" {
						req.Header.Set(name, v)
					}
				}
				res, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					rw.WriteHeader(http.StatusBadGateway)
					return
				}
				defer res.Body.Close()
				b, _ := io.ReadAll(res.Body)
				_, _ = rw.Write(append([]byte(release+">"), b...))
			})
			p.Release, p.Weight, p.Cohort = delivery.ReleaseID(release), delivery.Full/2, cohort
			return p
		}
		cart := func(release, cohort string, weight delivery.Weight) traffic.Pool {
			p := backend(t, release, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, release) })
			p.Release, p.Weight, p.Cohort = delivery.ReleaseID(release), weight, cohort
			return p
		}
		w.Routes = []traffic.Route{
			w.Route("prod/shop", []string{""}, shop("shop2", "next"), shop("shop1", "")),
			w.Route("prod/cart", nil, cart("cart2", "next", 0), cart("cart1", "", delivery.Full)),
		}
		w.Listeners = append(w.Listeners, traffic.Listener{Name: "prod/shop>cart", Addr: edge, Env: "prod", Caller: "shop", Only: "prod/cart"})
		w.Plane.Trusted = []string{} // nobody outside
		w.MustApply()
		seen := map[string]int{}
		for i := range 40 {
			_, body, _ := ask(t, asking{addr: w.Addr, target: "/", header: [][2]string{{"Slipway-Key", fmt.Sprint("u", i)}, {"Slipway-Cohort", "next"}}})
			seen[body]++
		}
		if len(seen) != 2 || seen["shop2>cart2"] == 0 || seen["shop1>cart1"] == 0 {
			t.Errorf("answered by %v, want shop2>cart2 and shop1>cart1 only: a cohort is chosen by us, not by a caller from outside", seen)
		}
	})
}

func TestPreviewIsSigned(t *testing.T) {
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		v1, v2 := w.Instance("i1", "r1", "v1"), w.Instance("i2", "r2", "v2")
		r := w.Route("prod/cart", []string{""}, traffictest.Share(v2, 0), traffictest.Share(v1, delivery.Full))
		r.Preview = "r2"
		w.Routes, w.PreviewKey = []traffic.Route{r}, []byte("secret of this house")
		w.MustApply()
		for _, tc := range []struct {
			what, header string
			status       int
			want         string
		}{
			{"signed", traffic.SignPreview(w.PreviewKey, "prod/cart", "v2", time.Now().Add(time.Hour)), 200, "r2"},
			{"too late", traffic.SignPreview(w.PreviewKey, "prod/cart", "v2", time.Now().Add(-time.Hour)), 403, ""},
			{"of another route", traffic.SignPreview(w.PreviewKey, "prod/shop", "v2", time.Now().Add(time.Hour)), 403, ""},
			{"not signed", "v2", 403, ""},
			{"of what is no preview", traffic.SignPreview(w.PreviewKey, "prod/cart", "v3", time.Now().Add(time.Hour)), 404, ""},
		} {
			status, body, _ := ask(t, asking{addr: w.Addr, target: "/", header: [][2]string{{"Slipway-Preview", tc.header}}})
			if status != tc.status || tc.want != "" && body != tc.want {
				t.Errorf("%s: %d %q, want %d %s", tc.what, status, body, tc.status, tc.want)
			}
		}
	})
}
