package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// TestRandomStories lets persons, faults and deaths of the control plane come at
// random over a world in which time is simulated and the store is real.
// SLIPWAY_SEEDS says how many stories, SLIPWAY_SEED which one alone.
func TestRandomStories(t *testing.T) {
	first, last := uint64(1), uint64(40)
	if s := os.Getenv("SLIPWAY_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		last = n
	}
	if s := os.Getenv("SLIPWAY_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		first, last = n, n
	}
	var sum tally
	for seed := first; seed <= last; seed++ {
		dir := t.TempDir()
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { sum.add(newStory(t, seed, dir).tell()) })
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		if !ok {
			t.Fatalf("again with SLIPWAY_SEED=%d go test -run RandomStories ./internal/control", seed)
		}
	}
	t.Logf("%d stories: %d lives of the control plane, rollouts by end: %v", last-first+1, sum.lives, sum.ends)
	if first != last && (sum.ends[delivery.Done] == 0 || sum.ends[delivery.Reverted] == 0 || sum.ends[delivery.Superseded] == 0 || sum.lives <= int(last-first+1)) {
		t.Error("the stories are too tame")
	}
}

type tally struct {
	lives int
	ends  map[delivery.State]int
}

func (s *tally) add(o tally) {
	if s.ends == nil {
		s.ends = map[delivery.State]int{}
	}
	s.lives += o.lives
	for state, n := range o.ends {
		s.ends[state] += n
	}
}

// tale is one random story.
type tale struct {
	t       *testing.T
	dice    *rand.Rand
	w       *world
	h       *house
	dir     string
	p       delivery.Project
	n       int                         // versions made
	leapt   map[delivery.ChangeID]bool  // a person overruled the judge
	bundles map[string]delivery.Digest  // by version
	stormy  map[delivery.RolloutID]bool // began or ran while instances exited by themselves
}

func newStory(t *testing.T, seed uint64, dir string) *tale {
	s := &tale{
		t: t, dice: rand.New(rand.NewPCG(seed, 1)), w: newWorld(t), dir: dir,
		leapt: map[delivery.ChangeID]bool{}, bundles: map[string]delivery.Digest{}, stormy: map[delivery.RolloutID]bool{},
	}
	s.w.seed = seed
	s.w.grace = time.Duration(s.dice.IntN(3)) * time.Second
	s.w.check = s.checkTable
	s.p = s.project()
	s.h = begin(t, s.w, dir)
	return s
}

func (s *tale) chance(share float64) bool { return s.dice.Float64() < share }

func (s *tale) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.dice.Int64N(int64(high-low)+1))
}

// project is one or two services in one or two environments, each with a
// strategy and a rate of requests of its own.
func (s *tale) project() delivery.Project {
	p := delivery.Project{Name: "shop"}
	envs := []string{"staging", "prod"}[s.dice.IntN(2):]
	for i, env := range envs {
		p.Environments = append(p.Environments, delivery.Environment{
			Name: env, Listen: fmt.Sprintf("127.0.0.1:%d", 7580-i), Promote: []delivery.Promotion{delivery.Auto, delivery.Auto, delivery.Manual}[s.dice.IntN(3)],
		})
	}
	for _, name := range []string{"api", "cart"}[:1+s.dice.IntN(2)] {
		svc := delivery.Service{
			Name: name, In: map[string]delivery.Deployment{},
			Run: delivery.RunSpec{Command: []string{"./api"}, Health: delivery.Health{HTTP: "/healthz"}, Stop: delivery.Stop{Drain: time.Second, Grace: time.Second}},
		}
		for _, env := range envs {
			svc.In[env] = delivery.Deployment{Replicas: 1 + s.dice.IntN(4), Strategy: s.strategy()}
			s.w.rate[routeName(env, name)] = []float64{0, 2, 60, 120}[s.dice.IntN(4)]
		}
		p.Services = append(p.Services, svc)
	}
	return p
}

