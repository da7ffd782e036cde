package app_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	trafficproxy "github.com/slipway-cd/slipway/internal/traffic/proxy"
)

// From a submit to the first request that the new release answers, through API,
// store, loop, shim and data plane, against starting the same program by hand
// until it answers: what delivery costs beside the program itself.
func BenchmarkSubmitToFirstCanaryRequest(b *testing.B) {
	h := build(b, quick, "prod")
	h.ended(h.id(h.deploy("api", manners{Version: "v0"}, nil), "prod"))
	var ours, bare time.Duration
	n := 0
	for b.Loop() {
		n++
		version := "v" + strings.Repeat("i", n)
		bare += h.byHand(b, manners{Version: version})
		begun := time.Now()
		s := h.deploy("api", manners{Version: version}, func(s *control.Submission) {
			s.Strategy = &delivery.Override{Kind: delivery.Canary, Steps: []delivery.StepSpec{{Weight: 5000, Hold: 100 * time.Millisecond}, {Weight: delivery.Full}}}
		})
		h.until("the canary answers", func() bool {
			_, body := h.get("prod", "", "/")
			return strings.HasPrefix(body, version+" ")
		}, func() string { return "" })
		ours += time.Since(begun)
		h.ended(h.id(s, "prod"))
	}
	b.ReportMetric(float64(ours.Milliseconds())/float64(n), "ms/submit-to-canary")
	b.ReportMetric(float64(bare.Milliseconds())/float64(n), "ms/start-by-hand")
	b.ReportMetric(float64(ours)/float64(bare), "x/by-hand")
}

// byHand starts the test service as a shell would, and returns the time until it answers.
func (h *home) byHand(b *testing.B, how manners) time.Duration {
	b.Helper()
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "manners.json"), []byte(`{"Version":"`+how.Version+`"}`), 0o644); err != nil {
		b.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	addr := porttest.Free(b)
	begun := time.Now()
	cmd := exec.CommandContext(b.Context(), self, "service")
	cmd.Dir, cmd.Env = dir, []string{"PORT=" + addr[strings.LastIndex(addr, ":")+1:]}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	h.until("the program answers", func() bool {
		res, err := http.Get("http://" + addr + "/healthz")
		if err == nil {
			res.Body.Close()
		}
		return err == nil
	}, func() string { return "" })
	took := time.Since(begun)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	cmd.Wait()
	return took
}

// From the judge's verdict to a data plane that gives the bad release nothing,
// against starting a program of the same kind: how much sooner a route write is
// than any way back that has to start something.
func BenchmarkVerdictToZeroWeight(b *testing.B) {
	h := build(b, "{strategy: canary, steps: [{weight: 50, hold: 1s}, {weight: 100, hold: 0s}], soak: 0s, window: 1m, deadline: 2m}", "prod")
	h.ended(h.id(h.deploy("api", manners{Version: "v0"}, nil), "prod"))
	plane := trafficproxy.New(filepath.Join(h.state, "proxy", "proxy.sock"))
	l := h.load("prod", 8)
	defer l.end()
	var ours, bare time.Duration
	n := 0
	for b.Loop() {
		n++
		s := h.deploy("api", manners{Version: "bad" + strings.Repeat("i", n), Fail: 0.9}, nil)
		exposed := false
		var zero time.Time
		h.until("the bad release has nothing", func() bool {
			st, err := plane.State(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			w := weightIn(st, s.Release.ID)
			exposed = exposed || w > 0
			zero = time.Now()
			return exposed && w == 0
		}, func() string { return "" })
		r := h.ended(h.id(s, "prod"))
		if r.Cause.Kind != delivery.CauseVerdict {
			b.Fatalf("went back by %s: %s", r.Cause.Kind, r.Cause.Text)
		}
		ours += zero.Sub(r.Cause.At)
		bare += h.byHand(b, manners{Version: "x"})
	}
	b.ReportMetric(float64(ours.Microseconds())/1000/float64(n), "ms/verdict-to-zero")
	b.ReportMetric(float64(bare.Milliseconds())/float64(n), "ms/start-by-hand")
	b.ReportMetric(float64(ours)/float64(bare), "x/by-hand")
}

// weightIn is the weight that the data plane gives a release of api.
func weightIn(st traffic.State, id delivery.ReleaseID) delivery.Weight {
	for _, r := range st.Routes {
		if r.Name == "prod/api" {
			return delivery.Route{Split: r.Split}.WeightOf(id)
		}
	}
	return 0
}
