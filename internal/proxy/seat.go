package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// pidWidth is the length of a pid in a lock file: always the same, so that one
// write replaces it and no reader sees half of it.
const pidWidth = 20

// seat is what only one data plane has: the locks and the name of the control socket.
type seat struct {
	socket string
	locks  []*os.File // held under flock
	opened bool       // socket + ".new" is there
	taken  bool       // socket is ours
}

// lock adds the lock of the state folder.
func (s *seat) lock(d disk) error {
	f, err := d.lock()
	if err == nil {
		s.locks = append(s.locks, f)
	}
	return err
}

// open opens the control socket for its owner only. It does not have its name yet.
func (s *seat) open(ctx context.Context) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(s.socket), 0o700); err != nil {
		return nil, err
	}
	fresh := s.socket + ".new"
	if err := removeIfThere(fresh); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "unix", fresh)
	if err != nil {
		return nil, err
	}
	s.opened = true
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	if err := os.Chmod(fresh, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// take gives the socket its name, in place of any file that is there, and writes
// our pid into the locks.
func (s *seat) take() error {
	if err := os.Rename(s.socket+".new", s.socket); err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	s.opened, s.taken = false, true
	pid := fmt.Appendf(nil, "%-*d\n", pidWidth-1, os.Getpid())
	for _, f := range s.locks {
		if _, err := f.WriteAt(pid, 0); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
	}
	return nil
}

// cede leaves everything to a successor.
func (s *seat) cede() error {
	s.opened, s.taken = false, false
	return s.leave()
}

// leave gives up what we have.
func (s *seat) leave() error {
	var err error
	if s.opened {
		err = removeIfThere(s.socket + ".new")
	}
	if s.taken {
		err = errors.Join(err, removeIfThere(s.socket))
	}
	for _, f := range s.locks {
		err = errors.Join(err, f.Close())
	}
	s.opened, s.taken, s.locks = false, false, nil
	return err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
