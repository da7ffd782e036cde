package promotion

import (
	"fmt"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Why answers why the newest release of a service is or is not in env.
func Why(w World, service, env string, newest Candidate) delivery.Answer {
	a := delivery.Answer{Service: service, Env: env}
	if s, ok := w.Stable(service, env); ok {
		a.Running = s.Version
	}
	c := newest
	if before := w.Project.Before(env); before != "" && !c.Only {
		if s, ok := w.Stable(service, before); ok {
			c = Candidate{Service: service, Env: env, Release: s.Release, Version: s.Version, Change: s.Change}
		}
	}
	c.Env = env
	if r, ok := w.Flight(service, env); ok {
		a.Flight = Brief(r)
		c = Candidate{Service: service, Env: env, Release: r.To, Version: r.Version, Change: r.Change, Only: true, Person: true}
		a.Next, a.Release, a.Change = r.Version, r.To, r.Change
		a.Gates = append(Gates(w, c), flightGate(r))
		a.Sentence = fmt.Sprintf("%s %s is on its way into %s: %s", service, r.Version, env, Standing(r))
		return a
	}
	if c.Release == "" {
		a.Sentence = service + " has no release yet"
		a.Gates = []delivery.Gate{{Name: "release", Outcome: delivery.GateBlocked, What: "nothing was ever deployed", Lifts: "slipway deploy " + service}}
		return a
	}
	a.Next, a.Release, a.Change = c.Version, c.Release, c.Change
	if s, ok := w.Stable(service, env); ok && s.Release == c.Release {
		a.May = true
		a.Sentence = fmt.Sprintf("%s %s is stable in %s since %s", service, s.Version, env, s.Since.Format(time.RFC3339))
		a.Gates = []delivery.Gate{pass("release", s.Version+" is the newest release that may be here"), dataPlane(w)}
		return a
	}
	a.Gates = Gates(w, c)
	a.May = May(a.Gates)
	switch {
	case a.May:
		a.Sentence = fmt.Sprintf("%s %s may enter %s right now", service, c.Version, env)
	default:
		a.Sentence = fmt.Sprintf("%s %s is not in %s, because %s", service, c.Version, env, firstBlocking(a.Gates).What)
	}
	return a
}

func flightGate(r delivery.Rollout) delivery.Gate {
	g := delivery.Gate{Name: "rollout", Outcome: delivery.GateWaits, What: Standing(r), Lifts: "passes by itself"}
	if r.Waiting != nil {
		g.Lifts, g.Who, g.Until = r.Waiting.Lifts, r.Waiting.Who, r.Waiting.Until
		if r.Waiting.Who != "" {
			g.Outcome = delivery.GateBlocked
		}
	}
	return g
}

func firstBlocking(gates []delivery.Gate) delivery.Gate {
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
		return s + ": " + r.Waiting.What
	}
	return s + ": " + r.Reason
}

// Brief returns a rollout in brief.
func Brief(r delivery.Rollout) *delivery.Flight {
	f := &delivery.Flight{Rollout: r.ID, Change: r.Change, Version: r.Version, State: r.State, Waiting: r.Waiting}
	if step, ok := r.At(); ok && (r.State == delivery.Judging || r.State == delivery.Waiting) {
		f.Weight = step.Weight
	}
	if r.State == delivery.Soaking {
		f.Weight = delivery.Full
	}
	return f
}

// Row says what runs where for one service, and whether a new change of it can
// be deployed right now.
func Row(w World, service string, healthy func(env string, release delivery.ReleaseID) (healthy, want int)) delivery.Row {
	row := delivery.Row{Service: service, Now: true}
	var blocked, waits, held, pending []string
	for _, env := range w.Project.EnvironmentNames() {
		cell := delivery.Cell{Env: env}
		if s, ok := w.Stable(service, env); ok {
			cell.Release, cell.Version, cell.Change, cell.Since = s.Release, s.Version, s.Change, s.Since
			cell.Healthy, cell.Want = healthy(env, s.Release)
		}
		if r, ok := w.Flight(service, env); ok {
			cell.Flight = Brief(r)
			if g := slot(w, Candidate{Service: service, Env: env}); g.Outcome != delivery.GatePass {
				waits = append(waits, g.What)
			} else {
				pending = append(pending, r.Version+" in "+env)
			}
		}
		for _, h := range w.Holds {
			switch {
			case h.Service != service:
			case h.Kind == delivery.Pinned && h.Env == env:
				cell.Held = &h
				blocked = append(blocked, "held in "+env+" by "+h.By+": "+h.Why)
			case h.Kind == delivery.Quarantine && wentBack(w, h, env):
				cell.Held = &h
			}
		}
		row.Cells = append(row.Cells, cell)
	}
	for _, h := range w.Holds {
		if h.Service == service && h.Kind == delivery.Quarantine {
			held = append(held, h.Version)
		}
	}
	switch {
	case w.Trouble != "":
		row.Now, row.Sentence = false, "NO  "+w.Trouble
	case len(blocked) > 0:
		row.Now, row.Sentence = false, "NO  "+blocked[0]
	case len(waits) > 0:
		row.Now, row.Sentence = false, "soon  "+waits[0]
	case len(pending) > 0:
		row.Sentence = "yes, takes over from " + strings.Join(pending, ", ")
	case len(held) > 0:
		row.Sentence = "yes, but not " + strings.Join(held, ", ") + " (on hold)"
	default:
		row.Sentence = "yes" + lag(row)
	}
	return row
}

// wentBack says whether the quarantine was made by a rollout in env.
func wentBack(w World, h delivery.Hold, env string) bool {
	for _, r := range w.Ended {
		if r.Change == h.Change && r.Env == env && r.To == h.Release {
			return r.State == delivery.Reverted || r.State == delivery.RevertFailed
		}
	}
	return false
}

// lag says whether a later environment is behind an earlier one.
func lag(row delivery.Row) string {
	for i := 1; i < len(row.Cells); i++ {
		if a, b := row.Cells[i-1], row.Cells[i]; a.Release != b.Release {
			if a.Version == "" || b.Version == "" {
				return ""
			}
			return ", " + a.Version + " waits before " + b.Env
		}
	}
	return ", up to date"
}
