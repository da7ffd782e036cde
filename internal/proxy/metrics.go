package proxy

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/metrics"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// refusals counts requests that got our own answer before a release was chosen.
type refusals struct {
	mu sync.Mutex
	by map[refusal]uint64 // guarded by mu
}

// refusal is bounded: listeners are of the table, codes of this package.
type refusal struct{ listener, code string }

func (r *refusals) add(listener, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[refusal]uint64{}
	}
	r.by[refusal{listener, code}]++
}

func (r *refusals) all() map[refusal]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.by)
}

// of counts those of one listener by code, or returns nil.
func (r *refusals) of(listener string) map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var by map[string]uint64
	for k, n := range r.by {
		if k.listener != listener {
			continue
		}
		if by == nil {
			by = map[string]uint64{}
		}
		by[k.code] = n
	}
	return by
}

// metrics answers with everything that is counted, for Prometheus. Series are
// bounded by the table: by its routes, releases, edges, listeners and endpoints.
func (e *engine) metrics(w http.ResponseWriter, _ *http.Request) {
	var x metrics.Text
	e.metricsOfPlane(&x)
	e.metricsOfRequests(&x)
	e.metricsOfEndpoints(&x)
	e.metricsOfWaits(&x)
	w.Header().Set("Content-Type", metrics.ContentType)
	_, _ = w.Write(x.Bytes())
}

func (e *engine) metricsOfPlane(x *metrics.Text) {
	x.Begin(metrics.Family{Name: "slipway_build_info", Kind: metrics.Gauge, Help: "The data plane's version; always 1."})
	x.Count([]metrics.Label{{Name: "version", Value: e.version}, {Name: "go_version", Value: runtime.Version()}}, 1)
	x.Begin(metrics.Family{Name: "slipway_start_time_seconds", Kind: metrics.Gauge, Help: "When the data plane was started, as Unix time."})
	x.Value(nil, float64(e.started.UnixMilli())/1e3)
	x.Begin(metrics.Family{Name: "slipway_table_generation", Kind: metrics.Gauge, Help: "Generation of the route table in force."})
	x.Count(nil, uint64(e.table.Load().spec.Generation))
	x.Begin(metrics.Family{Name: "slipway_refused_requests_total", Kind: metrics.Counter, Help: "Requests that were refused before a release was chosen for them."})
	all := e.refusals.all()
	for _, r := range slices.SortedFunc(maps.Keys(all), func(a, b refusal) int {
		return strings.Compare(a.listener+" "+a.code, b.listener+" "+b.code)
	}) {
		x.Count([]metrics.Label{{Name: "listener", Value: r.listener}, {Name: "code", Value: r.code}}, all[r])
	}
	x.Begin(metrics.Family{Name: "slipway_listener_connections", Kind: metrics.Gauge, Help: "Open connections of callers."})
	for _, l := range e.table.Load().spec.Listeners {
		e.mu.Lock()
		f := e.fronts[l.Addr]
		e.mu.Unlock()
		if f != nil {
			x.Count([]metrics.Label{{Name: "listener", Value: l.Name}, {Name: "env", Value: l.Env}}, uint64(f.door.Stats().Open))
		}
	}
	x.Begin(metrics.Family{Name: "slipway_forgotten_callers_total", Kind: metrics.Counter, Help: "Callers in trouble that there was no room to remember, so that each of their failures counts against a release."})
	x.Count(nil, e.counts.lost.Load())
	x.Begin(metrics.Family{Name: "slipway_access_log_lines_total", Kind: metrics.Counter, Help: "Lines of the access log that were written."})
	x.Count(nil, e.access.Written())
	x.Begin(metrics.Family{Name: "slipway_access_log_dropped_lines_total", Kind: metrics.Counter, Help: "Lines of the access log that were lost, since the disk was slower."})
	x.Count(nil, e.access.Dropped())
	x.Begin(metrics.Family{Name: "slipway_exported_spans_total", Kind: metrics.Counter, Help: "Spans that the collector took."})
	x.Count(nil, e.spans.Sent())
	x.Begin(metrics.Family{Name: "slipway_dropped_spans_total", Kind: metrics.Counter, Help: "Spans that were lost, since the collector was slower or refused them."})
	x.Count(nil, e.spans.Dropped())
	x.Begin(metrics.Family{Name: "slipway_exported_log_records_total", Kind: metrics.Counter, Help: "Lines of the log that the collector took."})
	x.Count(nil, e.records.Sent())
	x.Begin(metrics.Family{Name: "slipway_dropped_log_records_total", Kind: metrics.Counter, Help: "Lines of the log that did not reach the collector; the log itself has them."})
	x.Count(nil, e.records.Dropped())
}

