package web

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// actForm is an action as a form or an address says it.
type actForm struct {
	Verb     control.Verb
	Change   delivery.ChangeID
	Service  string
	Env      string
	Version  string
	Set      string // KEY=VALUE, one a line
	Unset    string // KEY, one a line
	Strategy string
	Approve  bool
	Glass    bool
	Back     bool
	Reason   string
	Planned  bool   // a deploy: what it would do is asked for
	Seen     string // mark of what was seen
	Key      string
	Typed    string

	set   map[string]string
	unset []string
}

// readAct reads an action. What cannot be one is refused with the field.
func readAct(verb string, q url.Values) (actForm, error) {
	f := actForm{Verb: control.Verb(verb)}
	if !slices.Contains(control.Verbs(), f.Verb) {
		return f, &delivery.Refusal{Code: codeNoPage, Why: fmt.Sprintf("there is no action %q", verb), Next: "the board shows what there is"}
	}
	for name, to := range map[string]*string{
		"service": &f.Service, "env": &f.Env, "version": &f.Version, "strategy": &f.Strategy, "reason": &f.Reason,
		"seen": &f.Seen, "key": &f.Key, "typed": &f.Typed,
	} {
		*to = strings.TrimSpace(strings.ReplaceAll(q.Get(name), "\r\n", "\n"))
		if err := delivery.Plain(name, *to); err != nil {
			return f, err
		}
	}
	for name, to := range map[string]*bool{"approve": &f.Approve, "break_glass": &f.Glass, "back": &f.Back, "planned": &f.Planned} {
		*to = q.Get(name) != ""
	}
	if text := q.Get("change"); text != "" {
		n, err := strconv.ParseInt(strings.TrimPrefix(text, "#"), 10, 64)
		if err != nil || n < 1 {
			return f, delivery.Invalid("change", fmt.Sprintf("%q is no number of a change", text))
		}
		f.Change = delivery.ChangeID(n)
	}
	f.Set, f.Unset = q.Get("set"), q.Get("unset")
	if err := f.readConfig(); err != nil {
		return f, err
	}
	return f, f.whole()
}

// readConfig reads the lines of configuration.
func (f *actForm) readConfig() error {
	for line := range strings.Lines(f.Set) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || key == "" {
			return delivery.InvalidNext("set", fmt.Sprintf("%q is not KEY=VALUE", line), "write one KEY=VALUE a line")
		}
		if err := delivery.Plain("set", line); err != nil {
			return err
		}
		if f.set == nil {
			f.set = map[string]string{}
		}
		f.set[key] = value
	}
	for line := range strings.Lines(f.Unset) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if err := delivery.Plain("unset", line); err != nil {
			return err
		}
		f.unset = append(f.unset, line)
	}
	return nil
}

// whole refuses an action that names nothing to act upon.
func (f *actForm) whole() error {
	switch f.Verb {
	case control.ActDeploy:
		return nil // the form asks
	case control.ActPromote:
		if f.Service != "" && f.Change == 0 && f.Env == "" {
			return delivery.Invalid("env", "to promote a service, name the environment to enter")
		}
	case control.ActRollback, control.ActSwitch, control.ActHold, control.ActRelease:
		if f.Service == "" {
			return delivery.Invalid("service", "is missing: "+string(f.Verb)+" is about a service")
		}
		if f.Verb == control.ActHold && f.Env != "" && f.Version != "" {
			return delivery.Invalid("env", "a hold pins an environment or quarantines a version, not both")
		}
		return nil
	case control.ActApprove, control.ActFinish, control.ActPause, control.ActResume, control.ActAbort:
	}
	if f.Service == "" && f.Change == 0 {
		return delivery.Invalid("change", "is missing: "+string(f.Verb)+" is about a change or a service")
	}
	return nil
}

// allowed refuses who may not do this.
func (f actForm) allowed(who delivery.Who) error {
	if err := access.Need(who, delivery.Deployer); err != nil || !f.Glass {
		return err
	}
	return access.BreakGlass(who)
}

