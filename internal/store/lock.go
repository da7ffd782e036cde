package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockFile is the file beside the database that one live process holds. It also
// bears witness: it says where the ledger ended at the last acknowledged write,
// so that a database that lost its log, or was swapped for an older one, is not
// mistaken for a whole one. It is written without fsync: an old witness only
// sees less.
type lockFile struct {
	f     *os.File
	noted note
}

// note is what a lock file says.
type note struct {
	PID  int   `json:"pid"`
	Head *Head `json:"head"` // nil: no database was made yet
}

// noteSize is the fixed size of a note on disk, in bytes.
const noteSize = 160

// takeLock locks the file beside path for this process.
func takeLock(path string) (*lockFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, &FileError{Path: filepath.Dir(path), What: "cannot be made", Next: "make the folder, writable for the user that runs Slipway", Err: err}
	}
	name := path + ".lock"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &FileError{Path: name, What: "cannot be written", Next: "make the file and its folder writable for the user that runs Slipway", Err: err}
	}
	l := &lockFile{f: f}
	l.noted = l.read()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		inUse := &FileError{Path: path, What: "is in use", Next: "stop the other Slipway with slipway down, or give this one another folder", Err: err}
		if errors.Is(err, unix.EWOULDBLOCK) {
			inUse.Err = nil
		}
		if l.noted.PID != 0 {
			inUse.What = fmt.Sprintf("is in use by process %d", l.noted.PID)
		}
		return nil, errors.Join(inUse, f.Close())
	}
	l.noted = l.read() // the one before may have written until just now
	l.noted.PID = os.Getpid()
	if err := l.write(); err != nil {
		return nil, errors.Join(&FileError{Path: name, What: "cannot be written", Next: "free some space or mend the disk", Err: err}, f.Close())
	}
	return l, nil
}

// read returns what the file says; the zero note if it says nothing that makes sense.
func (l *lockFile) read() note {
	b := make([]byte, noteSize)
	k, _ := l.f.ReadAt(b, 0) // a short file is an empty note
	var n note
	if json.Unmarshal(bytes.TrimSpace(b[:k]), &n) != nil {
		return note{}
	}
	return n
}

func (l *lockFile) write() error {
	b, err := json.Marshal(l.noted)
	if err != nil {
		return err
	}
	b = append(b, bytes.Repeat([]byte(" "), max(0, noteSize-1-len(b)))...)
	_, err = l.f.WriteAt(append(b, '\n'), 0)
	return err
}

// note says where the ledger ends now.
func (l *lockFile) note(h Head) {
	l.noted.Head = &h
	_ = l.write() // an old witness only sees less
}

func (l *lockFile) close() error { return l.f.Close() }
