package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	exporter "github.com/slipway-cd/slipway/internal/proxy/otlp"
)

const instance = "prod.shop.r0123456789abcdef.0"

// house is a receiver, what it handed over, and how to reach it.
type house struct {
	*httptest.Server
	keys     Keys
	receiver *Receiver

	mu      sync.Mutex
	samples []metric.Sample
	spans   map[string][]delivery.Span
	room    int // spans that are taken
}

func (h *house) Add(s []metric.Sample) (int, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, one := range s {
		if one.Name == "no_room" {
			return len(s) - i, "no room for more series"
		}
		h.samples = append(h.samples, one)
	}
	return 0, ""
}

func (h *house) span(trace string, s delivery.Span) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.room--; h.room < 0 {
		return false
	}
	h.spans[trace] = append(h.spans[trace], s)
	return true
}

func build(t testing.TB) *house {
	t.Helper()
	h := &house{keys: NewKeys([]byte("a secret of this test")), spans: map[string][]delivery.Span{}, room: 1000}
	h.receiver = New(Options{Keys: h.keys, Metrics: h, Spans: h.span})
	h.Server = httptest.NewServer(h.receiver)
	t.Cleanup(h.Close)
	return h
}

// post sends a body and returns the status and the answer.
func (h *house) post(t testing.TB, path, kind string, body []byte, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+h.keys.Token(instance))
	if change != nil {
		change(req)
	}
	res, err := h.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func str(key, value string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

const (
	cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	delta      = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
	now        = uint64(1_764_000_000_000_000_000)
	began      = now - 60_000_000_000
)

func number(v float64, attrs ...*commonpb.KeyValue) []*metricspb.NumberDataPoint {
	return []*metricspb.NumberDataPoint{{Attributes: attrs, StartTimeUnixNano: began, TimeUnixNano: now, Value: &metricspb.NumberDataPoint_AsDouble{AsDouble: v}}}
}

func sum(name, unit string, t metricspb.AggregationTemporality, rises bool, p []*metricspb.NumberDataPoint) *metricspb.Metric {
	return &metricspb.Metric{Name: name, Unit: unit, Data: &metricspb.Metric_Sum{Sum: &metricspb.Sum{DataPoints: p, AggregationTemporality: t, IsMonotonic: rises}}}
}

func gauge(name, unit string, p []*metricspb.NumberDataPoint) *metricspb.Metric {
	return &metricspb.Metric{Name: name, Unit: unit, Data: &metricspb.Metric_Gauge{Gauge: &metricspb.Gauge{DataPoints: p}}}
}

func request(resource []*commonpb.KeyValue, list ...*metricspb.Metric) *metricspb.MetricsData {
	return &metricspb.MetricsData{ResourceMetrics: []*metricspb.ResourceMetrics{{
		Resource: &resourcepb.Resource{Attributes: resource}, ScopeMetrics: []*metricspb.ScopeMetrics{{Metrics: list}},
	}}}
}

// both sends a message as protobuf and as JSON, packed and not; all four have to
// be taken alike.
func (h *house) both(t testing.TB, path string, m proto.Message) (samples []metric.Sample, answer string) {
	t.Helper()
	wire, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	text, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	for i, kind := range []string{"application/x-protobuf", "application/json; charset=utf-8"} {
		for _, packed := range []bool{false, true} {
			body := [][]byte{wire, text}[i]
			if packed {
				body = zip(body)
			}
			h.samples = nil
			status, got := h.post(t, path, kind, body, func(r *http.Request) {
				if packed {
					r.Header.Set("Content-Encoding", "gzip")
				}
			})
			if status != http.StatusOK {
				t.Fatalf("%s: %d %s", kind, status, got)
			}
			if samples != nil && fmt.Sprint(shown(samples)) != fmt.Sprint(shown(h.samples)) {
				t.Errorf("%s makes %v, and before it was %v", kind, shown(h.samples), shown(samples))
			}
			samples, answer = h.samples, got
		}
	}
	return samples, answer
}

func zip(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	z.Write(b)
	z.Close()
	return out.Bytes()
}

func shown(all []metric.Sample) (out []string) {
	for _, s := range all {
		line := fmt.Sprintf("%s %s%v %v", s.Kind, s.Name, s.Labels, s.Value)
		if s.Hist != nil {
			line = fmt.Sprintf("%s %s%v %.4g %v %v", s.Kind, s.Name, s.Labels, s.Hist.Bounds, s.Hist.Counts, s.Hist.Sum)
		}
		if s.Delta {
			line += " delta"
		}
		out = append(out, line)
	}
	return out
}

func TestMetricsOfEveryKind(t *testing.T) {
	h := build(t)
	hist := &metricspb.Metric{Name: "http.server.request.duration", Unit: "s", Data: &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{
		AggregationTemporality: cumulative,
		DataPoints: []*metricspb.HistogramDataPoint{
			{StartTimeUnixNano: began, TimeUnixNano: now, Count: 6, Sum: new(1.5), ExplicitBounds: []float64{0.1, 1}, BucketCounts: []uint64{3, 2, 1}, Attributes: []*commonpb.KeyValue{str("http.route", "/buy"), str("release", "mine")}},
			{StartTimeUnixNano: began, TimeUnixNano: now, Count: 6, Sum: new(1.5)},
		},
	}}}
	expo := &metricspb.Metric{Name: "queue", Unit: "ms", Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{
		AggregationTemporality: delta,
		DataPoints: []*metricspb.ExponentialHistogramDataPoint{{
			StartTimeUnixNano: began, TimeUnixNano: now, Count: 10, Sum: new(30.0), Scale: 0, ZeroCount: 1,
			Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{Offset: 1, BucketCounts: []uint64{4, 0, 5}},
		}},
	}}}
	summary := &metricspb.Metric{Name: "basket", Unit: "EUR", Data: &metricspb.Metric_Summary{Summary: &metricspb.Summary{DataPoints: []*metricspb.SummaryDataPoint{{
		StartTimeUnixNano: began, TimeUnixNano: now, Count: 2, Sum: 40, QuantileValues: []*metricspb.SummaryDataPoint_ValueAtQuantile{{Quantile: 0.5, Value: 20}},
	}}}}}
	ended := number(1)
	ended[0].Flags = noValue
	samples, answer := h.both(t, "/v1/metrics", request([]*commonpb.KeyValue{str("service.name", "whatever it calls itself"), str("slipway.release", "r0123456789abcdef")},
		sum("orders", "{order}", cumulative, true, number(17, str("result", "ok"), str("service", "another's"))),
		sum("orders.bytes", "By", delta, true, number(3)),
		sum("in_flight", "", cumulative, false, number(-4)),
		gauge("load.average", "1", number(0.5)),
		gauge("gone", "", ended),
		hist, expo, summary,
	))
	want := []string{
		"counter orders_total[{exported_service another's} {result ok}] 17",
		"counter orders_bytes_total[] 3 delta",
		"gauge in_flight[] -4",
		"gauge load_average_ratio[] 0.5",
		"histogram http_server_request_duration_seconds[{exported_release mine} {http_route /buy}] [0.1 1] [3 2 1] 1.5",
		"histogram http_server_request_duration_seconds[] [] [6] 1.5",
		"histogram queue_milliseconds[] [0 2 4 8 16] [1 0 4 0 5 0] 30 delta",
		"counter basket_EUR_count[] 2",
		"counter basket_EUR_sum[] 40",
		"gauge basket_EUR[{quantile 0.5}] 20",
	}
	if got := shown(samples); !slices.Equal(got, want) {
		t.Errorf("samples =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range samples {
		if s.Service != "shop" || s.Env != "prod" || s.Release != "r0123456789abcdef" || s.Instance != instance || s.From != delivery.FromService {
			t.Errorf("%s is of %s %s %s %s", s.Name, s.Service, s.Env, s.Release, s.Instance)
		}
		if !s.At.Equal(time.Unix(0, int64(now))) || s.Kind != metric.Gauge && !s.Since.Equal(time.Unix(0, int64(began))) {
			t.Errorf("%s is from %s to %s", s.Name, s.Since, s.At)
		}
	}
	if answer != "{}" {
		t.Errorf("answer = %s", answer)
	}
}