// act is what is asked for, in the words of control.
func (f actForm) act(who delivery.Who) control.Act {
	a := control.Act{
		Verb: f.Verb, Change: f.Change, Service: f.Service, Env: f.Env, Version: f.Version, Set: f.set, Unset: f.unset,
		BreakGlass: f.Glass, Back: f.Back, Reason: f.Reason, By: who.Name,
	}
	if f.Strategy != "" || f.Approve {
		a.Strategy = &delivery.Override{Kind: delivery.StrategyKind(f.Strategy), Approve: f.Approve}
	}
	return a
}

// address is where the action is shown; planned asks for what it would do.
func (f actForm) address(planned bool) string {
	q := url.Values{}
	for name, text := range map[string]string{
		"service": f.Service, "env": f.Env, "version": f.Version, "strategy": f.Strategy, "reason": f.Reason, "set": f.Set, "unset": f.Unset,
	} {
		if text != "" {
			q.Set(name, text)
		}
	}
	for name, yes := range map[string]bool{"approve": f.Approve, "break_glass": f.Glass, "back": f.Back, "planned": planned} {
		if yes {
			q.Set(name, "1")
		}
	}
	if f.Change != 0 {
		q.Set("change", fmt.Sprint(f.Change))
	}
	return "/act/" + string(f.Verb) + "?" + q.Encode()
}

// home is the page of what the action is about.
func (f actForm) home() string {
	switch {
	case f.Change != 0:
		return fmt.Sprintf("/changes/%d", f.Change)
	case f.Service != "":
		return "/services/" + url.PathEscape(f.Service)
	}
	return "/"
}

// named is the same form, for the words about it: of a service and its change.
func (f actForm) named(service string) actForm {
	f.Service = service
	return f
}

// about is what the page of home is about, for people.
func (f actForm) about() string {
	switch {
	case f.Change != 0:
		return fmt.Sprintf("change #%d", f.Change)
	case f.Service != "":
		return f.Service
	}
	return "the board"
}

// manner is how an action is spoken of.
type manner struct {
	title, label, reason string
	danger               bool
}

func manners(f actForm) manner {
	what := f.Service
	switch {
	case f.Change != 0 && what != "":
		what += fmt.Sprintf(" (change #%d)", f.Change)
	case f.Change != 0:
		what = fmt.Sprintf("change #%d", f.Change)
	}
	where := ""
	if f.Env != "" {
		where = " in " + f.Env
	}
	const optional, required = "optional", "required"
	switch f.Verb {
	case control.ActDeploy:
		m := manner{title: strings.TrimSpace("Deploy " + f.Service + " " + f.Version), label: "Deploy", reason: optional}
		if f.Glass {
			m.reason = required
		}
		return m
	case control.ActPromote:
		if f.Env != "" {
			where = " to " + f.Env
		}
		return manner{title: "Promote " + what + where, label: "Promote", reason: optional}
	case control.ActApprove:
		return manner{title: "Approve " + what + where, label: "Approve", reason: optional}
	case control.ActFinish:
		return manner{title: "Finish " + what + where + " now", label: "Finish now", reason: optional}
	case control.ActPause:
		return manner{title: "Pause " + what + where, label: "Pause", reason: optional}
	case control.ActResume:
		return manner{title: "Resume " + what + where, label: "Resume", reason: optional}
	case control.ActAbort:
		return manner{title: "Take back " + what + where, label: "Take back", reason: optional, danger: true}
	case control.ActRollback:
		m := manner{title: "Roll back " + what + where, label: "Roll back", reason: optional, danger: true}
		if f.Version != "" {
			m.title += " to " + f.Version
		}
		return m
	case control.ActSwitch:
		if f.Back {
			return manner{title: "Switch " + what + where + " back", label: "Switch back", reason: optional, danger: true}
		}
		return manner{title: "Switch " + what + where, label: "Switch", reason: optional}
	case control.ActHold:
		return manner{title: "Hold " + strings.TrimSpace(what+" "+f.Version) + where, label: "Hold", reason: required}
	case control.ActRelease:
		return manner{title: "Release the hold on " + strings.TrimSpace(what+" "+f.Version) + where, label: "Release", reason: optional}
	}
	return manner{}
}
