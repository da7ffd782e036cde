package upstream

import (
	"context"
	"net"
	"time"
)

// DialWithin dials once, for at most limit. A limit that is noticed long after it
// has passed says that this process stood still, and nothing about the instance,
// whose release would be charged for it: then it dials once more.
func DialWithin(ctx context.Context, limit time.Duration, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	c, late, err := dialOnce(ctx, limit, dial)
	if late {
		c, _, err = dialOnce(ctx, limit, dial)
	}
	return c, err
}

// dialOnce says beside an error whether it came long after the limit.
func dialOnce(ctx context.Context, limit time.Duration, dial func(context.Context) (net.Conn, error)) (c net.Conn, late bool, err error) {
	began := time.Now()
	timed, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err = dial(timed)
	return c, err != nil && ctx.Err() == nil && time.Since(began) > limit+limit/8, err
}
