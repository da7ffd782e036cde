package control

import (
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// scene plays f in a world where v1 is stable in every environment of p and v2
// to v4 are as good.
func scene(t *testing.T, p delivery.Project, f func(t *testing.T, w *world, h *house)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, v := range []string{"v1", "v2", "v3", "v4"} {
			w.behave(v, behaviour{start: time.Second, fail: 0.002})
		}
		for _, env := range p.EnvironmentNames() {
			w.rate[routeName(env, "api")] = 200
		}
		h := begin(t, w, dir)
		if _, err := h.SetProject(t.Context(), p, []byte("x"), "ann"); err != nil {
			t.Fatal(err)
		}
		h.deploy("v1")
		time.Sleep(30 * time.Second)
		f(t, w, h)
		h.stop()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.violated) > 0 {
			t.Errorf("violated: %q", w.violated)
		}
	})
}

// with is the project of prod alone with another strategy.
func with(change func(*delivery.Strategy)) delivery.Project {
	p := project("prod")
	d := p.Services[0].In["prod"]
	change(&d.Strategy)
	p.Services[0].In["prod"] = d
	return p
}

// want wants a rollout in a state. How long a good release takes until it is done is
// its judge's to say, who needs more of some requests than of others: that is waited for.
func (h *house) want(t *testing.T, id delivery.RolloutID, s delivery.State) {
	t.Helper()
	for i := 0; s == delivery.Done && !h.rollout(id).State.Final() && i < 20*60; i++ {
		time.Sleep(time.Second)
	}
	if r := h.rollout(id); r.State != s {
		h.story()
		t.Fatalf("%s of %s is %s: %s; want %s", id, r.Version, r.State, r.Reason, s)
	}
}

// behave says how a version behaves from now on.
func (w *world) behave(version string, b behaviour) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.versions[version] = b
}

// route is the first route in force.
func (w *world) route() traffic.Route {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.table.Routes[0]
}

// runs counts the instances of a version.
func (w *world) runs(version string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, i := range w.instances {
		if i.spec.Version == version && !i.stopped {
			n++
		}
	}
	return n
}

func (h *house) ask(t *testing.T, verb delivery.AskVerb, c delivery.ChangeID) {
	t.Helper()
	if _, err := h.Ask(t.Context(), verb, Request{Change: c, By: "ann"}); err != nil {
		t.Fatal(err)
	}
}

func TestCase05_SlowOlderDeployNeverTakesOver(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		w.behave("v2", behaviour{start: 25 * time.Second, fail: 0.002})
		old := h.deploy("v2").Rollouts[0].ID
		time.Sleep(2 * time.Second)
		h.deploy("v3")
		time.Sleep(5 * time.Minute)
		h.want(t, old, delivery.Superseded)
		if h.stable("prod") != "v3" || w.runs("v2") != 0 {
			t.Errorf("stable is %s, %d of v2 run; want v3 and none", h.stable("prod"), w.runs("v2"))
		}
	})
}

