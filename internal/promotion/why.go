package promotion

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Why answers why the release that is next in line is or is not in env. newest
// is the last one submitted for the service; one that is for a single
// environment names it in Env, or is looked up among the rollouts.
func Why(w World, service, env string, newest Candidate) delivery.Answer {
	w = w.of(service)
	a := delivery.Answer{Service: service, Env: env}
	here, runs := w.Stable(service, env)
	a.Running = here.Version
	if r, ok := w.Flight(service, env); ok {
		return inFlight(w, a, r)
	}
	c := next(w, service, env, newest)
	if c.Release == "" && runs {
		c.Release, c.Version, c.Change = here.Release, here.Version, here.Change
	}
	if c.Release == "" {
		a.Sentence = service + " has no release for " + env + " yet"
		a.Gates = []delivery.Gate{blocked("release", "nothing was ever deployed", "slipway deploy "+service)}
		return a
	}
	a.Next, a.Release, a.Change = c.Version, c.Release, c.Change
	if runs && here.Release == c.Release {
		a.Sentence = fmt.Sprintf("%s %s is stable in %s since %s", service, here.Version, env, here.Since.UTC().Format("2006-01-02 15:04:05 UTC"))
		a.Gates = []delivery.Gate{pass("release", here.Version+" is the newest release that may be here"), dataPlane(w)}
		a.May = May(a.Gates)
		return a
	}
	a.Gates = Gates(w, c)
	a.May = May(a.Gates)
	if a.May {
		a.Sentence = fmt.Sprintf("%s %s may enter %s right now", service, c.Version, env)
	} else {
		a.Sentence = fmt.Sprintf("%s %s is not in %s, because %s", service, c.Version, env, firstNot(a.Gates).What)
	}
	return a
}

// inFlight answers for an environment in which a rollout is under way.
func inFlight(w World, a delivery.Answer, r delivery.Rollout) delivery.Answer {
	a.Flight = Brief(r)
	a.Next, a.Release, a.Change = r.Version, r.To, r.Change
	a.Gates = append(Gates(w, Candidate{
		Service: a.Service, Env: a.Env, Release: r.To, Version: r.Version, Change: r.Change, Only: true, Person: true,
	}), flightGate(r))
	where := "on its way into " + a.Env
	if r.State == delivery.Reverting {
		where = "on its way back in " + a.Env
	}
	a.Sentence = fmt.Sprintf("%s %s is %s: %s", a.Service, r.Version, where, Standing(r))
	return a
}

// next is the release that would enter env next: the nearest one on its way
// there that is newer than what runs, else what a person last submitted for env
// alone, else whatever is stable before env.
func next(w World, service, env string, newest Candidate) Candidate {
	here, _ := w.Stable(service, env)
	newest.Service = service
	if newest.Only {
		if alone(w, newest) != env {
			newest = Candidate{Service: service}
		}
	}
	newest.Env = env
	before := w.Project.Before(env)
	if before == "" {
		return newest
	}
	for e := before; e != ""; e = w.Project.Before(e) {
		if s, ok := w.Stable(service, e); ok && s.Release != here.Release && s.Change > here.Change {
			return Candidate{Service: service, Env: env, Release: s.Release, Version: s.Version, Change: s.Change}
		}
		if r, ok := w.Flight(service, e); ok && !r.Only && r.State != delivery.Reverting && r.To != here.Release && r.Change > here.Change {
			return Candidate{Service: service, Env: env, Release: r.To, Version: r.Version, Change: r.Change}
		}
	}
	if newest.Only && newest.Change > here.Change {
		return newest
	}
	if s, ok := w.Stable(service, before); ok {
		return Candidate{Service: service, Env: env, Release: s.Release, Version: s.Version, Change: s.Change}
	}
	if here.Release != "" {
		return Candidate{Service: service, Env: env, Release: here.Release, Version: here.Version, Change: here.Change}
	}
	return newest
}

// alone is the one environment that a candidate was submitted for; "" if that
// is not known any more.
func alone(w World, c Candidate) string {
	if c.Env != "" {
		return c.Env
	}
	for _, rs := range [][]delivery.Rollout{w.Open, w.Ended} {
		for i := range rs {
			if r := &rs[i]; r.Change == c.Change && r.Service == c.Service {
				return r.Env
			}
		}
	}
	return ""
}

func flightGate(r delivery.Rollout) delivery.Gate {
	g := waits("rollout", Standing(r), "passes by itself", time.Time{})
	if b := r.Waiting; b != nil {
		g.Lifts, g.Who, g.Until = event(b.Lifts), b.Who, b.Until
		if b.Who != "" {
			g.Outcome = delivery.GateBlocked
		}
	}
	return g
}

func firstNot(gates []delivery.Gate) delivery.Gate {
	for _, g := range gates {
		if g.Outcome != delivery.GatePass {
			return g
		}
	}
	return delivery.Gate{}
}

// Standing says where a rollout stands in a few words.
func Standing(r delivery.Rollout) string {
	s := string(r.State)
	if step, ok := r.At(); ok && step.Weight > 0 && (r.State == delivery.Shifting || r.State == delivery.Judging || r.State == delivery.Waiting) {
		s = step.Weight.String() + ", " + s
	}
	if r.Waiting != nil {
		return because(s, r.Waiting.What)
	}
	return because(s, r.Reason)
}

// Brief returns a rollout in brief. Its weight is the share of the traffic that
// it has for certain: while it shifts, that of the step before.
func Brief(r delivery.Rollout) *delivery.Flight {
	f := &delivery.Flight{Rollout: r.ID, Change: r.Change, Version: r.Version, State: r.State, Waiting: r.Waiting}
	step, ok := r.At()
	switch {
	case r.State == delivery.Soaking:
		f.Weight = delivery.Full
	case !ok:
	case r.State == delivery.Judging || r.State == delivery.Waiting || r.State == delivery.Finishing:
		f.Weight = step.Weight
	case r.State == delivery.Shifting && r.Step > 0:
		f.Weight = r.Plan.Steps[r.Step-1].Weight
	}
	return f
}
