package server

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// keyHeader names a request, so that sending it twice is doing it once.
const keyHeader = "Idempotency-Key"

// replayHeader marks an answer that was given before.
const replayHeader = "Idempotency-Replayed"

// once runs a request, or gives the answer it got before. Only an answer that
// changed something is kept: a refusal changed nothing, so the same request may
// be judged anew. Bundles need no key, their digest is one.
func (s *Server) once(w http.ResponseWriter, r *http.Request, body []byte) {
	sent := r.Header.Values(keyHeader)
	if r.Method != http.MethodPost || body == nil || len(sent) == 0 {
		s.mux.ServeHTTP(w, r)
		return
	}
	key := sent[0]
	if len(sent) > 1 || !printable(key, 255) {
		p := newProblem(codeInvalid, keyHeader+": needs one value of 1 to 255 printable ASCII characters")
		p.Errors = []defect{{Location: "header." + keyHeader, Message: "needs one value of 1 to 255 printable ASCII characters"}}
		p.write(w)
		return
	}
	unlock, err := s.keys.lock(r.Context(), key)
	if err != nil {
		return // the client is gone
	}
	defer unlock()
	print := fingerprint(r, body)
	kept, found, err := s.d.Store.Recall(r.Context(), key, print, time.Now())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if found {
		s.replay(w, r, kept)
		return
	}
	rec := &recorder{header: w.Header()}
	s.mux.ServeHTTP(rec, r)
	if rec.Status/100 == 2 {
		s.keep(r, key, print, rec)
	}
	rec.copyTo(w)
}

// keep remembers an answer. What it answers for has happened, so nothing stops it now.
func (s *Server) keep(r *http.Request, key, print string, rec *recorder) {
	ctx := context.WithoutCancel(r.Context())
	text, err := json.Marshal(rec.answer())
	if err == nil {
		err = s.d.Store.Write(ctx, func(tx *store.Tx) error { return tx.Remember(key, print, text, time.Now()) })
	}
	if err != nil {
		s.d.Log.ErrorContext(ctx, "answer could not be kept under its key", slog.String("path", r.URL.Path), slog.Any("error", err))
	}
}

func (s *Server) replay(w http.ResponseWriter, r *http.Request, kept []byte) {
	var a answer
	if err := json.Unmarshal(kept, &a); err != nil {
		s.fail(w, r, err)
		return
	}
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	w.Header().Set(replayHeader, "true")
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // a client that is gone asks again
}

// fail answers with the problem of an error, outside a huma handler.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	s.explain(r.Context(), err).write(w)
}

// fingerprint says which request a key belongs to: the same route with the same body.
func fingerprint(r *http.Request, body []byte) string {
	head := strconv.Quote(r.Method + " " + r.URL.RequestURI())
	return string(delivery.DigestOf(append([]byte(head), body...)))
}

// printable reports whether s is 1 to most characters of ASCII that print.
func printable(s string, most int) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return s != "" && len(s) <= most
}

// answer is a kept answer.
type answer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header"`
	Body   []byte            `json:"body"`
}

// recorder holds an answer back until it is known whether to keep it.
type recorder struct {
	Status int
	header http.Header
	body   bytes.Buffer
}

// Header returns the headers that will be sent.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader notes the first status.
func (r *recorder) WriteHeader(status int) {
	if r.Status == 0 {
		r.Status = status
	}
}

// Write keeps p.
func (r *recorder) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

func (r *recorder) answer() answer {
	a := answer{Status: r.Status, Header: map[string]string{}, Body: r.body.Bytes()}
	for _, name := range []string{"Content-Type", "Location"} {
		if v := r.header.Get(name); v != "" {
			a.Header[name] = v
		}
	}
	return a
}

// copyTo sends the answer. The headers are w's own already.
func (r *recorder) copyTo(w http.ResponseWriter) {
	w.WriteHeader(max(r.Status, http.StatusOK))
	_, _ = w.Write(r.body.Bytes()) // a client that is gone asks again
}

// keyring lets one request at a time work under a key.
type keyring struct {
	mu   sync.Mutex
	held map[string]*keyLock
}

type keyLock struct {
	turn  chan struct{} // holds one value while the key is in use
	users int
}

func newKeyring() *keyring { return &keyring{held: map[string]*keyLock{}} }

// lock waits for the key, or for ctx to end.
func (k *keyring) lock(ctx context.Context, key string) (unlock func(), err error) {
	k.mu.Lock()
	l := k.held[key]
	if l == nil {
		l = &keyLock{turn: make(chan struct{}, 1)}
		k.held[key] = l
	}
	l.users++
	k.mu.Unlock()
	leave := func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(k.held, key)
		}
	}
	select {
	case l.turn <- struct{}{}:
		return func() { <-l.turn; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
