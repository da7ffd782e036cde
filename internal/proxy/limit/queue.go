package limit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Found is what a look for a slot came to.
type Found int

// What a look can come to.
const (
	Full  Found = iota // no slot is free
	Taken              // one was, and is now the caller's
	Moot               // the caller needs none any more
)

// Queue lets requests wait, first come first served, for slots that somebody
// else counts. It only says whose turn it is to look; the slot itself is taken
// by the look, so that nothing can be lost between the two. The zero value is ready.
//
// The rule that no waiter sleeps beside a free slot is kept without waking more
// than one for each: while the queue is not probing, credits is at least the
// number of free slots. A look that finds none proves that there is none, so it
// sets both to nothing, unless something was freed meanwhile. Each Freed adds a
// credit and each look that takes a slot uses one up. Whatever may free slots
// without a word (the queue's beginning, Stir) makes it probing: then whoever
// takes a slot makes the next one look too, until a look finds none.
type Queue struct {
	waiting atomic.Int64 // length of the list; written under mu

	mu          sync.Mutex
	first, last *waiter // guarded by mu
	probing     bool    // guarded by mu
	credits     int     // guarded by mu
	freed       uint64  // guarded by mu: counts Freed and Stir
}

type waiter struct {
	prev, next *waiter
	turn       chan struct{} // of one: it is this waiter's turn to look
}

// Acquire looks for a slot, at once when nobody waits and else when it is its
// turn, until look says that it took one or needs none. It returns ErrFull at
// once when as many wait as may, ErrLate after the longest wait, and the cause
// of ctx when that ends first; then it has no slot. It calls look from its own
// goroutine, without a lock.
func (q *Queue) Acquire(ctx context.Context, b Bound, look func() Found) error {
	if q.waiting.Load() == 0 && look() != Full {
		return nil
	}
	w := q.join(b.Max)
	if w == nil {
		return ErrFull
	}
	timer := time.NewTimer(b.Wait)
	defer timer.Stop()
	for {
		select {
		case <-w.turn:
			before := q.begin()
			found := look()
			if found != Full {
				q.leave(w, found)
				return nil
			}
			q.missed(w, before)
		case <-timer.C:
			q.leave(w, Full)
			return ErrLate
		case <-ctx.Done():
			q.leave(w, Full)
			return context.Cause(ctx)
		}
	}
}

// Waiting returns how many wait.
func (q *Queue) Waiting() int { return int(q.waiting.Load()) }

// Freed says that one slot became free. It must be called after the slot can be
// taken; with nobody waiting it costs one atomic load.
func (q *Queue) Freed() {
	if q.waiting.Load() == 0 {
		return // who joins now looks after it has joined, and finds the slot
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.freed++
	q.credits++
	q.call()
}

// Stir says that any number of slots may have become free, or that waiters may
// need none any more.
func (q *Queue) Stir() {
	if q.waiting.Load() == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.freed++
	q.probing = true
	q.call()
}

// call tells the first waiter that it is its turn; q.mu is held.
func (q *Queue) call() {
	if q.first == nil || !q.probing && q.credits == 0 {
		return
	}
	select {
	case q.first.turn <- struct{}{}:
	default: // it knows
	}
}

// join puts a new waiter last, or returns nil when as many wait as may.
func (q *Queue) join(most int) *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.waiting.Load()
	if n >= int64(most) {
		return nil
	}
	w := &waiter{prev: q.last, turn: make(chan struct{}, 1)}
	q.last = w
	if w.prev != nil {
		w.prev.next = w
	} else {
		q.first, q.probing, q.credits = w, true, 0
	}
	q.waiting.Store(n + 1)
	if q.first == w {
		q.call()
	}
	return w
}

func (q *Queue) begin() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.freed
}

// missed ends a look that found nothing.
func (q *Queue) missed(w *waiter, before uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.freed == before {
		q.probing, q.credits = false, 0
		return
	}
	if q.first == w {
		q.call()
	}
}

// leave takes w out of the list and hands on what is left of its turn.
func (q *Queue) leave(w *waiter, found Found) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	q.waiting.Add(-1)
	if found == Taken && q.credits > 0 {
		q.credits--
	}
	q.call()
}
