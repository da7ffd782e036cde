package proxy

import (
	"cmp"
	"fmt"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/door"
)

// Limits that a table leaves open.
const (
	maxConnections = 20_000
	maxInFlight    = 10_000
	maxHead        = 64 << 10 // bytes
	headTime       = 10 * time.Second
	idleTime       = 2 * time.Minute
	streamsTime    = 10 * time.Second
)

// limitsOf fills what a table leaves open. Where it does not say, no more
// connections and requests are taken than files, the limit of open ones, leaves.
func limitsOf(l delivery.PlaneLimits, files int) delivery.PlaneLimits {
	l.Connections = cmp.Or(l.Connections, min(maxConnections, door.Share(files)))
	l.InFlight = cmp.Or(l.InFlight, min(maxInFlight, door.Share(files)))
	l.HeadBytes = cmp.Or(l.HeadBytes, maxHead)
	l.HeadTime = cmp.Or(l.HeadTime, headTime)
	l.Idle = cmp.Or(l.Idle, idleTime)
	l.Streams = cmp.Or(l.Streams, streamsTime)
	return l
}

// limits returns what the table in force allows, with no field zero.
func (e *engine) limits() *delivery.PlaneLimits { return &e.table.Load().limits }

// admit counts a request in, or refuses it because the data plane carries as
// many as it may.
func (x *passage) admit() *problem {
	most := int64(x.e.limits().InFlight)
	if x.e.carried.Add(1) <= most {
		x.admitted = true
		return nil
	}
	x.e.carried.Add(-1)
	return &problem{
		Status: http.StatusServiceUnavailable, Code: "overloaded",
		Detail: fmt.Sprintf("the data plane carries %d requests, and no more at a time", most),
		Hint:   "ask again in a second",
	}
}

// leave counts the request out; again is nothing.
func (x *passage) leave() {
	if x.admitted {
		x.admitted = false
		x.e.carried.Add(-1)
	}
}
