package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// ChangeFilter picks changes, in the words of people. Empty fields pick all.
type ChangeFilter struct {
	Service string
	Env     string
	Kind    string // one of the six kinds
	Outcome string // one of Outcomes
	By      string // who submitted it
	From    string // submitted on this day or later: "2026-11-23", or a time of RFC 3339
	To      string // submitted on this day or earlier
}

// Outcomes are how a change can have ended, or that it has not.
func Outcomes() []string {
	return []string{"under-way", "done", "rolled-back", "superseded", "cancelled"}
}

// Query is what the store is asked.
func (f ChangeFilter) Query() (store.ChangeQuery, error) {
	q := store.ChangeQuery{Service: f.Service, Env: f.Env, Person: f.By}
	var err error
	if q.Kind, err = kindOf(f.Kind); err != nil {
		return q, err
	}
	if q.States, err = statesOf(f.Outcome); err != nil {
		return q, err
	}
	if q.From, err = dayOf("from", f.From, 0); err != nil {
		return q, err
	}
	q.To, err = dayOf("to", f.To, 1)
	return q, err
}

func kindOf(name string) (delivery.Kind, error) {
	kinds := []string{string(delivery.Code), string(delivery.Config), string(delivery.Flag), string(delivery.Experiment), string(delivery.Schema), string(delivery.Secret)}
	if name != "" && !slices.Contains(kinds, name) {
		return "", delivery.InvalidNext("kind", "is one of "+strings.Join(kinds, ", "), "leave it out for changes of every kind")
	}
	return delivery.Kind(name), nil
}

// statesOf are the states that an outcome stands for.
func statesOf(outcome string) ([]delivery.State, error) {
	switch outcome {
	case "":
		return nil, nil
	case "under-way":
		return slices.DeleteFunc(delivery.States(), delivery.State.Final), nil
	case "done":
		return []delivery.State{delivery.Done}, nil
	case "rolled-back":
		return []delivery.State{delivery.Reverted, delivery.RevertFailed}, nil
	case "superseded":
		return []delivery.State{delivery.Superseded}, nil
	case "cancelled":
		return []delivery.State{delivery.Cancelled}, nil
	}
	return nil, delivery.InvalidNext("outcome", "is one of "+strings.Join(Outcomes(), ", "), "leave it out for changes of every outcome")
}

// dayOf reads a time, or a day in the zone of the server: its beginning, so many days later.
func dayOf(field, text string, later int) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	t, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		return time.Time{}, delivery.InvalidNext(field, "is a day as 2026-11-23, or a time as 2026-11-23T14:05:00Z", "leave it out for changes of any time")
	}
	return t.AddDate(0, 0, later), nil
}

// Listed is a change, and how it stands in each environment that it was queued for.
type Listed struct {
	delivery.Change

	Stands []Standing `json:"stands" doc:"oldest first"`
}

// Standing is how a change stands in one environment.
type Standing struct {
	Env     string            `json:"env"`
	Version string            `json:"version"`
	Was     string            `json:"from_version,omitempty"` // stable when it began
	State   delivery.State    `json:"state"`
	Reason  string            `json:"reason"` // of that state
	Waiting *delivery.Blocker `json:"waiting_on"`
	Ended   time.Time         `json:"ended,omitzero"`
}

// Changes lists changes, newest first.
func (l *Loop) Changes(ctx context.Context, q store.ChangeQuery) ([]Listed, error) {
	list, err := l.d.Store.Changes(ctx, q)
	if err != nil {
		return nil, err
	}
	ids := make([]delivery.ChangeID, len(list))
	for i, c := range list {
		ids[i] = c.ID
	}
	rollouts, err := l.d.Store.RolloutsOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]Listed, len(list))
	for i, c := range list {
		out[i] = Listed{c, make([]Standing, 0, len(rollouts[c.ID]))}
		for _, r := range rollouts[c.ID] {
			out[i].Stands = append(out[i].Stands, Standing{Env: r.Env, Version: r.Version, Was: r.Was, State: r.State, Reason: r.Reason, Waiting: r.Waiting, Ended: r.Ended})
		}
	}
	return out, nil
}
