package telemetry

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/metrics"
	"github.com/slipway-cd/slipway/internal/workload"
)

// tally counts lines of the ledger since the server was started. Labels are
// bounded by the project: its services and environments.
type tally struct {
	mu       sync.Mutex
	lines    map[delivery.EventKind]uint64 // guarded by mu
	ended    map[end]uint64                // guarded by mu
	verdicts map[said]uint64               // guarded by mu
}

type end struct {
	service, env string
	state        delivery.State
	cause        delivery.CauseKind
}

type said struct {
	service, env string
	outcome      delivery.Outcome
}

// take counts one line.
func (t *tally) take(_ context.Context, e delivery.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil {
		t.lines, t.ended, t.verdicts = map[delivery.EventKind]uint64{}, map[end]uint64{}, map[said]uint64{}
	}
	t.lines[e.Kind]++
	if e.Kind != delivery.EventMoved {
		return
	}
	var m struct {
		Verdict *delivery.Verdict `json:"verdict"`
		Cause   *delivery.Cause   `json:"cause"`
	}
	_ = json.Unmarshal(e.Data, &m) // a line without data has neither
	if m.Verdict != nil {
		t.verdicts[said{e.Service, e.Env, m.Verdict.Outcome}]++
	}
	if e.State.Final() {
		k := end{service: e.Service, env: e.Env, state: e.State}
		if m.Cause != nil {
			k.cause = m.Cause.Kind
		}
		t.ended[k]++
	}
}

// ServeHTTP answers with all numbers in the text format of Prometheus.
func (t *Telemetry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v, err := t.d.Loop.Vitals(r.Context())
	if err != nil {
		t.d.Log.WarnContext(r.Context(), "metrics could not be read", slog.Any("error", err))
		http.Error(w, "the store could not be read; the log of the server says why", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", metrics.ContentType)
	_, _ = w.Write(t.text(v, time.Now())) // a scraper that is gone asks again
}

// page is an exposition under way.
type page struct {
	metrics.Text
	vitals control.Vitals
	now    time.Time
}

func (t *Telemetry) text(v control.Vitals, now time.Time) []byte {
	p := page{vitals: v, now: now}
	p.one("slipway_control_build_info", "The control plane's version; always 1.", 1, "version", t.d.Version, "go_version", runtime.Version())
	p.one("slipway_control_start_time_seconds", "When the control plane was started, as Unix time.", float64(t.started.UnixMilli())/1e3)
	p.one("slipway_control_data_plane_up", "1 when the data plane answered the last look at it.", truth(v.DataPlane))
	p.one("slipway_control_troubles", "What is wrong with the system as a whole, as slipway status says it.", float64(len(v.Board.Trouble)))
	p.work("slipway_control_pass", "Looks of the control loop at everything", v.Passes)
	p.work("slipway_control_write", "Writes into the store and its ledger", v.Writes)
	p.services()
	p.rollouts()
	p.instances()
	p.numbers()
	t.tally.write(&p)
	p.begin("slipway_control_exported_spans_total", metrics.Counter, "Spans of changes that the collector took.")
	p.Count(nil, t.spans.Sent())
	p.begin("slipway_control_dropped_spans_total", metrics.Counter, "Spans of changes that the collector refused.")
	p.Count(nil, t.spans.Dropped())
	p.begin("slipway_control_exported_log_records_total", metrics.Counter, "Lines of the log that the collector took.")
	p.Count(nil, t.d.Records.Sent())
	p.begin("slipway_control_dropped_log_records_total", metrics.Counter, "Lines of the log that did not reach the collector; the log itself has them.")
	p.Count(nil, t.d.Records.Dropped())
	return p.Bytes()
}

func (p *page) begin(name string, kind metrics.Kind, help string) {
	p.Begin(metrics.Family{Name: name, Kind: kind, Help: help})
}

// one writes a family with one series.
func (p *page) one(name, help string, v float64, pairs ...string) {
	p.begin(name, metrics.Gauge, help)
	p.Value(labels(pairs...), v)
}

// work writes how long something took and how often it failed.
func (p *page) work(name, help string, w control.Work) {
	p.begin(name+"_duration_seconds", metrics.Histogram, help+", by how long they took.")
	p.Times(nil, &w.Took)
	p.begin(name+"_failures_total", metrics.Counter, help+" that failed.")
	p.Count(nil, w.Failed)
}

func (p *page) numbers() {
	size := p.vitals.Numbers
	p.one("slipway_numbers_series", "Series of services, workloads and logs that are kept.", float64(size.Series))
	p.one("slipway_numbers_series_limit", "Series that can be kept.", float64(size.Most))
	p.one("slipway_numbers_bytes", "What is kept of them by second and by minute.", float64(size.Bytes))
	p.begin("slipway_numbers_refused_total", metrics.Counter, "Samples that were not kept, by the reason.")
	for _, r := range p.vitals.Refused {
		p.Count(labels("service", r.Service, "name", r.Name, "reason", r.Why), r.Samples)
	}
}

func (p *page) services() {
	b := &p.vitals.Board
	p.one("slipway_services", "Services of the project.", float64(len(b.Services)))
	p.one("slipway_services_deployable", "Services of which a change can go out right now.", float64(b.Deployable))
	p.begin("slipway_service_deployable", metrics.Gauge, "1 when a change of the service can go out right now.")
	for _, s := range b.Services {
		p.Value(labels("service", s.Service), truth(s.Now))
	}
	p.begin("slipway_release_info", metrics.Gauge, "What is stable in an environment; always 1.")
	p.cells(func(s string, c delivery.Cell) {
		p.Value(labels("service", s, "env", c.Env, "release", string(c.Release), "version", c.Version), 1)
	})
	p.begin("slipway_instances_wanted", metrics.Gauge, "Instances that the stable release shall have.")
	p.cells(func(s string, c delivery.Cell) { p.Value(labels("service", s, "env", c.Env), float64(c.Want)) })
	p.begin("slipway_instances_healthy", metrics.Gauge, "Instances of the stable release that are ready.")
	p.cells(func(s string, c delivery.Cell) { p.Value(labels("service", s, "env", c.Env), float64(c.Healthy)) })
	p.begin("slipway_holds", metrics.Gauge, "Holds in force: pins of an environment, and releases that are quarantined.")
	type held struct{ service, kind string }
	n := map[held]int{}
	for _, h := range p.vitals.Holds {
		n[held{h.Service, string(h.Kind)}]++
	}
	for _, h := range slices.SortedFunc(maps.Keys(n), func(a, b held) int { return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.kind, b.kind)) }) {
		p.Value(labels("service", h.service, "kind", h.kind), float64(n[h]))
	}
}

