package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

const (
	drainLimit = 25 * time.Second // longest wait for requests in flight at the end
	idleLimit  = 2 * time.Minute  // longer than a caller keeps an idle connection, so the caller closes first
	bodyLimit  = 64 << 10         // bytes of a request
)

// reply is the body of an answer. The service's version and its callees' are added to it.
type reply map[string]any

// operation answers one request.
type operation func(ctx context.Context, v *visit) (reply, error)

// service is one running service of harbor.
type service struct {
	name   string
	bundle string
	how    Behaviour
	fails  *even             // which operations fail
	urls   map[string]string // callee -> base URL
	client *http.Client
	log    *slog.Logger
	ops    map[string]operation                                 // "GET /items"
	page   func(http.ResponseWriter, *http.Request, int, reply) // for browsers; nil without a page
	flying atomic.Int64                                         // operations under way
}

// visit is one request while it is answered.
type visit struct {
	svc     *service
	in      *http.Request
	header  http.Header       // of the answer
	callees map[string]string // service -> version that answered
}

// failure is an answer that is not 200. Cause names the service where it began.
type failure struct {
	status  int
	message string
	cause   cause
}

type cause struct {
	Service string `json:"service"`
	Version string `json:"version,omitempty"`
}

func (f *failure) Error() string { return f.message }

// Serve runs the built-in program of one of harbor's services until ctx ends;
// then it stops accepting, finishes what is in flight and returns nil. env gives
// PORT (0 picks one), the URLs of the callees (CART_URL, ...), the service's own
// configuration, and HARBOR_BUNDLE, the bundle's folder, "." by default. One
// JSON line for the start and one for each failed request go to stdout.
func Serve(ctx context.Context, name string, env func(string) string, stdout io.Writer) error {
	s, err := newService(name, env, stdout)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(env("PORT"), 10, 16)
	if err != nil {
		return delivery.Invalid("PORT", fmt.Sprintf("must be a port from 0 to 65535, not %q", env("PORT")))
	}
	var listen net.ListenConfig
	ln, err := listen.Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.FormatUint(port, 10)))
	if err != nil {
		return fmt.Errorf("demo: serve %s: %w", name, err)
	}
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: idleLimit}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	s.log.Info("listening", "port", ln.Addr().(*net.TCPAddr).Port)
	select {
	case err := <-ended:
		return fmt.Errorf("demo: serve %s: %w", name, err)
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainLimit)
	defer cancel()
	if err := srv.Shutdown(limit); err != nil {
		return fmt.Errorf("demo: drain %s: %w", name, err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("demo: serve %s: %w", name, err)
	}
	s.client.CloseIdleConnections()
	s.log.Info("drained")
	return nil
}

func newService(name string, env func(string) string, stdout io.Writer) (*service, error) {
	d, err := define(name)
	if err != nil {
		return nil, err
	}
	s := &service{name: name, bundle: env("HARBOR_BUNDLE"), urls: map[string]string{}, fails: newEven()}
	if s.bundle == "" {
		s.bundle = "."
	}
	if s.how, err = readBehaviour(s.bundle); err != nil {
		return nil, err
	}
	for _, callee := range d.needs {
		key := strings.ToUpper(callee) + "_URL"
		if s.urls[callee] = strings.TrimSuffix(env(key), "/"); s.urls[callee] == "" {
			return nil, delivery.InvalidNext(key, "is not set; "+name+" calls "+callee, "add needs: ["+callee+"] to "+name+" in slipway.yaml")
		}
	}
	if label := env("SLIPWAY_VERSION"); label != "" {
		s.how.Version = label // the release's name, which tells two configurations of one version apart
	}
	s.log = slog.New(slog.NewJSONHandler(stdout, nil)).With("service", name, "version", s.how.Version)
	s.client = &http.Client{Timeout: callLimit, Transport: &http.Transport{MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second}}
	return s, d.build(s, env)
}

// definition says what one service is made of.
type definition struct {
	needs []string
	build func(*service, func(string) string) error // sets ops and page
}

// define returns the definition of a service, or says which names there are.
func define(name string) (definition, error) {
	all := map[string]definition{
		"shop":    {needs: []string{"cart", "catalog", "payment"}, build: buildShop},
		"cart":    {needs: []string{"pricing"}, build: buildCart},
		"catalog": {needs: []string{"pricing"}, build: buildCatalog},
		"pricing": {build: buildPricing},
		"payment": {build: buildPayment},
	}
	d, ok := all[name]
	if !ok {
		known := slices.Sorted(maps.Keys(all))
		return d, delivery.Unknown(delivery.CodeUnknownService, "service", name, known, "slipway demo serve "+known[0])
	}
	return d, nil
}

// ServeHTTP answers the health check at once and everything else as the version behaves.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &visit{svc: s, in: r, header: w.Header(), callees: map[string]string{}}
	if r.URL.Path == "/healthz" {
		s.answer(w, v, http.StatusOK, reply{"in_flight": s.flying.Load()})
		return
	}
	s.flying.Add(1)
	defer s.flying.Add(-1)
	began := time.Now()
	r.Body = http.MaxBytesReader(w, r.Body, bodyLimit)
	out, err := s.operate(r.Context(), v)
	if err == nil {
		s.answer(w, v, http.StatusOK, out)
		return
	}
	var f *failure
	if !errors.As(err, &f) {
		f = &failure{status: http.StatusInternalServerError, message: err.Error()}
	}
	out = reply{"error": f.message}
	if f.status >= 500 {
		if f.cause.Service == "" {
			f.cause = cause{s.name, s.how.Version}
		}
		out["cause"] = f.cause
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "status", f.status,
			"error", f.message, "took_ms", time.Since(began).Milliseconds())
	}
	s.answer(w, v, f.status, out)
}

// operate takes the version's time, fails its share and does the rest.
func (s *service) operate(ctx context.Context, v *visit) (reply, error) {
	op, ok := s.ops[v.in.Method+" "+v.in.URL.Path]
	if !ok {
		return nil, &failure{status: http.StatusNotFound, message: "no such path"}
	}
	if err := wait(ctx, s.how.took()); err != nil {
		return nil, err
	}
	if s.fails.next(s.how.Fail) {
		return nil, &failure{status: s.how.Status, message: s.how.Error}
	}
	return op(ctx, v)
}

func (s *service) answer(w http.ResponseWriter, v *visit, status int, out reply) {
	out["service"], out["version"] = s.name, s.how.Version
	if len(v.callees) > 0 {
		out["callees"] = v.callees
	}
	if s.page != nil && v.in.URL.Path != "/healthz" && strings.Contains(v.in.Header.Get("Accept"), "text/html") {
		s.page(w, v.in, status, out)
		return
	}
	b, err := json.Marshal(out)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b) // the caller may be gone; there is nobody left to tell
}

// wait lets d pass, or returns early when ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
