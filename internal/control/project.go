package control

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/discreet"
	"github.com/slipway-cd/slipway/internal/store"
)

// SetProject puts a project in force. It answers whether anything changed.
// A service that disappears from the file is stopped; its history stays.
func (l *Loop) SetProject(ctx context.Context, p delivery.Project, src []byte, by string) (bool, error) {
	if err := cmp.Or(Readable(p), l.judgeable(p)); err != nil {
		return false, err
	}
	changed := false
	err := l.save(ctx, "project", func(tx *store.Tx) error {
		was, old, err := tx.Project(ctx)
		if err != nil && !errors.Is(err, delivery.ErrNotFound) {
			return err
		}
		if err == nil && bytes.Equal(old, src) && was.Name == p.Name && delivery.Same(was, p) {
			return nil
		}
		if err == nil && was.Name != p.Name {
			return delivery.InvalidNext("project", fmt.Sprintf("this state belongs to project %q, not to %q", was.Name, p.Name), "slipway up --state ANOTHER-FOLDER")
		}
		open, err := tx.Rollouts(ctx, store.RolloutQuery{Open: true, Limit: store.MaxLimit})
		if err != nil {
			return err
		}
		for _, r := range open {
			svc, ok := p.Service(r.Service)
			if _, there := svc.In[r.Env]; !ok || !there {
				return delivery.InvalidNext("services."+r.Service, fmt.Sprintf("change #%d is under way in %s, so it cannot be taken out of the file now", r.Change, r.Env), fmt.Sprintf("slipway abort %d", r.Change))
			}
		}
		changed = true
		if err := tx.SaveProject(p, src); err != nil {
			return err
		}
		text := fmt.Sprintf("project %s: %d services, %d environments", p.Name, len(p.Services), len(p.Environments))
		if at := p.AtOnce(was); was.Name != "" && len(at) > 0 {
			text += "; at once: " + strings.Join(at, ", ")
		}
		_, err = tx.Append(delivery.Event{At: stamp(), Kind: delivery.EventProject, By: by, Text: text})
		return err
	})
	if err == nil && changed {
		l.Ring()
	}
	return changed, err
}

// Diff is what differs between two releases of a service.
type Diff struct {
	Service string           `json:"service"`
	From    delivery.Release `json:"from"`
	To      delivery.Release `json:"to"`
	Kinds   []delivery.Kind  `json:"kinds"`
	Config  []Delta          `json:"config"`
	Run     []Delta          `json:"run"`
	Files   []FileDelta      `json:"files"`
}

// Delta is one value that differs.
type Delta struct {
	Key    string `json:"key"`
	From   string `json:"from"`
	To     string `json:"to"`
	Hidden bool   `json:"hidden,omitempty" doc:"a secret is left out of from or to: they differ, even where they read alike"`
}

// Discreet returns the delta as it is shown to who may not know secrets.
func (d Delta) Discreet() any {
	from, to := discreet.Value(d.Key, d.From), discreet.Value(d.Key, d.To)
	return Delta{Key: d.Key, From: from, To: to, Hidden: from != d.From || to != d.To}
}

// FileDelta is one file that differs.
type FileDelta struct {
	Path   string `json:"path"`
	Change string `json:"change"` // "added", "removed" or "changed"
}

// judgeable refuses a policy that no judge can judge by, before a rollout finds
// out. A metric is known by its name, wherever the file says what is wrong with it.
func (l *Loop) judgeable(p delivery.Project) error {
	for _, svc := range p.Services {
		for _, env := range p.Environments {
			policy := svc.In[env.Name].Strategy.Judge
			if policy.Off {
				continue
			}
			for _, m := range policy.WithBuiltin(l.builtin(p, svc.Name)) {
				if why := analysis.MetricProblem(m); why != "" {
					field := fmt.Sprintf("services.%s.in.%s.rollout.judge.metrics.%s", svc.Name, env.Name, m.Name)
					return delivery.InvalidNext(field, why, "mend it in slipway.yaml; slipway config explain "+field+" says where each value comes from")
				}
			}
		}
	}
	return nil
}
