package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/app"
	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/proxy/handover"
	"github.com/slipway-cd/slipway/internal/workload/process"
)

// The test binary is every process of the house: it starts itself again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		switch os.Args[1] {
		case "shim":
			os.Exit(process.Shim(ctx, os.Args[2:]))
		case "server":
			exit(app.Server(ctx, cli.ServerOptions{State: os.Args[3], Addr: os.Args[5], Log: os.Stderr}))
		case "proxy":
			exit(app.Proxy(ctx, cli.ProxyOptions{State: os.Args[3], Log: os.Stderr}))
		case "oldproxy":
			run := app.OldProxy
			if handover.Inherited() { // run as it was, by a newer binary
				run = app.Proxy
			}
			exit(run(ctx, cli.ProxyOptions{State: os.Args[3], Log: os.Stderr}))
		case "service":
			exit(serve(ctx))
		}
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// manners is how a version of the test service behaves; it is the bundle.
type manners struct {
	Version string
	Fail    float64 // share of requests answered 500
	Die     string  // says this and exits at once
	Sick    bool    // never answers its health check
	Lose    float64 // share of orders that it loses, which its metrics tell and no answer does
}

// serve is the test service: it answers what it is, and calls others when asked.
func serve(ctx context.Context) error {
	b, err := os.ReadFile("manners.json")
	if err != nil {
		return err
	}
	var how manners
	if err := json.Unmarshal(b, &how); err != nil {
		return err
	}
	if how.Die != "" {
		fmt.Println(how.Die)
		os.Exit(3)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if how.Sick {
			http.Error(w, "warming up", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/env", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Join(os.Environ(), "\n")) })
	mux.HandleFunc("/call", func(w http.ResponseWriter, r *http.Request) {
		res, err := http.Get(os.Getenv(r.URL.Query().Get("to")) + "/")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		io.Copy(w, res.Body)
	})
	var kept, lost atomic.Int64
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE orders_total counter\norders_total{result=\"kept\"} %d\norders_total{result=\"lost\"} %d\n", kept.Load(), lost.Load())
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		if rand.Float64() < how.Lose {
			lost.Add(1)
		} else {
			kept.Add(1)
		}
		if rand.Float64() < how.Fail {
			http.Error(w, "lost", http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, how.Version+" "+os.Getenv("GREETING"))
	})
	srv := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: mux}
	context.AfterFunc(ctx, func() { srv.Shutdown(context.WithoutCancel(ctx)) })
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// home is a house that runs: two processes, a project, a folder.
type home struct {
	t     testing.TB
	dir   string
	state string
	addr  string            // of the API
	port  map[string]string // environment -> host:port
	yaml  string            // the project
	api   *client.Client
}

// build starts a house with services api and web in the environments named, of
// which web calls api.
func build(t testing.TB, rollout string, envs ...string) *home {
	t.Helper()
	dir, err := os.MkdirTemp("", "slip") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	h := &home{t: t, dir: dir, state: filepath.Join(dir, "s"), addr: porttest.Free(t), port: map[string]string{}}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		if _, err := app.Down(ctx, cli.DownOptions{State: h.state}); err != nil {
			t.Errorf("down: %v", err)
		}
		if t.Failed() {
			h.tellLogs()
		}
		filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				os.Chmod(p, 0o700)
			}
			return nil
		})
		os.RemoveAll(dir)
	})
	h.up()
	var yaml strings.Builder
	fmt.Fprintf(&yaml, "project: test\nenvironments:\n")
	for _, env := range envs {
		h.port[env] = porttest.Free(t)
		fmt.Fprintf(&yaml, "  - {name: %s, listen: %q}\n", env, h.port[env])
	}
	self, _ := os.Executable()
	fmt.Fprintf(&yaml, "rollout: %s\nservices:\n", rollout)
	health := "{http: /healthz, interval: 100ms, timeout: 2s, rise: 1}"
	fmt.Fprintf(&yaml, "  api: {run: [%q, service], versions: ./api, health: %s, public: /, config: {GREETING: hello}, stop: {drain: 2s, grace: 2s}}\n", self, health)
	fmt.Fprintf(&yaml, "  web: {run: [%q, service], versions: ./web, health: %s, needs: [api], stop: {drain: 2s, grace: 2s}}\n", self, health)
	h.put(yaml.String())
	return h
}

