package proxy_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// What a person drains gets no request any more, whatever tables come, until it
// is put back; the last healthy endpoint is refused unless forced.
func TestDrainByHand(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	end := serve(t, dir)
	d := driver.New(filepath.Join(dir, "s"))
	w := traffictest.NewWorld(t, d)
	a, b := w.Instance("shop.a", "r1", "v1"), w.Instance("shop.b", "r1", "v1")
	pool := traffictest.Share(a, delivery.Full)
	pool.Endpoints = append(pool.Endpoints, traffic.Endpoint{ID: b.ID, Addr: b.Addr})
	one(w, pool)
	by := traffic.DrainOrder{By: "ann", Why: "disk swap"}
	out, err := d.Drain(t.Context(), "shop.a", by)
	if err != nil || len(out) != 1 || out[0].ID != "shop.a" || out[0].Healthy || out[0].Drained == nil || out[0].Drained.By != "ann" {
		t.Fatalf("Drain() = %+v, %v", out, err)
	}
	quiet := func(when string) {
		t.Helper()
		before := a.Requests()
		for range 40 {
			w.Get("shop", "")
		}
		if n := a.Requests() - before; n != 0 {
			t.Errorf("%s: the drained endpoint got %d requests", when, n)
		}
		s := w.State().Routes[0].Pools[0]
		if s.Healthy != 1 || s.Endpoints[0].Drained == nil || !strings.Contains(s.Endpoints[0].Why, "ann") {
			t.Errorf("%s: State = %+v", when, s)
		}
	}
	quiet("drained")
	one(w, pool)
	quiet("after another table")
	if again, err := d.Drain(t.Context(), "shop.a", traffic.DrainOrder{By: "ben"}); err != nil || again[0].Drained.By != "ann" || again[0].Drained.Why != by.Why {
		t.Errorf("Drain() once more without a reason = %+v, %v, want the first one's", again, err)
	}
	for _, target := range []string{"shop.b", b.Addr, "r1", "v1"} {
		_, err := d.Drain(t.Context(), target, by)
		var no *delivery.Refusal
		if !errors.As(err, &no) || no.Field != "target" || !strings.Contains(no.Next, target+" --force") {
			t.Errorf("Drain(%s) of the last = %v, want a refusal with the way out", target, err)
		}
	}
	var field *delivery.FieldError
	if _, err := d.Drain(t.Context(), "nobody", by); !errors.As(err, &field) || field.Next != "slipway proxy routes" {
		t.Errorf("Drain(nobody) = %v", err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	end = serve(t, dir)
	quiet("after a restart")
	forced := by
	forced.Force = true
	if out, err := d.Drain(t.Context(), "v1", forced); err != nil || len(out) != 2 {
		t.Errorf("Drain(v1, force) = %+v, %v", out, err)
	}
	if code, _ := w.Ask("shop", ""); code != http.StatusServiceUnavailable {
		t.Errorf("with all drained = %d, want 503", code)
	}
	if out, err := d.Undrain(t.Context(), "r1"); err != nil || len(out) != 2 || out[0].Drained != nil {
		t.Errorf("Undrain() = %+v, %v", out, err)
	}
	before := a.Requests()
	await(t, "the endpoint to be used again", func() bool { w.Get("shop", ""); return a.Requests() > before })
	// One that leaves the table is forgotten, also on disk.
	if _, err := d.Drain(t.Context(), "shop.a", by); err != nil {
		t.Fatal(err)
	}
	one(w, traffictest.Share(b, delivery.Full))
	one(w, pool)
	if e := w.State().Routes[0].Pools[0].Endpoints[0]; e.Drained != nil {
		t.Errorf("an endpoint that left and came back is %+v", e)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	serve(t, dir)
	if e := w.State().Routes[0].Pools[0].Endpoints[0]; e.Drained != nil {
		t.Errorf("after a restart it is %+v", e)
	}
}

// A drained endpoint stays drained over an upgrade.
func TestDrainOutlivesAnUpgrade(t *testing.T) {
	t.Parallel()
	_, d, w, a := plant(t)
	b := w.Instance("v1b", "r1", "v1")
	pool := traffictest.Share(a, delivery.Full)
	pool.Endpoints = append(pool.Endpoints, traffic.Endpoint{ID: b.ID, Addr: b.Addr})
	one(w, pool)
	if _, err := d.Drain(t.Context(), "v1b", traffic.DrainOrder{By: "ann"}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Upgrade(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Drain(t.Context(), "v1", traffic.DrainOrder{By: "bob"}); err == nil {
		t.Error("the last endpoint was drained: the successor forgot the first")
	}
	if out, err := d.Undrain(t.Context(), "v1b"); err != nil || out[0].Drained != nil {
		t.Errorf("Undrain() = %+v, %v", out, err)
	}
}

// A dump is whole and holds no key.
func TestDump(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	serve(t, dir)
	d := driver.New(filepath.Join(dir, "s"))
	w := traffictest.NewWorld(t, d)
	w.PreviewKey = []byte("0123456789abcdef0123456789abcdef")
	w.Plane.OTLP = "http://me:secret@127.0.0.1:9"
	one(w, traffictest.Share(w.Instance("v1", "r1", "v1"), delivery.Full))
	w.Get("shop", "")
	w.AskPath("shop", "", "/status/500")
	var got traffic.Dump
	await(t, "the counts", func() bool {
		var err error
		if got, err = d.Dump(t.Context()); err != nil {
			t.Fatal(err)
		}
		return len(got.Blocks) > 0 && len(got.Failed) == 1
	})
	if got.Table.PreviewKey != nil || strings.Contains(got.Table.Plane.OTLP, "secret") {
		t.Errorf("the dump tells a key: %+v", got.Table)
	}
	if got.Table.Generation != w.Generation || got.State.Generation != w.Generation || got.Process.Goroutines == 0 || got.Process.OpenFiles < 5 || got.Process.HeapBytes == 0 {
		t.Errorf("dump = %+v", got)
	}
}
