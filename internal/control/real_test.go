package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/proxy"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	trafficproxy "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/workload"
	"github.com/slipway-cd/slipway/internal/workload/process"
)

// The words by which this test binary is told to be another process.
const (
	asShim   = "shim"
	asApp    = "be-app"
	asProxy  = "be-proxy"
	asServer = "be-server"
)

// atOnce lets a process end without the second that the race detector waits.
const atOnce = "GORACE=atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if len(os.Args) < 2 {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	switch os.Args[1] {
	case asShim:
		os.Exit(process.Shim(ctx, os.Args[2:]))
	case asApp:
		os.Exit(report(beApp(ctx)))
	case asProxy:
		os.Exit(report(beProxy(ctx, os.Args[2])))
	case asServer:
		os.Exit(report(beServer(ctx, os.Args[2])))
	}
	os.Exit(m.Run())
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// character is what a bundle holds: how its instances behave.
type character struct {
	Version string        `json:"version"`
	Fail    float64       `json:"fail"`   // share of requests answered 500
	Start   time.Duration `json:"start"`  // until it listens
	Hollow  bool          `json:"hollow"` // it answers well, and leaves out what it was asked for
}

// ownFailure marks an answer that failed because its release is bad.
const ownFailure = "X-Own-Failure"

// beApp is the service: it answers with its version, and fails as its bundle says.
func beApp(ctx context.Context) error {
	b, err := os.ReadFile("character.json")
	if err != nil {
		return err
	}
	var c character
	if err := json.Unmarshal(b, &c); err != nil {
		return err
	}
	late := time.NewTimer(c.Start)
	select {
	case <-late.C:
	case <-ctx.Done():
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Version", c.Version)
		if rand.Float64() < c.Fail {
			w.Header().Set(ownFailure, "yes")
			w.WriteHeader(http.StatusInternalServerError)
		}
		if callee := os.Getenv("CATALOG_URL"); callee != "" && !asks(r, callee) {
			w.Header().Set(ownFailure, "yes")
			w.WriteHeader(http.StatusBadGateway)
		}
		if !c.Hollow {
			_, _ = io.WriteString(w, c.Version)
		}
	})
	srv := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	gone := make(chan error, 1)
	go func() { gone <- srv.ListenAndServe() }()
	select {
	case err := <-gone:
		return err
	case <-ctx.Done():
		return srv.Shutdown(context.WithoutCancel(ctx))
	}
}

// asks says whether a service that this one needs gave it something to work
// with. It hands on who asks, as tracing libraries do.
func asks(r *http.Request, callee string) bool {
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, callee+"/prices", http.NoBody)
	if err != nil {
		return false
	}
	ask.Header["Baggage"] = r.Header["Baggage"]
	res, err := http.DefaultClient.Do(ask)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return err == nil && res.StatusCode == http.StatusOK && len(body) > 0
}

func beProxy(ctx context.Context, dir string) error {
	return proxy.Run(ctx, proxy.Options{Socket: filepath.Join(dir, "p.sock"), StateDir: filepath.Join(dir, "proxy"), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Version: "test"})
}

// hall is one machine of a test: a folder, a data plane in a process of its
// own, and whatever runs below them.
type hall struct {
	t    *testing.T
	dir  string
	addr string // of the listener of prod
}

// newHall makes a folder with a short name, for the sake of the socket in it,
// and starts the data plane. In the end nothing of it runs any more.
func newHall(t *testing.T) *hall {
	t.Helper()
	dir, err := os.MkdirTemp("", "slipway")
	if err != nil {
		t.Fatal(err)
	}
	h := &hall{t: t, dir: dir, addr: porttest.Free(t)}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.tail("server.log"))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h.start(asProxy, "proxy.log")
	t.Cleanup(h.stopAll)
	return h
}

