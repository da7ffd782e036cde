package proxy

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/slipway-cd/slipway/internal/proxy/certs"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// challengePath is where an authority asks for the proof of HTTP-01 (RFC 8555, 8.3).
const challengePath = "/.well-known/acme-challenge/"

// proven is what a front proves itself with.
type proven struct {
	by     string // the words it was made of
	proof  *certs.Proof
	err    error       // it could not be made
	config *tls.Config // nil without TLS
}

// secure makes every listener of t prove itself as it says there. What could
// not be made is tried again each second. e.turn is held.
func (e *engine) secure(t *table) {
	for _, l := range t.spec.Listeners {
		e.mu.Lock()
		f := e.fronts[l.Addr]
		e.mu.Unlock()
		if f != nil {
			f.secure(l, t)
		}
	}
}

// secure keeps what the front proves itself with if the words are the same. A
// listener that asks for TLS is never served without.
func (f *front) secure(l traffic.Listener, t *table) {
	f.mu.Lock()
	now := f.proven
	f.mu.Unlock()
	if l.TLS == nil && now.config == nil {
		return
	}
	var next proven
	if l.TLS != nil {
		words, err := json.Marshal([]any{l.TLS, t.plainAddr})
		if err == nil && string(words) == now.by && now.err == nil {
			return
		}
		next = f.engine.prove(l, t, err)
		next.by = string(words)
	}
	if next.err != nil {
		if now.err == nil || now.err.Error() != next.err.Error() {
			f.engine.log.Error("the listener cannot prove who it is, trying again each second", slog.String("listener", l.Name), slog.Any("error", next.err))
		}
		next.proof, next.config = now.proof, now.config // better than none
		if next.config == nil {
			next.config = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: noCertificate}
		}
	}
	f.mu.Lock()
	f.proven = next
	f.mu.Unlock()
	if now.proof != next.proof {
		now.end()
		if next.proof != nil {
			f.engine.spawn(next.proof.Run)
		}
	}
}

// prove makes the proof of a listener.
func (e *engine) prove(l traffic.Listener, t *table, err error) proven {
	if err != nil {
		return proven{err: err}
	}
	proof, err := certs.New(certs.Options{
		Spec: *l.TLS, Dir: filepath.Join(e.disk.dir, "acme"), Addr: l.Addr, Plain: t.plainAddr,
		Log: e.log.With(slog.String("listener", l.Name)),
	})
	if err != nil {
		return proven{err: err}
	}
	return proven{proof: proof, config: proof.Config()}
}

func noCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return nil, errors.New("there is no certificate")
}

// end stops the renewal of certificates; those that there are stay in use.
func (p *proven) end() {
	if p.proof != nil {
		p.proof.End()
	}
}

// state says what a listener with TLS proves itself with; nil without TLS.
func (p *proven) state() *traffic.TLSState {
	if p.config == nil {
		return nil
	}
	s := traffic.TLSState{Names: []string{}}
	if p.proof != nil {
		s = p.proof.State()
	}
	if p.err != nil {
		s.Error = p.err.Error()
	}
	return &s
}

// challenged answers an authority that asks on a listener without TLS for what
// one with TLS has to prove. False means that it is a request like any other.
func (e *engine) challenged(w http.ResponseWriter, r *http.Request) bool {
	if r.TLS != nil || !e.table.Load().challenges(r.URL.Path) {
		return false
	}
	for _, f := range e.everyFront() {
		f.mu.Lock()
		proof := f.proven.proof
		f.mu.Unlock()
		if proof != nil && proof.Challenge(w, r) {
			return true
		}
	}
	return false
}

// challenges says whether an authority may ask at path.
func (t *table) challenges(path string) bool {
	return t.acme && strings.HasPrefix(path, challengePath)
}

// foundations notes which listeners certificates depend on.
func (t *table) foundations() {
	for _, l := range t.spec.Listeners {
		if l.TLS == nil && l.Only == "" && t.plainAddr == "" {
			t.plainAddr = l.Addr
		}
		if l.TLS != nil && l.TLS.ACME != nil {
			t.acme = true
		}
	}
}
