package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func do(t *testing.T, r *http.Request) *http.Response {
	t.Helper()
	tr := &http.Transport{ExpectContinueTimeout: 20 * time.Second, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	res, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s %s = %v", r.Method, r.URL, err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

func TestWebSocketEcho(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	}))
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	c, _, err := websocket.Dial(ctx, "ws://"+w.Addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	for i := range 50 {
		want := strings.Repeat(fmt.Sprint(i), 1+i*20)
		if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != want {
			t.Fatalf("echo %d = %q, %v", i, got, err)
		}
	}
	if n := w.State().Routes[0].Pools[0].Endpoints[0].InFlight; n != 1 {
		t.Errorf("an open WebSocket counts %d in flight, want 1", n)
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	await(t, "the instance to be free", func() bool { return w.State().Routes[0].Pools[0].Endpoints[0].InFlight == 0 })
	w.AwaitBlocks("its bytes", func(all map[traffictest.BlockKey]traffic.Block) bool {
		for _, b := range all {
			if b.OK == 1 && b.Unfinished == 0 && b.BytesIn > 20000 && b.BytesOut > 20000 {
				return true
			}
		}
		return false
	})
}

// Case 55 for WebSockets: one stays on its old instance up to the drain limit
// and is then cut.
func TestCase55_WebSocketIsCutAtTheDrainLimit(t *testing.T) {
	t.Parallel()
	w := world(t)
	old := backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for err == nil {
			var b []byte
			if _, b, err = c.Read(r.Context()); err == nil {
				err = c.Write(r.Context(), websocket.MessageText, b)
			}
		}
	})
	old.Drain = 500 * time.Millisecond
	one(w, old)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	c, _, err := websocket.Dial(ctx, "ws://"+w.Addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	next := w.Instance("2.0", "r2", "v2")
	began := time.Now()
	one(w, traffictest.Share(next, delivery.Full))
	if s := w.State(); (len(s.Draining) != 1 || s.Draining[0].InFlight != 1) && time.Since(began) < old.Drain {
		t.Errorf("Draining = %+v, want the WebSocket's instance", s.Draining)
	}
	if _, _, err := c.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("Read() = %v, want a cut connection", err)
	}
	await(t, "the old instance to be free", func() bool { return len(w.State().Draining) == 0 })
}

func TestEventStreamIsFlushedPieceByPiece(t *testing.T) {
	t.Parallel()
	w := world(t)
	next := make(chan struct{})
	one(w, backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(rw, "data: %d\n", i)
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
	}))
	lines := bufio.NewScanner(do(t, request(t, http.MethodGet, "http://"+w.Addr, nil)).Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != fmt.Sprintf("data: %d", i) { // the next is only sent once this came through
			t.Fatalf("event %d = %q, %v", i, lines.Text(), lines.Err())
		}
		next <- struct{}{}
	}
	if lines.Scan() {
		t.Errorf("after the end there is %q", lines.Text())
	}
}

func TestContinueAndEarlyHints(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			rw.WriteHeader(http.StatusForbidden)
			return
		}
		rw.Header().Set("Link", "</a.css>; rel=preload")
		rw.WriteHeader(http.StatusEarlyHints)
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = rw.Write(b)
	}))
	var asked, hinted atomic.Bool
	trace := &httptrace.ClientTrace{
		Got100Continue: func() { asked.Store(true) },
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == http.StatusEarlyHints && h.Get("Link") != "" {
				hinted.Store(true)
			}
			return nil
		},
	}
	r := request(t, http.MethodPost, "http://"+w.Addr+"/", strings.NewReader("hello"))
	r.Header.Set("Expect", "100-continue")
	res := do(t, r.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "hello" || !asked.Load() || !hinted.Load() {
		t.Errorf("answer = %q, %v; 100: %v, 103: %v, want both", b, err, asked.Load(), hinted.Load())
	}
	asked.Store(false)
	r = request(t, http.MethodPost, "http://"+w.Addr+"/no", strings.NewReader("hello"))
	r.Header.Set("Expect", "100-continue")
	began := time.Now()
	res = do(t, r.WithContext(httptrace.WithClientTrace(t.Context(), trace)))
	if res.StatusCode != http.StatusForbidden || asked.Load() && time.Since(began) < time.Second { // an instance that takes longer is sent the body
		t.Errorf("refused upload = %d, 100: %v, want 403 before the body was asked for", res.StatusCode, asked.Load())
	}
}

