package control

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
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

// Exposure is what the rollout's release has answered so far, within what is kept.
type Exposure struct {
	Requests uint64 `json:"requests"`
	Failed   uint64 `json:"failed"`
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

// Board says what runs where, and what can be deployed right now.
func (l *Loop) Board(ctx context.Context) (delivery.Board, error) {
	w, pic, err := l.fresh(ctx)
	if err != nil {
		return delivery.Board{}, err
	}
	b := delivery.Board{Project: w.Project.Name, Environments: w.Project.EnvironmentNames(), At: w.Now}
	if w.Trouble != "" {
		b.Trouble = append(b.Trouble, w.Trouble)
	}
	for _, ls := range pic.traffic.Listeners {
		if ls.Error != "" {
			b.Trouble = append(b.Trouble, "listener "+ls.Name+" on "+ls.Addr+": "+ls.Error)
		}
	}
	for _, r := range w.Open {
		if !known(r.State) {
			b.Trouble = append(b.Trouble, strange(r))
		}
	}
	for _, name := range w.Project.ServiceNames() {
		svc, _ := w.Project.Service(name)
		row := promotion.Row(w, name, func(env string, id delivery.ReleaseID) (healthy, want int) {
			return pic.healthy(name, env, id), svc.In[env].Replicas
		})
		if row.Now {
			b.Deployable++
		}
		b.Services = append(b.Services, row)
	}
	return b, nil
}

// Why answers for one environment, or for all of them in order.
func (l *Loop) Why(ctx context.Context, service, env string) ([]delivery.Answer, error) {
	w, _, err := l.fresh(ctx)
	if err != nil {
		return nil, err
	}
	if _, _, err := names(w.Project, service, env); err != nil {
		return nil, err
	}
	newest, err := l.newest(ctx, service)
	if err != nil {
		return nil, err
	}
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

// fresh reads the rows as they are now and joins what the last pass saw.
func (l *Loop) fresh(ctx context.Context) (promotion.World, live, error) {
	pic := l.picture()
	snap, err := l.d.Store.Snapshot(ctx)
	if err != nil {
		return promotion.World{}, pic, err
	}
	if snap.Project.Name == "" {
		_, _, err := l.d.Store.Project(ctx) // says what to do
		return promotion.World{}, pic, err
	}
	w := worldOf(snap)
	w.Trouble = pic.world.Trouble
	return w, pic, nil
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
			out.Instances = append(out.Instances, discreet(s))
		}
	}
	from, until := r.Started, time.Now()
	if !r.Ended.IsZero() {
		until = r.Ended.Add(settle)
	}
	name := routeName(r.Env, r.Service)
	if out.Points, err = l.points(ctx, r, until); err != nil {
		return out, err
	}
	out.Exposure = l.counts.exposure(name, r.To, from.Unix(), until.Unix())
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

// healthy counts the instances of a release that are ready.
func (p live) healthy(service, env string, id delivery.ReleaseID) (n int) {
	for _, s := range p.statuses {
		if s.Spec.Service == service && s.Spec.Env == env && s.Spec.Release == id && s.Phase == workload.Ready {
			n++
		}
	}
	return n
}

// Query draws lines of the numbers of releases.
func (l *Loop) Query(q embedded.Query) ([]embedded.Line, error) { return l.d.Numbers.Query(q) }