// What cannot be is refused with its reason, and costs nothing else.
func TestNumbersThatCannotBe(t *testing.T) {
	h := build(t)
	still := number(1)
	still[0].StartTimeUnixNano = now
	timeless := number(1)
	timeless[0].TimeUnixNano = 0
	histogram := func(change func(*metricspb.HistogramDataPoint)) *metricspb.Metric {
		p := &metricspb.HistogramDataPoint{StartTimeUnixNano: began, TimeUnixNano: now, Count: 3, Sum: new(1.5), ExplicitBounds: []float64{0.1, 1}, BucketCounts: []uint64{1, 1, 1}}
		change(p)
		return &metricspb.Metric{Name: "h", Data: &metricspb.Metric_Histogram{Histogram: &metricspb.Histogram{AggregationTemporality: cumulative, DataPoints: []*metricspb.HistogramDataPoint{p}}}}
	}
	expo := func(change func(*metricspb.ExponentialHistogramDataPoint)) *metricspb.Metric {
		p := &metricspb.ExponentialHistogramDataPoint{StartTimeUnixNano: began, TimeUnixNano: now, Count: 1, Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{BucketCounts: []uint64{1}}}
		change(p)
		return &metricspb.Metric{Name: "e", Data: &metricspb.Metric_ExponentialHistogram{ExponentialHistogram: &metricspb.ExponentialHistogram{AggregationTemporality: cumulative, DataPoints: []*metricspb.ExponentialHistogramDataPoint{p}}}}
	}
	for want, m := range map[string]*metricspb.Metric{
		"neg_total is negative":        sum("neg", "", cumulative, true, number(-1)),
		"nan is not a number":          gauge("nan", "", number(math.NaN())),
		"inf is infinite":              gauge("inf", "", number(math.Inf(1))),
		"vague_total does not say":     sum("vague", "", 0, true, number(1)),
		"swing may fall":               sum("swing", "", delta, false, number(1)),
		"still_total is a delta of no": sum("still", "", delta, true, still),
		"timeless has no time":         gauge("timeless", "", timeless),
		"empty has no value":           gauge("empty", "", []*metricspb.NumberDataPoint{{TimeUnixNano: now}}),
		"a metric has no name":         gauge("", "", number(1)),
		"has another count":            histogram(func(p *metricspb.HistogramDataPoint) { p.Count = 9 }),
		"not one bucket more":          histogram(func(p *metricspb.HistogramDataPoint) { p.ExplicitBounds = []float64{1} }),
		"bounds that do not rise":      histogram(func(p *metricspb.HistogramDataPoint) { p.ExplicitBounds = []float64{1, 1} }),
		"sum that is no number":        histogram(func(p *metricspb.HistogramDataPoint) { p.Sum = new(math.NaN()) }),
		"more than 500 buckets":        histogram(func(p *metricspb.HistogramDataPoint) { p.BucketCounts = make([]uint64, 501); p.BucketCounts[0] = 3 }),
		"negative values":              expo(func(p *metricspb.ExponentialHistogramDataPoint) { p.Negative = p.GetPositive(); p.Count = 2 }),
		"that are no numbers":          expo(func(p *metricspb.ExponentialHistogramDataPoint) { p.Scale = 40 }),
		"or too many":                  expo(func(p *metricspb.ExponentialHistogramDataPoint) { p.ZeroThreshold = math.NaN() }),
		"no room for more series":      gauge("no_room", "", number(1)),
	} {
		samples, answer := h.both(t, "/v1/metrics", request(nil, gauge("beside", "", number(1)), m))
		if got := shown(samples); len(got) != 1 || got[0] != "gauge beside[] 1" {
			t.Errorf("%s: %v is taken", want, got)
		}
		if !strings.Contains(answer, `"rejectedDataPoints":"1"`) || !strings.Contains(answer, want) {
			t.Errorf("answer = %s, want %q", answer, want)
		}
	}
	samples, answer := h.both(t, "/v1/metrics", request([]*commonpb.KeyValue{str("slipway.release", "r9999999999999999")}, gauge("a", "", number(1)), gauge("b", "", number(1))))
	if len(samples) != 0 || !strings.Contains(answer, `"rejectedDataPoints":"2"`) || !strings.Contains(answer, "its token is of r0123456789abcdef") {
		t.Errorf("for another release: %v, %s", samples, answer)
	}
}

