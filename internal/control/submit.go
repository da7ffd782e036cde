package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/rollout"
	"github.com/slipway-cd/slipway/internal/store"
)

// Submission is what a person or CI asks to be delivered.
type Submission struct {
	Service    string             `json:"service"`
	Version    string             `json:"version,omitempty"`  // a label; "": one is made
	Bundle     delivery.Digest    `json:"bundle,omitempty"`   // code; "": that of the release named Version, else what the service's folder of versions has, or of what runs
	Set        map[string]string  `json:"set,omitempty"`      // configuration that differs from slipway.yaml, for this release
	Unset      []string           `json:"unset,omitempty"`    // configuration left out, for this release
	Env        string             `json:"env,omitempty"`      // this environment alone
	Strategy   *delivery.Override `json:"strategy,omitempty"` // instead of slipway.yaml's
	Reason     string             `json:"reason,omitempty"`
	Commit     string             `json:"commit,omitempty"`
	By         string             `json:"-"`
	Origin     delivery.Origin    `json:"-"`
	DryRun     bool               `json:"dry_run,omitempty"`     // say what would happen, change nothing
	BreakGlass bool               `json:"break_glass,omitempty"` // enter Env out of order; wants a reason, which the ledger keeps
	Seen       string             `json:"seen,omitempty"`        // mark of an effect: refuse if things have moved on since

	taken delivery.Digest // code of Version in the service's folder of versions; "" if it is not taken from there
	lying []string        // what else lies there, newest by name first, if Version does not
}

// Submitted is a change that was accepted, and the plan of its way.
type Submitted struct {
	Change   delivery.Change    `json:"change"`
	Release  delivery.Release   `json:"release"`
	Before   *delivery.Release  `json:"before,omitempty"` // stable in the first environment
	Rollouts []delivery.Rollout `json:"rollouts"`
	Plans    []EnvPlan          `json:"plans"`           // one per environment it will pass
	Notes    []string           `json:"notes,omitempty"` // what it does to others, in sentences
	Effect   Effect             `json:"effect"`
}

// EnvPlan is the plan for one environment.
type EnvPlan struct {
	Env     string             `json:"env"`
	Plan    delivery.Plan      `json:"plan"`
	Promote delivery.Promotion `json:"promote"`
}

// Submit accepts a change: release, change, rollout and ledger lines in one
// transaction. It returns at once; the loop does the rest.
func (l *Loop) Submit(ctx context.Context, s Submission) (Submitted, error) {
	s, err := l.take(ctx, s)
	if err != nil {
		return Submitted{}, err
	}
	var out Submitted
	err = l.attempt(ctx, "submit", s.DryRun, func(tx *store.Tx) (err error) {
		out, err = l.submit(ctx, tx, s)
		return err
	})
	if err != nil {
		return Submitted{}, err
	}
	return out, nil
}

func (l *Loop) submit(ctx context.Context, tx *store.Tx, s Submission) (Submitted, error) {
	p, _, err := tx.Project(ctx)
	if err != nil {
		return Submitted{}, err
	}
	w, err := l.worldIn(ctx, tx, p)
	if err != nil {
		return Submitted{}, err
	}
	svc, env, err := names(p, s.Service, s.Env)
	if err != nil {
		return Submitted{}, err
	}
	if err := s.Strategy.Validate(); err != nil {
		return Submitted{}, err
	}
	if err := overrideFits(p, svc, s.Strategy); err != nil {
		return Submitted{}, err
	}
	only := env != ""
	env = cmp.Or(env, p.Environments[0].Name)
	rel, err := l.manifest(ctx, tx, w, svc, s)
	if err != nil {
		return Submitted{}, err
	}
	out := Submitted{Release: rel}
	c := delivery.Change{Only: s.Env, Origin: cmp.Or(s.Origin, delivery.OriginPerson), Reason: s.Reason, By: s.By, Commit: s.Commit, Submitted: w.Now, Override: s.Strategy}
	m := delivery.Member{Service: svc.Name, To: rel.ID, Version: rel.Version}
	if st, ok := w.Stable(svc.Name, env); ok {
		m.From = st.Release
		before, err := tx.Release(ctx, st.Release)
		if err != nil {
			return Submitted{}, err
		}
		if s.Version == "" && s.Bundle == "" { // what it changes is what it is built upon
			if before, err = proven(ctx, tx, w, svc.Name, s.Env); err != nil {
				return Submitted{}, err
			}
		}
		out.Before = &before
		c.Kinds = delivery.Difference(before, rel)
	} else {
		c.Kinds = []delivery.Kind{delivery.Code}
		if c.Origin == delivery.OriginPerson {
			c.Origin = delivery.OriginInitial
		}
	}
	mark := placeMark(w, svc.Name, env, rel.ID)
	if err := current(s.Seen, mark, placeNow(w, svc.Name, env), 0); err != nil {
		return Submitted{}, err
	}
	if err := mayEnter(w, promotion.Candidate{Service: svc.Name, Env: env, Release: rel.ID, Version: rel.Version, Only: true, Person: true}); err != nil {
		return Submitted{}, err
	}
	if err := somethingToDo(w, svc.Name, env, rel, only); err != nil {
		return Submitted{}, err
	}
	if err := inOrder(w, rel, env, s, c.Kinds); err != nil {
		return Submitted{}, err
	}
	out.Notes = notes(w, svc.Name, env)
	if len(c.Kinds) == 0 {
		c.Kinds = []delivery.Kind{delivery.Code}
	}
	c.Kind, c.Members = c.Kinds[0], []delivery.Member{m}
	out, err = l.accept(ctx, tx, w, accepted{change: c, release: rel, env: env, only: only, glass: s.BreakGlass, out: out})
	out.Effect = startEffect(out, env, mark)
	return out, err
}

