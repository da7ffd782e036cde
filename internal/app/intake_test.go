package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// sender is a program in another language, with nothing but its standard library,
// that sends what an SDK would: it knows its environment and nothing else.
const sender = `
import gzip, json, os, sys, time, urllib.error, urllib.parse, urllib.request
base = os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
for pair in os.environ["OTEL_EXPORTER_OTLP_HEADERS"].split(","):
    name, _, value = pair.partition("=")
    headers[name.strip()] = urllib.parse.unquote(value.strip())
resource = {"attributes": [{"key": k, "value": {"stringValue": v}} for k, v in (p.split("=", 1) for p in os.environ["OTEL_RESOURCE_ATTRIBUTES"].split(","))]}
now = time.time_ns()
def post(path, body):
    req = urllib.request.Request(base + path, gzip.compress(json.dumps(body).encode()), headers)
    try:
        with urllib.request.urlopen(req, timeout=20) as res:
            print(path, res.status, res.read().decode())
    except urllib.error.HTTPError as e:
        print(path, e.code, e.read().decode())
post("/v1/metrics", {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [
    {"name": "orders", "unit": "{order}", "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [
        {"startTimeUnixNano": str(now - 10**9), "timeUnixNano": str(now), "asInt": "3"}]}},
    {"name": "lost", "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [
        {"startTimeUnixNano": str(now - 10**9), "timeUnixNano": str(now), "asDouble": -1}]}}]}]}]})
post("/v1/traces", {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [
    {"traceId": sys.argv[1], "spanId": "b7ad6b7169203331", "name": "charge", "kind": 1,
     "startTimeUnixNano": str(now - 10**8), "endTimeUnixNano": str(now), "status": {"code": 2, "message": "card expired"}}]}]}]})
headers["authorization"] = headers["authorization"][:-1] + ("0" if headers["authorization"][-1] != "0" else "1")
post("/v1/metrics", {})
`

// An instance finds in its environment where it sends, is known there, and can
// speak for itself alone; what it sends is found again.
func TestInstancesTellOfThemselves(t *testing.T) {
	h := build(t, quick, "prod")
	s := h.deploy("api", manners{Version: "v1"}, nil)
	if r := h.ended(h.id(s, "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	const trace = "0af7651916cd43dd8448eb211c80319c"
	_, vars := h.get("prod", "", "/env")
	var told string
	h.until("the receiver listens", func() bool {
		cmd := exec.CommandContext(t.Context(), "python3", "-c", sender, trace)
		cmd.Env = append(os.Environ(), strings.Split(vars, "\n")...)
		out, err := cmd.CombinedOutput()
		told = string(out)
		return err == nil
	}, func() string { return told })
	lines := strings.Split(strings.TrimSpace(told), "\n")
	for i, want := range []string{"/v1/metrics 200 ", "/v1/traces 200 {}", "/v1/metrics 401 "} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("it was told\n%s\nwant %q in line %d", told, want, i)
		}
	}
	if !strings.Contains(lines[0], `"rejectedDataPoints":"1"`) || !strings.Contains(lines[0], "lost_total is negative") {
		t.Errorf("of the metrics it was told %s", lines[0])
	}
	got, _, err := client.Read[delivery.Trace](t.Context(), h.api, "/traces/"+trace)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Spans) != 1 || got.Spans[0].Release != s.Release.ID || got.Spans[0].Why != "card expired" || !strings.HasPrefix(got.Spans[0].Instance, "prod.api.") {
		t.Errorf("the trace is %+v", got)
	}
}

// What the data plane saw of requests that a new release failed is kept with its
// change, though no service knows of tracing, and whatever the shares are.
func TestTracesOfABadRelease(t *testing.T) {
	h := build(t, "{strategy: canary, steps: [{weight: 50, hold: 1s}, {weight: 100, hold: 0s}], soak: 0s, window: 1m, deadline: 2m}", "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	l := h.load("prod", 4)
	bad := h.deploy("api", manners{Version: "v2", Fail: 0.5}, nil)
	path := fmt.Sprintf("/changes/%d/traces", bad.Change.ID)
	var kept []delivery.Trace
	h.until("traces are kept", func() bool {
		var page client.List[delivery.Trace]
		if err := h.api.Do(t.Context(), http.MethodGet, path, nil, &page); err != nil {
			t.Fatal(err)
		}
		kept = page.Items
		return len(kept) > 0
	}, func() string { return "none" })
	l.end()
	for _, one := range kept {
		sp := one.Spans[0]
		if one.Change != bad.Change.ID || one.Release != bad.Release.ID || one.Service != "api" || one.Env != "prod" || !sp.Failed || sp.Release != bad.Release.ID || sp.Attrs["http.response.status_code"] != "500" {
			doc, _ := json.Marshal(one)
			t.Fatalf("kept is %s", doc)
		}
	}
}

// A release whose answers are all good and whose own metrics tell of orders that
// are lost is caught by them, though nobody said where they are shown.
func TestAReleaseIsJudgedByItsOwnMetrics(t *testing.T) {
	h := build(t, `{strategy: canary, steps: [{weight: 50, hold: 2s}, {weight: 100, hold: 0s}], soak: 0s, window: 1m, deadline: 2m, judge: {metrics: {lost_orders: {kind: share, value: 'orders_total{result="lost"}', per: orders_total, role: required, add: 0.02}}}}`, "prod")
	if r := h.ended(h.id(h.deploy("api", manners{Version: "v1"}, nil), "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	l := h.load("prod", 8)
	r := h.ended(h.id(h.deploy("api", manners{Version: "v2", Lose: 0.5}, nil), "prod"))
	if _, bad, first := l.end(); bad > 0 {
		t.Errorf("%d requests failed, the first: %s", bad, first)
	}
	if r.State != delivery.Reverted || r.Cause.Kind != delivery.CauseVerdict || !strings.Contains(r.Cause.Text, "lost_orders") {
		t.Errorf("v2 = %s by %s: %s; want it back for lost_orders", r.State, r.Cause.Kind, r.Cause.Text)
	}
}
