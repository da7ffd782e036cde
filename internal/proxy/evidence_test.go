package proxy_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// side is an instance of release rN.
func side(t *testing.T, n string, h http.HandlerFunc) traffic.Pool {
	t.Helper()
	return sideSpeaking(t, n, delivery.HTTP1, h)
}

func sideSpeaking(t *testing.T, n string, p delivery.Protocol, h http.HandlerFunc) traffic.Pool {
	t.Helper()
	pool := backendSpeaking(t, n, p, h)
	pool.Release = delivery.ReleaseID("r" + n)
	return pool
}

// half is two releases with an instance each, r2 first, of equal weight.
func half(t *testing.T, one, two http.HandlerFunc) []traffic.Pool {
	t.Helper()
	a, b := side(t, "1", one), side(t, "2", two)
	a.Weight, b.Weight = delivery.Full/2, delivery.Full/2
	return []traffic.Pool{b, a}
}

func always(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// summed adds up what blocks say, by release, of one caller of a route.
func summed(all map[traffictest.BlockKey]traffic.Block, route, caller string) map[delivery.ReleaseID]traffic.Block {
	out := map[delivery.ReleaseID]traffic.Block{}
	for k, b := range all {
		if k.Route != route || k.Caller != caller {
			continue
		}
		s := out[k.Release]
		if b.Second >= s.Second { // these do not add up: as they were last
			s.Second, s.Share, s.Gen = b.Second, b.Share, b.Gen
		}
		s.Requests, s.Unfinished = s.Requests+b.Requests, s.Unfinished+b.Unfinished
		s.OK, s.Server = s.OK+b.OK, s.Server+b.Server
		s.Units, s.UnitsBad, s.Drawn, s.Fields = s.Units+b.Units, s.UnitsBad+b.UnitsBad, s.Drawn+b.Drawn, s.Fields+b.Fields
		s.BytesOut += b.BytesOut
		if b.Again != nil {
			if s.Again == nil {
				s.Again = &traffic.Again{Bins: map[int]uint32{}}
			}
			s.Again.Units, s.Again.Bad, s.Again.Open = s.Again.Units+b.Again.Units, s.Again.Bad+b.Again.Bad, s.Again.Open+b.Again.Open
			for bin, n := range b.Again.Bins {
				s.Again.Bins[bin] += n
			}
		}
		for id, p := range b.Places {
			if s.Places == nil {
				s.Places = map[string]traffic.Place{}
			}
			s.Places[id] = traffic.Place{Requests: s.Places[id].Requests + p.Requests, Failed: s.Places[id].Failed + p.Failed}
		}
		if p := b.Pairs; p != nil {
			if s.Pairs == nil {
				s.Pairs = &traffic.Pairs{}
			}
			s.Pairs.Both, s.Pairs.CopyBad, s.Pairs.OrigBad = s.Pairs.Both+p.Both, s.Pairs.CopyBad+p.CopyBad, s.Pairs.OrigBad+p.OrigBad
			s.Pairs.CopySlow, s.Pairs.OrigSlow = s.Pairs.CopySlow+p.CopySlow, s.Pairs.OrigSlow+p.OrigSlow
		}
		out[k.Release] = s
	}
	return out
}

func awaitSums(w *traffictest.World, route, caller, what string, done func(map[delivery.ReleaseID]traffic.Block) bool) {
	w.AwaitBlocks(what, func(all map[traffictest.BlockKey]traffic.Block) bool { return done(summed(all, route, caller)) })
}

// nextSecond waits until one has begun.
func nextSecond(t *testing.T) {
	t.Helper()
	at := time.Now().Unix()
	await(t, "the next second", func() bool { return time.Now().Unix() > at })
}

// A caller that failed counts in Again from the next second on, whichever release
// it failed on, and a fresh one never does; while one release has all of the
// weight nothing is remembered.
func TestCallersInTroubleAreTold(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		pools := half(t, always(200), always(500))
		one(w, pools...)
		var bad, good []string
		for i := 0; len(bad) < 5 || len(good) < 5; i++ {
			key := fmt.Sprint("key ", i)
			if code, _ := w.Ask("shop", key); code == 500 {
				bad = append(bad, key)
			} else {
				good = append(good, key)
			}
		}
		nextSecond(t)
		for range 2 {
			for _, key := range append(bad[:5:5], good[:5]...) {
				w.Ask("shop", key)
			}
		}
		for range 20 {
			w.Ask("shop", "")
		}
		sent := uint64(len(bad) + len(good) + 40)
		awaitSums(w, "prod/shop", "", "five callers in trouble", func(s map[delivery.ReleaseID]traffic.Block) bool {
			r1, r2 := s["r1"], s["r2"]
			return r1.Requests+r2.Requests == sent && r1.Unfinished+r2.Unfinished == 0 && r1.Again == nil &&
				r2.Again != nil && r2.Again.Units >= 5 && r2.Again.Units <= 10 && // a second may have passed in between
				r2.Again.Bad == r2.Again.Units && r2.Again.Open == 0 && binned(r2.Again.Bins) == r2.Again.Units &&
				r1.Drawn+r2.Drawn == 20 && r1.Share == delivery.Full/2 && r2.Share == delivery.Full/2
		})
		if st := w.State().Routes[0]; st.Troubled < len(bad) || st.Forgotten != 0 {
			t.Errorf("%d callers are remembered and %d forgotten, want %d at least and none", st.Troubled, st.Forgotten, len(bad))
		}
		pools[0].Weight, pools[1].Weight = delivery.Full, 0
		one(w, pools...)
		nextSecond(t)
		w.Ask("shop", bad[0])
		awaitSums(w, "prod/shop", "", "a request while one release has all", func(s map[delivery.ReleaseID]traffic.Block) bool {
			return s["r1"].Requests+s["r2"].Requests == sent+1 && s["r2"].Share == delivery.Full && s["r2"].Again.Units <= 10
		})
		if st := w.State().Routes[0]; st.Troubled != 0 {
			t.Errorf("%d callers are remembered without a rollout", st.Troubled)
		}
	})
}

