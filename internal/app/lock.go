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

// lock takes the file, or answers errRuns.
func lock(path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("app: lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		pid := pidIn(f)
		return nil, errors.Join(fmt.Errorf("app: pid %d holds %s: %w", pid, path, errRuns), f.Close())
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

// Close lets go of the lock.
func (l *lockFile) Close() error { return l.f.Close() }

// holder returns the pid of the process that holds the lock at path, or 0.
func holder(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // read only
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return 0 // free; closing lets go of it again
	}
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
	pid := holder(path)
	if pid == 0 {
		return false, nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return true, fmt.Errorf("app: end pid %d: %w", pid, err)
	}
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for now := pid; now != 0; now = holder(path) {
		if now != pid { // it handed over just before it was told
			return end(ctx, path, limit)
		}
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case <-deadline.C:
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return true, fmt.Errorf("app: kill pid %d: %w", pid, err)
			}
		case <-tick.C:
		}
	}
	return true, nil
}
