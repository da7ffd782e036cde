package proxy

import (
	"errors"
	"syscall"
)

// shortage says that a connection could not be opened for want of something of
// our own: a file, memory, or a port. It tells nothing of the instance: it is no
// failed check, counts towards no ejection, and is no evidence against a release.
func shortage(err error) bool {
	for _, want := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, want) {
			return true
		}
	}
	return false
}