func TestCase06_TwoDeploysAtOnceAreNeverInterleaved(t *testing.T) {
	p := with(func(s *delivery.Strategy) { s.Supersede = delivery.Queue })
	scene(t, p, func(t *testing.T, _ *world, h *house) {
		versions := []string{"v2", "v3", "v4"}
		var bundles []delivery.Digest
		for _, v := range versions {
			bundles = append(bundles, h.bundle(v))
		}
		var wg sync.WaitGroup
		for i, v := range versions {
			wg.Go(func() {
				if _, err := h.Submit(t.Context(), Submission{Service: "api", Version: v, Bundle: bundles[i], By: "ann"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(20 * time.Minute)
		active := delivery.RolloutID("")
		began := map[delivery.RolloutID]bool{}
		for _, e := range ledger(t, h.d.Store) {
			if e.Kind != delivery.EventMoved || e.State == delivery.Queued {
				continue
			}
			if began[e.Rollout] = true; active != "" && active != e.Rollout {
				t.Fatalf("%s moved while %s was under way", e.Rollout, active)
			}
			if active = e.Rollout; e.State.Final() {
				active = ""
			}
		}
		if len(began) != 4 {
			t.Errorf("%d rollouts began, want 4", len(began))
		}
	})
}

func TestCase07_AbortOfAQueuedChangeTouchesNoOther(t *testing.T) {
	p := with(func(s *delivery.Strategy) { s.Supersede = delivery.Queue })
	scene(t, p, func(t *testing.T, _ *world, h *house) {
		first, second, third := h.deploy("v2"), h.deploy("v3"), h.deploy("v4")
		time.Sleep(3 * time.Second)
		h.ask(t, delivery.AskAbort, second.Change.ID)
		time.Sleep(10 * time.Minute)
		h.want(t, first.Rollouts[0].ID, delivery.Done)
		h.want(t, second.Rollouts[0].ID, delivery.Cancelled)
		h.want(t, third.Rollouts[0].ID, delivery.Done)
	})
}

func TestCase07_AbortBeforeTheNextLookSparesWhatRuns(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		first := h.deploy("v2")
		time.Sleep(3 * time.Second)
		h.stop() // so that nothing looks between the submit and the abort
		h = begin(t, w, h.dir)
		h.stop()
		st, err := store.Open(t.Context(), filepath.Join(h.dir, "s.db"))
		if err != nil {
			t.Fatal(err)
		}
		bundle := h.bundle("v3")
		quiet := New(Deps{Store: st, Workload: simWorkload{w}, Traffic: traffic.New(simTraffic{w}), Artifacts: h.d.Artifacts, Log: h.d.Log})
		out, err := quiet.Submit(t.Context(), Submission{Service: "api", Version: "v3", Bundle: bundle, By: "ann"})
		if err == nil {
			_, err = quiet.Ask(t.Context(), delivery.AskAbort, Request{Change: out.Change.ID, By: "ann"})
		}
		if err = errors.Join(err, st.Close()); err != nil {
			t.Fatal(err)
		}
		h = begin(t, w, h.dir)
		time.Sleep(5 * time.Minute)
		h.want(t, out.Rollouts[0].ID, delivery.Cancelled)
		h.want(t, first.Rollouts[0].ID, delivery.Done)
		h.stop()
	})
}

func TestCase11_StrategyChangesBetweenReleases(t *testing.T) {
	for _, next := range []delivery.StrategyKind{delivery.BlueGreen, delivery.Rolling, delivery.Recreate} {
		scene(t, project("prod"), func(t *testing.T, _ *world, h *house) {
			p := with(func(s *delivery.Strategy) { s.Kind, s.Steps, s.MaxSurge = next, nil, 1 })
			if _, err := h.SetProject(t.Context(), p, []byte("y"), "ann"); err != nil {
				t.Fatal(err)
			}
			s := h.deploy("v2")
			time.Sleep(2 * time.Minute)
			h.want(t, s.Rollouts[0].ID, delivery.Done)
			if r := h.rollout(s.Rollouts[0].ID); r.Plan.Strategy != next {
				t.Errorf("went by %s, want %s", r.Plan.Strategy, next)
			}
		})
	}
}

func TestCase16_AFixDeploysAfterAnAbort(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(5 * time.Second)
		h.ask(t, delivery.AskAbort, s.Change.ID)
		time.Sleep(20 * time.Second)
		h.want(t, s.Rollouts[0].ID, delivery.Reverted)
		fix := h.deploy("v3")
		time.Sleep(5 * time.Minute)
		h.want(t, fix.Rollouts[0].ID, delivery.Done)
	})
}

func TestCase20_AbortLeavesNoRouteBehind(t *testing.T) {
	p := with(func(s *delivery.Strategy) {
		s.Kind, s.Steps = delivery.BlueGreen, []delivery.StepSpec{{Weight: delivery.Full, Approve: true}}
	})
	scene(t, p, func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(10 * time.Second)
		if r := w.route(); r.Preview != s.Release.ID {
			t.Fatalf("preview is %q, want %s", r.Preview, s.Release.ID)
		}
		h.ask(t, delivery.AskAbort, s.Change.ID)
		time.Sleep(30 * time.Second)
		h.want(t, s.Rollouts[0].ID, delivery.Reverted)
		r := w.route()
		if r.Preview != "" || len(poolOf(r, s.Release.ID).Endpoints) > 0 || poolOf(r, s.Release.ID).Weight != 0 || w.runs("v2") != 0 {
			t.Errorf("the route is %+v, %d of v2 run; want nothing of it left", r, w.runs("v2"))
		}
	})
}