// startEffect is what a submission does.
func startEffect(s Submitted, env, mark string) Effect {
	e := Effect{Service: s.Release.Service, Env: env, To: s.Release.Version, Kinds: s.Change.Kinds, Notes: s.Notes, Seen: mark}
	start := promotion.Starting{Version: s.Release.Version, Alone: s.Change.Only != "", Code: slices.Contains(s.Change.Kinds, delivery.Code)}
	if s.Before != nil {
		start.Was, start.Keys = s.Before.Version, e.between(*s.Before, s.Release, env)
	}
	for _, p := range s.Plans {
		start.Ways = append(start.Ways, promotion.Way{Env: p.Env, Plan: p.Plan, Promote: p.Promote})
	}
	e.Text = start.Effect()
	return e
}

// accepted is a change that passed every check.
type accepted struct {
	change  delivery.Change
	release delivery.Release
	env     string
	only    bool
	back    bool
	glass   bool
	out     Submitted
}

// accept writes the change, its release, its first rollout and their lines.
func (l *Loop) accept(ctx context.Context, tx *store.Tx, w promotion.World, a accepted) (Submitted, error) {
	if err := tx.PutRelease(a.release); err != nil {
		return Submitted{}, err
	}
	c, err := tx.CreateChange(a.change)
	if err != nil {
		return Submitted{}, err
	}
	a.out.Change = c
	text := fmt.Sprintf("%s %s submitted by %s", a.release.Service, a.release.Version, c.By)
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	if a.glass {
		text += " (past the order of environments)"
	}
	if _, err := tx.Append(delivery.Event{At: w.Now, Kind: delivery.EventSubmitted, Change: c.ID, Service: a.release.Service, Env: a.env, By: c.By, Text: text}); err != nil {
		return Submitted{}, err
	}
	r, err := l.queue(ctx, tx, w, queued{change: c, release: a.release, env: a.env, only: a.only, back: a.back})
	if err != nil {
		return Submitted{}, err
	}
	a.out.Rollouts = []delivery.Rollout{r}
	a.out.Plans = []EnvPlan{{Env: a.env, Plan: r.Plan, Promote: delivery.Auto}}
	for env := w.Project.After(a.env); !a.only && env != ""; env = w.Project.After(env) {
		e, _ := w.Project.Environment(env)
		st, _ := w.Stable(a.release.Service, env)
		plan := l.planFor(w.Project, c, a.release, env, st.Release, course{})
		a.out.Plans = append(a.out.Plans, EnvPlan{Env: env, Plan: plan, Promote: e.Promote})
	}
	return a.out, nil
}

// queued is a rollout that is about to be written.
type queued struct {
	change  delivery.Change
	release delivery.Release
	env     string
	only    bool
	back    bool
}

