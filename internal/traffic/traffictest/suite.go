// Package traffictest judges traffic drivers with real sockets. Every driver
// passes Run; it is not a fake of one.
package traffictest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Run judges the drivers that open returns: each call gets a fresh engine that
// routes nothing yet and can reach loopback addresses.
func Run(t *testing.T, open func(t *testing.T) traffic.Driver) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*testing.T, *World)
	}{
		{"whole table", wholeTable},
		{"bad table changes nothing", badTable},
		{"generation fence", generationFence},
		{"shares", shares},
		{"sticky both ways", sticky},
		{"drain", drain},
		{"preview", preview},
		{"edge knows its caller", edge},
		{"counts", counts},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(t, NewWorld(t, open(t)))
		})
	}
}

func wholeTable(t *testing.T, w *World) {
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	w.Routes = []traffic.Route{
		w.Route("prod/shop", []string{"shop.localhost"}, Share(a, delivery.Full)),
		w.Route("prod/cart", []string{"cart.localhost"}, Share(b, delivery.Full)),
	}
	w.MustApply()
	if got := w.Get("shop.localhost", ""); got != "r1" {
		t.Errorf("shop is answered by %q, want r1", got)
	}
	if got := w.Get("cart.localhost", ""); got != "r2" {
		t.Errorf("cart is answered by %q, want r2", got)
	}
	s := w.State()
	if s.Generation != w.Generation || len(s.Routes) != 2 || len(s.Listeners) != 1 || s.Listeners[0].Error != "" {
		t.Errorf("State = %+v, want generation %d, 2 routes and a bound listener", s, w.Generation)
	}
	w.Routes = w.Routes[:1] // whole: what is not in it is gone
	w.MustApply()
	if code, _ := w.Ask("cart.localhost", ""); code != http.StatusNotFound {
		t.Errorf("cart left the table and answers %d, want 404", code)
	}
}

func badTable(t *testing.T, w *World) {
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, Share(a, delivery.Full))}
	w.MustApply()
	good := w.State()
	for name, pools := range map[string][]traffic.Pool{
		"above full":  {Share(b, delivery.Full+1), Share(a, -1)},
		"not full":    {Share(b, 10), Share(a, 10)},
		"empty pool":  {{Release: "r2", Version: "v2", Weight: 1}, Share(a, delivery.Full-1)},
		"negative":    {Share(b, -1), Share(a, delivery.Full)},
		"named twice": {Share(a, 5000), Share(a, 5000)},
	} {
		w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, pools...)}
		w.Generation++
		if err := w.Driver.Apply(t.Context(), w.Table()); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("Apply(%s) = %v, want delivery.ErrInvalid", name, err)
		}
		if s := w.State(); s.Generation != good.Generation {
			t.Errorf("after a refused table (%s) generation %d is in force, want %d", name, s.Generation, good.Generation)
		}
	}
	if got := w.Get("shop.localhost", ""); got != "r1" {
		t.Errorf("after refused tables shop is answered by %q, want r1", got)
	}
}

func generationFence(t *testing.T, w *World) {
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, Share(a, delivery.Full))}
	w.MustApply()
	older := w.Table()
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, Share(b, delivery.Full))}
	w.MustApply()
	if err := w.Driver.Apply(t.Context(), older); !errors.Is(err, delivery.ErrConflict) {
		t.Errorf("Apply of the older generation = %v, want delivery.ErrConflict", err)
	}
	if err := w.Driver.Apply(t.Context(), w.Table()); err != nil {
		t.Errorf("Apply of the same table again = %v, want nil", err)
	}
	other := w.Table()
	other.Routes = older.Routes
	if err := w.Driver.Apply(t.Context(), other); !errors.Is(err, delivery.ErrConflict) {
		t.Errorf("Apply of another table under the same generation = %v, want delivery.ErrConflict", err)
	}
	if got := w.Get("shop.localhost", ""); got != "r2" {
		t.Errorf("shop is answered by %q, want r2 of the newest table", got)
	}
}

func shares(t *testing.T, w *World) {
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, Share(b, 2500), Share(a, 7500))}
	w.MustApply()
	const n = 2000
	got := 0
	for i := range n {
		if w.Get("shop.localhost", fmt.Sprintf("user-%d", i)) == "r2" {
			got++
		}
	}
	// Binomial(2000, 1/4): mean 500, deviation 19.4; six of them are 1 in 10^9.
	if got < 500-117 || got > 500+117 {
		t.Errorf("25 %% of %d callers are %d, want 500 ± 117", n, got)
	}
}

func sticky(t *testing.T, w *World) {
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	const n = 120
	now := map[int]string{}
	read := func(weight delivery.Weight) map[int]string {
		w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, Share(b, weight), Share(a, delivery.Full-weight))}
		w.MustApply()
		out := map[int]string{}
		for i := range n {
			out[i] = w.Get("shop.localhost", fmt.Sprintf("user-%d", i))
		}
		return out
	}
	last := delivery.Weight(0)
	for _, weight := range []delivery.Weight{0, 100, 500, 2500, 5000, 10000, 5000, 1000, 1, 0} {
		next := read(weight)
		for i := range n {
			if weight >= last && now[i] == "r2" && next[i] != "r2" {
				t.Errorf("user %d left the candidate as its weight grew from %s to %s", i, last, weight)
			}
			if weight <= last && now[i] == "r1" && next[i] != "r1" {
				t.Errorf("user %d joined the candidate as its weight shrank from %s to %s", i, last, weight)
			}
			if weight == 0 && next[i] != "r1" || weight == delivery.Full && next[i] != "r2" {
				t.Errorf("user %d is answered by %s at weight %s", i, next[i], weight)
			}
		}
		now, last = next, weight
	}
}