func (s *tale) strategy() delivery.Strategy {
	st := delivery.Strategy{
		Kind:     []delivery.StrategyKind{delivery.Canary, delivery.Canary, delivery.BlueGreen, delivery.Rolling, delivery.Recreate}[s.dice.IntN(5)],
		Deadline: s.between(10*time.Second, 30*time.Second), Soak: s.between(0, 5*time.Second), Window: s.between(0, 20*time.Second),
		OnSilence: delivery.SilenceWaits, Supersede: []delivery.Supersede{delivery.Replace, delivery.Queue, delivery.Coalesce}[s.dice.IntN(3)],
		MaxSurge: s.dice.IntN(3), MaxUnavailable: s.dice.IntN(2),
	}
	if st.Kind == delivery.Canary {
		st.Twin = s.chance(0.3)
		for _, w := range []int{10, 50, 100} {
			st.Steps = append(st.Steps, delivery.StepSpec{
				Weight: delivery.Percent(w), Hold: s.between(0, 4*time.Second), Proven: true, Max: 40 * time.Second, Approve: s.chance(0.1),
			})
		}
	}
	return st
}

// tell lives the story: some acts at random moments, then calm, then a look.
func (s *tale) tell() tally {
	s.act("project", func() error {
		_, err := s.h.SetProject(s.t.Context(), s.p, []byte("x"), "ann")
		return err
	})
	for range 8 + s.dice.IntN(10) {
		s.one()
		time.Sleep(s.between(0, 15*time.Second))
		s.revive()
	}
	s.calm()
	out := s.look()
	s.h.stop()
	return out
}

// one does one thing at random.
func (s *tale) one() {
	svc := s.p.Services[s.dice.IntN(len(s.p.Services))].Name
	env := s.p.Environments[s.dice.IntN(len(s.p.Environments))].Name
	ctx := s.t.Context()
	switch n := s.dice.IntN(30); {
	case n < 8:
		s.deploy(svc)
	case n < 10:
		s.act("config", func() error {
			_, err := s.h.Submit(ctx, Submission{Service: svc, Set: map[string]string{"LEVEL": strconv.Itoa(s.dice.IntN(3))}, By: "ann"})
			return err
		})
	case n < 15:
		verb := []delivery.AskVerb{delivery.AskAbort, delivery.AskPause, delivery.AskResume, delivery.AskApprove, delivery.AskPromote}[n-10]
		s.ask(verb, Request{Service: svc, By: "ann"})
	case n < 16:
		s.act("promote", func() error {
			r, err := s.h.Promote(ctx, PromoteRequest{Service: svc, By: "ann"})
			s.leapt[r.Change] = s.leapt[r.Change] || err == nil
			return err
		})
	case n < 18:
		s.act("rollback", func() error {
			_, err := s.h.Rollback(ctx, RollbackRequest{Service: svc, Env: env, By: "ann"})
			return err
		})
	case n < 19:
		s.act("hold", func() error {
			_, err := s.h.PutHold(ctx, HoldRequest{Service: svc, Env: env, Why: "holiday", By: "ann"})
			return err
		})
	case n < 20:
		s.lift()
	default:
		s.fault(n)
	}
}

// fault lets something go wrong in the world.
func (s *tale) fault(n int) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	switch {
	case n < 26:
		s.w.left = 1 + s.dice.IntN(25) // the control plane dies at one of its next boundaries
	case n < 27:
		s.w.forgets = true
	case n < 28:
		s.w.deaf = true
		time.AfterFunc(s.between(0, 20*time.Second), func() {
			s.w.mu.Lock()
			defer s.w.mu.Unlock()
			s.w.deaf = false
		})
	default:
		all := make([]*simInstance, 0, len(s.w.instances))
		for _, i := range s.w.instances {
			if !i.stopped && !i.stopping {
				all = append(all, i)
			}
		}
		slices.SortFunc(all, func(a, b *simInstance) int { return a.port - b.port })
		if len(all) > 0 {
			s.w.exit(all[s.dice.IntN(len(all))])
		}
	}
}

func (s *tale) deploy(svc string) {
	s.n++
	v := fmt.Sprintf("v%d", s.n)
	b := behaviour{start: s.between(0, 6*time.Second), fail: 0.001}
	switch kind := s.dice.IntN(10); {
	case s.n == 1:
	case kind < 3:
		b.fail = 0.4
	case kind < 4:
		b.crash = true
	case kind < 5:
		b.never = true
	case kind < 6:
		b.start = s.between(10*time.Second, 60*time.Second)
	}
	s.w.mu.Lock()
	s.w.versions[v] = b
	s.w.mu.Unlock()
	s.bundles[v] = s.h.bundle(v)
	s.act("deploy", func() error {
		_, err := s.h.Submit(s.t.Context(), Submission{Service: svc, Version: v, Bundle: s.bundles[v], By: "ann"})
		return err
	})
}

