package demo

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-cd/slipway/internal/porttest"
)

// op is one operation of each service that needs nothing but its callees.
func op(service string) (method, path, body string) {
	switch service {
	case "shop":
		return "GET", "/", ""
	case "cart":
		return "GET", "/basket?item=tea&item=rope&item=tea", ""
	case "catalog":
		return "GET", "/items", ""
	case "pricing":
		return "GET", "/prices?item=tea&item=compass", ""
	}
	return "POST", "/charge", `{"cents": 1250}`
}

// calleesOf starts what a service calls and returns the variables that name it.
// pricing, which most of them need, answers through tap when there is one.
func calleesOf(t *testing.T, service string, tap func(string) string) []string {
	t.Helper()
	if tap == nil {
		tap = func(url string) string { return url }
	}
	if service == "pricing" || service == "payment" {
		return nil
	}
	pricing := "PRICING_URL=" + tap(start(t, "pricing", inside, quiet("p1")).url)
	if service != "shop" {
		return []string{pricing}
	}
	return []string{
		"CATALOG_URL=" + tap(start(t, "catalog", inside, quiet("c1"), pricing).url),
		"CART_URL=" + tap(start(t, "cart", inside, quiet("k1"), pricing).url),
		"PAYMENT_URL=" + tap(start(t, "payment", inside, quiet("y1")).url),
	}
}

// TestEveryImplementation holds every implementation of every service to the
// same behaviour: what it answers, how it fails, what it writes and how it ends.
func TestEveryImplementation(t *testing.T) {
	for _, service := range []string{"shop", "cart", "catalog", "pricing", "payment"} {
		for _, w := range waysOf(service) {
			t.Run(service+"/"+string(w), func(t *testing.T) {
				t.Parallel()
				t.Run("answers", func(t *testing.T) { testAnswers(t, service, w) })
				t.Run("fails", func(t *testing.T) { testFails(t, service, w) })
				t.Run("passes headers on", func(t *testing.T) { testHeaders(t, service, w) })
				t.Run("drains", func(t *testing.T) { testDrains(t, service, w) })
				t.Run("refuses to start", func(t *testing.T) { testRefuses(t, service, w) })
			})
		}
	}
}

// answers are what each operation says, but for versions and receipts.
var answers = map[string]string{
	"shop": `{"items": [
		{"item": "tea", "title": "Lapsang tea, 100 g", "cents": 690}, {"item": "rope", "title": "Mooring rope, 10 m", "cents": 2450},
		{"item": "lamp", "title": "Storm lamp", "cents": 3900}, {"item": "chart", "title": "Chart of the bay", "cents": 1800},
		{"item": "biscuit", "title": "Ship's biscuit", "cents": 240}, {"item": "compass", "title": "Brass compass", "cents": 8900}],
		"service": "shop", "version": "v1", "callees": {"catalog": "c1", "pricing": "p1"}}`,
	"cart": `{"lines": [{"item": "rope", "count": 1, "cents": 2450}, {"item": "tea", "count": 2, "cents": 1380}],
		"total_cents": 3830, "service": "cart", "version": "v1", "callees": {"pricing": "p1"}}`,
	"catalog": `{"items": [
		{"item": "tea", "title": "Lapsang tea, 100 g", "cents": 690}, {"item": "rope", "title": "Mooring rope, 10 m", "cents": 2450},
		{"item": "lamp", "title": "Storm lamp", "cents": 3900}, {"item": "chart", "title": "Chart of the bay", "cents": 1800},
		{"item": "biscuit", "title": "Ship's biscuit", "cents": 240}, {"item": "compass", "title": "Brass compass", "cents": 8900}],
		"service": "catalog", "version": "v1", "callees": {"pricing": "p1"}}`,
	"pricing": `{"prices": {"tea": 690, "compass": 8900}, "service": "pricing", "version": "v1"}`,
	"payment": `{"charged_cents": 1250, "service": "payment", "version": "v1"}`,
}

