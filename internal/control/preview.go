package control

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// PreviewRequest asks for the header by which a release answers before it has
// traffic.
type PreviewRequest struct {
	Service string        `json:"service" minLength:"1"`
	Version string        `json:"version,omitempty" doc:"what it must be that answers; empty: whatever is under way"`
	Env     string        `json:"env,omitempty" doc:"empty: where something is under way"`
	For     time.Duration `json:"for,omitempty" doc:"how long the header is good for, from 1 s to 7 days; 0: an hour"`
	By      string        `json:"-"`
}

// Preview is a header that a release under way answers to, whatever share of
// the traffic it has. Who holds it needs no other right.
type Preview struct {
	Service string             `json:"service"`
	Env     string             `json:"env"`
	Release delivery.ReleaseID `json:"release"`
	Version string             `json:"version"`
	Change  delivery.ChangeID  `json:"change"`
	URL     string             `json:"url"`    // of the environment's listener
	Host    string             `json:"host"`   // that leads to the service there
	Header  string             `json:"header"` // its name
	Value   string             `json:"value"`
	Until   time.Time          `json:"until"`
	Answers bool               `json:"answers"` // an instance is there that takes the request
}

// PreviewHeader is the name of the header.
const PreviewHeader = "Slipway-Preview"

// Bounds of how long a preview header is good for.
const (
	usualPreview = time.Hour
	maxPreview   = 7 * 24 * time.Hour
)

// Preview signs a header for the release that is under way.
func (l *Loop) Preview(ctx context.Context, q PreviewRequest) (Preview, error) {
	if q.For = cmp.Or(q.For, usualPreview); q.For < time.Second || q.For > maxPreview {
		return Preview{}, delivery.InvalidNext("for", fmt.Sprintf("must be from 1s to %s, is %s", maxPreview, q.For), "slipway preview "+q.Service+" --for 1h")
	}
	var out Preview
	err := l.save(ctx, "preview", func(tx *store.Tx) error {
		p, _, err := tx.Project(ctx)
		if err != nil {
			return err
		}
		if _, _, err := names(p, q.Service, q.Env); err != nil {
			return err
		}
		w, err := l.worldIn(ctx, tx, p)
		if err != nil {
			return err
		}
		r, err := previewed(w, q)
		if err != nil {
			return err
		}
		out = previewOf(p, r)
		out.Until = stamp().Add(q.For).Truncate(time.Second)
		text := fmt.Sprintf("%s asked for a preview of %s in %s until %s", q.By, r.Version, r.Env, out.Until.Format(time.RFC3339))
		_, err = tx.Append(delivery.Event{At: stamp(), Kind: delivery.EventAsked, Change: r.Change, Rollout: r.ID, Service: r.Service, Env: r.Env, By: q.By, State: r.State, Step: r.Step, Text: text})
		return err
	})
	if err != nil {
		return Preview{}, err
	}
	out.Value, out.Answers = l.previewHeader(routeName(out.Env, out.Service), string(out.Release), out.Until), l.previews(out)
	return out, nil
}

// PreviewPlace says where the release of a rollout can be looked at before all
// callers get it, without a value of the header; false once they do, and where
// there is nothing to look at.
func (l *Loop) PreviewPlace(ctx context.Context, r delivery.Rollout) (Preview, bool, error) {
	some := slices.Contains([]delivery.State{delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Waiting}, r.State)
	step, _ := r.At()
	all := r.State == delivery.Judging && step.Weight == delivery.Full
	if !some || all || r.From == "" || r.To == r.From { // else it is what callers get, or nothing
		return Preview{}, false, nil
	}
	p, err := l.Project(ctx)
	if err != nil {
		return Preview{}, false, err
	}
	out := previewOf(p, r)
	out.Answers = l.previews(out)
	return out, true, nil
}

// previewOf is where the release of a rollout answers. Nobody has signed for it yet.
func previewOf(p delivery.Project, r delivery.Rollout) Preview {
	env, _ := p.Environment(r.Env)
	return Preview{
		Service: r.Service, Env: r.Env, Release: r.To, Version: r.Version, Change: r.Change,
		URL: env.URL(), Host: r.Service + ".localhost", Header: PreviewHeader,
	}
}

// Command is a curl line that looks at the release.
func (p Preview) Command() string {
	insecure := ""
	if strings.HasPrefix(p.URL, "https://") {
		insecure = "-k " // the certificate is for other names than the listener's address
	}
	return fmt.Sprintf("curl %s-H %s -H %s %s", insecure, delivery.Shell("Host: "+p.Host), delivery.Shell(p.Header+": "+p.Value), p.URL+"/")
}

// previews says whether the data plane would send what asks for p to an instance.
func (l *Loop) previews(p Preview) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return previewable(l.live.traffic, routeName(p.Env, p.Service), p.Release)
}

// previewed finds the rollout that a preview is of.
func previewed(w promotion.World, q PreviewRequest) (delivery.Rollout, error) {
	open := slices.DeleteFunc(slices.Clone(w.Open), func(r delivery.Rollout) bool {
		return r.Service != q.Service || q.Env != "" && r.Env != q.Env
	})
	r, ok := foremost(open)
	env := cmp.Or(r.Env, q.Env, w.Project.Environments[len(w.Project.Environments)-1].Name)
	refuse := func(why, next string) error {
		return &delivery.Refusal{Code: delivery.CodeNotInFlight, Field: "service", Why: why, Next: next}
	}
	stable, live := w.Stable(q.Service, env)
	switch {
	case !ok && !live:
		return r, refuse(fmt.Sprintf("%s has never been deployed in %s, so there is nothing to preview", q.Service, env), "slipway deploy "+q.Service)
	case !ok:
		return r, refuse(fmt.Sprintf("nothing of %s is under way in %s, so there is nothing to preview; %s answers every request there", q.Service, env, stable.Version), "slipway deploy "+q.Service+" VERSION")
	case r.State == delivery.Reverting:
		return r, refuse(fmt.Sprintf("%s is being taken back in %s: %s", r.Version, env, r.Cause.Text), fmt.Sprintf("slipway watch %d", r.Change))
	case !r.State.Active():
		return r, refuse(fmt.Sprintf("%s waits for its turn in %s and has no instances yet", r.Version, env), fmt.Sprintf("slipway watch %d", r.Change))
	case q.Version != "" && q.Version != r.Version && q.Version != string(r.To):
		next := fmt.Sprintf("slipway preview %s %s --env %s", r.Service, r.Version, env)
		if live && q.Version == stable.Version {
			return r, refuse(fmt.Sprintf("%s is stable in %s and needs no preview; %s is under way", q.Version, env, r.Version), next)
		}
		return r, refuse(fmt.Sprintf("%s is not under way in %s; %s is", q.Version, env, r.Version), next)
	}
	return r, nil
}

// previewable says whether the data plane would send a preview to an instance.
func previewable(s traffic.State, route string, id delivery.ReleaseID) bool {
	i := slices.IndexFunc(s.Routes, func(r traffic.RouteState) bool { return r.Name == route })
	if i < 0 || s.Routes[i].Preview != id {
		return false
	}
	return slices.ContainsFunc(s.Routes[i].Pools, func(p traffic.PoolState) bool {
		return p.Release == id && slices.ContainsFunc(p.Endpoints, func(e traffic.EndpointState) bool { return e.Healthy })
	})
}
