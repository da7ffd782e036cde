package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// deploys is how many deploys the load test makes: SLIPWAY_DEPLOYS, or 200.
func deploys(t *testing.T) int {
	t.Helper()
	s := os.Getenv("SLIPWAY_DEPLOYS")
	if s == "" {
		return 200
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 2 {
		t.Fatalf("SLIPWAY_DEPLOYS=%s is no number of deploys", s)
	}
	return n
}

// Deploys under load, one after the other in each of two services, cost no
// caller an answer.
func TestTwoHundredDeploysUnderLoad(t *testing.T) {
	total := deploys(t)
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
	s := quick(delivery.Rolling)
	s.Soak, s.Window = 0, 0
	services := []string{"api", "cart"}
	if _, err := l.SetProject(t.Context(), h.project(s, 1, services...), []byte("x"), "ann"); err != nil {
		t.Fatal(err)
	}
	bundles := []delivery.Digest{h.bundle(character{Version: "even"}), h.bundle(character{Version: "odd"})}
	for _, name := range services {
		deployAndWait(t, l, Submission{Service: name, Version: "even", Bundle: bundles[0], By: "ann"})
	}
	c := h.call(16, 50*time.Millisecond, services...)
	var wg sync.WaitGroup
	took := make([][]time.Duration, len(services))
	for i, name := range services {
		wg.Go(func() {
			for n := 1; n <= total/len(services) && !t.Failed(); n++ {
				version := []string{"even", "odd"}[n%2]
				took[i] = append(took[i], deployAndWait(t, l, Submission{Service: name, Version: version, Bundle: bundles[n%2], By: "ann"}))
			}
		})
	}
	wg.Wait()
	c.stop()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	t.Logf("%d deploys, median %s, slowest %s; %s", len(all), all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond), c)
	if len(all) != total/2*2 || c.lost.Load() > 0 || c.own.Load() > 0 || c.asked.Load() < int64(total) {
		t.Errorf("%d of %d deploys; %s; want none lost", len(all), total, c)
	}
	last := []string{"even", "odd"}[total/2%2]
	await(t, 30*time.Second, "everything comes to rest", func() bool {
		on, err := running(t.Context(), p.driver)
		w, errW := p.store.Snapshot(t.Context())
		return errors.Join(err, errW) == nil && len(on) == 2 && len(w.Wants) == 2 &&
			!slices.ContainsFunc(w.Routes, func(r delivery.Route) bool { return r.Acked != r.Gen })
	})
	h.sound(p.store, 1, map[string]string{"api": last, "cart": last})
}

// deployAndWait submits, and returns how long it took until done.
func deployAndWait(t *testing.T, l *Loop, s Submission) time.Duration {
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	bell := l.d.Store.Subscribe(ctx)
	begun := time.Now()
	out, err := l.Submit(ctx, s)
	if err != nil {
		t.Errorf("submit: %v", err)
		return 0
	}
	for {
		r, err := l.d.Store.Rollout(ctx, out.Rollouts[0].ID)
		switch {
		case err != nil:
			t.Errorf("%s: %v", out.Rollouts[0].ID, err)
			return 0
		case r.State == delivery.Done:
			return time.Since(begun)
		case r.State.Final():
			t.Errorf("%s ended %s: %s", r.ID, r.State, r.Reason)
			return 0
		}
		select {
		case <-bell:
		case <-ctx.Done():
			t.Errorf("%s is still %s: %s; %s", r.ID, r.State, r.Reason, waitsFor(r))
			return 0
		}
	}
}

func waitsFor(r delivery.Rollout) string {
	if r.Waiting == nil {
		return "waits for nothing"
	}
	return fmt.Sprintf("waits for %s: %s", r.Waiting.On, r.Waiting.What)
}

// A recreate has nobody between its two releases, and callers wait for the new
// one instead of being turned away.
func TestRecreateLosesNoRequest(t *testing.T) {
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
	s := quick(delivery.Recreate)
	s.Soak, s.Window = 0, 0
	project := h.project(s, 1, "api")
	project.Services[0].Traffic.Hold.For = 30 * time.Second // on a machine that others load
	if _, err := l.SetProject(t.Context(), project, []byte("x"), "ann"); err != nil {
		t.Fatal(err)
	}
	bundles := []delivery.Digest{h.bundle(character{Version: "even"}), h.bundle(character{Version: "odd"})}
	deployAndWait(t, l, Submission{Service: "api", Version: "even", Bundle: bundles[0], By: "ann"})
	c := h.call(16, 20*time.Millisecond, "api")
	for n := 1; n <= 4 && !t.Failed(); n++ {
		deployAndWait(t, l, Submission{Service: "api", Version: []string{"even", "odd"}[n%2], Bundle: bundles[n%2], By: "ann"})
	}
	c.stop()
	if t.Log(c); c.lost.Load() > 0 || c.own.Load() > 0 || len(c.by) != 2 {
		t.Errorf("%s; want none lost, and answers of both", c)
	}
}
