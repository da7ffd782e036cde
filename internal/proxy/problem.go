package proxy

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// problem is an RFC 9457 answer of the data plane itself.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Field  string `json:"field,omitempty"`
	Hint   string `json:"hint,omitempty"`

	retry time.Duration // of Retry-After; 0 is a second for 503, and none for others
}

// retryAfter returns the Retry-After header's value, or "" for none.
func (p problem) retryAfter() string {
	if p.retry == 0 && p.Status != http.StatusServiceUnavailable {
		return ""
	}
	return strconv.Itoa(max(1, int(math.Ceil(p.retry.Seconds()))))
}

// body returns the answer's body.
func (p problem) body() []byte {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	b, err := json.Marshal(p)
	if err != nil {
		b = []byte(`{"type":"about:blank"}`)
	}
	return append(b, '\n')
}

func (p problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if after := p.retryAfter(); after != "" {
		h.Set("Retry-After", after)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(p.body())
}
