package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cpuOf is the CPU time of a process so far, to the nanosecond: the sum of the
// first field of /proc/PID/task/*/schedstat (proc(5)). A thread that has ended
// is not in it; none of the programs here ends threads under load.
func cpuOf(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("bench: process %d has no schedstat: %w", pid, os.ErrNotExist)
	}
	var sum time.Duration
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // the thread ended in between
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("bench: %s: %w", f, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// memoryOf is the resident memory of a process in bytes (VmRSS).
func memoryOf(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	return vmRSS(b)
}

func vmRSS(status []byte) (int64, error) {
	for line := range bytes.Lines(status) {
		if rest, found := bytes.CutPrefix(line, []byte("VmRSS:")); found {
			fields := bytes.Fields(rest)
			kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("bench: no VmRSS in the status of a process: %w", os.ErrNotExist)
}

// tick is the unit of /proc/stat, USER_HZ, which Linux fixes at 100 Hz.
const tick = 10 * time.Millisecond

// busy is how long a core has worked so far, for whomever.
func busy(core int) (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("bench: %w", err)
	}
	return busyIn(b, core)
}

func busyIn(stat []byte, core int) (time.Duration, error) {
	name := "cpu" + strconv.Itoa(core)
	for line := range strings.Lines(string(stat)) {
		f := strings.Fields(line)
		if len(f) < 9 || f[0] != name {
			continue
		}
		var ticks int64
		for _, i := range []int{1, 2, 3, 6, 7, 8} { // user nice system irq softirq steal
			n, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("bench: /proc/stat: %w", err)
			}
			ticks += n
		}
		return time.Duration(ticks) * tick, nil
	}
	return 0, fmt.Errorf("bench: core %d is not in /proc/stat: %w", core, os.ErrNotExist)
}

// loadAverage is the first three figures of /proc/loadavg.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	f := strings.Fields(string(b))
	return strings.Join(f[:min(3, len(f))], " ")
}