func (s *tale) ask(verb delivery.AskVerb, q Request) {
	s.act(string(verb), func() error {
		r, err := s.h.Ask(s.t.Context(), verb, q)
		if err == nil && (verb == delivery.AskApprove || verb == delivery.AskPromote) {
			s.leapt[r.Change] = true
		}
		return err
	})
}

func (s *tale) lift() {
	holds, err := s.h.d.Store.Holds(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range holds {
		if s.chance(0.5) {
			s.act("lift", func() error {
				_, err := s.h.LiftHold(s.t.Context(), Lift{Service: h.Service, Version: h.Version, Env: h.Env, By: "ann"})
				return err
			})
		}
	}
}

// act is something a person does. What does not fit gets a clear no.
func (s *tale) act(what string, do func() error) {
	s.t.Helper()
	err := do()
	if err == nil || errors.Is(err, delivery.ErrRefused) || errors.Is(err, delivery.ErrInvalid) || errors.Is(err, context.Canceled) {
		return
	}
	s.t.Fatalf("%s: %v", what, err)
}

// revive starts the control plane again when it died.
func (s *tale) revive() {
	s.w.mu.Lock()
	dead := s.w.dead
	s.w.mu.Unlock()
	if dead {
		s.h.stop()
		s.h = begin(s.t, s.w, s.dir)
	}
}

// calm ends the faults, and answers what waits for a person until nothing does.
func (s *tale) calm() {
	s.w.mu.Lock()
	s.w.left, s.w.forgets = 0, false
	s.w.mu.Unlock()
	for range 200 {
		s.revive()
		w, err := s.h.d.Store.Snapshot(s.t.Context())
		if err != nil {
			s.t.Fatal(err)
		}
		if len(w.Rollouts) == 0 {
			time.Sleep(90 * time.Second) // windows pass, promotions are proposed
			if w, err = s.h.d.Store.Snapshot(s.t.Context()); err == nil && len(w.Rollouts) == 0 {
				return
			}
		}
		for _, r := range w.Rollouts {
			q := Request{Change: r.Change, Env: r.Env, By: "bob"}
			switch {
			case r.Paused != nil:
				s.ask(delivery.AskResume, q)
			case r.Waiting == nil:
			case r.Waiting.On == "decision" || r.Waiting.On == "not enough data":
				s.ask(delivery.AskAbort, q)
			case r.Waiting.On == "approval":
				s.ask(delivery.AskApprove, q)
			case r.Waiting.On == "hold" && r.State == delivery.Queued:
				s.act("lift", func() error {
					_, err := s.h.LiftHold(s.t.Context(), Lift{Service: r.Service, Env: r.Env, By: "bob"})
					return err
				})
			}
		}
		time.Sleep(5 * time.Second)
	}
	s.fail("it never comes to rest")
}

func (s *tale) fail(format string, args ...any) {
	s.t.Helper()
	s.t.Errorf(format, args...)
	s.h.story()
	s.t.FailNow()
}

// checkTable holds what may be asked of the data plane against what it saw.
// It is called with the world locked, before a table takes effect.
func (s *tale) checkTable(was, is traffic.Table) {
	snap, err := s.w.rows.Snapshot(s.t.Context()) // the tale may not have got hold of a house that just began
	if err != nil {
		s.w.violate("snapshot: %v", err)
		return
	}
	for _, r := range is.Routes {
		before := routeNamed(was, r.Name)
		var sum, had delivery.Weight
		empty := false
		for _, p := range r.Pools {
			sum += p.Weight
			empty = empty || len(p.Endpoints) == 0 && p.Weight == 0
		}
		for _, p := range before.Pools {
			if s.w.poolServes(p) {
				had += p.Weight
			}
		}
		for _, ro := range snap.Rollouts {
			if routeName(ro.Env, ro.Service) != r.Name || !ro.State.Active() || ro.State == delivery.Reverting {
				continue
			}
			if sum == 0 && had > 0 && ro.Plan.Strategy != delivery.Recreate && !dark(ro) && time.Since(s.w.upset) > 15*time.Second {
				s.w.violate("%s goes dark in %s", r.Name, ro.State)
			}
			s.checkWeight(ro, before, r)
		}
	}
}

func dark(r delivery.Rollout) bool {
	return slices.ContainsFunc(r.Plan.Steps, func(s delivery.Step) bool { return s.Dark })
}

// checkWeight says whether a candidate's weight grows beyond its healthy
// capacity. When the stable release has nobody left, it takes what there is.
func (s *tale) checkWeight(r delivery.Rollout, before, is traffic.Route) {
	weight, old := poolOf(is, r.To), poolOf(before, r.To)
	if r.From == r.To || weight.Weight <= old.Weight || time.Since(s.w.upset) < 15*time.Second {
		return
	}
	if r.From != "" && len(poolOf(is, r.From).Endpoints) == 0 {
		return // it takes over from a release that is gone
	}
	healthy := 0
	for _, e := range weight.Endpoints {
		if s.w.seen[e.ID] {
			healthy++
		}
	}
	if can := rollout.Carry(healthy, max(r.Plan.Replicas-r.Plan.Spare, 1)); can < weight.Weight {
		s.w.violate("%s gets %s of %s with %d healthy of %d: that carries %s", r.Version, weight.Weight, is.Name, healthy, r.Plan.Replicas, can)
	}
}

func routeNamed(t traffic.Table, name string) traffic.Route {
	for _, r := range t.Routes {
		if r.Name == name {
			return r
		}
	}
	return traffic.Route{}
}

func poolOf(r traffic.Route, id delivery.ReleaseID) traffic.Pool {
	for _, p := range r.Pools {
		if p.Release == id {
			return p
		}
	}
	return traffic.Pool{}
}

// look holds the world at rest against the rows.
func (s *tale) look() tally {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if len(s.w.violated) > 0 {
		s.fail("violated: %q", s.w.violated)
	}
	ctx := s.t.Context()
	snap, err := s.h.d.Store.Snapshot(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := s.h.d.Store.Rollouts(ctx, store.RolloutQuery{Limit: store.MaxLimit})
	if err != nil {
		s.t.Fatal(err)
	}
	out := tally{lives: s.w.lives, ends: map[delivery.State]int{}}
	for _, r := range all {
		out.ends[r.State]++
		if r.State == delivery.Done && s.mustNotPass(r) {
			s.fail("%s of %s is bad and ended done", r.ID, r.Version)
		}
	}
	want := map[string]int{} // env.service.release -> instances
	for _, st := range snap.Stables {
		if !s.w.whole[st.Release] {
			s.fail("%s is stable in %s and never served everything", st.Version, st.Env)
		}
		svc, _ := s.p.Service(st.Service)
		want[fmt.Sprintf("%s.%s.%s", st.Env, st.Service, st.Release)] = svc.In[st.Env].Replicas
		route := routeNamed(s.w.table, routeName(st.Env, st.Service))
		for _, p := range route.Pools {
			if full := map[bool]delivery.Weight{true: delivery.Full}[p.Release == st.Release]; p.Weight != full {
				s.fail("%s of %s has %s in the end; stable is %s", p.Version, route.Name, p.Weight, st.Version)
			}
		}
		if len(poolOf(route, st.Release).Endpoints) != svc.In[st.Env].Replicas {
			s.fail("stable %s in %s has %d endpoints, want %d", st.Version, st.Env, len(poolOf(route, st.Release).Endpoints), svc.In[st.Env].Replicas)
		}
	}
	have := map[string]int{}
	for _, i := range s.w.instances {
		if !i.stopped {
			have[fmt.Sprintf("%s.%s.%s", i.spec.Env, i.spec.Service, i.spec.Release)]++
		}
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		s.fail("instances run: %v, want %v", have, want)
	}
	soundLedger(s.t, s.h.d.Store)
	if s.t.Failed() {
		s.h.story()
	}
	return out
}

// mustNotPass says whether a rollout is of a bad release that its plan had to
// find out: step by step, proven each time, by enough requests.
func (s *tale) mustNotPass(r delivery.Rollout) bool {
	proven := slices.ContainsFunc(r.Plan.Steps, func(st delivery.Step) bool { return st.Proven })
	return proven && r.From != "" && r.From != r.To && s.w.of(r.Version).fail > 0.1 && s.w.of(r.Was).fail < 0.1 &&
		s.w.rate[routeName(r.Env, r.Service)] >= 50 && !s.leapt[r.Change] && s.w.upset.Before(r.Started)
}
