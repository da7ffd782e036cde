package control

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// converge makes the world what the rows say, with or without a rollout. Every
// part of it may be done twice, and may be cut off anywhere. Instances come
// before the route and go after it.
func (l *Loop) converge(ctx context.Context, v *view) error {
	resized, err := l.resize(ctx, v)
	if err != nil {
		return err
	}
	if resized {
		l.Ring() // the next pass sees the new rows
	}
	edges, err := l.edges(ctx, v)
	if err != nil {
		return err
	}
	wanted := l.wanted(ctx, v, edges)
	for id, spec := range wanted {
		if s, ok := v.status(id); ok && s.Phase != workload.Stopped && s.Phase != workload.Stopping {
			continue
		}
		if err := l.d.Workload.Ensure(ctx, spec); err != nil {
			l.d.Log.ErrorContext(ctx, "instance could not be started; will try again", slog.String("instance", string(id)), slog.Any("error", err))
		}
	}
	if !v.known {
		return nil // nobody can say what still gets requests, so nothing is taken away
	}
	if err := l.applyTable(ctx, v, l.table(v, edges, wanted)); err != nil {
		return err
	}
	l.stopUnwanted(ctx, v, wanted)
	return l.markAcked(ctx, v)
}

// wanted lists the instances that shall run.
func (l *Loop) wanted(ctx context.Context, v *view, edges map[string]int) map[workload.ID]workload.Spec {
	out := map[workload.ID]workload.Spec{}
	for _, w := range v.Wants {
		rel, known := v.Releases[w.Release]
		svc, declared := v.Project.Service(w.Service)
		if _, there := v.Project.Environment(w.Env); !declared || !there || !known || w.Count == 0 {
			continue
		}
		bundle, ok := l.d.Artifacts.Path(rel.CodeDigest())
		if !ok {
			l.d.Log.ErrorContext(ctx, "the files of a wanted release are gone", slog.String("release", string(w.Release)), slog.String("service", w.Service))
		}
		for i := range w.Count {
			id := workload.ID(fmt.Sprintf("%s.%s.%s.%d", w.Env, w.Service, w.Release, i))
			out[id] = workload.Spec{
				ID: id, Service: w.Service, Env: w.Env, Release: w.Release, Version: rel.Version, Change: w.Change,
				Bundle: bundle, Run: rel.Run, Vars: l.telling(id, vars(v.Project, svc, rel, w, edges)),
			}
		}
	}
	return out
}

// vars is the environment of an instance: its configuration, where it finds
// the services it needs, and who it is, in OpenTelemetry's words.
func vars(p delivery.Project, svc delivery.Service, rel delivery.Release, w delivery.Want, edges map[string]int) map[string]string {
	out := rel.ConfigFor(w.Env)
	for _, n := range rel.Run.Needs {
		if port, ok := edges[edgeName(w.Env, svc.Name, n.Service)]; ok {
			out[strings.ToUpper(strings.ReplaceAll(n.Service, "-", "_"))+"_URL"] = "http://127.0.0.1:" + strconv.Itoa(port)
		}
	}
	unless(out, "OTEL_SERVICE_NAME", svc.Name)
	unless(out, "OTEL_RESOURCE_ATTRIBUTES", fmt.Sprintf("service.namespace=%s,service.name=%s,service.version=%s,deployment.environment.name=%s,slipway.release=%s,slipway.change=%d",
		p.Name, svc.Name, rel.Version, w.Env, rel.ID, w.Change))
	out["SLIPWAY_PROJECT"], out["SLIPWAY_SERVICE"], out["SLIPWAY_ENV"] = p.Name, svc.Name, w.Env
	out["SLIPWAY_VERSION"], out["SLIPWAY_RELEASE"], out["SLIPWAY_CHANGE"] = rel.Version, string(rel.ID), fmt.Sprint(w.Change)
	return out
}

// unless sets a variable that the configuration does not.
func unless(vars map[string]string, name, value string) {
	if _, set := vars[name]; !set {
		vars[name] = value
	}
}

// stopUnwanted stops what is not wanted once the data plane has let go of it:
// it is in no pool, and its last request has ended or has had its time.
func (l *Loop) stopUnwanted(ctx context.Context, v *view, wanted map[workload.ID]workload.Spec) {
	routed, inFlight := map[string]bool{}, map[string]int{}
	for _, rs := range v.traffic.Routes {
		for _, p := range rs.Pools {
			for _, e := range p.Endpoints {
				routed[e.ID] = true
			}
		}
	}
	for _, e := range v.traffic.Draining {
		inFlight[e.ID] += e.InFlight
	}
	leaving := map[workload.ID]bool{}
	for _, s := range v.statuses {
		id := s.Spec.ID
		if _, ok := wanted[id]; ok || s.Phase == workload.Stopped {
			continue
		}
		leaving[id] = true
		waited := l.hands.since(id, v.now)
		if routed[string(id)] || inFlight[string(id)] > 0 && waited < s.Spec.Run.Stop.Drain {
			continue
		}
		l.hands.stop(ctx, l, id)
	}
	l.hands.forget(leaving)
}