// sums is one series with its labels.
type sums struct {
	labels []metrics.Label
	traffic.Block
	times metrics.Times
}

func (e *engine) metricsOfRequests(x *metrics.Text) {
	series := e.counts.all()
	all := make([]sums, 0, len(series))
	for _, s := range series {
		var one sums
		var of about
		one.Block, one.times, of = s.sums()
		if strings.HasPrefix(s.key.caller, traffic.ArmCaller) {
			continue // the same requests once more
		}
		if strings.HasPrefix(s.key.caller, "(") && one.Requests == 0 && one.Dropped == 0 {
			continue // most releases are never previewed, copied to or aimed at
		}
		one.labels = slices.Clip([]metrics.Label{
			{Name: "route", Value: s.key.route},
			{Name: "service", Value: of.service},
			{Name: "env", Value: of.env},
			{Name: "release", Value: string(s.key.release)},
			{Name: "version", Value: of.version},
			{Name: "caller", Value: s.key.caller},
		})
		all = append(all, one)
	}
	x.Begin(metrics.Family{Name: "slipway_requests_total", Kind: metrics.Counter, Help: "Requests that ended, by how: ok is 1xx to 3xx, client 4xx, server 5xx, shed found every instance full; the others got no whole answer from one."})
	for i := range all {
		for c, name := range classes {
			x.Count(append(all[i].labels, metrics.Label{Name: "class", Value: name}), *class(c).of(&all[i].Block))
		}
	}
	for _, f := range []struct {
		metrics.Family
		of func(*traffic.Block) uint64
	}{
		{metrics.Family{Name: "slipway_requests_in_flight", Kind: metrics.Gauge, Help: "Requests that have not ended."}, func(b *traffic.Block) uint64 { return b.Unfinished }},
		{metrics.Family{Name: "slipway_retries_total", Kind: metrics.Counter, Help: "Attempts beyond the first of a request."}, func(b *traffic.Block) uint64 { return b.Retries }},
		{metrics.Family{Name: "slipway_request_bytes_total", Kind: metrics.Counter, Help: "Bytes of request bodies."}, func(b *traffic.Block) uint64 { return b.BytesIn }},
		{metrics.Family{Name: "slipway_response_bytes_total", Kind: metrics.Counter, Help: "Bytes of the bodies of answers."}, func(b *traffic.Block) uint64 { return b.BytesOut }},
		{metrics.Family{Name: "slipway_dropped_copies_total", Kind: metrics.Counter, Help: "Copies of requests that were to be sent to the release and were not, since they were too many or too long."}, func(b *traffic.Block) uint64 { return b.Dropped }},
	} {
		x.Begin(f.Family)
		for i := range all {
			x.Count(all[i].labels, f.of(&all[i].Block))
		}
	}
	x.Begin(metrics.Family{Name: "slipway_request_duration_seconds", Kind: metrics.Histogram, Help: "From the arrival of a request to the head of its answer, for those that the chosen release answered."})
	for i := range all {
		x.Times(all[i].labels, &all[i].times)
	}
}

// seen is one endpoint with its labels.
type seen struct {
	labels  []metrics.Label
	healthy bool
	flying  int
	conns   int
}

