package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// certificateSoon is how long before its end a certificate is worth a line. Who
// renews in time has done it by then.
const certificateSoon = 14 * 24 * time.Hour

// routesText lays the view out for people: the table, below it what is not as
// it should be, and whom they look at.
func (s *session) routesText(v planeView, endpoints bool) string {
	text := s.routesTable(v)
	if endpoints {
		if rows := s.endpointRows(v); len(rows) > 0 {
			text += "\n" + grid("  ", rows)
		}
	}
	if rows := s.worries(v, time.Now()); len(rows) > 0 {
		text += "\n" + grid("  ", rows)
	}
	foot := fmt.Sprintf("generation %d, pid %d, version %s", v.Generation, v.PID, v.Version)
	if v.Predecessor != 0 {
		foot += fmt.Sprintf("; pid %d, which served before, finishes its requests", v.Predecessor)
	}
	return text + "\n  " + s.look.faint(foot) + "\n"
}

// columnsOf says what a table of routes leaves out to be narrower.
type columnsOf struct{ noIDs, noPlaces, short bool }

// routesTable is as wide as the terminal lets it: first the IDs of releases that
// have a version go, then the places, which -o json has too, then long headings.
func (s *session) routesTable(v planeView) string {
	if len(v.Listeners) == 0 {
		return "  – nothing is routed\n"
	}
	text := ""
	for _, c := range []columnsOf{{}, {noIDs: true}, {noIDs: true, noPlaces: true}, {noIDs: true, noPlaces: true, short: true}} {
		text = grid("  ", s.routeRows(v, c))
		if !s.look.overflows(text) {
			break
		}
	}
	return text
}

// routeRows names a listener, a route and a release where they begin.
func (s *session) routeRows(v planeView, c columnsOf) [][]string {
	line := func(listens, at, route string, cells ...string) []string {
		row := []string{listens, at, route}
		if c.noPlaces {
			row = []string{listens, route}
		}
		return append(row, cells...)
	}
	healthy, inFlight := "HEALTHY", "IN FLIGHT"
	if c.short {
		healthy, inFlight = "UP", "BUSY"
	}
	head := line("LISTENS", "AT", "ROUTE", "RELEASE", "WEIGHT", healthy, inFlight, "REQ/S", "ERRORS")
	for i := range head {
		head[i] = s.look.faint(head[i])
	}
	rows, seen := [][]string{head}, map[string]bool{}
	for _, l := range v.Listeners {
		listens := l.Addr
		if l.Error != "" || l.TLS != nil && l.TLS.Waiting != "" {
			listens = s.look.bad("✖ ") + l.Addr
		}
		for _, r := range l.Routes {
			if l.Caller != "" && seen[r.Name] {
				rows, listens = append(rows, line(listens, shortList(r.At), r.Name)), ""
				continue // its releases are listed already
			}
			seen[r.Name] = true
			first := line(listens, shortList(r.At), r.Name)
			for _, p := range r.Pools {
				rows = append(rows, append(first, s.poolCells(p, c)...))
				first = line("", "", "")
			}
			if len(r.Pools) == 0 {
				rows = append(rows, first)
			}
			listens = ""
		}
		if len(l.Routes) == 0 {
			rows = append(rows, []string{listens, s.look.faint("nothing")})
		}
	}
	return rows
}

// mostPlaces is how many places of a route are listed.
const mostPlaces = 4

func shortList(at []string) string {
	switch {
	case len(at) == 0:
		return "nowhere"
	case len(at) <= mostPlaces:
		return strings.Join(at, " ")
	}
	return strings.Join(at[:mostPlaces], " ") + fmt.Sprintf(" and %d more", len(at)-mostPlaces)
}

func (s *session) poolCells(p poolView, c columnsOf) []string {
	release := cmp.Or(p.Version, string(p.Release))
	if release != string(p.Release) && !c.noIDs {
		release += s.look.faint(" " + string(p.Release))
	}
	healthy := fmt.Sprintf("%d/%d", p.Healthy, len(p.Endpoints))
	if p.Healthy < len(p.Endpoints) {
		healthy = s.look.bad(healthy)
	}
	errs := "–"
	if p.Requests > 0 {
		errs = percent(float64(p.Errors) / float64(p.Requests))
		if p.Errors > 0 {
			errs = s.look.bad(errs)
		}
	}
	return []string{release, p.Weight.String(), healthy, fmt.Sprint(p.InFlight), fmt.Sprintf("%.1f", p.Rate), errs}
}

