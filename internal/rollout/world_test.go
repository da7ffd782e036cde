package rollout_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/rollout"
)

const (
	v1 delivery.ReleaseID = "r1"
	v2 delivery.ReleaseID = "r2"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// instance is one process as the world has it. Counts are in ticks.
type instance struct {
	start   int // until it answers; 0: it answers
	flap    int // until it answers again
	stop    int // until it is gone; 0: it is not stopping
	healthy bool
}

func (i instance) ready() bool { return i.start == 0 && i.flap == 0 && i.stop == 0 }

// pool is the instances of one release.
type pool struct {
	all      []instance
	starts   bool // its instances come up at all
	slow     int  // ticks to come up
	restarts int
}

// failer is the part of testing.T and rapid.T that the world needs.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is what a rollout acts on: instances, a data plane, a store and people.
// Nothing in it waits: tick lets time pass, and pass lets the decider look once.
type world struct {
	t       failer
	now     time.Time
	row     delivery.Rollout // as last written
	wants   map[delivery.ReleaseID]int
	desired []delivery.Share // as last written
	preview delivery.ReleaseID
	stable  delivery.ReleaseID
	holds   []delivery.Hold
	lines   []string // one for each move worth a ledger line

	pools   map[delivery.ReleaseID]*pool
	applied map[delivery.ReleaseID]int // wants that reached the workload driver
	sent    []delivery.Share           // split that reached the data plane
	sentPre delivery.ReleaseID
	away    bool // the data plane does not answer, though it routes
	deaf    bool // it answers and takes nothing in
	lag     int  // ticks until a sent split is in force
	lagLeft int
	force   []delivery.Share // split in force
	forcePr delivery.ReleaseID

	facts     rollout.Facts // that no instance and no data plane has: verdict, newer, busy ...
	runTest   bool
	outcome   delivery.Outcome // that a test will have
	failShown bool
	spent     time.Duration // judged in this step, or soaked, by the world's own watch
	short     time.Duration // capacity missing since the last new best, by the world's own watch
	wasFull   bool
	wasShort  bool
	best      int
	surge     int
	dark      bool
	last      rollout.Move
}

// setting is what a world starts from.
type setting struct {
	course rollout.Course
	old    int // instances of the stable release that run
}

func newWorld(t failer, s setting) *world {
	w := &world{
		t: t, now: noon, wants: map[delivery.ReleaseID]int{}, applied: map[delivery.ReleaseID]int{}, pools: map[delivery.ReleaseID]*pool{},
		stable: s.course.From, outcome: delivery.Pass,
	}
	w.facts.Turn = true
	plan := rollout.PlanFor(s.course)
	w.dark = len(plan.Steps) > 0 && plan.Steps[0].Dark
	w.surge = max(s.course.Strategy.MaxSurge, 0)
	if w.surge+max(s.course.Strategy.MaxUnavailable, 0) == 0 {
		w.surge = 1
	}
	w.row = delivery.Rollout{
		ID: "7/prod", Change: 7, Kind: s.course.Kind, Service: "shop", Env: "prod", From: s.course.From, To: s.course.To, Version: "v2", Was: "v1",
		Plan: plan, State: delivery.Queued, Reason: "submitted", Created: noon, Entered: noon, Seq: 7,
	}
	for _, id := range []delivery.ReleaseID{s.course.From, s.course.To} {
		if id != "" {
			w.pools[id] = &pool{starts: true, slow: 2}
		}
	}
	if s.course.From != "" {
		w.wants[s.course.From] = s.old
		w.desired = []delivery.Share{{Release: s.course.From, Weight: delivery.Full}}
	}
	if s.course.Warm {
		w.wants[s.course.To] = plan.Replicas
	}
	for id, n := range w.wants {
		for range n {
			w.pools[id].all = append(w.pools[id].all, instance{healthy: true})
		}
	}
	w.sent, w.force = w.desired, w.desired
	maps.Copy(w.applied, w.wants)
	return w
}

// tick lets d pass: instances come and go, and the data plane takes in what it was sent.
func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	r := w.row
	if r.Paused == nil && (r.State == delivery.Judging || r.State == delivery.Soaking && w.wasFull) {
		w.spent += d
	}
	if w.wasShort {
		w.short += d
	}
	for id, p := range w.pools {
		p.tick(w.applied[id])
	}
	switch {
	case w.deaf:
	case w.lagLeft > 0:
		w.lagLeft--
	default:
		w.force, w.forcePr = w.sent, w.sentPre
	}
	for _, p := range w.pools {
		for i := range p.all {
			p.all[i].healthy = p.all[i].ready()
		}
	}
}

