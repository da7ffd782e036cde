package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// running returns the version that is stable in an environment, by the board.
func (h *house) running(service, env string) string {
	h.t.Helper()
	var b delivery.Board
	h.get("/status").want(http.StatusOK).into(&b)
	for _, row := range b.Services {
		for _, c := range row.Cells {
			if row.Service == service && c.Env == env && c.Flight == nil {
				return c.Version
			}
		}
	}
	return ""
}

// A change goes through every environment, is promoted by a person, and comes
// back, all over HTTP.
func TestStory(t *testing.T) {
	h := build(t).shop().run()
	for _, v := range []string{"v1", "v2"} {
		s := h.settled("cart", v)
		var why items[delivery.Answer]
		eventually(t, v+" may be promoted", func() bool {
			h.get("/services/cart/why?env=prod").want(http.StatusOK).into(&why)
			return len(why.Items) == 1 && why.Items[0].Next == v
		})
		var r delivery.Rollout
		h.post(fmt.Sprintf("/changes/%d/promote", s.Change.ID), map[string]string{"to": "prod", "reason": "looks good"}).want(http.StatusOK).into(&r)
		if r.Env != "prod" || r.Version != v {
			t.Errorf("promoted = %s %s, want %s prod", r.Version, r.Env, v)
		}
		eventually(t, v+" is stable in prod", func() bool { return h.running("cart", "prod") == v })
		var view changeView
		h.get(fmt.Sprintf("/changes/%d", s.Change.ID)).want(http.StatusOK).into(&view)
		if len(view.Rollouts) != 2 || view.Rollouts[0].Env != "staging" || view.Release.Version != v || len(view.Holds) != 0 {
			t.Errorf("change = %+v, want its two rollouts in order and its release", view)
		}
		var live control.Live
		h.get(fmt.Sprintf("/rollouts/%d/prod", s.Change.ID)).want(http.StatusOK).into(&live)
		if live.Rollout.State != delivery.Done || live.Route == nil {
			t.Errorf("live = %+v, want a rollout that is done, and its route", live)
		}
	}
	var d control.Diff
	h.get("/services/cart/diff?from=v1&to=prod").want(http.StatusOK).into(&d)
	if d.From.Version != "v1" || d.To.Version != "v2" || len(d.Files) != 1 {
		t.Errorf("diff = %+v, want the one file that differs", d)
	}
	var back control.RolledBack
	h.post("/services/cart/rollback", map[string]string{"env": "prod", "reason": "slow"}).want(http.StatusOK).into(&back)
	if back.Change == nil || back.Hold == nil || back.Hold.Version != "v2" || back.Hold.By != "ann" || back.Rollout.Version != "v1" {
		t.Errorf("rolled back = %+v, want v1 on its way and v2 on hold", back)
	}
	eventually(t, "v1 is stable in prod again", func() bool { return h.running("cart", "prod") == "v1" })
	var lifted items[delivery.Hold]
	h.post("/holds/lift", control.Lift{Service: "cart", Version: "v2", Reason: "was the database"}).want(http.StatusOK).into(&lifted)
	if len(lifted.Items) != 1 {
		t.Errorf("lifted = %+v, want the hold on v2", lifted.Items)
	}
	var a audit
	h.get("/audit/verify").want(http.StatusOK).into(&a)
	if !a.OK || a.Lines == 0 || a.Sentence == "" {
		t.Errorf("audit = %+v, want a ledger that holds", a)
	}
}