func testAnswers(t *testing.T, service string, w way) {
	i := start(t, service, w, quiet("v1"), calleesOf(t, service, nil)...)
	client := newClient(t)
	var want map[string]any
	if err := json.Unmarshal([]byte(answers[service]), &want); err != nil {
		t.Fatal(err)
	}
	method, path, body := op(service)
	g := do(t, client, method, i.url+path, body)
	delete(g.body, "receipt")
	if g.status != http.StatusOK || !reflect.DeepEqual(g.body, want) {
		t.Errorf("%s %s = %d %v, want %v", method, path, g.status, g.body, want)
	}

	g = do(t, client, "GET", i.url+"/healthz", "")
	want = map[string]any{"service": service, "version": "v1", "in_flight": 0.0}
	if g.status != http.StatusOK || !reflect.DeepEqual(g.body, want) {
		t.Errorf("GET /healthz = %d %v, want %v", g.status, g.body, want)
	}
	g = do(t, client, "POST", i.url+"/elsewhere", `{"a": "body that nobody reads"}`)
	want = map[string]any{"service": service, "version": "v1", "error": "no such path"}
	if g.status != http.StatusNotFound || !reflect.DeepEqual(g.body, want) {
		t.Errorf("POST /elsewhere = %d %v, want %v", g.status, g.body, want)
	}
	if service == "pricing" {
		g = do(t, client, "GET", i.url+"/prices?item=tea&item=whale", "")
		if g.status != http.StatusNotFound || g.body["error"] != "no price for whale" {
			t.Errorf("a price nobody knows = %d %v", g.status, g.body)
		}
	}

	reused := 0
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if c.Reused {
			reused++
		}
	}}
	for range 5 {
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), method, i.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.NewDecoder(resp.Body).Decode(&map[string]any{}); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
	}
	if reused < 4 {
		t.Errorf("%d of 5 requests used a connection again; it must be kept alive", reused)
	}
}

func testFails(t *testing.T, service string, w way) {
	bad := Behaviour{Version: "v9", Fail: 1, Status: 507, Error: "no room below deck"}
	i := start(t, service, w, bad, calleesOf(t, service, nil)...)
	client := newClient(t)
	method, path, body := op(service)
	g := do(t, client, method, i.url+path, body)
	want := map[string]any{
		"service": service, "version": "v9", "error": "no room below deck",
		"cause": map[string]any{"service": service, "version": "v9"},
	}
	if g.status != 507 || !reflect.DeepEqual(g.body, want) {
		t.Errorf("%s %s = %d %v, want 507 %v", method, path, g.status, g.body, want)
	}
	if g := do(t, client, "GET", i.url+"/healthz", ""); g.status != http.StatusOK {
		t.Errorf("the health check sees the failures: %d", g.status)
	}
	eventually(t, "one line for the failed request", func() bool { return len(i.log.with("request failed")) == 1 })
	line := i.log.with("request failed")[0]
	path, _, _ = strings.Cut(path, "?")
	for key, value := range map[string]any{
		"service": service, "version": "v9", "level": "ERROR", "method": method,
		"path": path, "status": 507.0, "error": "no room below deck",
	} {
		if line[key] != value {
			t.Errorf("log line has %s = %v, want %v", key, line[key], value)
		}
	}
	if line["time"] == nil || line["took_ms"] == nil {
		t.Errorf("log line lacks its time: %v", line)
	}
}

// tap is a wire between two services that notes the headers of every request.
type tap struct {
	mu   sync.Mutex
	seen []http.Header
}

