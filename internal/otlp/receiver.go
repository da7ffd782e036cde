// Package otlp takes in what OpenTelemetry SDKs send by OTLP/HTTP: metrics as
// samples, and spans. It keeps nothing, and takes nothing from whom it does not
// know; requests on the wire, hostile ones too, and a fuzz target judge it.
//
// Sources: https://opentelemetry.io/docs/specs/otlp/#otlphttp and
// https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/.
package otlp

import (
	"compress/gzip"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// Bounds of one request, and of how many are read at a time.
const (
	maxBody   = 4 << 20          // bytes, as sent and as unpacked
	maxFields = 500_000          // of the messages in it, each of which may take a hundred bytes
	maxBusy   = 2                // requests at a time; more are asked to come again
	readTime  = 10 * time.Second // for a body to arrive
)

// Options is what a Receiver works with. All of it is needed.
type Options struct {
	Keys    Keys
	Metrics metric.Sink
	Spans   func(trace string, s delivery.Span) (taken bool) // may be called by many at once
}

// Receiver is an http.Handler for /v1/metrics and /v1/traces.
type Receiver struct {
	o    Options
	busy chan struct{}
}

// New returns a receiver.
func New(o Options) *Receiver {
	return &Receiver{o: o, busy: make(chan struct{}, maxBusy)}
}

// taken is what became of a request's content.
type taken struct {
	refused int64
	why     string // the first reason
}

func (t *taken) refuse(n int, why string) {
	t.refused += int64(n)
	if t.why == "" && n > 0 {
		t.why = why
	}
}

// ServeHTTP takes one request. Each is on the account of whom its token names.
func (v *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	form := formOf(r.Header.Get("Content-Type"))
	fail := func(status int, why string) { answerError(w, form, status, why) }
	path := r.URL.Path
	if path != "/v1/metrics" && path != "/v1/traces" {
		fail(http.StatusNotFound, "Slipway takes /v1/metrics and /v1/traces; what an instance logs, it reads from its output")
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		fail(http.StatusMethodNotAllowed, "OTLP is sent by POST")
		return
	}
	who, ok := v.o.Keys.Who(tokenOf(r))
	if !ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="slipway"`)
		fail(http.StatusUnauthorized, "this is not the token of an instance that Slipway runs: it is in OTEL_EXPORTER_OTLP_HEADERS of each")
		return
	}
	if form == formNone {
		fail(http.StatusUnsupportedMediaType, "Content-Type must be application/x-protobuf or application/json")
		return
	}
	select {
	case v.busy <- struct{}{}:
		defer func() { <-v.busy }()
	default:
		w.Header().Set("Retry-After", "1")
		fail(http.StatusServiceUnavailable, "too many requests are being read")
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTime)) // where it cannot be set, the server's own holds
	body, status, why := readBody(w, r)
	if why != "" {
		fail(status, why)
		return
	}
	t, err := v.take(path, form, body, who)
	if err != nil {
		fail(http.StatusBadRequest, err.Error())
		return
	}
	answer(w, form, path, t)
}

// take reads a whole body and hands over what is in it.
func (v *Receiver) take(path string, f form, body []byte, who Sender) (taken, error) {
	if path == "/v1/traces" {
		return v.traces(f, body, who)
	}
	return v.metrics(f, body, who)
}

// readBody returns the unpacked body, or a status and why there is none.
func readBody(w http.ResponseWriter, r *http.Request) (body []byte, status int, why string) {
	const tooLarge = "a request has at most 4 MiB, unpacked; send smaller batches"
	var from io.Reader = http.MaxBytesReader(w, r.Body, maxBody)
	switch enc := strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))); enc {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(from)
		if err != nil {
			return nil, http.StatusBadRequest, "the body is not gzip: " + err.Error()
		}
		from = z
	default:
		return nil, http.StatusUnsupportedMediaType, "Content-Encoding must be gzip or none"
	}
	body, err := io.ReadAll(io.LimitReader(from, maxBody+1))
	if long := (*http.MaxBytesError)(nil); errors.As(err, &long) || len(body) > maxBody {
		return nil, http.StatusRequestEntityTooLarge, tooLarge
	}
	if err != nil {
		return nil, http.StatusBadRequest, "the body cannot be read: " + err.Error()
	}
	return body, 0, ""
}

// form is how a request is written, and so its answer.
type form int

const (
	formNone form = iota
	formProto
	formJSON
)

func formOf(contentType string) form {
	kind, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
	case kind == "application/x-protobuf":
		return formProto
	case kind == "application/json":
		return formJSON
	}
	return formNone
}

// tokenOf returns the token of a request: as SDKs send it, or the password of a URL.
func tokenOf(r *http.Request) string {
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
