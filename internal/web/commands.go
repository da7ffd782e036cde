package web

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// command is one line of the command bar: where it leads, and how the command line
// says the same.
type command struct {
	Icon  string
	Text  string
	Href  string
	Line  string // of the command line; "" has none
	Theme string // chooses a theme instead of leading anywhere
	Over  bool   // shown over the page, and not instead of it
}

// maxCommands is how many lines one look at the bar has.
const maxCommands = 12

// maxQuery is how much of a query is looked at, in bytes: each of its words is looked
// for in each command.
const maxQuery = 200

// commandsView is what a query finds.
type commandsView struct {
	Query string
	Found []command
}

// commands is the command bar: as a page of links, or what its dialog and the list
// in it show.
func (w *Web) commands(ctx context.Context, q request) (page, error) {
	query := cutText(strings.TrimSpace(q.URL.Query().Get("q")), maxQuery)
	all, err := w.commandsFor(ctx, q.Who, query)
	if err != nil {
		return page{}, err
	}
	p := page{Title: "Commands", Name: "commands", View: commandsView{Query: query, Found: matching(all, query)}}
	switch target, _, _ := strings.Cut(q.Header.Get("Hx-Target"), "#"); target {
	case "dialog":
		p.Name = "command-bar"
	case "ul":
		p.Name = "choices"
	}
	return p, nil
}

// commandsFor lists what somebody can go to or do. Services are many: they are
// listed once something is looked for.
func (w *Web) commandsFor(ctx context.Context, who delivery.Who, query string) ([]command, error) {
	doing, err := w.commandsOfRollouts(ctx, who)
	if err != nil {
		return nil, err
	}
	out := doing
	for _, t := range w.nav() {
		out = append(out, command{Icon: t.Name, Text: "Go to " + t.Text, Href: t.Href, Line: t.Line})
	}
	changes, err := w.commandsOfChanges(ctx, query)
	if err != nil {
		return nil, err
	}
	out = append(out, changes...)
	if query != "" {
		p, err := w.d.Loop.Project(ctx)
		if err != nil {
			return nil, fmt.Errorf("web: commands: %w", err)
		}
		out = append(out, commandsOfProject(who, p)...)
	}
	for _, theme := range []string{"system", "light", "dark"} {
		out = append(out, command{Icon: "theme-" + theme, Text: "Theme: " + theme, Theme: theme, Href: "/commands"})
	}
	return append(out, command{Icon: "keyboard", Text: "Keyboard", Href: "/keys", Over: true}), nil
}

// commandsOfProject lists the services and what may be done with each.
func commandsOfProject(who delivery.Who, p delivery.Project) []command {
	var out []command
	for _, s := range p.Services {
		out = append(out, command{Icon: "service", Text: s.Name, Href: "/services/" + s.Name, Line: "slipway why " + delivery.Shell(s.Name)})
	}
	if mayNot(who) != "" {
		return out
	}
	for _, s := range p.Services {
		out = append(out, commandOf("deploy", "Deploy "+s.Name, actForm{Verb: control.ActDeploy, Service: s.Name}))
		for i, e := range p.Environments {
			if i > 0 {
				out = append(out, commandOf("promote", "Promote "+s.Name+" to "+e.Name, actForm{Verb: control.ActPromote, Service: s.Name, Env: e.Name}))
			}
			out = append(out,
				commandOf("back", "Roll back "+s.Name+" in "+e.Name, actForm{Verb: control.ActRollback, Service: s.Name, Env: e.Name}),
				commandOf("lock", "Hold "+s.Name+" in "+e.Name, actForm{Verb: control.ActHold, Service: s.Name, Env: e.Name}),
				commandOf("unlock", "Release the hold on "+s.Name+" in "+e.Name, actForm{Verb: control.ActRelease, Service: s.Name, Env: e.Name}))
		}
	}
	return out
}

// commandsOfRollouts lists what may be done with what is under way.
func (w *Web) commandsOfRollouts(ctx context.Context, who delivery.Who) ([]command, error) {
	if mayNot(who) != "" {
		return nil, nil
	}
	open, err := w.d.Store.Rollouts(ctx, store.RolloutQuery{Open: true})
	if err != nil {
		return nil, fmt.Errorf("web: commands: %w", err)
	}
	icons := map[control.Verb]string{control.ActPause: "paused", control.ActResume: "resume", control.ActAbort: "abort", control.ActSwitch: "switch", control.ActApprove: "good", control.ActFinish: "promote"}
	var out []command
	for _, r := range open {
		for _, a := range w.actionsOfRollout(who, r) {
			f := actForm{Verb: a.Verb, Change: r.Change, Env: r.Env}
			if a.Verb == control.ActSwitch {
				f = actForm{Verb: a.Verb, Service: r.Service, Env: r.Env}
			}
			if a.Why == "" {
				out = append(out, commandOf(icons[a.Verb], strings.TrimSuffix(a.Label, "…")+": "+r.Service+" "+r.Version+" in "+r.Env, f))
			}
		}
	}
	return out, nil
}

// commandOf leads to what an action would do.
func commandOf(icon, text string, f actForm) command {
	return command{Icon: icon, Text: text + "…", Href: f.address(false), Line: f.act(delivery.Who{}).Command(), Over: true}
}

// commandsOfChanges lists the change that a query names by its number, and the
// latest of all.
func (w *Web) commandsOfChanges(ctx context.Context, query string) ([]command, error) {
	find := store.ChangeQuery{Limit: maxCommands}
	if n, err := strconv.ParseInt(strings.TrimPrefix(query, "#"), 10, 64); err == nil && n > 0 {
		find = store.ChangeQuery{Before: delivery.ChangeID(n + 1), Limit: 1}
	}
	changes, err := w.d.Store.Changes(ctx, find)
	if err != nil {
		return nil, fmt.Errorf("web: commands: %w", err)
	}
	var out []command
	for _, c := range changes {
		what := make([]string, 0, len(c.Members))
		for _, m := range c.Members {
			what = append(what, m.Service+" "+m.Version)
		}
		out = append(out, command{Icon: "change", Text: fmt.Sprintf("%s, change #%d", strings.Join(what, ", "), c.ID), Href: fmt.Sprintf("/changes/%d", c.ID), Line: fmt.Sprintf("slipway watch %d", c.ID)})
	}
	return out, nil
}

// matching returns the commands that have every word of a query somewhere, those
// with words that begin so first.
func matching(all []command, query string) []command {
	words := strings.Fields(strings.ToLower(query))
	type hit struct {
		command

		begun int // words of the query that begin one of the text
	}
	var hits []hit
	for _, c := range all {
		text := " " + strings.ToLower(c.Text)
		in, h := text+" "+strings.ToLower(c.Line), hit{command: c}
		has := func(word string) bool { return strings.Contains(in, word) }
		if slices.ContainsFunc(words, func(word string) bool { return !has(word) }) {
			continue
		}
		for _, word := range words {
			if strings.Contains(text, " "+word) || strings.Contains(text, "#"+strings.TrimPrefix(word, "#")) {
				h.begun++
			}
		}
		hits = append(hits, h)
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return cmp.Compare(b.begun, a.begun) })
	var out []command
	for _, h := range hits[:min(len(hits), maxCommands)] {
		out = append(out, h.command)
	}
	return out
}

// keys is the page that lists what the keyboard does.
func (w *Web) keys(context.Context, request) (page, error) {
	return page{Title: "Keyboard", Name: "keys", View: w.nav()}, nil
}
