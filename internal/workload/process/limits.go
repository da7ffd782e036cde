package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

const (
	cgroupRoot = "/sys/fs/cgroup"
	cpuPeriod  = 100_000 // µs in which an instance may use CPUs*cpuPeriod
)

// bounds is what holds one instance within its limits: control groups where
// this process may make them, and the watch for what they do not cover.
type bounds struct {
	groups []string // folders of control groups
	oom    string   // file that counts kills for want of memory
	killed int      // its count at the last look
	watch  delivery.Limits
	words  []string
}

// bind makes the control groups of an instance below those of tree. It never fails: what cannot be
// bounded by the kernel is watched, or said to be unbounded.
func bind(tree hierarchy, name string, l delivery.Limits) *bounds {
	b := &bounds{watch: l}
	if l.MemoryBytes > 0 {
		if dir, ok := b.group(tree, "memory", name, memoryFiles(l.MemoryBytes)); ok {
			b.watch.MemoryBytes = 0
			b.oom = filepath.Join(dir, "memory.events")
			if tree.v1("memory") {
				b.oom = filepath.Join(dir, "memory.oom_control")
			}
			b.killed = b.oomKills()
		}
		b.say("memory "+size(l.MemoryBytes), b.watch.MemoryBytes == 0, "by sampling its RSS")
	}
	if l.CPUs > 0 {
		quota := strconv.Itoa(int(l.CPUs * cpuPeriod))
		_, ok := b.group(tree, "cpu", name, map[string]string{"cpu.max": quota + " " + strconv.Itoa(cpuPeriod), "cpu.cfs_period_us": strconv.Itoa(cpuPeriod), "cpu.cfs_quota_us": quota})
		b.say(fmt.Sprintf("%g CPUs", l.CPUs), ok, "not bounded: no cpu control group can be made here")
	}
	if l.Processes > 0 {
		if _, ok := b.group(tree, "pids", name, map[string]string{"pids.max": strconv.Itoa(l.Processes)}); ok {
			b.watch.Processes = 0
		}
		b.say(fmt.Sprintf("%d processes", l.Processes), b.watch.Processes == 0, "by counting them")
	}
	if l.OpenFiles > 0 {
		b.words = append(b.words, fmt.Sprintf("%d open files by rlimit", l.OpenFiles))
	}
	return b
}

func (b *bounds) say(what string, grouped bool, otherwise string) {
	how := otherwise
	if grouped {
		how = "by control group"
	}
	b.words = append(b.words, what+" "+how)
}

func memoryFiles(bytes int64) map[string]string {
	n := strconv.FormatInt(bytes, 10)
	return map[string]string{"memory.max": n, "memory.swap.max": "0", "memory.oom.group": "1", "memory.limit_in_bytes": n, "memory.memsw.limit_in_bytes": n}
}

// hierarchy says where this process is in each controller's tree.
type hierarchy struct {
	unified string            // own group in version 2
	own     map[string]string // controller -> own group in version 1
}

func (h hierarchy) v1(controller string) bool { return h.own[controller] != "" }

// cgroups reads /proc/self/cgroup: "id:controllers:path", with id 0 and no
// controllers for version 2.
func cgroups() hierarchy {
	h := hierarchy{own: map[string]string{}}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return h
	}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(f) < 3:
		case f[1] == "":
			h.unified = filepath.Join(cgroupRoot, f[2])
			if _, err := os.Stat(filepath.Join(cgroupRoot, "unified")); err == nil {
				h.unified = filepath.Join(cgroupRoot, "unified", f[2])
			}
		default:
			for c := range strings.SplitSeq(f[1], ",") {
				h.own[c] = filepath.Join(cgroupRoot, c, f[2])
			}
		}
	}
	return h
}

// group makes the control group of one controller and writes its limits. In
// version 2 a group that holds processes cannot bound groups below it, so the
// one above is tried too.
func (b *bounds) group(h hierarchy, controller, name string, files map[string]string) (string, bool) {
	parents := []string{h.own[controller]}
	if !h.v1(controller) {
		parents = []string{h.unified, filepath.Dir(h.unified)}
	}
	for _, parent := range parents {
		if rel, err := filepath.Rel(cgroupRoot, parent); err != nil || strings.HasPrefix(rel, "..") {
			continue // unknown, or above all groups
		}
		dir := filepath.Join(parent, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			continue
		}
		if !h.v1(controller) {
			poke(filepath.Join(parent, "cgroup.subtree_control"), "+"+controller) //nolint:errcheck // the limit below tells
		}
		if setAll(dir, files) {
			b.groups = append(b.groups, dir)
			return dir, true
		}
		os.Remove(dir) //nolint:errcheck // another controller may use it
	}
	return "", false
}

// setAll writes the files that exist and reports whether the limit took. Swap
// accounting is often switched off, so its files may fail.
func setAll(dir string, files map[string]string) bool {
	set := false
	for _, name := range []string{"memory.max", "memory.limit_in_bytes", "cpu.max", "cpu.cfs_period_us", "cpu.cfs_quota_us", "pids.max", "memory.swap.max", "memory.memsw.limit_in_bytes", "memory.oom.group"} {
		text, ok := files[name]
		if !ok {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			continue
		}
		if err := poke(filepath.Join(dir, name), text); err != nil {
			if strings.Contains(name, "swap") || strings.Contains(name, "memsw") || strings.Contains(name, "oom") {
				continue
			}
			return false
		}
		set = true
	}
	return set
}

func poke(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// admit puts a process, that waits at its stage, into the groups.
func (b *bounds) admit(pid int) error {
	for _, dir := range b.groups {
		if err := poke(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("its control group %s: %w", dir, err)
		}
	}
	return nil
}

// release removes the groups; what still runs in one keeps it.
func (b *bounds) release() {
	for _, dir := range b.groups {
		os.Remove(dir) //nolint:errcheck // the next start of the instance uses it again
	}
}

// oomKills reads how often the kernel killed for want of memory.
func (b *bounds) oomKills() int {
	text, err := os.ReadFile(b.oom)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "oom_kill" {
			n, _ := strconv.Atoi(f[1]) // the kernel writes numbers
			return n
		}
	}
	return 0
}

// overMemory reports whether the kernel killed for want of memory since the last call.
func (b *bounds) overMemory() bool {
	n := b.oomKills()
	more := n > b.killed
	b.killed = n
	return more
}

// over returns why the group must be killed, or "". RSS counts pages that
// processes share once for each of them.
func (b *bounds) over(group []identity) string {
	if n := b.watch.Processes; n > 0 && len(group) > n {
		return fmt.Sprintf("over its limit of %d processes (%d)", n, len(group))
	}
	if b.watch.MemoryBytes <= 0 {
		return ""
	}
	var rss int64
	for _, p := range group {
		rss += rssOf(p.PID)
	}
	if rss <= b.watch.MemoryBytes {
		return ""
	}
	return fmt.Sprintf("%s (RSS %s)", memoryWords(b.watch.MemoryBytes), size(rss))
}

func memoryWords(limit int64) string { return "over its memory limit of " + size(limit) }

// rssOf reads field 2 of /proc/PID/statm, in pages.
func rssOf(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64) // the kernel writes numbers
	return pages * int64(os.Getpagesize())
}

func size(bytes int64) string {
	if bytes >= 1<<20 {
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
	return fmt.Sprintf("%d bytes", bytes)
}

// groupName is the same for every start of an instance, and no other's.
func groupName(f folder) string {
	sum := sha256.Sum256([]byte(f))
	return "slipway-" + hex.EncodeToString(sum[:8])
}
