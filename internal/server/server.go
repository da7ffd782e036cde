package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/discreet"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traces"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Base is where every route of the API begins.
const Base = "/api/v1"

// Deps is all that the API is a face of.
type Deps struct {
	Loop      *control.Loop
	Store     *store.Store
	Artifacts *artifact.Store
	Workload  workload.Driver // read for logs only
	Traces    *traces.Keeper  // nil knows none
	Log       *slog.Logger
	Guard     *access.Guard // who may ask
	Version   string        // of Slipway, shown by /healthz
	Metrics   http.Handler  // answers GET /metrics; nil has none
	Plane     http.Handler  // answers GET /metrics/proxy, for the data plane; nil has none
}

// Server is the HTTP API. It is an http.Handler; make it with New.
type Server struct {
	d       Deps
	mux     *http.ServeMux
	api     huma.API
	bodies  map[string]bodyKind        // by mux pattern
	needs   map[string]delivery.Access // by mux pattern: the least that may ask
	unkept  map[string]bool            // mux patterns whose answers are secret
	streams *streams
	keys    *keyring
}

// New returns the API over d. It does no I/O.
func New(d Deps) *Server {
	s := &Server{
		d: d, mux: http.NewServeMux(), bodies: map[string]bodyKind{}, needs: map[string]delivery.Access{}, unkept: map[string]bool{},
		streams: newStreams(maxStreams), keys: newKeyring(),
	}
	s.routes()
	if d.Metrics != nil { // beside the API: its place and its form are Prometheus'
		s.mux.Handle("GET /metrics", d.Metrics)
	}
	if d.Plane != nil {
		s.mux.Handle("GET /metrics/proxy", d.Plane)
	}
	return s
}

// HangUp ends every stream and refuses new ones; ordinary requests go on. Serve
// calls it when it stops.
func (s *Server) HangUp() { s.streams.hangUp() }

// ServeHTTP answers one request: who asks and from where, which route, what
// body, was it asked before, and only then the handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.recovered(w, r)
	harden(w.Header())
	_, pattern := s.mux.Handler(r)
	r, err := s.admit(w, r, pattern)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if pattern == "" {
		s.lost(w, r)
		return
	}
	body, p := takeBody(w, r, s.bodies[pattern])
	if p != nil {
		p.write(w)
		return
	}
	if s.unkept[pattern] {
		s.mux.ServeHTTP(w, r)
		return
	}
	s.once(w, r, body)
}

// recovered turns a panic of a handler into a problem, and a line in the log.
func (s *Server) recovered(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.d.Log.ErrorContext(r.Context(), "handler panicked",
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
	newProblem(codeInternal, "something went wrong inside Slipway").write(w)
}

// lost answers for a path that is not there, or a method a path does not have.
func (s *Server) lost(w http.ResponseWriter, r *http.Request) {
	h, _ := s.mux.Handler(r)
	probe := &recorder{header: http.Header{}}
	h.ServeHTTP(probe, r)
	if allow := probe.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
		p := newProblem(codeMethod, fmt.Sprintf("%s has no %s; it has %s", r.URL.Path, r.Method, allow))
		p.Hint = "GET " + Base + "/docs lists every route"
		p.write(w)
		return
	}
	p := newProblem(codeNotFound, "there is no route "+r.Method+" "+r.URL.Path)
	p.Hint = "GET " + Base + "/docs lists every route"
	p.write(w)
}

// route registers a handler. What it returns as an error becomes a problem, and what
// of it looks like a secret is told to nobody who may not know it.
func route[I, O any](s *Server, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	carries := discreet.Carries[O]()
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.explain(ctx, err)
		}
		if carries && !told(ctx, op.Method) {
			out = discreet.Of(out)
		}
		return out, nil
	})
}
