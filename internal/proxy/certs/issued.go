package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Defaults of how often an authority is asked. Five attempts within the first
// hour stay below what Let's Encrypt bears of failures.
const (
	checkEvery = 10 * time.Minute
	retryFirst = time.Minute
	retryMost  = time.Hour
)

// issued is certificates that an authority gives, one a name.
type issued struct {
	o      Options
	spec   *delivery.ACME
	roots  *x509.CertPool // nil is the system's
	listen string         // host that challenges come in at
	tls    int            // port of TLS-ALPN-01
	http   int            // port of HTTP-01, 0 without

	at atomic.Pointer[authority] // while it runs, and what it had then

	mu   sync.Mutex
	errs map[string]error // guarded by mu: by name, why there is no newer certificate
}

// authority is certmagic at work.
type authority struct {
	cache  *certmagic.Cache
	config *certmagic.Config
	issuer *certmagic.ACMEIssuer
}

func newIssued(o Options) (*issued, error) {
	k := &issued{o: o, spec: o.Spec.ACME, errs: map[string]error{}}
	host, port, err := splitAddr(o.Addr)
	if err != nil {
		return nil, fmt.Errorf("certs: listener: %w", err)
	}
	k.listen, k.tls = host, port
	if o.Plain != "" {
		plain, port, err := splitAddr(o.Plain)
		if err != nil {
			return nil, fmt.Errorf("certs: plain listener: %w", err)
		}
		if plain == host { // certmagic looks for both at one host; TLS-ALPN-01 does alone
			k.http = port
		}
	}
	if k.spec.Roots != "" {
		pem, err := os.ReadFile(k.spec.Roots)
		if err != nil {
			return nil, fmt.Errorf("certs: roots of the authority: %w", err)
		}
		k.roots = x509.NewCertPool()
		if !k.roots.AppendCertsFromPEM(pem) {
			return nil, delivery.Invalid("acme.roots", k.spec.Roots+" holds no PEM certificate")
		}
	}
	return k, nil
}

func splitAddr(addr string) (host string, port int, err error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(service)
	return host, port, err
}

// start makes certmagic ready. It looks after certificates in a goroutine of its
// own until its cache is stopped.
func (k *issued) start() *authority {
	a := &authority{}
	a.cache = certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return a.config, nil },
		RenewCheckInterval: cmp.Or(k.o.Check, checkEvery),
		Logger:             zap.NewNop(), // what matters comes as an event
	})
	a.config = certmagic.New(a.cache, certmagic.Config{
		Storage:           &certmagic.FileStorage{Path: k.o.Dir},
		DefaultServerName: k.spec.Domains[0],
		OCSP:              certmagic.OCSPConfig{DisableStapling: true},
		OnEvent:           k.event,
		Logger:            zap.NewNop(),
	})
	a.issuer = certmagic.NewACMEIssuer(a.config, certmagic.ACMEIssuer{
		CA:                   k.spec.Directory,
		Email:                k.spec.Email,
		Agreed:               true,
		TrustedRoots:         k.roots,
		ListenHost:           k.listen,
		AltTLSALPNPort:       k.tls,
		AltHTTPPort:          k.http,
		DisableHTTPChallenge: k.http == 0,
		Logger:               zap.NewNop(),
	})
	a.config.Issuers = []certmagic.Issuer{speechless{a.issuer}}
	return a
}

// speechless asks nobody on the terminal for an address of electronic mail, as
// certmagic does at the first attempt of a kind that is not repeated by itself.
type speechless struct{ *certmagic.ACMEIssuer }

// PreCheck is certmagic.PreChecker's.
func (s speechless) PreCheck(ctx context.Context, names []string, _ bool) error {
	return s.ACMEIssuer.PreCheck(ctx, names, false)
}

// run gets what is missing, name by name, and renews what there is.
func (k *issued) run(ctx context.Context) {
	if err := os.MkdirAll(k.o.Dir, 0o700); err != nil {
		k.o.Log.Error("certificates cannot be kept", slog.Any("error", err))
	}
	a := k.start()
	defer a.cache.Stop()
	k.at.Store(a)
	var all sync.WaitGroup
	for _, name := range k.spec.Domains {
		all.Go(func() { k.get(ctx, a, name) })
	}
	all.Wait()
	<-ctx.Done()
}

// get tries until there is a certificate for name.
func (k *issued) get(ctx context.Context, a *authority, name string) {
	for wait := cmp.Or(k.o.Retry, retryFirst); ; wait = min(3*wait, retryMost) {
		err := a.config.ManageSync(ctx, []string{name})
		if err == nil || ctx.Err() != nil {
			return
		}
		k.failed(name, err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// event is told by certmagic what happens; renewals too.
func (k *issued) event(_ context.Context, event string, data map[string]any) error {
	name, _ := data["identifier"].(string)
	switch event {
	case "cert_obtained":
		k.mu.Lock()
		delete(k.errs, name)
		k.mu.Unlock()
		k.o.Log.Info("certificate issued", slog.String("name", name))
	case "cert_failed":
		if err, ok := data["error"].(error); ok {
			k.failed(name, err)
		}
	}
	return nil
}

func (k *issued) failed(name string, err error) {
	k.mu.Lock()
	before := k.errs[name]
	k.errs[name] = err
	k.mu.Unlock()
	if before == nil || before.Error() != err.Error() {
		k.o.Log.Error("no certificate was issued, trying again", slog.String("name", name), slog.Any("error", err))
	}
}

func (k *issued) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	a := k.at.Load()
	if a == nil {
		return nil, errNone
	}
	c, err := a.config.GetCertificate(hello)
	if err != nil {
		return nil, fmt.Errorf("certs: %w", err)
	}
	return c, nil
}

func (k *issued) challenge(w http.ResponseWriter, r *http.Request) bool {
	a := k.at.Load()
	return a != nil && a.issuer.HandleHTTPChallenge(w, r)
}

func (k *issued) state() traffic.TLSState {
	s := traffic.TLSState{Names: []string{}}
	a := k.at.Load()
	var missing []string
	for _, name := range k.spec.Domains {
		until := time.Time{}
		if a != nil {
			for _, c := range a.cache.AllMatchingCertificates(name) {
				if c.Leaf != nil && c.Leaf.NotAfter.After(until) {
					until = c.Leaf.NotAfter
				}
			}
		}
		if until.IsZero() {
			missing = append(missing, name)
			continue
		}
		s.Names = append(s.Names, name)
		if s.NotAfter.IsZero() || until.Before(s.NotAfter) {
			s.NotAfter = until
		}
	}
	if len(missing) > 0 {
		s.Waiting = "the authority to certify " + strings.Join(missing, ", ")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var errs []error
	for _, name := range k.spec.Domains {
		if err := k.errs[name]; err != nil && !slices.ContainsFunc(errs, func(e error) bool { return e.Error() == err.Error() }) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		s.Error = err.Error()
	}
	return s
}