// put puts a project in force.
func (h *home) put(yaml string) {
	h.t.Helper()
	if _, _, err := h.api.PutProject(h.t.Context(), "slipway.yaml", h.dir, []byte(yaml)); err != nil {
		h.t.Fatalf("project: %v\n%s", err, yaml)
	}
	h.yaml = yaml
}

func (h *home) up() cli.UpReport {
	h.t.Helper()
	report, err := app.Up(h.t.Context(), cli.UpOptions{State: h.state, Addr: h.addr})
	if err != nil {
		h.t.Fatal(err)
	}
	if h.api, err = client.Find(h.state, "ann"); err != nil {
		h.t.Fatal(err)
	}
	return report
}

func (h *home) tellLogs() {
	for _, part := range []string{"server", "proxy"} {
		b, _ := os.ReadFile(filepath.Join(h.state, part+".log"))
		h.t.Logf("%s.log:\n%s", part, b[max(0, len(b)-3000):])
	}
}

// deploy makes a version of the service and submits it.
func (h *home) deploy(service string, how manners, change func(*control.Submission)) control.Submitted {
	h.t.Helper()
	done, err := h.try(service, how, change)
	if err != nil {
		h.t.Fatal(err)
	}
	return done
}

func (h *home) try(service string, how manners, change func(*control.Submission)) (control.Submitted, error) {
	h.t.Helper()
	path := filepath.Join(h.dir, service, how.Version)
	if err := os.MkdirAll(path, 0o755); err != nil {
		h.t.Fatal(err)
	}
	doc, _ := json.Marshal(how)
	if err := os.WriteFile(filepath.Join(path, "manners.json"), doc, 0o644); err != nil {
		h.t.Fatal(err)
	}
	d, err := h.api.Upload(h.t.Context(), path)
	if err != nil {
		return control.Submitted{}, err
	}
	s := control.Submission{Service: service, Version: how.Version, Bundle: d}
	if change != nil {
		change(&s)
	}
	return h.api.Submit(h.t.Context(), s)
}

// ended waits until a rollout is over.
func (h *home) ended(id delivery.RolloutID) delivery.Rollout {
	h.t.Helper()
	var r delivery.Rollout
	h.until("rollout "+string(id)+" is over", func() bool {
		live, err := h.api.Live(h.t.Context(), id)
		r = live.Rollout
		return err == nil && r.State.Final()
	}, func() string { return fmt.Sprintf("%s: %s, waiting on %+v", r.State, r.Reason, r.Waiting) })
	return r
}

func (h *home) id(s control.Submitted, env string) delivery.RolloutID {
	return delivery.RolloutID(strconv.Itoa(int(s.Change.ID)) + "/" + env)
}

// until waits for something to be so.
func (h *home) until(what string, so func() bool, now func() string) {
	h.t.Helper()
	deadline := time.After(3 * time.Minute)
	tick := time.NewTicker(30 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			h.t.Fatalf("not in three minutes: %s; %s", what, now())
		case <-tick.C:
		}
	}
}

// get asks a service in an environment, as a caller from outside.
func (h *home) get(env, host, path string, header ...string) (int, string) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, "http://"+h.port[env]+path, nil)
	if err != nil {
		h.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// load asks api in an environment all the time, without ever trying twice, and
// counts; end stops it.
type load struct {
	mu       sync.Mutex
	all, bad int
	first    string
	work     sync.WaitGroup
	stop     context.CancelFunc
}

func (h *home) load(env string, callers int) *load {
	ctx, stop := context.WithCancel(h.t.Context())
	l := &load{stop: stop}
	h.t.Cleanup(func() { l.end() })
	for range callers {
		l.work.Go(func() {
			c := &http.Client{Transport: &http.Transport{}}
			defer c.CloseIdleConnections()
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+h.port[env]+"/", strings.NewReader("x"))
				res, err := c.Do(req)
				if ctx.Err() != nil {
					return
				}
				why := ""
				if err != nil {
					why = err.Error()
				} else {
					b, readErr := io.ReadAll(res.Body)
					res.Body.Close()
					if readErr != nil || res.StatusCode != http.StatusOK {
						why = fmt.Sprintf("%d %s %v", res.StatusCode, b, readErr)
					}
				}
				l.mu.Lock()
				l.all++
				if why != "" {
					l.bad++
					if l.first == "" {
						l.first = why
					}
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

func (l *load) end() (all, bad int, first string) {
	l.stop()
	l.work.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all, l.bad, l.first
}
