package web

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
)

// action is one thing that a person can do from a page: a link to what it would
// do. Template "act" renders it; only the functions of this file make one.
type action struct {
	Verb  control.Verb
	Label string
	Href  string
	Why   string // why it cannot be done now; "" if it may be tried
	Class string // "main", "danger" or "", of its button
	ID    string // of the text that says why
}

// act makes an action of a verb; q says of what.
func (w *Web) act(who delivery.Who, verb control.Verb, label string, q url.Values) action {
	href := "/act/" + string(verb)
	if len(q) > 0 {
		href += "?" + q.Encode()
	}
	a := action{Verb: verb, Label: label, Href: href, ID: "why-" + idOf(href)}
	a.Why = mayNot(who)
	return a
}

// mayNot says why somebody may do nothing; "" if they may. It says the same to all who
// may do the same, who are shown one page together.
func mayNot(who delivery.Who) string {
	switch {
	case who.Access.Allows(delivery.Deployer):
		return ""
	case who.Access == delivery.Nobody:
		return "sign in as a deployer first"
	case who.Anonymous:
		return access.Need(who, delivery.Deployer).Error()
	}
	return "you are " + who.Access.Words() + ", and this needs " + delivery.Deployer.Words()
}

// unless says why an action cannot be done, if nothing else forbids it already.
func (a action) unless(why string) action {
	if a.Why == "" {
		a.Why = why
	}
	return a
}

// fits asks the rules whether a rollout has a use for what is asked of it.
func (a action) fits(verb delivery.AskVerb, r delivery.Rollout) action {
	if err := promotion.Fits(verb, r); err != nil {
		return a.unless(err.Error())
	}
	return a
}

func (a action) class(c string) action {
	a.Class = c
	return a
}

// actionsOfRollout is what can be done with a rollout, the most likely first;
// none once it is over.
func (w *Web) actionsOfRollout(who delivery.Who, r delivery.Rollout) []action {
	if r.State.Final() || r.State == delivery.Reverting { // on its way back it cannot be stopped, nor hurried
		return nil
	}
	q := url.Values{"change": {fmt.Sprint(r.Change)}, "env": {r.Env}}
	var out []action
	switch {
	case promotion.Switchable(r):
		out = append(out, w.act(who, control.ActSwitch, "Switch to "+r.Version+"…", url.Values{"service": {r.Service}, "env": {r.Env}}).class("main"))
	case promotion.Approvable(r):
		out = append(out, w.act(who, control.ActApprove, "Approve…", q).class("main"))
	}
	if r.Paused != nil {
		out = append(out, w.act(who, control.ActResume, "Resume…", q).fits(delivery.AskResume, r))
	} else {
		out = append(out, w.act(who, control.ActPause, "Pause…", q).fits(delivery.AskPause, r))
	}
	back := w.act(who, control.ActAbort, "Take back…", q).class("danger")
	if r.Asked != nil && r.Asked.Verb == delivery.AskAbort {
		back = back.unless(r.Version + " is on its way back in " + r.Env)
	}
	return append(out, w.act(who, control.ActFinish, "Finish now…", q).fits(delivery.AskPromote, r), back)
}

// actionsOfService is what can be done with a service as a whole: deploy, promote
// what waits before an environment, and go back in the last one.
func (w *Web) actionsOfService(who delivery.Who, row delivery.Row) []action {
	deploy := w.act(who, control.ActDeploy, "Deploy…", url.Values{"service": {row.Service}}).class("main")
	if len(row.Cells) == 0 {
		return []action{deploy}
	}
	if first := row.Cells[0]; first.Held != nil && first.Held.Kind == delivery.Pinned {
		deploy = deploy.unless(row.Service + " is held in " + first.Env + " by " + first.Held.By + ": " + first.Held.Why)
	}
	out := []action{deploy}
	for i, c := range row.Cells[1:] {
		if before := row.Cells[i]; before.Release != "" && before.Release != c.Release && before.Change > c.Change && (c.Flight == nil || c.Flight.Version != before.Version) {
			out = append(out, w.actPromote(who, row.Service, before, c))
			break
		}
	}
	return append(out, w.actBack(who, row.Service, row.Cells[len(row.Cells)-1]))
}

