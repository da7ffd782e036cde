package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/metrics/metricstest"
	"github.com/slipway-cd/slipway/internal/proxy/otlp/otlptest"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/workload"
)

var quiet = slog.New(slog.DiscardHandler)

// collector is a receiver of spans that may refuse some calls first.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	answers []int                      // guarded by mu; what to answer first
	spans   map[string][]otlptest.Span // guarded by mu; by ID, as often as they came
	calls   int                        // guarded by mu
	bad     error                      // guarded by mu
}

func newCollector(t *testing.T, first ...int) *collector {
	c := &collector{answers: first, spans: map[string][]otlptest.Span{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if len(c.answers) > 0 {
		w.WriteHeader(c.answers[0])
		c.answers = c.answers[1:]
		return
	}
	body, err := io.ReadAll(r.Body)
	req, err2 := otlptest.Read(body)
	if err != nil || err2 != nil || req.Resource["service.name"] != "slipway" {
		c.bad = errors.Join(err, err2, fmt.Errorf("a request of %v", req.Resource))
	}
	for _, s := range req.Spans {
		c.spans[s.ID] = append(c.spans[s.ID], s)
	}
}

func (c *collector) all() ([]otlptest.Span, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []otlptest.Span
	for _, s := range c.spans {
		out = append(out, s...)
	}
	return out, c.calls, c.bad
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		if holds() {
			return
		}
	}
	t.Fatalf("it never came true that %s", what)
}

// ledger is a store with a project of two environments.
type ledger struct {
	t *testing.T
	*store.Store
	dir string
	log *slog.Logger
}

func newLedger(t *testing.T, collector string) *ledger {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	l := &ledger{t: t, Store: s, dir: dir, log: quiet}
	p := delivery.Project{
		Name: "harbor", Services: []delivery.Service{{Name: "shop"}}, DataPlane: delivery.DataPlane{OTLP: collector},
		Environments: []delivery.Environment{{Name: "staging"}, {Name: "prod"}},
	}
	l.write(func(tx *store.Tx) error {
		if err := tx.SaveProject(p, []byte("project: harbor")); err != nil {
			return err
		}
		_, err := tx.Append(delivery.Event{At: time.Now(), Kind: delivery.EventProject, Text: "project"})
		return err
	})
	return l
}

func (l *ledger) write(fn func(*store.Tx) error) {
	l.t.Helper()
	if err := l.Write(l.t.Context(), fn); err != nil {
		l.t.Fatal(err)
	}
}

// change begins a change.
func (l *ledger) change() (c delivery.Change) {
	l.t.Helper()
	l.write(func(tx *store.Tx) (err error) {
		c, err = tx.CreateChange(delivery.Change{
			Kind: "code", Origin: delivery.OriginPerson, By: "ann", Reason: "faster", Commit: "abc", Submitted: time.Now().UTC().Truncate(time.Microsecond),
			Members: []delivery.Member{{Service: "shop", To: "r2", Version: "v2"}},
		})
		if err != nil {
			return err
		}
		_, err = tx.Append(delivery.Event{At: time.Now(), Kind: delivery.EventSubmitted, Change: c.ID, Text: "submitted"})
		return err
	})
	return c
}

// rollout takes a change through states in an environment, each with a line.
func (l *ledger) rollout(c delivery.Change, env string, verdict *delivery.Verdict, states ...delivery.State) {
	l.t.Helper()
	var r delivery.Rollout
	for i, state := range states {
		l.write(func(tx *store.Tx) (err error) {
			now := time.Now().UTC().Truncate(time.Microsecond)
			if i == 0 {
				r, err = tx.CreateRollout(delivery.Rollout{
					ID: delivery.RolloutID(fmt.Sprintf("%d/%s", c.ID, env)), Change: c.ID, Service: "shop", Env: env, To: "r2", Version: "v2", Was: "v1",
					State: state, Created: now, Plan: delivery.Plan{Strategy: delivery.Canary, Steps: []delivery.Step{{Weight: 500}}},
				})
			} else {
				if r.State = state; state == delivery.Reverting {
					r.Cause = delivery.Cause{Kind: delivery.CauseVerdict, Text: "errors are 5 times those of v1", At: now}
				}
				if state.Final() {
					r.Ended = now
				}
				r, err = tx.SaveRollout(r)
			}
			if err != nil {
				return err
			}
			data := map[string]any{"weight": 500, "cause": r.Cause}
			if i > 0 {
				data["from"] = states[i-1]
			}
			if state == delivery.Reverting && verdict != nil {
				data["verdict"] = verdict
			}
			doc, err := json.Marshal(data)
			if err != nil {
				return err
			}
			_, err = tx.Append(delivery.Event{At: now, Kind: delivery.EventMoved, Change: c.ID, Rollout: r.ID, Service: "shop", Env: env, State: state, Text: string(state), Data: doc})
			return err
		})
	}
}

// run follows the ledger until the returned func is called.
func (l *ledger) run() (t *Telemetry, stop func()) {
	l.t.Helper()
	t = New(Deps{Store: l.Store, Log: l.log, Version: "v1", Mark: filepath.Join(l.dir, "traces.mark")})
	ctx, cancel := context.WithCancel(l.t.Context())
	back := make(chan error, 1)
	go func() { back <- t.Run(ctx) }()
	until(l.t, "the ledger is followed", func() bool {
		_, err := os.Stat(t.d.Mark)
		return err == nil
	})
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-back; err != nil {
				l.t.Error(err)
			}
		})
	}
	l.t.Cleanup(stop)
	return t, stop
}