func (p *pool) tick(want int) {
	kept := p.all[:0]
	live := 0
	for _, i := range p.all {
		switch {
		case i.stop == 1:
			continue
		case i.stop > 1:
			i.stop--
		case i.start > 0 && p.starts:
			i.start--
		case i.flap > 0:
			i.flap--
		}
		if i.stop == 0 {
			live++
			if live > want {
				i.stop = 2
			}
		}
		kept = append(kept, i)
	}
	p.all = kept
	for ; live < want; live++ {
		p.all = append(p.all, instance{start: p.slow + 1})
	}
}

// hit does something to the first instance that serves.
func (p *pool) hit(do func(*instance)) {
	for i := range p.all {
		if p.all[i].stop == 0 {
			do(&p.all[i])
			return
		}
	}
}

func (p *pool) crash() {
	p.hit(func(i *instance) { *i = instance{start: p.slow + 1}; p.restarts++ })
}

func (p *pool) kill() {
	p.starts = false
	for i := range p.all {
		p.all[i] = instance{start: 1 << 20, stop: p.all[i].stop}
	}
}

func (p *pool) revive() {
	p.starts = true
	for i := range p.all {
		p.all[i].start = min(p.all[i].start, p.slow)
	}
}

func (w *world) arm(id delivery.ReleaseID) rollout.Arm {
	p := w.pools[id]
	if p == nil {
		return rollout.Arm{}
	}
	a := rollout.Arm{Want: w.wants[id], Running: len(p.all), Restarts: p.restarts}
	for _, i := range p.all {
		if i.ready() {
			a.Ready++
		}
		if i.healthy && !w.away {
			a.Healthy++
		}
	}
	if a.Ready < a.Want {
		a.Trouble = "connection refused"
	}
	return a
}

func (w *world) see() rollout.Facts {
	f := w.facts
	f.Now, f.New, f.Old = w.now, w.arm(w.row.To), w.arm(w.row.From)
	f.Route = rollout.Route{Known: !w.away, Desired: w.desired}
	if !w.away {
		f.Route.Split, f.Route.Preview = w.force, w.forcePr
	}
	if w.runTest && f.Test == nil {
		f.Test = &rollout.Test{Step: w.row.Step, Outcome: w.outcome, Text: "curl: exit status 22"}
	}
	return f
}

// write is the one transaction: rollout, wants, split, pointer and hold.
func (w *world) write(f rollout.Facts, m rollout.Move) {
	was := w.row
	if rollout.Changed(was, m.Rollout) {
		w.lines = append(w.lines, fmt.Sprintf("%s/%d %s", m.Rollout.State, m.Rollout.Step, m.Rollout.Reason))
	}
	if m.Rollout.State.Final() && !was.State.Final() && m.Rollout.Gen != was.Gen {
		w.t.Fatalf("Next moved the generation, which belongs to the store")
	}
	w.watch(f, m)
	w.row = m.Rollout
	w.row.Gen++
	for _, want := range m.Wants {
		w.wants[want.Release] = want.Count
	}
	if m.Split != nil {
		w.desired, w.preview = m.Split, m.Preview
	}
	if m.Stable != nil {
		w.stable = m.Stable.Release
	}
	if m.Hold != nil {
		w.holds = append(w.holds, *m.Hold)
	}
	w.runTest = w.runTest && w.row.Step == was.Step || m.Test
	w.last = m
}

// watch keeps the world's own clocks, beside those of the rollout.
func (w *world) watch(f rollout.Facts, m rollout.Move) {
	r := m.Rollout
	entered := r.State != w.row.State
	if r.Step != w.row.Step || entered && (r.State == delivery.Finishing || r.State == delivery.Soaking) {
		w.spent = 0
	}
	if f.New.Ready > w.best || r.Step != w.row.Step || entered && (r.State == delivery.Finishing || r.State == delivery.Starting) {
		w.best, w.short = f.New.Ready, 0
	}
	need := r.Plan.Replicas
	if s, ok := r.At(); ok && r.State != delivery.Finishing && r.State != delivery.Soaking {
		need = s.New
	}
	have := f.New.Ready
	if f.Route.Known {
		have = f.New.Healthy
	}
	paused := r.Paused != nil && (!w.dark || !r.Shifted.IsZero() || weight(f.Route.Desired, r.From) != 0)
	emptying := w.dark && (f.Old.Running > 0 || weight(f.Route.Split, r.From) > 0)
	paused = paused || halted(f, r) && (!w.dark || !r.Shifted.IsZero() || weight(f.Route.Desired, r.From) != 0)
	w.wasShort = r.State.Active() && r.State != delivery.Preparing && r.State != delivery.Waiting && !paused && have < need && !emptying
	w.wasFull = !halted(f, r) && f.Route.Known && f.New.Healthy >= r.Plan.Replicas && weight(f.Route.Split, r.To) == delivery.Full
}