func (p *tap) onto(t *testing.T, target string) string {
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	through := httputil.NewSingleHostReverseProxy(u)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.seen = append(p.seen, r.Header.Clone())
		p.mu.Unlock()
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func testHeaders(t *testing.T, service string, w way) {
	var wire tap
	i := start(t, service, w, quiet("v1"), calleesOf(t, service, func(url string) string { return wire.onto(t, url) })...)
	sent := map[string]string{
		"Slipway-Key": "k-1234", "Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"Baggage": "slipway.change=c7", "Authorization": "Bearer of bad news",
	}
	var header []string
	for k, v := range sent {
		header = append(header, k, v)
	}
	method, path, body := op(service)
	if g := do(t, newClient(t), method, i.url+path, body, header...); g.status != http.StatusOK {
		t.Fatalf("%s %s = %d %v", method, path, g.status, g.body)
	}
	wire.mu.Lock()
	defer wire.mu.Unlock()
	if d, err := define(service); err != nil || len(d.needs) > 0 == (len(wire.seen) == 0) {
		t.Fatalf("%d calls seen, needs %v (%v)", len(wire.seen), d.needs, err)
	}
	for _, h := range wire.seen {
		for _, key := range passed {
			if h.Get(key) != sent[key] {
				t.Errorf("%s = %q at the callee, want %q", key, h.Get(key), sent[key])
			}
		}
		if h.Get("Authorization") != "" {
			t.Error("a header that is the shopper's own was passed on")
		}
	}
}

// A request in flight when the end is asked for gets its answer, nothing new is
// let in, and the end is a clean one.
func testDrains(t *testing.T, service string, w way) {
	late := Behaviour{Version: "v1", DelayMS: 800, DelayShare: 1}
	addr := porttest.Free(t) // nobody else listens there when it has ended
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	i := start(t, service, w, late, append(calleesOf(t, service, nil), "PORT="+port)...)
	client := newClient(t)
	method, path, body := op(service)
	answered := make(chan got, 1)
	for flying := false; !flying; {
		go func() { answered <- do(t, client, method, i.url+path, body) }()
		eventually(t, "the request is in flight, or over before it was seen", func() bool {
			flying = do(t, client, "GET", i.url+"/healthz", "").body["in_flight"] == 1.0
			return flying || len(answered) > 0
		})
		if !flying {
			<-answered
		}
	}
	if err := i.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if g := <-answered; g.status != http.StatusOK || g.body["service"] != service {
		t.Errorf("the request in flight got %d %v", g.status, g.body)
	}
	if len(i.log.with("drained")) != 1 {
		t.Error("no line says that it drained")
	}
	if conn, err := net.Dial("tcp", addr); err == nil {
		conn.Close()
		t.Error("something still accepts connections")
	}
}

// A service that lacks something says so and ends; it does not listen.
func testRefuses(t *testing.T, service string, w way) {
	vars := []string{"PORT=0"}
	d, err := define(service)
	if err != nil {
		t.Fatal(err)
	}
	for _, callee := range d.needs {
		vars = append(vars, strings.ToUpper(callee)+"_URL=http://127.0.0.1:1")
	}
	whole := bundle(t, service, w, quiet("v1"))
	nameless := bundle(t, service, w, Behaviour{})
	broken := bundle(t, service, w, quiet("v1"))
	if err := os.WriteFile(filepath.Join(broken, behaviourFile), []byte(`{"version":`), 0o600); err != nil {
		t.Fatal(err)
	}
	type start struct {
		what string
		dir  string
		vars []string
	}
	starts := []start{
		{"without a version", nameless, vars},
		{"with half a version.json", broken, vars},
		{"without a port", whole, vars[1:]},
		{"with a port that is none", whole, append(slices.Clone(vars), "PORT=http")},
	}
	if len(d.needs) > 0 {
		starts = append(starts, start{"without a callee", whole, vars[:1]})
	}
	for _, s := range starts {
		i := launch(t, service, w, s.dir, s.vars)
		if err := i.wait(); err == nil || len(i.log.with("listening")) > 0 {
			t.Errorf("%s started %s (%v)", service, s.what, err)
		}
	}
}
