package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/proxy"
	"github.com/slipway-cd/slipway/internal/proxy/metrics/metricstest"
	"github.com/slipway-cd/slipway/internal/proxy/otlp/otlptest"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// recorded is a data plane whose records a test reads.
type recorded struct {
	*traffictest.World
	t   *testing.T
	dir string
}

// recordedPaths runs test on each path.
func recordedPaths(t *testing.T, test func(t *testing.T, w recorded)) {
	t.Helper()
	for name, full := range map[string]bool{"raw": false, "full": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := shortDir(t)
			said, err := os.Create(filepath.Join(dir, "said"))
			if err != nil {
				t.Fatal(err)
			}
			o := options(dir)
			o.Log = slog.New(slog.NewJSONHandler(said, &slog.HandlerOptions{Level: slog.LevelDebug}))
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- proxy.Run(ctx, o) }()
			t.Cleanup(func() {
				stop()
				if err := errors.Join(<-done, said.Close()); err != nil {
					t.Errorf("Run() = %v", err)
				}
			})
			awaitPlane(t, dir)
			w := recorded{World: traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s"))), t: t, dir: dir}
			w.Plane.FullOnly = full
			test(t, w)
		})
	}
}

// line is one line of the access log.
type line struct {
	Time     time.Time `json:"time"`
	Trace    string    `json:"trace_id"`
	Span     string    `json:"span_id"`
	Listener string    `json:"listener"`
	Route    string    `json:"route"`
	Release  string    `json:"release"`
	Caller   string    `json:"caller"`
	Method   string    `json:"method"`
	Host     string    `json:"host"`
	Path     string    `json:"path"`
	Status   int       `json:"status"`
	Outcome  string    `json:"outcome"`
	Error    string    `json:"error"`
	In       int64     `json:"bytes_in"`
	Out      int64     `json:"bytes_out"`
	Took     float64   `json:"duration_ms"`
	Upstream string    `json:"upstream"`
	Attempts int       `json:"attempts"`
	Agent    string    `json:"user_agent"`
	Client   string    `json:"client"`
	Protocol string    `json:"protocol"`
}

// logged returns the lines of the access log, of which there are n in the end.
func (w recorded) logged(n int) []line {
	w.t.Helper()
	var out []line
	await(w.t, fmt.Sprint(n, " lines in the access log"), func() bool {
		f, err := os.Open(filepath.Join(w.dir, "state", "access.log"))
		if errors.Is(err, fs.ErrNotExist) {
			return n == 0
		}
		if err != nil {
			w.t.Fatal(err)
		}
		defer f.Close()
		out = out[:0]
		for s := bufio.NewScanner(f); s.Scan(); {
			var l line
			dec := json.NewDecoder(strings.NewReader(s.Text()))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&l); err != nil {
				w.t.Fatalf("%s: %v", s.Text(), err)
			}
			out = append(out, l)
		}
		return len(out) >= n
	})
	if len(out) != n {
		w.t.Fatalf("%d lines in the access log, want %d: %+v", len(out), n, out)
	}
	return out
}

// metrics asks the control socket.
func (w recorded) metrics() (metricstest.Metrics, string) {
	w.t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(w.dir, "s"))
	}}
	defer tr.CloseIdleConnections()
	return scrape(w.t, tr, "http://plane/metrics")
}

func scrape(t *testing.T, tr http.RoundTripper, url string) (metricstest.Metrics, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("GET %s = %s %q, %v", url, res.Status, res.Header, err)
	}
	return metricstest.Parse(t, string(b)), string(b)
}

// collector is a receiver of spans.
type collector struct {
	*httptest.Server
	mu    sync.Mutex
	spans []otlptest.Span // guarded by mu
	err   error           // guarded by mu
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		req, bad := otlptest.Read(body)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err = errors.Join(c.err, err, bad)
		c.spans = append(c.spans, req.Spans...)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collector) await(t *testing.T, n int) []otlptest.Span {
	t.Helper()
	var out []otlptest.Span
	await(t, fmt.Sprint(n, " spans"), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err != nil {
			t.Fatal(c.err)
		}
		out = slices.Clone(c.spans)
		return len(out) >= n
	})
	return out
}

