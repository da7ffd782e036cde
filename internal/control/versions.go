package control

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// maxVersions bounds the versions of a service that are listed, of each sort.
const maxVersions = 100

// Version is one version of a service that can be deployed, or could be but for
// a hold.
type Version struct {
	Version  string             `json:"version"`
	Release  delivery.ReleaseID `json:"release,omitempty"`   // "": it lies in the service's folder of versions, and was never deployed
	Change   delivery.ChangeID  `json:"change,omitempty"`    // that brought it last
	At       time.Time          `json:"at,omitzero"`         // when it was made
	By       string             `json:"by,omitempty"`        // who made it
	StableIn []string           `json:"stable_in,omitempty"` // environments, in order
	Held     *delivery.Hold     `json:"hold,omitempty"`
	Gone     bool               `json:"gone,omitempty"` // its files are no longer kept
}

// Versions lists what of a service can be deployed: its releases, newest first,
// and then what lies in its folder of versions and was never deployed.
func (l *Loop) Versions(ctx context.Context, service string) ([]Version, error) {
	p, _, err := l.d.Store.Project(ctx)
	if err != nil {
		return nil, err
	}
	svc, _, err := names(p, service, "")
	if err != nil {
		return nil, err
	}
	out, err := l.releasesOf(ctx, p, service)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, v := range out {
		known[v.Version] = true
	}
	if svc.Versions == "" {
		return out, nil
	}
	lying, err := artifact.Versions(svc.Versions)
	if err != nil {
		return out, nil //nolint:nilerr // a folder that is not there any more holds no version
	}
	slices.Reverse(lying) // the newest by name first
	for _, name := range lying[:min(len(lying), maxVersions)] {
		if !known[name] {
			out = append(out, Version{Version: name})
		}
	}
	return out, nil
}

// releasesOf lists the newest release of each version of a service, newest first.
func (l *Loop) releasesOf(ctx context.Context, p delivery.Project, service string) ([]Version, error) {
	releases, err := l.d.Store.Releases(ctx, service, maxVersions)
	if err != nil {
		return nil, err
	}
	stables, err := l.d.Store.Stables(ctx)
	if err != nil {
		return nil, err
	}
	holds, err := l.d.Store.Holds(ctx)
	if err != nil {
		return nil, err
	}
	changes, err := l.d.Store.Changes(ctx, store.ChangeQuery{Service: service, Limit: store.MaxLimit})
	if err != nil {
		return nil, err
	}
	brought := map[delivery.ReleaseID]delivery.ChangeID{}
	for _, c := range slices.Backward(changes) {
		for _, m := range c.Members {
			brought[m.To] = c.ID
		}
	}
	out, seen := []Version{}, map[string]bool{}
	for _, rel := range releases {
		if seen[rel.Version] {
			continue // a deploy by this name takes the newest one
		}
		seen[rel.Version] = true
		v := Version{Version: rel.Version, Release: rel.ID, Change: brought[rel.ID], At: rel.Created, By: rel.CreatedBy, Gone: !l.d.Artifacts.Has(rel.CodeDigest())}
		for _, env := range p.EnvironmentNames() {
			if slices.ContainsFunc(stables, func(s delivery.Stable) bool { return s.Service == service && s.Env == env && s.Release == rel.ID }) {
				v.StableIn = append(v.StableIn, env)
			}
		}
		if i := slices.IndexFunc(holds, func(h delivery.Hold) bool { return h.Kind == delivery.Quarantine && h.Release == rel.ID }); i >= 0 {
			v.Held = &holds[i]
		}
		out = append(out, v)
	}
	return out, nil
}

// deployable names the versions of a service that a deploy by name would find: those
// whose files are kept, newest first, and then those that lie in its folder.
func (l *Loop) deployable(ctx context.Context, tx *store.Tx, service string, lying []string) ([]string, error) {
	known, err := tx.Releases(ctx, service, maxVersions)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, r := range known {
		if !slices.Contains(all, r.Version) && l.d.Artifacts.Has(r.CodeDigest()) {
			all = append(all, r.Version)
		}
	}
	for _, name := range lying {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all, nil
}

// take finds the code of a submission that names a version without code, and
// that no release has: in the service's folder of versions, by the same packing
// as an upload. It happens before the transaction, which must not wait for a
// disk. A dry run computes the digest and keeps nothing.
func (l *Loop) take(ctx context.Context, s Submission) (Submission, error) {
	if s.Bundle != "" || s.Version == "" {
		return s, nil
	}
	p, _, err := l.d.Store.Project(ctx)
	if err != nil {
		return s, err
	}
	svc, ok := p.Service(s.Service)
	if !ok || svc.Versions == "" {
		return s, nil // submit says what is wrong
	}
	if _, err := l.d.Store.ReleaseNamed(ctx, s.Service, s.Version); !errors.Is(err, delivery.ErrNotFound) {
		return s, err
	}
	lying, err := artifact.Versions(svc.Versions)
	if err != nil || !slices.Contains(lying, s.Version) {
		slices.Reverse(lying)
		s.lying = lying[:min(len(lying), maxVersions)]
		return s, nil //nolint:nilerr // no such version there: submit says what there is
	}
	path, err := within(svc.Versions, s.Version)
	if err != nil {
		return s, err
	}
	limits := artifact.Limits{Bytes: artifact.MaxBytes, Files: artifact.MaxEntries}
	if s.DryRun {
		s.taken, err = l.sums.SumWithin(ctx, path, limits)
	} else {
		s.taken, err = l.d.Artifacts.Take(ctx, path, limits)
	}
	return s, err
}

// within resolves an entry of a folder, and refuses one that is a link to
// somewhere else: whoever may deploy need not be able to read what the server can.
func within(folder, name string) (string, error) {
	root, err := filepath.EvalSymlinks(folder)
	if err != nil {
		return "", delivery.InvalidNext("version", "the folder of versions cannot be read: "+err.Error(), "slipway config explain")
	}
	path, err := filepath.EvalSymlinks(filepath.Join(root, name))
	if err != nil {
		return "", delivery.InvalidNext("version", name+" cannot be read: "+err.Error(), "ls -l "+folder)
	}
	if rel, err := filepath.Rel(root, path); err != nil || rel == "." || !filepath.IsLocal(rel) {
		return "", delivery.InvalidNext("version", name+" is a link that leads out of "+folder, "put the files themselves there, or deploy them with --from PATH")
	}
	return path, nil
}
