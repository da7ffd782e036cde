package store

import (
	"context"
	"encoding/json"
	"maps"
	"slices"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// World is what is wanted and what is so, all at one moment. Project and
// Releases are shared with other readers and must not be changed; the rest
// belongs to the caller.
type World struct {
	Project  delivery.Project // the zero Project if there is none yet
	Stables  []delivery.Stable
	Holds    []delivery.Hold // in force
	Routes   []delivery.Route
	Wants    []delivery.Want
	Rollouts []delivery.Rollout                      // not final, in the order of submission
	Ended    []delivery.Rollout                      // final ones of the changes that a stable or a hold names; of each change the newest first
	Releases map[delivery.ReleaseID]delivery.Release // every one that the above name; one that is gone is not in it
}

// Snapshot returns the world at the last commit. It reads again only the parts
// that changed since the last Snapshot and decodes only what is new in them.
func (s *Store) Snapshot(ctx context.Context) (World, error) {
	var now *world
	err := s.snapshot(ctx, func(q querier) (err error) {
		now, err = refresh(ctx, q, s.world.Load())
		return err
	})
	if err != nil {
		return World{}, wrap("snapshot", err)
	}
	s.world.Store(now) // an older one may overtake a newer one: it is compared by revision
	return now.hand(), nil
}

// world is a World as it was read, with the revision of each part. It is never changed.
type world struct {
	revisions map[string]int64
	project   part[delivery.Project]
	stables   part[delivery.Stable]
	holds     part[delivery.Hold]
	routes    part[delivery.Route]
	wants     part[delivery.Want]
	rollouts  part[delivery.Rollout]
	ended     part[delivery.Rollout]
	endedOf   []delivery.ChangeID // whose final rollouts those are
	releases  map[delivery.ReleaseID]delivery.Release
	missing   bool // a release that is named could not be found
}

// part is one list of documents, and what each document decodes to.
type part[T any] struct {
	list    []T
	decoded map[string]T
}

// refresh returns the world as q sees it, made of old where nothing changed.
func refresh(ctx context.Context, q querier, old *world) (*world, error) {
	if old == nil {
		old = &world{}
	}
	revisions, err := readRevisions(ctx, q)
	if err != nil {
		return nil, err
	}
	if maps.Equal(revisions, old.revisions) && !old.missing {
		return old, nil
	}
	now := *old
	now.revisions = revisions
	stale := func(name string) bool {
		return old.revisions == nil || revisions[name] != old.revisions[name]
	}
	if stale(partProject) {
		now.project, err = load(ctx, q, selectProject, old.project)
	}
	if err == nil && stale(partStables) {
		now.stables, err = load(ctx, q, selectStables, old.stables)
	}
	if err == nil && stale(partHolds) {
		now.holds, err = load(ctx, q, selectHolds, old.holds)
	}
	if err == nil && stale(partRoutes) {
		now.routes, err = load(ctx, q, selectRoutes, old.routes)
	}
	if err == nil && stale(partWants) {
		now.wants, err = load(ctx, q, selectWants, old.wants)
	}
	if err == nil && stale(partRollouts) {
		now.rollouts, err = load(ctx, q, selectRollouts, old.rollouts)
	}
	if err == nil && (stale(partStables) || stale(partHolds) || stale(partRollouts)) {
		if ids := now.settledChanges(); stale(partRollouts) || !slices.Equal(ids, old.endedOf) {
			now.endedOf = ids
			now.ended, err = findEnded(ctx, q, ids, old.ended)
		}
	}
	if err != nil {
		return nil, err
	}
	return &now, now.findReleases(ctx, q, old.releases)
}

func readRevisions(ctx context.Context, q querier) (map[string]int64, error) {
	rows, err := q.query(ctx, selectRevisions)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	revisions := map[string]int64{}
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, err
		}
		revisions[name] = n
	}
	return revisions, rows.Err()
}

// load reads a part and decodes the documents that old does not have.
func load[T any](ctx context.Context, q querier, text string, old part[T]) (part[T], error) {
	now := part[T]{decoded: make(map[string]T, len(old.decoded))}
	return now, now.add(ctx, q, old, text)
}

// add reads documents behind those that are there.
func (p *part[T]) add(ctx context.Context, q querier, old part[T], text string, args ...any) error {
	rows, err := q.query(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var doc string
		if err := rows.Scan(&doc); err != nil {
			return err
		}
		v, ok := old.decoded[doc]
		if !ok {
			if err := json.Unmarshal([]byte(doc), &v); err != nil {
				return err
			}
		}
		p.decoded[doc] = v
		if p.list == nil {
			p.list = make([]T, 0, len(old.list)+8) // as long as it was, or a little longer
		}
		p.list = append(p.list, v)
	}
	return rows.Err()
}

