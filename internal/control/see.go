package control

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/rollout"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// view is everything one pass saw: the rows, the instances and the data plane.
type view struct {
	store.World
	now      time.Time
	open     []delivery.Rollout // in the order of submission
	statuses []workload.Status
	traffic  traffic.State
	known    bool // the data plane answered
	verdicts map[delivery.RolloutID]delivery.Verdict
}

// look sees the world once. A data plane that does not answer is a fact, not an error.
func (l *Loop) look(ctx context.Context, w store.World) (*view, error) {
	v := &view{World: w, now: stamp(), open: slices.Clone(w.Rollouts), verdicts: map[delivery.RolloutID]delivery.Verdict{}}
	slices.SortFunc(v.open, func(a, b delivery.Rollout) int { return int(a.Seq - b.Seq) })
	going := l.hands.going()
	var err error
	if v.statuses, err = l.d.Workload.List(ctx); err != nil {
		return nil, fmt.Errorf("control: list instances: %w", err)
	}
	for i, s := range v.statuses { // whatever it says of itself, it gets no request any more, wanted again or not
		if going[s.Spec.ID] && s.Phase != workload.Stopped {
			v.statuses[i].Phase = workload.Stopping
		}
	}
	if v.traffic, err = l.d.Traffic.State(ctx); err != nil {
		l.d.Log.WarnContext(ctx, "the data plane does not answer", slog.Any("error", err))
	}
	v.known = err == nil
	pw := worldOf(w)
	if !v.known {
		pw.Trouble = "the data plane does not answer; it keeps routing as before, and nothing can be changed"
	}
	l.mu.Lock()
	for _, r := range v.open { // what the judge said last stands until it is asked again
		if word, ok := l.live.verdicts[r.ID]; ok {
			v.verdicts[r.ID] = word
		}
	}
	l.live = live{pass: l.live.pass + 1, world: pw, statuses: v.statuses, traffic: v.traffic, known: v.known, verdicts: v.verdicts}
	l.mu.Unlock()
	return v, nil
}

// worldOf is what promotion decides on.
func worldOf(w store.World) promotion.World {
	return promotion.World{Now: stamp(), Project: w.Project, Stables: w.Stables, Holds: w.Holds, Open: w.Rollouts, Ended: w.Ended}
}

// see gathers the facts about one rollout.
func (l *Loop) see(ctx context.Context, v *view, r delivery.Rollout) rollout.Facts {
	f := rollout.Facts{
		Now: v.now, New: l.arm(v, r, r.To), Old: l.arm(v, r, r.From), Route: v.route(r),
		Hold: v.holdOn(r), Newer: v.newerThan(r), Turn: true, Test: l.hands.tested(r.ID, r.Step),
	}
	f.New.Restarts = l.restarts(v, r)
	for _, other := range v.open {
		if other.Service != r.Service || other.Env != r.Env || other.ID == r.ID {
			continue
		}
		if other.State.Active() {
			f.Busy = string(other.ID)
		} else if other.Seq < r.Seq {
			f.Turn = false
		}
	}
	if r.State == delivery.Preparing {
		f.Missing = l.missing(ctx, v, r)
	}
	f.Verdict = l.verdict(ctx, v, r)
	l.mu.Lock() // views read the same map
	if delete(v.verdicts, r.ID); f.Verdict != nil {
		v.verdicts[r.ID] = *f.Verdict
	}
	l.mu.Unlock()
	return f
}

// arm counts a release's instances in the rollout's environment.
func (l *Loop) arm(v *view, r delivery.Rollout, id delivery.ReleaseID) rollout.Arm {
	var a rollout.Arm
	if id == "" {
		return a
	}
	for _, w := range v.Wants {
		if w.Service == r.Service && w.Env == r.Env && w.Release == id {
			a.Want = w.Count
		}
	}
	healthy := v.healthy(r.Env, r.Service, id)
	for _, s := range v.statuses {
		if s.Spec.Service != r.Service || s.Spec.Env != r.Env || s.Spec.Release != id || s.Phase == workload.Stopped {
			continue
		}
		a.Running++
		if s.Phase == workload.Ready {
			a.Ready++
			if healthy[string(s.Spec.ID)] {
				a.Healthy++
			}
		} else if a.Trouble == "" {
			a.Trouble = trouble(s)
		}
	}
	return a
}

// restarts counts how often instances of the new release exited by themselves
// during the rollout. Those it started have no earlier exits. Those it found
// warm have, and what they did before is not its fault: a server that finds the
// rollout under way cannot tell, and counts them from now.
func (l *Loop) restarts(v *view, r delivery.Rollout) int {
	if !r.State.Active() {
		return 0
	}
	own, found := 0, 0
	for _, s := range v.statuses {
		switch {
		case s.Spec.Service != r.Service || s.Spec.Env != r.Env || s.Spec.Release != r.To || s.Phase == workload.Stopped:
		case s.Spec.Change == r.Change && r.State != delivery.Preparing:
			own += s.Restarts
		default:
			found += s.Restarts
		}
	}
	before, ok := l.crashs[r.ID]
	if !ok {
		before = found
		l.crashs[r.ID] = before
	}
	return own + max(found-before, 0)
}

// trouble says in a few words why an instance is not ready.
func trouble(s workload.Status) string {
	var parts []string
	if s.LastExit != "" {
		parts = append(parts, s.LastExit)
	}
	if s.Probe != "" && s.Phase != workload.Backoff {
		parts = append(parts, s.Probe)
	}
	if n := len(s.Tail); n > 0 {
		last := s.Tail[n-1]
		if len(last) > 200 {
			last = last[:200] + "…"
		}
		parts = append(parts, last)
	}
	return strings.Join(parts, ": ")
}

