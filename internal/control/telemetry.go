package control

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/scrape"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Telemetry is where instances and the data plane send what they tell of
// themselves. The zero value is nowhere.
type Telemetry struct {
	Vars   func(workload.ID) map[string]string // what an SDK in the instance finds the receiver by; what its configuration sets stays
	Spans  string                              // base URL for the data plane's spans, unless the project names another
	Failed func([]traffic.Sample)              // hears of each failed request; it must not wait
	Heard  func() (addr string, err error)     // where the receiver listens, and why it cannot; nil is not known
	Pages  func() []scrape.State               // what is known of the pages that instances show their metrics on; nil is nothing
}

// rolloutShare is the part of the traces begun by the data plane that are sampled
// while any release is being rolled out, when Slipway itself takes them.
const rolloutShare = delivery.Full / 10

// telling adds to an instance's environment how it tells of itself. A service that
// sends somewhere else already goes on doing so.
func (l *Loop) telling(id workload.ID, vars map[string]string) map[string]string {
	if l.d.Telemetry.Vars == nil || slices.ContainsFunc([]string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"}, func(name string) bool {
		_, set := vars[name]
		return set
	}) {
		return vars
	}
	for name, value := range l.d.Telemetry.Vars(id) {
		unless(vars, name, value)
	}
	return vars
}

// headersVar holds a token.
const headersVar = "OTEL_EXPORTER_OTLP_HEADERS"

// withoutToken is an instance as it is shown: without the token by which it is known.
func withoutToken(s workload.Status) workload.Status {
	if _, there := s.Spec.Vars[headersVar]; there {
		s.Spec.Vars = maps.Clone(s.Spec.Vars)
		s.Spec.Vars[headersVar] = "(a token)"
	}
	return s
}

// traced makes a data plane that sends its spans nowhere send them here: a small
// share, more of them while a release is being rolled out, and those of failed
// requests.
func (l *Loop) traced(v *view, t *traffic.Table) {
	if t.Plane.OTLP != "" || l.d.Telemetry.Spans == "" {
		return
	}
	t.Plane.OTLP, t.Failures = l.d.Telemetry.Spans, true
	if t.Plane.OTLPShare == 0 && slices.ContainsFunc(v.open, func(r delivery.Rollout) bool { return r.State.Active() }) {
		t.Plane.OTLPShare = rolloutShare
	}
}

// TelemetryPort is the loopback port at which instances reach the receiver, for
// ever: they keep the address they were given.
func TelemetryPort(ctx context.Context, s *store.Store) (port int, err error) {
	err = s.Write(ctx, func(tx *store.Tx) error {
		port, err = tx.Allot("telemetry", func(taken map[int]bool) (int, error) {
			port, claim, err := freePort(taken)
			claim.Drop() // this process listens there next
			return port, err
		})
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("control: telemetry port: %w", err)
	}
	return port, nil
}

// Targets lists the instances that are ready and the pages they show their metrics on.
func (l *Loop) Targets() []scrape.Target {
	l.mu.Lock()
	seen := l.live
	l.mu.Unlock()
	rolled := map[string]bool{}
	for _, r := range seen.world.Open {
		if r.State.Active() {
			rolled[routeName(r.Env, r.Service)] = true
		}
	}
	var out []scrape.Target
	for _, s := range seen.statuses {
		svc, ok := seen.world.Project.Service(s.Spec.Service)
		if !ok || s.Phase != workload.Ready || s.Addr == "" {
			continue
		}
		named := svc.Metrics.Path != "" || svc.Metrics.Port != 0
		if svc.Metrics.Off || !named && s.Spec.Run.Protocol != delivery.HTTP1 {
			continue
		}
		addr := s.Addr
		if svc.Metrics.Port != 0 {
			host, _, err := net.SplitHostPort(s.Addr)
			if err != nil {
				continue
			}
			addr = net.JoinHostPort(host, strconv.Itoa(svc.Metrics.Port))
		}
		t := scrape.Target{Series: seriesOf(s.Spec, delivery.FromService), URL: "http://" + addr + cmp.Or(svc.Metrics.Path, "/metrics"), Every: scrape.Normal, Guess: !named}
		if rolled[routeName(s.Spec.Env, s.Spec.Service)] {
			t.Every = scrape.Close
		}
		out = append(out, t)
	}
	return out
}

func seriesOf(s workload.Spec, from delivery.MetricSource) metric.Series {
	return metric.Series{From: from, Service: s.Service, Env: s.Env, Release: s.Release, Instance: string(s.ID)}
}

// meterEvery is how often what instances take is told.
const meterEvery = time.Second

// Meter tells sink what every instance takes and how often it exited by itself,
// once a second until ctx ends.
func (l *Loop) Meter(ctx context.Context, sink metric.Sink) error {
	tick := time.NewTicker(meterEvery)
	defer tick.Stop()
	told := map[workload.ID]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			l.mu.Lock()
			statuses := l.live.statuses
			l.mu.Unlock()
			if samples := usage(statuses, told, now); len(samples) > 0 {
				sink.Add(samples) // what was refused, the sink itself tells
			}
		}
	}
}

// usage makes samples of what instances take. A measurement that was told is not
// told again.
func usage(statuses []workload.Status, told map[workload.ID]time.Time, now time.Time) []metric.Sample {
	var out []metric.Sample
	here := map[workload.ID]bool{}
	for _, s := range statuses {
		if s.Phase == workload.Stopped {
			continue
		}
		here[s.Spec.ID] = true
		of := seriesOf(s.Spec, delivery.FromWorkload)
		out = append(out, metric.Sample{Series: of.Named(delivery.MetricRestarts, nil), Kind: metric.Counter, At: now, Value: float64(s.Restarts)})
		if u := s.Usage; u.At.After(told[s.Spec.ID]) {
			told[s.Spec.ID] = u.At
			out = append(out,
				metric.Sample{Series: of.Named(metricCPU, nil), Kind: metric.Counter, At: u.At, Since: s.Started, Value: u.CPU.Seconds()},
				metric.Sample{Series: of.Named(delivery.MetricMemory, nil), Kind: metric.Gauge, At: u.At, Value: float64(u.Memory)})
		}
	}
	maps.DeleteFunc(told, func(id workload.ID, _ time.Time) bool { return !here[id] })
	return out
}
