package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/prometheus/prometheustest"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// measured is a house in which cart has told numbers of itself for a minute, and was
// called for as long as the first step of a chart takes.
func measured(t *testing.T) *house {
	t.Helper()
	h := build(t).harbor()
	rel, err := h.store.ReleaseNamed(t.Context(), "cart", "v1")
	if err != nil {
		t.Fatal(err)
	}
	of := metric.Series{From: delivery.FromService, Service: "cart", Env: "prod", Release: rel.ID, Instance: "a"}
	now := time.Now().Add(-time.Minute)
	for second := range 60 {
		at := now.Add(time.Duration(second) * time.Second)
		h.numbers.Add([]metric.Sample{
			{Series: of.Named("orders_total", []metric.Label{{Name: "result", Value: "failed"}}), Kind: metric.Counter, At: at, Value: float64(3 * second)},
			{Series: of.Named("orders_total", []metric.Label{{Name: "result", Value: hostile}}), Kind: metric.Counter, At: at, Value: float64(30 * second)},
			{Series: of.Named("queue_length", nil), Kind: metric.Gauge, At: at, Value: 7},
		})
	}
	h.eventually("requests were counted", func() bool {
		g, err := h.loop.Golden(t.Context(), "cart", "prod", control.ShortSpan)
		return err == nil && len(g.Signals[0].Lines) > 0 && len(g.Signals[0].Lines[0].Points) > 0
	}, func() string { return "nothing" })
	return h
}

// The page draws what a release did, a line for each, and says it in a sentence.
func TestNumbersPage(t *testing.T) {
	t.Parallel()
	h := measured(t)
	admin := h.admin()
	r := admin.get("/numbers?service=cart&env=prod").want(http.StatusOK)
	r.says("cart in prod, by release", "Requests req/s", "Failed requests", "Latency, p95", "No numbers in this time: CPU, all instances; Memory per instance; Restarts; Error lines in logs", "v1 (stable)", "2 metrics of cart are kept in prod")
	r.has(`aria-label="Requests of cart in prod: v1 (stable) last `, `id="number-requests"`, `<option value="orders_total">counter of service</option>`, `<option value="queue_length">gauge of service</option>`, `hx-sse:connect="/numbers?service=cart&amp;env=prod"`)
	if len(r.Body) > 100_000 {
		t.Errorf("the page has %d bytes", len(r.Body))
	}
	day := admin.get("/numbers?service=cart&env=staging&last=24h").want(http.StatusOK).says("cart in staging, by release", "No numbers in this time: Requests; Failed requests")
	day.has(`<option value="24h" selected>24 hours</option>`)
	admin.get("/numbers").want(http.StatusOK).says("shop in prod, by release")
	admin.get("/numbers?last=5m").want(http.StatusUnprocessableEntity).says("5m", "choose 10m or 24h")
	admin.get("/numbers?service=nobody").want(http.StatusNotFound).says("nobody")
	admin.get("/numbers?env=moon").want(http.StatusNotFound).says("moon")
	h.anyone().get("/numbers").want(http.StatusOK)
	h.nobody().get("/numbers").want(http.StatusSeeOther)
	build(t).admin().get("/numbers").want(http.StatusOK).says("There is no project yet", "slipway up")
}

// The page is light with all that it may show: four releases, a question that is
// answered, and more names than are offered.
func TestNumbersWeight(t *testing.T) {
	t.Parallel()
	h := build(t).project(harborYAML)
	now := time.Now()
	for second := -700; second <= 0; second++ {
		at := now.Add(time.Duration(second) * time.Second)
		f := traffic.Frame{At: at, Boot: "a"}
		for r := range 6 {
			n := uint64(1000 + (second*second*(r+3))%977)
			f.Blocks = append(f.Blocks, traffic.Block{Route: "prod/cart", Release: delivery.ReleaseID(fmt.Sprintf("r%d-of-a-long-name", r)), Second: at.Unix(), Requests: n, OK: n - n/13, Server: n / 13, Units: n, Bins: map[int]uint32{analysis.Bin(float64(n) / 7e4): uint32(n)}})
		}
		h.numbers.Take(f, at)
	}
	of := metric.Series{From: delivery.FromService, Service: "cart", Env: "prod", Release: "r1-of-a-long-name", Instance: "a"}
	for i := range 300 {
		h.numbers.Add([]metric.Sample{{Series: of.Named(fmt.Sprintf("a_number_with_a_name_that_is_rather_long_%03d_total", i), nil), Kind: metric.Counter, At: now, Value: 1}})
	}
	r := h.admin().get("/numbers?service=cart&env=prod&q=latency").want(http.StatusOK)
	r.says("3 more releases answered in this time", "0.95 quantile of latency", "All of them", "a_number_with_a_name_that_is_rather_long_039_total")
	r.has("/numbers?env=prod&amp;last=10m&amp;q=a_number_with_a_name_that_is_rather_long_000_total&amp;service=cart&amp;where=slipway")
	const drawn, most, chart = 6, 10, 6800 // of processors, memory, restarts and error lines nothing is told here
	t.Logf("%d bytes", len(r.Body))
	if n := strings.Count(r.Body, "<slipway-chart"); n != drawn || len(r.Body)+(most-drawn)*chart >= 100_000 {
		t.Errorf("the page has %d bytes with %d charts, want less than 100,000 with %d", len(r.Body), n, most)
	}
}

