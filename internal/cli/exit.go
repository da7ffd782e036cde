package cli

import (
	"errors"
	"net/http"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// exit is what the program ends with. Scripts branch on it, so a code never
// changes its meaning.
type exit int

const (
	exitDone        exit = 0
	exitFailed      exit = 1
	exitUsage       exit = 2
	exitWaiting     exit = 3
	exitRolledBack  exit = 4
	exitTimeout     exit = 5
	exitBlocked     exit = 6
	exitInterrupted exit = 130
)

// meaning says what a code means.
type meaning struct {
	Code    exit   `json:"code"`
	Name    string `json:"name"`
	Meaning string `json:"meaning"`
}

// exits lists every code.
func exits() []meaning {
	return []meaning{
		{exitDone, "done", "what was asked is done"},
		{exitFailed, "failed", "it could not be done"},
		{exitUsage, "usage", "the command or its input is wrong; nothing was changed"},
		{exitWaiting, "waiting", "it waits for a person: an approval, a promotion by hand, a pause or a hold"},
		{exitRolledBack, "rolled back", "the change went back, by itself or because someone asked"},
		{exitTimeout, "timed out", "the time to wait is over; the change still goes on"},
		{exitBlocked, "blocked", "policy refuses it: held, quarantined or not eligible"},
		{exitInterrupted, "interrupted", "Ctrl-C; what the server does goes on"},
	}
}

// outcome ends the program with a code after everything was said. Its error is
// never printed.
type outcome struct{ code exit }

func (o outcome) Error() string { return "ended without success" }

// ended returns the error that ends the program with code.
func ended(code exit) error {
	if code == exitDone {
		return nil
	}
	return outcome{code}
}

// usageError is a command line that makes no sense.
type usageError struct {
	err  error
	next string
}

func (u usageError) Error() string { return u.err.Error() }
func (u usageError) Unwrap() error { return u.err }

func misused(err error) error {
	if u, ok := errors.AsType[usageError](err); ok {
		return u
	}
	return usageError{err: err, next: "slipway --help"}
}

// exitOf returns the code that an error means.
func exitOf(err error) exit {
	if err == nil {
		return exitDone
	}
	if o, ok := errors.AsType[outcome](err); ok {
		return o.code
	}
	if interrupted(err) {
		return exitInterrupted
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return exitOfProblem(p)
	}
	if r, ok := errors.AsType[*delivery.Refusal](err); ok {
		return exitOfCode(r.Code)
	}
	if errors.Is(err, delivery.ErrInvalid) {
		return exitUsage
	}
	return exitFailed
}

// exitOfCode returns the code of a refusal: what policy forbids, what is not
// there, and everything else that cannot be done now.
func exitOfCode(c delivery.RefusalCode) exit {
	switch c {
	case delivery.CodeHeld, delivery.CodeQuarantined, delivery.CodeNotEligible:
		return exitBlocked
	case delivery.CodeUnknownService, delivery.CodeUnknownEnvironment, delivery.CodeUnknownVersion, delivery.CodeUnknownChange,
		delivery.CodeUnknownHold, delivery.CodeUnknownLog, delivery.CodeUnknownToken, delivery.CodeKeyReused:
		return exitUsage
	case delivery.CodeNothingToDo, delivery.CodeNoRollbackTarget, delivery.CodeNotInFlight, delivery.CodeNotWaiting, delivery.CodeNoProject,
		delivery.CodeUnauthorized, delivery.CodeForbidden, delivery.CodeWrongHost, delivery.CodeCrossSite, delivery.CodeTooManyTries, delivery.CodeMovedOn:
	}
	return exitFailed
}

func exitOfProblem(p *client.Problem) exit {
	if code := exitOfCode(delivery.RefusalCode(p.Code)); code != exitFailed {
		return code
	}
	switch p.Status {
	case http.StatusNotFound, http.StatusUnprocessableEntity, http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		return exitUsage
	}
	return exitFailed
}
