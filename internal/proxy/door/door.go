package door

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Times of waiting for room and for descriptors.
const (
	Tick        = time.Second            // between two calls of House.Tick; who is idle less long is not closed
	lookAgain   = 100 * time.Millisecond // whether somebody is idle now
	backOff     = 5 * time.Millisecond   // after an accept that failed; doubles up to
	backOffMost = time.Second
)

// House is all of one data plane's connections.
type House struct {
	log *slog.Logger
	now atomic.Int64 // ticks, from 1

	mu   sync.Mutex
	max  int                 // guarded by mu
	open map[*Guest]struct{} // guarded by mu
	room chan struct{}       // guarded by mu: closed when a connection closes, if somebody waits; else nil
}

// New returns a house for at most total connections.
func New(total int, log *slog.Logger) *House {
	h := &House{log: log, max: total, open: map[*Guest]struct{}{}}
	h.now.Store(1)
	return h
}

// Tick says that Tick has passed.
func (h *House) Tick() { h.now.Add(1) }

// Limit changes how many connections may be open. Those that are stay.
func (h *House) Limit(total int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.max = total
	h.wake()
}

// Door is the way in of one listener.
type Door struct {
	house *House
	log   *slog.Logger

	max   int   // guarded by house.mu
	open  int   // guarded by house.mu
	stats Stats // guarded by house.mu
}

// Stats tells how full a door is.
type Stats struct {
	Open      int    `json:"open"`      // connections now
	Most      int    `json:"most"`      // of them, that may be
	Waited    uint64 `json:"waited"`    // connections that had to wait for room
	Dismissed uint64 `json:"dismissed"` // idle connections that were closed to make room
}

// Door returns another way in, for at most limit connections.
func (h *House) Door(limit int, log *slog.Logger) *Door {
	return &Door{house: h, log: log, max: limit}
}

// Limit changes how many connections may be open through the door.
func (d *Door) Limit(limit int) {
	d.house.mu.Lock()
	defer d.house.mu.Unlock()
	if d.max != limit {
		d.max = limit
		d.house.wake()
	}
}

// Stats returns how full the door is.
func (d *Door) Stats() Stats {
	d.house.mu.Lock()
	defer d.house.mu.Unlock()
	s := d.stats
	s.Open, s.Most = d.open, d.max
	return s
}

// Serve accepts connections of ln and gives each to take, which must not block,
// until ln is closed or ctx ends. An accept that fails for want of descriptors
// or memory, or because of what one caller did, is tried again.
func (d *Door) Serve(ctx context.Context, ln net.Listener, take func(*Guest)) error {
	pause := time.Duration(0)
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || !passing(err) {
				return err
			}
			pause = min(max(2*pause, backOff), backOffMost)
			d.short(ctx, err, pause)
			continue
		}
		if pause != 0 {
			d.log.Info("connections are accepted again")
			pause = 0
		}
		tcp, ok := conn.(*net.TCPConn)
		if !ok {
			return errors.Join(errors.New("door: the listener is not for TCP"), conn.Close())
		}
		g := &Guest{TCPConn: tcp, door: d}
		if !d.admit(ctx, g) {
			_ = tcp.Close()
			return ctx.Err()
		}
		take(g)
	}
}

// passing says whether accept may succeed when it is tried again.
func passing(err error) bool {
	for _, final := range []error{net.ErrClosed, syscall.EBADF, syscall.EINVAL, syscall.ENOTSOCK, syscall.EFAULT} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}

// short waits after an accept that failed, for less long if a connection closes.
// One that is idle is closed: it is worth less than one that has a request.
func (d *Door) short(ctx context.Context, why error, pause time.Duration) {
	if errors.Is(why, syscall.ECONNABORTED) {
		return // of the caller's own doing
	}
	if pause == backOff {
		d.log.Error("connections cannot be accepted, trying again", slog.Any("error", why))
	}
	d.house.mu.Lock()
	victim, room := d.longestIdle(true), d.house.waiting()
	d.house.mu.Unlock()
	if victim != nil && victim.dismiss() {
		d.dismissed()
		return
	}
	wait(ctx, room, pause)
}

// admit counts g in, waiting for room if it must. False means that ctx ended.
func (d *Door) admit(ctx context.Context, g *Guest) bool {
	h := d.house
	for waited := false; ; waited = true {
		h.mu.Lock()
		if d.open < d.max && len(h.open) < h.max {
			h.open[g] = struct{}{}
			d.open++
			h.mu.Unlock()
			return true
		}
		if !waited {
			d.stats.Waited++
		}
		first := !waited && d.stats.Waited == 1
		victim, room := d.longestIdle(d.open < d.max), h.waiting()
		h.mu.Unlock()
		if first {
			d.log.Warn("the limit of connections is reached; idle ones are closed, and others wait", slog.Int("limit", d.Stats().Most))
		}
		if victim != nil && victim.dismiss() {
			d.dismissed()
			continue
		}
		if !wait(ctx, room, lookAgain) {
			return false
		}
	}
}

func (d *Door) dismissed() {
	d.house.mu.Lock()
	d.stats.Dismissed++
	d.house.mu.Unlock()
}

// longestIdle returns the connection that has been idle longest, at least for a
// tick: of any door, or of this one. house.mu is held.
func (d *Door) longestIdle(anyDoor bool) *Guest {
	var longest *Guest
	before := d.house.now.Load() - 1
	for g := range d.house.open {
		if !anyDoor && g.door != d {
			continue
		}
		if since, ok := g.waiting(); ok && since < before {
			longest, before = g, since
		}
	}
	return longest
}

// waiting returns what is closed when a connection closes; mu is held.
func (h *House) waiting() <-chan struct{} {
	if h.room == nil {
		h.room = make(chan struct{})
	}
	return h.room
}

// wake lets those who wait look again; mu is held.
func (h *House) wake() {
	if h.room != nil {
		close(h.room)
		h.room = nil
	}
}

func (h *House) left(g *Guest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, counted := h.open[g]; counted {
		delete(h.open, g)
		g.door.open--
		h.wake()
	}
}

// wait returns when room is closed, or after d; false when ctx ended.
func wait(ctx context.Context, room <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-room:
		return true
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
