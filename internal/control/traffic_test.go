package control

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// targeted is the project of prod alone, with three targets and a mirror.
func targeted() delivery.Project {
	p := project("prod")
	when := func(name string) []delivery.Condition {
		return []delivery.Condition{{On: delivery.OnHeader, Name: name}}
	}
	p.Services[0].Targets = []delivery.Target{
		{Name: "testers", When: when("X-Tester"), To: delivery.TargetCandidate},
		{Name: "careful", When: when("X-Careful"), To: delivery.TargetStable},
		{Name: "pinned", When: when("X-Pinned"), To: "v1"},
	}
	p.Services[0].Mirror = &delivery.Mirror{To: delivery.TargetCandidate, Share: delivery.Percent(10)}
	return p
}

// aims writes where the targets and the mirror of a route lead, in versions.
func aims(r traffic.Route) string {
	version := func(id delivery.ReleaseID) string { return poolOf(r, id).Version }
	var out []string
	for _, t := range r.Targets {
		out = append(out, t.Name+" "+version(t.Release))
	}
	if r.Mirror != nil {
		out = append(out, "mirror "+version(r.Mirror.Release))
	}
	return strings.Join(out, ", ")
}

// until waits in the bubble until a rollout is in a state.
func (h *house) until(t *testing.T, id delivery.RolloutID, s delivery.State) {
	t.Helper()
	for range 9000 {
		if h.rollout(id).State == s {
			time.Sleep(300 * time.Millisecond) // and its table is in force
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.want(t, id, s)
}

func TestTargetsFollowTheRollout(t *testing.T) {
	scene(t, targeted(), func(t *testing.T, w *world, h *house) {
		is := func(when, want string) {
			t.Helper()
			if got := aims(w.route()); got != want {
				t.Errorf("%s: %s; want %s", when, got, want)
			}
		}
		is("with v1 stable and nothing under way", "careful v1, pinned v1")
		id := h.deploy("v2").Rollouts[0].ID
		h.until(t, id, delivery.Judging)
		is("while v2 is judged", "testers v2, careful v1, pinned v1, mirror v2")
		h.until(t, id, delivery.Done)
		is("with v2 stable and v1 warm", "careful v2, pinned v1")
		time.Sleep(2 * time.Minute) // past the window
		is("with v1 gone", "careful v2")
		third := h.deploy("v3")
		h.until(t, third.Rollouts[0].ID, delivery.Judging)
		is("while v3 is judged", "testers v3, careful v2, mirror v3")
		h.ask(t, delivery.AskAbort, third.Change.ID)
		h.until(t, third.Rollouts[0].ID, delivery.Reverted)
		is("with v3 taken back", "careful v2")
	})
}

// Who calls a service is counted by its draw while it is rolled out, and only then:
// else the table is as ever.
func TestCallersAreCountedByTheDrawOfWhatIsRolledOut(t *testing.T) {
	p := project("prod")
	front := p.Services[0]
	front.Name, front.Run.Needs = "front", []delivery.Need{{Service: "api"}}
	p.Services = append(p.Services, front)
	scene(t, p, func(t *testing.T, w *world, h *house) {
		is := func(when string, want ...string) {
			t.Helper()
			w.mu.Lock()
			defer w.mu.Unlock()
			if api, got := w.table.Routes[0], w.table.Routes[1]; got.Service != "front" || !slices.Equal(got.Arms, want) || api.Arms != nil {
				t.Errorf("%s: %s is counted by %q and api by %q; want %q and nothing", when, got.Service, got.Arms, api.Arms, want)
			}
		}
		is("with v1 stable and nothing under way")
		id := h.deploy("v2").Rollouts[0].ID
		h.until(t, id, delivery.Judging)
		is("while v2 is judged", "prod/api")
		h.until(t, id, delivery.Done)
		time.Sleep(2 * time.Second)
		is("with v2 stable")
	})
}

// The words belong to the project: they are in force at once, and no release is
// another for them.
func TestTrafficWordsNeedNoDeploy(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		before, err := h.d.Store.Stables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := project("prod")
		p.Services[0].Traffic = delivery.Traffic{Timeout: 5 * time.Second, Sticky: delivery.Sticky{By: delivery.ByIP}, Hold: delivery.Holding{For: time.Second}}
		p.Environments[0].TLS = &delivery.TLS{Cert: "/a.pem", Key: "/b.pem"}
		p.DataPlane = delivery.DataPlane{FullOnly: true}
		if _, err := h.SetProject(t.Context(), p, []byte("y"), "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if got := w.route().Traffic; !delivery.Same(got, p.Services[0].Traffic) {
			t.Errorf("the route carries as %+v, want %+v", got, p.Services[0].Traffic)
		}
		w.mu.Lock()
		table := w.table
		w.mu.Unlock()
		if !delivery.Same(table.Plane, p.DataPlane) || !delivery.Same(table.Listeners[0].TLS, p.Environments[0].TLS) {
			t.Errorf("the table has plane %+v and listener %+v", table.Plane, table.Listeners[0])
		}
		lines := ledger(t, h.d.Store)
		if !slices.ContainsFunc(lines, func(e delivery.Event) bool {
			return e.Kind == delivery.EventProject && strings.HasSuffix(e.Text, "; at once: traffic of api, tls of prod, data_plane")
		}) {
			t.Errorf("the ledger ends with %+v", lines[len(lines)-1])
		}
		after, err := h.d.Store.Stables(t.Context())
		if err != nil || !delivery.Same(before, after) {
			t.Errorf("what is stable became %+v, was %+v (%v)", after, before, err)
		}
	})
}

