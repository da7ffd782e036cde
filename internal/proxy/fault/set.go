// Package fault holds the disturbances a data plane makes on purpose: which are in
// force, which requests they touch, and what each of those has to bear. It opens
// no connection and answers nobody; its tests are properties and a clock of their own.
package fault

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy/match"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Most is how many faults can be in force at a time.
const Most = 100

// Change says what a Put did.
type Change string

// What a Put can do.
const (
	Began    Change = "began"
	Renewed  Change = "renewed"  // the same fault: its lease alone is longer
	Replaced Change = "replaced" // another fault had that ID, and has ended
)

// Bucket places a sticky key within [0, delivery.Full), differently for each salt.
type Bucket func(salt, key string) int

// Set is the faults in force. Requests read it without a lock while there is
// none, and wait for nobody but requests of the same route while there is one.
type Set struct {
	bucket  Bucket
	log     *slog.Logger
	base    time.Time     // leases are measured from it on the monotonic clock
	changed chan struct{} // wakes Run
	routes  atomic.Pointer[map[string]*disturbed]

	mu     sync.Mutex
	faults map[string]*Fault // guarded by mu: by ID
}

// disturbed is a route with faults. It is immutable but for its tally, which it
// hands on to its successor.
type disturbed struct {
	faults []*Fault // oldest first
	tally  *tally
}

// New returns a set without faults.
func New(bucket Bucket, log *slog.Logger) *Set {
	return &Set{bucket: bucket, log: log, base: time.Now(), changed: make(chan struct{}, 1), faults: map[string]*Fault{}}
}

// Put puts f in force from now until its lease ends, or renews it. Another
// fault with its ID is replaced. A fault that would let its route be disturbed
// beyond traffic.MaxFaultShare is refused with who holds the rest.
func (s *Set) Put(f traffic.Fault, now time.Time) (Change, traffic.FaultState, error) {
	if err := f.Validate(); err != nil {
		return "", traffic.FaultState{}, err
	}
	when, err := match.Compile("when", f.When)
	if err != nil {
		return "", traffic.FaultState{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(now)
	if err := s.room(f); err != nil {
		return "", traffic.FaultState{}, err
	}
	old := s.faults[f.ID]
	if old != nil && same(old.spec, f) {
		old.renew(f.Lease, now)
		s.wake()
		return Renewed, old.state(now), nil
	}
	fresh := &Fault{
		spec: f, when: when, salt: "fault " + f.ID, base: s.base,
		began: now, gone: make(chan struct{}),
	}
	fresh.renew(f.Lease, now)
	change := Began
	if old != nil {
		change = Replaced
		s.end(old, "replaced")
	}
	s.faults[f.ID] = fresh
	s.publish()
	s.wake()
	s.log.Warn("fault in force", slog.String("fault", f.ID), slog.String("does", f.Does()), slog.String("change", string(change)))
	return change, fresh.state(now), nil
}

// room refuses f if the others leave it none; s.mu is held.
func (s *Set) room(f traffic.Fault) error {
	if s.faults[f.ID] == nil && len(s.faults) >= Most {
		return delivery.InvalidNext("id", fmt.Sprintf("is one fault too many: %d are in force", Most), "take one back, or let its lease end")
	}
	sum := f.Share
	var holders []string
	for id, other := range s.faults {
		if id == f.ID || other.spec.Route != f.Route {
			continue
		}
		sum += other.spec.Share
		holders = append(holders, id+" holds "+other.spec.Share.String())
	}
	if sum <= traffic.MaxFaultShare {
		return nil
	}
	slices.Sort(holders)
	return delivery.InvalidNext("share",
		fmt.Sprintf("would let faults touch %s of %s, and the most is %s: %s", sum, f.Route, traffic.MaxFaultShare, strings.Join(holders, ", ")),
		"take one of them back, or ask for less")
}

// same says whether two faults differ in their lease at most.
func same(a, b traffic.Fault) bool {
	a.Lease, b.Lease = 0, 0
	if len(a.When) == 0 && len(b.When) == 0 {
		a.When, b.When = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// Remove ends a fault, for the requests that bear it now too, and says whether
// there was one.
func (s *Set) Remove(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults[id]
	if f == nil {
		return false
	}
	s.end(f, "taken back")
	s.publish()
	return true
}

// Clear ends every fault.
func (s *Set) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		s.end(f, "the data plane ends")
	}
	s.publish()
}

// List returns the faults in force, by ID.
func (s *Set) List(now time.Time) []traffic.FaultState {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]traffic.FaultState, 0, len(s.faults))
	for _, f := range s.faults {
		if f.InForce(now) {
			out = append(out, f.state(now))
		}
	}
	slices.SortFunc(out, func(a, b traffic.FaultState) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// Run takes faults out when their lease ends, until ctx ends. Without it a fault
// touches nothing after its lease either, but every request would still ask it.
func (s *Set) Run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		wait := s.drop(time.Now())
		s.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
		case <-timer.C:
		}
	}
}

// drop ends the faults whose lease has ended and returns how long the next one
// has; s.mu is held.
func (s *Set) drop(now time.Time) time.Duration {
	next, before := time.Hour, len(s.faults)
	for _, f := range s.faults {
		if left := f.left(now); left > 0 {
			next = min(next, left)
		} else {
			s.end(f, "lease not renewed")
		}
	}
	if len(s.faults) != before {
		s.publish()
	}
	return next
}

// end takes f out; s.mu is held, and the caller publishes.
func (s *Set) end(f *Fault, why string) {
	f.until.Store(0)
	close(f.gone)
	delete(s.faults, f.spec.ID)
	s.log.Warn("fault has ended", slog.String("fault", f.spec.ID), slog.String("why", why), slog.Uint64("touched", f.touched.Load()))
}

// publish lets requests see what is in force; s.mu is held. A route keeps its
// tally while it has a fault.
func (s *Set) publish() {
	if len(s.faults) == 0 {
		s.routes.Store(nil)
		return
	}
	next := map[string]*disturbed{}
	old := s.routes.Load()
	for _, f := range s.faults {
		r := next[f.spec.Route]
		if r == nil {
			r = &disturbed{tally: s.tallyOf(old, f.spec.Route)}
			next[f.spec.Route] = r
		}
		r.faults = append(r.faults, f)
	}
	for _, r := range next {
		slices.SortFunc(r.faults, func(a, b *Fault) int {
			if c := a.began.Compare(b.began); c != 0 {
				return c
			}
			return strings.Compare(a.spec.ID, b.spec.ID)
		})
	}
	s.routes.Store(&next)
}

func (s *Set) tallyOf(old *map[string]*disturbed, route string) *tally {
	if old != nil {
		if r := (*old)[route]; r != nil {
			return r.tally
		}
	}
	return &tally{base: s.base}
}

func (s *Set) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