func drain(t *testing.T, w *World) {
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, Share(a, delivery.Full))}
	w.MustApply()
	slow := make(chan string, 1)
	go func() {
		_, body := w.AskPath("shop.localhost", "", "/hold")
		slow <- body
	}()
	a.AwaitHeld(t)
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, Share(b, delivery.Full))}
	w.MustApply()
	before := a.Requests()
	for range 20 {
		if got := w.Get("shop.localhost", ""); got != "r2" {
			t.Fatalf("a new request went to %s, which has left the table", got)
		}
	}
	if n := a.Requests() - before; n != 0 {
		t.Errorf("the instance that left got %d new requests", n)
	}
	s := w.State()
	if len(s.Draining) != 1 || s.Draining[0].ID != a.ID || s.Draining[0].InFlight != 1 {
		t.Errorf("Draining = %+v, want %s with 1 in flight", s.Draining, a.ID)
	}
	a.Let()
	if got := <-slow; got != "r1" {
		t.Errorf("the request in flight got %q, want the old release's answer", got)
	}
	Await(t, "the old instance to be drained", func() bool { return len(w.State().Draining) == 0 })
}

func preview(t *testing.T, w *World) {
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	r := w.Route("prod/shop", []string{"shop.localhost"}, Share(b, 0), Share(a, delivery.Full))
	r.Preview = "r2"
	w.Routes = []traffic.Route{r}
	w.MustApply()
	for _, want := range []string{"r2", "v2"} {
		if got := w.Preview("shop.localhost", want); got != "r2" {
			t.Errorf("preview %s is answered by %q, want r2", want, got)
		}
	}
	for i := range 50 {
		if got := w.Get("shop.localhost", fmt.Sprintf("user-%d", i)); got != "r1" {
			t.Fatalf("without the header user %d is answered by %s", i, got)
		}
	}
}

func edge(t *testing.T, w *World) {
	a := w.Instance("a", "r1", "v1")
	w.Routes = []traffic.Route{w.Route("prod/cart", nil, Share(a, delivery.Full))}
	addr := porttest.Free(t)
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "prod/shop>cart", Addr: addr, Env: "prod", Caller: "shop", Only: "prod/cart"})
	w.MustApply()
	if code, _ := w.Ask("cart.localhost", ""); code != http.StatusNotFound {
		t.Errorf("a route without host or path answers %d on the public listener, want 404", code)
	}
	if code, body := w.ask(addr, "whatever", "", "/", ""); code != http.StatusOK || body != "r1" {
		t.Errorf("the edge answers %d %q, want 200 r1", code, body)
	}
	w.AwaitBlocks("a block with caller shop", func(all map[BlockKey]traffic.Block) bool {
		for k, b := range all {
			if k.Caller == "shop" && k.Route == "prod/cart" && k.Release == "r1" && b.OK == 1 {
				return true
			}
		}
		return false
	})
}

func counts(t *testing.T, w *World) {
	a := w.Instance("a", "r1", "v1")
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{"shop.localhost"}, Share(a, delivery.Full))}
	w.MustApply()
	for range 3 {
		w.AskPath("shop.localhost", "one", "/")
		w.AskPath("shop.localhost", "two", "/status/404")
		w.AskPath("shop.localhost", "three", "/status/500")
	}
	held := make(chan struct{})
	go func() {
		defer close(held)
		w.AskPath("shop.localhost", "four", "/hold")
	}()
	a.AwaitHeld(t)
	sum := func(all map[BlockKey]traffic.Block) (out traffic.Block) {
		for _, b := range all {
			out.Requests += b.Requests
			out.Unfinished += b.Unfinished
			out.OK += b.OK
			out.Client += b.Client
			out.Server += b.Server
			out.UnitsOpen += b.UnitsOpen
		}
		return out
	}
	w.AwaitBlocks("10 requests, one unfinished", func(all map[BlockKey]traffic.Block) bool {
		s := sum(all)
		return s.Requests == 10 && s.Unfinished == 1 && s.OK == 3 && s.Client == 3 && s.Server == 3 && s.UnitsOpen == 1
	})
	a.Let()
	<-held
	w.AwaitBlocks("the late one in the block of its arrival", func(all map[BlockKey]traffic.Block) bool {
		s := sum(all)
		for _, b := range all {
			var binned uint64
			for _, n := range b.Bins {
				binned += uint64(n)
			}
			if binned != b.Units || b.Units > b.Requests || b.UnitsBad > b.Server {
				return false
			}
		}
		return s.Requests == 10 && s.Unfinished == 0 && s.OK == 4
	})
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	first := true
	err := w.Driver.Watch(ctx, time.Now().Add(time.Hour).Unix(), func(f traffic.Frame) {
		if first && len(f.Blocks) != 0 {
			t.Errorf("the first frame has %d blocks from before since", len(f.Blocks))
		}
		first = false
		stop()
	})
	if first || err == nil {
		t.Errorf("Watch ended with %v before a frame came", err)
	}
}