// queue writes a new rollout at the end of its line.
func (l *Loop) queue(ctx context.Context, tx *store.Tx, w promotion.World, q queued) (delivery.Rollout, error) {
	id := delivery.RolloutID(fmt.Sprintf("%d/%s", q.change.ID, q.env))
	before, err := tx.Rollouts(ctx, store.RolloutQuery{Change: q.change.ID, Env: q.env})
	if err != nil {
		return delivery.Rollout{}, err
	}
	if n := len(before); n > 0 {
		id += delivery.RolloutID(fmt.Sprintf(".%d", n+1))
	}
	st, _ := w.Stable(q.release.Service, q.env)
	r := delivery.Rollout{
		ID: id, Change: q.change.ID, Kind: q.change.Kind, Origin: q.change.Origin, Only: q.only,
		Service: q.release.Service, Env: q.env, Override: q.change.Override, From: st.Release, Was: st.Version, To: q.release.ID, Version: q.release.Version,
		State: delivery.Queued, Reason: "submitted", Created: w.Now, Entered: w.Now,
	}
	warm := st.Previous == q.release.ID && w.Now.Before(st.Warm) // whether it really runs is looked at when it begins
	r.Plan = l.planFor(w.Project, q.change, q.release, q.env, st.Release, course{back: q.back || warm, warm: warm})
	if r, err = tx.CreateRollout(r); err != nil {
		return r, err
	}
	_, err = tx.Append(delivery.Event{
		At: w.Now, Kind: delivery.EventMoved, Change: r.Change, Rollout: r.ID, Service: r.Service, Env: r.Env, State: r.State,
		By: q.change.By, Key: string(r.ID) + "/1", Text: fmt.Sprintf("%s queued for %s: %s", r.Version, r.Env, r.Plan.Reason),
	})
	return r, err
}

// course is what is known of a rollout's way beside its change.
type course struct {
	back bool
	warm bool
	old  int
}

func (l *Loop) planFor(p delivery.Project, c delivery.Change, rel delivery.Release, env string, from delivery.ReleaseID, k course) delivery.Plan {
	svc, _ := p.Service(rel.Service)
	dep := svc.In[env]
	strategy := dep.Strategy.With(overrideIn(p, c, env))
	return rollout.PlanFor(rollout.Course{
		Strategy: strategy, Replicas: dep.Replicas, Kind: c.Kind, From: from, To: rel.ID, Warm: k.warm, Back: k.back, Old: k.old,
		Builtin: l.builtin(p, rel.Service),
	})
}

// overrideIn is what a change asks for in an environment. Like the steps of the
// whole project, an approval is meant for where the real traffic is, the last one.
func overrideIn(p delivery.Project, c delivery.Change, env string) *delivery.Override {
	if c.Override == nil || !c.Override.Approve || c.Only == env || p.After(env) == "" {
		return c.Override
	}
	o := *c.Override
	o.Approve = false
	return &o
}

// builtin lists the metrics that a service is judged by without being asked, of
// the sources that there are.
func (l *Loop) builtin(p delivery.Project, service string) []delivery.Metric {
	var callers []string
	for _, svc := range p.Services {
		if slices.ContainsFunc(svc.Run.Needs, func(n delivery.Need) bool { return n.Service == service }) {
			callers = append(callers, svc.Name)
		}
	}
	return slices.DeleteFunc(delivery.BuiltinMetrics(callers), func(m delivery.Metric) bool {
		return m.From != delivery.FromTraffic && l.d.Metrics[m.From] == nil
	})
}

// names checks the service and, when given, the environment.
func names(p delivery.Project, service, env string) (delivery.Service, string, error) {
	svc, ok := p.Service(service)
	if !ok {
		return svc, "", delivery.Unknown(delivery.CodeUnknownService, "service", service, p.ServiceNames(), "slipway status")
	}
	if _, ok := p.Environment(env); env != "" && !ok {
		return svc, "", delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", env, p.EnvironmentNames(), "slipway status")
	}
	return svc, env, nil
}

