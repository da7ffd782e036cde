package control

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/metric/prometheus"
)

// The golden signals of a release are those of the requests it answered and of its
// instances; every signal tells of the same releases in the same order.
func TestGoldenSignals(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		w.behave("v2", behaviour{start: time.Second, fail: 0.1, slower: 3})
		h.ask(t, delivery.AskPause, h.deploy("v2").Change.ID)
		rel, err := h.d.Store.ReleaseNamed(t.Context(), "api", "v1")
		if err != nil {
			t.Fatal(err)
		}
		for second := range 60 {
			s := metric.Series{From: delivery.FromWorkload, Service: "api", Env: "prod", Release: rel.ID, Instance: "a"}
			tell := func(s metric.Series, k metric.SeriesKind, v float64) {
				h.d.Numbers.Add([]metric.Sample{{Series: s, Kind: k, At: time.Now(), Value: v}})
			}
			tell(s.Named(metricCPU, nil), metric.Counter, float64(second)/2)
			tell(s.Named(delivery.MetricMemory, nil), metric.Gauge, 64<<20)
			tell(s.Named(delivery.MetricRestarts, nil), metric.Counter, 0)
			s.From = delivery.FromLogs
			tell(s.Named(delivery.LinesError, nil), metric.Counter, float64(second*3))
			time.Sleep(time.Second)
		}
		got, err := h.Golden(t.Context(), "api", "", ShortSpan)
		if err != nil {
			t.Fatal(err)
		}
		if got.Env != "prod" || got.To-got.From != 600 || time.Since(time.Unix(got.To, 0)) > 11*time.Second || len(got.Signals) != 9 || got.More != 0 {
			t.Errorf("Golden = %+v", got)
		}
		last := map[string]float64{}
		for _, s := range got.Signals {
			for i, line := range s.Lines {
				if want := []string{"v1", "v2"}[i]; line.Version != want {
					t.Errorf("line %d of %s is %s, want %s", i, s.Name, line.Version, want)
				}
				if n := len(line.Points); n > 0 {
					last[s.Name] = line.Points[n-1].Value
				}
			}
		}
		if last["requests"] != 200 || last["cpu"] != 0.5 || last["memory"] != 64 || last["restarts"] != 0 || last["error-lines"] != 3 {
			t.Errorf("the last values are %v", last)
		}
		if last["errors"] > 3 || last["p50"] < 4 || last["p50"] > last["p95"] || last["p95"] > last["p99"] || last["p99"] > 16 {
			t.Errorf("the last values are %v", last)
		}
		if _, err := h.Golden(t.Context(), "nobody", "", LongSpan); !errors.Is(err, delivery.ErrNotFound) {
			t.Errorf("Golden of nobody = %v", err)
		}
		lines, err := h.Query(t.Context(), embedded.Query{Service: "api", Select: embedded.Selector{Name: "requests"}, Show: embedded.ShowRate, First: time.Unix(got.From, 0), Last: time.Unix(got.To-1, 0), Step: 6 * time.Second})
		if err != nil || len(lines) == 0 || lines[0].Version == "" || lines[0].Release == "" {
			t.Errorf("Query = %+v, %v; want lines with their versions", lines, err)
		}
	})
}

// Without a server that answers PromQL nobody is asked, and it is said what to write.
func TestPromQLNeedsAServer(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, _ *world, h *house) {
		_, err := h.PromQL(t.Context(), prometheus.RangeQuery{Expr: "up"})
		if bad, ok := errors.AsType[*delivery.FieldError](err); !ok || bad.Field != "query" || !strings.Contains(bad.Next, "prometheus: {url:") {
			t.Errorf("PromQL = %v, want what to write", err)
		}
	})
}