// start starts this binary as another process that ends with the test.
func (h *hall) start(as, log string) *exec.Cmd {
	h.t.Helper()
	out, err := os.OpenFile(filepath.Join(h.dir, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(self(h.t), as, h.dir)
	cmd.Stdout, cmd.Stderr, cmd.Env = out, out, append(os.Environ(), atOnce)
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	if as == asProxy {
		h.t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
		})
	}
	return cmd
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// stopAll stops every instance, so that a failed test leaves nothing behind.
func (h *hall) stopAll() {
	d := h.driver(context.WithoutCancel(h.t.Context()))
	defer d.Close()
	ctx, stop := context.WithTimeout(context.WithoutCancel(h.t.Context()), 20*time.Second)
	defer stop()
	all, err := d.List(ctx)
	if err != nil {
		h.t.Error(err)
	}
	var work sync.WaitGroup
	for _, s := range all {
		work.Go(func() { _ = d.Stop(ctx, s.Spec.ID) })
	}
	work.Wait()
}

// tail is the end of a log.
func (h *hall) tail(log string) string {
	b, err := os.ReadFile(filepath.Join(h.dir, log))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

func (h *hall) driver(ctx context.Context) *process.Driver {
	h.t.Helper()
	d, err := process.Open(ctx, processOptions(h.dir, self(h.t)))
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

func processOptions(dir, exe string) process.Options {
	return process.Options{
		Root: filepath.Join(dir, "run"), Shim: []string{"/usr/bin/env", atOnce, exe, asShim}, Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Tuning: process.Tuning{NoGroups: true, BackoffMin: 50 * time.Millisecond},
	}
}

// bundle keeps the files of one version of the service.
func (h *hall) bundle(c character) delivery.Digest {
	h.t.Helper()
	src := filepath.Join(h.t.TempDir(), c.Version)
	b, err := json.Marshal(c)
	if err == nil {
		err = errors.Join(os.MkdirAll(src, 0o755), os.WriteFile(filepath.Join(src, "character.json"), b, 0o644))
	}
	if err != nil {
		h.t.Fatal(err)
	}
	bundles, err := artifact.Open(filepath.Join(h.dir, "bundles"))
	if err != nil {
		h.t.Fatal(err)
	}
	d, err := bundles.Snapshot(h.t.Context(), src)
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

// project is a project of real processes with one environment.
func (h *hall) project(strategy delivery.Strategy, replicas int, services ...string) delivery.Project {
	p := delivery.Project{Name: "shop", Environments: []delivery.Environment{{Name: "prod", Listen: h.addr, Promote: delivery.Auto}}}
	for _, name := range services {
		p.Services = append(p.Services, delivery.Service{
			Name: name, Config: map[string]string{"GORACE": strings.TrimPrefix(atOnce, "GORACE=")},
			Run: delivery.RunSpec{
				Command: []string{self(h.t), asApp},
				Health:  delivery.Health{HTTP: "/healthz", Interval: 500 * time.Millisecond, Timeout: 5 * time.Second, Rise: 1, Fall: 3},
				Stop:    delivery.Stop{Drain: 5 * time.Second, Grace: 5 * time.Second},
			},
			In: map[string]delivery.Deployment{"prod": {Replicas: replicas, Strategy: strategy}},
		})
	}
	return p
}

// parts are the real parts of a control plane over a hall's folder.
type parts struct {
	store   *store.Store
	driver  *process.Driver
	bundles *artifact.Store
}

func openParts(ctx context.Context, dir, exe string) (p parts, err error) {
	if p.store, err = store.Open(ctx, filepath.Join(dir, "store.db")); err != nil {
		return p, err
	}
	if p.bundles, err = artifact.Open(filepath.Join(dir, "bundles")); err != nil {
		return p, errors.Join(err, p.store.Close())
	}
	if p.driver, err = process.Open(ctx, processOptions(dir, exe)); err != nil {
		return p, errors.Join(err, p.store.Close())
	}
	return p, nil
}

func (p parts) close() error { return errors.Join(p.driver.Close(), p.store.Close()) }

func plane(dir string) *trafficproxy.Driver { return trafficproxy.New(filepath.Join(dir, "p.sock")) }

// crowd is callers that keep their connections and never ask twice.
type crowd struct {
	asked, own, lost atomic.Int64
	mu               sync.Mutex
	words            []string // of the first requests that were lost
	by               map[string]int
	stop             func()
}

// call sends callers to services until stop. A request that fails for another
// reason than a bad release's own answer is lost.
func (h *hall) call(callers int, pause time.Duration, services ...string) *crowd {
	c := &crowd{by: map[string]int{}}
	ctx, cancel := context.WithCancel(h.t.Context())
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 30 * time.Second}
			defer client.CloseIdleConnections()
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for n := 0; ; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				c.once(h.addr, client, services[(i+n)%len(services)], strconv.Itoa(i)+"."+strconv.Itoa(n))
			}
		})
	}
	c.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
	})
	h.t.Cleanup(c.stop)
	return c
}

// once asks once. A POST with a body that cannot be had again is retried by nobody.
func (c *crowd) once(addr string, client *http.Client, service, key string) {
	req, err := http.NewRequest(http.MethodPost, "http://"+addr+"/order", io.NopCloser(strings.NewReader("one of each")))
	if err != nil {
		c.lose(err.Error())
		return
	}
	req.Host = service + ".localhost"
	req.Header.Set("Slipway-Key", key)
	c.asked.Add(1)
	res, err := client.Do(req)
	if err != nil {
		c.lose(err.Error())
		return
	}
	body, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	switch {
	case err != nil:
		c.lose(err.Error())
	case res.StatusCode == http.StatusOK:
		c.mu.Lock()
		c.by[res.Header.Get("X-Version")]++
		c.mu.Unlock()
	case res.Header.Get(ownFailure) != "":
		c.own.Add(1)
	default:
		c.lose(res.Status + " " + string(body))
	}
}

func (c *crowd) lose(why string) {
	c.lost.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.words) < 5 {
		c.words = append(c.words, time.Now().Format("15:04:05.000 ")+why)
	}
}

func (c *crowd) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d requests, %d failed by a bad release, %d lost %q, answered by %v", c.asked.Load(), c.own.Load(), c.lost.Load(), c.words, c.by)
}

