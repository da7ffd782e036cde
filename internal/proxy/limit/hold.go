package limit

import (
	"context"
	"sync"
	"time"
)

// Hold keeps requests until the world has changed and lets them all go
// together. The zero value is ready.
type Hold struct {
	mu      sync.Mutex
	waiting int           // guarded by mu
	open    chan struct{} // guarded by mu: closed by Release; nil while nobody waits
}

// Wait returns nil when Release was called, or at once when changed, asked after
// this request has its place, says that it would be. It returns ErrFull at once
// when as many wait as may, ErrLate after the longest wait, and the cause of ctx
// when that ends first. Whatever it returns, the place is free again.
func (h *Hold) Wait(ctx context.Context, b Bound, changed func() bool) error {
	h.mu.Lock()
	if h.waiting >= b.Max {
		h.mu.Unlock()
		return ErrFull
	}
	h.waiting++
	if h.open == nil {
		h.open = make(chan struct{})
	}
	open := h.open
	h.mu.Unlock()
	defer h.leave(open)
	if changed() {
		return nil
	}
	timer := time.NewTimer(b.Wait)
	defer timer.Stop()
	select {
	case <-open:
		return nil
	case <-timer.C:
		return ErrLate
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave gives up a place, unless Release has done so for all.
func (h *Hold) leave(open chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == open {
		h.waiting--
	}
}

// Release lets go all that wait.
func (h *Hold) Release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open != nil {
		close(h.open)
		h.open, h.waiting = nil, 0
	}
}

// Waiting returns how many wait.
func (h *Hold) Waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting
}
