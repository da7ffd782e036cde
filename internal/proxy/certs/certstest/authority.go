// Package certstest is a small certificate authority for tests. It speaks ACME (RFC
// 8555) over TLS, checks every signature and nonce, and connects back to prove who asks
// (HTTP-01, TLS-ALPN-01). It is not for production: it believes any account key.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Authority is a running certificate authority.
type Authority struct {
	Directory string         // URL
	Roots     string         // PEM file: who the authority itself is
	Pool      *x509.CertPool // what it signs with

	key    *ecdsa.PrivateKey
	issuer *x509.Certificate
	server *httptest.Server

	mu     sync.Mutex
	set    Settings          // guarded by mu
	nonces map[string]bool   // guarded by mu
	keys   map[string]jwk    // guarded by mu: by account URL
	orders []*order          // guarded by mu
	issued map[string]int    // guarded by mu: by name
	proved map[string]int    // guarded by mu: by challenge type
	why    map[string]string // guarded by mu: why a proof failed, by name
}

// Settings are how an authority acts. They may change at any time.
type Settings struct {
	Life    time.Duration // of certificates; 0 means an hour
	Refuse  bool          // every order
	HTTP    string        // host:port it connects to for HTTP-01; "" offers none
	TLSALPN string        // host:port it connects to for TLS-ALPN-01; "" offers none
}

type order struct {
	url   string
	name  string
	state string
	proof string // state of its authorization
	token string
	cert  []byte
}

// Start starts an authority that ends with the test.
func Start(t testing.TB, set Settings) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "certstest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := &Authority{
		key: key, set: set, Pool: x509.NewCertPool(),
		nonces: map[string]bool{}, keys: map[string]jwk{}, issued: map[string]int{}, proved: map[string]int{}, why: map[string]string{},
	}
	if a.issuer, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.Pool.AddCert(a.issuer)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /directory", a.directory)
	mux.HandleFunc("/nonce", a.nonce)
	mux.HandleFunc("POST /account", a.signed(a.account))
	mux.HandleFunc("POST /order", a.signed(a.newOrder))
	mux.HandleFunc("POST /order/{n}", a.signed(a.order))
	mux.HandleFunc("POST /authz/{n}", a.signed(a.authz))
	mux.HandleFunc("POST /challenge/{n}/{kind}", a.signed(a.challenge))
	mux.HandleFunc("POST /finalize/{n}", a.signed(a.finalize))
	mux.HandleFunc("POST /cert/{n}", a.signed(a.cert))
	a.server = httptest.NewTLSServer(mux)
	t.Cleanup(a.server.Close)
	a.Directory = a.server.URL + "/directory"
	a.Roots = filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(a.Roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// Set changes how the authority acts.
func (a *Authority) Set(change func(*Settings)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.set)
}

// Issued returns how many certificates name got.
func (a *Authority) Issued(name string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issued[name]
}

// Proved returns how many challenges of a kind were met: "http-01" or "tls-alpn-01".
func (a *Authority) Proved(kind string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.proved[kind]
}

// Why returns why the last proof of name failed.
func (a *Authority) Why(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.why[name]
}

// Pair writes a certificate for names, and its key, as PEM files.
func (a *Authority) Pair(t testing.TB, cert, key string, life time.Duration, names ...string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := a.sign(k.Public(), life, names)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *Authority) sign(public any, life time.Duration, names []string) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, n)
		}
	}
	return x509.CreateCertificate(rand.Reader, tmpl, a.issuer, public, a.key)
}

func (a *Authority) directory(w http.ResponseWriter, _ *http.Request) {
	u := a.server.URL
	reply(w, http.StatusOK, map[string]any{"newNonce": u + "/nonce", "newAccount": u + "/account", "newOrder": u + "/order", "revokeCert": u + "/revoke", "keyChange": u + "/key"})
}

func (a *Authority) nonce(w http.ResponseWriter, _ *http.Request) {
	a.fresh(w)
	w.WriteHeader(http.StatusNoContent)
}

// fresh puts a nonce into an answer.
func (a *Authority) fresh(w http.ResponseWriter) {
	n := base64.RawURLEncoding.EncodeToString([]byte(rand.Text()))
	a.mu.Lock()
	a.nonces[n] = true
	a.mu.Unlock()
	w.Header().Set("Replay-Nonce", n)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func refuse(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"type": "urn:ietf:params:acme:error:" + kind, "detail": detail, "status": status})
}

func (a *Authority) account(w http.ResponseWriter, _ *http.Request, m message) {
	url := a.server.URL + "/account/" + m.key.thumbprint()
	a.mu.Lock()
	a.keys[url] = m.key
	a.mu.Unlock()
	w.Header().Set("Location", url)
	reply(w, http.StatusCreated, map[string]any{"status": "valid"})
}

