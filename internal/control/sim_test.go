package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// behaviour is how the instances of a version behave in the simulated world.
type behaviour struct {
	start  time.Duration // until ready
	fail   float64       // share of requests that fail
	crash  bool          // never gets ready, exits again and again
	never  bool          // runs, never gets ready
	slower float64       // latency factor; 0 is 1
}

// world is one simulated machine: instances, a data plane and its callers. It
// outlives the loops that a test starts and kills over it.
type world struct {
	t  *testing.T
	mu sync.Mutex

	versions map[string]behaviour
	rate     map[string]float64 // route -> requests per second

	instances map[workload.ID]*simInstance
	ports     int  // given so far
	mute      bool // the bell does not ring
	bell      chan struct{}

	table    traffic.Table
	deaf     bool // the data plane does not answer
	forgets  bool // the next acknowledgement is lost
	changes  map[string]time.Time
	seen     map[string]bool // endpoints that were healthy when the loop last looked
	whole    map[delivery.ReleaseID]bool
	blocks   []traffic.Block
	failed   []traffic.Sample
	served   int64 // second up to which callers were answered
	acks     int
	stops    []workload.ID
	violated []string
	seed     uint64        // of what callers and answers are like
	rng      uint64        // of the second and the pool that are played
	upset    time.Time     // when an instance was last made to exit
	grace    time.Duration // that a stop takes
	check    func(was, is traffic.Table)

	sources map[delivery.MetricSource]metric.Driver // of the next house

	dead  bool // the control plane: nothing of it has an effect any more
	left  int  // boundaries until it dies; 0: it does not
	kill  func()
	rows  *store.Store // of the life that is lived
	lives int
}

type simInstance struct {
	spec     workload.Spec
	started  time.Time
	restarts int
	port     int
	stopping bool
	stopped  bool
	again    *workload.Spec // ensured while it was stopping
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, versions: map[string]behaviour{}, rate: map[string]float64{}, instances: map[workload.ID]*simInstance{}, seen: map[string]bool{},
		whole: map[delivery.ReleaseID]bool{}, bell: make(chan struct{}, 1), changes: map[string]time.Time{}, seed: 1, kill: func() {},
	}
	go w.live(t.Context())
	return w
}

// live lets callers ask in every second of the world.
func (w *world) live(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		w.mu.Lock()
		w.serve(time.Now().Unix() - 1)
		w.mu.Unlock()
	}
}

// of is how a version behaves; another configuration behaves as the code does.
func (w *world) of(version string) behaviour {
	code, _, _ := strings.Cut(version, "+")
	return w.versions[code]
}

