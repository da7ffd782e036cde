package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/manifest"
	"github.com/slipway-cd/slipway/internal/store"
)

// code is the stable, machine-readable name of a problem. Those of delivery are
// used as they are; these are the ones that only an HTTP API has.
type code = delivery.RefusalCode

const (
	codeInvalid   code = "invalid"
	codeMalformed code = "malformed"
	codeNotFound  code = "not_found"
	codeMethod    code = "method_not_allowed"
	codeAccept    code = "not_acceptable"
	codeSlow      code = "timeout"
	codeConflict  code = "conflict"
	codeTooLarge  code = "too_large"
	codeMediaType code = "unsupported_media_type"
	codeTooMany   code = "too_many_streams"
	codeStopping  code = "stopping"
	codeNoAnswer  code = "no_answer"
	codeStorage   code = "storage"
	codeInternal  code = "internal"
)

// kind is what is the same for every problem of one code.
type kind struct {
	code   code
	status int
	title  string
}

// kinds lists every code this API can answer with, in the order of the docs page.
func kinds() []kind {
	return []kind{
		{codeInvalid, http.StatusUnprocessableEntity, "The input is not valid"},
		{codeMalformed, http.StatusBadRequest, "The request cannot be read"},
		{delivery.CodeUnauthorized, http.StatusUnauthorized, "No valid token"},
		{delivery.CodeWrongHost, http.StatusMisdirectedRequest, "Asked under a name that is not this server's"},
		{delivery.CodeCrossSite, http.StatusForbidden, "Asked by another site"},
		{delivery.CodeForbidden, http.StatusForbidden, "Not allowed"},
		{codeNotFound, http.StatusNotFound, "Not there"},
		{codeMethod, http.StatusMethodNotAllowed, "No such method here"},
		{codeAccept, http.StatusNotAcceptable, "No such form of the answer"},
		{codeSlow, http.StatusRequestTimeout, "The request came too slowly"},
		{codeConflict, http.StatusConflict, "Someone else was first"},
		{codeTooLarge, http.StatusRequestEntityTooLarge, "The request is too large"},
		{codeMediaType, http.StatusUnsupportedMediaType, "The request is in a form that is not read here"},
		{codeTooMany, http.StatusServiceUnavailable, "Too many streams"},
		{codeStopping, http.StatusServiceUnavailable, "The server is stopping"},
		{codeNoAnswer, http.StatusBadGateway, "A server that was asked does not answer"},
		{codeStorage, http.StatusInternalServerError, "The store does not keep what it is given"},
		{codeInternal, http.StatusInternalServerError, "Something went wrong inside"},
		{delivery.CodeUnknownService, http.StatusNotFound, "No such service"},
		{delivery.CodeUnknownEnvironment, http.StatusNotFound, "No such environment"},
		{delivery.CodeUnknownVersion, http.StatusNotFound, "No such version"},
		{delivery.CodeUnknownChange, http.StatusNotFound, "No such change"},
		{delivery.CodeUnknownHold, http.StatusNotFound, "No such hold"},
		{delivery.CodeUnknownLog, http.StatusNotFound, "No such log"},
		{delivery.CodeUnknownToken, http.StatusNotFound, "No such token"},
		{delivery.CodeHeld, http.StatusConflict, "Held"},
		{delivery.CodeQuarantined, http.StatusConflict, "The release is on hold"},
		{delivery.CodeNothingToDo, http.StatusConflict, "Nothing to do"},
		{delivery.CodeNoRollbackTarget, http.StatusConflict, "Nothing to go back to"},
		{delivery.CodeNotInFlight, http.StatusConflict, "Nothing is under way"},
		{delivery.CodeNotWaiting, http.StatusConflict, "Nothing waits for that"},
		{delivery.CodeNotEligible, http.StatusConflict, "Not eligible"},
		{delivery.CodeMovedOn, http.StatusConflict, "What was seen is no longer so"},
		{delivery.CodeNoProject, http.StatusConflict, "No project yet"},
		{delivery.CodeKeyReused, http.StatusUnprocessableEntity, "The Idempotency-Key belongs to another request"},
	}
}

// kindOf returns the kind of a code. A refusal that this list does not know yet
// is a conflict with the state of the world.
func kindOf(c code) kind {
	for _, k := range kinds() {
		if k.code == c {
			return k
		}
	}
	if strings.HasPrefix(string(c), "unknown_") {
		return kind{c, http.StatusNotFound, "Not there"}
	}
	return kind{c, http.StatusConflict, "Refused"}
}

// problem is an RFC 9457 problem with what a person needs to go on.
type problem struct {
	Type   string   `json:"type" doc:"where the docs page explains the code"`
	Title  string   `json:"title" doc:"the same for every problem of this code"`
	Status int      `json:"status" doc:"the HTTP status"`
	Detail string   `json:"detail" doc:"what is wrong this time, in a sentence"`
	Code   code     `json:"code" doc:"stable name to branch on"`
	Hint   string   `json:"hint,omitempty" doc:"the command or edit that comes next"`
	Who    string   `json:"who,omitempty" doc:"who can lift it"`
	Errors []defect `json:"errors,omitempty" doc:"every place to mend"`
}

