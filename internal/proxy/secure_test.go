package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/proxy/certs/certstest"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// secured adds a public listener with TLS by file to the world's, and returns
// its address and what a caller needs to believe it.
func secured(t *testing.T, w *traffictest.World) (addr string, believe *tls.Config) {
	t.Helper()
	a := certstest.Start(t, certstest.Settings{})
	dir := t.TempDir()
	words := &delivery.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	a.Pair(t, words.Cert, words.Key, time.Hour, "shop.example")
	addr = porttest.Free(t)
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "prod-tls", Addr: addr, Env: "prod", TLS: words})
	return addr, &tls.Config{RootCAs: a.Pool, ServerName: "shop.example"}
}

func TestTLSCarriesEverything(t *testing.T) {
	t.Parallel()
	w := world(t)
	addr, believe := secured(t, w)
	pool, _ := grpcPool(t, "r2")
	ws := w.Route("prod/ws", []string{"ws.example"}, backend(t, "1", func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(rw, r.Proto+" "+r.Header.Get("X-Forwarded-Proto"))
			return
		}
		c, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		for {
			kind, b, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, b) != nil {
				return
			}
		}
	}))
	w.Routes = []traffic.Route{w.Route("prod/rpc", []string{""}, pool), ws}
	w.MustApply()
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		tr := &http.Transport{TLSClientConfig: believe.Clone(), ForceAttemptHTTP2: h2}
		t.Cleanup(tr.CloseIdleConnections)
		r := request(t, http.MethodGet, "https://"+addr+"/", nil)
		r.Host = "ws.example"
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.Proto != proto || string(b) != "HTTP/1.1 https" {
			t.Errorf("by %s, the instance saw %q, %v", res.Proto, b, err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	tr := &http.Transport{TLSClientConfig: believe.Clone()}
	t.Cleanup(tr.CloseIdleConnections)
	c, _, err := websocket.Dial(ctx, "wss://"+addr+"/", &websocket.DialOptions{HTTPClient: &http.Client{Transport: tr}, Host: "ws.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for i := range 20 {
		want := strings.Repeat(fmt.Sprint(i), 1+i*1000)
		if err := c.Write(ctx, websocket.MessageText, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.Read(ctx); err != nil || string(got) != want {
			t.Fatalf("echo %d = %d bytes, %v", i, len(got), err)
		}
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(credentials.NewTLS(believe.Clone())), grpc.WithDisableRetry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	got, err := testgrpc.NewTestServiceClient(conn).UnaryCall(ctx, &testgrpc.SimpleRequest{})
	if err != nil || got.GetUsername() != "r2" {
		t.Errorf("gRPC over TLS = %v, %v", got, err)
	}
	s := w.State().Listeners[1]
	if s.TLS == nil || len(s.TLS.Names) != 1 || s.TLS.Names[0] != "shop.example" || s.TLS.NotAfter.IsZero() || s.TLS.Error != "" {
		t.Errorf("listener = %+v with %+v", s, s.TLS)
	}
	if w.State().Listeners[0].TLS != nil {
		t.Error("the plain listener has TLS")
	}
}

// A listener that asks for TLS is never served without, and one that changes to
// it loses nobody who came before.
func TestPlainListenerBecomesSecure(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	before := &plain{addr: w.Addr}
	t.Cleanup(before.close)
	ask := func() {
		t.Helper()
		if code, _, err := before.ask(t.Context(), http.MethodGet, "shop", "/", ""); code != http.StatusOK {
			t.Fatalf("a connection from before = %d, %v", code, err)
		}
	}
	ask()
	a := certstest.Start(t, certstest.Settings{})
	dir := t.TempDir()
	words := &delivery.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	w.Listeners[0].TLS = words
	w.MustApply()
	ask()
	if s := w.State().Listeners[0].TLS; s == nil || !strings.Contains(s.Waiting, words.Cert) {
		t.Errorf("State says %+v, want what is waited for", s)
	}
	fresh := &plain{addr: w.Addr}
	if code, body, err := fresh.ask(t.Context(), http.MethodGet, "shop", "/", ""); code == http.StatusOK {
		t.Errorf("without a certificate the listener answered %d %q, %v", code, body, err)
	}
	a.Pair(t, words.Cert, words.Key, time.Hour, "shop.example")
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool, ServerName: "shop.example"}, DisableKeepAlives: true}
	await(t, "TLS", func() bool {
		res, err := tr.RoundTrip(request(t, http.MethodGet, "https://"+w.Addr+"/", nil))
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// ACME through the data plane: both challenges come in on its own listeners.
func TestACMEThroughTheDataPlane(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"http-01", "tls-alpn-01"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := world(t)
			a := certstest.Start(t, certstest.Settings{})
			addr := porttest.Free(t)
			a.Set(func(s *certstest.Settings) {
				if kind == "http-01" {
					s.HTTP = w.Addr
				} else {
					s.TLSALPN = addr
				}
			})
			words := &delivery.TLS{ACME: &delivery.ACME{Domains: []string{"shop.example.com"}, Directory: a.Directory, Roots: a.Roots}}
			w.Listeners = append(w.Listeners, traffic.Listener{Name: "prod-tls", Addr: addr, Env: "prod", TLS: words})
			one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
			await(t, "the certificate", func() bool {
				s := w.State().Listeners[1].TLS
				return s != nil && len(s.Names) == 1 && s.Waiting == ""
			})
			if a.Proved(kind) != 1 {
				t.Errorf("%d proofs by %s, want 1", a.Proved(kind), kind)
			}
			tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool, ServerName: "shop.example.com"}, ForceAttemptHTTP2: true}
			t.Cleanup(tr.CloseIdleConnections)
			res, err := tr.RoundTrip(request(t, http.MethodGet, "https://"+addr+"/", nil))
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK || res.ProtoMajor != 2 {
				t.Errorf("answer = %s %s", res.Proto, res.Status)
			}
			w.MustApply() // the same words again: nothing is asked of the authority
			if code, body := w.AskPath("shop", "", "/.well-known/acme-challenge/mine"); code != http.StatusOK || body != "r1" {
				t.Errorf("a challenge of the service's own = %d %q, want the service's answer", code, body)
			}
			if a.Issued("shop.example.com") != 1 {
				t.Errorf("%d certificates were issued, want 1", a.Issued("shop.example.com"))
			}
		})
	}
}

func TestBadRootsAreToldAndMended(t *testing.T) {
	t.Parallel()
	w := world(t)
	a := certstest.Start(t, certstest.Settings{})
	addr := porttest.Free(t)
	a.Set(func(s *certstest.Settings) { s.TLSALPN = addr })
	roots := filepath.Join(t.TempDir(), "roots.pem")
	words := &delivery.TLS{ACME: &delivery.ACME{Domains: []string{"shop.example.com"}, Directory: a.Directory, Roots: roots}}
	w.Listeners = append(w.Listeners, traffic.Listener{Name: "prod-tls", Addr: addr, Env: "prod", TLS: words})
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	if s := w.State().Listeners[1].TLS; s == nil || !strings.Contains(s.Error, roots) {
		t.Errorf("State says %+v, want the missing file", s)
	}
	if code, _, err := (&plain{addr: addr}).ask(t.Context(), http.MethodGet, "shop", "/", ""); code == http.StatusOK {
		t.Errorf("a listener that cannot prove itself answered %d, %v", code, err)
	}
	good, err := os.ReadFile(a.Roots)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(roots, good, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the certificate", func() bool { s := w.State().Listeners[1].TLS; return s.Error == "" && len(s.Names) == 1 })
}
