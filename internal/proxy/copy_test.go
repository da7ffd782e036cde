package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// got is a request as an instance saw it.
type got struct {
	method, uri, host, body string
	length                  int64
	header                  http.Header
}

// recorder is an instance that keeps what it gets.
type recorder struct {
	mu  sync.Mutex
	all []got
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	b, err := io.ReadAll(q.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	r.all = append(r.all, got{q.Method, q.RequestURI, q.Host, string(b), q.ContentLength, q.Header.Clone()})
	r.mu.Unlock()
	if strings.HasPrefix(q.URL.Path, "/fail") {
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = fmt.Fprint(w, "answer of ", q.Header.Get("Slipway-Mirror"))
}

func (r *recorder) seen() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// mirrored is a route whose requests r1 answers and of which r2 gets copies.
type mirrored struct {
	*traffictest.World
	real, twin *recorder
	pools      []traffic.Pool
}

// newMirrored speaks HTTP/1.1 to the first release and upstream to the second.
func newMirrored(t *testing.T, m traffic.Mirror, upstream delivery.Protocol) *mirrored {
	t.Helper()
	x := &mirrored{World: world(t), real: &recorder{}, twin: &recorder{}}
	a, b := backend(t, "a", x.real.ServeHTTP), backendSpeaking(t, "b", upstream, x.twin.ServeHTTP)
	a.Release, b.Release, b.Weight, b.Cohort = "r1", "r2", 0, "blue"
	x.pools = []traffic.Pool{b, a}
	x.apply(m)
	return x
}

func (x *mirrored) apply(m traffic.Mirror) {
	m.Release = "r2"
	r := x.Route("prod/shop", []string{""}, x.pools...)
	r.Mirror = &m
	x.Routes = []traffic.Route{r}
	x.MustApply()
}

// send sends a request that r1 must answer.
func (x *mirrored) send(t *testing.T, r *http.Request) {
	t.Helper()
	res := do(t, r)
	b, err := io.ReadAll(res.Body)
	if err != nil || string(b) != "answer of " {
		t.Fatalf("%s %s = %s %q, %v; want the answer of the real one", r.Method, r.URL.Path, res.Status, b, err)
	}
}

// settle waits until as many copies as drawn have been counted, sent or not.
func (x *mirrored) settle(t *testing.T, drawn int) {
	t.Helper()
	await(t, fmt.Sprint(drawn, " copies to be counted"), func() bool {
		return count(x.World, traffic.MirrorCaller, func(b traffic.Block) uint64 { return b.Requests - b.Unfinished + b.Dropped }) == uint64(drawn)
	})
}

func TestMirrorCopiesWhatChangesNothing(t *testing.T) {
	t.Parallel()
	for _, upstream := range []delivery.Protocol{delivery.HTTP1, delivery.H2C} {
		x := newMirrored(t, traffic.Mirror{Share: delivery.Full}, upstream)
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"} {
			r := request(t, method, "http://"+x.Addr+"/a%2Fb?q=1;2", nil)
			r.Host = "Shop.example"
			r.Header = http.Header{"Slipway-Key": {"me"}, "Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "X-Own": {"1", "2"}, "Connection": {"close, X-Hop"}, "X-Hop": {"1"}}
			if method == "HEAD" {
				do(t, r)
				continue
			}
			x.send(t, r)
		}
		x.settle(t, 3)
		real, twin := x.real.seen(), x.twin.seen()
		if len(real) != 9 || len(twin) != 3 {
			t.Fatalf("%d requests, %d copies; want 9 and 3", len(real), len(twin))
		}
		slices.SortFunc(twin, func(a, b got) int { return strings.Compare(a.method, b.method) })
		for i, method := range []string{"GET", "HEAD", "OPTIONS"} {
			c, o := twin[i], real[slices.IndexFunc(real, func(o got) bool { return o.method == method })]
			if c.method != method || c.uri != o.uri || c.host != o.host || c.body != "" {
				t.Errorf("copy %+v of %+v", c, o)
			}
			if c.header.Get("Slipway-Mirror") != "1" || o.header.Get("Slipway-Mirror") != "" {
				t.Errorf("marks: copy %q, original %q", c.header.Get("Slipway-Mirror"), o.header.Get("Slipway-Mirror"))
			}
			if got := c.header.Get("Slipway-Cohort"); got != "blue" || !strings.Contains(c.header.Get("Baggage"), "slipway-cohort=blue") {
				t.Errorf("the copy's cohort is %q, baggage %q; want that of its release", got, c.header["Baggage"])
			}
			if o.header.Get("Slipway-Cohort") != "" || strings.Contains(o.header.Get("Baggage"), "slipway-cohort=blue") {
				t.Errorf("the original got the copy's cohort, baggage %q", o.header["Baggage"])
			}
			for _, name := range []string{"Slipway-Key", "Traceparent", "X-Own", "X-Forwarded-For", "X-Hop", "User-Agent"} {
				if !slices.Equal(c.header[name], o.header[name]) {
					t.Errorf("%s: copy %q, original %q", name, c.header[name], o.header[name])
				}
			}
		}
		if n := count(x.World, traffic.MirrorCaller, func(b traffic.Block) uint64 { return b.OK }); n != 3 {
			t.Errorf("%d copies are counted as answered, want 3", n)
		}
	}
}

// The bytes of a copied body are those of the request, whichever way they came;
// a body beyond the bound drops the copy and not the request.
func TestMirrorCopiesBodies(t *testing.T) {
	t.Parallel()
	const most = 100_000
	x := newMirrored(t, traffic.Mirror{Share: delivery.Full, Unsafe: true, MaxBody: most}, delivery.HTTP1)
	text := strings.Repeat("Vom Eise befreit sind Strom und Bäche. ", 4000)
	var want []string
	drawn := 0
	for _, client := range []http.RoundTripper{http.DefaultTransport, overH2C(t)} {
		for _, n := range []int{0, 1, 1000, 64 << 10, 64<<10 + 1, most, most + 1, len(text)} {
			for _, known := range []bool{true, false} {
				var body io.Reader = strings.NewReader(text[:n])
				if !known {
					body = io.MultiReader(body, strings.NewReader(""))
				}
				res, err := client.RoundTrip(request(t, http.MethodPost, "http://"+x.Addr+"/", body))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || string(b) != "answer of " {
					t.Fatalf("%d bytes = %s %q, %v", n, res.Status, b, err)
				}
				drawn++
				if n <= most {
					want = append(want, text[:n])
				}
			}
		}
	}
	x.settle(t, drawn)
	var bodies []string
	for _, c := range x.twin.seen() {
		bodies = append(bodies, c.body)
		if c.length != int64(len(c.body)) || c.header.Get("Content-Type") != "" {
			t.Errorf("a copy of %d bytes says %d", len(c.body), c.length)
		}
	}
	slices.Sort(bodies)
	slices.Sort(want)
	if !slices.Equal(bodies, want) {
		t.Errorf("%d bodies were copied, want %d, the same ones", len(bodies), len(want))
	}
	if n := count(x.World, traffic.MirrorCaller, func(b traffic.Block) uint64 { return b.Dropped }); n != uint64(drawn-len(want)) {
		t.Errorf("%d copies are counted as dropped, want %d", n, drawn-len(want))
	}
	if len(x.real.seen()) != drawn {
		t.Errorf("%d requests arrived, want %d", len(x.real.seen()), drawn)
	}
}

func TestMirrorIsAShare(t *testing.T) {
	t.Parallel()
	x := newMirrored(t, traffic.Mirror{Share: 2500}, delivery.HTTP1)
	const n = 800
	for range n {
		x.Ask("shop", "one caller")
	}
	// Binomial, p = 0.25: more than six standard deviations of 12.2 either side.
	await(t, "the copies", func() bool { return len(x.twin.seen()) >= 200-80 })
	if got := len(x.twin.seen()); got > 200+80 {
		t.Errorf("%d of %d requests were copied, want about 200", got, n)
	}
}

// What is no plain request, is a copy, asks for the preview or goes to that
// release anyway is not copied.
func TestMirrorCopiesNothingElse(t *testing.T) {
	t.Parallel()
	x := newMirrored(t, traffic.Mirror{Share: delivery.Full, Unsafe: true}, delivery.HTTP1)
	x.Plane.Trusted = []string{} // nobody
	edge := porttest.Free(t)
	x.Listeners = append(x.Listeners, traffic.Listener{Name: "prod/shop>cart", Addr: edge, Env: "prod", Only: "prod/shop", Caller: "cart"})
	x.apply(traffic.Mirror{Share: delivery.Full, Unsafe: true})
	x.Routes[0].Preview = "r2"
	x.Routes[0].Targets = []traffic.Target{{Name: "testers", Release: "r2", When: []delivery.Condition{{On: delivery.OnHeader, Name: "Tester"}}}}
	x.MustApply()
	for name, header := range map[string]http.Header{
		"a copy":     {"Slipway-Mirror": {"1"}},
		"an upgrade": {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}},
		"a wait":     {"Expect": {"100-continue"}},
		"trailers":   {"Trailer": {"Sum"}},
	} {
		for _, addr := range []string{x.Addr, edge} {
			var body io.Reader
			if name == "a wait" || name == "trailers" {
				body = io.MultiReader(strings.NewReader("ping"))
			}
			r := request(t, http.MethodPost, "http://"+addr+"/"+strings.ReplaceAll(name, " ", "-"), body)
			r.Header = header.Clone()
			if name == "trailers" {
				r.Header, r.Trailer = http.Header{}, http.Header{"Sum": {"4"}}
			}
			if name == "an upgrade" {
				r.Method, r.Body = http.MethodGet, nil
			}
			do(t, r)
		}
	}
	for name, header := range map[string]http.Header{"a preview": {"Slipway-Preview": {"r2"}}, "a target": {"Tester": {"1"}}} {
		r := request(t, http.MethodGet, "http://"+x.Addr+"/aimed", nil)
		r.Header = header
		res := do(t, r)
		if b, _ := io.ReadAll(res.Body); string(b) != "answer of " {
			t.Errorf("%s = %q", name, b)
		}
	}
	x.send(t, request(t, http.MethodGet, "http://"+x.Addr+"/last", nil))
	x.settle(t, 1)
	var twins, marks []string
	for _, c := range x.twin.seen() {
		twins = append(twins, c.uri)
	}
	if slices.Sort(twins); !slices.Equal(twins, []string{"/aimed", "/aimed", "/last"}) {
		t.Errorf("r2 got %q, want the two it was asked for and one copy", twins)
	}
	for _, c := range x.real.seen() {
		if c.header.Get("Slipway-Mirror") != "" {
			marks = append(marks, c.uri)
		}
	}
	if len(marks) != 1 {
		t.Errorf("%q arrived with the mark: services pass it on, the public cannot set it", marks)
	}
}

// A target that takes connections and never answers holds up nobody: not the
// requests, which all finish, and not copies to others.
func TestMirrorNeverHoldsUpARequest(t *testing.T) {
	t.Parallel()
	w := world(t)
	var held atomic.Int64
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) })
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			held.Add(1)
			go func() { <-gone; _ = c.Close() }()
		}
	}()
	a := backend(t, "a", (&recorder{}).ServeHTTP)
	stuck := backend(t, "b", nil)
	a.Release, stuck.Release, stuck.Weight = "r1", "r2", 0
	stuck.Endpoints[0].Addr = ln.Addr().String()
	twin := &recorder{}
	c, well := backend(t, "c", (&recorder{}).ServeHTTP), backend(t, "d", twin.ServeHTTP)
	c.Release, well.Release, well.Weight = "r3", "r4", 0
	shop, cart := w.Route("prod/shop", []string{"shop"}, stuck, a), w.Route("prod/cart", []string{"cart"}, well, c)
	shop.Mirror = &traffic.Mirror{Release: "r2", Share: delivery.Full}
	cart.Mirror = &traffic.Mirror{Release: "r4", Share: delivery.Full}
	w.Routes = []traffic.Route{shop, cart}
	w.MustApply()
	const n = 600
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range n / 8 {
				if code, body := w.Ask("shop", ""); code != http.StatusOK {
					t.Errorf("a request = %d %s", code, body)
					return
				}
			}
		})
	}
	all.Wait()
	if code, body := w.Ask("cart", ""); code != http.StatusOK {
		t.Errorf("the other route = %d %s", code, body)
	}
	await(t, "the other route's copy", func() bool { return len(twin.seen()) == 1 })
	await(t, "the copies that had no room", func() bool {
		return count(w, traffic.MirrorCaller, func(b traffic.Block) uint64 { return b.Dropped }) >= n-128-3*64
	})
	if held.Load() == 0 {
		t.Error("no copy reached the target that is stuck")
	}
	await(t, "copies to end by themselves", func() bool {
		return count(w, traffic.MirrorCaller, func(b traffic.Block) uint64 { return b.Timeout }) >= 64
	})
}

