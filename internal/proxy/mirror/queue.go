package mirror

import (
	"context"
	"sync"
)

// Limits bounds what a queue holds. A lane is where copies of one kind go; its
// bounds keep one whose copies are stuck from filling the queue for the others.
type Limits struct {
	Waiting     int   // copies that wait to be sent
	Sending     int   // copies that are being sent
	Bytes       int64 // of heads and bodies, of copies still being made too
	LaneWaiting int
	LaneSending int
	LaneBytes   int64
}

// Bounds returns the limits of a data plane.
func Bounds() Limits {
	return Limits{
		Waiting: 256, Sending: 128, Bytes: 32 << 20,
		LaneWaiting: 128, LaneSending: 64, LaneBytes: 16 << 20,
	}
}

// Queue holds copies of requests until they are sent. What is over its limits
// is dropped; nobody ever waits for room.
type Queue struct {
	limits Limits
	wake   chan struct{} // Run may find something to send

	mu      sync.Mutex
	lanes   map[string]*lane // guarded by mu: those that hold anything
	turn    []*lane          // guarded by mu: those where a copy waits, next one first
	waiting int              // guarded by mu
	sending int              // guarded by mu
	bytes   int64            // guarded by mu
	closed  bool             // guarded by mu: Run has ended
}

// lane is a part of the queue; the queue's mu guards it.
type lane struct {
	name    string
	copies  int // being made, waiting and being sent
	waiting []*Copy
	sending int
	bytes   int64
}

// New returns an empty queue, of which copies are sent while it runs.
func New(limits Limits) *Queue {
	return &Queue{limits: limits, wake: make(chan struct{}, 1), lanes: map[string]*lane{}}
}

// Job is a copy to be made.
type Job struct {
	Lane string
	Head int64 // bytes held besides the body
	Most int64 // bytes of the body; a longer one drops the copy
	Send func(ctx context.Context, body []byte)
}

// Copy is a request that is being copied: its body comes in pieces, and when it
// is whole it is done. It is for one goroutine at a time.
type Copy struct {
	queue *Queue
	lane  *lane
	job   Job
	body  []byte
	held  int64 // bytes; guarded by the queue's mu
	over  bool  // done, or dropped
}

// Copy begins a copy, or returns nil when there is no room for it.
func (q *Queue) Copy(job Job) *Copy {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[job.Lane]
	if l == nil {
		l = &lane{name: job.Lane}
	}
	c := &Copy{queue: q, lane: l, job: job}
	if !q.hold(c, job.Head) {
		return nil
	}
	q.lanes[job.Lane] = l
	l.copies++
	return c
}

// Add keeps one more piece of the body. It says no, and forgets everything, when
// that is more than the copy may have.
func (c *Copy) Add(piece []byte) bool {
	if !c.take(len(piece)) {
		return false
	}
	c.body = append(c.body, piece...)
	return true
}

// Whole is Add of the whole body, which nobody changes any more.
func (c *Copy) Whole(body []byte) bool {
	if !c.take(len(body)) {
		return false
	}
	c.body = body
	return true
}

// take makes room for n more bytes, or drops the copy.
func (c *Copy) take(n int) bool {
	if c.over {
		return false
	}
	c.queue.mu.Lock()
	ok := int64(len(c.body)+n) <= c.job.Most && c.queue.hold(c, int64(n))
	c.queue.mu.Unlock()
	if !ok {
		c.Drop()
	}
	return ok
}

// Done puts the copy into the queue, its body being whole, and says whether
// there was a place for it.
func (c *Copy) Done() bool {
	if c.over {
		return false
	}
	if !c.queue.enter(c) {
		c.Drop()
		return false
	}
	c.over = true
	return true
}

// Drop gives the copy up, unless it is in the queue, and says whether it was
// given up now.
func (c *Copy) Drop() bool {
	if c.over {
		return false
	}
	c.over, c.body = true, nil
	c.queue.mu.Lock()
	c.queue.forget(c)
	c.queue.mu.Unlock()
	return true
}

// hold takes n bytes of the limits for c, or says that they are used up; q.mu
// is held.
func (q *Queue) hold(c *Copy, n int64) bool {
	if q.closed || q.bytes+n > q.limits.Bytes || c.lane.bytes+n > q.limits.LaneBytes {
		return false
	}
	q.bytes += n
	c.lane.bytes += n
	c.held += n
	return true
}

// forget gives back what c holds, and its lane with the last copy; q.mu is held.
func (q *Queue) forget(c *Copy) {
	l := c.lane
	q.bytes -= c.held
	l.bytes -= c.held
	c.held = 0
	l.copies--
	if l.copies == 0 {
		delete(q.lanes, l.name)
	}
}

// enter gives c a place, if there is one.
func (q *Queue) enter(c *Copy) bool {
	q.mu.Lock()
	l := c.lane
	ok := !q.closed && q.waiting < q.limits.Waiting && len(l.waiting) < q.limits.LaneWaiting
	if ok {
		if len(l.waiting) == 0 {
			q.turn = append(q.turn, l)
		}
		l.waiting = append(l.waiting, c)
		q.waiting++
	}
	q.mu.Unlock()
	if ok {
		q.stir()
	}
	return ok
}

// stir lets Run look again.
func (q *Queue) stir() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Run sends copies, in turn from each lane that may send one more, until ctx
// ends; then it drops what waits and returns when the last sender is back.
func (q *Queue) Run(ctx context.Context) {
	var senders sync.WaitGroup
	defer senders.Wait()
	for {
		for ctx.Err() == nil {
			c := q.next()
			if c == nil {
				break
			}
			senders.Go(func() {
				c.job.Send(ctx, c.body)
				q.sent(c)
			})
		}
		select {
		case <-ctx.Done():
			q.close()
			return
		case <-q.wake:
		}
	}
}

// next takes the copy whose turn it is, or returns nil.
func (q *Queue) next() *Copy {
	q.mu.Lock()
	defer q.mu.Unlock()
	for range len(q.turn) {
		if q.sending >= q.limits.Sending {
			return nil
		}
		l := q.turn[0]
		q.turn = q.turn[1:]
		if l.sending >= q.limits.LaneSending {
			q.turn = append(q.turn, l)
			continue
		}
		c := l.waiting[0]
		l.waiting[0], l.waiting = nil, l.waiting[1:]
		if len(l.waiting) > 0 {
			q.turn = append(q.turn, l)
		}
		q.waiting--
		q.sending++
		l.sending++
		return c
	}
	return nil
}

func (q *Queue) sent(c *Copy) {
	q.mu.Lock()
	q.sending--
	c.lane.sending--
	q.forget(c)
	q.mu.Unlock()
	q.stir()
}

func (q *Queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, l := range q.turn {
		for _, c := range l.waiting {
			q.waiting--
			l.waiting = l.waiting[1:]
			q.forget(c)
		}
	}
	q.turn = nil
}

// Held is how much a queue holds.
type Held struct {
	Waiting, Sending int
	Bytes            int64
}

// Held returns what the queue holds now.
func (q *Queue) Held() Held {
	q.mu.Lock()
	defer q.mu.Unlock()
	return Held{Waiting: q.waiting, Sending: q.sending, Bytes: q.bytes}
}
