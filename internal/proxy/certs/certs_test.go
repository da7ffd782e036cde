package certs_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/certs"
	"github.com/slipway-cd/slipway/internal/proxy/certs/certstest"
)

var quiet = slog.New(slog.DiscardHandler)

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if <-tick.C; time.Now().After(deadline) {
			t.Fatal("waited 30 s for ", what)
		}
	}
}

// listen opens an address.
func listen(t *testing.T) net.Listener {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// prove serves ln with p.
func prove(t *testing.T, ln net.Listener, p *certs.Proof) {
	t.Helper()
	srv := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
		TLSConfig: p.Config(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	go func() { _ = srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() { _ = srv.Close() })
}

// shown connects and returns the certificate's names and end, checked against a.
func shown(a *certstest.Authority, addr, name string) ([]string, time.Time, error) {
	d := net.Dialer{Timeout: 20 * time.Second}
	c, err := tls.DialWithDialer(&d, "tcp", addr, &tls.Config{ServerName: name, RootCAs: a.Pool})
	if err != nil {
		return nil, time.Time{}, err
	}
	defer c.Close()
	leaf := c.ConnectionState().PeerCertificates[0]
	return leaf.DNSNames, leaf.NotAfter, nil
}

func TestFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	a := certstest.Start(t, certstest.Settings{})
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	p, err := certs.New(certs.Options{Spec: delivery.TLS{Cert: cert, Key: key}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	prove(t, ln, p)
	addr := ln.Addr().String()
	if s := p.State(); !strings.Contains(s.Waiting, cert) || !strings.Contains(s.Error, "no such file") || len(s.Names) != 0 {
		t.Errorf("State() without files = %+v", s)
	}
	if _, _, err := shown(a, addr, "a.example"); err == nil {
		t.Error("a handshake without a certificate succeeded")
	}
	a.Pair(t, cert, key, time.Hour, "a.example", "127.0.0.1")
	await(t, "the first certificate", func() bool { _, _, err := shown(a, addr, "a.example"); return err == nil })
	if s := p.State(); !slices.Equal(s.Names, []string{"a.example", "127.0.0.1"}) || s.Waiting != "" || s.Error != "" || time.Until(s.NotAfter) > time.Hour {
		t.Errorf("State() = %+v", s)
	}
	if err := os.WriteFile(cert, []byte("-----BEGIN half"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the broken file to be told", func() bool { return p.State().Error != "" })
	if s := p.State(); s.Waiting != "" || !slices.Contains(s.Names, "a.example") || !strings.Contains(s.Error, cert) {
		t.Errorf("State() with a broken file = %+v, want the old names, and the reason", s)
	}
	if _, _, err := shown(a, addr, "a.example"); err != nil {
		t.Errorf("with a broken file a handshake = %v, want the old certificate", err)
	}
	fresh, freshKey := filepath.Join(dir, "fresh.pem"), filepath.Join(dir, "fresh-key.pem")
	a.Pair(t, fresh, freshKey, time.Hour, "b.example")
	if err := os.Rename(freshKey, key); err != nil { // a key that does not fit, for a moment
		t.Fatal(err)
	}
	if err := os.Rename(fresh, cert); err != nil {
		t.Fatal(err)
	}
	await(t, "the new certificate", func() bool { _, _, err := shown(a, addr, "b.example"); return err == nil })
	if s := p.State(); s.Error != "" || !slices.Equal(s.Names, []string{"b.example"}) {
		t.Errorf("State() = %+v", s)
	}
}

func TestConfigIsModern(t *testing.T) {
	t.Parallel()
	a := certstest.Start(t, certstest.Settings{})
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	a.Pair(t, cert, key, time.Hour, "a.example")
	p, err := certs.New(certs.Options{Spec: delivery.TLS{Cert: cert, Key: key}, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	prove(t, ln, p)
	if _, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{ServerName: "a.example", RootCAs: a.Pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	cache := tls.NewLRUClientSessionCache(4)
	for i := range 2 {
		tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "a.example", RootCAs: a.Pool, ClientSessionCache: cache}, ForceAttemptHTTP2: true}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+ln.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil || string(b) != "HTTP/2.0" || res.TLS.DidResume != (i == 1) || res.TLS.Version != tls.VersionTLS13 {
			t.Errorf("request %d by %s, resumed %v, version %x, %v", i, b, res.TLS.DidResume, res.TLS.Version, err)
		}
		_ = res.Body.Close()
		tr.CloseIdleConnections()
	}
}

// issued starts a proof by ACME, served at an address that the authority reaches.
func issued(t *testing.T, a *certstest.Authority, dir string, plain string, names ...string) (*certs.Proof, string) {
	t.Helper()
	ln := listen(t)
	addr := ln.Addr().String()
	p, err := certs.New(certs.Options{
		Spec: delivery.TLS{ACME: &delivery.ACME{Domains: names, Email: "ops@shop.example", Directory: a.Directory, Roots: a.Roots}},
		Dir:  dir, Log: quiet, Addr: addr, Plain: plain, Check: 100 * time.Millisecond, Retry: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	prove(t, ln, p)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return p, addr
}

func TestACMEOverTLS(t *testing.T) {
	t.Parallel()
	a := certstest.Start(t, certstest.Settings{Refuse: true})
	dir := filepath.Join(t.TempDir(), "acme")
	p, addr := issued(t, a, dir, "", "shop.example.com", "cart.example.com")
	a.Set(func(s *certstest.Settings) { s.TLSALPN = addr })
	await(t, "the refusal to be told", func() bool { return strings.Contains(p.State().Error, "refuses everybody") })
	if s := p.State(); s.Waiting != "the authority to certify shop.example.com, cart.example.com" || len(s.Names) != 0 {
		t.Errorf("State() = %+v, want both names waited for", s)
	}
	if _, _, err := shown(a, addr, "shop.example.com"); err == nil {
		t.Error("a handshake without a certificate succeeded")
	}
	a.Set(func(s *certstest.Settings) { s.Refuse = false })
	await(t, "both certificates", func() bool { return len(p.State().Names) == 2 })
	for _, name := range []string{"shop.example.com", "cart.example.com"} {
		if got, _, err := shown(a, addr, name); err != nil || !slices.Equal(got, []string{name}) {
			t.Errorf("asked for %s, shown %v, %v", name, got, err)
		}
	}
	if c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}); err != nil || c.ConnectionState().PeerCertificates[0].DNSNames[0] != "shop.example.com" {
		t.Errorf("without a name: %v, want the certificate of the first", err)
	} else {
		_ = c.Close()
	}
	if _, _, err := shown(a, addr, "other.example.com"); err == nil {
		t.Error("a name that is not ours was proven")
	}
	if s := p.State(); s.Waiting != "" || s.Error != "" || time.Until(s.NotAfter) > time.Hour || time.Until(s.NotAfter) < 50*time.Minute {
		t.Errorf("State() = %+v", s)
	}
	if n := a.Proved("tls-alpn-01"); n < 2 {
		t.Errorf("%d challenges were met over TLS, want 2", n)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%s = %v, %v, want mode 0700", dir, info.Mode(), err)
	}
	keys := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".key") {
			info, err := d.Info()
			if keys++; err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
			}
		}
		return err
	})
	if err != nil || keys < 3 {
		t.Errorf("%d keys are kept, %v, want two of certificates and one of the account", keys, err)
	}

	// Another process finds them on disk and asks nobody.
	a.Set(func(s *certstest.Settings) { s.Refuse = true })
	again, at := issued(t, a, dir, "", "shop.example.com")
	await(t, "the certificate on disk", func() bool { return len(again.State().Names) == 1 })
	if _, _, err := shown(a, at, "shop.example.com"); err != nil || a.Issued("shop.example.com") != 1 {
		t.Errorf("after a restart: %v, %d certificates issued, want the one on disk", err, a.Issued("shop.example.com"))
	}
}

func TestACMEOverHTTP(t *testing.T) {
	t.Parallel()
	a := certstest.Start(t, certstest.Settings{})
	var p atomic.Pointer[certs.Proof]
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := p.Load(); q == nil || !q.Challenge(w, r) { // too early it fails, and is tried again
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(plain.Close)
	a.Set(func(s *certstest.Settings) { s.HTTP = plain.Listener.Addr().String() })
	q, addr := issued(t, a, filepath.Join(t.TempDir(), "acme"), plain.Listener.Addr().String(), "shop.example.com")
	p.Store(q)
	await(t, "the certificate", func() bool { _, _, err := shown(a, addr, "shop.example.com"); return err == nil })
	if n := a.Proved("http-01"); n != 1 || a.Proved("tls-alpn-01") != 0 {
		t.Errorf("%d challenges were met over HTTP, want 1", n)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, plain.URL+"/.well-known/acme-challenge/other", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusNotFound {
		t.Errorf("a challenge that nobody asked for = %s, want 404", res.Status)
	}
}

func TestACMERenewsInTime(t *testing.T) {
	t.Parallel()
	a := certstest.Start(t, certstest.Settings{Life: 15 * time.Second})
	p, addr := issued(t, a, filepath.Join(t.TempDir(), "acme"), "", "shop.example.com")
	a.Set(func(s *certstest.Settings) { s.TLSALPN = addr })
	await(t, "the first certificate", func() bool { return len(p.State().Names) == 1 })
	_, first, err := shown(a, addr, "shop.example.com")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "a later certificate, before the first one has ended", func() bool {
		_, until, err := shown(a, addr, "shop.example.com")
		if err != nil {
			t.Fatalf("a handshake during the renewal = %v (%s)", err, a.Why("shop.example.com"))
		}
		return until.After(first) && time.Now().Before(first)
	})
	if n := a.Issued("shop.example.com"); n < 2 {
		t.Errorf("%d certificates were issued, want 2", n)
	}
}

func TestEndStopsAndKeeps(t *testing.T) {
	t.Parallel()
	a := certstest.Start(t, certstest.Settings{})
	ln := listen(t)
	p, err := certs.New(certs.Options{
		Spec: delivery.TLS{ACME: &delivery.ACME{Domains: []string{"shop.example.com"}, Directory: a.Directory, Roots: a.Roots}},
		Dir:  filepath.Join(t.TempDir(), "acme"), Log: quiet, Addr: ln.Addr().String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if s := p.State(); s.Waiting == "" {
		t.Errorf("State() before Run = %+v, want what is waited for", s)
	}
	a.Set(func(s *certstest.Settings) { s.TLSALPN = ln.Addr().String() })
	prove(t, ln, p)
	done := make(chan struct{})
	go func() { defer close(done); p.Run(t.Context()) }()
	await(t, "the certificate", func() bool { return len(p.State().Names) == 1 })
	p.End()
	<-done
	if _, _, err := shown(a, ln.Addr().String(), "shop.example.com"); err != nil {
		t.Errorf("after the end: %v, want the certificate still in use", err)
	}
}

func TestRootsAreRead(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(bad, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, roots := range []string{bad, bad + ".missing"} {
		_, err := certs.New(certs.Options{Spec: delivery.TLS{ACME: &delivery.ACME{Domains: []string{"a"}, Roots: roots}}, Log: quiet, Addr: ":443"})
		if err == nil || !strings.Contains(err.Error(), roots) {
			t.Errorf("New(roots %s) = %v, want the file named", roots, err)
		}
	}
}