// A copy claims its instance like a request: a drain waits for it.
func TestMirrorIsDrained(t *testing.T) {
	t.Parallel()
	w := world(t)
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	r := w.Route("prod/shop", []string{"shop"}, traffictest.Share(b, 0), traffictest.Share(a, delivery.Full))
	r.Mirror = &traffic.Mirror{Release: "r2", Share: delivery.Full}
	w.Routes = []traffic.Route{r}
	w.MustApply()
	a.Let()
	if code, body := w.AskPath("shop", "", "/hold"); code != http.StatusOK || body != "r1" {
		t.Fatalf("the request = %d %s", code, body)
	}
	b.AwaitHeld(t)
	r.Mirror, r.Pools = nil, r.Pools[1:]
	w.Routes = []traffic.Route{r}
	w.MustApply()
	if s := w.State(); len(s.Draining) != 1 || s.Draining[0].ID != "b" || s.Draining[0].InFlight != 1 {
		t.Errorf("Draining = %+v, want b with its copy", s.Draining)
	}
	b.Let()
	await(t, "the end of the drain", func() bool { return len(w.State().Draining) == 0 })
	if n := count(w, traffic.MirrorCaller, func(b traffic.Block) uint64 { return b.OK }); n != 1 {
		t.Errorf("%d copies ended well, want 1", n)
	}
}

