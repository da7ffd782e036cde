package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// Case 5: a slow older deploy that ends after a newer one must not take over.
func TestCase05_OlderGenerationNeverTakesOver(t *testing.T) {
	t.Parallel()
	w := world(t)
	v1, v2, v3 := w.Instance("v1", "r1", "v1"), w.Instance("v2", "r2", "v2"), w.Instance("v3", "r3", "v3")
	one(w, traffictest.Share(v1, delivery.Full))
	slow := w.Table()
	slow.Generation = w.Generation + 1
	slow.Routes = []traffic.Route{w.Route("prod/shop", []string{""}, traffictest.Share(v2, delivery.Full))}
	w.Generation++
	one(w, traffictest.Share(v3, delivery.Full)) // the newer one is faster
	if err := w.Driver.Apply(t.Context(), slow); !errors.Is(err, delivery.ErrConflict) {
		t.Errorf("Apply of the older deploy = %v, want delivery.ErrConflict", err)
	}
	if got := w.Get("any", ""); got != "r3" {
		t.Errorf("answered by %s, want r3", got)
	}
}

// Case 39: a torn or empty state file is never an empty route table.
func TestCase39_TornStateFile(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	end := serve(t, dir)
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	v1 := w.Instance("v1", "r1", "v1")
	one(w, traffictest.Share(v1, delivery.Full))
	one(w, traffictest.Share(v1, delivery.Full))
	if err := end(); err != nil {
		t.Fatal(err)
	}
	last, before := filepath.Join(dir, "state", "table"), filepath.Join(dir, "state", "table.previous")
	whole, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	for name, torn := range map[string][]byte{"empty": nil, "half": whole[:len(whole)/2], "one byte bent": append(append([]byte{}, whole[:len(whole)-20]...), append([]byte("X"), whole[len(whole)-19:]...)...)} {
		if err := os.WriteFile(last, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		end := serve(t, dir)
		if s := w.State(); s.Generation != 1 {
			t.Errorf("%s: generation %d is in force, want 1 of the copy before", name, s.Generation)
		}
		if got := w.Get("any", ""); got != "r1" {
			t.Errorf("%s: answered by %q, want r1", name, got)
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(before, whole[:7], 0o600); err != nil {
		t.Fatal(err)
	}
	err = proxy.Run(t.Context(), options(dir))
	if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), filepath.Join(dir, "state")) {
		t.Errorf("Run() with both copies torn = %v, want a refusal that names the folder and the cure", err)
	}
}

// Case 51: what State says is what is in force; a weight that was refused or
// not yet sent is never acknowledged.
func TestCase51_OnlyWhatIsInForceIsAcknowledged(t *testing.T) {
	t.Parallel()
	w := world(t)
	v1, v2 := w.Instance("v1", "r1", "v1"), w.Instance("v2", "r2", "v2")
	one(w, traffictest.Share(v2, 0), traffictest.Share(v1, delivery.Full))
	split := func() string {
		return fmt.Sprint(w.State().Generation, w.State().Routes[0].Gen, w.State().Routes[0].Split)
	}
	if got := split(); got != "1 1 [{r2 0 %} {r1 100 %}]" {
		t.Errorf("State = %s", got)
	}
	bad := w.Table()
	bad.Generation++
	bad.Routes = []traffic.Route{w.Route("prod/shop", []string{""}, traffictest.Share(v2, 9000), traffictest.Share(v1, 9000))}
	if err := w.Driver.Apply(t.Context(), bad); err == nil {
		t.Error("a split of 180 % was taken")
	}
	if got := split(); got != "1 1 [{r2 0 %} {r1 100 %}]" {
		t.Errorf("State after a refusal = %s", got)
	}
	one(w, traffictest.Share(v2, 2500), traffictest.Share(v1, 7500))
	if got := split(); got != "2 2 [{r2 25 %} {r1 75 %}]" {
		t.Errorf("State = %s", got)
	}
}

// Case 52: no table ever gives weight to a pool without instances.
func TestCase52_NoWeightOnAnEmptyPool(t *testing.T) {
	t.Parallel()
	w := world(t)
	v1 := w.Instance("v1", "r1", "v1")
	one(w, traffictest.Share(v1, delivery.Full))
	empty := traffic.Pool{Release: "r2", Version: "v2", Weight: 1}
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{""}, empty, traffictest.Share(v1, delivery.Full-1))}
	w.Generation++
	for name, apply := range map[string]func(context.Context, traffic.Table) error{"router": traffic.New(w.Driver).Apply, "data plane": w.Driver.Apply} {
		var field *delivery.FieldError
		if err := apply(t.Context(), w.Table()); !errors.As(err, &field) || field.Field != "route prod/shop pool r2" {
			t.Errorf("%s: Apply() = %v, want a refusal of pool r2", name, err)
		}
	}
	if got := w.Get("any", ""); got != "r1" {
		t.Errorf("answered by %s, want r1", got)
	}
}