const (
	givenTrace  = "0af7651916cd43dd8448eb211c80319c"
	givenSpan   = "b7ad6b7169203331"
	givenParent = "00-" + givenTrace + "-" + givenSpan + "-01"
)

// echo is an instance that answers with the head it got, as JSON.
func echo(t *testing.T, release string) traffic.Pool {
	t.Helper()
	return backend(t, release, func(rw http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(rw).Encode(r.Header) })
}

func (w recorded) head(a asking) http.Header {
	w.t.Helper()
	a.addr = w.Addr
	_, body, _ := ask(w.t, a)
	var h http.Header
	if err := json.Unmarshal([]byte(body), &h); err != nil {
		w.t.Fatalf("%q: %v", body, err)
	}
	return h
}

func TestTraceIsContinuedOrBegun(t *testing.T) {
	t.Parallel()
	recordedPaths(t, func(t *testing.T, w recorded) {
		w.Plane.OTLPShare = delivery.Full
		one(w.World, echo(t, "a"))
		h := w.head(asking{target: "/", header: [][2]string{{"Traceparent", givenParent}, {"Tracestate", "rojo=1,congo=2"}, {"Baggage", "tenant=acme,slipway-key=forged"}, {"Slipway-Key", "ada"}}})
		p := h["Traceparent"]
		if len(p) != 1 || !strings.HasPrefix(p[0], "00-"+givenTrace+"-") || strings.Contains(p[0], givenSpan) || !strings.HasSuffix(p[0], "-01") {
			t.Errorf("traceparent is passed on as %q", p)
		}
		if s := h["Tracestate"]; len(s) != 1 || s[0] != "rojo=1,congo=2" {
			t.Errorf("tracestate is passed on as %q", s)
		}
		if b := h["Baggage"]; len(b) != 1 || b[0] != "slipway-key=ada,tenant=acme" {
			t.Errorf("baggage is passed on as %q", b)
		}
		h = w.head(asking{target: "/", header: [][2]string{{"Traceparent", "00-" + givenTrace + "-" + givenSpan}, {"Tracestate", "rojo=1"}}})
		p = h["Traceparent"]
		if len(p) != 1 || len(p[0]) != 55 || strings.Contains(p[0], givenTrace) || !strings.HasSuffix(p[0], "-01") || len(h["Tracestate"]) != 0 {
			t.Errorf("in place of a malformed trace %q, %q", p, h["Tracestate"])
		}
		if b, key := h["Baggage"], h.Get("Slipway-Key"); key == "" || len(b) != 1 || b[0] != "slipway-key="+key {
			t.Errorf("baggage of the key %q is begun as %q", key, b)
		}
	})
}

// A key that is made of the application's own header or cookie travels hashed.
func TestKeyOfTheApplicationTravelsHashed(t *testing.T) {
	t.Parallel()
	recordedPaths(t, func(t *testing.T, w recorded) {
		r := w.Route("prod/shop", []string{""}, echo(t, "a"))
		r.Sticky = delivery.Sticky{By: delivery.ByCookie, Name: "session"}
		w.Routes = []traffic.Route{r}
		w.MustApply()
		session := asking{target: "/", header: [][2]string{{"Cookie", "session=s3cret"}}}
		h := w.head(session)
		key := h.Get("Slipway-Key")
		if len(key) != 32 || h.Get("Baggage") != "slipway-key="+key || w.head(session).Get("Slipway-Key") != key {
			t.Errorf("the key of a session is %q, baggage %q", key, h.Get("Baggage"))
		}
	})
}

