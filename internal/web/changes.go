package web

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// changesView is the list of changes.
type changesView struct {
	Filter   []choice // what can be chosen of
	By       string
	From, To string // days
	Filtered bool
	Rows     []changeRow
	Pager    pager
	Empty    *empty
}

// choice is a field of the filter with what can be chosen.
type choice struct {
	Name, Label, Any string
	Options          []option
}

type option struct {
	Value, Text string
	Chosen      bool
}

// changeRow is one change of the list.
type changeRow struct {
	ID       delivery.ChangeID
	Href     string
	Service  string
	From, To string
	Kinds    string
	Envs     []envSign
	Outcome  string
	Reason   string
	By       string
	When     string
	Stamp    string
	Lasted   string // "" while it is under way
}

// envSign is how a change stands in one environment.
type envSign struct {
	Env, Href string
	Sign      sign
}

// changesPage is how many changes a page of the list shows.
const changesPage = 25

// changes lists changes, newest first. The address says all that was chosen.
func (w *Web) changes(ctx context.Context, q request) (page, error) {
	at := q.URL.Query()
	f := control.ChangeFilter{Service: at.Get("service"), Env: at.Get("env"), Kind: at.Get("kind"), Outcome: at.Get("outcome"), By: at.Get("by"), From: at.Get("from"), To: at.Get("to")}
	want, err := f.Query()
	if err != nil {
		return page{}, err
	}
	before, err := lineOf(at.Get("before"))
	if err != nil {
		return page{}, delivery.Invalid("before", "is the number of a change")
	}
	want.Before, want.Limit = delivery.ChangeID(before), changesPage+1
	list, err := w.d.Store.Changes(ctx, want)
	if err != nil {
		return page{}, err
	}
	v := changesView{By: inert(f.By), From: inert(f.From), To: inert(f.To), Filtered: f != control.ChangeFilter{}}
	if len(list) > changesPage {
		list = list[:changesPage]
		v.Pager.Next = changesHref(at, list[changesPage-1].ID)
	}
	if before > 0 {
		v.Pager.Prev = changesHref(at, 0)
	}
	v.Pager.Text = "newest first"
	if v.Rows, err = w.changeRows(ctx, list); err != nil {
		return page{}, err
	}
	if v.Filter, err = w.changeChoices(ctx, f); err != nil {
		return page{}, err
	}
	if len(list) == 0 {
		v.Empty = noChanges(v.Filtered || before > 0)
	}
	return page{Tab: "changes", Title: "Changes", Name: "changes", View: v, Live: true}, nil
}

// changesHref is the list with the same filter, from another change on.
func changesHref(at url.Values, before delivery.ChangeID) string {
	next := url.Values{}
	for key, values := range at {
		if key != "before" && len(values) > 0 && values[0] != "" {
			next.Set(key, values[0])
		}
	}
	if before > 0 {
		next.Set("before", fmt.Sprint(before))
	}
	if len(next) == 0 {
		return "/changes"
	}
	return "/changes?" + next.Encode()
}

func noChanges(filtered bool) *empty {
	if filtered {
		return &empty{Title: "No change is like that", Why: "Choose less to see more of them.", Href: "/changes", LinkText: "See all changes"}
	}
	return &empty{
		Title: "Nothing has been deployed yet", Why: "A change is a new version or another configuration of a service, on its way through the environments.",
		Commands: []emptyCommand{{"Deploy what is in the working directory of a service:", "slipway deploy SERVICE"}, {"Or see it all with a sample system:", "slipway demo"}},
	}
}

// changeRows reads how changes stand.
func (w *Web) changeRows(ctx context.Context, list []delivery.Change) ([]changeRow, error) {
	var ids []delivery.ChangeID
	for _, c := range list {
		ids = append(ids, c.ID)
	}
	of, err := w.d.Store.RolloutsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	var out []changeRow
	for _, c := range list {
		out = append(out, changeRowOf(c, of[c.ID]))
	}
	return out, nil
}

