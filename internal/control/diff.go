package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
)

// maxFileDeltas bounds the files a diff names.
const maxFileDeltas = 500

// Diff compares two releases of a service. Each side is a version or an
// environment, which means what is stable there.
func (l *Loop) Diff(ctx context.Context, service, from, to string) (Diff, error) {
	p, _, err := l.d.Store.Project(ctx)
	if err != nil {
		return Diff{}, err
	}
	if _, _, err := names(p, service, ""); err != nil {
		return Diff{}, err
	}
	a, inFrom, err := l.side(ctx, p, service, "from", from)
	if err != nil {
		return Diff{}, err
	}
	b, inTo, err := l.side(ctx, p, service, "to", to)
	if err != nil {
		return Diff{}, err
	}
	d := differ(a, b, inFrom, inTo)
	d.Files, err = l.fileDeltas(d.From.CodeDigest(), d.To.CodeDigest())
	return d, err
}

// Differ compares two releases as they run in an environment. Unlike Diff it does
// not look into their files, so that the answer is the same once those are gone.
func Differ(from, to delivery.Release, env string) Diff { return differ(from, to, env, env) }

func differ(from, to delivery.Release, inFrom, inTo string) Diff {
	return Diff{
		Service: to.Service, From: from, To: to, Kinds: delivery.Difference(from, to), Files: []FileDelta{},
		Config: deltas(from.ConfigFor(inFrom), to.ConfigFor(inTo)), Run: deltas(runWords(from.Run), runWords(to.Run)),
	}
}

// side finds the release that one side of a diff means, and the environment
// whose configuration it is seen with.
func (l *Loop) side(ctx context.Context, p delivery.Project, service, field, name string) (delivery.Release, string, error) {
	if _, ok := p.Environment(name); ok {
		stables, err := l.d.Store.Stables(ctx)
		if err != nil {
			return delivery.Release{}, "", err
		}
		st, ok := promotion.World{Stables: stables}.Stable(service, name)
		if !ok {
			return delivery.Release{}, "", delivery.InvalidNext(field, service+" has nothing stable in "+name, "slipway status")
		}
		rel, err := l.d.Store.Release(ctx, st.Release)
		return rel, name, err
	}
	rel, err := l.d.Store.ReleaseNamed(ctx, service, name)
	if errors.Is(err, delivery.ErrNotFound) {
		return rel, "", delivery.Unknown(delivery.CodeUnknownVersion, field+" (a version or an environment)", name, p.EnvironmentNames(), "slipway history "+service)
	}
	return rel, "", err
}

// runWords flattens a run specification for comparison.
func runWords(r delivery.RunSpec) map[string]string {
	return map[string]string{
		"command": strings.Join(r.Command, " "), "protocol": string(r.Protocol), "health": healthText(r.Health), "stop": fmt.Sprintf("%+v", r.Stop),
		"limits": fmt.Sprintf("%+v", r.Limits), "needs": fmt.Sprintf("%+v", r.Needs),
	}
}

// healthText writes a check with what its pointer points to.
func healthText(h delivery.Health) string {
	text := ""
	if h.GRPC != nil {
		text = fmt.Sprintf("grpc:%q ", *h.GRPC)
		h.GRPC = nil
	}
	return text + fmt.Sprintf("%+v", h)
}

func deltas(a, b map[string]string) []Delta {
	keys := maps.Clone(a)
	maps.Copy(keys, b)
	out := []Delta{}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if a[k] != b[k] {
			out = append(out, Delta{Key: k, From: a[k], To: b[k]})
		}
	}
	return out
}

func (l *Loop) fileDeltas(from, to delivery.Digest) ([]FileDelta, error) {
	out := []FileDelta{}
	if from == to {
		return out, nil
	}
	a, err := l.files(from)
	if err != nil {
		return out, err
	}
	b, err := l.files(to)
	if err != nil {
		return out, err
	}
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, path := range slices.Sorted(maps.Keys(names)) {
		x, inA := a[path]
		y, inB := b[path]
		switch {
		case len(out) >= maxFileDeltas:
			return out, nil
		case !inA:
			out = append(out, FileDelta{Path: path, Change: "added"})
		case !inB:
			out = append(out, FileDelta{Path: path, Change: "removed"})
		case x != y:
			out = append(out, FileDelta{Path: path, Change: "changed"})
		}
	}
	return out, nil
}

// files maps each file of a bundle to the digest of its content.
func (l *Loop) files(d delivery.Digest) (map[string]delivery.Digest, error) {
	out := map[string]delivery.Digest{}
	root, ok := l.d.Artifacts.Path(d)
	if !ok {
		return out, nil
	}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		out[rel] = delivery.DigestOf(content)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control: files of bundle %s: %w", d.Short(), err)
	}
	return out, nil
}
