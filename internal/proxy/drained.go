package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// drainedFile holds the endpoints that people took out of rotation, so that they
// stay out when the process starts anew.
const drainedFile = "drained"

// outOfRotation is one line of that file.
type outOfRotation struct {
	ID   string `json:"id"`
	Addr string `json:"addr"`
	traffic.Drained
}

// takeOut takes what target names out of rotation: an endpoint by its ID or
// address, or all of a release's by its ID or version.
func (e *engine) takeOut(ctx context.Context, target string, o traffic.DrainOrder) ([]traffic.EndpointState, error) {
	if o.By == "" {
		return nil, delivery.Invalid("by", "says who takes it out")
	}
	return e.rotate(ctx, target, func(t *table, all []*endpoint) error {
		if p := lastOf(t, all, time.Now()); p != nil && !o.Force {
			return &delivery.Refusal{
				Code: delivery.CodeNotEligible, Field: "target",
				Why:  fmt.Sprintf("release %s takes traffic and would have no healthy endpoint left", p.name()),
				Next: "slipway proxy drain " + target + " --force, or give it another endpoint first",
			}
		}
		note := traffic.Drained{By: o.By, Why: o.Why, At: time.Now()}
		for _, p := range all {
			if before := p.drained.Load(); before == nil || o.Why != "" { // who only waits once more gives no other reason
				p.drained.Store(&note)
			}
		}
		return nil
	})
}

// putBack undoes takeOut.
func (e *engine) putBack(ctx context.Context, target string) ([]traffic.EndpointState, error) {
	return e.rotate(ctx, target, func(_ *table, all []*endpoint) error {
		for _, p := range all {
			p.drained.Store(nil)
			p.stir() // nothing else tells those that wait that it is back
		}
		return nil
	})
}

// rotate changes what target names, and returns when no request goes by what was
// before, here or in a predecessor.
func (e *engine) rotate(ctx context.Context, target string, change func(*table, []*endpoint) error) ([]traffic.EndpointState, error) {
	if err := e.take(ctx); err != nil {
		return nil, err
	}
	defer e.give()
	t := e.table.Load()
	all, err := t.named(target)
	if err == nil {
		err = change(t, all)
	}
	if err != nil {
		return nil, err
	}
	// A claim counts only by the table in force: a request that chose an endpoint
	// just before chooses again.
	again := *t
	e.table.Store(&again)
	if !e.handed.Load() {
		if err := e.disk.saveDrained(again.outOfRotation()); err != nil {
			e.log.Error("what is out of rotation cannot be kept on disk", slog.Any("error", err))
		}
	}
	out := make([]traffic.EndpointState, 0, len(all))
	for _, p := range all {
		out = append(out, p.state(time.Now()))
	}
	return out, nil
}

// named returns the endpoints that target means.
func (t *table) named(target string) ([]*endpoint, error) {
	found := map[delivery.ReleaseID][]*endpoint{}
	var versions []*pool
	for _, r := range t.routes {
		for _, p := range r.pools {
			whole := string(p.spec.Release) == target
			if p.spec.Version == target {
				versions = append(versions, p)
			}
			for _, ep := range p.endpoints {
				if (whole || ep.id == target || ep.addr == target) && !slices.Contains(found[p.spec.Release], ep) {
					found[p.spec.Release] = append(found[p.spec.Release], ep)
				}
			}
		}
	}
	if len(found) == 0 {
		for _, p := range versions {
			for _, ep := range p.endpoints {
				if !slices.Contains(found[p.spec.Release], ep) {
					found[p.spec.Release] = append(found[p.spec.Release], ep)
				}
			}
		}
	}
	switch {
	case len(found) == 0:
		return nil, delivery.InvalidNext("target", fmt.Sprintf("no endpoint and no release of the table is %q", target), "slipway proxy routes")
	case len(found) > 1:
		var ids []string
		for id := range found {
			ids = append(ids, string(id))
		}
		slices.Sort(ids)
		return nil, delivery.InvalidNext("target", fmt.Sprintf("%q is of several releases: %s", target, strings.Join(ids, ", ")), "name one of them, or an endpoint")
	}
	for _, all := range found {
		slices.SortFunc(all, func(a, b *endpoint) int { return strings.Compare(a.id, b.id) })
		return all, nil
	}
	return nil, nil
}

// name is how people know the release: by its version, where that says more.
func (p *pool) name() string {
	if p.spec.Version == string(p.spec.Release) {
		return p.spec.Version
	}
	return fmt.Sprintf("%s (%s)", p.spec.Version, p.spec.Release)
}