// A project without the words has a table without them, so that a data plane of
// before they were there takes it as it always did.
func TestQuietProjectHasAQuietTable(t *testing.T) {
	scene(t, project("dev", "prod"), func(t *testing.T, w *world, h *house) {
		h.until(t, h.deploy("v2").Rollouts[0].ID, delivery.Done)
		w.mu.Lock()
		defer w.mu.Unlock()
		var table struct{ Listeners, Routes []map[string]json.RawMessage }
		doc, err := json.Marshal(w.table)
		if err == nil {
			err = json.Unmarshal(doc, &table)
		}
		if err != nil || len(table.Routes) != 2 {
			t.Fatalf("the table %s: %v", doc, err)
		}
		known := []string{"name", "addr", "env", "service", "generation", "own", "hosts", "paths", "salt", "pools", "preview"}
		for _, part := range slices.Concat(table.Listeners, table.Routes) {
			for key := range part {
				if !slices.Contains(known, key) {
					t.Errorf("a table without traffic words has %s: %s", key, part[key])
				}
			}
		}
		if string(w.table.PreviewKey) != houseKey || !delivery.Same(w.table.Plane, delivery.DataPlane{}) {
			t.Errorf("a table without them has another key or a plane: %s", doc)
		}
	})
}

// Between the two releases of a recreate nobody is there, and requests wait.
func TestRecreateHoldsRequests(t *testing.T) {
	recreate := with(func(s *delivery.Strategy) {
		*s = delivery.Strategy{Kind: delivery.Recreate, Deadline: 30 * time.Second, Soak: time.Second, Window: time.Minute}
	})
	own := with(func(s *delivery.Strategy) { *s = recreate.Services[0].In["prod"].Strategy })
	own.Services[0].Traffic.Hold = delivery.Holding{For: 3 * time.Second, Max: 7}
	for _, tt := range []struct {
		name         string
		project      delivery.Project
		during, idle delivery.Holding
	}{
		{"nothing said", recreate, delivery.Holding{For: recreateHold}, delivery.Holding{}},
		{"the service's own", own, own.Services[0].Traffic.Hold, own.Services[0].Traffic.Hold},
		{"canary", project("prod"), delivery.Holding{}, delivery.Holding{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			scene(t, tt.project, func(t *testing.T, w *world, h *house) {
				dark := 0
				w.mu.Lock()
				w.check = func(_, is traffic.Table) {
					var sum delivery.Weight
					for _, p := range is.Routes[0].Pools {
						sum += p.Weight
					}
					if sum == 0 {
						dark++
						if is.Routes[0].Hold != tt.during {
							w.violate("a dark route holds %+v, want %+v", is.Routes[0].Hold, tt.during)
						}
					}
				}
				w.mu.Unlock()
				if got := w.route().Hold; got != tt.idle {
					t.Errorf("with nothing under way it holds %+v, want %+v", got, tt.idle)
				}
				h.until(t, h.deploy("v2").Rollouts[0].ID, delivery.Done)
				if got := w.route().Hold; got != tt.idle {
					t.Errorf("when it is over it holds %+v, want %+v", got, tt.idle)
				}
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.check = nil; (dark > 0) != (tt.name != "canary") {
					t.Errorf("the route was dark in %d tables", dark)
				}
			})
		})
	}
}
