package door

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Files raises the limit of open files of this process as far as it may and
// returns it.
func Files() (int, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("door: limit of open files: %w", err)
	}
	if l.Cur < l.Max {
		raised := unix.Rlimit{Cur: l.Max, Max: l.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil {
			l = raised
		}
	}
	return int(min(l.Cur, 1<<30)), nil
}

// Bounds of what is kept for everything but callers and instances: the control
// socket, the disk, checks, logs and certificates.
const (
	reserveLeast = 64
	reservePart  = 16 // of the limit
)

// Share returns how many connections of callers a limit of open files leaves: a
// descriptor for each, and one more for the instance that answers it.
func Share(files int) int {
	return max((files-max(reserveLeast, files/reservePart))/2, 1)
}