// settledChanges returns every change that a stable or a hold names, in order.
func (w *world) settledChanges() []delivery.ChangeID {
	changes := make(map[delivery.ChangeID]bool, len(w.endedOf))
	for i := range w.stables.list {
		changes[w.stables.list[i].Change] = true
	}
	for i := range w.holds.list {
		changes[w.holds.list[i].Change] = true
	}
	delete(changes, 0)
	return slices.Sorted(maps.Keys(changes))
}

// findEnded reads the final rollouts of changes.
func findEnded(ctx context.Context, q querier, changes []delivery.ChangeID, old part[delivery.Rollout]) (part[delivery.Rollout], error) {
	now := part[delivery.Rollout]{decoded: make(map[string]delivery.Rollout, len(old.decoded))}
	for some := range slices.Chunk(changes, endedAtOnce) {
		ids := make([]any, endedAtOnce)
		for i := range ids { // the last one fills what is left: it is the same statement
			ids[i] = some[min(i, len(some)-1)]
		}
		if err := now.add(ctx, q, old, selectEnded, ids...); err != nil {
			return now, err
		}
	}
	return now, nil
}

// findReleases fills in the releases that the world names, from old where it has them.
func (w *world) findReleases(ctx context.Context, q querier, old map[delivery.ReleaseID]delivery.Release) error {
	w.releases, w.missing = make(map[delivery.ReleaseID]delivery.Release, len(old)), false
	for id := range w.named() {
		r, ok := old[id]
		if !ok {
			var err error
			r, ok, err = one[delivery.Release](ctx, q, selectRelease, id)
			if err != nil {
				return err
			}
		}
		if !ok {
			w.missing = true
			continue
		}
		w.releases[id] = r
	}
	return nil
}

// named returns the ids of the releases that the world names.
func (w *world) named() map[delivery.ReleaseID]bool {
	ids := map[delivery.ReleaseID]bool{}
	for _, s := range w.stables.list {
		ids[s.Release], ids[s.Previous] = true, true
	}
	for _, h := range w.holds.list {
		ids[h.Release] = true
	}
	for _, r := range w.routes.list {
		ids[r.Preview] = true
		for _, s := range r.Split {
			ids[s.Release] = true
		}
	}
	for _, n := range w.wants.list {
		ids[n.Release] = true
	}
	for _, r := range w.rollouts.list {
		ids[r.From], ids[r.To] = true, true
	}
	delete(ids, "")
	return ids
}

// hand returns a World that its caller may change without anyone else seeing it.
func (w *world) hand() World {
	out := World{
		Stables:  slices.Clone(w.stables.list),
		Holds:    slices.Clone(w.holds.list),
		Routes:   slices.Clone(w.routes.list),
		Wants:    slices.Clone(w.wants.list),
		Rollouts: slices.Clone(w.rollouts.list),
		Ended:    slices.Clone(w.ended.list),
		Releases: maps.Clone(w.releases),
	}
	if len(w.project.list) > 0 {
		out.Project = w.project.list[0]
	}
	for i := range out.Routes {
		out.Routes[i].Split = slices.Clone(out.Routes[i].Split)
	}
	for _, list := range [][]delivery.Rollout{out.Rollouts, out.Ended} {
		for i := range list {
			list[i] = cloneRollout(list[i])
		}
	}
	return out
}

// cloneRollout returns a rollout that shares nothing with r.
func cloneRollout(r delivery.Rollout) delivery.Rollout {
	r.Plan.Steps = slices.Clone(r.Plan.Steps)
	for i := range r.Plan.Steps {
		r.Plan.Steps[i].Test = slices.Clone(r.Plan.Steps[i].Test)
	}
	r.Plan.Judge.Metrics = slices.Clone(r.Plan.Judge.Metrics)
	for i := range r.Plan.Judge.Metrics {
		m := &r.Plan.Judge.Metrics[i]
		m.Low, m.High, m.Callers = clone(m.Low), clone(m.High), slices.Clone(m.Callers)
	}
	if r.Override = clone(r.Override); r.Override != nil {
		r.Override.Steps = slices.Clone(r.Override.Steps)
	}
	r.Waiting = clone(r.Waiting)
	r.Asked = clone(r.Asked)
	r.Paused = clone(r.Paused)
	if r.Verdict = clone(r.Verdict); r.Verdict != nil {
		r.Verdict.Checks = slices.Clone(r.Verdict.Checks)
		for i := range r.Verdict.Checks {
			r.Verdict.Checks[i].Words = clone(r.Verdict.Checks[i].Words)
		}
	}
	return r
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
