package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/fault"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// maxFault is the longest fault as JSON, in bytes.
const maxFault = 64 << 10

// disturbance is the answer to a fault that was put in force.
type disturbance struct {
	Change fault.Change       `json:"change"` // "replaced": another fault had its id, and has ended
	Fault  traffic.FaultState `json:"fault"`
}

// putFault puts a fault in force or renews it. It is under lease: whoever wants
// it sends it again before that ends.
func (e *engine) putFault(w http.ResponseWriter, r *http.Request) {
	var f traffic.Fault
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxFault))
	dec.DisallowUnknownFields() // a condition we do not know would make the fault wider
	if err := dec.Decode(&f); err != nil {
		notAFault(err).write(w)
		return
	}
	id := r.PathValue("id")
	if f.ID == "" {
		f.ID = id
	}
	if f.ID != id {
		problem{Status: http.StatusUnprocessableEntity, Code: "invalid_fault", Field: "id", Detail: "the body says " + f.ID + " and the path " + id, Hint: "leave it out of the body"}.write(w)
		return
	}
	change, state, err := e.disturb(f)
	if err != nil {
		refused(err).write(w)
		return
	}
	status := http.StatusOK
	if change == fault.Began {
		status = http.StatusCreated
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(disturbance{change, state})
}

var errEnding = errors.New("the data plane ends, and begins nothing more")

// disturb puts a fault in force if the table has what it disturbs.
func (e *engine) disturb(f traffic.Fault) (fault.Change, traffic.FaultState, error) {
	route := e.table.Load().routes[f.Route]
	switch {
	case e.ending.Load():
		return "", traffic.FaultState{}, errEnding
	case f.Route == "": // the fault's own check says so
	case route == nil:
		return "", traffic.FaultState{}, delivery.InvalidNext("route", "there is no route "+f.Route, "GET /v1/state lists the routes")
	case f.Release != "" && route.pool(f.Release) == nil:
		return "", traffic.FaultState{}, delivery.InvalidNext("release", fmt.Sprintf("route %s has no release %s", f.Route, f.Release), "GET /v1/state lists the releases")
	}
	return e.faults.Put(f, time.Now())
}

// dropFault takes a fault back.
func (e *engine) dropFault(w http.ResponseWriter, r *http.Request) {
	if !e.faults.Remove(r.PathValue("id")) {
		problem{
			Status: http.StatusNotFound, Code: "no_fault", Field: "id",
			Detail: "no fault " + r.PathValue("id") + " is in force", Hint: "GET /v1/faults lists those that are",
		}.write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func refused(err error) problem {
	if field, ok := errors.AsType[*delivery.FieldError](err); ok {
		return problem{Status: http.StatusUnprocessableEntity, Code: "invalid_fault", Field: field.Field, Detail: field.Why, Hint: field.Next}
	}
	return problem{Status: http.StatusServiceUnavailable, Code: "ending", Detail: err.Error(), Hint: "send it to the data plane that is started next"}
}

// notAFault says why a body could not be read.
func notAFault(err error) problem {
	p := problem{Status: http.StatusBadRequest, Code: "not_a_fault", Detail: err.Error()}
	var large *http.MaxBytesError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &large):
		p.Status, p.Detail = http.StatusRequestEntityTooLarge, fmt.Sprintf("a fault is at most %d KiB of JSON", maxFault>>10)
	case errors.As(err, &kind):
		p.Field = kind.Field
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		p.Detail = "the body is not whole JSON: " + err.Error()
	case isUnknownField(err):
		p.Hint = "is this data plane older than whoever asks? start the newer one"
	}
	return p
}
