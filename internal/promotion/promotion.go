package promotion

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// World is all that a decision about entering an environment looks at.
type World struct {
	Now      time.Time
	Project  delivery.Project
	Stables  []delivery.Stable
	Holds    []delivery.Hold    // active ones
	Open     []delivery.Rollout // not over
	Ended    []delivery.Rollout // over, of the changes that are looked at, newest first
	Versions map[delivery.ReleaseID]string
	Trouble  string // why nothing can be routed now; "" if the data plane answers
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
	i := slices.IndexFunc(w.Stables, func(s delivery.Stable) bool { return s.Service == service && s.Env == env })
	if i < 0 {
		return delivery.Stable{}, false
	}
	return w.Stables[i], true
}

// Flight returns the rollout that owns a service in an environment, or else the
// newest one that is queued there.
func (w World) Flight(service, env string) (delivery.Rollout, bool) {
	var best delivery.Rollout
	for _, r := range w.Open {
		if r.Service != service || r.Env != env {
			continue
		}
		if r.State.Active() {
			return r, true
		}
		if r.Seq >= best.Seq {
			best = r
		}
	}
	return best, best.ID != ""
}

// HoldOn returns the hold that stops a release from entering an environment: a
// quarantine of the release, or a pin of the service there.
func (w World) HoldOn(service, env string, release delivery.ReleaseID) *delivery.Hold {
	for _, h := range w.Holds {
		if h.Service != service {
			continue
		}
		if h.Kind == delivery.Quarantine && h.Release == release || h.Kind == delivery.Pinned && h.Env == env {
			return &h
		}
	}
	return nil
}

// Gates lists every condition for a candidate, in the order a person would ask.
func Gates(w World, c Candidate) []delivery.Gate {
	return []delivery.Gate{
		order(w, c), quarantine(w, c), pin(w, c), history(w, c), slot(w, c), mode(w, c), dataPlane(w),
	}
}

// May reports whether every gate passes.
func May(gates []delivery.Gate) bool {
	return !slices.ContainsFunc(gates, func(g delivery.Gate) bool { return g.Outcome != delivery.GatePass })
}

func pass(name, what string) delivery.Gate {
	return delivery.Gate{Name: name, Outcome: delivery.GatePass, What: what}
}

func order(w World, c Candidate) delivery.Gate {
	before := w.Project.Before(c.Env)
	if c.Only || before == "" {
		return pass("order", c.Env+" is where it enters")
	}
	if s, ok := w.Stable(c.Service, before); ok && s.Release == c.Release {
		return pass("order", c.Version+" is stable in "+before)
	}
	g := delivery.Gate{Name: "order", Outcome: delivery.GateBlocked, What: c.Version + " is not stable in " + before, Lifts: fmt.Sprintf("slipway deploy %s %s", c.Service, c.Version)}
	if r, ok := w.Flight(c.Service, before); ok && r.To == c.Release {
		g.Outcome, g.What, g.Lifts = delivery.GateWaits, c.Version+" is still "+string(r.State)+" in "+before, "passes when it is done there"
		if r.Waiting != nil {
			g.What += ": " + r.Waiting.What
			g.Until = r.Waiting.Until
		}
	}
	return g
}

func quarantine(w World, c Candidate) delivery.Gate {
	for _, h := range w.Holds {
		if h.Kind == delivery.Quarantine && h.Service == c.Service && h.Release == c.Release {
			return delivery.Gate{Name: "quarantine", Outcome: delivery.GateBlocked, What: h.Version + " is on hold: " + h.Why, Lifts: h.Lift(), Who: "anyone with access"}
		}
	}
	return pass("quarantine", c.Version+" is not on hold")
}

func pin(w World, c Candidate) delivery.Gate {
	for _, h := range w.Holds {
		if h.Kind == delivery.Pinned && h.Service == c.Service && h.Env == c.Env {
			return delivery.Gate{Name: "pin", Outcome: delivery.GateBlocked, What: c.Service + " is held in " + c.Env + " by " + h.By + ": " + h.Why, Lifts: h.Lift(), Who: "anyone with access"}
		}
	}
	return pass("pin", c.Service+" is not held in "+c.Env)
}

