// Package prometheustest runs the real Prometheus for tests, from Debian's
// package: a server in a folder of its own, filled by scraping or by remote
// write. It stands in for nothing; a test without the program fails.
package prometheustest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/porttest"
)

// Patience is how long a test waits for something to come about.
const Patience = 30 * time.Second

// Server is a Prometheus that runs until the end of a test.
type Server struct {
	URL    string
	t      testing.TB
	dir    string
	client http.Client
}

// Start runs a server with the scrape_configs that are given as YAML, or none.
func Start(t testing.TB, scrape string) *Server {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Fatalf("the real Prometheus is needed: %v; run tools/setup", err)
	}
	s := &Server{t: t, dir: t.TempDir()}
	config := filepath.Join(s.dir, "prometheus.yml")
	text := "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nstorage: {tsdb: {out_of_order_time_window: 30m}}\n" + scrape
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(program, config, porttest.Free(t))
	return s
}

func (s *Server) run(program, config, addr string) {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(s.dir, "data"),
		"--web.listen-address="+addr, "--web.enable-remote-write-receiver", "--web.enable-lifecycle", "--enable-feature=native-histograms", "--log.level=warn")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		stop()
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed at the end
		close(ended)
	}()
	end := func() {
		stop()
		<-ended
	}
	s.URL = "http://" + addr
	deadline := time.Now().Add(Patience)
	for time.Now().Before(deadline) && s.ready(ended) != nil {
		select {
		case <-ended:
			deadline = time.Now()
		case <-tick():
		}
	}
	if err := s.ready(ended); err != nil {
		end()
		s.t.Fatalf("Prometheus did not start: %v\n%s", err, log.String())
	}
	s.t.Cleanup(end)
}

func tick() <-chan time.Time { return time.NewTimer(20 * time.Millisecond).C }

func (s *Server) ready(ended <-chan struct{}) error {
	select {
	case <-ended:
		return fmt.Errorf("it has ended")
	default:
	}
	res, err := s.client.Get(s.URL + "/-/ready")
	if err != nil {
		return err
	}
	if err := res.Body.Close(); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", res.Status)
	}
	return nil
}

// Until waits until a condition holds, and fails the test when it never does.
func (s *Server) Until(what string, holds func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); {
		if holds() {
			return
		}
		<-tick()
	}
	s.t.Fatalf("after %v it is still not true that %s", Patience, what)
}

// Series is one series with its samples, to be written.
type Series struct {
	Labels  map[string]string // __name__ among them
	Times   []time.Time
	Values  []float64
	Natives []Native // in place of Values
}

// Write sends series by remote write, and fails the test unless all are taken.
func (s *Server) Write(all []Series) {
	s.t.Helper()
	const most = 500
	for len(all) > 0 {
		n := min(most, len(all))
		s.write(all[:n])
		all = all[n:]
	}
}

func (s *Server) write(all []Series) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.URL+"/api/v1/write", bytes.NewReader(snappy(writeRequest(all))))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	res, err := s.client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	_ = res.Body.Close()
	if err != nil || res.StatusCode/100 != 2 {
		s.t.Fatalf("remote write: %s %s %v", res.Status, body, err)
	}
}

// Targets is a scrape_configs with one job for each name, of the targets that
// answer there and with the labels that are given to them.
func Targets(interval time.Duration, jobs map[string][]Target) string {
	var b strings.Builder
	b.WriteString("scrape_configs:\n")
	for name, targets := range jobs {
		fmt.Fprintf(&b, "- job_name: %q\n  scrape_interval: %s\n  scrape_timeout: %s\n  honor_labels: false\n  static_configs:\n", name, interval, interval)
		for _, t := range targets {
			fmt.Fprintf(&b, "  - targets: [%q]\n", t.Addr)
			if len(t.Labels) == 0 {
				continue
			}
			b.WriteString("    labels:\n")
			for k, v := range t.Labels {
				b.WriteString("      " + k + ": " + strconv.Quote(v) + "\n")
			}
		}
	}
	return b.String()
}

// Target is one address that is scraped.
type Target struct {
	Addr   string // host:port
	Labels map[string]string
}
