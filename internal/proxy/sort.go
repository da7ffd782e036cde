package proxy

import (
	"errors"
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/upstream"
)

var errNotAsked = errors.New("switched to a protocol that was not asked for")

// sort says what an error of an exchange with an instance means.
func sort(err error, limit time.Duration) failure {
	var (
		dial  *upstream.DialError
		over  *upstream.Cancelled
		write *upstream.WriteError
		body  *upstream.BodyError
	)
	switch {
	case errors.Is(err, errPerTry):
		return failure{late, err}
	case errors.As(err, &over) && errors.Is(over.Cause, errNoAnswer), errors.Is(err, upstream.ErrDeadline):
		return failure{late, fmt.Errorf("no answer within %s", limit)}
	case over != nil, errors.As(err, &write), errors.As(err, &body):
		return failure{cancelled, err}
	case errors.As(err, &dial):
		return failure{unreached, err}
	}
	return failure{broken, err}
}