func (a *Authority) newOrder(w http.ResponseWriter, _ *http.Request, m message) {
	var in struct {
		Identifiers []struct{ Type, Value string }
	}
	if json.Unmarshal(m.payload, &in) != nil || len(in.Identifiers) != 1 {
		refuse(w, http.StatusBadRequest, "malformed", "one identifier an order")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.set.Refuse {
		refuse(w, http.StatusForbidden, "rejectedIdentifier", "this authority refuses everybody")
		return
	}
	o := &order{url: fmt.Sprintf("%s/order/%d", a.server.URL, len(a.orders)), name: in.Identifiers[0].Value, state: "pending", proof: "pending", token: rand.Text()}
	a.orders = append(a.orders, o)
	w.Header().Set("Location", o.url)
	reply(w, http.StatusCreated, a.show(o))
}

// show is an order as its owner sees it; mu is held.
func (a *Authority) show(o *order) map[string]any {
	v := map[string]any{
		"status": o.state, "identifiers": []map[string]string{{"type": "dns", "value": o.name}},
		"authorizations": []string{strings.Replace(o.url, "/order/", "/authz/", 1)},
		"finalize":       strings.Replace(o.url, "/order/", "/finalize/", 1),
	}
	if o.state == "valid" {
		v["certificate"] = strings.Replace(o.url, "/order/", "/cert/", 1)
	}
	return v
}

// of returns the order that a request is about; mu is held.
func (a *Authority) of(r *http.Request) *order {
	for _, o := range a.orders {
		if strings.HasSuffix(o.url, "/order/"+r.PathValue("n")) {
			return o
		}
	}
	return &order{state: "invalid", proof: "invalid"}
}

func (a *Authority) order(w http.ResponseWriter, r *http.Request, _ message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	reply(w, http.StatusOK, a.show(a.of(r)))
}

func (a *Authority) authz(w http.ResponseWriter, r *http.Request, _ message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.of(r)
	var all []map[string]any
	for kind, addr := range map[string]string{"http-01": a.set.HTTP, "tls-alpn-01": a.set.TLSALPN} {
		if addr != "" {
			all = append(all, a.showChallenge(o, kind))
		}
	}
	reply(w, http.StatusOK, map[string]any{"status": o.proof, "identifier": map[string]string{"type": "dns", "value": o.name}, "challenges": all})
}

func (a *Authority) showChallenge(o *order, kind string) map[string]any {
	return map[string]any{"type": kind, "status": o.proof, "token": o.token, "url": strings.Replace(o.url, "/order/", "/challenge/", 1) + "/" + kind}
}

func (a *Authority) challenge(w http.ResponseWriter, r *http.Request, m message) {
	kind := r.PathValue("kind")
	a.mu.Lock()
	o, set := a.of(r), a.set
	v := a.showChallenge(o, kind)
	a.mu.Unlock()
	w.Header().Set("Link", "<"+strings.Replace(o.url, "/order/", "/authz/", 1)+`>;rel="up"`)
	reply(w, http.StatusOK, v)
	go func() {
		authorization := o.token + "." + m.key.thumbprint()
		var err error
		if kind == "http-01" {
			err = overHTTP(set.HTTP, o.name, o.token, authorization)
		} else {
			err = overTLS(set.TLSALPN, o.name, authorization)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil {
			o.state, o.proof, a.why[o.name] = "invalid", "invalid", kind+": "+err.Error()
			return
		}
		o.state, o.proof = "ready", "valid"
		a.proved[kind]++
	}()
}

func (a *Authority) finalize(w http.ResponseWriter, r *http.Request, m message) {
	var in struct{ CSR string }
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.of(r)
	if json.Unmarshal(m.payload, &in) != nil || o.state != "ready" {
		refuse(w, http.StatusForbidden, "orderNotReady", o.state)
		return
	}
	der, err := base64.RawURLEncoding.DecodeString(in.CSR)
	if err != nil {
		refuse(w, http.StatusBadRequest, "badCSR", err.Error())
		return
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil || len(csr.DNSNames) != 1 || csr.DNSNames[0] != o.name {
		refuse(w, http.StatusBadRequest, "badCSR", fmt.Sprint("not for ", o.name, ": ", err))
		return
	}
	life := a.set.Life
	if life == 0 {
		life = time.Hour
	}
	leaf, err := a.sign(csr.PublicKey, life, csr.DNSNames)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "serverInternal", err.Error())
		return
	}
	o.cert = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.issuer.Raw})...)
	o.state = "valid"
	a.issued[o.name]++
	w.Header().Set("Location", o.url)
	reply(w, http.StatusOK, a.show(o))
}

func (a *Authority) cert(w http.ResponseWriter, r *http.Request, _ message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = w.Write(a.of(r).cert)
}
