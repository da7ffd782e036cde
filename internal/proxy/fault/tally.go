package fault

import (
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Bounds on what faults touch, whatever keys they draw.
const (
	window = 10 // seconds that count, the running one included
	free   = 10 // requests of a window that one fault may touch beyond twice its share
)

// ring counts by second over the window.
type ring struct {
	newest int64
	counts [window]uint64
}

// at returns the count of second, or of the newest one for a clock that went back.
func (r *ring) at(second int64) *uint64 {
	for n := 0; r.newest < second && n < window; n++ {
		r.newest++
		r.counts[r.newest%window] = 0
	}
	if r.newest < second {
		r.newest = second // everything is older than the window, and empty by now
	}
	return &r.counts[r.newest%window]
}

func (r *ring) sum() (n uint64) {
	for _, c := range r.counts {
		n += c
	}
	return n
}

// tally counts a route's requests while it has faults, and those touched.
type tally struct {
	base time.Time

	mu       sync.Mutex
	requests ring // guarded by mu
	touched  ring // guarded by mu
}

func (t *tally) second(now time.Time) int64 { return int64(now.Sub(t.base) / time.Second) }

// passed counts a request that no fault is drawn for.
func (t *tally) passed(now time.Time) {
	second := t.second(now)
	t.mu.Lock()
	*t.requests.at(second)++
	t.mu.Unlock()
}

// touch counts a request that f is drawn for, and says whether f may touch it:
// neither may the faults together pass traffic.MaxFaultShare of the requests of
// the window, this one included, nor f twice its own share and a few more.
func (t *tally) touch(f *Fault, now time.Time) bool {
	second := t.second(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	*t.requests.at(second)++
	touched, mine := t.touched.at(second), f.recent.at(second)
	all := t.requests.sum()
	if (t.touched.sum()+1)*uint64(delivery.Full) > all*uint64(traffic.MaxFaultShare) {
		return false
	}
	if f.recent.sum() >= free+2*all*uint64(f.spec.Share)/uint64(delivery.Full) {
		return false
	}
	*touched++
	*mine++
	return true
}