// manifest makes the release that a submission asks for. Configuration comes
// from slipway.yaml as it is now; what the submission sets wins for this release alone.
func (l *Loop) manifest(ctx context.Context, tx *store.Tx, w promotion.World, svc delivery.Service, s Submission) (delivery.Release, error) {
	rel := delivery.Release{Service: svc.Name, Version: s.Version, Run: svc.Run, Config: maps.Clone(svc.Config), Created: w.Now, CreatedBy: s.By}
	code, version, err := l.code(ctx, tx, w, svc, s)
	if err != nil {
		return rel, err
	}
	rel.Version = cmp.Or(s.Version, version)
	if rel.Config == nil {
		rel.Config = map[string]string{}
	}
	for env, dep := range svc.In {
		if len(dep.Config) == 0 {
			continue
		}
		if rel.ConfigIn == nil {
			rel.ConfigIn = map[string]map[string]string{}
		}
		rel.ConfigIn[env] = maps.Clone(dep.Config)
	}
	for _, k := range slices.Sorted(maps.Keys(s.Set)) {
		if err := settable(k); err != nil {
			return rel, err
		}
		if err := delivery.Masked("set."+k, s.Set[k]); err != nil {
			return rel, err
		}
		rel.Config[k] = s.Set[k]
		for _, in := range rel.ConfigIn {
			delete(in, k)
		}
	}
	for _, k := range s.Unset {
		delete(rel.Config, k)
		for _, in := range rel.ConfigIn {
			delete(in, k)
		}
	}
	maps.DeleteFunc(rel.ConfigIn, func(_ string, in map[string]string) bool { return len(in) == 0 })
	if len(rel.ConfigIn) == 0 {
		rel.ConfigIn = nil
	}
	config := delivery.DigestOf([]byte(fmt.Sprint(rel.Config, rel.ConfigIn)))
	rel.Artifacts = []delivery.Artifact{{Kind: delivery.Code, Digest: code}, {Kind: delivery.Config, Digest: config}}
	if s.Version == "" && (len(s.Set) > 0 || len(s.Unset) > 0) {
		rel.Version = strings.SplitN(version, "+", 2)[0] + "+" + config.Short()[:6]
	}
	return rel.Seal(), nil
}

// code finds the bundle a submission means, and a label for it.
func (l *Loop) code(ctx context.Context, tx *store.Tx, w promotion.World, svc delivery.Service, s Submission) (delivery.Digest, string, error) {
	switch {
	case s.Bundle != "":
		if !l.d.Artifacts.Has(s.Bundle) {
			return "", "", delivery.InvalidNext("bundle", "there is no bundle "+string(s.Bundle), "slipway deploy "+svc.Name+" uploads it")
		}
		return s.Bundle, s.Bundle.Short(), nil
	case s.Version != "":
		rel, err := tx.ReleaseNamed(ctx, svc.Name, s.Version)
		if errors.Is(err, delivery.ErrNotFound) && s.taken != "" {
			return s.taken, s.Version, nil
		}
		if errors.Is(err, delivery.ErrNotFound) {
			names, err := l.deployable(ctx, tx, svc.Name, s.lying)
			if err != nil {
				return "", "", err
			}
			return "", "", delivery.Unknown(delivery.CodeUnknownVersion, "version of "+svc.Name, s.Version, names, "slipway deploy "+svc.Name+" VERSION --from PATH")
		}
		return rel.CodeDigest(), rel.Version, err
	}
	rel, err := proven(ctx, tx, w, svc.Name, s.Env)
	return rel.CodeDigest(), rel.Version, err
}

// proven is the release whose code a change of configuration keeps: the stable
// one of the environment named, or else of the last one that has any. What an
// earlier environment tries out, or what went back, is not built upon.
func proven(ctx context.Context, tx *store.Tx, w promotion.World, service, env string) (delivery.Release, error) {
	for _, e := range slices.Backward(w.Project.EnvironmentNames()) {
		if env != "" && env != e {
			continue
		}
		if st, ok := w.Stable(service, e); ok {
			return tx.Release(ctx, st.Release)
		}
	}
	return delivery.Release{}, delivery.InvalidNext("version", service+" has never been deployed, so there is no code to keep", "slipway deploy "+service+" VERSION")
}

// overrideFits refuses what a service is not rolled out with anywhere: a twin
// without a canary, or an approval where nothing could wait for it.
func overrideFits(p delivery.Project, svc delivery.Service, o *delivery.Override) error {
	if o == nil {
		return nil
	}
	kinds := map[delivery.StrategyKind]bool{}
	for _, env := range p.Environments {
		kinds[svc.In[env.Name].Strategy.With(o).Kind] = true
	}
	switch {
	case o.Twin && !kinds[delivery.Canary]:
		return delivery.InvalidNext("strategy.twin", "a twin belongs to canary, and "+svc.Name+" is not rolled out as one", "ask for a canary too, or leave the twin out")
	case o.Approve && !kinds[delivery.Canary] && !kinds[delivery.BlueGreen]:
		return delivery.InvalidNext("strategy.approve", "a person approves the steps of a canary or the switch of blue-green, and "+svc.Name+" is rolled out as neither", "ask for one of the two, or leave the approval out")
	}
	return nil
}

