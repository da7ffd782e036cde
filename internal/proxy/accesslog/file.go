package accesslog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// Bounds of the files.
const (
	maxSize = 64 << 20 // bytes of a file before it is put aside
	keep    = 3        // files put aside: ".1" is the newest
)

// file is a log file that may be moved away under us, by its own rotation in
// another process or by a tool, and is then made anew.
type file struct {
	path  string
	limit int64
	f     *os.File
	torn  bool // the last write stopped within a line
	skip  bool // the rest of that line is of no use in another file
}

// write appends b and returns how much of it is on its way to the disk.
func (l *file) write(b []byte) (int, error) {
	size, err := l.ready()
	if err != nil {
		return 0, err
	}
	if size > 0 && size+int64(len(b)) > l.limit {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	rest := 0
	if l.skip {
		rest = bytes.IndexByte(b, '\n') + 1
		l.skip = false
	}
	n, err := l.f.Write(b[rest:])
	n += rest
	if n > rest {
		l.torn = b[n-1] != '\n'
	}
	if err != nil {
		return n, fmt.Errorf("accesslog: %w", err)
	}
	return n, nil
}

// ready opens the file, or opens it again when it is no longer at its path, and
// returns its size.
func (l *file) ready() (int64, error) {
	at, err := os.Stat(l.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("accesslog: %w", err)
	}
	if l.f != nil && err == nil {
		if mine, err := l.f.Stat(); err == nil && os.SameFile(mine, at) {
			return mine.Size(), nil
		}
	}
	l.close()
	l.f, err = os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("accesslog: %w", err)
	}
	l.skip, l.torn = l.torn, false
	mine, err := l.f.Stat()
	if err != nil {
		return 0, fmt.Errorf("accesslog: %w", err)
	}
	return mine.Size(), nil
}

// rotate puts the file aside and begins a new one. While one binary takes over
// from another two processes write the same file: whoever locks it moves it,
// and the other finds it moved.
func (l *file) rotate() error {
	if err := syscall.Flock(int(l.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil //nolint:nilerr // the other one is at it: this batch still goes into the old file
	}
	at, err := os.Stat(l.path)
	mine, errMine := l.f.Stat()
	if err == nil && errMine == nil && os.SameFile(at, mine) {
		for i := keep; i > 0; i-- {
			from := l.path
			if i > 1 {
				from += "." + strconv.Itoa(i-1)
			}
			if err := os.Rename(from, l.path+"."+strconv.Itoa(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("accesslog: put aside: %w", err)
			}
		}
	}
	_, err = l.ready()
	return err
}

func (l *file) close() {
	if l.f != nil {
		_ = l.f.Close() // appended without a buffer of ours: nothing is lost by it
		l.f = nil
	}
}