// However fine a scale is and wherever its buckets lie: none of the values is lost,
// and each lies within the bounds that it had, or wider ones.
func TestExponentialBuckets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &metricspb.ExponentialHistogramDataPoint{
			Scale: rapid.Int32Range(-10, 20).Draw(t, "scale"), ZeroCount: rapid.Uint64Range(0, 3).Draw(t, "zero"),
			Positive: &metricspb.ExponentialHistogramDataPoint_Buckets{
				Offset:       rapid.Int32Range(-3000, 3000).Draw(t, "offset"),
				BucketCounts: rapid.SliceOfN(rapid.Uint64Range(0, 3), 0, 160).Draw(t, "counts"),
			},
		}
		b := spread(p)
		if b == nil {
			t.Fatalf("%+v is refused", p)
		}
		if why := (metric.Sample{Kind: metric.Histogram, Hist: b}).Wrong(); why != "" {
			t.Fatalf("%+v %s", b, why)
		}
		above := func(x float64) (n uint64) { // values in buckets wholly above x
			for i, c := range b.Counts {
				if i > 0 && b.Bounds[i-1] >= x {
					n += c
				}
			}
			return n
		}
		all := p.GetZeroCount()
		for _, c := range p.GetPositive().GetBucketCounts() {
			all += c
		}
		var have uint64
		for _, c := range b.Counts {
			have += c
		}
		if have != all {
			t.Fatalf("%d of %d values are left", have, all)
		}
		for _, x := range b.Bounds {
			var most uint64
			for i, c := range p.GetPositive().GetBucketCounts() {
				if up := math.Exp2(math.Ldexp(float64(int64(p.GetPositive().GetOffset())+int64(i)+1), -int(p.GetScale()))); up > x*(1+1e-9) || math.IsInf(up, 0) {
					most += c
				}
			}
			if n := above(x); n > most {
				t.Fatalf("%d values lie above %g, and at most %d can", n, x, most)
			}
		}
	})
}