// told waits until the traces of all lines were sent, and that is written down: who is
// stopped before sends the last of them again.
func (l *ledger) told() {
	l.t.Helper()
	newest, err := l.Events(l.t.Context(), store.EventQuery{Newest: true, Limit: 1})
	if err != nil || len(newest) != 1 {
		l.t.Fatalf("the newest line is %v, %v", newest, err)
	}
	until(l.t, "it is written down that all was told", func() bool {
		n, err := readMark(filepath.Join(l.dir, "traces.mark"))
		return err == nil && n == newest[0].Seq
	})
}

// One trace a change: rollouts of both environments hang below it, and below
// them the stages and the verdict. It comes once, though the server is stopped
// and the collector refuses the first call.
func TestTraceOfChange(t *testing.T) {
	c := newCollector(t, http.StatusServiceUnavailable)
	l := newLedger(t, c.URL)
	var said syncBuffer
	l.log = slog.New(slog.NewJSONHandler(&said, nil))
	before := l.change()
	l.rollout(before, "staging", nil, delivery.Queued, delivery.Cancelled) // before anybody listened
	_, stop := l.run()
	change := l.change()
	l.rollout(change, "staging", nil, delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Finishing, delivery.Soaking, delivery.Done)
	until(t, "the first rollout was told", func() bool { all, _, _ := c.all(); return len(all) > 0 })
	all, calls, err := c.all()
	if err != nil || calls != 2 {
		t.Errorf("%d calls (%v), want one that is refused and one that is taken", calls, err)
	}
	if i := slices.IndexFunc(all, func(s otlptest.Span) bool { return s.Parent == "" }); i >= 0 {
		t.Errorf("the change is told before it is over: %+v", all[i])
	}
	until(t, "the moves of the first rollout are in the log", func() bool { return strings.Count(said.String(), `"rollout moved"`) == 8 })
	l.told()
	stop()
	word := &delivery.Verdict{Outcome: delivery.Fail, Sentence: "worse", Evidence: 120, Limit: 100, Seconds: 9, At: time.Now()}
	l.rollout(change, "prod", word, delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Reverting, delivery.Reverted)
	_, stop = l.run() // what happened without it is told now
	until(t, "the change was told", func() bool {
		all, _, _ = c.all()
		return slices.ContainsFunc(all, func(s otlptest.Span) bool { return s.Parent == "" })
	})
	l.told()
	stop()
	_, stop = l.run()
	l.rollout(l.change(), "staging", nil, delivery.Queued, delivery.Cancelled)
	until(t, "the next change was told", func() bool {
		all, _, _ = c.all()
		return slices.ContainsFunc(all, func(s otlptest.Span) bool { return s.Name == "RUN harbor" && s.Attrs["cicd.pipeline.run.id"] == "3" })
	})
	stop()
	wantTrace(t, all, change)
	wantLog(t, said.String(), all)
}

