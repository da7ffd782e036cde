package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile is held for the life of a process and holds its pid. Whoever finds
// the lock free knows that the pid in it means nothing any more.
type lockFile struct{ f *os.File }

// errRuns says that another process holds the lock.
var errRuns = errors.New("runs already")

// shared is the pause before the next try to lock a file that others only look at.
const shared = 2 * time.Millisecond

// lock takes the file, or answers errRuns.
func lock(ctx context.Context, path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("app: lock: %w", err)
	}
	switch err := take(ctx, f); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(fmt.Errorf("app: pid %d holds %s: %w", pidIn(f), path, errRuns), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("app: lock %s: %w", path, err), f.Close())
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("app: lock: %w", err), f.Close())
	}
	return &lockFile{f: f}, nil
}

// take locks a file for one alone, or answers EWOULDBLOCK. Who only asks whether it
// is held shares it for a moment: that is no holder, and is waited for.
func take(ctx context.Context, f *os.File) error {
	fd := int(f.Fd())
	for {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		if err := unix.Flock(fd, unix.LOCK_SH|unix.LOCK_NB); err != nil {
			return err
		}
		if err := unix.Flock(fd, unix.LOCK_UN); err != nil {
			return err
		}
		again := time.NewTimer(shared)
		select {
		case <-ctx.Done():
			again.Stop()
			return ctx.Err()
		case <-again.C:
		}
	}
}

// Close lets go of the lock.
func (l *lockFile) Close() error { return l.f.Close() }

// held reports whether a process holds the lock at path.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()                                 // lets go of what is shared here
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil // else it is free
}

// holder returns the pid of the process that holds the lock at path, or 0. One that
// has just taken it may not have written its pid yet: held knows of it already.
func holder(path string) int {
	if !held(path) {
		return 0
	}
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // read only
	return pidIn(f)
}

func pidIn(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}

// end tells the holder of a lock to end and waits until it has let go; after
// limit it is killed. It reports whether there was one.
func end(ctx context.Context, path string, limit time.Duration) (bool, error) {
	if !held(path) {
		return false, nil
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for told := 0; held(path); {
		if pid := holder(path); pid != 0 && pid != told { // another one: who was told had just handed over
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return true, fmt.Errorf("app: end pid %d: %w", pid, err)
			}
			told = pid
			deadline.Reset(limit)
		}
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-deadline.C:
			if told == 0 {
				return true, fmt.Errorf("app: %s is held, and does not say by whom", path)
			}
			if err := syscall.Kill(told, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return true, fmt.Errorf("app: kill pid %d: %w", told, err)
			}
		case <-tick.C:
		}
	}
	return true, nil
}
