package upstream

import (
	"errors"
	"fmt"
)

// ErrDeadline says that no whole head of an answer came by Request.Deadline, or
// that a body stood still for longer than SetIdle allows.
var ErrDeadline = errors.New("no answer in time")

// ErrSevered says that Sever cut the connection.
var ErrSevered = errors.New("the instance has left and its connections are cut")

// DialError says that there was no connection. Nothing was sent.
type DialError struct {
	Addr string
	Err  error
}

// Error says what happened.
func (e *DialError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// ConnError says that the connection died before the exchange was over.
type ConnError struct {
	Err      error
	Reused   bool // the connection had carried another exchange before
	Answered bool // at least one byte of an answer had come
}

// Error says what happened.
func (e *ConnError) Error() string {
	when := "before an answer"
	if e.Answered {
		when = "within the answer"
	}
	return fmt.Sprintf("the connection broke %s: %v", when, e.Err)
}

// Unwrap returns the cause.
func (e *ConnError) Unwrap() error { return e.Err }

// Stale says that the connection was an old one and died without a word: most
// likely the instance closed it while it was idle, and never saw the request.
func (e *ConnError) Stale() bool { return e.Reused && !e.Answered && !errors.Is(e.Err, ErrSevered) }

// BodyError says that the request's own body could not be read to its end. The
// instance is not to blame.
type BodyError struct{ Err error }

// Error says what happened.
func (e *BodyError) Error() string { return "the request's body broke: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

// WriteError says that Body.WriteTo could not write. The instance is not to blame.
type WriteError struct{ Err error }

// Error says what happened.
func (e *WriteError) Error() string { return "the answer could not be passed on: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// Cancelled says that Cancel, or the context given to Do, broke the exchange off.
type Cancelled struct{ Cause error }

// Error says what happened.
func (e *Cancelled) Error() string { return "cancelled: " + e.Cause.Error() }

// Unwrap returns the cause.
func (e *Cancelled) Unwrap() error { return e.Cause }

var (
	errManyInterim = errors.New("too many 1xx answers")
	errShortBody   = errors.New("it ended before its length")
	errLongBody    = errors.New("it is longer than its length")
	errOver        = errors.New("the exchange is over")
	errNotAsked    = errors.New("the answer came before the body was asked for")
	errNoUpgrade   = errors.New("the answer does not leave HTTP/1.1")
)