func TestCase24_WhatWentBackIsNotProposedAgain(t *testing.T) {
	scene(t, project("staging", "prod"), func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		id := delivery.RolloutID("")
		for range 600 { // until it is on its way into prod
			rs, err := h.d.Store.Rollouts(t.Context(), store.RolloutQuery{Change: s.Change.ID, Env: "prod", Open: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(rs) == 1 && rs[0].State == delivery.Judging {
				id = rs[0].ID
				break
			}
			time.Sleep(time.Second)
		}
		if _, err := h.Ask(t.Context(), delivery.AskAbort, Request{Change: s.Change.ID, Env: "prod", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		h.want(t, id, delivery.Reverted)
		if _, err := h.LiftHold(t.Context(), Lift{Service: "api", Version: "v2", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Minute)
		rs, err := h.d.Store.Rollouts(t.Context(), store.RolloutQuery{Change: s.Change.ID, Env: "prod"})
		if err != nil || len(rs) != 1 || h.stable("prod") != "v1" {
			t.Fatalf("%d rollouts into prod, %v, stable %s; want the one that went back, and v1", len(rs), err, h.stable("prod"))
		}
		h.deploy("v3")
		time.Sleep(20 * time.Minute)
		if h.stable("prod") != "v3" {
			t.Errorf("stable is %s, want v3: a newer release goes on by itself", h.stable("prod"))
		}
	})
}

func TestCase25_AnOldReleaseThatFailsRollsNothingBack(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(5 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
		w.behave("v2", behaviour{start: time.Second, fail: 0.5})
		time.Sleep(20 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
		if all, err := h.d.Store.Rollouts(t.Context(), store.RolloutQuery{}); err != nil || len(all) != 2 || h.stable("prod") != "v2" {
			t.Errorf("%d rollouts, %v, stable %s; want the two, and v2", len(all), err, h.stable("prod"))
		}
	})
}

func TestCase27_RollbackBringsTheConfigurationBack(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		if _, err := h.Submit(t.Context(), Submission{Service: "api", Set: map[string]string{"LIMIT": "1"}, By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		limits := func() (on []string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, e := range w.table.Routes[0].Pools[0].Endpoints {
				on = append(on, w.instances[workload.ID(e.ID)].spec.Vars["LIMIT"])
			}
			return on
		}
		if on := limits(); !slices.Equal(on, []string{"1", "1"}) {
			h.story()
			t.Fatalf("LIMIT is %q, want 1 in both", on)
		}
		if _, err := h.Rollback(t.Context(), RollbackRequest{Service: "api", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if on := limits(); !slices.Equal(on, []string{"", ""}) {
			h.story()
			t.Errorf("LIMIT is %q after the rollback, want none", on)
		}
	})
}

// There are no rollback hooks or schema steps yet, so there is none to run. What
// a rollback needs and does not have, it refuses before anything is changed.
func TestCase28_RollbackRefusesWhatItCannotRestore(t *testing.T) {
	p := with(func(s *delivery.Strategy) { s.Window = 0 })
	scene(t, p, func(t *testing.T, _ *world, h *house) {
		h.deploy("v2")
		time.Sleep(5 * time.Minute)
		files, ok := h.d.Artifacts.Path(h.bundle("v1"))
		if err := os.Rename(files, files+".away"); err != nil || !ok {
			t.Fatal(err)
		}
		_, err := h.Rollback(t.Context(), RollbackRequest{Service: "api", By: "ann"})
		var no *delivery.Refusal
		if !errors.As(err, &no) || no.Code != delivery.CodeNoRollbackTarget || no.Next == "" {
			t.Errorf("rollback = %v, want a refusal with what to do", err)
		}
		holds, err := h.d.Store.Holds(t.Context())
		if err != nil || len(holds) != 0 || h.stable("prod") != "v2" {
			t.Errorf("%d holds, %v, stable %s; want nothing changed", len(holds), err, h.stable("prod"))
		}
	})
}

func TestCase32_WhatARollbackNeedsIsNotCollected(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		for !h.rollout(s.Rollouts[0].ID).State.Final() {
			time.Sleep(time.Second)
		}
		if gone, err := h.Collect(t.Context(), 1); err != nil || len(gone) != 0 || w.runs("v1") != 2 {
			t.Errorf("collected %v, %v, and %d of v1 run; want v1 kept within its window", gone, err, w.runs("v1"))
		}
		time.Sleep(10 * time.Minute)
		if gone, err := h.Collect(t.Context(), 1); err != nil || len(gone) != 0 || w.runs("v1") != 0 {
			t.Errorf("collected %v, %v, and %d of v1 run; want its files kept, it is the one to go back to", gone, err, w.runs("v1"))
		}
	})
}

func TestCase37_TheSameCountsTwiceCountOnce(t *testing.T) {
	c := New(Deps{}).counts
	at := time.Unix(1000, 0)
	f := traffic.Frame{At: at, Boot: "a", Blocks: []traffic.Block{{Route: "prod/api", Release: "r1", Second: 990, Requests: 10, Units: 10, UnitsBad: 3, Server: 3}}}
	c.take(f, at)
	c.take(f, at)
	if requests, failed := c.Exposure("prod/api", "r1", 0, 2000); requests != 10 || failed != 3 {
		t.Errorf("exposure = %d requests, %d failed; want each request once", requests, failed)
	}
}

func TestCase38_TheSweepFindsWhatNoBellTold(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		w.mu.Lock()
		w.mute = true
		w.mu.Unlock()
		s := h.deploy("v2")
		time.Sleep(5 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
	})
}

func TestCase40_ANewServerGoesOnWithTheOldDeadline(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		w.behave("v2", behaviour{never: true})
		s := h.deploy("v2")
		for range 3 {
			time.Sleep(9 * time.Second)
			h.stop()
			h = begin(t, w, h.dir)
		}
		time.Sleep(time.Minute)
		r := h.rollout(s.Rollouts[0].ID)
		if took := r.Reverted.Sub(r.Started); r.State != delivery.Reverted || took < 30*time.Second || took > 32*time.Second {
			t.Errorf("%s, %s after it began; want reverted after its deadline of 30 s", r.State, took)
		}
		h.stop()
	})
}

func TestCase41_TheLockOfADeadServerIsFree(t *testing.T) {
	h := newHall(t)
	doc, err := json.Marshal(orders{Project: h.project(quick(delivery.Canary), 1, "api"), First: true, Next: h.bundle(character{Version: "v2"})})
	if err == nil {
		err = os.WriteFile(filepath.Join(h.dir, "orders.json"), doc, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.awaitPlane()
	if h.life() {
		t.Fatal("the server was not killed")
	}
	st, err := store.Open(t.Context(), filepath.Join(h.dir, "store.db"))
	if err != nil {
		t.Fatalf("the store of a server that was killed cannot be opened: %v", err)
	}
	defer st.Close()
	var file *store.FileError
	if _, err := store.Open(t.Context(), filepath.Join(h.dir, "store.db")); !errors.As(err, &file) {
		t.Errorf("a second server on the same store = %v, want a refusal", err)
	}
}

// edit changes the documents of open rollouts as another version of Slipway
// would have written them.
func edit(t *testing.T, dir string, change func(map[string]any)) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var id, doc string
	if err := db.QueryRowContext(t.Context(), `SELECT id, doc FROM rollouts WHERE open`).Scan(&id, &doc); err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(doc), &fields); err != nil {
		t.Fatal(err)
	}
	change(fields)
	b, err := json.Marshal(fields)
	if err == nil {
		_, err = db.ExecContext(t.Context(), `UPDATE rollouts SET doc = $1 WHERE id = $2`, string(b), id)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestCase42_RolloutsOfAnOlderVersionGoOn(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(6 * time.Second)
		h.stop()
		edit(t, h.dir, func(r map[string]any) {
			for _, newer := range []string{"override", "only", "paused", "idle", "progress", "verdict", "exposed", "from_version", "approved"} {
				delete(r, newer)
			}
			plan, ok := r["plan"].(map[string]any)
			if !ok {
				t.Fatal("a rollout has no plan")
			}
			for _, newer := range []string{"old", "spare", "window", "supersede"} {
				delete(plan, newer)
			}
		})
		h = begin(t, w, h.dir)
		time.Sleep(10 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
		h.stop()
	})
}

func TestCase42_AnUnknownStateFailsClearly(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(6 * time.Second)
		h.stop()
		edit(t, h.dir, func(r map[string]any) { r["state"] = "pondering" })
		h = begin(t, w, h.dir)
		time.Sleep(time.Minute)
		h.want(t, s.Rollouts[0].ID, "pondering")
		b, err := h.Board(t.Context())
		if err != nil || !slices.ContainsFunc(b.Trouble, func(s string) bool { return strings.Contains(s, "pondering") }) {
			t.Errorf("trouble = %q, %v; want the state that is not known", b.Trouble, err)
		}
		last := w.route().Pools[len(w.route().Pools)-1]
		w.mu.Lock()
		serves := w.poolServes(last)
		w.mu.Unlock()
		if h.stable("prod") != "v1" || last.Version != "v1" || !serves {
			t.Errorf("stable is %s, and the last pool is of %s and serves: %t; want v1", h.stable("prod"), last.Version, serves)
		}
		h.stop()
	})
}

