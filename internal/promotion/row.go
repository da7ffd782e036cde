package promotion

import (
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Healthy counts the instances of a release in an environment of a service: those
// that are healthy, and those that are wanted.
type Healthy func(service, env string, release delivery.ReleaseID) (healthy, want int)

// Rows says of every service, in the order of the file, what runs where and whether
// a new change of it can be deployed right now. A change enters the first
// environment, so what is held or under way later on is told, and stops nothing yet.
func Rows(w World, healthy Healthy) []delivery.Row {
	parts := w.parts()
	out := make([]delivery.Row, 0, len(w.Project.Services))
	for i := range w.Project.Services {
		name := w.Project.Services[i].Name
		out = append(out, rowOf(*parts[name], name, healthy))
	}
	return out
}

// rowOf is the row of a service in a world of what concerns it alone.
func rowOf(w World, service string, healthy Healthy) delivery.Row {
	row := delivery.Row{Service: service}
	for i := range w.Project.Environments {
		row.Cells = append(row.Cells, cell(w, service, w.Project.Environments[i].Name, healthy))
	}
	if len(row.Cells) > 0 {
		if first, sentence := inTheWay(w, row.Cells[0], service); first != nil {
			row.First, row.Sentence = first, sentence
			return row
		}
	}
	row.Now = true
	row.Sentence = "yes, " + strings.Join(remarks(w, row), "; ")
	return row
}

// inTheWay is what keeps a new change out of the first environment, and a sentence
// about it; nil if nothing does.
func inTheWay(w World, first delivery.Cell, service string) (*delivery.Gate, string) {
	if w.Trouble != "" {
		g := dataPlane(w)
		return &g, "NO  " + g.What
	}
	c := Candidate{Service: service, Env: first.Env, Person: true}
	if first.Held != nil && first.Held.Kind == delivery.Pinned {
		g := pin(w, c)
		return &g, "NO  " + heldIn(*first.Held)
	}
	if g := slot(w, c); g.Outcome != delivery.GatePass {
		return &g, "soon  " + g.What
	}
	return nil, ""
}

func cell(w World, service, env string, healthy Healthy) delivery.Cell {
	c := delivery.Cell{Env: env}
	if s, ok := w.Stable(service, env); ok {
		c.Release, c.Version, c.Change, c.Since, c.Before = s.Release, s.Version, s.Change, s.Since, s.Previous
		c.Healthy, c.Want = healthy(service, env, s.Release)
		c.BeforeHeld = w.HoldOn(service, "", s.Previous)
	}
	if r, ok := w.Flight(service, env); ok {
		c.Flight = Brief(r)
	}
	for i := range w.Holds {
		h := w.Holds[i]
		if pins(h, service, env) {
			c.Held = &h
			break
		}
		if h.Service == service && h.Kind == delivery.Quarantine && left(w, h, env) {
			c.Held = &h
		}
	}
	return c
}

// left says whether the traffic of env was taken from the release that h
// quarantines: its rollout there went back, or a rollback left it.
func left(w World, h delivery.Hold, env string) bool {
	for _, rs := range [][]delivery.Rollout{w.Open, w.Ended} {
		for i := range rs {
			r := &rs[i]
			if r.Service != h.Service || r.Env != env {
				continue
			}
			back := r.State == delivery.Reverting || r.State == delivery.Reverted || r.State == delivery.RevertFailed
			if r.To == h.Release && back || r.From == h.Release && r.Origin == delivery.OriginRollback {
				return true
			}
		}
	}
	return false
}

func heldIn(h delivery.Hold) string { return because("held in "+h.Env+" by "+h.By, h.Why) }

// remarks are what a person should know who deploys now; there is at least one.
func remarks(w World, row delivery.Row) []string {
	var out []string
	for i, c := range row.Cells {
		if f := c.Flight; f != nil && i == 0 {
			out = append(out, "takes over from "+f.Version+" in "+c.Env)
		} else if f != nil {
			out = append(out, f.Version+" is "+doing(f.State)+" in "+c.Env)
		}
		if c.Held != nil && c.Held.Kind == delivery.Pinned {
			out = append(out, heldIn(*c.Held))
		}
	}
	var held []string
	for i := range w.Holds {
		if h := &w.Holds[i]; h.Service == row.Service && h.Kind == delivery.Quarantine {
			held = append(held, h.Version)
		}
	}
	if len(held) > 0 {
		out = append(out, "but not "+strings.Join(held, ", ")+" (on hold)")
	}
	if len(out) == 0 {
		out = append(out, lag(row))
	}
	return out
}

// doing is what happens to a release that is under way, as people say it.
func doing(s delivery.State) string {
	switch s {
	case delivery.Judging:
		return "being judged"
	case delivery.Preparing:
		return "being prepared"
	case delivery.Reverting:
		return "going back"
	case delivery.Queued, delivery.Starting, delivery.Shifting, delivery.Waiting, delivery.Finishing, delivery.Soaking, delivery.Done, delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled:
	}
	return string(s)
}

// lag says which environment is behind the one before it, or ahead of it.
func lag(row delivery.Row) string {
	deployed := false
	for i, b := range row.Cells {
		deployed = deployed || b.Version != ""
		if i == 0 {
			continue
		}
		switch a := row.Cells[i-1]; {
		case a.Release == b.Release:
		case a.Version != "" && (b.Version == "" || a.Change > b.Change):
			return a.Version + " waits before " + b.Env
		case b.Version != "" && a.Version != "":
			return b.Env + " is ahead with " + b.Version
		}
	}
	if !deployed {
		return "nothing is deployed yet"
	}
	return "up to date"
}
