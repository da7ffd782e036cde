package promotion

import (
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// World is all that a decision about entering an environment looks at.
type World struct {
	Now     time.Time
	Project delivery.Project
	Stables []delivery.Stable
	Holds   []delivery.Hold    // active ones
	Open    []delivery.Rollout // not over, in any order
	Ended   []delivery.Rollout // over, of the changes that are looked at, newest of a change first
	Trouble string             // why nothing can be routed now; "" if the data plane answers
}

// Candidate is a release that asks to enter an environment.
type Candidate struct {
	Service string
	Env     string
	Release delivery.ReleaseID
	Version string
	Change  delivery.ChangeID
	Only    bool // it was submitted for this environment alone
	Person  bool // a person asks, not the automation
}

// Stable returns the stable release of a service in an environment.
func (w World) Stable(service, env string) (delivery.Stable, bool) {
	for i := range w.Stables {
		if s := &w.Stables[i]; s.Service == service && s.Env == env {
			return *s, true
		}
	}
	return delivery.Stable{}, false
}

// Flight returns the rollout that owns a service in an environment, or else the
// newest one that is queued there.
func (w World) Flight(service, env string) (delivery.Rollout, bool) {
	var best *delivery.Rollout
	for i := range w.Open {
		r := &w.Open[i]
		if r.Service != service || r.Env != env || r.State.Final() {
			continue
		}
		if r.State.Active() {
			return *r, true
		}
		if best == nil || r.Seq >= best.Seq {
			best = r
		}
	}
	if best == nil {
		return delivery.Rollout{}, false
	}
	return *best, true
}

// HoldOn returns the hold that stops a release from entering an environment: a
// quarantine of the release, or a pin of the service there.
func (w World) HoldOn(service, env string, release delivery.ReleaseID) *delivery.Hold {
	for i := range w.Holds {
		if h := w.Holds[i]; quarantines(h, service, release) || pins(h, service, env) {
			return &h
		}
	}
	return nil
}

func quarantines(h delivery.Hold, service string, release delivery.ReleaseID) bool {
	return h.Kind == delivery.Quarantine && h.Service == service && h.Release == release
}

func pins(h delivery.Hold, service, env string) bool {
	return h.Kind == delivery.Pinned && h.Service == service && h.Env == env
}

// Proposals lists what the automation shall promote now: each release that is
// stable in one environment, is not in the next, and passes every gate there.
func Proposals(w World) []Candidate {
	var out []Candidate
	parts := w.parts()
	for i := range w.Stables {
		s := &w.Stables[i]
		part, known := parts[s.Service]
		next := w.Project.After(s.Env)
		if !known || next == "" {
			continue
		}
		if there, ok := part.Stable(s.Service, next); ok && there.Release == s.Release {
			continue
		}
		c := Candidate{Service: s.Service, Env: next, Release: s.Release, Version: s.Version, Change: s.Change}
		if May(Gates(*part, c)) {
			out = append(out, c)
		}
	}
	return out
}

// parts is what concerns each service of the project, so that looking at all of
// them does not look at everything each time.
func (w World) parts() map[string]*World {
	parts := make(map[string]*World, len(w.Project.Services))
	for i := range w.Project.Services {
		parts[w.Project.Services[i].Name] = &World{Now: w.Now, Project: w.Project, Trouble: w.Trouble}
	}
	for i := range w.Stables {
		if p := parts[w.Stables[i].Service]; p != nil {
			p.Stables = append(p.Stables, w.Stables[i])
		}
	}
	for i := range w.Holds {
		if p := parts[w.Holds[i].Service]; p != nil {
			p.Holds = append(p.Holds, w.Holds[i])
		}
	}
	for i := range w.Open {
		if p := parts[w.Open[i].Service]; p != nil {
			p.Open = append(p.Open, w.Open[i])
		}
	}
	for i := range w.Ended {
		if p := parts[w.Ended[i].Service]; p != nil {
			p.Ended = append(p.Ended, w.Ended[i])
		}
	}
	return parts
}

// of is what concerns one service alone.
func (w World) of(service string) World {
	w.Stables = only(w.Stables, func(s *delivery.Stable) bool { return s.Service == service })
	w.Holds = only(w.Holds, func(h *delivery.Hold) bool { return h.Service == service })
	w.Open = only(w.Open, func(r *delivery.Rollout) bool { return r.Service == service })
	w.Ended = only(w.Ended, func(r *delivery.Rollout) bool { return r.Service == service })
	return w
}

func only[T any](all []T, keep func(*T) bool) []T {
	var out []T
	for i := range all {
		if keep(&all[i]) {
			out = append(out, all[i])
		}
	}
	return out
}

// May reports whether every gate passes.
func May(gates []delivery.Gate) bool {
	return !slices.ContainsFunc(gates, func(g delivery.Gate) bool { return g.Outcome != delivery.GatePass })
}
