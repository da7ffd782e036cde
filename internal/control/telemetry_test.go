package control

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/scrape"
	"github.com/slipway-cd/slipway/internal/promotion"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

func instanceOf(service string, phase workload.Phase, p delivery.Protocol) workload.Status {
	id := workload.ID("prod." + service + ".r1.0")
	return workload.Status{Phase: phase, Addr: "127.0.0.1:10001", Spec: workload.Spec{ID: id, Service: service, Env: "prod", Release: "r1", Run: delivery.RunSpec{Protocol: p}}}
}

// Every ready instance is asked where its service says, or at /metrics if it says
// nothing and speaks HTTP/1.1; each second while its service is rolled out.
func TestTargets(t *testing.T) {
	l := New(Deps{})
	l.live = live{
		world: promotion.World{
			Project: delivery.Project{Services: []delivery.Service{
				{Name: "plain"},
				{Name: "named", Metrics: delivery.Scrape{Path: "/prom"}},
				{Name: "apart", Metrics: delivery.Scrape{Path: "/metrics", Port: 9100}},
				{Name: "off", Metrics: delivery.Scrape{Off: true}},
				{Name: "grpc"},
				{Name: "both", Metrics: delivery.Scrape{Path: "/m"}},
				{Name: "starts"},
			}},
			Open: []delivery.Rollout{{Service: "named", Env: "prod", State: delivery.Judging}, {Service: "plain", Env: "prod", State: delivery.Queued}},
		},
		statuses: []workload.Status{
			instanceOf("plain", workload.Ready, ""), instanceOf("named", workload.Ready, ""), instanceOf("apart", workload.Ready, ""), instanceOf("off", workload.Ready, ""),
			instanceOf("grpc", workload.Ready, delivery.H2C), instanceOf("both", workload.Ready, delivery.H2C), instanceOf("starts", workload.Starting, ""), instanceOf("unknown", workload.Ready, ""),
		},
	}
	var got []string
	for _, target := range l.Targets() {
		if s := target.Series; s.From != delivery.FromService || s.Env != "prod" || s.Release != "r1" || s.Instance != "prod."+s.Service+".r1.0" {
			t.Errorf("series = %+v", s)
		}
		got = append(got, fmt.Sprint(target.URL, " ", target.Every, " ", target.Guess))
	}
	want := []string{
		fmt.Sprint("http://127.0.0.1:10001/metrics ", scrape.Normal, " true"), fmt.Sprint("http://127.0.0.1:10001/prom ", scrape.Close, " false"),
		fmt.Sprint("http://127.0.0.1:9100/metrics ", scrape.Normal, " false"), fmt.Sprint("http://127.0.0.1:10001/m ", scrape.Normal, " false"),
	}
	if !slices.Equal(got, want) {
		t.Errorf("targets =\n%v, want\n%v", got, want)
	}
}

func TestUsageIsToldOnce(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s := instanceOf("shop", workload.Ready, "")
	s.Restarts, s.Started = 2, now.Add(-time.Minute)
	s.Usage = workload.Usage{CPU: 1500 * time.Millisecond, Memory: 64 << 20, At: now.Add(-time.Second / 2)}
	crashed, gone := instanceOf("cart", workload.Backoff, ""), instanceOf("old", workload.Stopped, "")
	told := map[workload.ID]time.Time{"prod.gone.r1.0": now}
	show := func(list []metric.Sample) (out []string) {
		for _, s := range list {
			if why := s.Wrong(); why != "" || s.From != delivery.FromWorkload {
				t.Errorf("%+v %s", s, why)
			}
			out = append(out, fmt.Sprint(s.Service, " ", s.Name, " ", s.Kind, " ", s.Value))
		}
		return out
	}
	all := []workload.Status{s, crashed, gone}
	first, second := show(usage(all, told, now)), show(usage(all, told, now.Add(time.Second)))
	if want := []string{"shop restarts counter 2", "shop cpu counter 1.5", "shop memory gauge 6.7108864e+07", "cart restarts counter 0"}; !slices.Equal(first, want) {
		t.Errorf("usage = %v, want %v", first, want)
	}
	if want := []string{"shop restarts counter 2", "cart restarts counter 0"}; !slices.Equal(second, want) {
		t.Errorf("without a new measurement = %v, want %v", second, want)
	}
	if len(told) != 1 {
		t.Errorf("told of %v", told)
	}
}