// Without a server that answers PromQL, what Slipway keeps is asked for by series,
// and it is said what the rest would take.
func TestNumbersAsked(t *testing.T) {
	t.Parallel()
	admin := measured(t).admin()
	ask := func(q string, more ...string) *reply {
		t.Helper()
		form := url.Values{"service": {"cart"}, "env": {"prod"}, "q": {q}}
		for i := 0; i < len(more); i += 2 {
			form.Set(more[i], more[i+1])
		}
		return admin.get("/numbers?" + form.Encode()).want(http.StatusOK)
	}
	r := ask(`orders_total{result="failed"}`).says(`rate a second of orders_total{result="failed"}`, `v1{result="failed"}`)
	r.has(`at most 3.0.`, `id="number-asked"`)
	ask("orders_total").says("v1{result=\"failed\"}", `alert(1)`, `\u202e`).hides("\u202e", "\x1b")
	ask("queue_length").says("mean of queue_length").has("last 7.0, at most 7.0.")
	ask("queue_length", "show", "max").says("max of queue_length")
	ask("requests", "show", "increase").says("increase in 6s of requests")
	ask("latency", "quantile", "0.5").says("0.5 quantile of latency")
	ask("latency", "quantile", "much", "show", "quantile").says("no number between 0 and 1")
	ask("latency", "quantile", "7").says("must be above 0 and below 1")
	ask("nothing_like_it").says("cart has told no nothing_like_it in prod", "choose one of the names")
	for _, promql := range []string{"sum(rate(orders_total[1m]))", "rate(orders_total[1m])", "orders_total / 2", `orders_total{result="failed"`} {
		ask(promql, "where", "prometheus").has(`role="alert"`).says("prometheus: {url: http://127.0.0.1:9090}")
	}
	ask(hostile).has(`role="alert"`).hides("\u202e", "\x1b")
	if strings.Contains(ask(hostile).Body, "<script>alert(1)") {
		t.Error("what was asked runs")
	}
}

// A server that slipway.yaml names answers PromQL, and says itself what is wrong.
func TestNumbersOfPrometheus(t *testing.T) {
	t.Parallel()
	server := prometheustest.Start(t, "")
	h := build(t)
	h.project(harborYAML + "prometheus: { url: " + server.URL + " }\n")
	admin := h.admin()
	var all []prometheustest.Series
	now := time.Now()
	for i := range 12 {
		s := prometheustest.Series{Labels: map[string]string{"__name__": "orders_total", "shop": fmt.Sprint("s", 10+i), "note": hostile}}
		for second := range 180 { // on into the future: what is asked later finds no end of it
			s.Times, s.Values = append(s.Times, now.Add(time.Duration(second-60)*time.Second)), append(s.Values, float64(second*i))
		}
		all = append(all, s)
	}
	server.Write(all)
	ask := func(q string) *reply {
		t.Helper()
		return admin.get("/numbers?" + url.Values{"service": {"cart"}, "q": {q}}.Encode()).want(http.StatusOK)
	}
	r := ask("sum by (shop) (rate(orders_total[30s]))").says("Prometheus at "+server.URL, `{shop="s10"}`, "6 more series are not drawn")
	r.has(`{shop=&#34;s13&#34;} last 3.0, at most 3.0`)
	if strings.Contains(r.Body, "hx-sse:connect") {
		t.Error("the page asks the server again and again")
	}
	ask("count(orders_total)").says("count(orders_total)").has("value last 12, at most 12.")
	ask("orders_total").hides("\u202e", "\x1b")
	ask("sum(rate(").has(`role="alert"`).says("parse error", "unclosed left parenthesis")
	ask("nothing_like_it").says("the server has no series for this")
	admin.get("/numbers?where=slipway&q=requests&service=cart").want(http.StatusOK).says("cart has told no requests in prod").has("hx-sse:connect")
	h.project(harborYAML + "prometheus: { url: 'http://127.0.0.1:1' }\n")
	ask("up").has(`role="alert"`).says("connection refused")
}