func TestCallerThatGoesAwayIsCountedAsCancelled(t *testing.T) {
	t.Parallel()
	w := world(t)
	in := w.Instance("a", "r1", "v1")
	one(w, traffictest.Share(in, delivery.Full))
	ctx, stop := context.WithCancel(t.Context())
	r := request(t, http.MethodGet, "http://"+w.Addr+"/hold", nil).WithContext(ctx)
	done := make(chan error, 1)
	go func() {
		res, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			_ = res.Body.Close()
		}
		done <- err
	}()
	in.AwaitHeld(t)
	stop()
	if err := <-done; err == nil {
		t.Error("the cancelled request was answered")
	}
	w.AwaitBlocks("the cancelled request", func(all map[traffictest.BlockKey]traffic.Block) bool {
		for _, b := range all {
			if b.Cancelled == 1 && b.Unfinished == 0 && b.UnitsBad == 0 && b.UnitsOpen == 0 {
				return true
			}
		}
		return false
	})
	await(t, "the instance to be free", func() bool { return w.State().Routes[0].Pools[0].Endpoints[0].InFlight == 0 })
}

func TestAnswerCutByTheInstanceIsCutForTheCaller(t *testing.T) {
	t.Parallel()
	for _, length := range []string{"", "100000"} {
		w := world(t)
		one(w, backend(t, "1", func(rw http.ResponseWriter, _ *http.Request) {
			if length != "" {
				rw.Header().Set("Content-Length", length)
			}
			_, _ = rw.Write(bytes.Repeat([]byte("x"), 40000))
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		}))
		res := do(t, request(t, http.MethodGet, "http://"+w.Addr, nil))
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("length %q: the cut answer ended cleanly after %d bytes", length, len(b))
		}
		w.AwaitBlocks("the broken answer", func(all map[traffictest.BlockKey]traffic.Block) bool {
			for _, b := range all {
				if b.Broken == 1 && b.UnitsBad == 1 && b.OK == 0 {
					return true
				}
			}
			return false
		})
	}
}

func TestHeadersOnTheWay(t *testing.T) {
	t.Parallel()
	w := world(t)
	p := backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Connection", "X-Secret-Hop")
		rw.Header().Set("X-Secret-Hop", "1")
		rw.Header().Set("Keep-Alive", "timeout=5")
		rw.Header().Set("Trailer", "X-Sum")
		rw.Header()["Content-Type"] = nil
		got := r.Header.Clone()
		got.Set("Got-Host", r.Host)
		got.Set("Got-URI", r.RequestURI)
		_ = json.NewEncoder(rw).Encode(got)
		rw.Header().Set("X-Sum", "42")
	})
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "edge", Addr: porttest.Free(t), Env: "prod", Caller: "cart", Only: "prod/shop"})
	w.Plane.Trusted = []string{} // nobody
	one(w, p)
	ask := func(addr string) (http.Header, *http.Response) {
		r := request(t, http.MethodGet, "http://"+addr+"/a%2Fb/c?q=1&r=%20", nil)
		r.Host = "shop.example"
		r.Header = http.Header{
			"Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Te": {"trailers"}, "Proxy-Authorization": {"x"}, "Upgrade": {"h2c"},
			"X-Forwarded-For": {"6.6.6.6"}, "X-Forwarded-Host": {"evil"}, "Forwarded": {"for=6.6.6.6"}, "X-Keep": {"a", "b"}, "User-Agent": {""},
		}
		res := do(t, r)
		var got http.Header
		if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		return got, res
	}
	got, res := ask(w.Addr)
	for _, name := range []string{"X-Hop", "Proxy-Authorization", "Upgrade", "Connection", "User-Agent", "Accept-Encoding"} {
		if v, there := got[name]; there {
			t.Errorf("the instance got %s: %q", name, v)
		}
	}
	for name, want := range map[string]string{
		"Forwarded": "for=127.0.0.1;host=shop.example;proto=http", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "shop.example", "X-Forwarded-Proto": "http", "Te": "trailers",
		"Got-Host": "shop.example", "Got-URI": "/a%2Fb/c?q=1&r=%20",
	} {
		if got.Get(name) != want {
			t.Errorf("the instance got %s: %q, want %q", name, got.Get(name), want)
		}
	}
	if len(got["X-Keep"]) != 2 || got.Get("Slipway-Key") == "" {
		t.Errorf("the instance got %v, want both X-Keep and a sticky key", got)
	}
	if res.Header.Get("X-Secret-Hop") != "" || res.Header.Get("Keep-Alive") != "" || res.Header.Get("Content-Type") != "" {
		t.Errorf("the caller got %v, want no header of the inner connection and no guessed type", res.Header)
	}
	if res.Trailer.Get("X-Sum") != "42" {
		t.Errorf("trailer = %v, want X-Sum: 42", res.Trailer)
	}
	if got, _ := ask(w.Listeners[1].Addr); got.Get("X-Forwarded-For") != "6.6.6.6, 127.0.0.1" || got.Get("X-Forwarded-Host") != "evil" {
		t.Errorf("on an edge the instance got %q for %q, want the chain continued", got["X-Forwarded-For"], got["X-Forwarded-Host"])
	}
}