// settable refuses names that Slipway sets itself.
func settable(name string) error {
	switch {
	case name == "" || strings.ContainsAny(name, "= \t\n\x00"):
		return delivery.Invalid("set", fmt.Sprintf("%q is no name of an environment variable", name))
	case name == "PORT" || name == "OTEL_RESOURCE_ATTRIBUTES" || strings.HasPrefix(name, "SLIPWAY_"):
		return delivery.Invalid("set", name+" is set by Slipway itself")
	}
	return nil
}

// mayEnter refuses what a hold stops. Everything else may at least queue.
func mayEnter(w promotion.World, c promotion.Candidate) error {
	h := w.HoldOn(c.Service, c.Env, c.Release)
	if h == nil {
		return nil
	}
	code, what := delivery.CodeHeld, c.Service+" is held in "+c.Env
	if h.Kind == delivery.Quarantine {
		code, what = delivery.CodeQuarantined, c.Service+" "+c.Version+" is on hold"
	}
	why := what + " since " + h.At.Format(time.TimeOnly) + ": " + h.Why
	return &delivery.Refusal{Code: code, Field: "service", Why: why, Who: "anyone with access", Next: h.Lift()}
}

// somethingToDo refuses a change that would change nothing.
func somethingToDo(w promotion.World, service, env string, rel delivery.Release, only bool) error {
	for _, r := range w.Open {
		if r.Service == service && r.Env == env && r.To == rel.ID && r.State != delivery.Reverting {
			return &delivery.Refusal{Code: delivery.CodeNothingToDo, Field: "version", Why: fmt.Sprintf("%s %s is already on its way as change #%d", service, rel.Version, r.Change), Next: fmt.Sprintf("slipway watch %d", r.Change)}
		}
	}
	if _, busy := w.Flight(service, env); busy {
		return nil // going back to what is stable while something is under way is a real change
	}
	st, ok := w.Stable(service, env)
	if !ok || st.Release != rel.ID {
		return nil
	}
	if next := w.Project.After(env); !only && next != "" {
		if there, ok := w.Stable(service, next); !ok || there.Release != rel.ID {
			return &delivery.Refusal{Code: delivery.CodeNothingToDo, Field: "version", Why: fmt.Sprintf("%s %s is already stable in %s", service, rel.Version, env), Next: fmt.Sprintf("slipway promote %s --to %s", service, next)}
		}
	}
	return &delivery.Refusal{Code: delivery.CodeNothingToDo, Field: "version", Why: fmt.Sprintf("%s %s is already stable in %s", service, rel.Version, env), Next: "slipway status"}
}

// inOrder refuses code that enters an environment without having been stable in
// the one before. A change of configuration of what runs there may: it has no
// other place to be tried. Breaking the glass wants a reason.
func inOrder(w promotion.World, rel delivery.Release, env string, s Submission, kinds []delivery.Kind) error {
	before := w.Project.Before(env)
	if before == "" || !slices.Contains(kinds, delivery.Code) {
		return nil
	}
	if st, ok := w.Stable(rel.Service, before); ok && st.Release == rel.ID {
		return nil
	}
	switch {
	case !s.BreakGlass:
		return &delivery.Refusal{
			Code: delivery.CodeNotEligible, Field: "env", Who: "anyone with access",
			Why:  fmt.Sprintf("%s %s is not stable in %s, which comes before %s", rel.Service, rel.Version, before, env),
			Next: fmt.Sprintf("slipway deploy %s %s, or --break-glass --reason WHY to go past it", rel.Service, rel.Version),
		}
	case s.Reason == "":
		return delivery.InvalidNext("reason", "going past "+before+" wants a reason, which the ledger keeps", "add --reason WHY")
	}
	return nil
}

// notes says what a new change does to those under way in its environment.
func notes(w promotion.World, service, env string) []string {
	var out []string
	for _, r := range w.Open {
		if r.Service != service || r.Env != env {
			continue
		}
		switch {
		case r.Yields() && r.State == delivery.Queued:
			out = append(out, fmt.Sprintf("takes the place of change #%d (%s), which is queued in %s", r.Change, r.Version, env))
		case r.Yields():
			out = append(out, fmt.Sprintf("takes over from change #%d (%s), which is %s in %s", r.Change, r.Version, r.State, env))
		default:
			out = append(out, fmt.Sprintf("queued behind change #%d (%s), which is %s in %s; slipway abort %d ends that", r.Change, r.Version, r.State, env, r.Change))
		}
	}
	return out
}