// apply carries out what is written.
func (w *world) apply() {
	maps.Copy(w.applied, w.wants)
	if !w.away && (!reflect.DeepEqual(w.sent, w.desired) || w.sentPre != w.preview) {
		w.sent, w.sentPre, w.lagLeft = w.desired, w.preview, w.lag
	}
}

// restartPlane loses the data plane's table and all it knows of health.
func (w *world) restartPlane() {
	w.sent, w.force, w.sentPre, w.forcePr = nil, nil, "", ""
	for _, p := range w.pools {
		for i := range p.all {
			p.all[i].healthy = false
		}
	}
}

// pass is one whole turn of the loop.
func (w *world) pass() rollout.Move {
	f := w.see()
	m := w.decide(f)
	w.write(f, m)
	w.apply()
	return m
}

// decide asks Next and holds its answer against every invariant.
func (w *world) decide(f rollout.Facts) rollout.Move {
	if f.Verdict != nil && f.Verdict.Outcome == delivery.Fail && w.row.State.Active() {
		w.failShown = true
	}
	m := rollout.Next(w.row, f)
	check(w, f, m)
	return m
}

// reload is a restart of the process: all that is known is what was written.
func (w *world) reload() {
	b, err := json.Marshal(w.row)
	if err != nil {
		w.t.Fatalf("marshal: %v", err)
	}
	w.row = delivery.Rollout{}
	if err := json.Unmarshal(b, &w.row); err != nil {
		w.t.Fatalf("unmarshal: %v", err)
	}
}

// until lets time pass in ticks of 10 s until done holds.
func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for range 2000 {
		if done() {
			return
		}
		w.tick(10 * time.Second)
		w.pass()
	}
	w.t.Fatalf("never came to %s: %s/%d %q, waiting on %+v\n%v", what, w.row.State, w.row.Step, w.row.Reason, w.row.Waiting, w.lines)
}

func (w *world) untilState(s delivery.State) {
	w.t.Helper()
	w.until(string(s), func() bool { return w.row.State == s })
}

func (w *world) untilStep(s delivery.State, step int) {
	w.t.Helper()
	w.until(fmt.Sprintf("%s/%d", s, step), func() bool { return w.row.State == s && w.row.Step == step })
}

// forDur lets d pass in ticks of 10 s.
func (w *world) forDur(d time.Duration) {
	w.t.Helper()
	for range int(d / (10 * time.Second)) {
		w.tick(10 * time.Second)
		w.pass()
	}
}

func (w *world) ask(v delivery.AskVerb) {
	w.row.Asked = &delivery.Ask{Verb: v, By: "ada", Why: "because", At: w.now}
	w.row.Gen++
}

func (w *world) judge(o delivery.Outcome) {
	w.facts.Verdict = &delivery.Verdict{Outcome: o, Sentence: "errors 2.1 % against 0.1 %", At: w.now}
}

// halted says whether an incident keeps r where it is.
func halted(f rollout.Facts, r delivery.Rollout) bool {
	return f.Verdict != nil && f.Verdict.Incident != "" && !r.Despite && !r.Exposed.IsZero() && r.Origin != delivery.OriginRollback
}

// trouble begins an incident, with whatever else the judge says; what is "" ends it.
func (w *world) trouble(what string) {
	v := delivery.Verdict{Outcome: delivery.Inconclusive, Sentence: "both fail", At: w.now}
	if w.facts.Verdict != nil {
		v = *w.facts.Verdict
	}
	v.Incident = what
	w.facts.Verdict = &v
}

func (w *world) new() *pool { return w.pools[v2] }
func (w *world) old() *pool { return w.pools[v1] }

func weight(split []delivery.Share, id delivery.ReleaseID) delivery.Weight {
	return delivery.Route{Split: split}.WeightOf(id)
}

func wanted(m rollout.Move, id delivery.ReleaseID) (int, bool) {
	for _, w := range m.Wants {
		if w.Release == id {
			return w.Count, true
		}
	}
	return 0, false
}
