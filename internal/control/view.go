package control

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Live is one rollout with everything that is measured about it.
type Live struct {
	Rollout   delivery.Rollout  `json:"rollout"`
	Verdict   *delivery.Verdict `json:"verdict"`
	Route     *delivery.Route   `json:"route"`
	Points    []Point           `json:"points"`
	Failed    []traffic.Sample  `json:"failed"`
	Instances []workload.Status `json:"instances"`
	Exposure  Exposure          `json:"exposure"`
}

// Point is one second of both arms.
type Point struct {
	Second int64 `json:"second"`
	Stable Side  `json:"stable"`
	Canary Side  `json:"canary"`
}

// Side is one arm in one second. P95 is in seconds, 0 without requests. Of what is
// only on tape any more, Requests is as Units.
type Side struct {
	Requests uint64  `json:"requests"`
	Units    uint64  `json:"units"`
	Bad      uint64  `json:"bad"`
	P95      float64 `json:"p95"`
}

// Finding is one thing doctor looked at.
type Finding struct {
	Name    string `json:"name"`
	Outcome string `json:"outcome"` // "ok", "warn" or "bad"
	What    string `json:"what"`
	Next    string `json:"next,omitempty"`
}

// Call is one observed edge between two services.
type Call struct {
	Env      string `json:"env"`
	Caller   string `json:"caller"`
	Callee   string `json:"callee"`
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`
	Seconds  int64  `json:"seconds"` // that they were counted in, 600 at most
}

// Why answers for one environment, or for all of them in order.
func (l *Loop) Why(ctx context.Context, service, env string) ([]delivery.Answer, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return nil, err
	}
	if _, _, err := names(o.Project, service, env); err != nil {
		return nil, err
	}
	newest, err := l.newest(ctx, service)
	if err != nil {
		return nil, err
	}
	w := o.promotion()
	var out []delivery.Answer
	for _, e := range w.Project.EnvironmentNames() {
		if env == "" || env == e {
			out = append(out, promotion.Why(w, service, e, newest))
		}
	}
	return out, nil
}

// newest is the last thing submitted for a service that was no rollback.
func (l *Loop) newest(ctx context.Context, service string) (promotion.Candidate, error) {
	changes, err := l.d.Store.Changes(ctx, store.ChangeQuery{Service: service, Limit: 20})
	if err != nil {
		return promotion.Candidate{}, err
	}
	for _, c := range changes {
		if c.Origin == delivery.OriginRollback {
			continue
		}
		for _, m := range c.Members {
			if m.Service == service {
				return promotion.Candidate{Service: service, Env: c.Only, Release: m.To, Version: m.Version, Change: c.ID, Only: c.Only != ""}, nil
			}
		}
	}
	return promotion.Candidate{Service: service}, nil
}

// Live returns one rollout with its measurements.
func (l *Loop) Live(ctx context.Context, id delivery.RolloutID) (Live, error) {
	r, err := l.d.Store.Rollout(ctx, id)
	if err != nil {
		return Live{}, err
	}
	pic := l.picture()
	word, judged := pic.verdicts[id]
	out := Live{Rollout: r, Verdict: r.Verdict, Points: []Point{}, Failed: []traffic.Sample{}, Instances: []workload.Status{}}
	if judged && !r.State.Final() {
		out.Verdict = &word
	}
	routes, err := l.d.Store.Routes(ctx)
	if err != nil {
		return out, err
	}
	for _, route := range routes {
		if route.Service == r.Service && route.Env == r.Env {
			out.Route = &route
		}
	}
	for _, s := range pic.statuses {
		if s.Spec.Service == r.Service && s.Spec.Env == r.Env && s.Spec.Release == r.To {
			out.Instances = append(out.Instances, withoutToken(s))
		}
	}
	from, until := r.Started, time.Now()
	if !r.Ended.IsZero() {
		until = r.Ended.Add(settle)
	}
	name := routeName(r.Env, r.Service)
	if out.Points, err = l.points(ctx, r, until.Unix()); err != nil {
		return out, err
	}
	if out.Exposure, _, err = l.Exposure(ctx, r); err != nil {
		return out, err
	}
	out.Failed = append(out.Failed, l.counts.samples(func(s traffic.Sample) bool {
		return s.Route == name && s.Release == r.To && !s.At.Before(from)
	})...)
	return out, nil
}

// FailedSamples returns failed requests that are still kept, oldest first. Zero
// arguments select everything.
func (l *Loop) FailedSamples(service, env string, releases []delivery.ReleaseID) []traffic.Sample {
	return l.counts.samples(func(s traffic.Sample) bool {
		e, svc := splitRouteName(s.Route)
		if service != "" && svc != service || env != "" && e != env {
			return false
		}
		return len(releases) == 0 || slices.Contains(releases, s.Release)
	})
}

// Calls lists who called whom in the last ten minutes, as the data plane saw it.
func (l *Loop) Calls(service string) []Call { return l.counts.calls(service) }
