package server

import (
	"context"
	"net/http"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// harden sets the headers every answer has, whoever asked.
func harden(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
}

// admit refuses who may not ask, and returns the request with who asks. A browser is
// turned away before its token is looked at: a page of another site must learn
// nothing, not even whether a token is right. What is not there is told only to who
// may read.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, pattern string) (*http.Request, error) {
	need, known := s.needs[pattern]
	if !known {
		need = delivery.Reader
	}
	if need == delivery.Nobody {
		return r, s.d.Guard.FromHere(r)
	}
	pass, err := s.d.Guard.Enter(w, r)
	if err == nil {
		err = access.Need(pass.Who, need)
	}
	if err != nil {
		return r, err
	}
	return r.WithContext(context.WithValue(r.Context(), passKey{}, pass)), nil
}

// told reports whether an answer holds what looks like a secret. That of an action
// never does, whoever asks: it is kept under its Idempotency-Key.
func told(ctx context.Context, method string) bool {
	pass, _ := ctx.Value(passKey{}).(access.Pass)
	return method != http.MethodPost && pass.Knows()
}

// passKey finds who asks in the context of a request: huma hands a handler nothing
// else of it. Asker reads it, and nothing below does.
type passKey struct{}
