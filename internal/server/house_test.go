package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/control/controltest"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

const testToken = "correct-horse-battery-staple"

const testKey = "signs previews in tests"

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// shopYAML is the project of most tests: two services, two environments.
const shopYAML = `project: shop
services:
  cart: { run: ./cart, needs: [payment], config: { CURRENCY: EUR } }
  payment: { run: ./payment }
environments:
  - { name: staging, replicas: 1 }
  - { name: prod, replicas: 1, promote: manual }
rollout: { strategy: recreate, soak: 0s }
`

// house is a whole control plane that answers on a real port.
type house struct {
	t       *testing.T
	url     string
	m       *controltest.Machine
	store   *store.Store
	bundles *artifact.Store
	loop    *control.Loop
	guard   *access.Guard
	server  *Server
	stop    func() // the HTTP server, and waits for it
}

// build starts a server over dir without a running loop: nothing moves by itself.
func build(t *testing.T) *house { return buildIn(t, t.TempDir()) }

func buildIn(t *testing.T, dir string) *house {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	bundles, err := artifact.Open(filepath.Join(dir, "bundles"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h := &house{t: t, m: controltest.New(), store: st, bundles: bundles}
	h.loop = control.New(control.Deps{Store: st, Workload: h.m, Traffic: traffic.New(h.m.Plane()), Artifacts: bundles, PreviewKey: []byte(testKey), Log: log})
	l, err := Listen("127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.url = "http://" + l.Addr().String()
	h.guard = access.New(access.Deps{Root: testToken, Addr: l.Addr().String(), Store: st, Log: log})
	h.server = New(Deps{Loop: h.loop, Store: st, Artifacts: bundles, Workload: h.m, Log: log, Version: "v0-test", Guard: h.guard})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, h.server, log) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	t.Cleanup(h.stop)
	return h
}

// run lets the loop move what is submitted, until the test ends.
func (h *house) run() *house {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- h.loop.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Run = %v", err)
		}
	})
	return h
}

// shop puts the project of most tests in force.
func (h *house) shop() *house {
	h.t.Helper()
	h.call(ask{method: "PUT", path: "/project?dir=/srv/shop", contentType: "application/yaml", body: shopYAML}).want(http.StatusOK)
	return h
}

// bundle uploads code that is one file with this text.
func (h *house) bundle(text string) delivery.Digest {
	h.t.Helper()
	dir := h.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main"), []byte(text), 0o700); err != nil {
		h.t.Fatal(err)
	}
	var tar bytes.Buffer
	if err := artifact.Pack(h.t.Context(), dir, &tar); err != nil {
		h.t.Fatal(err)
	}
	var out bundleKept
	h.call(ask{method: "POST", path: "/bundles", contentType: "application/x-tar", body: tar.String()}).want(http.StatusOK).into(&out)
	return out.Digest
}

// deploy submits a version of a service.
func (h *house) deploy(service, version string) control.Submitted {
	h.t.Helper()
	var out control.Submitted
	h.post("/changes", control.Submission{Service: service, Version: version, Bundle: h.bundle(service + version)}).want(http.StatusCreated).into(&out)
	return out
}

// say makes an instance of cart in prod write a line.
func (h *house) say(rel delivery.ReleaseID, text string) {
	h.m.Say(workload.ID("prod.cart."+string(rel)+".0"), text)
}

// ask is one request.
type ask struct {
	method, path, body, contentType string
	header                          map[string]string
	bare                            bool // without token
}

// reply is one answer.
type reply struct {
	t      *testing.T
	asked  string
	Status int
	Header http.Header
	Body   []byte
}

func (h *house) call(a ask) *reply {
	h.t.Helper()
	r, err := h.try(a)
	if err != nil {
		h.t.Fatal(err)
	}
	conforms(h.t, a, r)
	return r
}

func (h *house) try(a ask) (*reply, error) {
	req, err := http.NewRequestWithContext(h.t.Context(), a.method, h.url+Base+a.path, strings.NewReader(a.body))
	if err != nil {
		return nil, err
	}
	if a.body == "" {
		req.Body = nil
	}
	if !a.bare {
		req.Header.Set("Authorization", "Bearer "+testToken)
	}
	if a.contentType != "" {
		req.Header.Set("Content-Type", a.contentType)
	}
	for name, value := range a.header {
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return &reply{t: h.t, asked: a.method + " " + a.path, Status: resp.StatusCode, Header: resp.Header, Body: b}, err
}

func (h *house) get(path string) *reply {
	h.t.Helper()
	return h.call(ask{method: "GET", path: path})
}

func (h *house) post(path string, body any) *reply {
	h.t.Helper()
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			h.t.Fatal(err)
		}
		text = string(b)
	}
	return h.call(ask{method: "POST", path: path, contentType: "application/json", body: text, header: map[string]string{"Slipway-User": "ann"}})
}

func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.Status != status {
		r.t.Fatalf("%s = %d %s, want %d", r.asked, r.Status, r.Body, status)
	}
	return r
}

func (r *reply) into(v any) *reply {
	r.t.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		r.t.Fatalf("%s: %v in %s", r.asked, err, r.Body)
	}
	return r
}

// problem reads the answer as a refusal with this code, and holds every promise
// a refusal makes.
func (r *reply) problem(status int, c code) problem {
	r.t.Helper()
	r.want(status)
	var p problem
	r.into(&p)
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		r.t.Errorf("%s: Content-Type = %q, want application/problem+json", r.asked, ct)
	}
	if p.Code != c || p.Status != status || p.Title == "" || p.Detail == "" || !strings.HasSuffix(p.Type, "#"+string(c)) {
		r.t.Errorf("%s = %+v, want code %s and every field", r.asked, p, c)
	}
	return p
}

// eventually waits until ok says true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !ok() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatal("never: " + what)
		}
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// note appends n lines to the ledger in one write.
func (h *house) note(n int, e delivery.Event) {
	h.t.Helper()
	err := h.store.Write(h.t.Context(), func(tx *store.Tx) error {
		for i := range n {
			e.At, e.Text = time.Now(), fmt.Sprintf("line %d", i)
			if _, err := tx.Append(e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		h.t.Error(err)
	}
}