func binned(bins map[int]uint32) (n uint64) {
	for _, k := range bins {
		n += uint64(k)
	}
	return n
}

// Each instance's requests and failures are told apart while two releases have
// weight: whoever failed before another one saved the request is not blamed.
func TestInstancesAreToldApart(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		pools := half(t, always(200), always(200))
		sick := side(t, "3", always(503)).Endpoints[0]
		sick.ID = "2.1"
		pools[0].Endpoints = append(pools[0].Endpoints, sick)
		one(w, pools...)
		const n = 60
		for i := range n {
			w.Ask("shop", strconv.Itoa(i))
		}
		awaitSums(w, "prod/shop", "", "both instances", func(s map[delivery.ReleaseID]traffic.Block) bool {
			r2 := s["r2"]
			well, ill := r2.Places["2.0"], r2.Places["2.1"]
			return s["r1"].OK+r2.OK+r2.Server == n && s["r1"].Places["1.0"] == traffic.Place{Requests: s["r1"].OK} &&
				well == traffic.Place{Requests: r2.OK} && ill == traffic.Place{Requests: r2.Server, Failed: r2.Server} && r2.OK > 0 && r2.Server > 0
		})
		pools[0].Weight, pools[1].Weight = 0, delivery.Full
		one(w, pools...)
		nextSecond(t)
		w.Ask("shop", "one more")
		w.AwaitBlocks("a second without instances", func(all map[traffictest.BlockKey]traffic.Block) bool {
			for _, b := range all {
				if b.Share == delivery.Full && b.Requests == 1 && b.Places == nil {
					return true
				}
			}
			return false
		})
	})
}

func gzipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return b.String()
}