// A copy that fails is counted on its release's account and nowhere else; its
// instance is not ejected, and a release without instances gets none.
func TestMirrorFailsAlone(t *testing.T) {
	t.Parallel()
	x := newMirrored(t, traffic.Mirror{Share: delivery.Full}, delivery.HTTP1)
	x.send(t, request(t, http.MethodGet, "http://"+x.Addr+"/", nil))
	x.settle(t, 1)
	x.pools[0].Endpoints[0].Addr = porttest.Free(t)
	x.apply(traffic.Mirror{Share: delivery.Full})
	for range 10 {
		x.send(t, request(t, http.MethodGet, "http://"+x.Addr+"/", nil))
	}
	x.settle(t, 11)
	if n := count(x.World, traffic.MirrorCaller, func(b traffic.Block) uint64 { return b.Connect }); n != 10 {
		t.Errorf("%d copies are counted as unreached, want 10", n)
	}
	if n := count(x.World, "", func(b traffic.Block) uint64 { return b.Requests - b.OK }); n != 0 {
		t.Errorf("%d real requests did not end well", n)
	}
	for _, p := range x.State().Routes[0].Pools {
		for _, e := range p.Endpoints {
			if strings.Contains(e.Why, "ejected") {
				t.Errorf("%s: %s", e.ID, e.Why)
			}
		}
	}
	x.pools[0].Endpoints = nil
	x.apply(traffic.Mirror{Share: delivery.Full})
	for range 10 {
		x.send(t, request(t, http.MethodGet, "http://"+x.Addr+"/", nil))
	}
	pause(t.Context(), 300*time.Millisecond)
	x.settle(t, 11)
}