func TestAccessLogFollowsTheTable(t *testing.T) {
	t.Parallel()
	recordedPaths(t, func(t *testing.T, w recorded) {
		a := w.Instance("a", "r1", "v1")
		one(w.World, traffictest.Share(a, delivery.Full))
		get := func(target string) {
			ask(t, asking{addr: w.Addr, host: "shop.localhost", target: target, header: [][2]string{{"Traceparent", givenParent}, {"User-Agent", "probe/1"}}})
			// It is logged by the table that is in force once its caller has the answer.
			await(t, "the request to be over", func() bool { return poolOf(w.World, "r1").Endpoints[0].InFlight == 0 })
		}
		mode := func(m delivery.AccessLog, share delivery.Weight) {
			w.Plane.AccessLog, w.Plane.LogShare = m, share
			w.MustApply()
		}
		get("/off")
		w.logged(0)
		mode(delivery.LogAll, 0)
		get("/a/b?token=s3cret&page=2&s3cret")
		l := w.logged(1)[0]
		if age := time.Since(l.Time); age < 0 || age > time.Minute || l.Took < 0 || l.Span == "" || l.Span == givenSpan {
			t.Errorf("the line is %+v", l)
		}
		l.Time, l.Took, l.Span = time.Time{}, 0, ""
		want := line{
			Trace: givenTrace, Listener: "prod", Route: "prod/shop", Release: "r1", Method: "GET", Host: "shop.localhost",
			Path: "/a/b?token&page&(6 bytes)", Status: 200, Outcome: "ok", Out: 2, Upstream: a.Addr, Attempts: 1,
			Agent: "probe/1", Client: "127.0.0.1", Protocol: "HTTP/1.1",
		}
		if l != want {
			t.Errorf("the line is %+v, want %+v", l, want)
		}
		mode(delivery.LogErrors, 0)
		get("/fine")
		get("/status/503")
		if l := w.logged(2)[1]; l.Status != 503 || l.Outcome != "server" || l.Path != "/status/503" {
			t.Errorf("the failed request is logged as %+v", l)
		}
		mode(delivery.LogSampled, delivery.Full)
		get("/sampled")
		if l := w.logged(3)[2]; l.Path != "/sampled" {
			t.Errorf("the sampled request is logged as %+v", l)
		}
		w.Routes[0].Hosts = []string{"else.localhost"}
		mode(delivery.LogAll, 0)
		get("/nowhere")
		if l := w.logged(4)[3]; l.Status != 404 || l.Outcome != "refused" || l.Error != "no_route" || l.Path != "/nowhere" || l.Attempts != 0 {
			t.Errorf("the request without a route is logged as %+v", l)
		}
	})
}

// Where the table asks for it, a failed request is traced though its caller did
// not sample it, and only a failed one.
func TestFailedRequestsAreTracedUnsampled(t *testing.T) {
	t.Parallel()
	recordedPaths(t, func(t *testing.T, w recorded) {
		c := newCollector(t)
		a := w.Instance("a", "r1", "v1")
		w.Plane.OTLP, w.Failures = c.URL, true
		one(w.World, traffictest.Share(a, delivery.Full))
		unsampled := strings.TrimSuffix(givenParent, "1") + "0"
		for _, path := range []string{"/", "/status/404", "/status/503", "/status/500"} {
			ask(t, asking{addr: w.Addr, host: "shop.localhost", target: path, header: [][2]string{{"Traceparent", unsampled}}})
		}
		for _, s := range c.await(t, 2) {
			if s.Trace != givenTrace || s.Status != 2 || !strings.HasPrefix(s.Attrs["http.response.status_code"], "50") {
				t.Errorf("a span is %+v", s)
			}
		}
	})
}