// An answer whose named field tells of a failure counts as one, is passed on as it
// is, and says why; what is no JSON, encoded or no 2xx counts by its status.
func TestAnswersThatTellOfAFailure(t *testing.T) {
	t.Parallel()
	failed := `{"data":null,"errors":[{"message":"no"}]}`
	long := `{"data":"` + strings.Repeat("x", 40<<10) + `","errors":[1]}`
	longer := `{"errors":[1],"data":"` + strings.Repeat("x", 3<<20) + `"}`
	beyond := `{"data":"` + strings.Repeat("x", 70<<10) + `","errors":[1]}`
	cases := []struct {
		status         int
		kind, encoding string
		body           string
		failed         bool
	}{
		{200, "application/json", "", failed, true},
		{201, "application/graphql-response+json; charset=utf-8", "identity", failed, true},
		{200, "application/vnd.shop+json", "", long, true},
		{200, "application/json", "", longer, true},
		{200, "application/json", "", beyond, false},
		{200, "application/json", "", `{"errors":[]}`, false},
		{200, "application/json", "", `{"errors":[`, false},
		{200, "application/json", "", ``, false},
		{200, "text/plain", "", failed, false},
		{200, "", "", failed, false},
		{404, "application/json", "", failed, false},
		{200, "application/json", "gzip", gzipped(failed), false},
	}
	answer := func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.Header.Get("X-Case"))
		if err != nil {
			return
		}
		c := cases[i]
		w.Header()["Content-Type"] = []string{c.kind}
		if c.kind == "" {
			w.Header()["Content-Type"] = nil
		}
		if c.encoding != "" {
			w.Header().Set("Content-Encoding", c.encoding)
		}
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", strconv.Itoa(len(c.body)))
		}
		w.WriteHeader(c.status)
		for body := []byte(c.body); len(body) > 0; {
			n := min(len(body), len(body)/3+1)
			_, _ = w.Write(body[:n])
			body = body[n:]
			if r.URL.Path == "/pieces" {
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	for name, client := range map[string]http.RoundTripper{"h1": &http.Transport{DisableCompression: true}, "h2": overH2C(t)} {
		for _, protocol := range []delivery.Protocol{delivery.HTTP1, delivery.H2C} {
			for _, mirrored := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " to ", protocol, mirrored), func(t *testing.T) {
					t.Parallel()
					w := world(t)
					p, copies := sideSpeaking(t, "1", protocol, answer), sideSpeaking(t, "2", protocol, answer)
					copies.Weight = 0
					r := w.Route("prod/shop", []string{""}, copies, p)
					r.ErrorField = "errors"
					if mirrored {
						r.Mirror = &traffic.Mirror{Release: "r2", Share: delivery.Full}
					}
					w.Routes = []traffic.Route{r}
					w.MustApply()
					var bad, ok, out uint64
					for i, c := range cases {
						for _, way := range []string{"/", "/length", "/pieces"} {
							q := request(t, http.MethodGet, "http://"+w.Addr+way, nil)
							q.Header.Set("X-Case", strconv.Itoa(i))
							res, err := client.RoundTrip(q)
							if err != nil {
								t.Fatal(err)
							}
							b, err := io.ReadAll(res.Body)
							_ = res.Body.Close()
							if err != nil || string(b) != c.body || res.StatusCode != c.status || res.Header.Get("Content-Type") != c.kind {
								t.Errorf("case %d %s = %s %s, %d bytes, %v; want the instance's own %d", i, way, res.Status, res.Header.Get("Content-Type"), len(b), err, len(c.body))
							}
							switch {
							case c.failed:
								bad++
							case c.status == 200:
								ok++
							}
							out += uint64(len(c.body))
						}
					}
					awaitSums(w, "prod/shop", "", "answers that failed", func(s map[delivery.ReleaseID]traffic.Block) bool {
						return s["r1"].Server == bad && s["r1"].UnitsBad == bad && s["r1"].Fields == bad && s["r1"].OK == ok && s["r1"].BytesOut == out
					})
					if mirrored {
						awaitSums(w, "prod/shop", traffic.MirrorCaller, "copies that failed alike", func(s map[delivery.ReleaseID]traffic.Block) bool {
							return s["r2"].Server == bad && s["r2"].Fields == bad && s["r2"].OK == ok && s["r2"].Pairs != nil &&
								s["r2"].Pairs.Both == uint64(3*len(cases)) && s["r2"].Pairs.CopyBad+s["r2"].Pairs.OrigBad == 0
						})
					}
				})
			}
		}
	}
}

