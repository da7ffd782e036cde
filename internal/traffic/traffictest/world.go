package traffictest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// patience is how long a condition may take on a busy machine.
const patience = 30 * time.Second

// World is one engine with real instances and one public listener.
type World struct {
	Driver     traffic.Driver
	Addr       string // of the public listener of prod
	Generation int64
	Listeners  []traffic.Listener
	Routes     []traffic.Route
	Plane      delivery.DataPlane // if Trusted is nil this machine is: tests give their sticky keys by header
	PreviewKey []byte
	Failures   bool
	t          *testing.T
	client     *http.Client
}

// NewWorld returns a world around d with nothing applied.
func NewWorld(t *testing.T, d traffic.Driver) *World {
	t.Helper()
	w := &World{Driver: d, Addr: porttest.Free(t), t: t, client: &http.Client{Transport: &http.Transport{}, Timeout: patience}}
	t.Cleanup(w.client.CloseIdleConnections)
	w.Listeners = []traffic.Listener{{Name: "prod", Addr: w.Addr, Env: "prod"}}
	return w
}

// Instance is a real HTTP server that answers with its release. It holds
// requests to /hold until Let, and answers /status/N with N.
type Instance struct {
	ID, Addr string
	Release  delivery.ReleaseID
	Version  string
	requests atomic.Int64
	held     atomic.Int64
	let      chan struct{}
	once     sync.Once
}

// Instance starts an instance that ends with the test.
func (w *World) Instance(id string, release delivery.ReleaseID, version string) *Instance {
	w.t.Helper()
	in := &Instance{ID: id, Release: release, Version: version, let: make(chan struct{})}
	s := httptest.NewServer(in)
	in.Addr = s.Listener.Addr().String()
	w.t.Cleanup(s.Close)
	w.t.Cleanup(in.Let)
	return in
}

// ServeHTTP answers with the release.
func (in *Instance) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		return
	}
	in.requests.Add(1)
	if r.URL.Path == "/hold" {
		in.held.Add(1)
		select {
		case <-in.let:
		case <-r.Context().Done():
			return
		}
	}
	if code, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/status/")); err == nil {
		w.WriteHeader(code)
	}
	_, _ = io.WriteString(w, string(in.Release))
}

// Requests returns how many requests the instance got, checks not counted.
func (in *Instance) Requests() int64 { return in.requests.Load() }

// Let lets held requests go, now and later.
func (in *Instance) Let() { in.once.Do(func() { close(in.let) }) }

// AwaitHeld waits until a request is held.
func (in *Instance) AwaitHeld(t *testing.T) {
	t.Helper()
	Await(t, "a held request", func() bool { return in.held.Load() > 0 })
}

// Share returns the pool of one instance with weight.
func Share(in *Instance, weight delivery.Weight) traffic.Pool {
	return traffic.Pool{
		Release: in.Release, Version: in.Version, Weight: weight,
		Endpoints: []traffic.Endpoint{{ID: in.ID, Addr: in.Addr}},
		Check:     traffic.Check{HTTP: "/healthz", Interval: time.Second, Timeout: 5 * time.Second, Rise: 1, Fall: 3},
	}
}

// Route returns a route of prod named "prod/SERVICE".
func (w *World) Route(name string, hosts []string, pools ...traffic.Pool) traffic.Route {
	return traffic.Route{
		Name: name, Env: "prod", Service: strings.TrimPrefix(name, "prod/"), Gen: w.Generation + 1,
		Hosts: hosts, Salt: "one rollout", Pools: pools, Traffic: delivery.Traffic{Timeout: patience},
	}
}

// Table returns the world as a table.
func (w *World) Table() traffic.Table {
	plane := w.Plane
	if plane.Trusted == nil {
		plane.Trusted = []string{"127.0.0.0/8"}
	}
	return traffic.Table{Generation: w.Generation, Listeners: w.Listeners, Routes: w.Routes, Plane: plane, PreviewKey: w.PreviewKey, Failures: w.Failures}
}

// MustApply applies the world as the next generation and waits until its
// listeners are bound.
func (w *World) MustApply() {
	w.t.Helper()
	w.Generation++
	if err := w.Driver.Apply(w.t.Context(), w.Table()); err != nil {
		w.t.Fatalf("Apply(generation %d) = %v", w.Generation, err)
	}
	Await(w.t, "listeners to be bound", func() bool {
		for _, l := range w.State().Listeners {
			if l.Error != "" {
				return false
			}
		}
		return true
	})
}

// State returns the engine's state.
func (w *World) State() traffic.State {
	w.t.Helper()
	s, err := w.Driver.State(w.t.Context())
	if err != nil {
		w.t.Fatalf("State() = %v", err)
	}
	return s
}

// Ask sends one GET to the public listener; key is the sticky key or "".
func (w *World) Ask(host, key string) (int, string) { return w.AskPath(host, key, "/") }

// AskPath is Ask with a path.
func (w *World) AskPath(host, key, path string) (int, string) {
	return w.ask(w.Addr, host, key, path, "")
}

// Get returns the release that answers; anything but 200 fails the test.
func (w *World) Get(host, key string) string {
	w.t.Helper()
	code, body := w.Ask(host, key)
	if code != http.StatusOK {
		w.t.Fatalf("GET %s = %d %s, want 200", host, code, body)
	}
	return body
}

// Preview returns what answers the preview header.
func (w *World) Preview(host, release string) string {
	_, body := w.ask(w.Addr, host, "", "/", release)
	return body
}

func (w *World) ask(addr, host, key, path, preview string) (int, string) {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return 0, err.Error()
	}
	req.Host = host
	if key != "" {
		req.Header.Set("Slipway-Key", key)
	}
	if preview != "" {
		req.Header.Set("Slipway-Preview", preview)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// BlockKey names a block; the newest of a key replaces the one before.
type BlockKey struct {
	Route   string
	Release delivery.ReleaseID
	Caller  string
	Second  int64
}

// AwaitBlocks watches from the beginning until the blocks satisfy done.
func (w *World) AwaitBlocks(what string, done func(map[BlockKey]traffic.Block) bool) {
	w.t.Helper()
	ctx, stop := context.WithTimeout(w.t.Context(), patience)
	defer stop()
	all := map[BlockKey]traffic.Block{}
	seen := false
	err := w.Driver.Watch(ctx, 0, func(f traffic.Frame) {
		for _, b := range f.Blocks {
			all[BlockKey{b.Route, b.Release, b.Caller, b.Second}] = b
		}
		if !seen && done(all) {
			seen = true
			stop()
		}
	})
	if !seen {
		w.t.Fatalf("waited for %s; have %s (%v)", what, fmt.Sprintf("%+v", all), err)
	}
}

// Await polls until ok or the test has waited long enough.
func Await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}
