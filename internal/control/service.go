package control

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Service is one service with what is known of it now.
type Service struct {
	Service   delivery.Service   `json:"service"`  // as slipway.yaml says
	Now       delivery.Row       `json:"now"`      // what runs where
	Rollbacks []Rollback         `json:"previous"` // where there is something to go back to, in the order of promotion
	Instances []workload.Status  `json:"instances"`
	Holds     []delivery.Hold    `json:"holds"`
	Flying    []delivery.Rollout `json:"flying"` // under way, newest first
}

// Rollback is what an environment would go back to.
type Rollback struct {
	Env     string             `json:"env"`
	Release delivery.ReleaseID `json:"release"`
	Version string             `json:"version"`
	Warm    bool               `json:"warm"` // its instances still run
}

// Service returns one service with what is known of it now.
func (l *Loop) Service(ctx context.Context, name string) (Service, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return Service{}, err
	}
	svc, _, err := names(o.Project, name, "")
	if err != nil {
		return Service{}, err
	}
	out := Service{Service: svc, Rollbacks: []Rollback{}, Instances: []workload.Status{}, Holds: []delivery.Hold{}, Flying: []delivery.Rollout{}}
	for _, row := range o.board.Services {
		if row.Service == name {
			out.Now = row
		}
	}
	w := o.promotion()
	for _, env := range o.Project.EnvironmentNames() {
		st, ok := w.Stable(name, env)
		if prev, kept := o.Releases[st.Previous]; ok && kept {
			out.Rollbacks = append(out.Rollbacks, Rollback{Env: env, Release: prev.ID, Version: prev.Version, Warm: w.Now.Before(st.Warm)})
		}
	}
	for _, h := range o.Holds {
		if h.Service == name {
			out.Holds = append(out.Holds, h)
		}
	}
	for _, r := range slices.Backward(o.Rollouts) {
		if r.Service == name {
			out.Flying = append(out.Flying, r)
		}
	}
	for _, s := range o.pic.statuses {
		if s.Spec.Service == name {
			out.Instances = append(out.Instances, withoutToken(s))
		}
	}
	place := map[string]int{}
	for i, env := range o.Project.EnvironmentNames() {
		place[env] = i
	}
	slices.SortFunc(out.Instances, func(a, b workload.Status) int {
		return cmp.Or(cmp.Compare(place[b.Spec.Env], place[a.Spec.Env]), cmp.Compare(a.Spec.ID, b.Spec.ID))
	})
	return out, nil
}

// Released is a release of a service, and the newest change that brought it.
type Released struct {
	Release  delivery.ReleaseID `json:"release"`
	Version  string             `json:"version"`
	Change   delivery.ChangeID  `json:"change"`
	Kinds    []delivery.Kind    `json:"kinds"`
	Reason   string             `json:"reason,omitempty"`
	By       string             `json:"by"`
	At       time.Time          `json:"at"`     // submitted
	Stable   []string           `json:"stable"` // environments, in the order of promotion
	Held     *delivery.Hold     `json:"hold,omitempty"`
	Files    bool               `json:"files_kept"`                  // it can be run again from what is kept
	Digest   delivery.Digest    `json:"digest"`                      // of its code
	Rollback delivery.ChangeID  `json:"rolled_back_to_by,omitempty"` // the newest change that went back to it
}

// ReleaseQuery selects releases of a service, newest first.
type ReleaseQuery struct {
	Service string
	Before  delivery.ChangeID // exclusive; 0: from the newest on
	Limit   int
}

