package upstream

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A dial that took no longer than it may is the only one; one that was noticed late
// is made again, once.
func TestDialWithin(t *testing.T) {
	for name, c := range map[string]struct {
		notice []time.Duration // of an error, from the beginning of each dial on; 0 is success
		dials  int
		fails  bool
	}{
		"at once":            {[]time.Duration{0}, 1, false},
		"refused":            {[]time.Duration{time.Millisecond}, 1, true},
		"in time":            {[]time.Duration{time.Second}, 1, true},
		"late":               {[]time.Duration{3 * time.Second, 0}, 2, false},
		"late, then refused": {[]time.Duration{3 * time.Second, time.Millisecond}, 2, true},
		"late twice":         {[]time.Duration{3 * time.Second, 3 * time.Second}, 2, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			dials := 0
			k, err := DialWithin(t.Context(), time.Second, func(ctx context.Context) (net.Conn, error) {
				took := c.notice[dials]
				dials++
				if took == 0 {
					if ctx.Err() != nil {
						t.Errorf("%s: dial %d has no time", name, dials)
					}
					return &net.TCPConn{}, nil
				}
				time.Sleep(took)
				return nil, errors.New("no")
			})
			if dials != c.dials || (err != nil) != c.fails || (k != nil) == c.fails {
				t.Errorf("%s: %d dials, %v, %v, want %d", name, dials, k, err, c.dials)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		dials := 0
		_, err := DialWithin(ctx, time.Second, func(context.Context) (net.Conn, error) {
			dials++
			time.Sleep(3 * time.Second)
			stop()
			return nil, errors.New("no")
		})
		if dials != 1 || err == nil {
			t.Errorf("for a caller that has gone: %d dials, %v, want one", dials, err)
		}
	})
}