// cells goes through every service and environment in which something runs.
func (p *page) cells(each func(service string, c delivery.Cell)) {
	for _, s := range p.vitals.Board.Services {
		for _, c := range s.Cells {
			if c.Version != "" {
				each(s.Service, c)
			}
		}
	}
}

// rollouts writes what is under way. A rollout's own series end with it.
func (p *page) rollouts() {
	p.begin("slipway_rollouts", metrics.Gauge, "Rollouts that are not over, by where they stand.")
	n := map[delivery.State]int{}
	for _, r := range p.vitals.Open {
		n[r.State]++
	}
	for _, s := range delivery.States() {
		if !s.Final() {
			p.Value(labels("state", string(s)), float64(n[s]))
		}
	}
	for _, f := range []struct {
		name, help string
		of         func(r *delivery.Rollout) float64
	}{
		{"slipway_rollout_weight_ratio", "Share of the traffic that a rollout's step gives to its release.", weightOf},
		{"slipway_rollout_age_seconds", "Since when a rollout is under way.", func(r *delivery.Rollout) float64 { return seconds(p.now, r.Created) }},
		{"slipway_rollout_state_seconds", "Since when a rollout is in its state.", func(r *delivery.Rollout) float64 { return seconds(p.now, r.Entered) }},
		{"slipway_rollout_paused", "1 when a person paused the rollout.", func(r *delivery.Rollout) float64 { return truth(r.Paused != nil) }},
		{"slipway_rollout_evidence", "Evidence against a rollout's release; 1 is none.", func(r *delivery.Rollout) float64 {
			if v, ok := p.vitals.Verdicts[r.ID]; ok {
				return v.Evidence
			}
			return math.NaN()
		}},
		{"slipway_rollout_evidence_limit", "Evidence at which a release is taken back.", func(r *delivery.Rollout) float64 {
			if v, ok := p.vitals.Verdicts[r.ID]; ok {
				return v.Limit
			}
			return math.NaN()
		}},
	} {
		p.begin(f.name, metrics.Gauge, f.help)
		for i := range p.vitals.Open {
			r := &p.vitals.Open[i]
			if v := f.of(r); !math.IsNaN(v) {
				p.Value(labels("service", r.Service, "env", r.Env, "change", strconv.FormatInt(int64(r.Change), 10), "version", r.Version, "state", string(r.State)), v)
			}
		}
	}
	p.begin("slipway_rollout_waiting_seconds", metrics.Gauge, "Since when a rollout waits, and for what.")
	for i := range p.vitals.Open {
		if r := &p.vitals.Open[i]; r.Waiting != nil {
			p.Value(labels("service", r.Service, "env", r.Env, "change", strconv.FormatInt(int64(r.Change), 10), "version", r.Version, "on", r.Waiting.On), seconds(p.now, r.Waiting.Since))
		}
	}
}