// endpointRows lists every endpoint once, whatever leads to it.
func (s *session) endpointRows(v planeView) [][]string {
	rows, seen := [][]string{}, map[string]bool{}
	for _, l := range v.Listeners {
		for _, r := range l.Routes {
			if seen[r.Name] {
				continue
			}
			seen[r.Name] = true
			for _, p := range r.Pools {
				for _, e := range p.Endpoints {
					mark := s.look.good("✔")
					if !e.Healthy {
						mark = s.look.bad("✖")
					}
					rows = append(rows, []string{mark + " " + e.ID, e.Addr, r.Name, cmp.Or(p.Version, string(p.Release)), plural(e.InFlight, "request") + " in flight"})
				}
			}
		}
	}
	return rows
}

// worries lists what is not as it should be, and why.
func (s *session) worries(v planeView, now time.Time) [][]string {
	var rows [][]string
	seen := map[string]bool{}
	for _, l := range v.Listeners {
		for _, r := range l.Routes {
			if !seen[r.Name] {
				seen[r.Name] = true
				rows = append(rows, s.ailing(r, now)...)
			}
		}
	}
	for _, l := range v.Listeners {
		rows = append(rows, s.listening(l, v.Started, now)...)
	}
	for _, e := range v.Draining {
		rows = append(rows, []string{s.look.sign(signWaits) + " " + e.ID, e.Addr, "has left the table, " + plural(e.InFlight, "request") + " in flight"})
	}
	for _, f := range v.Faults {
		rows = append(rows, []string{s.look.sign(signPaused) + " " + f.ID, "fault", f.Does() + "; " + plural(f.Touched, "request") + " so far, ends in " + span(f.Until.Sub(now)) + " unless renewed"})
	}
	return rows
}

// ailing lists the endpoints of a route that take no requests, and who waits.
func (s *session) ailing(r routeView, now time.Time) [][]string {
	var rows [][]string
	for _, p := range r.Pools {
		for _, e := range p.Endpoints {
			switch {
			case e.Drained != nil:
				why := "drained by " + printable(e.Drained.By) + " " + span(now.Sub(e.Drained.At)) + " ago"
				if e.Drained.Why != "" {
					why += ": " + printable(e.Drained.Why)
				}
				rows = append(rows, []string{s.look.sign(signBlocked) + " " + e.ID, e.Addr, why + ", " + plural(e.InFlight, "request") + " in flight"})
			case !e.Healthy:
				rows = append(rows, []string{s.look.bad("✖") + " " + e.ID, e.Addr, printable(e.Why)})
			}
		}
		if p.Waiting > 0 {
			rows = append(rows, []string{s.look.sign(signWaits) + " " + r.Name, cmp.Or(p.Version, string(p.Release)), plural(p.Waiting, "request") + " in the queue for an instance with room"})
		}
	}
	if r.Held > 0 {
		rows = append(rows, []string{s.look.sign(signWaits) + " " + r.Name, "held", plural(r.Held, "request") + " until a release takes traffic"})
	}
	return rows
}

// listening lists what is wrong with a listener, and what it refused.
func (s *session) listening(l listenerView, since, now time.Time) [][]string {
	var rows [][]string
	bad := func(why string) { rows = append(rows, []string{s.look.bad("✖") + " " + l.Addr, l.Name, why}) }
	if l.Error != "" {
		bad("cannot be opened: " + printable(l.Error))
	}
	if t := l.TLS; t != nil {
		switch {
		case t.Waiting != "" && t.Error != "":
			bad("nobody can connect: " + certificateError(t.Error))
		case t.Waiting != "":
			bad("waits for " + t.Waiting)
		case t.Error != "":
			bad("serves the certificate before, good for " + span(t.NotAfter.Sub(now)) + "; the files cannot be used: " + certificateError(t.Error))
		case t.NotAfter.Before(now):
			bad("its certificate ended " + span(now.Sub(t.NotAfter)) + " ago")
		case t.NotAfter.Sub(now) < certificateSoon:
			rows = append(rows, []string{s.look.sign(signWaits) + " " + l.Addr, l.Name, "its certificate ends in " + span(t.NotAfter.Sub(now))})
		}
	}
	if said := refusals(l.Refused); said != "" {
		rows = append(rows, []string{s.look.sign(signBlocked) + " " + l.Addr, l.Name, "refused in " + span(now.Sub(since)) + ": " + said})
	}
	return rows
}

// certificateError drops which package said so.
func certificateError(text string) string { return printable(strings.TrimPrefix(text, "certs: ")) }

// refusals says how often requests were refused, the most frequent first.
func refusals(by map[string]uint64) string {
	codes := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), cmp.Compare(a, b))
	})
	said := make([]string, 0, len(codes))
	for _, c := range codes {
		said = append(said, grouped(int64(by[c]))+" "+c)
	}
	return strings.Join(said, ", ")
}
