package app

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Who asks whether a lock is held is not in the way of whoever takes it: a process
// that starts is looked for again and again, and does not take that for another one.
func TestLooksAreNotInTheWay(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "part.lock")
	first, err := lock(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(t.Context(), path); !errors.Is(err, errRuns) || !held(path) || holder(path) != os.Getpid() {
		t.Errorf("a second lock = %v, held %v by %d; want a refusal", err, held(path), holder(path))
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}

	looks, err := os.Open(path) // somebody looks, and is slow to let go
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(looks.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	taken := make(chan error, 1)
	go func() {
		mine, err := lock(t.Context(), path)
		if err == nil {
			err = mine.Close()
		}
		taken <- err
	}()
	select {
	case err := <-taken:
		t.Errorf("while somebody looks, lock = %v; want it to wait", err)
	case <-time.After(50 * time.Millisecond):
		if err := looks.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-taken; err != nil {
			t.Errorf("lock = %v after the look", err)
		}
	}

	stop := make(chan struct{})
	var lookers sync.WaitGroup
	for range 4 {
		lookers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					held(path)
				}
			}
		})
	}
	for range 500 {
		mine, err := lock(t.Context(), path)
		if err != nil {
			t.Error(err)
			break
		}
		if err := mine.Close(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	lookers.Wait()
}
