package web

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/server"
)

// served is a house that answers on a real port, API and pages, and can be
// stopped and started there as often as a test likes.
type served struct {
	h    *house
	addr string // host:port, the same after a stop
	stop func()
}

// serve opens a port for the house. The pages that answer there are new ones:
// sessions end with them, as with a real server that is started again.
func (h *house) serve() *served {
	h.t.Helper()
	s := &served{h: h, addr: porttest.Free(h.t), stop: func() {}}
	h.t.Cleanup(func() { s.stop() })
	s.start()
	return s
}

// url is where a page is found.
func (s *served) url(path string) string { return "http://" + s.addr + path }

// start listens, each time where it did before.
func (s *served) start() {
	h := s.h
	h.t.Helper()
	l, err := server.Listen(s.addr, server.ListenOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	d := h.deps
	d.Guard = access.New(access.Deps{Root: testToken, Addr: s.addr, Store: d.Store})
	api := server.New(server.Deps{Loop: h.loop, Store: h.store, Artifacts: h.bundles, Workload: h.m, Log: d.Log, Guard: d.Guard, Version: d.Version})
	d.Rights, d.Addr = api.Rights(), s.addr
	pages := New(d)
	pages.every = cmp.Or(h.every, pages.every)
	both := bothFaces{api: api, pages: pages}
	ctx, cancel := context.WithCancel(context.WithoutCancel(h.t.Context())) // a page that loses its server says so, and the tabs of the test close before it stops
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l, both, d.Log) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Errorf("Serve = %v", err)
		}
	})
}

// bothFaces is the API and the pages at one address, as package app has them.
type bothFaces struct {
	api   *server.Server
	pages *Web
}

func (f bothFaces) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/api/") {
		f.api.ServeHTTP(w, r)
		return
	}
	f.pages.ServeHTTP(w, r)
}

func (f bothFaces) HangUp() {
	f.api.HangUp()
	f.pages.HangUp()
}