// actionsOfCell is what can be done with a service in one environment.
func (w *Web) actionsOfCell(who delivery.Who, service string, c delivery.Cell) []action {
	out := []action{w.actBack(who, service, c)}
	if c.Held != nil {
		return append(out, w.actionOfHold(who, *c.Held))
	}
	return append(out, w.act(who, control.ActHold, "Hold "+c.Env+"…", url.Values{"service": {service}, "env": {c.Env}}))
}

// actPromote brings what is stable before an environment into it.
func (w *Web) actPromote(who delivery.Who, service string, before, c delivery.Cell) action {
	a := w.act(who, control.ActPromote, "Promote "+before.Version+" to "+c.Env+"…", url.Values{"service": {service}, "env": {c.Env}})
	if c.Held != nil && c.Held.Kind == delivery.Pinned {
		return a.unless(service + " is held in " + c.Env + " by " + c.Held.By + ": " + c.Held.Why)
	}
	if c.Held != nil && c.Held.Kind == delivery.Quarantine && c.Held.Release == before.Release {
		return a.unless(before.Version + " is on hold: " + c.Held.Why)
	}
	return a
}

// actBack goes back in an environment: from what is under way, or from what is stable.
func (w *Web) actBack(who delivery.Who, service string, c delivery.Cell) action {
	a := w.act(who, control.ActRollback, "Roll back "+c.Env+"…", url.Values{"service": {service}, "env": {c.Env}}).class("danger")
	switch {
	case c.Flight == nil && c.Version == "":
		return a.unless("nothing of " + service + " runs in " + c.Env)
	case c.Flight == nil && c.Before == "":
		return a.unless(service + " " + c.Version + " is the first release in " + c.Env + ": there is nothing to go back to")
	case c.Flight == nil && c.BeforeHeld != nil:
		return a.unless(c.BeforeHeld.Version + ", which a roll back would go to, is on hold: " + c.BeforeHeld.Why)
	case c.Flight != nil && c.Flight.State == delivery.Reverting:
		return a.unless(c.Flight.Version + " is on its way back in " + c.Env)
	}
	return a
}

// actionOfHold lifts a hold.
func (w *Web) actionOfHold(who delivery.Who, h delivery.Hold) action {
	q := url.Values{"service": {h.Service}}
	label := "Release hold on " + h.Env + "…"
	if h.Kind == delivery.Quarantine {
		q.Set("version", h.Version)
		label = "Release hold on " + h.Version + "…"
	} else {
		q.Set("env", h.Env)
	}
	return w.act(who, control.ActRelease, label, q)
}

// actionsOfVersion is what can be done with one version of a service: deploy it,
// go back to it in env, hold it or release it.
func (w *Web) actionsOfVersion(who delivery.Who, service, env string, v control.Version) []action {
	q := url.Values{"service": {service}, "version": {v.Version}}
	deploy := w.act(who, control.ActDeploy, "Deploy "+v.Version+"…", q)
	if v.Release == "" {
		return []action{deploy}
	}
	back := w.act(who, control.ActRollback, "Roll back "+env+" to "+v.Version+"…", url.Values{"service": {service}, "version": {v.Version}, "env": {env}}).class("danger")
	hold := w.act(who, control.ActHold, "Hold "+v.Version+"…", q)
	if v.Held != nil {
		why := v.Version + " is on hold: " + v.Held.Why
		deploy, back, hold = deploy.unless(why), back.unless(why), w.actionOfHold(who, *v.Held)
	}
	if v.Gone {
		why := "the files of " + v.Version + " are no longer kept"
		deploy, back = deploy.unless(why), back.unless(why)
	}
	for _, at := range v.StableIn {
		if at == env {
			back = back.unless(v.Version + " is what runs in " + env)
		}
	}
	return []action{deploy, back, hold}
}

// idOf makes an id of any text: the same text the same id.
func idOf(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.':
			return c
		}
		return '_'
	}, text)
}

// refusalOf returns the refusal in err, or nil.
func refusalOf(err error) *delivery.Refusal {
	no := (*delivery.Refusal)(nil)
	errors.As(err, &no)
	return no
}