// markAcked writes down which splits the data plane has in force.
func (l *Loop) markAcked(ctx context.Context, v *view) error {
	for _, row := range v.Routes {
		rs, ok := v.routeState(row.Env, row.Service)
		if !ok || rs.Gen <= row.Acked || rs.Gen > row.Gen {
			continue
		}
		err := l.save(ctx, "acknowledge "+routeText(v, row), func(tx *store.Tx) error { return tx.MarkAcked(row.Service, row.Env, rs.Gen) })
		if err != nil {
			return fmt.Errorf("control: acknowledge %s in %s: %w", row.Service, row.Env, err)
		}
	}
	return nil
}

// resize makes what is stable run as many instances as the project says, where
// no rollout is at work, and lets go of what the project no longer has.
func (l *Loop) resize(ctx context.Context, v *view) (bool, error) {
	busy := map[string]bool{}
	for _, r := range v.open {
		if r.State.Active() {
			busy[routeName(r.Env, r.Service)] = true
		}
	}
	var wants []delivery.Want
	for _, st := range v.Stables {
		svc, ok := v.Project.Service(st.Service)
		dep, there := svc.In[st.Env]
		w, found := v.want(st.Service, st.Env, st.Release)
		if !ok || !there || busy[routeName(st.Env, st.Service)] || found && w.Count == dep.Replicas && w.Until.IsZero() || !found && dep.Replicas == 0 {
			continue
		}
		wants = append(wants, delivery.Want{Service: st.Service, Env: st.Env, Release: st.Release, Count: dep.Replicas, Change: st.Change})
	}
	wants = append(wants, v.leftOver(busy)...)
	for _, w := range wants {
		err := l.save(ctx, "resize "+w.Service+" in "+w.Env, func(tx *store.Tx) error {
			if err := tx.SetWant(w); err != nil {
				return err
			}
			_, err := tx.Append(delivery.Event{At: v.now, Kind: delivery.EventIntent, Change: w.Change, Service: w.Service, Env: w.Env, By: "slipway", Text: wantText(v, w) + ", as nothing is under way"})
			return err
		})
		if err != nil {
			return false, fmt.Errorf("control: resize %s in %s: %w", w.Service, w.Env, err)
		}
	}
	return len(wants) > 0, nil
}

// leftOver lists wants that no rollout and no window asks for any more, such as
// those of one that ended while the data plane did not answer. They go once
// they get no traffic.
func (v *view) leftOver(busy map[string]bool) []delivery.Want {
	var out []delivery.Want
	for _, w := range v.Wants {
		st, _ := promotion.World{Stables: v.Stables}.Stable(w.Service, w.Env)
		rs, _ := v.routeState(w.Env, w.Service)
		row, _ := v.routeRow(w.Env, w.Service)
		if !v.known || busy[routeName(w.Env, w.Service)] || w.Release == st.Release || !w.Until.IsZero() ||
			row.WeightOf(w.Release) > 0 || row.Preview == w.Release || (delivery.Route{Split: rs.Split}).WeightOf(w.Release) > 0 {
			continue
		}
		w.Count = 0
		out = append(out, w)
	}
	return out
}

func (v *view) status(id workload.ID) (workload.Status, bool) {
	for _, s := range v.statuses {
		if s.Spec.ID == id {
			return s, true
		}
	}
	return workload.Status{}, false
}

// applyTable puts a table in force unless it is.
func (l *Loop) applyTable(ctx context.Context, v *view, t traffic.Table) error {
	if l.applied != nil && v.traffic.Generation == l.applied.Generation && sameTable(*l.applied, t) {
		return nil
	}
	err := l.save(ctx, "table generation", func(tx *store.Tx) error {
		gen, err := tx.Counter("table")
		t.Generation = max(gen, v.traffic.Generation+1)
		return err
	})
	if err != nil {
		return fmt.Errorf("control: table generation: %w", err)
	}
	if err := l.d.Traffic.Apply(ctx, t); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	l.applied = &t
	l.Ring() // see what it acknowledges
	return nil
}
