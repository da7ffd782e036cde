package certs

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Proof is what one listener proves itself with.
type Proof struct {
	config *tls.Config
	keeper keeper
	ended  chan struct{}
}

// keeper keeps the certificates of a proof.
type keeper interface {
	certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error)
	state() traffic.TLSState
	run(ctx context.Context) // until ctx ends
	challenge(w http.ResponseWriter, r *http.Request) bool
}

// Options say what a proof needs. Spec, Dir and Log are required; with ACME also Addr.
type Options struct {
	Spec delivery.TLS
	Dir  string       // folder for accounts, keys and certificates of ACME; made, for its owner only
	Log  *slog.Logger //

	Addr  string // host:port of the listener, which answers TLS-ALPN-01
	Plain string // host:port of a listener without TLS, which answers HTTP-01 by Challenge; "" is none

	Check time.Duration // between two looks at whether a certificate has to be renewed; 0 means 10 min
	Retry time.Duration // after an authority refused, tripling up to an hour; 0 means a minute
}

// errNone ends a handshake for which there is no certificate yet.
var errNone = errors.New("certs: there is no certificate yet")

// alpnACME is the protocol of TLS-ALPN-01 (RFC 8737, 6.2).
const alpnACME = "acme-tls/1"

// New returns a proof. Nothing is asked of anybody before Run.
func New(o Options) (*Proof, error) {
	p := &Proof{ended: make(chan struct{})}
	next := []string{"h2", "http/1.1"}
	if o.Spec.ACME != nil {
		k, err := newIssued(o)
		if err != nil {
			return nil, err
		}
		p.keeper, next = k, append(next, alpnACME)
	} else {
		p.keeper = newFiles(o.Spec.Cert, o.Spec.Key, o.Log)
	}
	p.config = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: next, GetCertificate: p.keeper.certificate}
	return p, nil
}

// Config is the configuration of the listener's TLS; always the same one.
func (p *Proof) Config() *tls.Config { return p.config }

// State says what the proof has and what it waits for.
func (p *Proof) State() traffic.TLSState { return p.keeper.state() }

// Challenge answers a request of an authority on the plain listener (HTTP-01,
// RFC 8555, 8.3), or says that it is none for this proof.
func (p *Proof) Challenge(w http.ResponseWriter, r *http.Request) bool {
	return p.keeper.challenge(w, r)
}

// Run gets and renews certificates until ctx or the proof ends. The listener
// has to be open already.
func (p *Proof) Run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.keeper.run(ctx)
	}()
	select {
	case <-ctx.Done():
	case <-p.ended:
	}
	stop()
	<-done
}

// End ends Run. The certificates that there are stay in use. It is called once.
func (p *Proof) End() { close(p.ended) }