// A request that was tried twice gives a span of the server's and two of a
// client's below it; names and attributes are those of the conventions.
func TestSpansOfARetriedRequest(t *testing.T) {
	t.Parallel()
	recordedPaths(t, func(t *testing.T, w recorded) {
		c := newCollector(t)
		good := w.Instance("good", "r1", "v1")
		dead := porttest.Free(t)
		p := traffictest.Share(good, delivery.Full)
		p.Endpoints = append([]traffic.Endpoint{{ID: "dead", Addr: dead}}, p.Endpoints...)
		p.Check = traffic.Check{Interval: time.Hour, Fall: 1000} // it must stay a choice
		w.Plane.OTLP = c.URL
		one(w.World, p)
		twice := 0
		for i := range 60 {
			ask(t, asking{addr: w.Addr, host: "shop.localhost:80", target: "/x?token=s3cret", header: [][2]string{{"Traceparent", givenParent}, {"User-Agent", fmt.Sprint("probe/", i)}}})
		}
		spans := c.await(t, 60)
		servers := map[string]otlptest.Span{}
		for _, s := range spans {
			if s.Kind == 2 {
				servers[s.ID] = s
			}
		}
		for _, s := range spans {
			if s.Trace != givenTrace || s.End < s.Start {
				t.Fatalf("span %+v", s)
			}
			if s.Kind != 3 {
				continue
			}
			above, there := servers[s.Parent]
			if !there || s.Name != "GET" || s.Start < above.Start || s.End > above.End {
				t.Errorf("the attempt %+v is below %+v", s, above)
			}
			if s.Attrs["slipway.instance"] == "dead" {
				twice++
				if s.Status != 2 || s.Attrs["error.type"] != "connect" || s.Attrs["http.response.status_code"] != "" {
					t.Errorf("the failed attempt is %+v", s)
				}
			} else if s.Status != 0 || s.Attrs["http.request.resend_count"] != "1" || s.Attrs["http.response.status_code"] != "200" || s.Attrs["server.address"]+":"+s.Attrs["server.port"] != good.Addr {
				t.Errorf("the attempt that was answered is %+v", s)
			}
		}
		if twice == 0 || len(servers) != 60 || len(spans) != 60+2*twice {
			t.Fatalf("%d spans, %d of requests, %d failed attempts", len(spans), len(servers), twice)
		}
		for _, s := range servers {
			want := map[string]string{
				"http.request.method": "GET", "url.scheme": "http", "url.path": "/x", "server.address": "shop.localhost", "server.port": "80",
				"client.address": "127.0.0.1", "user_agent.original": s.Attrs["user_agent.original"], "network.protocol.version": "1.1",
				"http.response.status_code": "200", "slipway.route": "prod/shop", "slipway.service": "shop", "slipway.env": "prod",
				"slipway.release": "r1", "slipway.version": "v1", "slipway.outcome": "ok", "slipway.upstream": good.Addr,
			}
			if fmt.Sprint(s.Attrs) != fmt.Sprint(want) || s.Name != "GET prod/shop" || s.Parent != givenSpan || s.Status != 0 || s.Flags != 0x301 {
				t.Errorf("the span of a request is %+v, want attributes %v", s, want)
			}
		}
	})
}