// What the configuration says of telemetry stays, and a service that sends
// elsewhere is told nothing.
func TestTelling(t *testing.T) {
	l := New(Deps{Telemetry: Telemetry{Vars: func(id workload.ID) map[string]string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_HEADERS": "token of " + string(id), "OTEL_METRIC_EXPORT_INTERVAL": "5000"}
	}}})
	got := l.telling("a", map[string]string{"OTEL_METRIC_EXPORT_INTERVAL": "60000"})
	if got["OTEL_EXPORTER_OTLP_ENDPOINT"] != "http://127.0.0.1:1" || got["OTEL_EXPORTER_OTLP_HEADERS"] != "token of a" || got["OTEL_METRIC_EXPORT_INTERVAL"] != "60000" {
		t.Errorf("vars = %v", got)
	}
	for _, own := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_SDK_DISABLED"} {
		if got := l.telling("a", map[string]string{own: "x"}); len(got) != 1 {
			t.Errorf("with %s of its own it gets %v", own, got)
		}
	}
	told := workload.Status{Spec: workload.Spec{Vars: got}}
	if shown := withoutToken(told).Spec.Vars; shown["OTEL_EXPORTER_OTLP_HEADERS"] != "(a token)" || len(shown) != len(got) || got["OTEL_EXPORTER_OTLP_HEADERS"] != "token of a" {
		t.Errorf("shown are %v of %v", shown, got)
	}
	rel := delivery.Release{ID: "r1", Service: "shop", Version: "v1"}
	rel.Config = map[string]string{"OTEL_SERVICE_NAME": "mine"}
	if v := vars(delivery.Project{}, delivery.Service{Name: "shop"}, rel, delivery.Want{Env: "prod"}, nil); v["OTEL_SERVICE_NAME"] != "mine" || v["OTEL_RESOURCE_ATTRIBUTES"] == "" {
		t.Errorf("vars = %v", v)
	}
}

func TestSpansComeHereUnlessTheProjectSaysOtherwise(t *testing.T) {
	l := New(Deps{Telemetry: Telemetry{Spans: "http://127.0.0.1:1/as/x"}})
	rolled := &view{open: []delivery.Rollout{{State: delivery.Shifting}}}
	for name, tt := range map[string]struct {
		v        *view
		plane    delivery.DataPlane
		otlp     string
		share    delivery.Weight
		failures bool
	}{
		"nothing is said":         {&view{}, delivery.DataPlane{}, "http://127.0.0.1:1/as/x", 0, true},
		"while one is rolled out": {rolled, delivery.DataPlane{}, "http://127.0.0.1:1/as/x", rolloutShare, true},
		"a share is said":         {rolled, delivery.DataPlane{OTLPShare: 7}, "http://127.0.0.1:1/as/x", 7, true},
		"another collector is":    {rolled, delivery.DataPlane{OTLP: "http://c:4318"}, "http://c:4318", 0, false},
	} {
		table := traffic.Table{Plane: tt.plane}
		if l.traced(tt.v, &table); table.Plane.OTLP != tt.otlp || table.Plane.OTLPShare != tt.share || table.Failures != tt.failures {
			t.Errorf("%s: %+v, failures %v", name, table.Plane, table.Failures)
		}
	}
	table := traffic.Table{}
	if New(Deps{}).traced(rolled, &table); table.Plane.OTLP != "" || table.Failures {
		t.Errorf("without a receiver: %+v", table)
	}
}