// hammer asks with n keep-alive clients that do not repeat until ctx ends.
func hammer(ctx context.Context, t *testing.T, n int, addr, method string, seen func(key, body string)) (wait func() int64) {
	var asked atomic.Int64
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			c := &plain{addr: addr}
			defer c.close()
			for k := 0; ctx.Err() == nil; k++ {
				key := fmt.Sprintf("user-%d-%d", i, k%50)
				began := time.Now()
				code, body, err := c.ask(context.WithoutCancel(ctx), method, "shop.localhost", "/", key)
				if err != nil && c.slept(began) {
					c.close()
					continue
				}
				if err != nil || code != http.StatusOK {
					t.Errorf("%s by client %d = %d %q, %v", method, i, code, body, err)
					return
				}
				asked.Add(1)
				seen(key, body)
				pause(ctx, time.Millisecond)
			}
		})
	}
	return func() int64 { all.Wait(); return asked.Load() }
}

// Case 53: the last step neither flaps back to stable nor answers 503.
func TestCase53_LastStepNeitherFlapsNorFails(t *testing.T) {
	t.Parallel()
	w := world(t)
	v1, v2 := w.Instance("v1", "r1", "v1"), w.Instance("v2", "r2", "v2")
	one(w, traffictest.Share(v2, 9000), traffictest.Share(v1, 1000))
	var done atomic.Bool
	ctx, stop := context.WithCancel(t.Context())
	var late atomic.Int64
	wait := hammer(ctx, t, 8, w.Addr, http.MethodPost, func(string, string) {})
	one(w, traffictest.Share(v2, delivery.Full), traffictest.Share(v1, 0)) // 100 %, the old one warm
	done.Store(true)
	wait2 := hammer(ctx, t, 8, w.Addr, http.MethodPost, func(_, body string) {
		if done.Load() && body != "r2" {
			late.Add(1)
		}
	})
	pause(t.Context(), 200*time.Millisecond)
	one(w, traffictest.Share(v2, delivery.Full)) // the old one leaves
	pause(t.Context(), 200*time.Millisecond)
	stop()
	if n := wait() + wait2(); n == 0 {
		t.Error("nobody asked")
	}
	if late.Load() != 0 {
		t.Errorf("%d requests that came after 100 %% was acknowledged went to the old release", late.Load())
	}
}

// Case 54: weights outside 0 to 100 % never get in, with whatever numbers.
func TestCase54_WeightsStayWithinBounds(t *testing.T) {
	t.Parallel()
	w := world(t)
	v1, v2 := w.Instance("v1", "r1", "v1"), w.Instance("v2", "r2", "v2")
	one(w, traffictest.Share(v1, delivery.Full))
	for _, bad := range []delivery.Weight{-1, -10000, 10001, 1 << 40, -1 << 40} {
		w.Routes = []traffic.Route{w.Route("prod/shop", []string{""}, traffictest.Share(v2, bad), traffictest.Share(v1, delivery.Full-bad))}
		next := w.Table()
		next.Generation++
		if err := w.Driver.Apply(t.Context(), next); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Apply(weight %d) = %v, want delivery.ErrInvalid", bad, err)
		}
	}
	if s := w.State(); s.Generation != 1 || s.Routes[0].Split[0].Weight != delivery.Full {
		t.Errorf("State = %+v, want the first split", s)
	}
}

