package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// identity tells a process from every other, also after its pid was used again
// and after a reboot.
type identity struct {
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"` // clock ticks after boot: field 22 of /proc/PID/stat
	Boot  string `json:"boot,omitempty"`
}

// stat is the part of /proc/PID/stat that matters here.
type stat struct {
	state   byte
	ppid    int
	session int
	start   uint64
}

func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // the start time alone has to do
	}
	return strings.TrimSpace(string(b))
}

// statOf fails if there is no such process.
func statOf(pid int) (stat, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, err
	}
	// The second field is the name in parentheses and may hold both of them.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return stat{}, fmt.Errorf("/proc/%d/stat is cut short", pid)
	}
	s := stat{state: f[0][0]}
	var errs [3]error
	s.ppid, errs[0] = strconv.Atoi(f[1])
	s.session, errs[1] = strconv.Atoi(f[3])
	s.start, errs[2] = strconv.ParseUint(f[19], 10, 64)
	return s, errors.Join(errs[:]...)
}

// identify returns the identity of a running process.
func identify(pid int) (identity, error) {
	s, err := statOf(pid)
	return identity{PID: pid, Start: s.start, Boot: bootID()}, err
}

// runs reports whether this very process is there and not a zombie.
func (i identity) runs() bool {
	if i.PID == 0 || i.Boot != bootID() {
		return false
	}
	s, err := statOf(i.PID)
	return err == nil && s.start == i.Start && s.state != 'Z' && s.state != 'X'
}

// signal reaches this very process or none.
func (i identity) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(i.PID, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		if !i.runs() {
			return unix.ESRCH
		}
		return unix.Kill(i.PID, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	if !i.runs() {       // asked after the descriptor pinned the pid
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// childrenOf lists the direct children of a process, zombies too.
func childrenOf(pid int) []int {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(lists) == 0 {
		return childrenByScan(pid)
	}
	var all []int
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // the thread ended
		}
		for f := range strings.FieldsSeq(string(b)) {
			if n, err := strconv.Atoi(f); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// childrenByScan does it for kernels without the children file.
func childrenByScan(pid int) []int {
	return scan(func(_ int, s stat) bool { return s.ppid == pid })
}

// scan lists the processes of this machine that match.
func scan(match func(pid int, s stat) bool) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := statOf(pid); err == nil && match(pid, s) {
			all = append(all, pid)
		}
	}
	return all
}

// descendantsOf lists the living processes below pid, without pid itself.
func descendantsOf(pid int) []identity {
	boot := bootID()
	var all []identity
	seen := []int{pid}
	for next := childrenOf(pid); len(next) > 0; {
		p := next[0]
		next = next[1:]
		if slices.Contains(seen, p) {
			continue
		}
		seen = append(seen, p)
		s, err := statOf(p)
		if err != nil {
			continue
		}
		next = append(next, childrenOf(p)...)
		if s.state != 'Z' && s.state != 'X' {
			all = append(all, identity{PID: p, Start: s.start, Boot: boot})
		}
	}
	return all
}

// sessionOf lists the living processes of the session that leader began, also
// if leader itself is gone. A pid that was used again is not taken for it.
func sessionOf(leader identity) []identity {
	if leader.PID == 0 || leader.Boot != bootID() {
		return nil
	}
	if s, err := statOf(leader.PID); err == nil && s.start != leader.Start {
		return nil
	}
	var all []identity
	scan(func(pid int, s stat) bool {
		if s.session == leader.PID && s.start >= leader.Start && s.state != 'Z' && s.state != 'X' {
			all = append(all, identity{PID: pid, Start: s.start, Boot: leader.Boot})
		}
		return false
	})
	return all
}
