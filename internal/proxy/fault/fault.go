package fault

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/match"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Header names the fault in answers that it made, or delayed, slowed or cut.
const Header = "Slipway-Fault"

// ErrCut is what a body ends in that a fault cuts. The caller must see a broken
// connection.
var ErrCut = errors.New("cut by a fault")

// errOver says that the request ended while it was slowed down.
var errOver = errors.New("the request is over")

// Fault is one fault in force, and what a request has to bear that it touches.
// Every effect asks again whether it is in force still.
type Fault struct {
	spec    traffic.Fault // but for its lease
	when    match.When
	salt    string
	base    time.Time
	began   time.Time
	lease   atomic.Int64  // nanoseconds, as last asked for
	until   atomic.Int64  // nanoseconds since base
	gone    chan struct{} // closed when it is taken back or replaced
	touched atomic.Uint64
	spared  atomic.Uint64
	recent  ring // guarded by the mu of its route's tally
}

// Request is what decides whether a fault touches a request.
type Request struct {
	Route   string
	Release delivery.ReleaseID // chosen for it
	Cohort  string             // it belongs to; "" is none
	Key     string             // sticky
	Asked   match.Request
}

// On says whether the route has a fault in force, which may touch its requests.
func (s *Set) On(route string) bool {
	all := s.routes.Load()
	return all != nil && (*all)[route] != nil
}

// Strike counts a request of its route and returns the fault that touches it,
// or nil. It is called once for each request of the data plane, and costs one
// load while there is no fault.
func (s *Set) Strike(q Request, now time.Time) *Fault {
	all := s.routes.Load()
	if all == nil {
		return nil
	}
	r := (*all)[q.Route]
	if r == nil {
		return nil
	}
	for _, f := range r.faults {
		if !f.drawn(q, s.bucket, now) {
			continue
		}
		if !r.tally.touch(f, now) {
			f.spared.Add(1)
			return nil
		}
		f.touched.Add(1)
		return f
	}
	r.tally.passed(now)
	return nil
}

// drawn says whether f is in force and means the request.
func (f *Fault) drawn(q Request, bucket Bucket, now time.Time) bool {
	return (f.spec.Release == "" || f.spec.Release == q.Release) &&
		(f.spec.Cohort == "" || f.spec.Cohort == q.Cohort) &&
		bucket(f.salt, q.Key) < int(f.spec.Share) &&
		f.InForce(now) && f.when.Holds(q.Asked)
}

func (f *Fault) renew(lease time.Duration, now time.Time) {
	f.lease.Store(int64(lease))
	f.until.Store(int64(now.Add(lease).Sub(f.base)))
}

// left is how long the lease lasts from now on.
func (f *Fault) left(now time.Time) time.Duration {
	return time.Duration(f.until.Load()) - now.Sub(f.base)
}

// InForce says whether f still has its lease.
func (f *Fault) InForce(now time.Time) bool { return f.left(now) > 0 }

// ID names the fault.
func (f *Fault) ID() string { return f.spec.ID }

// Caller is the traffic.Block.Caller of what it touches.
func (f *Fault) Caller() string { return traffic.FaultCaller + f.spec.ID + ")" }

// Abort is the status that shall be answered, or 0.
func (f *Fault) Abort(now time.Time) int {
	if !f.InForce(now) {
		return 0
	}
	return f.spec.Abort
}

// Reset says whether the caller's connection shall be reset.
func (f *Fault) Reset(now time.Time) bool { return f.spec.Reset && f.InForce(now) }

func (f *Fault) state(now time.Time) traffic.FaultState {
	spec := f.spec
	spec.Lease = time.Duration(f.lease.Load())
	return traffic.FaultState{
		Fault: spec, Until: now.Add(f.left(now)).Round(0),
		Touched: f.touched.Load(), Spared: f.spared.Load(),
	}
}

// Wait delays a request as long as the fault asks and is in force. It returns
// the error of ctx if that ends first.
func (f *Fault) Wait(ctx context.Context) error {
	if f.spec.Delay == 0 {
		return nil
	}
	return f.pause(ctx.Done(), time.Now().Add(f.spec.Delay), ctx.Err)
}

// pause waits until end, as long as the fault is in force; if done closes first
// it returns what over says.
func (f *Fault) pause(done <-chan struct{}, end time.Time, over func() error) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return over()
		case <-f.gone:
			return nil
		case <-timer.C:
		}
		now := time.Now()
		wait := min(end.Sub(now), f.left(now)) // a lease may be renewed meanwhile
		if wait <= 0 {
			return nil
		}
		timer.Reset(wait)
	}
}

// Bends says whether the fault changes how an answer's body is passed on, whose
// length is -1 when it is not known.
func (f *Fault) Bends(length int64) bool {
	return f.spec.Slow > 0 && length != 0 || f.Cuts(length)
}

// Cuts says whether a body of that length would be cut.
func (f *Fault) Cuts(length int64) bool {
	return f.spec.Cut != 0 && (length < 0 || length > max(f.spec.Cut, 0))
}

// Body passes on an answer's body as the fault wants it: slowly, or only its
// beginning and then ErrCut. Reads that wait end when done closes.
func (f *Fault) Body(done <-chan struct{}, from io.Reader, length int64) io.Reader {
	switch {
	case f.spec.Slow > 0:
		return &slowed{fault: f, from: from, done: done}
	case f.Cuts(length):
		return &cut{fault: f, from: from, left: max(f.spec.Cut, 0)}
	}
	return from
}

// slowed lets pieces of a tenth of a second pass, each when its time has come.
type slowed struct {
	fault *Fault
	from  io.Reader
	done  <-chan struct{}
	due   time.Time // of the next piece
}

func (s *slowed) Read(b []byte) (int, error) {
	if !s.fault.InForce(time.Now()) {
		return s.from.Read(b)
	}
	if err := s.fault.pause(s.done, s.due, func() error { return errOver }); err != nil {
		return 0, err
	}
	rate := s.fault.spec.Slow
	n, err := s.from.Read(b[:min(len(b), max(rate/10, 1))])
	s.due = time.Now().Add(time.Duration(n) * time.Second / time.Duration(rate))
	return n, err
}

// cut lets the beginning of a body pass.
type cut struct {
	fault *Fault
	from  io.Reader
	left  int64
}

func (c *cut) Read(b []byte) (int, error) {
	if !c.fault.InForce(time.Now()) {
		return c.from.Read(b)
	}
	if c.left == 0 {
		return 0, ErrCut
	}
	n, err := c.from.Read(b[:min(int64(len(b)), c.left)])
	c.left -= int64(n)
	return n, err
}
