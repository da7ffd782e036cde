package proxy

import (
	"testing"

	"github.com/slipway-cd/slipway/internal/traffic"
)

func TestClasses(t *testing.T) {
	for _, tc := range []struct {
		how    outcome
		status int
		want   string
		bad    bool
	}{
		{finished, 101, "ok", false},
		{finished, 399, "ok", false},
		{finished, 400, "client", false},
		{finished, 500, "server", true},
		{unreached, 200, "connect", true},
		{late, 504, "timeout", true},
		{broken, 200, "broken", true},
		{cancelled, 0, "cancelled", false},
	} {
		c := classOf(tc.how, tc.status)
		var b traffic.Block
		b.Unfinished = 1
		c.add(&b, 3, 4)
		if c.String() != tc.want || c.bad() != tc.bad || *c.of(&b) != 1 || b.OK+b.Client+b.Server+b.Connect+b.Timeout+b.Broken+b.Cancelled != 1 || b.BytesIn != 3 || b.BytesOut != 4 || b.Unfinished != 0 {
			t.Errorf("classOf(%d, %d) = %s, bad %v, counted as %+v", tc.how, tc.status, c, c.bad(), b)
		}
	}
}