func TestBodiesOfAllSorts(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		rw.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		rw.Header().Set("X-Trailer", r.Trailer.Get("X-End"))
		_, _ = rw.Write(b)
	}))
	for _, n := range []int{0, 1, 65536, 65537, 3 << 20} {
		want := bytes.Repeat([]byte("0123456789abcdef"), n/16+1)[:n]
		for _, chunked := range []bool{false, true} {
			r := request(t, http.MethodPost, "http://"+w.Addr, bytes.NewReader(want))
			if chunked && n > 0 {
				r.ContentLength, r.GetBody = -1, nil
				r.Trailer = http.Header{"X-End": {"yes"}}
			}
			res := do(t, r)
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, want) || res.StatusCode != http.StatusOK {
				t.Errorf("%d bytes (chunked %v) came back as %d bytes, %v, %s", n, chunked, len(got), err, res.Status)
			}
			if chunked && n > 0 && res.Header.Get("X-Trailer") != "yes" {
				t.Errorf("%d bytes: the request's trailer was lost", n)
			}
			_ = res.Body.Close()
		}
	}
	for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodDelete, http.MethodPatch} {
		if res := do(t, request(t, method, "http://"+w.Addr+"/x", nil)); res.StatusCode != http.StatusOK {
			t.Errorf("%s = %s", method, res.Status)
		}
	}
}

func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	w := world(t)
	in := w.Instance("a", "r1", "v1")
	r := w.Route("prod/shop", []string{""}, traffictest.Share(in, delivery.Full))
	r.Timeout = time.Second // long enough to reach the instance on a busy machine
	w.Routes = []traffic.Route{r}
	w.MustApply()
	code, body := w.AskPath("shop", "", "/hold")
	if code != http.StatusGatewayTimeout || !strings.Contains(body, "no_answer") {
		t.Errorf("answer = %d %s, want a 504 problem", code, body)
	}
	if n := in.Requests(); n > 1 {
		t.Errorf("the instance was asked %d times, want once: a timeout is not retried", n)
	}
	w.AwaitBlocks("the timeout", func(all map[traffictest.BlockKey]traffic.Block) bool {
		for _, b := range all {
			if b.Timeout == 1 && b.UnitsBad == 1 {
				return true
			}
		}
		return false
	})
}

