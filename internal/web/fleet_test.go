package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control/controltest"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// fleetOf is the size that pages are measured at.
const fleetOf = 500

// fleetEnvironments are those of a fleet, in their order.
func fleetEnvironments() []string { return []string{"dev", "test", "staging", "canary", "prod"} }

// fleet makes a house of n services in five environments, with a history: each
// was deployed twice everywhere, every tenth v2 came back from prod and is held,
// and the first forty call one another.
func fleet(t testing.TB, n int) *house {
	t.Helper()
	h := build(t)
	var yaml strings.Builder
	fmt.Fprint(&yaml, "project: fleet\nenvironments:\n")
	for _, env := range fleetEnvironments() {
		fmt.Fprintf(&yaml, "  - { name: %s }\n", env)
	}
	fmt.Fprint(&yaml, "services:\n")
	for i := range n {
		fmt.Fprintf(&yaml, "  %s: { run: ./main, config: { REGION: north } }\n", fleetService(i))
	}
	h.project(yaml.String())
	p, _, err := h.store.Project(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	code := h.bundle("main")
	f := &fleetWriter{noon: time.Now().Add(-6 * time.Hour)}
	const batch = 50
	for first := 0; first < n; first += batch {
		err := h.store.Write(t.Context(), func(tx *store.Tx) error {
			for i := first; i < min(first+batch, n); i++ {
				if err := f.history(tx, p, i, code); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range min(n, 40) {
		h.m.Call(controltest.Callers{From: fleetService(i / 2), Env: "prod", Service: fleetService(i), Rate: 2})
	}
	h.run()
	h.eventually("every instance runs", func() bool {
		all, err := h.m.List(t.Context())
		return err == nil && len(all) == n*len(fleetEnvironments())
	}, func() string { all, _ := h.m.List(t.Context()); return fmt.Sprintf("%d instances", len(all)) })
	return h
}

func fleetService(i int) string { return fmt.Sprintf("service-%03d", i) }

// fleetWriter writes the history of a fleet.
type fleetWriter struct{ noon time.Time }

// history is what one service went through.
func (f *fleetWriter) history(tx *store.Tx, p delivery.Project, i int, code delivery.Digest) error {
	name := fleetService(i)
	svc, _ := p.Service(name)
	v1, v2 := fleetRelease(svc, "v1.0.0", code), fleetRelease(svc, "v2.0.0", code)
	for _, rel := range []delivery.Release{v1, v2} {
		if err := tx.PutRelease(rel); err != nil {
			return err
		}
	}
	if err := f.change(tx, svc, delivery.Release{}, v1); err != nil {
		return err
	}
	return f.change(tx, svc, v1, v2)
}

func fleetRelease(svc delivery.Service, version string, code delivery.Digest) delivery.Release {
	return delivery.Release{
		Service: svc.Name, Version: version, Run: svc.Run, Config: map[string]string{"REGION": "north", "VERSION": version},
		Artifacts: []delivery.Artifact{{Kind: delivery.Code, Digest: code}},
	}.Seal()
}

// change is one that went through all environments, or came back from the last.
func (f *fleetWriter) change(tx *store.Tx, svc delivery.Service, from, to delivery.Release) error {
	c, err := tx.CreateChange(delivery.Change{
		Kind: delivery.Code, Kinds: []delivery.Kind{delivery.Code}, Origin: delivery.OriginPerson, Reason: "make " + svc.Name + " better", By: "ann", Submitted: f.noon,
		Members: []delivery.Member{{Service: svc.Name, From: from.ID, To: to.ID, Version: to.Version}},
	})
	if err != nil {
		return err
	}
	for n, env := range fleetEnvironments() {
		back := from.ID != "" && c.ID%20 == 0 && n == len(fleetEnvironments())-1
		at := f.noon.Add(time.Duration(n) * time.Hour)
		r := delivery.Rollout{
			ID: delivery.RolloutID(fmt.Sprintf("%d/%s", c.ID, env)), Change: c.ID, Kind: c.Kind, Origin: c.Origin, Service: svc.Name, Env: env, From: from.ID, Was: from.Version, To: to.ID, Version: to.Version,
			State: delivery.Done, Reason: to.Version + " is stable in " + env, Created: f.noon, Started: at, Entered: at, Exposed: at, Ended: at.Add(time.Minute),
			Plan: delivery.Plan{Strategy: delivery.Canary, Replicas: 1, Steps: []delivery.Step{{Do: delivery.DoWeight, Weight: delivery.Full, New: 1}}},
		}
		stable, before := to, from
		if back {
			r.State, r.Reason, r.Reverted, stable, before = delivery.Reverted, "v2.0.0 fails more than v1.0.0", at, from, delivery.Release{}
			r.Cause = delivery.Cause{Kind: delivery.CauseVerdict, Text: r.Reason, At: at}
			if _, err := tx.PutHold(delivery.Hold{Kind: delivery.Quarantine, Service: svc.Name, Release: to.ID, Version: to.Version, Change: c.ID, Why: r.Reason, By: "the judge", At: at}); err != nil {
				return err
			}
		}
		if r, err = tx.CreateRollout(r); err != nil {
			return err
		}
		if err := f.stands(tx, r, stable, before); err != nil {
			return err
		}
	}
	return nil
}

// stands is what runs in an environment after a rollout.
func (f *fleetWriter) stands(tx *store.Tx, r delivery.Rollout, stable, before delivery.Release) error {
	if err := tx.SetStable(delivery.Stable{Service: r.Service, Env: r.Env, Release: stable.ID, Version: stable.Version, Change: r.Change, Since: r.Ended, Previous: before.ID}); err != nil {
		return err
	}
	for _, w := range []delivery.Want{{Service: r.Service, Env: r.Env, Release: stable.ID, Count: 1, Change: r.Change}, {Service: r.Service, Env: r.Env, Release: before.ID}} {
		if w.Release == "" {
			continue
		}
		if err := tx.SetWant(w); err != nil {
			return err
		}
	}
	route := delivery.Route{Service: r.Service, Env: r.Env, Gen: r.Seq, Split: []delivery.Share{{Release: stable.ID, Weight: delivery.Full}}, Salt: string(r.ID), At: r.Ended}
	if err := tx.SaveRoute(route); err != nil {
		return err
	}
	_, err := tx.Append(delivery.Event{At: r.Ended, Kind: delivery.EventMoved, Change: r.Change, Rollout: r.ID, Service: r.Service, Env: r.Env, State: r.State, By: "ann", Text: r.Reason})
	return err
}

// fleetPaths are addresses of the pages that are about many things at once.
func fleetPaths(p *person) []string {
	var out []string
	for _, path := range []string{"/", "/?q=service-4", "/?page=2", "/changes", "/changes?service=service-077", "/changes/20", "/services", "/services/service-001", "/environments", "/graph", "/numbers", "/settings"} {
		bare, _, _ := strings.Cut(path, "?")
		if !strings.Contains(p.get(bare).text(), "there is no page") {
			out = append(out, path)
		}
	}
	return out
}

// Pages about five hundred services are as light as those about three.
func TestFleetWeights(t *testing.T) {
	t.Parallel()
	h := fleet(t, fleetOf)
	admin := h.admin()
	for _, path := range fleetPaths(admin) {
		began := time.Now()
		r := admin.get(path).want(http.StatusOK)
		t.Logf("%7d bytes in %6.1f ms  %s", len(r.Body), float64(time.Since(began).Microseconds())/1000, path)
		if len(r.Body) >= 100_000 {
			t.Errorf("%s has %d bytes of HTML at %d services, want less than 100,000", path, len(r.Body), fleetOf)
		}
	}
}

// How long the server takes for a page at 500 services in 5 environments.
func BenchmarkPages(b *testing.B) {
	h := fleet(b, fleetOf)
	h.halt()
	admin := h.admin()
	for _, path := range fleetPaths(admin) {
		b.Run(strings.ReplaceAll(strings.Trim(path, "/"), "/", "."), func(b *testing.B) {
			for b.Loop() {
				admin.get(path)
			}
		})
	}
}