// Case 55: a request in flight finishes on the old version; what outlives the
// drain limit is cut, and its caller sees a cut, not a clean end.
func TestCase55_DrainAndCut(t *testing.T) {
	t.Parallel()
	w := world(t)
	flowing := make(chan struct{}, 2)
	old := backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		_, _ = rw.Write([]byte("piece\n"))
		_ = http.NewResponseController(rw).Flush()
		flowing <- struct{}{}
		<-r.Context().Done()
	})
	old.Drain = 300 * time.Millisecond
	polite, next := w.Instance("1b.0", "r1b", "v1b"), w.Instance("2.0", "r2", "v2")
	politePool := traffictest.Share(polite, delivery.Full)
	politePool.Drain = 25 * time.Second
	w.Routes = []traffic.Route{w.Route("prod/a", []string{"a"}, old), w.Route("prod/b", []string{"b"}, politePool)}
	w.MustApply()

	cut := make(chan error, 1)
	go func() {
		c := &plain{addr: w.Addr}
		defer c.close()
		_, _, err := c.ask(t.Context(), http.MethodGet, "a", "/", "")
		cut <- err
	}()
	whole := make(chan string, 1)
	go func() {
		_, body := w.AskPath("b", "", "/hold")
		whole <- body
	}()
	<-flowing
	polite.AwaitHeld(t)
	w.Routes = []traffic.Route{w.Route("prod/a", []string{"a"}, traffictest.Share(next, delivery.Full))}
	w.MustApply()
	if n := len(w.State().Draining); n == 0 {
		t.Error("nothing drains")
	}
	if err := <-cut; err == nil {
		t.Error("a stream past its drain limit ended cleanly, want a broken connection")
	}
	polite.Let()
	if got := <-whole; got != "r1b" {
		t.Errorf("the request in flight got %q, want its old instance's answer", got)
	}
	await(t, "both to be drained", func() bool { return len(w.State().Draining) == 0 })
}

// Case 57: a caller keeps its version through a whole rollout, up and down,
// across restarts of the data plane; the cookie is what knows it.
func TestCase57_StickyThroughRestart(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	end := serve(t, dir)
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	v1, v2 := w.Instance("v1", "r1", "v1"), w.Instance("v2", "r2", "v2")
	one(w, traffictest.Share(v2, 3000), traffictest.Share(v1, 7000))
	before := map[int]string{}
	for i := range 100 {
		before[i] = w.Get("shop.localhost", fmt.Sprint("user-", i))
	}
	get := func(cookie *http.Cookie) (string, *http.Cookie) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.Addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if cookie != nil {
			req.AddCookie(cookie)
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatal(res.Status, err)
		}
		for _, c := range res.Cookies() {
			return string(body), c
		}
		return string(body), nil
	}
	first, cookie := get(nil)
	if cookie == nil || cookie.Name != "slipway_id" || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || len(cookie.Value) != 32 {
		t.Fatalf("cookie of a first visit = %+v", cookie)
	}
	for range 10 {
		got, again := get(cookie)
		if got != first || again != nil {
			t.Errorf("with its cookie a caller got %s and cookie %v, want %s and none", got, again, first)
		}
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	serve(t, dir)
	for i := range 100 {
		if got := w.Get("shop.localhost", fmt.Sprint("user-", i)); got != before[i] {
			t.Errorf("user %d went from %s to %s over a restart", i, before[i], got)
		}
	}
	one(w, traffictest.Share(v1, delivery.Full))
	if _, none := get(nil); none != nil {
		t.Errorf("without a split a caller got the cookie %v", none)
	}
}

// Case 59: once the removal of an instance is acknowledged and it has nothing in
// flight, no new request reaches it: it may be stopped.
func TestCase59_NoRequestAfterAcknowledgedRemoval(t *testing.T) {
	t.Parallel()
	w := world(t)
	stay := w.Instance("stay", "r1", "v1")
	var stopped sync.Map // instance -> may get nothing any more
	pool := func(ids ...*traffictest.Instance) traffic.Pool {
		p := traffictest.Share(stay, delivery.Full)
		for _, in := range ids {
			p.Endpoints = append(p.Endpoints, traffic.Endpoint{ID: in.ID, Addr: in.Addr})
		}
		return p
	}
	one(w, pool())
	ctx, stop := context.WithCancel(t.Context())
	wait := hammer(ctx, t, 12, w.Addr, http.MethodPost, func(string, string) {})
	for i := range 30 {
		in := w.Instance(fmt.Sprintf("i%d", i), "r1", "v1")
		one(w, pool(in))
		pause(t.Context(), 5*time.Millisecond)
		one(w, pool())
		await(t, "the instance to be drained", func() bool {
			for _, d := range w.State().Draining {
				if d.ID == in.ID && d.InFlight > 0 {
					return false
				}
			}
			return true
		})
		stopped.Store(in, in.Requests())
	}
	pause(t.Context(), 50*time.Millisecond)
	stop()
	if wait() == 0 {
		t.Error("nobody asked")
	}
	stopped.Range(func(k, n any) bool {
		if in := k.(*traffictest.Instance); in.Requests() != n.(int64) {
			t.Errorf("instance %s got %d requests after it was drained", in.ID, in.Requests()-n.(int64))
		}
		return true
	})
}
