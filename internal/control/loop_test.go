package control

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// A good version goes through every environment by itself.
func TestGoodVersionGoesAllTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.versions["v1"] = behaviour{start: time.Second, fail: 0.002}
		w.versions["v2"] = behaviour{start: time.Second, fail: 0.002}
		w.rate["staging/api"], w.rate["prod/api"] = 200, 400
		h := begin(t, w, t.TempDir())
		defer h.stop()
		if _, err := h.SetProject(t.Context(), project("staging", "prod"), []byte("x"), "ann"); err != nil {
			t.Fatal(err)
		}
		h.deploy("v1")
		time.Sleep(30 * time.Second)
		if h.stable("staging") != "v1" || h.stable("prod") != "v1" {
			h.story()
			t.Fatalf("stable = %q, %q; want v1, v1", h.stable("staging"), h.stable("prod"))
		}
		h.deploy("v2")
		time.Sleep(10 * time.Minute)
		if h.stable("staging") != "v2" || h.stable("prod") != "v2" {
			h.story()
			t.Fatalf("stable = %q, %q; want v2, v2", h.stable("staging"), h.stable("prod"))
		}
	})
}

// A bad version is caught by the requests it gets and comes back by itself.
func TestBadVersionComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.versions["v1"] = behaviour{start: time.Second, fail: 0.002}
		w.versions["v2"] = behaviour{start: time.Second, fail: 0.08}
		w.rate["prod/api"] = 200
		h := begin(t, w, t.TempDir())
		defer h.stop()
		if _, err := h.SetProject(t.Context(), project("prod"), []byte("x"), "ann"); err != nil {
			t.Fatal(err)
		}
		h.deploy("v1")
		time.Sleep(30 * time.Second)
		s := h.deploy("v2")
		time.Sleep(2 * time.Minute)
		r := h.rollout(s.Rollouts[0].ID)
		if r.State != delivery.Reverted || r.Cause.Kind != delivery.CauseVerdict || h.stable("prod") != "v1" {
			h.story()
			t.Fatalf("rollout = %s %q, stable %s; want reverted by verdict, v1", r.State, r.Cause.Text, h.stable("prod"))
		}
		holds, err := h.d.Store.Holds(t.Context())
		if err != nil || len(holds) != 1 || holds[0].Version != "v2" {
			t.Fatalf("holds = %v, %v; want v2 in quarantine", holds, err)
		}
		if len(w.violated) > 0 {
			t.Fatal(w.violated)
		}
	})
}
