package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// orders is what a server of the crash suite has to do in its life. It reads
// them anew each time it is started, and goes on where the last one was killed.
type orders struct {
	Project delivery.Project
	Round   int // of deploys of Next; each has its own change
	Base    delivery.Digest
	Next    delivery.Digest
	AbortAt int  // step at which a person aborts; 0: nobody does
	First   bool // there is nothing stable before
}

// reaper kills its own process at each boundary once. What it was killed at is
// remembered in a file.
type reaper struct {
	armed atomic.Bool
	back  atomic.Bool // the rollout is on its way back: its boundaries are others
	path  string
	mu    sync.Mutex
	seen  map[string]bool
}

func newReaper(dir string) (*reaper, error) {
	k := &reaper{path: filepath.Join(dir, "killed"), seen: map[string]bool{}}
	names, err := killedAt(dir)
	for _, name := range names {
		k.seen[name] = true
	}
	return k, err
}

// killedAt lists the boundaries at which a server was killed.
func killedAt(dir string) ([]string, error) {
	f, err := os.Open(filepath.Join(dir, "killed"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		names = append(names, lines.Text())
	}
	return names, lines.Err()
}

// at is a boundary. The process does not survive the first one it did not meet before.
func (k *reaper) at(name string) {
	if !k.armed.Load() {
		return
	}
	if k.back.Load() {
		name = "on the way back: " + name
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.seen[name] {
		return
	}
	f, err := os.OpenFile(k.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(name + "\n")
	}
	if err != nil {
		panic(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
		panic(err)
	}
	select {} // until the kernel has done it
}

// deadlyWorkload ends the process before and after each effect.
type deadlyWorkload struct {
	workload.Driver
	k *reaper
}

func (d deadlyWorkload) Ensure(ctx context.Context, s workload.Spec) error {
	name := fmt.Sprintf("ensure %s of %s", s.ID[strings.LastIndex(string(s.ID), ".")+1:], s.Version)
	d.k.at("before " + name)
	err := d.Driver.Ensure(ctx, s)
	d.k.at("after " + name)
	return err
}

func (d deadlyWorkload) Stop(ctx context.Context, id workload.ID) error {
	d.k.at("before stop " + string(id))
	err := d.Driver.Stop(ctx, id)
	d.k.at("after stop " + string(id))
	return err
}

type deadlyTraffic struct {
	traffic.Driver
	k *reaper
}

func (d deadlyTraffic) Apply(ctx context.Context, t traffic.Table) error {
	var name strings.Builder
	for _, r := range t.Routes {
		fmt.Fprintf(&name, " %s", r.Name)
		for _, p := range r.Pools {
			fmt.Fprintf(&name, " %s %s on %d", p.Version, p.Weight, len(p.Endpoints))
		}
		if r.Preview != "" {
			name.WriteString(" preview")
		}
	}
	d.k.at("before table" + name.String())
	err := d.Driver.Apply(ctx, t)
	d.k.at("after table" + name.String())
	return err
}

// beServer is a control plane with a person beside it, until the round is over
// and everything has come to rest, or until it is killed.
func beServer(ctx context.Context, dir string) (err error) {
	var o orders
	doc, err := os.ReadFile(filepath.Join(dir, "orders.json"))
	if err == nil {
		err = json.Unmarshal(doc, &o)
	}
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := openParts(ctx, dir, exe)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	k, err := newReaper(dir)
	if err != nil {
		return err
	}
	l := New(Deps{
		Store: p.store, Workload: deadlyWorkload{p.driver, k}, Traffic: traffic.New(deadlyTraffic{plane(dir), k}), Artifacts: p.bundles,
		Test: func(context.Context, TestRun) (delivery.Outcome, string) {
			k.at("before test")
			defer k.at("after test")
			return delivery.Pass, "exit 0"
		},
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	l.kept = func(what string) {
		k.at("wrote " + what)
		if strings.Contains(what, "v2 in prod from") {
			k.back.Store(strings.Contains(what, " to "+string(delivery.Reverting)))
		}
	}
	man := person{o: o, l: l, p: p, k: k}
	if err := man.recall(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	ran := make(chan error, 1)
	go func() { ran <- l.Run(ctx) }()
	err = man.live(ctx)
	stop()
	return errors.Join(err, <-ran)
}

// person submits, aborts, and looks whether all is at rest. It remembers
// nothing: what it has done is in the store.
type person struct {
	o orders
	l *Loop
	p parts
	k *reaper
}

// recall arms the reaper when the rollout it is for is under way already.
func (m person) recall(ctx context.Context) error {
	c, under, err := m.change(ctx, "next")
	if err != nil || !under {
		return err
	}
	rs, err := m.p.store.Rollouts(ctx, store.RolloutQuery{Change: c.ID})
	m.k.back.Store(slices.ContainsFunc(rs, func(r delivery.Rollout) bool { return r.State == delivery.Reverting }))
	m.k.armed.Store(true)
	return err
}

var errAtRest = errors.New("at rest")

func (m person) live(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		switch err := m.look(ctx); {
		case errors.Is(err, errAtRest):
			return nil
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (m person) look(ctx context.Context) error {
	if _, err := m.l.SetProject(ctx, m.o.Project, []byte("p"), "ann"); err != nil {
		return err
	}
	if !m.o.First {
		if over, err := m.deploy(ctx, "base", "v1", m.o.Base); err != nil || !over {
			return err
		}
	}
	over, err := m.deploy(ctx, "next", "v2", m.o.Next)
	if err != nil || !over {
		return err
	}
	return m.rest(ctx)
}

// deploy submits a version once a round, and says whether its rollout is over.
func (m person) deploy(ctx context.Context, what, version string, bundle delivery.Digest) (bool, error) {
	c, found, err := m.change(ctx, what)
	if err != nil {
		return false, err
	}
	if !found {
		if what == "base" && m.stable(ctx) == version {
			return true, nil
		}
		holds, err := m.p.store.Holds(ctx)
		if err != nil {
			return false, err
		}
		if len(holds) > 0 {
			if _, err := m.l.LiftHold(ctx, Lift{Service: "api", Version: holds[0].Version, By: "ann"}); err != nil {
				return false, err
			}
		}
		m.k.armed.Store(what == "next")
		_, err = m.l.Submit(ctx, Submission{Service: "api", Version: version, Bundle: bundle, Reason: m.reason(what), By: "ann"})
		return false, err
	}
	rs, err := m.p.store.Rollouts(ctx, store.RolloutQuery{Change: c.ID})
	if err != nil || len(rs) != 1 {
		return false, errors.Join(err, fmt.Errorf("change %d has %d rollouts", c.ID, len(rs)))
	}
	r := rs[0]
	if what == "next" && m.o.AbortAt > 0 && r.State == delivery.Judging && r.Step == m.o.AbortAt && r.Asked == nil {
		_, err := m.l.Ask(ctx, delivery.AskAbort, Request{Change: c.ID, By: "ann", Reason: "as ordered"})
		if no := (*delivery.Refusal)(nil); !errors.As(err, &no) {
			return false, err
		}
	}
	return r.State.Final(), nil
}

func (m person) reason(what string) string { return fmt.Sprintf("%s %d", what, m.o.Round) }

func (m person) change(ctx context.Context, what string) (delivery.Change, bool, error) {
	all, err := m.p.store.Changes(ctx, store.ChangeQuery{})
	for _, c := range all {
		if c.Reason == m.reason(what) {
			return c, true, err
		}
	}
	return delivery.Change{}, false, err
}

func (m person) stable(ctx context.Context) string {
	w, err := m.p.store.Snapshot(ctx)
	if err != nil {
		return ""
	}
	return stableIn(w, "api").Version
}

// rest is errAtRest when nothing is left to be done.
func (m person) rest(ctx context.Context) error {
	w, err := m.p.store.Snapshot(ctx)
	if err != nil {
		return err
	}
	on, err := running(ctx, m.p.driver)
	if err != nil {
		return err
	}
	want := 0
	for _, n := range w.Wants {
		want += n.Count
	}
	if len(w.Wants) > 1 || len(on) != want || slices.ContainsFunc(w.Routes, func(r delivery.Route) bool { return r.Acked != r.Gen }) {
		return nil
	}
	return errAtRest
}

// story is one way of a rollout that is killed everywhere.
type story struct {
	strategy delivery.Strategy
	replicas int
	fail     float64 // of v2
	abortAt  int
	first    bool
	end      delivery.State
}

// survive runs a story again and again, with a server that is killed at every
// boundary it meets, until a whole rollout meets no new one.
func survive(t *testing.T, s story) {
	t.Parallel()
	h := newHall(t)
	o := orders{
		Project: h.project(s.strategy, s.replicas, "api"), AbortAt: s.abortAt, First: s.first,
		Base: h.bundle(character{Version: "v1"}), Next: h.bundle(character{Version: "v2", Fail: s.fail}),
	}
	h.awaitPlane()
	begun := time.Now()
	var c *crowd
	serves := sync.OnceFunc(func() { c = h.call(4, 25*time.Millisecond, "api") })
	var names []string
	lives := 0
	for met := -1; met < len(names); o.Round++ {
		met = len(names)
		lives += h.round(o, s, serves)
		var err error
		if names, err = killedAt(h.dir); err != nil {
			t.Fatal(err)
		}
		if s.first {
			break // there is only one
		}
	}
	t.Logf("%d boundaries, %d lives, %d rollouts, %s", len(names), lives, o.Round, time.Since(begun).Round(time.Second))
	if len(names) < 20 {
		t.Errorf("killed at %d boundaries only: %q", len(names), names)
	}
	back := func(name string) bool { return strings.HasPrefix(name, "on the way back") }
	if s.end == delivery.Reverted && !slices.ContainsFunc(names, back) {
		t.Errorf("never killed on the way back")
	}
	c.stop()
	if t.Log(c); c.lost.Load() > 0 || !s.first && c.asked.Load() < 100 || s.fail == 0 && c.own.Load() > 0 {
		t.Errorf("callers: %s; want none lost", c)
	}
}

// round starts servers until one ends by itself, and looks at what it left.
func (h *hall) round(o orders, s story, serves func()) (lives int) {
	t := h.t
	t.Helper()
	doc, err := json.Marshal(o)
	if err == nil {
		err = os.WriteFile(filepath.Join(h.dir, "orders.json"), doc, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for over := false; !over; lives++ {
		over = h.life()
		if over || !s.first {
			serves() // v1 is stable before the first kill
		}
		if lives > 400 {
			t.Fatal("it is killed for ever")
		}
	}
	st, err := store.Open(t.Context(), filepath.Join(h.dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	rs, err := st.Rollouts(t.Context(), store.RolloutQuery{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rs {
		want := delivery.Done
		if r.Version == "v2" {
			want = s.end
		}
		if r.State != want {
			t.Errorf("round %d: rollout %s of %s ended %s: %s; want %s", o.Round, r.ID, r.Version, r.State, r.Reason, want)
		}
	}
	stable := map[bool]string{true: "v2", false: "v1"}[s.end == delivery.Done]
	h.sound(st, s.replicas, map[string]string{"api": stable})
	if t.Failed() {
		tell(t, st)
		t.FailNow()
	}
	return lives
}

// life starts one server and says whether it ended by itself.
func (h *hall) life() bool {
	h.t.Helper()
	cmd := h.start(asServer, "server.log")
	late := time.AfterFunc(90*time.Second, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) })
	err := cmd.Wait()
	late.Stop()
	if err == nil {
		return true
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		h.t.Fatalf("a server ended with %v", err)
	}
	return false
}

func quick(kind delivery.StrategyKind) delivery.Strategy {
	return delivery.Strategy{
		Kind: kind, Deadline: time.Minute, Soak: 100 * time.Millisecond, Window: 100 * time.Millisecond, MaxSurge: 1,
		Judge: delivery.JudgePolicy{LatencyAdd: 20 * time.Second, PromoteLatencyAdd: 20 * time.Second},
	}
}

func quickCanary(last delivery.StepSpec) delivery.Strategy {
	s := quick(delivery.Canary)
	s.Steps = []delivery.StepSpec{{Weight: delivery.Percent(20), Hold: 100 * time.Millisecond}, last, {Weight: delivery.Full}}
	return s
}

func TestCase33_CrashCanary(t *testing.T) {
	survive(t, story{strategy: quickCanary(delivery.StepSpec{Weight: delivery.Percent(50), Hold: 100 * time.Millisecond}), replicas: 2, end: delivery.Done})
}

func TestCase33_CrashCanaryThatFails(t *testing.T) {
	s := quickCanary(delivery.StepSpec{Weight: delivery.Percent(50), Proven: true})
	s.Twin = true
	survive(t, story{strategy: s, replicas: 2, fail: 0.5, end: delivery.Reverted})
}

func TestCase33_CrashCanaryThatIsAborted(t *testing.T) {
	survive(t, story{strategy: quickCanary(delivery.StepSpec{Weight: delivery.Percent(50), Approve: true, Hold: time.Minute}), replicas: 2, abortAt: 1, end: delivery.Reverted})
}

func TestCase33_CrashBlueGreen(t *testing.T) {
	s := quick(delivery.BlueGreen)
	s.Test = []string{"check"}
	survive(t, story{strategy: s, replicas: 2, end: delivery.Done})
}

func TestCase33_CrashRolling(t *testing.T) {
	survive(t, story{strategy: quick(delivery.Rolling), replicas: 2, end: delivery.Done})
}

func TestCase33_CrashFirstRelease(t *testing.T) {
	survive(t, story{strategy: quick(delivery.Canary), replicas: 2, first: true, end: delivery.Done})
}