func TestMetricsOfRequests(t *testing.T) {
	t.Parallel()
	recordedPaths(t, func(t *testing.T, w recorded) {
		a := w.Instance("a", "r1", "v1")
		one(w.World, traffictest.Share(a, delivery.Full))
		for range 3 {
			w.AskPath("shop.localhost", "ada", "/")
			w.AskPath("shop.localhost", "ada", "/status/404")
		}
		w.AskPath("shop.localhost", "ada", "/status/500")
		held := make(chan struct{})
		go func() { defer close(held); w.AskPath("shop.localhost", "bob", "/hold") }()
		a.AwaitHeld(t)
		of := []string{`route="prod/shop"`, `service="shop"`, `env="prod"`, `release="r1"`, `version="v1"`}
		sum := func(m metricstest.Metrics, name string, more ...string) float64 {
			return m.Sum(name, append(more, of...)...)
		}
		var m metricstest.Metrics
		await(t, "all but the held request to be counted", func() bool { // their callers have their answers before that
			m, _ = w.metrics()
			return sum(m, "slipway_requests_total") == 7 && sum(m, "slipway_requests_in_flight") == 1 && sum(m, "slipway_endpoint_requests_in_flight") == 1
		})
		if n := m.Sum("slipway_listener_connections", `listener="prod"`); n < 1 || n > 3 {
			t.Errorf("%v connections are open, want the held one and perhaps idle ones", n)
		}
		for name, want := range map[string]float64{
			"slipway_requests_in_flight": 1, "slipway_endpoint_healthy": 1, "slipway_endpoint_requests_in_flight": 1,
			"slipway_request_duration_seconds_count": 7, "slipway_response_bytes_total": 14, "slipway_retries_total": 0,
		} {
			if got := sum(m, name); got != want {
				t.Errorf("%s = %v, want %v", name, got, want)
			}
		}
		for class, want := range map[string]float64{"ok": 3, "client": 3, "server": 1, "connect": 0} {
			if got := sum(m, "slipway_requests_total", `class="`+class+`"`); got != want {
				t.Errorf("%s requests = %v, want %v", class, got, want)
			}
		}
		if m["slipway_table_generation"] != float64(w.Generation) || m.Sum("slipway_build_info", `version="test"`) != 1 || m["slipway_start_time_seconds"] < 1e9 {
			t.Errorf("about the plane: %v", m)
		}
		a.Let()
		<-held
		await(t, "the held request to be counted", func() bool {
			m, _ := w.metrics()
			return sum(m, "slipway_requests_total", `class="ok"`) == 4 && sum(m, "slipway_requests_in_flight") == 0
		})
		w.Ask("shop.localhost", "ada") // one more, and then the release leaves the table: its sums stay
		b := w.Instance("b", "r2", "v2")
		one(w.World, traffictest.Share(b, delivery.Full))
		await(t, "nine requests of the release that left", func() bool {
			m, _ = w.metrics()
			return sum(m, "slipway_requests_total") == 9
		})
		if n := m.Sum("slipway_endpoint_healthy", `release="r1"`); n != 0 {
			t.Errorf("an endpoint that left is still published")
		}
	})
}

func TestMetricsAtAnAddress(t *testing.T) {
	t.Parallel()
	dir, addr := shortDir(t), porttest.Free(t)
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", addr) // as by the elder process, for a while
	if err != nil {
		t.Fatal(err)
	}
	o := options(dir)
	o.Metrics = addr
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- proxy.Run(ctx, o) }()
	awaitPlane(t, dir)
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	await(t, "the address to be bound", func() bool {
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	if m, _ := scrape(t, tr, "http://"+addr+"/metrics"); m.Sum("slipway_build_info") != 1 {
		t.Errorf("metrics at the address: %v", m)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/v1/table", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("the table is published at the address of the metrics: %s", res.Status)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run() = %v", err)
	}
}

