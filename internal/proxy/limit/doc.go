// Package limit bounds what a data plane takes on: rates of requests, repeated
// attempts, requests that wait for a slot, and requests held while nothing
// serves. It knows no sockets, no tables and no counts; its judges are a model in
// a synctest bubble and properties under rapid.
package limit

import (
	"errors"
	"time"
)

// Why a request did not get to wait, or waited in vain.
var (
	ErrFull = errors.New("as many wait as may")
	ErrLate = errors.New("waited as long as it may")
)

// Bound is how many requests may wait at a time, and each for how long.
type Bound struct {
	Max  int
	Wait time.Duration
}
