package delivery

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels: what a caller may branch on.
var (
	ErrNotFound = errors.New("not found")
	ErrConflict = errors.New("someone else moved it first")
	ErrInvalid  = errors.New("invalid")
	ErrRefused  = errors.New("refused")
)

// FieldError names the field a person must mend. It matches ErrInvalid.
type FieldError struct {
	Field string `json:"field"`
	Why   string `json:"why"`
	Next  string `json:"next,omitempty"` // the command or edit that mends it
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Why }

// Is makes errors.Is(err, ErrInvalid) true.
func (e *FieldError) Is(target error) bool { return target == ErrInvalid }

// Invalid returns a *FieldError.
func Invalid(field, why string) *FieldError { return &FieldError{Field: field, Why: why} }

// InvalidNext returns a *FieldError that also names the next command.
func InvalidNext(field, why, next string) *FieldError {
	return &FieldError{Field: field, Why: why, Next: next}
}

// RefusalCode is the stable, machine-readable name of a refusal.
type RefusalCode string

// The codes of refusals and absences. They are part of the API.
const (
	CodeUnknownService     RefusalCode = "unknown_service"
	CodeUnknownEnvironment RefusalCode = "unknown_environment"
	CodeUnknownVersion     RefusalCode = "unknown_version"
	CodeUnknownChange      RefusalCode = "unknown_change"
	CodeUnknownHold        RefusalCode = "unknown_hold"
	CodeUnknownLog         RefusalCode = "unknown_log"
	CodeUnknownToken       RefusalCode = "unknown_token"
	CodeHeld               RefusalCode = "held"
	CodeQuarantined        RefusalCode = "quarantined"
	CodeNothingToDo        RefusalCode = "nothing_to_do"
	CodeNoRollbackTarget   RefusalCode = "no_rollback_target"
	CodeNotInFlight        RefusalCode = "not_in_flight"
	CodeNotWaiting         RefusalCode = "not_waiting"
	CodeNotEligible        RefusalCode = "not_eligible"
	CodeNoProject          RefusalCode = "no_project"
	CodeKeyReused          RefusalCode = "idempotency_key_reused"
	CodeUnauthorized       RefusalCode = "unauthorized"   // nobody known asks
	CodeForbidden          RefusalCode = "forbidden"      // who asks may not
	CodeWrongHost          RefusalCode = "wrong_host"     // asked under a name that is not this server's
	CodeCrossSite          RefusalCode = "cross_site"     // asked by a page of another site
	CodeTooManyTries       RefusalCode = "too_many_tries" // to sign in
	CodeMovedOn            RefusalCode = "moved_on"       // what was seen is no longer so
)

// Refusal is a clear no: what was refused, why, who can lift it and which
// command comes next. It matches ErrRefused, and ErrNotFound for unknown things.
type Refusal struct {
	Code  RefusalCode `json:"code"`
	Field string      `json:"field,omitempty"`
	Why   string      `json:"why"`
	Who   string      `json:"who,omitempty"`
	Next  string      `json:"next,omitempty"`
}

func (e *Refusal) Error() string { return e.Why }

// Is matches ErrRefused always and ErrNotFound for the unknown_ codes and no_project.
func (e *Refusal) Is(target error) bool {
	return target == ErrRefused || target == ErrNotFound && (e.Code == CodeNoProject || strings.HasPrefix(string(e.Code), "unknown_"))
}

// Unknown returns the refusal for a name that is not there, listing what is, or
// what is near it when that is much.
func Unknown(code RefusalCode, field, name string, known []string, next string) *Refusal {
	return &Refusal{Code: code, Field: field, Why: fmt.Sprintf("there is no %s %q", field, name) + listing(name, known), Next: next}
}
