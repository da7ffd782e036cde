package promotion

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// anyone may lift what is in the way.
const anyone = "anyone with access"

// Gates lists every condition for a candidate, in the order a person would ask.
// A gate that does not pass names the command or the event that lifts it.
func Gates(w World, c Candidate) []delivery.Gate {
	return []delivery.Gate{
		order(w, c), quarantine(w, c), pin(w, c), history(w, c), slot(w, c), mode(w, c), dataPlane(w),
	}
}

func pass(name, what string) delivery.Gate {
	return delivery.Gate{Name: name, Outcome: delivery.GatePass, What: what}
}

func blocked(name, what, lifts string) delivery.Gate {
	return delivery.Gate{Name: name, Outcome: delivery.GateBlocked, What: what, Lifts: lifts, Who: anyone}
}

func waits(name, what, lifts string, until time.Time) delivery.Gate {
	return delivery.Gate{Name: name, Outcome: delivery.GateWaits, What: what, Lifts: lifts, Until: until}
}

// order lets a release enter only where it has passed the environment before.
func order(w World, c Candidate) delivery.Gate {
	before := w.Project.Before(c.Env)
	if before == "" {
		return pass("order", c.Env+" is the first environment")
	}
	if s, ok := w.Stable(c.Service, before); ok && s.Release == c.Release {
		return pass("order", c.Version+" is stable in "+before)
	}
	if c.Only {
		return pass("order", c.Version+" is for "+c.Env+" alone")
	}
	if r := bringing(w, c.Service, before, c.Release); r != nil {
		what := because(fmt.Sprintf("%s is %s in %s", c.Version, r.State, before), standsOn(r))
		switch {
		case r.State == delivery.Reverting:
			return blocked("order", what, again(w, Candidate{Service: c.Service, Version: c.Version, Env: w.Project.Environments[0].Name}))
		case r.Waiting != nil && r.Waiting.Who != "":
			g := blocked("order", what, event(r.Waiting.Lifts))
			g.Who = r.Waiting.Who
			return g
		}
		return waits("order", what, "passes when it is done there", over(r))
	}
	lifts := again(w, Candidate{Service: c.Service, Version: c.Version, Env: w.Project.Environments[0].Name})
	for env := w.Project.Before(before); env != ""; env = w.Project.Before(env) {
		if s, ok := w.Stable(c.Service, env); ok && s.Release == c.Release {
			lifts = again(w, Candidate{Service: c.Service, Version: c.Version, Change: s.Change, Env: w.Project.After(env)})
			break
		}
	}
	return blocked("order", c.Version+" is not stable in "+before, lifts)
}

// bringing returns the rollout that brings a release into an environment, or nil.
func bringing(w World, service, env string, release delivery.ReleaseID) *delivery.Rollout {
	for i := range w.Open {
		if r := &w.Open[i]; r.Service == service && r.Env == env && r.To == release {
			return r
		}
	}
	return nil
}

func quarantine(w World, c Candidate) delivery.Gate {
	for i := range w.Holds {
		if h := w.Holds[i]; quarantines(h, c.Service, c.Release) {
			return blocked("quarantine", because(h.Version+" is on hold", h.Why), h.Lift())
		}
	}
	return pass("quarantine", c.Version+" is not on hold")
}

func pin(w World, c Candidate) delivery.Gate {
	for i := range w.Holds {
		if h := w.Holds[i]; pins(h, c.Service, c.Env) {
			return blocked("pin", because(c.Service+" is held in "+c.Env+" by "+h.By, h.Why), h.Lift())
		}
	}
	return pass("pin", c.Service+" is not held in "+c.Env)
}

// history stops the automation from trying twice, and from overwriting with an
// older change what came after it. A person may do both.
func history(w World, c Candidate) delivery.Gate {
	tried := last(w, c)
	there, ok := w.Stable(c.Service, c.Env)
	switch {
	case ok && there.Release == c.Release:
		return pass("history", c.Version+" is stable in "+c.Env)
	case tried != nil && tried.State != delivery.Done && c.Person:
		return pass("history", fmt.Sprintf("it ended %s in %s before; a person asks again", tried.State, c.Env))
	case c.Person:
		return pass("history", "a person asks")
	case tried != nil && tried.State != delivery.Done:
		what := because(fmt.Sprintf("change #%d ended %s in %s", c.Change, tried.State, c.Env), tried.Reason)
		return blocked("history", what, again(w, c)+", or a newer release")
	case ok && (there.Change > c.Change || tried != nil):
		what := fmt.Sprintf("%s got %s by change #%d after change #%d", c.Env, there.Version, there.Change, c.Change)
		return blocked("history", what, again(w, c)+", or a newer release")
	case tried != nil:
		return blocked("history", fmt.Sprintf("change #%d was done in %s before", c.Change, c.Env), again(w, c)+", or a newer release")
	}
	return pass("history", "it has not been sent back from "+c.Env)
}