func (e *engine) metricsOfEndpoints(x *metrics.Text) {
	now, t := time.Now(), e.table.Load()
	var all []seen
	for i := range t.spec.Routes {
		r := t.routes[t.spec.Routes[i].Name]
		for _, p := range r.pools {
			for _, ep := range p.endpoints {
				all = append(all, seen{
					labels: []metrics.Label{
						{Name: "route", Value: r.spec.Name},
						{Name: "service", Value: r.spec.Service},
						{Name: "env", Value: r.spec.Env},
						{Name: "release", Value: string(p.spec.Release)},
						{Name: "version", Value: p.spec.Version},
						{Name: "endpoint", Value: ep.id},
						{Name: "address", Value: ep.addr},
					},
					healthy: ep.healthy(now), flying: ep.inFlight(), conns: ep.connections(),
				})
			}
		}
	}
	for _, f := range []struct {
		metrics.Family
		of func(*seen) float64
	}{
		{metrics.Family{Name: "slipway_endpoint_healthy", Kind: metrics.Gauge, Help: "1 when the instance passes its check and is not ejected."}, func(s *seen) float64 {
			if s.healthy {
				return 1
			}
			return 0
		}},
		{metrics.Family{Name: "slipway_endpoint_requests_in_flight", Kind: metrics.Gauge, Help: "Requests that the instance has not answered in full."}, func(s *seen) float64 { return float64(s.flying) }},
		{metrics.Family{Name: "slipway_endpoint_connections", Kind: metrics.Gauge, Help: "Open connections to the instance."}, func(s *seen) float64 { return float64(s.conns) }},
	} {
		x.Begin(f.Family)
		for i := range all {
			x.Value(all[i].labels, f.of(&all[i]))
		}
	}
	x.Begin(metrics.Family{Name: "slipway_draining_endpoints", Kind: metrics.Gauge, Help: "Instances that have left the table and still answer requests."})
	e.mu.Lock()
	e.prune()
	draining := len(e.draining)
	e.mu.Unlock()
	x.Count(nil, uint64(draining))
}

// publish answers GET /metrics at addr until ctx ends. An address that cannot be
// bound is tried again each second: while one process takes over from another
// the elder may still have it.
func (e *engine) publish(ctx context.Context, addr string) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", e.metrics)
	srv := &http.Server{
		Handler: mux, ReadHeaderTimeout: headTime, IdleTimeout: idleTime,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var lc net.ListenConfig
	for said := false; ctx.Err() == nil; {
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err == nil {
			said = false
			err = srv.Serve(ln)
		}
		if ctx.Err() != nil {
			return
		}
		if !said {
			e.log.Error("metrics cannot be published, trying again each second", slog.String("addr", addr), slog.Any("error", err))
			said = true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// metricsOfWaits tells who waits for whom: what an autoscaler goes by, when
// instances are bounded.
func (e *engine) metricsOfWaits(x *metrics.Text) {
	t := e.table.Load()
	x.Begin(metrics.Family{Name: "slipway_queued_requests", Kind: metrics.Gauge, Help: "Requests that wait for an instance of a release to have room."})
	for i := range t.spec.Routes {
		r := t.routes[t.spec.Routes[i].Name]
		for _, p := range r.pools {
			if p.queue != nil {
				x.Count([]metrics.Label{{Name: "route", Value: r.spec.Name}, {Name: "release", Value: string(p.spec.Release)}, {Name: "version", Value: p.spec.Version}}, uint64(p.queue.Waiting()))
			}
		}
	}
	x.Begin(metrics.Family{Name: "slipway_held_requests", Kind: metrics.Gauge, Help: "Requests that are held until a release of their route takes traffic."})
	for i := range t.spec.Routes {
		if r := t.routes[t.spec.Routes[i].Name]; r.spec.Hold.For > 0 {
			x.Count([]metrics.Label{{Name: "route", Value: r.spec.Name}}, uint64(r.hold.Waiting()))
		}
	}
}