func TestPathsAndHosts(t *testing.T) {
	t.Parallel()
	w := world(t)
	route := func(name string, own, hosts, paths []string) traffic.Route {
		r := w.Route("prod/"+name, hosts, traffictest.Share(w.Instance(name, delivery.ReleaseID(name), "v1"), delivery.Full))
		r.Own, r.Paths = own, paths
		return r
	}
	other := route("staging", nil, []string{"only-there"}, nil)
	other.Env = "staging"
	w.Routes = []traffic.Route{
		route("root", nil, nil, []string{"/"}),
		route("api", []string{"api.localhost"}, nil, []string{"/api"}),
		route("deep", nil, nil, []string{"/api/v2/"}),
		route("host", nil, []string{"shop.example"}, []string{"/shop"}),
		route("inner", nil, nil, nil),
		other,
	}
	w.MustApply()
	for _, c := range []struct{ host, path, want string }{
		{"x", "/", "root"},
		{"x", "/apix", "root"},
		{"x", "/api", "api"},
		{"x", "/api/", "api"},
		{"x", "/api/v1", "api"},
		{"x", "/api/v2", "deep"},
		{"x", "/api/v2/a", "deep"},
		{"x", "/api/v22", "api"},
		{"x", "/shop", "root"},
		{"shop.example", "/shop/1", "host"},
		{"SHOP.example:8080", "/shop", "host"},
		{"shop.example.", "/shop", "host"},
		{"shop.example", "/api", "api"},
		{"api.localhost", "/", "api"},
		{"api.localhost", "/any/where", "api"},
		{"only-there", "/", "root"},
		{"x", "/api/../", "root"},
		{"x", "/static/../api/v2/x", "deep"},
		{"x", "/api//v2", "deep"},
		{"x", "/%61pi", "api"},
	} {
		if code, got := w.AskPath(c.host, "", c.path); code != http.StatusOK || got != c.want {
			t.Errorf("%s%s is answered by %d %q, want %s", c.host, c.path, code, got, c.want)
		}
	}
	w.Routes = w.Routes[3:4]
	w.MustApply()
	code, body := w.AskPath("elsewhere", "", "/lost")
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil || code != http.StatusNotFound || p.Status != 404 || p.Code != "no_route" || !strings.Contains(p.Detail, `"elsewhere"`) || !strings.Contains(p.Detail, `"/lost"`) {
		t.Errorf("answer = %d %s, want a 404 problem that names host and path", code, body)
	}
}

func TestUnknownPreviewIsNotServedByAnotherRelease(t *testing.T) {
	t.Parallel()
	w := world(t)
	a, b := w.Instance("a", "r1", "v1"), w.Instance("b", "r2", "v2")
	edge := porttest.Free(t)
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "edge", Addr: edge, Env: "prod", Caller: "cart", Only: "prod/shop"})
	r := w.Route("prod/shop", []string{""}, traffictest.Share(b, 0), traffictest.Share(a, delivery.Full))
	r.Preview = "r2"
	w.Routes = []traffic.Route{r}
	w.MustApply()
	if got := w.Preview("x", "r9"); !strings.Contains(got, "no_preview") {
		t.Errorf("preview r9 is answered by %q, want a refusal", got)
	}
	if got := w.Preview("x", "v2"); got != "r2" {
		t.Errorf("preview v2 is answered by %q", got)
	}
	req := request(t, http.MethodGet, "http://"+edge+"/", nil)
	req.Header.Set("Slipway-Preview", "r9") // of the service that was called first
	if b, err := io.ReadAll(do(t, req).Body); err != nil || string(b) != "r1" {
		t.Errorf("an edge with a preview of another service is answered by %q, %v, want r1", b, err)
	}
	w.AwaitBlocks("the preview apart", func(all map[traffictest.BlockKey]traffic.Block) bool {
		for k := range all {
			if k.Release == "r2" && k.Caller != traffic.PreviewCaller {
				t.Errorf("a preview is counted as %+v", k)
			}
		}
		return len(all) >= 2
	})
}