func TestSpans(t *testing.T) {
	h := build(t)
	body := `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scopeSpans":[{"spans":[
	 {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","parentSpanId":"00f067aa0ba902b7","name":"GET /buy","kind":2,
	  "startTimeUnixNano":"1764000000000000000","endTimeUnixNano":"1764000000250000000","status":{"code":2},
	  "attributes":[{"key":"http.response.status_code","value":{"intValue":"500"}}],
	  "events":[{"timeUnixNano":"1764000000100000000","name":"exception","attributes":[{"key":"exception.message","value":{"stringValue":"no such column: vat"}}]}]},
	 {"traceId":"00","spanId":"b7ad6b7169203331","name":"odd","startTimeUnixNano":"1"},
	 {"traceId":"0AF7651916CD43DD8448EB211C80319C","spanId":"b7ad6b7169203332","name":"timeless"}
	]}]}]}`
	status, answer := h.post(t, "/v1/traces", "application/json", []byte(body), nil)
	if status != http.StatusOK || !strings.Contains(answer, `"rejectedSpans":"2"`) || !strings.Contains(answer, "no sound identifier") {
		t.Errorf("%d %s", status, answer)
	}
	got := h.spans["0af7651916cd43dd8448eb211c80319c"]
	if len(got) != 1 {
		t.Fatalf("spans = %+v", h.spans)
	}
	s := got[0]
	if s.ID != "b7ad6b7169203331" || s.Parent != "00f067aa0ba902b7" || s.Kind != "server" || s.Took != 250*time.Millisecond || !s.Failed || s.Why != "no such column: vat" ||
		s.Instance != instance || s.Release != "r0123456789abcdef" || s.Attrs["http.response.status_code"] != "500" {
		t.Errorf("span = %+v", s)
	}
	h.room = 0
	wire, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{
		{TraceId: bytes.Repeat([]byte{7}, 16), SpanId: bytes.Repeat([]byte{8}, 8), StartTimeUnixNano: now, EndTimeUnixNano: began},
	}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := h.post(t, "/v1/traces", "application/x-protobuf", wire, nil); status != http.StatusOK || !strings.Contains(answer, "no room for more spans of trace 0707") {
		t.Errorf("without room: %d %q", status, answer)
	}
}

// The data plane's own exporter speaks to the receiver at its own address.
func TestTheDataPlaneIsKnown(t *testing.T) {
	h := build(t)
	e := exporter.NewSpans(exporter.From{Service: "slipway-proxy", Version: "v1"}, slog.New(slog.DiscardHandler))
	e.To(h.keys.Plane(h.Listener.Addr().String()))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	e.Add(&exporter.Span{Trace: [16]byte{1}, ID: [8]byte{2}, Name: "GET prod/shop", Kind: exporter.Server, Start: time.Unix(9, 0), End: time.Unix(10, 0), Failed: true, Attrs: []exporter.Attr{
		{Key: "slipway.release", Text: "r9999999999999999"}, {Key: "slipway.env", Text: "prod"}, {Key: "http.response.status_code", Number: 502},
	}})
	for deadline := time.Now().Add(30 * time.Second); e.Sent() == 0 && time.Now().Before(deadline); {
		runtime.Gosched() // at its end it has two seconds for the rest
	}
	stop()
	<-done
	spans := h.spans["01000000000000000000000000000000"]
	if len(spans) != 1 || e.Sent() != 1 || spans[0].Release != "r9999999999999999" || spans[0].Service != "slipway-proxy" || spans[0].Why != "answered 502" || spans[0].Took != time.Second {
		t.Errorf("%d sent, spans = %+v", e.Sent(), h.spans)
	}
	if status, answer := h.post(t, "/v1/metrics", "application/json", []byte("{}"), func(r *http.Request) { r.SetBasicAuth("slipway-proxy", h.keys.sign(planeID)) }); status != http.StatusBadRequest {
		t.Errorf("metrics of the data plane: %d %s", status, answer)
	}
}

