package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/workload"
)

// folder is the folder of one instance.
type folder string

func (f folder) path(name string) string { return filepath.Join(string(f), name) }

// The files of an instance.
const (
	specFile  = "spec.json"
	stateFile = "state.json"
	lifeFile  = "life"
	doorFile  = "door"
	errFile   = "shim.err" // what the shim itself said when it broke
	logFile   = "log.jsonl"
)

// wish is what shall be of an instance. Gen counts its changes, so that a stop
// and a later start are never taken for each other.
type wish struct {
	Gen    int64         `json:"gen"`
	Run    bool          `json:"run"`
	Spec   workload.Spec `json:"spec"`
	Tuning Tuning        `json:"tuning"`
}

// record is what the shim knows of its instance.
type record struct {
	Gen      int64          `json:"gen"` // of the wish it follows
	Phase    workload.Phase `json:"phase"`
	Port     int            `json:"port,omitempty"`
	Shim     identity       `json:"shim"`
	Child    identity       `json:"child"`            // also the id of its session and process group
	Strays   []identity     `json:"strays,omitempty"` // its processes in sessions of their own
	Started  time.Time      `json:"started,omitzero"`
	Since    time.Time      `json:"since"`
	Restarts int            `json:"restarts"`
	LastExit string         `json:"last_exit,omitempty"`
	Probe    string         `json:"probe,omitempty"`
	Tail     []string       `json:"tail,omitempty"`
	Retry    time.Time      `json:"retry,omitzero"`   // next start, in backoff
	Limits   []string       `json:"limits,omitempty"` // what bounds it, in words
}

func (f folder) wish() (wish, error) {
	var w wish
	return w, readJSON(f.path(specFile), &w)
}

func (f folder) record() (record, error) {
	var r record
	return r, readJSON(f.path(stateFile), &r)
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// replace writes a file whole or not at all, and durably.
func replace(path string, v any) error {
	return swap(path, v, (*os.File).Sync)
}

// refresh writes a file whole or not at all; it need not outlive a power cut.
func refresh(path string, v any) error {
	return swap(path, v, func(*os.File) error { return nil })
}

func swap(path string, v any, settle func(*os.File) error) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, settle(tmp), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(settle(dir), dir.Close())
}

// lock takes the lock on path, if it is free, until unlock or the end of the process. It
// belongs to the open file: another open in the same process does not share it.
func lock(path string) (*os.File, bool, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, false, err
	}
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l)
	if err == nil {
		return f, true, nil
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, false, f.Close()
	}
	return nil, false, errors.Join(err, f.Close())
}

// unlock gives a lock back. To close the file is not enough: a process that is
// just being forked holds it open until it executes its program.
func unlock(f *os.File) error {
	l := unix.Flock_t{Type: unix.F_UNLCK, Whence: io.SeekStart}
	return errors.Join(unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l), f.Close())
}

// locked asks for a lock without taking it, so that asking disturbs nobody.
func locked(path string) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l)
	return err == nil && l.Type != unix.F_UNLCK, errors.Join(err, f.Close())
}

// alive reports whether a shim holds the instance.
func (f folder) alive() (bool, error) { return locked(f.path(lifeFile)) }

// atDoor runs do while no other process changes the wish of this instance. It
// returns fs.ErrNotExist if the folder is not there.
func (f folder) atDoor(ctx context.Context, do func() error) (err error) {
	for {
		door, free, err := lock(f.path(doorFile))
		if err != nil {
			return err
		}
		if free {
			if f.holds(door) {
				defer func() { err = errors.Join(err, unlock(door)) }()
				return do()
			}
			unlock(door) //nolint:errcheck // of a folder that was removed meanwhile
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

// holds tells an open door from the door of a removed folder.
func (f folder) holds(door *os.File) bool {
	mine, err := door.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(f.path(doorFile))
	return err == nil && os.SameFile(mine, there)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var goodID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$`)

// folderOf refuses an id that cannot be the name of a folder.
func (d *Driver) folderOf(id workload.ID) (folder, error) {
	if !goodID.MatchString(string(id)) {
		return "", delivery.Invalid("id", fmt.Sprintf("%q is not made of letters, digits, dots and dashes, 200 at most", id))
	}
	return folder(filepath.Join(d.root, string(id))), nil
}