// syncBuffer is a log that is read while others may write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// wantLog wants lines of moves under the ID of the trace that was sent.
func wantLog(t *testing.T, log string, all []otlptest.Span) {
	t.Helper()
	traces := map[string]bool{}
	for _, s := range all {
		traces[s.Trace] = true
	}
	moves := 0
	for line := range strings.Lines(log) {
		var m struct {
			Msg, State, From, Rollout string
			Trace                     string `json:"trace_id"`
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if m.Msg != "rollout moved" {
			continue
		}
		if moves++; !traces[m.Trace] || m.State == "" || m.State == m.From || m.Rollout == "" {
			t.Errorf("the log has %s, under no trace that was sent", line)
		}
	}
	if moves < 8 {
		t.Errorf("the log has %d moves, want at least those of the first rollout:\n%s", moves, log)
	}
}

// wantTrace checks the trace of the change that failed in prod.
func wantTrace(t *testing.T, all []otlptest.Span, change delivery.Change) {
	t.Helper()
	byID, names := map[string]otlptest.Span{}, map[string]int{}
	var trace string
	for _, s := range all {
		if s.Attrs["cicd.pipeline.run.id"] == fmt.Sprint(change.ID) {
			trace = s.Trace
		}
		if _, twice := byID[s.ID]; twice {
			t.Errorf("span %s came twice", s.Name)
		}
		byID[s.ID] = s
		if s.Attrs["cicd.pipeline.run.id"] == "1" {
			t.Errorf("a change from before anybody listened was told")
		}
	}
	roots := 0
	for _, s := range byID {
		if s.Trace != trace {
			continue
		}
		names[s.Name]++
		if s.End < s.Start {
			t.Errorf("%s ends before it begins", s.Name)
		}
		if s.Parent == "" {
			roots++
			if s.Status != 2 || s.Kind != 2 || s.Attrs["cicd.pipeline.result"] != "failure" || s.Attrs["vcs.ref.head.revision"] != "abc" {
				t.Errorf("the change is told as %+v", s)
			}
		} else if _, ok := byID[s.Parent]; !ok {
			t.Errorf("%s hangs below nothing", s.Name)
		}
	}
	want := map[string]int{
		"RUN harbor": 1, "rollout shop to staging": 1, "rollout shop to prod": 1, "queue": 2, "prepare": 2, "start": 2, "step 1": 2,
		"finish": 1, "soak": 1, "revert": 1, "verdict fail": 1,
	}
	if roots != 1 || fmt.Sprint(names) != fmt.Sprint(want) {
		t.Errorf("%d roots; spans %v, want %v", roots, names, want)
	}
}

// A test of a step is a span of its own, from the line that waits for it to the
// next.
func TestTraceOfTest(t *testing.T) {
	at := func(i int, state delivery.State, data string) delivery.Event {
		return delivery.Event{Seq: int64(i), Kind: delivery.EventMoved, At: time.Unix(int64(i), 0), State: state, Data: []byte(data)}
	}
	s := story{
		rollout: delivery.Rollout{ID: "1/prod", State: delivery.Reverted, Cause: delivery.Cause{Kind: delivery.CauseTest, Text: "exit status 1"}, Ended: time.Unix(9, 0)},
		lines: []delivery.Event{
			at(1, delivery.Starting, `{}`), at(2, delivery.Waiting, `{"waiting_on":{"on":"test"}}`), at(3, delivery.Waiting, `{"waiting_on":{"on":"test"}}`),
			at(5, delivery.Reverting, `{"waiting_on":{"on":"data plane"}}`), at(9, delivery.Reverted, "torn"),
		},
	}
	var names []string
	for _, x := range s.spans() {
		names = append(names, x.Name)
		if x.Name == "test" && (!x.Failed || x.Why != "exit status 1" || x.Start.Unix() != 2 || x.End.Unix() != 5) {
			t.Errorf("the test is told as %+v", x)
		}
	}
	if got := strings.Join(names, ", "); got != "rollout  to , start, test, step 1, revert" {
		t.Errorf("spans are %s", got)
	}
}

// A collector that refuses for good loses a trace and stops nothing; without one
// nothing is sent.
func TestNoCollector(t *testing.T) {
	c := newCollector(t, http.StatusBadRequest)
	l := newLedger(t, c.URL)
	x, _ := l.run()
	l.rollout(l.change(), "staging", nil, delivery.Queued, delivery.Cancelled)
	l.rollout(l.change(), "staging", nil, delivery.Queued, delivery.Cancelled)
	until(t, "the second was told", func() bool { all, calls, _ := c.all(); return calls == 2 && len(all) > 0 })
	if x.spans.Dropped() == 0 {
		t.Error("nothing is counted as dropped")
	}
	quietOne := newLedger(t, "")
	_, stop := quietOne.run()
	quietOne.rollout(quietOne.change(), "staging", nil, delivery.Queued, delivery.Cancelled)
	until(t, "the line is behind us", func() bool {
		n, err := readMark(filepath.Join(quietOne.dir, "traces.mark"))
		return err == nil && n >= 4
	})
	stop()
	if err := os.WriteFile(filepath.Join(quietOne.dir, "traces.mark"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stop = quietOne.run()
	quietOne.change()
	until(t, "the mark is mended", func() bool {
		n, err := readMark(filepath.Join(quietOne.dir, "traces.mark"))
		return err == nil && n == 5
	})
	stop()
}

// vitals with something of everything, names that are none among it.
func strange() control.Vitals {
	now := time.Now()
	r := delivery.Rollout{
		ID: "7/prod", Change: 7, Service: `sh"op\`, Env: "prod", Version: "v\n2", State: delivery.Judging, Created: now.Add(-time.Minute), Entered: now.Add(-time.Second),
		Plan:    delivery.Plan{Steps: []delivery.Step{{Weight: 2500}}},
		Waiting: &delivery.Blocker{On: "not enough data", Since: now.Add(time.Hour)}, // a clock that was set back
	}
	early := delivery.Rollout{ID: "8/prod", Change: 8, Service: "cart", Env: "prod", Version: "v1", State: delivery.Queued, Created: now}
	v := control.Vitals{
		Verdicts:  map[delivery.RolloutID]delivery.Verdict{"7/prod": {Evidence: math.Inf(1), Limit: 100}, "1/prod": {Evidence: 7}},
		DataPlane: true, Open: []delivery.Rollout{r, early},
		Holds: []delivery.Hold{{Kind: delivery.Pinned, Service: "cart"}, {Kind: delivery.Quarantine, Service: "cart"}, {Kind: delivery.Quarantine, Service: "cart"}},
		Board: delivery.Board{Deployable: 1, Trouble: []string{"x"}, Services: []delivery.Row{
			{Service: "cart", Now: true, Cells: []delivery.Cell{{Env: "prod", Release: "r1", Version: "v1", Want: 2, Healthy: 1}, {Env: "staging"}}},
		}},
		Instances: []workload.Status{
			{Spec: workload.Spec{Service: "cart", Env: "prod", Release: "r1", Version: "v1"}, Phase: workload.Ready, Restarts: 2},
			{Spec: workload.Spec{Service: "cart", Env: "prod", Release: "r1", Version: "v1"}, Phase: workload.Backoff, Restarts: 3},
			{Spec: workload.Spec{Service: "cart", Env: "prod", Release: "r0", Version: "v0"}, Phase: workload.Stopped, Restarts: 9},
		},
	}
	v.Passes.Took.Add(int64(time.Millisecond))
	return v
}

func TestMetrics(t *testing.T) {
	x := New(Deps{Log: quiet, Version: "v1"})
	doc := []byte(`{"verdict":{"outcome":"fail"},"cause":{"kind":"verdict"}}`)
	for _, e := range []delivery.Event{
		{Kind: delivery.EventMoved, Service: "cart", Env: "prod", State: delivery.Reverting, Data: doc},
		{Kind: delivery.EventMoved, Service: "cart", Env: "prod", State: delivery.Reverted, Data: []byte(`{"cause":{"kind":"verdict"}}`)},
		{Kind: delivery.EventAsked, Data: []byte("no JSON")},
	} {
		x.tally.take(t.Context(), e)
	}
	text := x.text(strange(), time.Now())
	m := metricstest.Parse(t, string(text))
	for series, want := range map[string]float64{
		`slipway_control_data_plane_up`:                        1,
		`slipway_control_troubles`:                             1,
		`slipway_control_pass_duration_seconds_count`:          1,
		`slipway_services_deployable`:                          1,
		`slipway_service_deployable{service="cart"}`:           1,
		`slipway_instances_wanted{service="cart",env="prod"}`:  2,
		`slipway_instances_healthy{service="cart",env="prod"}`: 1,
		`slipway_holds{service="cart",kind="quarantine"}`:      2,
		`slipway_rollouts{state="judging"}`:                    1,
		`slipway_rollouts{state="soaking"}`:                    0,
		`slipway_rollout_weight_ratio{service="sh\"op\\",env="prod",change="7",version="v\n2",state="judging"}`:         0.25,
		`slipway_rollout_evidence{service="sh\"op\\",env="prod",change="7",version="v\n2",state="judging"}`:             math.Inf(1),
		`slipway_rollout_waiting_seconds{service="sh\"op\\",env="prod",change="7",version="v\n2",on="not enough data"}`: 0,
		`slipway_instances{service="cart",env="prod",release="r1",version="v1",phase="ready"}`:                          1,
		`slipway_instances_restarts{service="cart",env="prod",release="r1",version="v1"}`:                               5,
		`slipway_ledger_lines_total{kind="moved"}`:                                                                      2,
		`slipway_verdicts_total{service="cart",env="prod",outcome="fail"}`:                                              1,
		`slipway_rollouts_ended_total{service="cart",env="prod",state="reverted",cause="verdict"}`:                      1,
	} {
		if got, ok := m[series]; !ok || got != want {
			t.Errorf("%s = %v, %v; want %v", series, got, ok, want)
		}
	}
	if n := strings.Count(string(text), "\nslipway_rollout_evidence{"); n != 1 {
		t.Errorf("%d rollouts have evidence, and one was judged", n)
	}
	if again := x.text(strange(), time.Now()); len(m) != len(metricstest.Parse(t, string(again))) {
		t.Error("the same numbers make another page")
	}
	promtool(t, text, "check", "metrics")
}

// What is exported is on the page, and the page names nothing that is not.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllSubmatch(New(Deps{Log: quiet}).text(strange(), time.Now()), -1) {
		families[string(m[1])] = true
		if !bytes.Contains(page, []byte("`"+string(m[1])+"`")) {
			t.Errorf("%s is not in docs/observability.md", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`(slipway_[a-z_]+)`").FindAllSubmatch(page, -1) {
		if !families[string(m[1])] {
			t.Errorf("docs/observability.md names %s, which is not there", m[1])
		}
	}
}

// promtool judges what it is given.
func promtool(t *testing.T, in []byte, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 && strings.Contains(string(out), "error") {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