func weightOf(r *delivery.Rollout) float64 {
	switch step, ok := r.At(); {
	case !ok || r.State == delivery.Queued || r.State == delivery.Preparing || r.State == delivery.Starting || r.State == delivery.Reverting:
		return 0
	case r.State == delivery.Finishing || r.State == delivery.Soaking:
		return 1
	default:
		return float64(step.Weight) / float64(delivery.Full)
	}
}

// instances writes what runs, release by release.
func (p *page) instances() {
	type group struct {
		service, env string
		release      delivery.ReleaseID
		version      string
		phase        workload.Phase
	}
	n, restarts := map[group]int{}, map[group]int{}
	for i := range p.vitals.Instances {
		s := &p.vitals.Instances[i]
		g := group{s.Spec.Service, s.Spec.Env, s.Spec.Release, s.Spec.Version, s.Phase}
		if s.Phase == workload.Stopped {
			continue
		}
		n[g]++
		g.phase = ""
		restarts[g] += s.Restarts
	}
	for _, f := range []struct {
		name, help string
		of         map[group]int
	}{
		{"slipway_instances", "Instances by release and by how they do.", n},
		{"slipway_instances_restarts", "How often instances that run exited by themselves, of a release; it falls when an instance leaves.", restarts},
	} {
		p.begin(f.name, metrics.Gauge, f.help)
		for _, g := range slices.SortedFunc(maps.Keys(f.of), func(a, b group) int {
			return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.env, b.env), cmp.Compare(a.release, b.release), cmp.Compare(a.version, b.version), cmp.Compare(a.phase, b.phase))
		}) {
			p.Value(labels("service", g.service, "env", g.env, "release", string(g.release), "version", g.version, "phase", string(g.phase)), float64(f.of[g]))
		}
	}
}

// write writes what was counted.
func (t *tally) write(p *page) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.begin("slipway_ledger_lines_total", metrics.Counter, "Lines written into the ledger, by kind.")
	for _, k := range slices.Sorted(maps.Keys(t.lines)) {
		p.Count(labels("kind", string(k)), t.lines[k])
	}
	p.begin("slipway_rollouts_ended_total", metrics.Counter, "Rollouts that are over, by how they ended and what sent them back.")
	for _, k := range slices.SortedFunc(maps.Keys(t.ended), func(a, b end) int {
		return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.env, b.env), cmp.Compare(a.state, b.state), cmp.Compare(a.cause, b.cause))
	}) {
		p.Count(labels("service", k.service, "env", k.env, "state", string(k.state), "cause", string(k.cause)), t.ended[k])
	}
	p.begin("slipway_verdicts_total", metrics.Counter, "Verdicts that the ledger has: one whenever a rollout moved, by what it said.")
	for _, k := range slices.SortedFunc(maps.Keys(t.verdicts), func(a, b said) int {
		return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.env, b.env), cmp.Compare(a.outcome, b.outcome))
	}) {
		p.Count(labels("service", k.service, "env", k.env, "outcome", string(k.outcome)), t.verdicts[k])
	}
}

func labels(pairs ...string) []metrics.Label {
	out := make([]metrics.Label, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, metrics.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(now, since time.Time) float64 {
	if since.IsZero() {
		return 0
	}
	return max(now.Sub(since).Seconds(), 0)
}