// changeRowOf is one line of the list; the rollouts are oldest first.
func changeRowOf(c delivery.Change, rollouts []delivery.Rollout) changeRow {
	row := changeRow{
		ID: c.ID, Href: fmt.Sprintf("/changes/%d", c.ID), By: inert(c.By), Reason: cutText(inert(c.Reason), 160), When: dated(c.Submitted), Stamp: c.Submitted.UTC().Format(time.RFC3339),
	}
	var names, kinds []string
	for _, m := range c.Members {
		names = append(names, m.Service)
		row.To = m.Version
	}
	for _, k := range c.Kinds {
		kinds = append(kinds, kindWord(k))
	}
	if c.Origin == delivery.OriginRollback {
		kinds = []string{"rollback"}
	}
	row.Service, row.Kinds = strings.Join(names, ", "), strings.Join(kinds, " + ")
	over := len(rollouts) > 0
	var last delivery.Rollout
	for _, r := range rollouts {
		row.From = cmp.Or(row.From, r.Was)
		row.Envs = append(row.Envs, envSign{Env: r.Env, Href: changeHref(r.Change, r.Env), Sign: stateOf(r)})
		over = over && r.State.Final()
		last = r
	}
	row.Outcome = outcomeSentence(last)
	if over {
		row.Lasted = lasted(last.Ended.Sub(c.Submitted))
	}
	return row
}

// outcomeSentence says in one sentence how the last rollout of a change stands.
func outcomeSentence(r delivery.Rollout) string {
	switch r.State {
	case "":
		return ""
	case delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Waiting, delivery.Finishing, delivery.Soaking:
		text := underWay(r)
		if r.State == delivery.Queued {
			text = fmt.Sprintf("%s waits for its turn in %s.", r.Version, r.Env)
		}
		if r.Paused != nil {
			return fmt.Sprintf("Paused by %s in %s.", inert(r.Paused.By), r.Env)
		}
		if r.Waiting != nil && (r.Waiting.On == "approval" || r.Waiting.On == "decision") {
			return sentence(r.Waiting.What)
		}
		return text
	case delivery.Done:
		if r.Origin == delivery.OriginRollback {
			return fmt.Sprintf("%s went back to %s.", r.Env, r.Version)
		}
		return fmt.Sprintf("%s went into %s.", r.Version, r.Env)
	case delivery.Reverting, delivery.Reverted, delivery.RevertFailed:
		of := changeFacts{Picked: r}
		text := "Rolled back. " + causeOf(of).String()
		switch {
		case r.State == delivery.RevertFailed:
			text = "Could not be rolled back. " + causeOf(of).String()
		case r.Cause.Kind == delivery.CausePerson:
			text = fmt.Sprintf("Taken back by %s. %s", inert(r.Cause.By), causeOf(of))
		}
		return strings.TrimSpace(cutText(text, 200))
	case delivery.Superseded, delivery.Cancelled:
	}
	return sentence(cutText(r.Reason, 200))
}

// changeChoices are the fields of the filter.
func (w *Web) changeChoices(ctx context.Context, f control.ChangeFilter) ([]choice, error) {
	p, err := w.d.Loop.Project(ctx)
	if err != nil && !isNoProject(err) {
		return nil, err
	}
	people, err := w.d.Store.People(ctx, maxPeople)
	if err != nil {
		return nil, err
	}
	return []choice{
		chosen("service", "Service", "all services", f.Service, p.ServiceNames()),
		chosen("env", "Environment", "all environments", f.Env, p.EnvironmentNames()),
		chosen("kind", "Kind", "every kind", f.Kind, []string{string(delivery.Code), string(delivery.Config)}),
		chosen("outcome", "Outcome", "every outcome", f.Outcome, control.Outcomes()),
		chosen("by", "By", "everybody", f.By, people),
	}, nil
}

// maxPeople is how many people can be chosen of.
const maxPeople = 100

// chosen is one field; what the address asks for can be seen even if it is no more.
func chosen(name, label, nothing, now string, values []string) choice {
	c := choice{Name: name, Label: label, Any: nothing}
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return inert(v) != v }) // nobody chooses what cannot be read
	now = inert(now)
	if now != "" && !slices.Contains(values, now) {
		values = append(values, now)
	}
	for _, v := range values {
		text := strings.ReplaceAll(inert(v), "-", " ")
		if name == "service" || name == "env" || name == "by" {
			text = inert(v)
		}
		if v == string(delivery.Config) && name == "kind" {
			text = "configuration"
		}
		c.Options = append(c.Options, option{Value: v, Text: text, Chosen: v == now})
	}
	return c
}
