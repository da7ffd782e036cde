package proxy

import (
	"context"
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
	maxAsk    = 1 << 20 // bytes of any other request
)

// control is the API on the socket. Only the owner of the socket's file can
// reach it, so it asks for no token.
func (e *engine) control(done <-chan struct{}) http.Handler {
	mux := e.common(done)
	mux.HandleFunc("PUT /v1/table", putTable(e.apply))
	mux.HandleFunc("GET /v1/state", e.getState)
	mux.HandleFunc("POST /v1/upgrade", e.postUpgrade)
	mux.HandleFunc("GET /v1/dump", func(w http.ResponseWriter, r *http.Request) {
		d, err := e.dump(r.Context())
		if err != nil {
			tableProblem(err).write(w)
			return
		}
		reply(w, d)
	})
	return mux
}

// common is what a successor asks too.
func (e *engine) common(done <-chan struct{}) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/table", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.table.Load().spec) })
	mux.HandleFunc("GET /v1/faults", func(w http.ResponseWriter, _ *http.Request) { reply(w, e.faults.List(time.Now())) })
	mux.HandleFunc("PUT /v1/faults/{id}", e.putFault)
	mux.HandleFunc("DELETE /v1/faults/{id}", e.dropFault)
	mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, r *http.Request) { e.stats(w, r, done) })
	mux.HandleFunc("GET /metrics", e.metrics)
	mux.HandleFunc("PUT /v1/drains/{target}", e.putDrain)
	mux.HandleFunc("DELETE /v1/drains/{target}", e.dropDrain)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return mux
}

func (e *engine) getState(w http.ResponseWriter, r *http.Request) {
	s, err := e.whole(r.Context())
	if err == nil {
		err = e.ours() // what the successor began meanwhile is not in s
	}
	if err != nil {
		tableProblem(err).write(w)
		return
	}
	reply(w, s)
}

// whole is the state of this process and of its predecessor, as one.
func (e *engine) whole(ctx context.Context) (traffic.State, error) {
	t := e.table.Load()
	s := e.state()
	err := e.elder.Load().state(ctx, &s, t)
	return s, err
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func putTable(apply func(context.Context, traffic.Table) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var t traffic.Table
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxTable))
		dec.DisallowUnknownFields() // a field we do not know may be a rule we would break
		err := dec.Decode(&t)
		if err == nil {
			err = apply(r.Context(), t)
		}
		if err != nil {
			tableProblem(err).write(w)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// tableProblem says why a table was refused.
func tableProblem(err error) problem {
	var field *delivery.FieldError
	var large *http.MaxBytesError
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var before *elderError
	switch {
	case errors.Is(err, errHanded):
		return handedProblem()
	case errors.Is(err, errEnding):
		return problem{Status: http.StatusServiceUnavailable, Code: "ending", Detail: err.Error(), Hint: "send it to the next one"}
	case errors.As(err, &before):
		return problem{Status: http.StatusServiceUnavailable, Code: "predecessor", Detail: err.Error(), Hint: "it ends within a minute or so; ask again"}
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
	e.elder.Load().counted(r.Context())
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w).Flush
	tick := time.NewTicker(frameTick)
	defer tick.Stop()
	var epoch int64
	var sent time.Time
	for last := false; ; {
		f := traffic.Frame{At: time.Now(), Boot: e.boot}
		before := epoch
		f.Blocks, f.Failed, epoch = e.counts.collect(epoch, from)
		f.Blocks = e.legacy.collect(f.Blocks, before, from, e.counts.block)
		if before == 0 {
			f.Failed = e.unseen(f.At)
		}
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