// Why such an answer counts as failed is in its sample and its line of the log.
func TestWhyAnAnswerFailedIsTold(t *testing.T) {
	t.Parallel()
	recordedPaths(t, func(t *testing.T, w recorded) {
		w.Plane.AccessLog = delivery.LogErrors
		r := w.Route("prod/shop", []string{""}, side(t, "1", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"status":{"error":%s}}`, r.Header.Get("X-Says"))
		}))
		r.ErrorField = "status.error"
		w.Routes = []traffic.Route{r}
		w.MustApply()
		failed := w.watch()
		for _, says := range []string{"null", `"secret"`} {
			if code, body, _ := ask(t, asking{addr: w.Addr, target: "/", header: [][2]string{{"X-Says", says}}}); code != 200 || body != `{"status":{"error":`+says+`}}` {
				t.Errorf("the caller got %d %s, want the instance's own answer", code, body)
			}
		}
		const why = "the answer's field status.error tells of a failure"
		sample, line := failed(1)[0], w.logged(1)[0]
		if sample.Status != 200 || sample.Error != why || strings.Contains(fmt.Sprint(sample.Error, sample.Answered), "secret") {
			t.Errorf("sample = %+v", sample)
		}
		if line.Status != 200 || line.Outcome != "server" || line.Error != why {
			t.Errorf("line = %+v", line)
		}
	})
}

// Requests and their copies are compared one by one, in all ways in which they
// can differ.
func TestPairs(t *testing.T) {
	t.Parallel()
	w := world(t)
	says := func(mine string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Slow") == mine && !pause(r.Context(), 300*time.Millisecond) {
				return
			}
			if r.Header.Get("X-Dies") == mine {
				panic(http.ErrAbortHandler)
			}
			if strings.Contains(r.Header.Get("X-Bad"), mine) {
				w.WriteHeader(http.StatusBadGateway)
			}
		}
	}
	orig, twin := side(t, "1", says("orig")), side(t, "2", says("copy"))
	twin.Weight = 0
	r := w.Route("prod/shop", []string{""}, twin, orig)
	r.Mirror = &traffic.Mirror{Release: "r2", Share: delivery.Full}
	w.Routes = []traffic.Route{r}
	w.MustApply()
	send := func(head string) {
		q := request(t, http.MethodGet, "http://"+w.Addr, nil)
		if name, value, there := strings.Cut(head, ": "); there {
			q.Header.Set(name, value)
		}
		_ = do(t, q)
	}
	for head, n := range map[string]int{"": 5, "X-Bad: copy": 4, "X-Bad: orig": 3, "X-Bad: orig, copy": 2, "X-Dies: copy": 2, "X-Dies: orig": 1} {
		for range n {
			send(head)
		}
	}
	awaitSums(w, "prod/shop", traffic.MirrorCaller, "14 pairs", func(s map[delivery.ReleaseID]traffic.Block) bool {
		p := s["r2"].Pairs
		return p != nil && s["r2"].Requests == 17 && s["r2"].Unfinished == 0 && p.Both == 14 && p.CopyBad == 4 && p.OrigBad == 3
	})
	// Whoever is told to be slow may be the faster one on a busy machine, so each is
	// until the two are told apart.
	both := uint64(14)
	pairs := func() (p traffic.Pairs) {
		awaitSums(w, "prod/shop", traffic.MirrorCaller, fmt.Sprint(both, " pairs"), func(s map[delivery.ReleaseID]traffic.Block) bool {
			if s["r2"].Unfinished != 0 || s["r2"].Pairs == nil || s["r2"].Pairs.Both != both {
				return false
			}
			p = *s["r2"].Pairs
			return true
		})
		return p
	}
	for head, slow := range map[string]func(traffic.Pairs) uint64{
		"X-Slow: copy": func(p traffic.Pairs) uint64 { return p.CopySlow }, "X-Slow: orig": func(p traffic.Pairs) uint64 { return p.OrigSlow },
	} {
		for found := false; !found; {
			before := pairs()
			send(head)
			both++
			found = slow(pairs()) > slow(before)
		}
	}
}

// shopAndCart is a service in front of another one that is rolled out, called
// through an edge with the key handed on.
type shopAndCart struct {
	*traffictest.World
	edge string

	mu   sync.Mutex
	seen map[string]string // guarded by mu: key -> the release of cart that got it
}

func newShopAndCart(t *testing.T, w *traffictest.World, weight delivery.Weight) *shopAndCart {
	t.Helper()
	x := &shopAndCart{World: w, edge: porttest.Free(t), seen: map[string]string{}}
	cart := func(release string, code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			x.mu.Lock()
			defer x.mu.Unlock()
			if before := x.seen[r.Header.Get("Slipway-Key")]; before != "" && before != release {
				t.Errorf("key %q is seen by %s and by %s", r.Header.Get("Slipway-Key"), before, release)
			}
			x.seen[r.Header.Get("Slipway-Key")] = release
			w.WriteHeader(code)
		}
	}
	shop := side(t, "9", func(w http.ResponseWriter, r *http.Request) {
		q, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+x.edge, nil)
		if err != nil {
			return
		}
		q.Header.Set("Slipway-Key", r.Header.Get("Slipway-Key"))
		res, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_ = res.Body.Close()
		w.WriteHeader(res.StatusCode)
	})
	one, two := side(t, "1", cart("r1", 200)), side(t, "2", cart("r2", 500))
	two.Weight, one.Weight = weight, delivery.Full-weight
	front, back := w.Route("prod/shop", []string{""}, shop), w.Route("prod/cart", nil, two, one)
	front.Salt, front.Arms, back.Salt = "of the shop", []string{"prod/cart", "prod/nobody"}, "of the cart"
	w.Routes = []traffic.Route{front, back}
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "prod/shop>cart", Addr: x.edge, Env: "prod", Caller: "shop", Only: "prod/cart"})
	w.MustApply()
	return x
}

// A request is counted in the arm that its key is drawn to on the edge: each one
// that the failing release got, and none other, is a failure of its arm.
func TestArmsAreDrawnAsTheCalleeDraws(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		x := newShopAndCart(t, w, 3000)
		const known, fresh = 150, 50
		for i := range known {
			w.Ask("shop", fmt.Sprint("key ", i))
		}
		for range fresh {
			w.Ask("shop", "")
		}
		x.mu.Lock()
		by := map[string]uint64{}
		for _, release := range x.seen {
			by[release]++
		}
		x.mu.Unlock()
		const arm = traffic.ArmCaller + "prod/cart)"
		if by["r1"]+by["r2"] != known+fresh || by["r1"] == 0 || by["r2"] == 0 {
			t.Fatalf("cart got %v", by)
		}
		awaitSums(w, "prod/shop", arm, "both arms", func(s map[delivery.ReleaseID]traffic.Block) bool {
			r1, r2 := s["r1"], s["r2"]
			return r1.Requests == by["r1"] && r1.OK == by["r1"] && r1.UnitsBad == 0 && r1.Share == 7000 && r1.Drawn > 0 &&
				r2.Requests == by["r2"] && r2.Server == by["r2"] && r2.UnitsBad == by["r2"] && r2.Share == 3000 && r2.Drawn > 0 &&
				r1.Drawn+r2.Drawn == fresh && r1.Places == nil && r2.Places == nil
		})
		awaitSums(w, "prod/shop", "", "the service's own account", func(s map[delivery.ReleaseID]traffic.Block) bool {
			return len(s) == 1 && s["r9"].Requests == known+fresh && s["r9"].Again == nil && s["r9"].Share == delivery.Full
		})
		// Its callers in trouble are told by arm, from the next second on.
		nextSecond(t)
		for i := range known {
			w.Ask("shop", fmt.Sprint("key ", i))
		}
		awaitSums(w, "prod/shop", arm, "callers in trouble", func(s map[delivery.ReleaseID]traffic.Block) bool {
			return s["r1"].Again == nil && s["r2"].Again != nil && s["r2"].Again.Bad == s["r2"].Again.Units && s["r2"].Again.Units > 0
		})
		// Without a rollout there is no arm.
		w.Routes[1].Pools[0].Weight, w.Routes[1].Pools[1].Weight = 0, delivery.Full
		w.MustApply()
		before := uint64(0)
		sum := func(caller string) func(map[delivery.ReleaseID]traffic.Block) bool {
			return func(s map[delivery.ReleaseID]traffic.Block) bool {
				n := uint64(0)
				for _, b := range s {
					n += b.Requests
				}
				if caller == arm {
					before = n
					return true
				}
				return n == 2*known+fresh+10
			}
		}
		for range 10 {
			w.Ask("shop", "one more")
		}
		awaitSums(w, "prod/shop", "", "ten more", sum(""))
		awaitSums(w, "prod/shop", arm, "no more in an arm", sum(arm))
		if before != 2*known+fresh {
			t.Errorf("%d requests are counted in arms, want %d", before, 2*known+fresh)
		}
	})
}