// lastOf returns a pool that takes traffic and would have no healthy endpoint
// without those named, though it has one now; or nil.
func lastOf(t *table, out []*endpoint, now time.Time) *pool {
	for _, r := range t.routes {
		for _, p := range r.pools {
			if p.spec.Weight == 0 {
				continue
			}
			before, after := 0, 0
			for _, ep := range p.endpoints {
				if !ep.healthy(now) {
					continue
				}
				before++
				if !slices.Contains(out, ep) {
					after++
				}
			}
			if before > 0 && after == 0 {
				return p
			}
		}
	}
	return nil
}

// outOfRotation lists what people took out, by ID.
func (t *table) outOfRotation() []outOfRotation {
	out := []outOfRotation{}
	for k, ep := range t.endpoints {
		if d := ep.drained.Load(); d != nil {
			out = append(out, outOfRotation{k.id, k.addr, *d})
		}
	}
	slices.SortFunc(out, func(a, b outOfRotation) int { return strings.Compare(a.ID+a.Addr, b.ID+b.Addr) })
	return out
}

// keepOut takes out what was out of rotation before this process.
func (e *engine) keepOut(t *table) {
	all, err := e.disk.loadDrained()
	if err != nil {
		e.log.Error("it cannot be read what was out of rotation; everything is in", slog.Any("error", err))
	}
	for _, o := range all {
		if ep := t.endpoints[endpointKey{o.ID, o.Addr}]; ep != nil {
			ep.drained.Store(&o.Drained)
		}
	}
}

// forgetDrained forgets what was out of rotation and has left the table.
func (e *engine) forgetDrained(old, t *table) {
	left := false
	for k, ep := range old.endpoints {
		left = left || ep.drained.Load() != nil && t.endpoints[k] != ep
	}
	if !left || e.handed.Load() {
		return
	}
	if err := e.disk.saveDrained(t.outOfRotation()); err != nil {
		e.log.Error("what is out of rotation cannot be kept on disk", slog.Any("error", err))
	}
}

func (d disk) saveDrained(all []outOfRotation) error {
	body, err := json.Marshal(all)
	if err != nil {
		return err
	}
	tmp := filepath.Join(d.dir, drainedFile+".tmp")
	if err := writeSynced(tmp, body); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(d.dir, drainedFile)); err != nil {
		return err
	}
	return syncDir(d.dir)
}

func (d disk) loadDrained() ([]outOfRotation, error) {
	body, err := os.ReadFile(filepath.Join(d.dir, drainedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []outOfRotation
	if err == nil {
		err = json.Unmarshal(body, &all)
	}
	return all, err
}

// rotated answers with the endpoints that were changed.
type rotated struct {
	Endpoints []traffic.EndpointState `json:"endpoints"`
}

// putDrain answers PUT /v1/drains/{target}.
func (e *engine) putDrain(w http.ResponseWriter, r *http.Request) {
	var o traffic.DrainOrder
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk)).Decode(&o); err != nil {
		problem{Status: http.StatusBadRequest, Code: "not_a_drain", Detail: err.Error()}.write(w)
		return
	}
	target := r.PathValue("target")
	out, err := e.takeOut(r.Context(), target, o)
	if err == nil {
		o.Force = true // it was decided here
		err = e.elder.Load().rotate(r.Context(), http.MethodPut, target, o)
	}
	answerRotated(w, out, err)
}

// dropDrain answers DELETE /v1/drains/{target}.
func (e *engine) dropDrain(w http.ResponseWriter, r *http.Request) {
	target := r.PathValue("target")
	out, err := e.putBack(r.Context(), target)
	if err == nil {
		err = e.elder.Load().rotate(r.Context(), http.MethodDelete, target, traffic.DrainOrder{})
	}
	answerRotated(w, out, err)
}

func answerRotated(w http.ResponseWriter, out []traffic.EndpointState, err error) {
	if err != nil {
		p := tableProblem(err)
		if p.Code == "invalid_table" {
			p.Code = "not_drained"
		}
		if no, ok := errors.AsType[*delivery.Refusal](err); ok {
			p = problem{Status: http.StatusConflict, Code: traffic.CodeLastEndpoint, Field: no.Field, Detail: no.Why, Hint: no.Next}
		}
		p.write(w)
		return
	}
	reply(w, rotated{out})
}

// rotate does the same for what is still in flight in the predecessor.
func (p *elder) rotate(ctx context.Context, method, target string, o traffic.DrainOrder) error {
	return p.living(ctx, func(ctx context.Context) error {
		body, err := json.Marshal(o)
		if err != nil {
			return err
		}
		res, err := p.ask(ctx, method, "/v1/drains/"+url.PathEscape(target), body)
		if err != nil {
			return err
		}
		return res.Body.Close()
	})
}