// Whatever a request and its answer hold, no secret of theirs is in the log, in
// a sample, in a span or in the metrics.
func TestNoSecretLeaks(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	recordedPaths(t, func(t *testing.T, w recorded) {
		c := newCollector(t)
		answer := func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Set-Cookie", "id="+secret)
			rw.Header().Set("X-Token", secret)
			rw.Header().Set("Location", "/?"+secret)
			if r.URL.Path == "/torn" { // an answer that our client quotes when it cannot read it
				conn, _, err := http.NewResponseController(rw).Hijack()
				if err == nil {
					_, _ = io.WriteString(conn, "HTTP/1.1 "+secret+" x\r\nSet-Cookie "+secret+"\r\n\r\n")
					_ = conn.Close()
				}
				return
			}
			rw.WriteHeader(http.StatusInternalServerError)
		}
		p := backend(t, "a", answer)
		p.Endpoints = append(p.Endpoints, backend(t, "b", answer).Endpoints...)
		w.Plane.OTLP, w.Plane.AccessLog = c.URL, delivery.LogAll
		r := w.Route("prod/shop", []string{""}, p)
		r.Sticky = delivery.Sticky{By: delivery.ByCookie, Name: "session"}
		w.Routes = []traffic.Route{r}
		w.MustApply()
		failed := w.watch()
		head := "Authorization: Bearer " + secret + "\r\nCookie: session=" + secret + "; a=" + secret + "\r\nX-Api-Key: " + secret +
			"\r\nReferer: http://x/?" + secret + "\r\nBaggage: k=" + secret + "\r\nTracestate: k=" + secret + "\r\nSlipway-Key-Old: " + secret +
			"\r\nTraceparent: " + givenParent + "\r\nUser-Agent: probe (http://me:" + secret + "@x/?" + secret + ")\r\n"
		torn := "GET /torn?" + secret + " HTTP/1.1\r\nHost: shop\r\n"
		for _, first := range append(slices.Repeat([]string{torn}, 12), // one instance is ejected for them
			"GET /plain?token="+secret+"&"+secret+" HTTP/1.1\r\nHost: shop\r\n",
			"GET http://shop/absolute?"+secret+" HTTP/1.1\r\nHost: shop\r\n",
			"GET /proxy/http://me:"+secret+"@x/ HTTP/1.1\r\nHost: shop\r\n",
		) {
			var d net.Dialer
			conn, err := d.DialContext(t.Context(), "tcp", w.Addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.WriteString(conn, first+head+"Connection: close\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
		}
		const carried = 14 // a target with a user in it may be refused as malformed
		spans := c.await(t, carried)
		samples := failed(carried)
		said, err := os.ReadFile(filepath.Join(w.dir, "said"))
		if err != nil || !strings.Contains(string(said), "endpoint ejected") {
			t.Fatalf("the data plane said %s, %v", said, err)
		}
		lines, err := os.ReadFile(filepath.Join(w.dir, "state", "access.log"))
		if err != nil {
			t.Fatal(err)
		}
		_, text := w.metrics()
		for what, shown := range map[string]string{"access log": string(lines), "metrics": text, "log": string(said), "state": fmt.Sprintf("%+v", w.State()), "samples": fmt.Sprintf("%+v", samples), "spans": fmt.Sprintf("%+v", spans)} {
			if at := strings.Index(shown, secret); at >= 0 {
				t.Errorf("the %s show a secret: …%s…", what, shown[max(0, at-200):min(len(shown), at+50)])
			}
		}
		s := samples[slices.IndexFunc(samples, func(s traffic.Sample) bool { return s.Path == "/plain" })]
		if s.Trace != givenTrace || s.Endpoint != "a.0" && s.Endpoint != "b.0" || !strings.Contains(s.Asked, "\nAuthorization: (13 bytes)") ||
			!strings.HasPrefix(s.Asked, "Host: shop\n") || !strings.Contains(s.Asked, "Traceparent: "+givenParent) || !strings.Contains(s.Answered, "Set-Cookie: (9 bytes)") {
			t.Errorf("the sample is %+v", s)
		}
	})
}

// watch opens a stream of counts and returns what waits for samples in it.
func (w recorded) watch() (failed func(n int) []traffic.Sample) {
	w.t.Helper()
	var mu sync.Mutex
	var all []traffic.Sample
	open := make(chan struct{})
	var once sync.Once
	ctx, stop := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Driver.Watch(ctx, 0, func(f traffic.Frame) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, f.Failed...)
			once.Do(func() { close(open) })
		})
	}()
	w.t.Cleanup(func() { stop(); <-done })
	<-open
	return func(n int) (out []traffic.Sample) {
		w.t.Helper()
		await(w.t, fmt.Sprint(n, " samples"), func() bool {
			mu.Lock()
			defer mu.Unlock()
			out = slices.Clone(all)
			return len(out) >= n
		})
		return out
	}
}