func TestWhoMayNotSend(t *testing.T) {
	h := build(t)
	other := NewKeys([]byte("another secret"))
	for name, token := range map[string]string{
		"nobody":         "",
		"another house":  "Bearer " + other.Token(instance),
		"another's MAC":  "Bearer prod.shop.r1.0:" + strings.Split(h.keys.Token(instance), ":")[1],
		"no MAC":         "Bearer " + instance,
		"another scheme": "Digest " + h.keys.Token(instance),
		"no instance":    "Bearer " + h.keys.Token("prod"),
	} {
		status, answer := h.post(t, "/v1/metrics", "application/json", []byte("{}"), func(r *http.Request) { r.Header.Set("Authorization", token) })
		if status != http.StatusUnauthorized || !strings.Contains(answer, "OTEL_EXPORTER_OTLP_HEADERS") {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if _, ok := (Keys{}).Who((Keys{}).Token(instance)); ok {
		t.Error("without a secret everyone is known")
	}
	if s, ok := h.keys.Who(h.keys.Token(instance)); !ok || s.Service != "shop" || s.Env != "prod" || s.Plane {
		t.Errorf("Who = %+v, %v", s, ok)
	}
	if v := h.keys.Vars("http://127.0.0.1:1", instance); v["OTEL_EXPORTER_OTLP_HEADERS"] != "authorization=Bearer%20"+strings.ReplaceAll(h.keys.Token(instance), ":", ":") {
		t.Errorf("headers = %s", v["OTEL_EXPORTER_OTLP_HEADERS"])
	}
}

func TestHostileRequests(t *testing.T) {
	h := build(t)
	many := bytes.Repeat([]byte{0x0a, 0x00}, maxBody/2) // two million messages
	nested := []byte{}
	for range 200 {
		nested = append([]byte{0x0a, byte(len(nested))}, nested...)[:min(2+len(nested), 120)]
	}
	for _, tt := range []struct {
		name, path, kind string
		body             []byte
		change           func(*http.Request)
		status           int
		want             string
	}{
		{"elsewhere", "/v1/logs", "application/json", nil, nil, 404, "it reads from its output"},
		{"GET", "/v1/metrics", "application/json", nil, func(r *http.Request) { r.Method = http.MethodGet }, 405, "by POST"},
		{"a form", "/v1/metrics", "application/x-www-form-urlencoded", []byte("a=b"), nil, 415, "Content-Type must be"},
		{"no kind", "/v1/metrics", "", []byte("{}"), nil, 415, "Content-Type must be"},
		{"an encoding", "/v1/metrics", "application/json", nil, func(r *http.Request) { r.Header.Set("Content-Encoding", "br") }, 415, "gzip or none"},
		{"no gzip", "/v1/metrics", "application/json", []byte("{}"), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 400, "is not gzip"},
		{"torn gzip", "/v1/metrics", "application/json", zip([]byte(strings.Repeat("{}", 100)))[:20], func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 400, "cannot be read"},
		{"a bomb", "/v1/metrics", "application/json", zip(make([]byte, 2*maxBody)), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, 413, "at most 4 MiB"},
		{"too large", "/v1/metrics", "application/json", make([]byte, maxBody+1), nil, 413, "at most 4 MiB"},
		{"no JSON", "/v1/metrics", "application/json", []byte("<html>"), nil, 400, "the JSON cannot be read"},
		{"JSON that lies", "/v1/traces", "application/x-protobuf", []byte(`{"resourceSpans":[]}`), nil, 400, "the protobuf cannot be read"},
		{"two million messages", "/v1/metrics", "application/x-protobuf", many, nil, 400, "more than 500000 fields"},
		{"two million objects", "/v1/metrics", "application/json", []byte(`{"resourceMetrics":[` + strings.Repeat("{},", maxBody/3-20) + `{}]}`), nil, 400, "more than 500000 objects"},
		{"a deep value", "/v1/metrics", "application/json", []byte(`{"resourceMetrics":[{"resource":{"attributes":[{"key":"a","value":` + strings.Repeat(`{"arrayValue":{"values":[`, 100) + strings.Repeat(`]}}`, 100) + `}]}}]}`), nil, 400, "the JSON cannot be read"},
		{"an empty body", "/v1/metrics", "application/x-protobuf", nil, nil, 200, ""},
		{"bytes", "/v1/traces", "application/x-protobuf", nested, nil, 0, ""},
	} {
		status, answer := h.post(t, tt.path, tt.kind, tt.body, tt.change)
		if tt.status != 0 && status != tt.status || !strings.Contains(answer, tt.want) || status >= 500 {
			t.Errorf("%s: %d %.200q, want %d %q", tt.name, status, answer, tt.status, tt.want)
		}
	}
}

// Whoever sends slowly holds up two readers and nobody else's memory.
func TestTooManyAtATime(t *testing.T) {
	h := build(t)
	var writers []*io.PipeWriter
	for range maxBusy {
		r, w := io.Pipe()
		writers = append(writers, w)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.URL+"/v1/metrics", r)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+h.keys.Token(instance))
		go func() {
			if res, err := h.Client().Do(req); err == nil {
				res.Body.Close()
			}
		}()
		if _, err := w.Write([]byte("{")); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(30 * time.Second)
	for len(h.receiver.busy) < maxBusy { // and nobody asks before: it would take the place of one of them
		if time.Now().After(deadline) {
			t.Fatalf("of %d who are sending, %d are read", maxBusy, len(h.receiver.busy))
		}
		runtime.Gosched()
	}
	if status, answer := h.post(t, "/v1/metrics", "application/json", []byte("{}"), nil); status != http.StatusServiceUnavailable || !strings.Contains(answer, "too many") {
		t.Errorf("while %d are sending, another gets %d %s", maxBusy, status, answer)
	}
	for _, w := range writers {
		w.Close()
	}
	for {
		if status, _ := h.post(t, "/v1/metrics", "application/json", []byte("{}"), nil); status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("after they are done, there is no room")
		}
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct{ name, unit, want string }{
		{"http.server.request.duration", "s", "http_server_request_duration_seconds_total"},
		{"system.network.io", "By/s", "system_network_io_bytes_per_second_total"},
		{"already_seconds_total", "s", "already_seconds_total"},
		{"2fast", "", "_2fast_total"},
		{"a..b--ü", "{thing}", "a_b_total"},
	} {
		if got := nameOf(&metricspb.Metric{Name: tt.name, Unit: tt.unit}, true); strings.ReplaceAll(got, "__", "_") != tt.want && got != tt.want {
			t.Errorf("nameOf(%s in %s) = %s, want %s", tt.name, tt.unit, got, tt.want)
		}
	}
	l := labels([]*commonpb.KeyValue{str("a.b", "1"), str("a-b", "2"), str("c", "")})
	if fmt.Sprint(l) != "[{a_b 1;2}]" {
		t.Errorf("labels = %v", l)
	}
	if long := cut(strings.Repeat("ü", 1000)); len(long) != maxText {
		t.Errorf("a long text has %d bytes", len(long))
	}
}

// Whatever is sent: an answer, bounded, and samples that can be.
func FuzzTake(f *testing.F) {
	for _, m := range []proto.Message{request(nil, gauge("a", "s", number(1))), request(nil, sum("a", "s", delta, true, number(math.NaN())))} {
		wire, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		text, err := protojson.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, false)
		f.Add(text, true)
	}
	h := build(f)
	v := New(Options{Keys: h.keys, Metrics: h, Spans: h.span})
	who, _ := h.keys.Who(h.keys.Token(instance))
	f.Fuzz(func(t *testing.T, body []byte, text bool) {
		as := formProto
		if text {
			as = formJSON
		}
		h.samples, h.room = nil, 100
		for _, path := range []string{"/v1/metrics", "/v1/traces"} {
			_, _ = v.take(path, as, body, who)
		}
		for _, s := range h.samples {
			if why := s.Wrong(); why != "" || s.Release != who.Release {
				t.Errorf("%+v %s", s, why)
			}
		}
	})
}