// last returns the newest rollout of a candidate's change that is over in its
// environment, or nil.
func last(w World, c Candidate) *delivery.Rollout {
	for i := range w.Ended {
		if r := &w.Ended[i]; r.Change == c.Change && r.Env == c.Env && r.Service == c.Service {
			return r
		}
	}
	return nil
}

// slot asks whether what is under way gives way. The automation never lets an
// older change pass a newer one, wherever in the line that is.
func slot(w World, c Candidate) delivery.Gate {
	var over *delivery.Rollout // gives way
	for i := range w.Open {
		r := &w.Open[i]
		if r.Service != c.Service || r.Env != c.Env || r.State.Final() {
			continue
		}
		what := because(fmt.Sprintf("change #%d (%s) is %s in %s", r.Change, r.Version, r.State, c.Env), standsOn(r))
		switch {
		case c.Person && c.Change != 0 && r.Change == c.Change:
			return pass("slot", fmt.Sprintf("change #%d itself has it in %s", c.Change, c.Env))
		case !c.Person && (r.Change == c.Change || r.To == c.Release):
			return ends("slot", what, r)
		case !c.Person && r.Change > c.Change:
			return waits("slot", what+"; it is newer", fmt.Sprintf("passes if it goes back, or slipway abort %d", r.Change), time.Time{})
		case !r.Yields():
			return ends("slot", what, r)
		case over == nil || r.State.Active():
			over = r
		}
	}
	if over != nil {
		return pass("slot", fmt.Sprintf("takes over from change #%d (%s), which is %s", over.Change, over.Version, over.State))
	}
	return pass("slot", "nothing else is under way in "+c.Env)
}

// ends is the gate of what has to wait for the end of r.
func ends(name, what string, r *delivery.Rollout) delivery.Gate {
	if r.State == delivery.Reverting {
		return waits(name, what, "passes when it is back", time.Time{})
	}
	return waits(name, what, fmt.Sprintf("passes when it ends, or slipway abort %d", r.Change), over(r))
}

// mode asks who brings a release there: the automation, or a person.
func mode(w World, c Candidate) delivery.Gate {
	before := w.Project.Before(c.Env)
	e, _ := w.Project.Environment(c.Env)
	if c.Person {
		return pass("promotion", "a person asks")
	}
	if before == "" || c.Only {
		return blocked("promotion", "nothing brings it to "+c.Env+" by itself", again(w, c))
	}
	if e.Promote == delivery.Manual {
		return blocked("promotion", c.Env+" is promoted to by hand", again(w, c))
	}
	if s, ok := w.Stable(c.Service, before); ok && s.Release == c.Release {
		from := last(w, Candidate{Service: c.Service, Env: before, Change: s.Change})
		switch {
		case from == nil:
			return blocked("promotion", fmt.Sprintf("how change #%d came to %s is not known any more", s.Change, before), again(w, c))
		case from.Only:
			return blocked("promotion", fmt.Sprintf("change #%d is for %s alone", s.Change, before), again(w, c))
		}
	}
	return pass("promotion", "by itself")
}

func dataPlane(w World) delivery.Gate {
	if w.Trouble == "" {
		return pass("data plane", "answers")
	}
	return blocked("data plane", w.Trouble, "slipway doctor")
}

// again is the command by which a person brings a candidate into its environment.
func again(w World, c Candidate) string {
	switch before := w.Project.Before(c.Env); {
	case c.Only:
		return "slipway deploy " + c.Service + " " + c.Version + " --env " + c.Env
	case before == "":
		return "slipway deploy " + c.Service + " " + c.Version
	}
	return fmt.Sprintf("slipway promote %d --to %s", c.Change, c.Env)
}

// over says when a rollout ends by itself, if that is known.
func over(r *delivery.Rollout) time.Time {
	if r.State == delivery.Soaking && r.Waiting != nil && r.Waiting.Who == "" {
		return r.Waiting.Until
	}
	return time.Time{}
}

// event is what lifts a blocker, which is never nothing.
func event(lifts string) string {
	if lifts == "" {
		return "passes by itself"
	}
	return lifts
}

// standsOn is what a rollout waits for; "" if for nothing.
func standsOn(r *delivery.Rollout) string {
	if r.Waiting == nil {
		return ""
	}
	return r.Waiting.What
}

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}