func TestCase56_ARestartDuringARolloutIsNoDowntime(t *testing.T) {
	p := with(func(s *delivery.Strategy) {
		s.Kind, s.Steps, s.MaxSurge, s.MaxUnavailable = delivery.Rolling, nil, 1, 1
	})
	scene(t, p, func(t *testing.T, w *world, h *house) {
		w.behave("v2", behaviour{start: 3 * time.Second, fail: 0.002})
		s := h.deploy("v2")
		for range 20 { // an instance of each version exits again and again
			time.Sleep(time.Second)
			w.mu.Lock()
			serving := 0
			for _, e := range slices.Concat(w.table.Routes[0].Pools[0].Endpoints, w.table.Routes[0].Pools[len(w.table.Routes[0].Pools)-1].Endpoints) {
				if w.serves(e.ID) {
					serving++
				}
			}
			if serving == 0 {
				w.violate("nobody serves")
			}
			for _, e := range w.table.Routes[0].Pools[0].Endpoints {
				if i := w.instances[workload.ID(e.ID)]; serving > 2 && i.restarts == 0 {
					w.exit(i)
					break
				}
			}
			w.mu.Unlock()
		}
		time.Sleep(2 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
	})
}

func TestCase59_NothingIsStoppedBeforeItsRouteIsGone(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		for !h.rollout(s.Rollouts[0].ID).State.Final() {
			time.Sleep(time.Second)
		}
		set := func(deaf bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.deaf = deaf
		}
		set(true)
		time.Sleep(5 * time.Minute) // the window passes
		if n := w.runs("v1"); n != 2 {
			t.Errorf("%d of v1 run while nobody can say what still gets requests, want 2", n)
		}
		set(false)
		time.Sleep(30 * time.Second)
		if n := w.runs("v1"); n != 0 {
			t.Errorf("%d of v1 run, want none", n)
		}
	})
}

