package limit

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func never() bool { return false }

func TestHoldReleasesAllTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hold
		back := make(chan error, 4)
		wait := func(ctx context.Context) { back <- h.Wait(ctx, Bound{Max: 3, Wait: time.Minute}, never) }
		for range 3 {
			go wait(t.Context())
		}
		synctest.Wait()
		if wait(t.Context()); !errors.Is(<-back, ErrFull) {
			t.Error("a fourth was held")
		}
		h.Release()
		synctest.Wait()
		for range 3 {
			if err := <-back; err != nil {
				t.Errorf("Wait() = %v, want nil", err)
			}
		}
		if h.Waiting() != 0 {
			t.Errorf("Waiting() = %d, want 0", h.Waiting())
		}
		h.Release() // nobody waits
	})
}

func TestHoldBoundsAndCallersWhoLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hold
		ctx, stop := context.WithCancel(t.Context())
		back := make(chan error, 2)
		began := time.Now()
		go func() { back <- h.Wait(ctx, Bound{Max: 2, Wait: time.Minute}, never) }()
		synctest.Wait()
		stop()
		if err := <-back; !errors.Is(err, context.Canceled) || h.Waiting() != 0 {
			t.Errorf("Wait() = %v with %d waiting, want context.Canceled and none", err, h.Waiting())
		}
		if err := h.Wait(t.Context(), Bound{Max: 1, Wait: time.Minute}, never); !errors.Is(err, ErrLate) || time.Since(began) != time.Minute {
			t.Errorf("Wait() = %v after %s, want ErrLate after 1m", err, time.Since(began))
		}
		if err := h.Wait(t.Context(), Bound{Max: 1, Wait: time.Minute}, func() bool { return true }); err != nil || h.Waiting() != 0 {
			t.Errorf("Wait() after the change = %v with %d waiting, want nil at once", err, h.Waiting())
		}
	})
}

// One who leaves after a release must not free the place of one who came later.
func TestHoldCountsByRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h Hold
		old := make(chan struct{})
		h.open, h.waiting = old, 1
		h.Release()
		back := make(chan error, 1)
		go func() { back <- h.Wait(t.Context(), Bound{Max: 1, Wait: time.Minute}, never) }()
		synctest.Wait()
		h.leave(old)
		if h.Waiting() != 1 {
			t.Errorf("Waiting() = %d, want the one who came later", h.Waiting())
		}
		h.Release()
		if err := <-back; err != nil {
			t.Error(err)
		}
	})
}