// defect is one place to mend.
type defect struct {
	Location string `json:"location,omitempty" doc:"the field, or file:line:column"`
	Message  string `json:"message" doc:"what is wrong there"`
	Value    any    `json:"value,omitempty" doc:"what was found there"`
}

func newProblem(c code, detail string) *problem {
	k := kindOf(c)
	return &problem{Type: Base + "/docs#" + string(c), Title: k.title, Status: k.status, Detail: detail, Code: c}
}

// Error returns the sentence for people.
func (p *problem) Error() string { return p.Detail }

// GetStatus returns the HTTP status.
func (p *problem) GetStatus() int { return p.Status }

// ContentType returns the media type of RFC 9457.
func (p *problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders returns what HTTP wants beside some statuses.
func (p *problem) GetHeaders() http.Header {
	switch p.Status {
	case http.StatusUnauthorized:
		return http.Header{"Www-Authenticate": {`Bearer realm="slipway"`}}
	case http.StatusServiceUnavailable:
		return http.Header{"Retry-After": {"5"}} // seconds
	}
	return nil
}

// write answers with p, outside a huma handler.
func (p *problem) write(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(p) // the status is out; a client that is gone reads neither
}

// explain turns an error of the floors below into a problem. Only what nobody
// outside can mend is logged.
func (s *Server) explain(ctx context.Context, err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if p := expected(err); p != nil {
		return p
	}
	s.d.Log.ErrorContext(ctx, "request failed", slog.Any("error", err))
	p := newProblem(codeInternal, "something went wrong inside Slipway, and its log says what")
	p.Hint = "slipway doctor"
	return p
}

// expected returns the problem of an error that has a meaning to the caller, or nil.
func expected(err error) *problem {
	if m, ok := mistakesIn(err); ok {
		return fromMistakes(m)
	}
	if f, ok := errors.AsType[*delivery.FieldError](err); ok {
		p := newProblem(codeInvalid, f.Error())
		p.Hint, p.Errors = f.Next, []defect{{Location: f.Field, Message: f.Why}}
		return p
	}
	if r, ok := errors.AsType[*delivery.Refusal](err); ok {
		p := newProblem(r.Code, r.Why)
		p.Hint, p.Who = r.Next, r.Who
		if r.Field != "" {
			p.Errors = []defect{{Location: r.Field, Message: r.Why}}
		}
		return p
	}
	if f, ok := errors.AsType[*store.FileError](err); ok {
		p := newProblem(codeStorage, f.Error())
		p.Hint = f.Next
		return p
	}
	var p *problem
	switch {
	case errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p = newProblem(codeStopping, "the server is stopping, or the request was given up; nothing is known to have changed")
		p.Hint = "slipway status, then ask again"
	case errors.Is(err, delivery.ErrConflict):
		p = newProblem(codeConflict, err.Error())
		p.Hint = "slipway status, then ask again"
	case errors.Is(err, delivery.ErrNotFound):
		p = newProblem(codeNotFound, err.Error())
	case errors.Is(err, delivery.ErrInvalid):
		p = newProblem(codeInvalid, err.Error())
	}
	return p
}

func mistakesIn(err error) (manifest.Mistakes, bool) {
	if m, ok := errors.AsType[manifest.Mistakes](err); ok {
		return m, true
	}
	if m, ok := errors.AsType[*manifest.Mistakes](err); ok && m != nil {
		return *m, true
	}
	return nil, false
}

// fromMistakes says every mistake of a file at once, each at its line and column.
func fromMistakes(m manifest.Mistakes) *problem {
	p := newProblem(codeInvalid, m[0].File+" has a mistake")
	if len(m) > 1 {
		p.Detail = fmt.Sprintf("%s has %d mistakes", m[0].File, len(m))
	}
	p.Hint = "mend " + m[0].File + " and run the command again"
	for _, one := range m {
		d := defect{Location: fmt.Sprintf("%s:%d:%d", one.File, one.Line, one.Column), Message: one.Why}
		if one.Field != "" {
			d.Message = one.Field + ": " + one.Why
		}
		if one.Next != "" {
			d.Message += "; " + one.Next
		}
		if one.Snippet != "" {
			d.Value = one.Snippet
		}
		p.Errors = append(p.Errors, d)
	}
	return p
}

// brief returns v where showing it helps: a short text or a number, not a whole body.
func brief(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) <= 200 {
			return v
		}
	case int, int64, float64, bool:
		return v
	}
	return nil
}

// translated is the huma transformer that gives huma's own refusals, of bad
// parameters and bodies, the one form all problems have.
func translated(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	c := codeInternal
	for _, k := range kinds() {
		if k.status == m.Status {
			c = k.code
			break
		}
	}
	p := newProblem(c, m.Detail)
	for _, e := range m.Errors {
		if e != nil {
			p.Errors = append(p.Errors, defect{Location: e.Location, Message: e.Message, Value: brief(e.Value)})
		}
	}
	if len(p.Errors) > 0 {
		first := p.Errors[0]
		p.Detail = strings.TrimPrefix(first.Location+": ", ": ") + first.Message
		if more := len(p.Errors) - 1; more > 0 {
			p.Detail += fmt.Sprintf(" (and %d more)", more)
		}
	}
	p.Hint = "GET " + Base + "/docs says what this route takes"
	return p, nil
}