// await looks until true, and tells what it waited for when it gives up.
func await(t *testing.T, limit time.Duration, what string, true func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(limit)
	defer end.Stop()
	for !true() {
		select {
		case <-tick.C:
		case <-end.C:
			t.Fatal("never came: " + what)
		case <-t.Context().Done():
			t.Fatal("the test ended before: " + what)
		}
	}
}

// awaitPlane waits until the data plane answers.
func (h *hall) awaitPlane() {
	h.t.Helper()
	await(h.t, 30*time.Second, "the data plane answers", func() bool {
		_, err := plane(h.dir).State(h.t.Context())
		return err == nil
	})
}

// count counts the processes below the hall: shims and applications.
func (h *hall) count() (shims, apps int) {
	h.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, p := range all {
		line, err := os.ReadFile(filepath.Join(p, "cmdline"))
		if err != nil {
			continue // it is gone
		}
		args := strings.Split(string(line), "\x00")
		cwd, err := os.Readlink(filepath.Join(p, "cwd"))
		switch {
		case err != nil || len(args) < 2:
		case args[1] == asShim && strings.HasPrefix(cwd, h.dir):
			shims++
		case args[1] == asApp && strings.HasPrefix(cwd, h.dir):
			apps++
		}
	}
	return shims, apps
}

// sound looks at a hall in which everything has come to rest: the rows say what
// runs, and nothing else does.
func (h *hall) sound(st *store.Store, replicas int, want map[string]string) {
	t := h.t
	t.Helper()
	ctx := t.Context()
	w, err := st.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range w.Rollouts {
		t.Errorf("rollout %s is still %s", r.ID, r.State)
	}
	for _, s := range w.Stables {
		if s.Version != want[s.Service] {
			t.Errorf("%s: %s is stable, want %s", s.Service, s.Version, want[s.Service])
		}
	}
	if len(w.Wants) != len(want) {
		t.Errorf("wants = %v, want one of each service", w.Wants)
	}
	state, err := plane(h.dir).State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range w.Routes {
		rs := routeIn(state, routeName(row.Env, row.Service))
		stable := stableIn(w, row.Service)
		if row.WeightOf(stable.Release) != delivery.Full || (delivery.Route{Split: rs.Split}).WeightOf(stable.Release) != delivery.Full || rs.Gen != row.Gen {
			t.Errorf("route of %s = %v, in force %v; want everything on %s", row.Service, row, rs, stable.Version)
		}
		for _, p := range rs.Pools {
			if want := map[bool]int{true: replicas}[p.Release == stable.Release]; len(p.Endpoints) != want || p.Healthy != want {
				t.Errorf("pool %s of %s has %d endpoints, %d healthy; want %d", p.Release, row.Service, len(p.Endpoints), p.Healthy, want)
			}
		}
	}
	await(t, 30*time.Second, "no process is left but those of what is stable", func() bool {
		shims, apps := h.count()
		return shims == replicas*len(want) && apps == replicas*len(want)
	})
	soundLedger(t, st)
}

func routeIn(s traffic.State, name string) traffic.RouteState {
	for _, rs := range s.Routes {
		if rs.Name == name {
			return rs
		}
	}
	return traffic.RouteState{}
}

func stableIn(w store.World, service string) delivery.Stable {
	for _, s := range w.Stables {
		if s.Service == service {
			return s
		}
	}
	return delivery.Stable{}
}

// soundLedger checks the chain, and that nothing was written down twice.
func soundLedger(t *testing.T, st *store.Store) {
	t.Helper()
	rep, err := st.Verify(t.Context())
	if err != nil || rep.Broken != nil {
		t.Errorf("ledger: %v, %+v", err, rep.Broken)
	}
	keys := map[string]int64{}
	for _, e := range ledger(t, st) {
		if old, twice := keys[e.Key]; e.Key != "" && twice {
			t.Errorf("lines %d and %d have the key %s", old, e.Seq, e.Key)
		}
		keys[e.Key] = e.Seq
	}
}

// ledger reads every line.
func ledger(t *testing.T, st *store.Store) []delivery.Event {
	t.Helper()
	var all []delivery.Event
	for since := int64(0); ; {
		page, err := st.Events(t.Context(), store.EventQuery{Since: since, Limit: store.MaxLimit})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		since = page[len(page)-1].Seq
	}
}

// tell prints the ledger of a test that failed.
func tell(t *testing.T, st *store.Store) {
	t.Helper()
	for _, e := range ledger(t, st) {
		t.Logf("%4d %s %-9s %-8s %-10s %s", e.Seq, e.At.Format("15:04:05.000"), e.Kind, e.Rollout, e.State, e.Text)
	}
}

// running lists what is not stopped.
func running(ctx context.Context, d workload.Driver) ([]workload.Status, error) {
	all, err := d.List(ctx)
	var on []workload.Status
	for _, s := range all {
		if s.Phase != workload.Stopped {
			on = append(on, s)
		}
	}
	return on, err
}
