package app_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-cd/slipway/internal/app"
	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// logbook is a collector that keeps what logs say.
type logbook struct {
	*httptest.Server
	mu     sync.Mutex
	said   map[string]bool   // guarded by mu: "service: text"
	traces map[string]string // guarded by mu: the trace of "rollout moved", by change
	err    error             // guarded by mu
}

func newLogbook(t *testing.T) *logbook {
	b := &logbook{said: map[string]bool{}, traces: map[string]string{}}
	b.Server = httptest.NewServer(b)
	t.Cleanup(b.Close)
	return b
}

func (b *logbook) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	doc, err := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || r.URL.Path != "/v1/logs" {
		return // spans, which others look at
	}
	var all logs.LogsData
	if err := proto.Unmarshal(doc, &all); err != nil {
		b.err = err
		return
	}
	for _, in := range all.ResourceLogs {
		who := in.Resource.Attributes[0].Value.GetStringValue()
		for _, line := range in.ScopeLogs[0].LogRecords {
			b.said[who+": "+line.Body.GetStringValue()] = true
			for _, a := range line.Attributes {
				if line.Body.GetStringValue() == "rollout moved" && a.Key == "change" {
					b.traces[fmt.Sprint(a.Value.GetIntValue())] = fmt.Sprintf("%x", line.TraceId)
				}
			}
		}
	}
}

func (b *logbook) has(lines ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, l := range lines {
		if !b.said[l] {
			return false
		}
	}
	return true
}

func (b *logbook) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprint(b.said, b.traces, b.err)
}

// What both processes log reaches the collector that the project names, from when it
// names it, over an end and a new start; and what is about a change carries its trace.
func TestLogsReachACollector(t *testing.T) {
	b := newLogbook(t)
	h := build(t, "{strategy: rolling, soak: 200ms, deadline: 2m}", "prod")
	h.put(h.yaml + fmt.Sprintf("data_plane: {otlp: %q}\n", b.URL))
	done := h.deploy("api", manners{Version: "v1"}, nil)
	if r := h.ended(h.id(done, "prod")); r.State != delivery.Done {
		t.Fatal(r.Reason)
	}
	h.until("the collector has the story of the rollout", func() bool { return b.has("slipway: rollout moved") }, b.all)
	if _, err := app.Down(t.Context(), cli.DownOptions{State: h.state}); err != nil {
		t.Fatal(err)
	}
	h.until("the last words of the data plane arrive", func() bool { return b.has("slipway-proxy: data plane has ended") }, b.all)
	h.up()
	h.until("the first words of both arrive", func() bool { return b.has("slipway: control plane runs", "slipway-proxy: data plane serves") }, b.all)

	written, err := os.ReadFile(h.state + "/server.log")
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	trace := b.traces[fmt.Sprint(done.Change.ID)]
	if len(trace) != 32 || !strings.Contains(string(written), fmt.Sprintf(`"trace_id":%q`, trace)) || b.err != nil {
		t.Errorf("the trace of the change is %q, which the log itself does not name; %v", trace, b.err)
	}
}