func TestPortInUseIsReportedAndHealed(t *testing.T) {
	t.Parallel()
	w := world(t)
	var lc net.ListenConfig
	taken, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in := w.Instance("a", "r1", "v1")
	w.Routes = []traffic.Route{w.Route("prod/shop", []string{""}, traffictest.Share(in, delivery.Full))}
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "second", Addr: taken.Addr().String(), Env: "prod"})
	w.Generation = 1
	if err := w.Driver.Apply(t.Context(), w.Table()); err != nil {
		t.Fatalf("Apply() with one port in use = %v, want nil: the others must not suffer", err)
	}
	s := w.State()
	if s.Listeners[0].Error != "" || !strings.Contains(s.Listeners[1].Error, "in use") {
		t.Errorf("Listeners = %+v, want the second one in use", s.Listeners)
	}
	if got := w.Get("shop", ""); got != "r1" {
		t.Errorf("the first listener answers %q", got)
	}
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	await(t, "the second listener", func() bool { return w.State().Listeners[1].Error == "" })
	res := do(t, request(t, http.MethodGet, "http://"+taken.Addr().String(), nil))
	if res.StatusCode != http.StatusOK {
		t.Errorf("the healed listener answers %s", res.Status)
	}
}

func TestListenersComeAndGo(t *testing.T) {
	t.Parallel()
	w := world(t)
	in := w.Instance("a", "r1", "v1")
	second := porttest.Free(t)
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "second", Addr: second, Env: "prod"})
	one(w, traffictest.Share(in, delivery.Full))
	c := &plain{addr: second}
	defer c.close()
	if code, _, err := c.ask(t.Context(), http.MethodPost, "x", "/", ""); err != nil || code != http.StatusOK {
		t.Fatalf("POST = %d, %v", code, err)
	}
	began := time.Now()
	w.Listeners = w.Listeners[:1]
	w.MustApply()
	code, _, err := c.ask(t.Context(), http.MethodPost, "x", "/", "")
	if err != nil && time.Since(began) > time.Second { // then the machine stood still, and idle connections were closed
		c.close()
	} else if err != nil || code != http.StatusOK || c.conn != nil {
		t.Errorf("on an open connection of a listener that left: %d, %v, closed %v; want 200 and Connection: close", code, err, c.conn == nil)
	}
	c.close()
	if _, _, err := c.ask(t.Context(), http.MethodPost, "x", "/", ""); err == nil {
		t.Error("the listener that left still accepts")
	}
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "second", Addr: second, Env: "prod"})
	w.MustApply()
	c.close()
	if code, _, err := c.ask(t.Context(), http.MethodPost, "x", "/", ""); err != nil || code != http.StatusOK {
		t.Errorf("after it came back: %d, %v", code, err)
	}
}

// What a caller may do wrong costs only the caller.
func TestBoundsOnCallers(t *testing.T) {
	t.Parallel()
	w := world(t)
	in := w.Instance("a", "r1", "v1")
	one(w, traffictest.Share(in, delivery.Full))
	r := request(t, http.MethodGet, "http://"+w.Addr, nil)
	r.Header.Set("X-Bomb", strings.Repeat("x", 100<<10))
	if res := do(t, r); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a head of 100 KiB is answered %s, want 431", res.Status)
	}
	c := &plain{addr: w.Addr}
	defer c.close()
	if code, _, err := c.ask(t.Context(), http.MethodConnect, "x", "other:443", ""); err != nil || code != http.StatusMethodNotAllowed {
		t.Errorf("CONNECT = %d, %v, want 405", code, err)
	}
	if n := in.Requests(); n != 0 {
		t.Errorf("the instance got %d requests", n)
	}
}

// An answer that is not HTTP is a 502 and the instance's fault.
func TestAnswerThatIsNotHTTP(t *testing.T) {
	t.Parallel()
	w := world(t)
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var got atomic.Int64
	go func() {
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			go func() {
				defer c.Close()
				line, err := bufio.NewReader(c).ReadString('\n')
				if err == nil && strings.HasPrefix(line, "POST") {
					got.Add(1)
					_, _ = io.WriteString(c, "SSH-2.0-nope\r\n")
				}
			}()
		}
	}()
	one(w, traffic.Pool{Release: "r1", Weight: delivery.Full, Endpoints: []traffic.Endpoint{{ID: "a", Addr: ln.Addr().String()}}})
	res := do(t, request(t, http.MethodPost, "http://"+w.Addr, strings.NewReader("x")))
	if res.StatusCode != http.StatusBadGateway || got.Load() != 1 {
		t.Errorf("answer = %s after %d attempts, want 502 after 1: an answered POST is not repeated", res.Status, got.Load())
	}
}