func (w *world) ring() {
	if w.mute {
		return
	}
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

func (w *world) violate(format string, args ...any) {
	w.violated = append(w.violated, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

var errDead = errors.New("the control plane is dead")

// boundary is a place where the control plane may die. Its caller holds mu.
func (w *world) boundary() error {
	if !w.dead && w.left > 0 {
		if w.left--; w.left == 0 {
			w.dead = true
			w.kill()
		}
	}
	if w.dead {
		return errDead
	}
	return nil
}

// wrote is the boundary after a write.
func (w *world) wrote(string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.boundary() // it is written all the same
}

// simWorkload is a workload driver over the simulated world.
type simWorkload struct{ w *world }

func (d simWorkload) Ensure(_ context.Context, s workload.Spec) error {
	w := d.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.boundary(); err != nil {
		return err
	}
	switch i := w.instances[s.ID]; {
	case i == nil || i.stopped:
		w.run(s)
	case i.stopping:
		i.again = &s
	}
	return w.boundary()
}

// run starts an instance. Its caller holds mu.
func (w *world) run(s workload.Spec) {
	w.ports++
	w.instances[s.ID] = &simInstance{spec: s, started: time.Now(), port: 10000 + w.ports}
	w.ring()
}

func (d simWorkload) Stop(ctx context.Context, id workload.ID) error {
	w := d.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.boundary(); err != nil {
		return err
	}
	i := w.instances[id]
	if i == nil || i.stopped {
		return nil
	}
	for _, r := range w.table.Routes {
		for _, p := range r.Pools {
			for _, e := range p.Endpoints {
				if e.ID == string(id) {
					w.violate("%s was stopped while the data plane routes to it", id)
				}
			}
		}
	}
	if !i.stopping {
		i.stopping = true
		w.stops = append(w.stops, id)
		time.AfterFunc(w.grace, func() { w.gone(i) })
	}
	w.mu.Unlock()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil && !w.isGone(i) {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	w.mu.Lock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.boundary()
}

func (w *world) gone(i *simInstance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i.stopped = true
	if i.again != nil {
		w.run(*i.again)
	}
	w.ring()
}

func (w *world) isGone(i *simInstance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return i.stopped
}

// exit makes an instance end by itself; it is started again at once.
func (w *world) exit(i *simInstance) {
	i.started, w.upset = time.Now(), time.Now()
	i.restarts++
	w.ring()
}

func (d simWorkload) List(context.Context) ([]workload.Status, error) {
	w := d.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return nil, errDead
	}
	var out []workload.Status
	for _, i := range w.instances {
		b := w.of(i.spec.Version)
		s := workload.Status{Spec: i.spec, Phase: workload.Starting, Addr: fmt.Sprintf("127.0.0.1:%d", i.port), Started: i.started, PID: i.port, Restarts: i.restarts}
		up := time.Since(i.started)
		switch {
		case i.stopped:
			s.Phase = workload.Stopped
		case i.stopping:
			s.Phase = workload.Stopping
		case b.crash:
			s.Phase, s.Restarts, s.LastExit = workload.Backoff, int(up/time.Second), "exit status 1"
			s.Tail = []string{"no such table: orders"}
		case b.never:
			s.Probe = "GET /healthz: 503"
		case up >= b.start:
			s.Phase = workload.Ready
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b workload.Status) int { return strings.Compare(string(a.Spec.ID), string(b.Spec.ID)) })
	return out, nil
}

func (d simWorkload) Logs(context.Context, workload.LogQuery, func(workload.LogLine) bool) error {
	return nil
}

func (d simWorkload) Changed() <-chan struct{} { return d.w.bell }

var errDeaf = errors.New("no answer")

// simTraffic is a traffic driver over the simulated world.
type simTraffic struct{ w *world }

func (d simTraffic) Apply(_ context.Context, t traffic.Table) error {
	w := d.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.boundary(); err != nil {
		return err
	}
	if w.deaf {
		return errDeaf
	}
	if t.Generation <= w.table.Generation {
		w.violate("table %d came after table %d", t.Generation, w.table.Generation)
		return delivery.ErrConflict
	}
	if w.check != nil {
		w.check(w.table, t)
	}
	for _, r := range t.Routes {
		for _, old := range w.table.Routes {
			if old.Name == r.Name && old.Gen != r.Gen {
				w.changes[r.Name] = time.Now()
			}
		}
	}
	w.table = t
	w.acks++
	if w.forgets {
		w.forgets = false
		return errDeaf
	}
	return w.boundary()
}

func (d simTraffic) State(context.Context) (traffic.State, error) {
	w := d.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return traffic.State{}, errDead
	}
	if w.deaf {
		return traffic.State{}, errDeaf
	}
	clear(w.seen)
	s := traffic.State{Generation: w.table.Generation, PID: 1}
	for _, r := range w.table.Routes {
		rs := traffic.RouteState{Name: r.Name, Gen: r.Gen, Preview: r.Preview}
		for _, p := range r.Pools {
			rs.Split = append(rs.Split, delivery.Share{Release: p.Release, Weight: p.Weight})
			ps := traffic.PoolState{Release: p.Release}
			for _, e := range p.Endpoints {
				ok := w.serves(e.ID)
				if ok {
					ps.Healthy++
					w.seen[e.ID] = true
				}
				ps.Endpoints = append(ps.Endpoints, traffic.EndpointState{ID: e.ID, Addr: e.Addr, Healthy: ok})
			}
			rs.Pools = append(rs.Pools, ps)
		}
		s.Routes = append(s.Routes, rs)
	}
	for _, l := range w.table.Listeners {
		s.Listeners = append(s.Listeners, traffic.ListenerState{Name: l.Name, Addr: l.Addr})
	}
	return s, nil
}

func (w *world) serves(id string) bool {
	i := w.instances[workload.ID(id)]
	if i == nil || i.stopped || i.stopping {
		return false
	}
	b := w.of(i.spec.Version)
	return !b.crash && !b.never && time.Since(i.started) >= b.start
}

// Watch pushes what was counted.
func (d simTraffic) Watch(ctx context.Context, since int64, frame func(traffic.Frame)) error {
	w := d.w
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	sent, told := since-1, 0
	for {
		w.mu.Lock()
		if w.deaf {
			w.mu.Unlock()
			return errDeaf
		}
		var fresh []traffic.Block
		for _, b := range w.blocks {
			if b.Second > sent {
				fresh = append(fresh, b)
			}
		}
		upto := w.served
		failed := w.failed[told:]
		told = len(w.failed)
		w.mu.Unlock()
		if upto > sent || len(fresh) > 0 {
			frame(traffic.Frame{At: time.Now(), Boot: "sim", Blocks: fresh, Failed: failed})
			sent = upto
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// serve answers the requests of one second by the table in force.
func (w *world) serve(second int64) {
	w.served = second
	for _, r := range w.table.Routes {
		rate := w.rate[r.Name]
		at := w.changes[r.Name].Unix()
		for _, p := range r.Pools {
			n := uint64(0)
			w.draw(second, r.Name, p.Version)
			for range int(rate) {
				if w.roll() < float64(p.Weight)/float64(delivery.Full) {
					n++
				}
			}
			up := w.poolServes(p)
			if p.Weight == delivery.Full && up {
				w.whole[p.Release] = true
			}
			if p.Weight > 0 && !up && time.Since(w.upset) > 15*time.Second {
				w.violate("%s has %s of %s and nobody serves", p.Version, p.Weight, r.Name)
			}
			if n == 0 {
				continue
			}
			b := traffic.Block{Route: r.Name, Release: p.Release, Second: second, Gen: r.Gen, Mixed: at == second || at == second+1, Requests: n, Units: n, Bins: map[int]uint32{}}
			beh := w.of(p.Version)
			for range n {
				slower := max(beh.slower, 1)
				b.Bins[analysis.Bin((0.004+0.01*w.roll()*w.roll())*slower)]++
				if w.roll() < beh.fail || !up {
					b.UnitsBad++
					b.Server++
					w.failed = append(w.failed, traffic.Sample{
						At: time.Unix(second, 0), Route: r.Name, Release: p.Release, Method: "POST", Path: fmt.Sprint("/orders/", n), Status: 502,
						Error: fmt.Sprintf("dial tcp 127.0.0.1:%d: connection refused", 9000+n), Trace: fmt.Sprintf("%032x", len(w.failed)),
					})
				} else {
					b.OK++
				}
			}
			w.blocks = append(w.blocks, b)
		}
	}
	for len(w.blocks) > 0 && w.blocks[0].Second < second-900 {
		w.blocks = w.blocks[1:]
	}
}

func (w *world) poolServes(p traffic.Pool) bool {
	return slices.ContainsFunc(p.Endpoints, func(e traffic.Endpoint) bool { return w.serves(e.ID) })
}

// draw begins the numbers of a second of a pool anew. So they do not hang on what was
// before, and a table that comes into force a second later makes a second other, and not
// all that follows.
func (w *world) draw(second int64, route, version string) {
	x := w.seed*0x9e3779b97f4a7c15 + uint64(second)
	for _, c := range []byte(route + " " + version) {
		x = (x ^ uint64(c)) * 0x100000001b3
	}
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	w.rng = (x ^ x>>31) | 1
}

// roll is a small generator of its own, so that a run repeats bit for bit.
func (w *world) roll() float64 {
	w.rng ^= w.rng << 13
	w.rng ^= w.rng >> 7
	w.rng ^= w.rng << 17
	return float64(w.rng>>11) / (1 << 53)
}

// house is one life of the control plane over a world. It can be killed and
// begun again over the same store.
type house struct {
	*Loop
	w    *world
	dir  string
	stop func()
}

func project(envs ...string) delivery.Project {
	p := delivery.Project{Name: "shop"}
	svc := delivery.Service{Name: "api", Run: delivery.RunSpec{Command: []string{"./api"}, Health: delivery.Health{HTTP: "/healthz"}, Stop: delivery.Stop{Drain: time.Second, Grace: time.Second}}, In: map[string]delivery.Deployment{}}
	for i, env := range envs {
		p.Environments = append(p.Environments, delivery.Environment{Name: env, Listen: fmt.Sprintf("127.0.0.1:%d", 7580-i), Promote: delivery.Auto})
		svc.In[env] = delivery.Deployment{Replicas: 2, Strategy: canaryStrategy()}
	}
	p.Services = []delivery.Service{svc}
	return p
}

func canaryStrategy() delivery.Strategy {
	s := delivery.Strategy{Kind: delivery.Canary, Deadline: 30 * time.Second, Soak: 5 * time.Second, Window: time.Minute, OnSilence: delivery.SilenceWaits, Supersede: delivery.Replace}
	for _, w := range []int{10, 50, 100} {
		s.Steps = append(s.Steps, delivery.StepSpec{Weight: delivery.Percent(w), Hold: 3 * time.Second, Proven: w < 100, Max: 10 * time.Minute})
	}
	return s
}

// houseKey signs the previews of every house.
const houseKey = "secret of this house"

// begin starts a control plane over the world and the files in dir.
func begin(t *testing.T, w *world, dir string) *house {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(dir, "s.db"))
	if err != nil {
		t.Fatal(err)
	}
	bundles, err := artifact.Open(filepath.Join(dir, "bundles"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{w: w, dir: dir, Loop: New(Deps{Store: st, Workload: simWorkload{w}, Traffic: traffic.New(simTraffic{w}), Artifacts: bundles, Metrics: w.sources, PreviewKey: []byte(houseKey), Log: slog.New(slog.NewTextHandler(simLog{w}, &slog.HandlerOptions{Level: slog.LevelError}))})}
	ctx, cancel := context.WithCancel(t.Context())
	w.mu.Lock()
	w.dead, w.left, w.kill, w.rows = false, 0, cancel, st
	w.lives++
	w.mu.Unlock()
	h.kept = w.wrote
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := h.Run(ctx); err != nil {
			t.Errorf("Run = %v", err)
		}
	}()
	h.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

// simLog takes what a loop complains of. A table that does not add up, or a
// move that the store refuses, is a fault of the loop.
type simLog struct{ w *world }

func (l simLog) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	for _, ours := range []string{"adds up", "no endpoint", "is already an endpoint", "has the address", "never becomes", "is there twice", "panic"} {
		if strings.Contains(line, ours) {
			l.w.mu.Lock()
			l.w.violate("%s", line)
			l.w.mu.Unlock()
		}
	}
	return len(p), nil
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// bundle snapshots a tiny program, different for each version.
func (h *house) bundle(version string) delivery.Digest {
	h.w.t.Helper()
	path := filepath.Join(h.w.t.TempDir(), "api")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho "+version+"\n"), 0o755); err != nil {
		h.w.t.Fatal(err)
	}
	d, err := h.d.Artifacts.Snapshot(h.w.t.Context(), path)
	if err != nil {
		h.w.t.Fatal(err)
	}
	return d
}

func (h *house) deploy(version string) Submitted {
	h.w.t.Helper()
	s, err := h.Submit(h.w.t.Context(), Submission{Service: "api", Version: version, Bundle: h.bundle(version), By: "ann"})
	if err != nil {
		h.w.t.Fatal(err)
	}
	return s
}

func (h *house) rollout(id delivery.RolloutID) delivery.Rollout {
	h.w.t.Helper()
	r, err := h.d.Store.Rollout(h.w.t.Context(), id)
	if err != nil {
		h.w.t.Fatal(err)
	}
	return r
}

// stable is the version that is stable in env.
func (h *house) stable(env string) string {
	h.w.t.Helper()
	all, err := h.d.Store.Stables(h.w.t.Context())
	if err != nil {
		h.w.t.Fatal(err)
	}
	for _, s := range all {
		if s.Env == env {
			return s.Version
		}
	}
	return ""
}

// story prints the ledger when a test fails.
func (h *house) story() {
	h.w.t.Helper()
	events, err := h.d.Store.Events(h.w.t.Context(), store.EventQuery{Limit: 500})
	if err != nil {
		h.w.t.Log(err)
	}
	for _, e := range events {
		h.w.t.Logf("%s %-9s %-8s %-10s %s", e.At.Format("15:04:05.000"), e.Kind, e.Rollout, e.State, e.Text)
	}
}