// Each verb is written down as what was asked, of a change and of a service.
func TestVerbs(t *testing.T) {
	h := build(t).shop()
	s := h.deploy("cart", "v1")
	for _, c := range []struct {
		verb string
		want delivery.AskVerb
	}{{"pause", delivery.AskPause}, {"finish", delivery.AskPromote}, {"abort", delivery.AskAbort}} {
		var r delivery.Rollout
		h.post(fmt.Sprintf("/changes/%d/%s", s.Change.ID, c.verb), map[string]string{"env": "staging", "reason": "because"}).want(http.StatusOK).into(&r)
		if r.Asked == nil || r.Asked.Verb != c.want || r.Asked.By != "ann" || r.Asked.Why != "because" {
			t.Errorf("%s: asked = %+v, want %s by ann", c.verb, r.Asked, c.want)
		}
	}
	h.deploy("payment", "v1")
	h.post("/services/payment/switch", nil).problem(http.StatusConflict, delivery.CodeNotInFlight)
	h.post("/changes/2/approve", nil).problem(http.StatusConflict, delivery.CodeNotWaiting)
	for _, verb := range []string{"pause", "abort"} {
		var r delivery.Rollout
		h.post("/services/payment/"+verb, nil).want(http.StatusOK).into(&r)
		if r.Service != "payment" || r.Asked == nil || string(r.Asked.Verb) != verb {
			t.Errorf("%s: asked = %+v of %s", verb, r.Asked, r.Service)
		}
	}
	h.post("/services/cart/resume", nil).problem(http.StatusConflict, delivery.CodeNotWaiting)
	h.post(fmt.Sprintf("/changes/%d/resume", s.Change.ID), nil).problem(http.StatusConflict, delivery.CodeNotWaiting)
}

// Whatever is sent, the answer is never a fault of the server, and what is
// refused is a whole problem.
func TestAnything(t *testing.T) {
	h := build(t).shop()
	h.deploy("cart", "v1")
	routes := slices.DeleteFunc(contract(), func(p promised) bool { return p.path == "/events" })
	parts := []string{"cart", "kart", "prod", "1", "0", "-1", "99999999999999999999", "..", "%00", "%2e%2e%2f", "ü", "a b", "{id}", "", "x=1&x=2", strings.Repeat("y", 300)}
	rapid.Check(t, func(r *rapid.T) {
		route := rapid.SampledFrom(routes).Draw(r, "route")
		path := route.example
		if rapid.Bool().Draw(r, "bent") {
			segments := strings.Split(path, "/")
			i := rapid.IntRange(1, len(segments)-1).Draw(r, "at")
			segments[i] = strings.NewReplacer(" ", "%20", "ü", "%C3%BC", "{", "%7B", "}", "%7D").Replace(rapid.SampledFrom(parts).Draw(r, "part"))
			path = strings.Join(segments, "/")
		}
		a := ask{
			method: rapid.SampledFrom([]string{route.method, "GET", "POST", "PUT", "HEAD", "DELETE"}).Draw(r, "method"), path: path,
			contentType: rapid.SampledFrom([]string{"application/json", "application/yaml", "application/x-tar", "", ";;"}).Draw(r, "type"),
			body:        rapid.OneOf(rapid.SampledFrom([]string{"", "{}", "null", `{"service":"cart","env":"prod","why":"x","to":"prod","version":"v1"}`, shopYAML, "[1,2"}), rapid.StringN(0, 50, -1)).Draw(r, "body"),
			header:      map[string]string{"Accept": rapid.SampledFrom([]string{"", "text/html", "application/x-ndjson", "*/*;q=0", "a/b, c"}).Draw(r, "accept")},
		}
		got, err := h.try(a)
		if err != nil {
			r.Fatalf("%+v: %v", a, err)
		}
		if got.Status >= 500 {
			r.Fatalf("%+v = %d %s", a, got.Status, got.Body)
		}
		if got.Status >= 400 && a.method != "HEAD" {
			var p problem
			got.t = t
			got.into(&p)
			if p.Status != got.Status || p.Code == "" || p.Detail == "" {
				r.Fatalf("%+v = %s, want a whole problem", a, got.Body)
			}
		}
	})
}

// With a certificate everything is TLS, and the rest of the rules stay.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pool := selfSigned(t, cert, key)
	st, err := store.Open(t.Context(), filepath.Join(dir, "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("127.0.0.1:0", ListenOptions{CertFile: cert, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Serve(ctx, l, New(Deps{Store: st, Log: log, Guard: access.New(access.Deps{Root: testToken, Addr: l.Addr().String(), Store: st})}), log)
	}()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	for origin, want := range map[string]int{"https://" + l.Addr().String(): 200, "http://" + l.Addr().String(): 403} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+l.Addr().String()+Base+"/healthz", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", origin)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("from %s = %d, want %d", origin, resp.StatusCode, want)
		}
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

func selfSigned(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "slipway test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}
