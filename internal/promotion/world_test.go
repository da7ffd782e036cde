package promotion

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// scene builds worlds in the words of a story. Version v7 is release r7 and,
// unless said otherwise, came with change #7.
type scene struct{ w World }

// stage sets services cart and payment in dev, staging and prod, where a "!"
// behind a name makes promotion manual.
func stage(envs ...string) *scene {
	s := &scene{w: World{Now: noon}}
	s.w.Project.Name = "shop"
	for _, env := range envs {
		e := delivery.Environment{Name: env, Promote: delivery.Auto}
		if n := len(env) - 1; env[n] == '!' {
			e.Name, e.Promote = env[:n], delivery.Manual
		}
		s.w.Project.Environments = append(s.w.Project.Environments, e)
	}
	s.w.Project.Services = []delivery.Service{{Name: "cart"}, {Name: "payment"}}
	return s
}

func rel(n int) delivery.ReleaseID { return delivery.ReleaseID(fmt.Sprintf("r%d", n)) }
func ver(n int) string             { return fmt.Sprintf("v%d", n) }

// stable makes version n of cart stable in env, by change.
func (s *scene) stable(env string, n, change int) *scene {
	s.w.Stables = append(s.w.Stables, delivery.Stable{
		Service: "cart", Env: env, Release: rel(n), Version: ver(n), Change: delivery.ChangeID(change), Since: noon.Add(-time.Hour),
	})
	return s
}

// done makes version n stable in env, with the rollout of change n that did it.
func (s *scene) done(env string, n int) *scene {
	return s.stable(env, n, n).ended(env, n, delivery.Done)
}

func (s *scene) rollout(env string, n int, state delivery.State, edit []func(*delivery.Rollout)) delivery.Rollout {
	r := delivery.Rollout{
		ID: delivery.RolloutID(fmt.Sprintf("%d/%s", n, env)), Change: delivery.ChangeID(n), Service: "cart", Env: env,
		To: rel(n), Version: ver(n), State: state, Reason: "because it was " + string(state), Seq: int64(n),
		Plan: delivery.Plan{Steps: []delivery.Step{{Do: delivery.DoStart}, {Do: delivery.DoWeight, Weight: delivery.Percent(25)}, {Do: delivery.DoWeight, Weight: delivery.Full}}},
		Step: 1,
	}
	for _, f := range edit {
		f(&r)
	}
	return r
}

func (s *scene) ended(env string, n int, state delivery.State, edit ...func(*delivery.Rollout)) *scene {
	s.w.Ended = append([]delivery.Rollout{s.rollout(env, n, state, edit)}, s.w.Ended...)
	return s
}

func (s *scene) open(env string, n int, state delivery.State, edit ...func(*delivery.Rollout)) *scene {
	s.w.Open = append(s.w.Open, s.rollout(env, n, state, edit))
	return s
}

func (s *scene) quarantined(n int, why string) *scene {
	s.w.Holds = append(s.w.Holds, delivery.Hold{Kind: delivery.Quarantine, Service: "cart", Release: rel(n), Version: ver(n), Why: why, By: "slipway", Change: delivery.ChangeID(n)})
	return s
}

func (s *scene) pinned(env, why string) *scene {
	s.w.Holds = append(s.w.Holds, delivery.Hold{Kind: delivery.Pinned, Service: "cart", Env: env, Why: why, By: "ann"})
	return s
}

func (s *scene) trouble(why string) *scene {
	s.w.Trouble = why
	return s
}

// asks is version n of cart at the door of env.
func asks(env string, n int) Candidate {
	return Candidate{Service: "cart", Env: env, Release: rel(n), Version: ver(n), Change: delivery.ChangeID(n)}
}

func person(c Candidate) Candidate { c.Person = true; return c }
func solely(c Candidate) Candidate { c.Only = true; return c }

func waitingOn(what, lifts, who string, until time.Time) func(*delivery.Rollout) {
	return func(r *delivery.Rollout) {
		r.Waiting = &delivery.Blocker{On: "x", What: what, Lifts: lifts, Who: who, Until: until}
	}
}

func supersede(s delivery.Supersede) func(*delivery.Rollout) {
	return func(r *delivery.Rollout) { r.Plan.Supersede = s }
}

func forEnvAlone(r *delivery.Rollout) { r.Only = true }

// back makes a rollout one that goes back from version n to version m.
func back(n, m int) func(*delivery.Rollout) {
	return func(r *delivery.Rollout) {
		r.Origin, r.Only, r.From, r.To, r.Was, r.Version = delivery.OriginRollback, true, rel(n), rel(m), ver(n), ver(m)
	}
}