// missing says why the release's code cannot be had.
func (l *Loop) missing(ctx context.Context, v *view, r delivery.Rollout) string {
	rel, ok := v.Releases[r.To]
	if !ok {
		return "the manifest of release " + string(r.To) + " is gone"
	}
	code := rel.CodeDigest()
	if !l.d.Artifacts.Has(code) {
		return "bundle " + code.Short() + " of " + rel.Version + " is gone; deploy it again from its files"
	}
	if err := l.d.Artifacts.Verify(ctx, code); err != nil {
		return "bundle " + code.Short() + " of " + rel.Version + " is damaged: " + err.Error()
	}
	return ""
}

// known says whether this version of Slipway knows a state.
func known(s delivery.State) bool { return slices.Contains(delivery.States(), s) }

// strange says why a rollout that another version of Slipway wrote cannot go on.
func strange(r delivery.Rollout) string {
	return fmt.Sprintf("rollout %s of %s is in state %q, which this version of Slipway does not know; it stays as it is until a version that does is started", r.ID, r.Service, r.State)
}

func (v *view) routeState(env, service string) (traffic.RouteState, bool) {
	name := routeName(env, service)
	for _, rs := range v.traffic.Routes {
		if rs.Name == name {
			return rs, true
		}
	}
	return traffic.RouteState{}, false
}

// route is a rollout's route as the data plane has it in force.
func (v *view) route(r delivery.Rollout) rollout.Route {
	out := rollout.Route{Known: v.known}
	if rs, ok := v.routeState(r.Env, r.Service); ok && v.known {
		out.Split, out.Preview = rs.Split, rs.Preview
	}
	if row, ok := v.routeRow(r.Env, r.Service); ok {
		out.Desired = row.Split
	}
	return out
}

func (v *view) routeRow(env, service string) (delivery.Route, bool) {
	i := slices.IndexFunc(v.Routes, func(row delivery.Route) bool { return row.Env == env && row.Service == service })
	if i < 0 {
		return delivery.Route{}, false
	}
	return v.Routes[i], true
}

// healthy is the set of instances of a release that the data plane sees healthy.
func (v *view) healthy(env, service string, id delivery.ReleaseID) map[string]bool {
	out := map[string]bool{}
	rs, ok := v.routeState(env, service)
	if !ok || !v.known {
		return out
	}
	for _, p := range rs.Pools {
		if p.Release != id {
			continue
		}
		for _, e := range p.Endpoints {
			if e.Healthy {
				out[e.ID] = true
			}
		}
	}
	return out
}

// holdOn is the hold that stops a rollout from beginning. A pin keeps new
// releases out; the way back stays open.
func (v *view) holdOn(r delivery.Rollout) *delivery.Hold {
	h := promotion.World{Holds: v.Holds}.HoldOn(r.Service, r.Env, r.To)
	if h != nil && h.Kind == delivery.Pinned && r.Origin == delivery.OriginRollback {
		return nil
	}
	return h
}

// newerThan is the newest rollout queued behind r that is going to take its turn.
func (v *view) newerThan(r delivery.Rollout) *rollout.Newer {
	var newest *rollout.Newer
	for _, o := range v.open {
		if o.Service != r.Service || o.Env != r.Env || o.State != delivery.Queued || o.Seq <= r.Seq {
			continue
		}
		gone := o.Asked != nil && o.Asked.Verb == delivery.AskAbort
		if !gone && o.Paused == nil && v.holdOn(o) == nil {
			newest = &rollout.Newer{ID: o.ID, Change: o.Change, Version: o.Version}
		}
	}
	return newest
}

// stale says why a queued change of configuration is no longer what was asked
// for: it was built on code that another release has replaced since, and would
// bring it back.
func (v *view) stale(r delivery.Rollout) string {
	st, ok := promotion.World{Stables: v.Stables}.Stable(r.Service, r.Env)
	if !ok || r.Kind != delivery.Config || r.Origin == delivery.OriginRollback || st.Release == r.From {
		return ""
	}
	code := v.Releases[r.To].CodeDigest()
	if code == v.Releases[st.Release].CodeDigest() || code != v.Releases[r.From].CodeDigest() {
		return ""
	}
	return fmt.Sprintf("it changes the configuration of %s, and %s is stable in %s by now; submit it again to change that", r.Was, st.Version, r.Env)
}

// aim gives a queued rollout the baseline and the plan of this moment: the
// baseline is always what is stable when it begins.
func (l *Loop) aim(v *view, r delivery.Rollout) (delivery.Rollout, error) {
	rel, ok := v.Releases[r.To]
	if !ok {
		return r, fmt.Errorf("control: %s: %w", r.ID, delivery.Unknown(delivery.CodeUnknownVersion, "release", string(r.To), nil, ""))
	}
	st, _ := promotion.World{Stables: v.Stables}.Stable(r.Service, r.Env)
	r.From, r.Was = st.Release, st.Version
	change := delivery.Change{ID: r.Change, Kind: r.Kind, Override: r.Override}
	k := course{back: r.Origin == delivery.OriginRollback, old: l.arm(v, r, st.Release).Want}
	if want := l.arm(v, r, r.To); st.Previous == r.To && v.now.Before(st.Warm) {
		svc, _ := v.Project.Service(r.Service)
		k.warm = want.Ready > 0 && want.Ready >= svc.In[r.Env].Replicas
		k.back = k.back || k.warm
	}
	r.Plan = l.planFor(v.Project, change, rel, r.Env, st.Release, k)
	return r, nil
}
