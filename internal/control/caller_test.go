package control

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// A release that answers every request well, quickly and with nothing in it is
// caught at the service that calls it: through the real data plane, which counts
// the caller's requests by the release that their key is drawn to behind it.
func TestBadCalleeIsCaughtAtItsCaller(t *testing.T) {
	h := newHall(t)
	p, err := openParts(t.Context(), h.dir, self(t))
	if err != nil {
		t.Fatal(err)
	}
	l := New(Deps{
		Store: p.store, Workload: p.driver, Traffic: traffic.New(plane(h.dir)), Artifacts: p.bundles,
		Log: slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	h.awaitPlane()
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	defer func() {
		stop()
		if err := errors.Join(<-ran, p.close()); err != nil {
			t.Error(err)
		}
	}()
	project := h.project(quickCanary(delivery.StepSpec{Weight: delivery.Percent(30), Proven: true, Max: time.Minute}), 1, "frontend", "catalog")
	project.Services[0].Run.Needs = []delivery.Need{{Service: "catalog"}}
	if _, err := l.SetProject(t.Context(), project, []byte("x"), "ann"); err != nil {
		t.Fatal(err)
	}
	good := h.bundle(character{Version: "v1"})
	for _, name := range []string{"catalog", "frontend"} {
		deployAndWait(t, l, Submission{Service: name, Version: "v1", Bundle: good, By: "ann"})
	}
	c := h.call(8, 40*time.Millisecond, "frontend")
	s, err := l.Submit(t.Context(), Submission{Service: "catalog", Version: "v2", Bundle: h.bundle(character{Version: "v2", Hollow: true}), By: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	var r delivery.Rollout
	await(t, 90*time.Second, "the hollow release goes back", func() bool {
		r, err = p.store.Rollout(t.Context(), s.Rollouts[0].ID)
		return err == nil && r.State.Final()
	})
	c.stop()
	if t.Log(c, r.Cause.Text); r.State != delivery.Reverted || r.Cause.Kind != delivery.CauseVerdict || !strings.Contains(r.Cause.Text, "frontend") {
		t.Fatalf("it is %s because %q; want it sent back for what shows at frontend", r.State, r.Cause.Text)
	}
	for _, check := range r.Verdict.Checks {
		if check.Name == "errors" && check.Outcome == delivery.Fail {
			t.Errorf("its own errors say %+v, and it has none", check)
		}
	}
	if c.lost.Load() > 0 {
		t.Errorf("callers: %s", c)
	}
	again, err := l.Replay(t.Context(), s.Change.ID)
	if err != nil || len(again) != 1 || !again[0].Same {
		t.Errorf("replay = %+v, %v", again, err)
	}
}
