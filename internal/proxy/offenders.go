package proxy

import (
	"sync"
	"sync/atomic"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of offenders, and what is slow.
const (
	maxOffenders = 1 << 16 // callers
	offenceSpan  = 600     // seconds that one is remembered
	leastTimes   = 200     // of stable, before anything is called slow
	timesSpan    = 10      // seconds after which times count half, once there are enough
	expireAtOnce = 32      // callers that are looked at for being old when one more is remembered
)

// neverSlow is a bin that no time falls above.
const neverSlow = analysis.Bins

// offenders knows the callers of a route that failed, or took longer than stable's
// recent 99th percentile, within the ten minutes before: whichever release they
// were drawn to, and whatever service they came through. They are there only while
// two releases have weight, and are bounded: once they are full, those who come
// into trouble are not remembered, and are counted in lost.
//
// What they say of a caller in a second depends on the seconds before alone, so
// who is left out of a second's evidence is settled before that evidence is seen.
//
// The percentile is of the times of stable's units, whose counts are halved
// every ten seconds as long as 200 are left, so it is that of some twenty seconds,
// or of as many units as it takes.
type offenders struct {
	stable delivery.ReleaseID
	lost   *atomic.Uint64 // shared by all
	slow   atomic.Int32   // bins above are very slow

	mu      sync.Mutex
	callers map[uint64]offence    // guarded by mu: by the hash of the key
	order   []uint64              // guarded by mu: of callers, the longest filed from oldest on
	oldest  int                   // guarded by mu
	here    uint64                // guarded by mu: lost by this one
	times   [analysis.Bins]uint32 // guarded by mu: of stable
	total   uint64                // guarded by mu: sum of times
	second  int64                 // guarded by mu: slow is that of
	halved  int64                 // guarded by mu: second
}

// offence is when a caller was in trouble: in which second last, and in which
// before that one; 0 is never.
type offence struct{ last, before, filed int64 }

func newOffenders(stable delivery.ReleaseID, lost *atomic.Uint64) *offenders {
	o := &offenders{stable: stable, lost: lost, callers: map[uint64]offence{}}
	o.slow.Store(neverSlow)
	return o
}

// has says whether a caller was in trouble in a second before this one, within
// the span.
func (o *offenders) has(key uint64, second int64) bool {
	o.mu.Lock()
	t := o.callers[key]
	o.mu.Unlock()
	at := t.last
	if at >= second {
		at = t.before
	}
	return at > 0 && at < second && at > second-offenceSpan
}

// note remembers that a caller is in trouble. Those whose key was made just now
// may fill only half of the room: most of them never come back.
func (o *offenders) note(key uint64, second int64, fresh bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expire(second)
	t, known := o.callers[key]
	if !known {
		room := maxOffenders
		if fresh {
			room /= 2
		}
		if len(o.callers) >= room {
			o.here++
			o.lost.Add(1)
			return
		}
		t.filed = second
		o.order = append(o.order, key)
	}
	switch {
	case second > t.last:
		t.before, t.last = t.last, second
	case second < t.last:
		t.before = max(t.before, second)
	}
	o.callers[key] = t
}

// expire forgets some of those that are too long ago; o.mu is held. One that has
// been in trouble again since it was filed is filed anew.
func (o *offenders) expire(second int64) {
	for range expireAtOnce {
		if o.oldest == len(o.order) {
			break
		}
		key := o.order[o.oldest]
		t := o.callers[key]
		if t.filed > second-offenceSpan {
			break
		}
		o.oldest++
		if t.last > second-offenceSpan {
			t.filed = t.last
			o.callers[key] = t
			o.order = append(o.order, key)
		} else {
			delete(o.callers, key)
		}
	}
	if o.oldest > len(o.order)/2 {
		o.order = append(o.order[:0], o.order[o.oldest:]...)
		o.oldest = 0
	}
}

// learn takes the time of one of stable's units.
func (o *offenders) learn(bin int, second int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if second > o.second {
		o.renew(second)
	}
	o.times[bin]++
	o.total++
}

// renew sets what is slow from now on; o.mu is held.
func (o *offenders) renew(second int64) {
	o.second = second
	if o.halved == 0 {
		o.halved = second
	}
	if o.total < leastTimes {
		return
	}
	bin, above := analysis.Bins-1, uint64(0)
	for ; bin > 0; bin-- {
		if above += uint64(o.times[bin]); above > o.total/100 {
			break
		}
	}
	o.slow.Store(int32(bin))
	if o.total < 2*leastTimes || second-o.halved < timesSpan {
		return
	}
	o.halved, o.total = second, 0
	for i, n := range o.times {
		o.times[i] = n / 2
		o.total += uint64(n / 2)
	}
}

// size is how many callers are remembered, and how many were not.
func (o *offenders) size() (remembered int, lost uint64) {
	if o == nil {
		return 0, 0
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.callers), o.here
}