func TestCase63_OnlyWholeSecondsThatWereHeardAreJudged(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	l := New(Deps{Store: st})
	start := time.Unix(1_000_000, 0).UTC()
	r := delivery.Rollout{ID: "1/prod", Service: "api", Env: "prod", From: "r1", To: "r2", State: delivery.Judging, Started: start, Shifted: start}
	judge := func(now time.Time) *delivery.Verdict { return l.verdict(t.Context(), &view{now: now}, r) }
	if v := judge(start.Add(time.Minute)); v == nil || v.Outcome != delivery.Inconclusive || v.Seconds != 0 {
		t.Fatalf("verdict = %+v before anything was heard; want inconclusive, which no silence promotes", v)
	}
	f := traffic.Frame{At: start.Add(30 * time.Second), Boot: "a"}
	for sec := start.Unix() + 1; sec <= start.Unix()+30; sec++ {
		for _, id := range []delivery.ReleaseID{"r1", "r2"} {
			f.Blocks = append(f.Blocks, traffic.Block{Route: "prod/api", Release: id, Second: sec, Requests: 10, Units: 10, Bins: map[int]uint32{5: 10}})
		}
	}
	l.counts.take(f, f.At)
	// 60 s have passed, but the last frame is 30 s old: what came after it is not known.
	if v := judge(start.Add(time.Minute)); v == nil || v.Seconds+v.LeftOut != 27 {
		t.Fatalf("verdict = %+v, want 27 seconds: all from before that are closed, and no other", v)
	}
	if v := judge(start.Add(time.Minute)); v.Seconds+v.LeftOut != 27 {
		t.Errorf("verdict = %+v, want every second once", v)
	}
}

func TestRollbackTwiceIsOnce(t *testing.T) {
	p := with(func(s *delivery.Strategy) { s.Window = 0 })
	scene(t, p, func(t *testing.T, _ *world, h *house) {
		h.deploy("v2")
		time.Sleep(5 * time.Minute)
		first, err := h.Rollback(t.Context(), RollbackRequest{Service: "api", By: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		again, err := h.Rollback(t.Context(), RollbackRequest{Service: "api", By: "bob"})
		if err != nil || again.Rollout.ID != first.Rollout.ID || again.Aborted {
			t.Errorf("a second rollback = %+v, %v; want the first one", again, err)
		}
		time.Sleep(10 * time.Minute)
		h.want(t, first.Rollout.ID, delivery.Done)
		if h.stable("prod") != "v1" {
			t.Errorf("stable is %s, want v1", h.stable("prod"))
		}
	})
}