// Releases lists the releases of a service, each with the newest change that
// brought it. next is what the page after this one begins before; 0 on the last.
func (l *Loop) Releases(ctx context.Context, q ReleaseQuery) (list []Released, next delivery.ChangeID, err error) {
	o, err := l.overview(ctx)
	if err != nil {
		return nil, 0, err
	}
	if _, _, err := names(o.Project, q.Service, ""); err != nil {
		return nil, 0, err
	}
	changes, err := l.d.Store.Changes(ctx, store.ChangeQuery{Service: q.Service, Before: q.Before, Limit: q.Limit + 1})
	if err != nil {
		return nil, 0, err
	}
	if len(changes) > q.Limit {
		changes = changes[:q.Limit]
		next = changes[q.Limit-1].ID
	}
	at := map[delivery.ReleaseID]int{}
	backs := map[delivery.ReleaseID]delivery.ChangeID{}
	list = []Released{}
	for _, c := range changes {
		i := slices.IndexFunc(c.Members, func(m delivery.Member) bool { return m.Service == q.Service })
		if i < 0 {
			continue
		}
		m := c.Members[i]
		if c.Origin == delivery.OriginRollback {
			backs[m.To] = max(backs[m.To], c.ID)
			continue
		}
		if _, seen := at[m.To]; !seen {
			at[m.To] = len(list)
			list = append(list, Released{Release: m.To, Version: m.Version, Change: c.ID, Kinds: c.Kinds, Reason: c.Reason, By: c.By, At: c.Submitted, Stable: []string{}})
		}
	}
	w := o.promotion()
	for i := range list {
		r := &list[i]
		r.Rollback = backs[r.Release]
		for _, env := range o.Project.EnvironmentNames() {
			if st, ok := w.Stable(q.Service, env); ok && st.Release == r.Release {
				r.Stable = append(r.Stable, env)
			}
		}
		r.Held = w.HoldOn(q.Service, "", r.Release)
		rel, ok := o.Releases[r.Release]
		if !ok {
			if rel, err = l.d.Store.Release(ctx, r.Release); err != nil {
				return nil, 0, err
			}
		}
		r.Digest = rel.CodeDigest()
		r.Files = l.d.Artifacts.Has(r.Digest)
	}
	return list, next, nil
}

// Link is one neighbour of a service: as it was seen by the data plane in the last
// ten minutes, beside what slipway.yaml says.
type Link struct {
	Service  string  `json:"service"` // the neighbour; "" is whoever calls from outside
	Calls    bool    `json:"calls"`   // the neighbour calls; else it is called
	Second   float64 `json:"per_second"`
	Failed   float64 `json:"failed_share"` // from 0 to 1
	Requests uint64  `json:"requests"`     // seen
	Declared bool    `json:"declared"`     // slipway.yaml says so (needs)
	AtLeast  string  `json:"at_least,omitempty"`
}

// Links lists the neighbours of a service in an environment: who calls it, then
// what it calls, each by name.
func (l *Loop) Links(ctx context.Context, service, env string) ([]Link, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return nil, err
	}
	svc, _, err := names(o.Project, service, env)
	if err != nil {
		return nil, err
	}
	type edge struct {
		other string
		calls bool
	}
	links := map[edge]*Link{}
	link := func(e edge) *Link {
		if links[e] == nil {
			links[e] = &Link{Service: e.other, Calls: e.calls}
		}
		return links[e]
	}
	for _, n := range svc.Run.Needs {
		k := link(edge{n.Service, false})
		k.Declared, k.AtLeast = true, n.AtLeast
	}
	for i := range o.Project.Services {
		other := &o.Project.Services[i]
		for _, n := range other.Run.Needs {
			if n.Service == service {
				k := link(edge{other.Name, true})
				k.Declared, k.AtLeast = true, n.AtLeast
			}
		}
	}
	for _, c := range l.Calls(service) {
		if c.Env != env {
			continue
		}
		e := edge{c.Caller, true}
		if c.Caller == service {
			e = edge{c.Callee, false}
		}
		k := link(e)
		k.Requests, k.Second = c.Requests, rounded(float64(c.Requests)/float64(max(c.Seconds, 1)))
		if c.Requests > 0 {
			k.Failed = float64(c.Failed) / float64(c.Requests)
		}
	}
	out := []Link{}
	for _, k := range links {
		out = append(out, *k)
	}
	slices.SortFunc(out, func(a, b Link) int {
		if a.Calls != b.Calls {
			if a.Calls {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Service, b.Service)
	})
	return out, nil
}