// history stops the automation from trying again what went back; a person may.
func history(w World, c Candidate) delivery.Gate {
	for _, r := range w.Ended {
		if r.Change != c.Change || r.Env != c.Env || r.Service != c.Service || r.State == delivery.Done {
			continue
		}
		if c.Person {
			break
		}
		return delivery.Gate{
			Name: "history", Outcome: delivery.GateBlocked, What: fmt.Sprintf("change #%d ended %s in %s: %s", c.Change, r.State, c.Env, r.Reason),
			Lifts: fmt.Sprintf("slipway promote %d --to %s, or a newer release", c.Change, c.Env), Who: "anyone with access",
		}
	}
	return pass("history", "has not been sent back from "+c.Env)
}

func slot(w World, c Candidate) delivery.Gate {
	r, ok := w.Flight(c.Service, c.Env)
	if !ok || r.Change == c.Change {
		return pass("slot", "nothing else is under way in "+c.Env)
	}
	replaces := r.Plan.Supersede == delivery.Replace || r.Plan.Supersede == ""
	if replaces && r.State != delivery.Finishing && r.State != delivery.Soaking && r.State != delivery.Reverting {
		return pass("slot", fmt.Sprintf("takes over from change #%d (%s), which is %s", r.Change, r.Version, r.State))
	}
	g := delivery.Gate{Name: "slot", Outcome: delivery.GateWaits, What: fmt.Sprintf("change #%d (%s) is %s in %s", r.Change, r.Version, r.State, c.Env), Lifts: fmt.Sprintf("passes when it ends, or slipway abort %d", r.Change)}
	if r.Waiting != nil {
		g.Until = r.Waiting.Until
	}
	return g
}

func mode(w World, c Candidate) delivery.Gate {
	e, _ := w.Project.Environment(c.Env)
	if c.Only || c.Person || e.Promote != delivery.Manual || w.Project.Before(c.Env) == "" {
		return pass("promotion", "by itself")
	}
	return delivery.Gate{Name: "promotion", Outcome: delivery.GateBlocked, What: c.Env + " is promoted to by hand", Lifts: fmt.Sprintf("slipway promote %d --to %s", c.Change, c.Env), Who: "anyone with access"}
}

func dataPlane(w World) delivery.Gate {
	if w.Trouble == "" {
		return pass("data plane", "answers")
	}
	return delivery.Gate{Name: "data plane", Outcome: delivery.GateBlocked, What: w.Trouble, Lifts: "slipway doctor"}
}

// Proposals lists what the automation shall promote now: releases that are
// stable in one environment and may enter the next. It proposes nothing that
// was tried before, so what a rollback stopped stays stopped.
func Proposals(w World) []Candidate {
	var out []Candidate
	for _, s := range w.Stables {
		next := w.Project.After(s.Env)
		if next == "" {
			continue
		}
		if _, known := w.Project.Service(s.Service); !known {
			continue
		}
		if there, ok := w.Stable(s.Service, next); ok && (there.Release == s.Release || there.Change > s.Change) {
			continue
		}
		c := Candidate{Service: s.Service, Env: next, Release: s.Release, Version: s.Version, Change: s.Change}
		if r, ok := w.Flight(s.Service, next); ok && (r.Change >= s.Change || r.To == s.Release) {
			continue
		}
		if isOnly(w, s) || triedIn(w, c) || !May(Gates(w, c)) {
			continue
		}
		out = append(out, c)
	}
	return out
}

// isOnly says whether the stable release came from a change for that environment alone.
func isOnly(w World, s delivery.Stable) bool {
	for _, r := range w.Ended {
		if r.Change == s.Change && r.Service == s.Service && r.Env == s.Env {
			return r.Only
		}
	}
	return true // its history is not at hand: propose nothing
}

func triedIn(w World, c Candidate) bool {
	return slices.ContainsFunc(w.Ended, func(r delivery.Rollout) bool {
		return r.Change == c.Change && r.Env == c.Env && r.Service == c.Service
	})
}
