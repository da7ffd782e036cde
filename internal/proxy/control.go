package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Bounds of the control API.
const (
	maxTable  = 16 << 20 // bytes of a table as JSON
	frameTick = 250 * time.Millisecond
	frameIdle = time.Second
)

// control is the API on the socket. Only the owner of the socket's file can
// reach it, so it asks for no token.
func (e *engine) control(done <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/table", e.putTable)
	mux.HandleFunc("GET /v1/table", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.table.Load().spec) })
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.state()) })
	mux.HandleFunc("GET /v1/faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.faults.List(time.Now())) })
	mux.HandleFunc("PUT /v1/faults/{id}", e.putFault)
	mux.HandleFunc("DELETE /v1/faults/{id}", e.dropFault)
	mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, r *http.Request) { e.stats(w, r, done) })
	mux.HandleFunc("GET /metrics", e.metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func (e *engine) putTable(w http.ResponseWriter, r *http.Request) {
	var t traffic.Table
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTable))
	dec.DisallowUnknownFields() // a field we do not know may be a rule we would break
	if err := dec.Decode(&t); err != nil {
		tableProblem(err).write(w)
		return
	}
	if err := e.apply(r.Context(), t); err != nil {
		tableProblem(err).write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// tableProblem says why a table was refused.
func tableProblem(err error) problem {
	var field *delivery.FieldError
	var large *http.MaxBytesError
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &field):
		return problem{Status: http.StatusUnprocessableEntity, Code: "invalid_table", Field: field.Field, Detail: field.Why, Hint: field.Next}
	case errors.Is(err, delivery.ErrConflict):
		return problem{Status: http.StatusConflict, Code: "stale_generation", Field: "generation", Detail: err.Error(), Hint: "read GET /v1/state and send a higher generation"}
	case errors.As(err, &large):
		return problem{Status: http.StatusRequestEntityTooLarge, Code: "table_too_large", Detail: fmt.Sprintf("a table is at most %d MiB of JSON", maxTable>>20)}
	case errors.As(err, &kind):
		return problem{Status: http.StatusBadRequest, Code: "not_a_table", Field: kind.Field, Detail: err.Error()}
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return problem{Status: http.StatusBadRequest, Code: "not_a_table", Detail: "the body is not whole JSON: " + err.Error()}
	case isUnknownField(err):
		return problem{Status: http.StatusBadRequest, Code: "not_a_table", Detail: err.Error(), Hint: "is this data plane older than the server? start the newer one"}
	}
	return problem{Status: http.StatusInsufficientStorage, Code: "not_kept", Detail: err.Error(), Hint: "free or mend the disk of the state folder, then send the table again"}
}

func isUnknownField(err error) bool {
	const says = "json: unknown field"
	return len(err.Error()) > len(says) && err.Error()[:len(says)] == says
}

// stats streams frames, one JSON value a line, until the caller or the engine goes away.
func (e *engine) stats(w http.ResponseWriter, r *http.Request, done <-chan struct{}) {
	var from int64
	if s := r.URL.Query().Get("since"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			problem{Status: http.StatusBadRequest, Code: "bad_since", Field: "since", Detail: "since is a Unix second, not " + strconv.Quote(s)}.write(w)
			return
		}
		from = n
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w).Flush
	tick := time.NewTicker(frameTick)
	defer tick.Stop()
	var epoch int64
	var sent time.Time
	for last := false; ; {
		f := traffic.Frame{At: time.Now(), Boot: e.boot}
		f.Blocks, f.Failed, epoch = e.counts.collect(epoch, from)
		if len(f.Blocks) > 0 || len(f.Failed) > 0 || f.At.Sub(sent) >= frameIdle {
			if f.Blocks == nil {
				f.Blocks = []traffic.Block{}
			}
			if enc.Encode(f) != nil || flush() != nil {
				return
			}
			sent = f.At
		}
		if last {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-done:
			last = true
		}
	}
}
