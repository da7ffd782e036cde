package process

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/workload"
)

const (
	usageEvery = time.Second           // between two looks at all processes
	usageShare = 50                    // a look that takes t is followed by none for this many times t: 2 % of a core at most
	clockTick  = 10 * time.Millisecond // USER_HZ, in which the kernel tells CPU times: 100 on every Linux
)

// meter knows what every process of the machine takes. One look at all of them
// serves all instances: a thousand cost as much as one, but for their own
// processes. It reads /proc and no control groups, whether an instance has some
// or not, so that two instances are always measured alike.
type meter struct {
	mu    sync.Mutex
	next  time.Time // no look before
	at    time.Time
	procs map[int]proc
	below map[int][]int            // parent -> children
	last  map[workload.ID]consumed // of the running life of each instance
}

// proc is what one process takes.
type proc struct {
	session int
	start   uint64
	cpu     time.Duration // its own and that of children it has waited for
	memory  uint64
}

// consumed is the most CPU time that a life of an instance was seen to have used.
type consumed struct {
	child identity
	cpu   time.Duration
}

// look reads all processes, unless that was done just now.
func (m *meter) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if now.Before(m.next) {
		return
	}
	m.at, m.procs, m.below = now, map[int]proc{}, map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		entries = nil // nothing is known
	}
	page, buf := uint64(os.Getpagesize()), make([]byte, 1024)
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			m.read(pid, page, buf)
		}
	}
	m.next = now.Add(max(usageEvery, usageShare*time.Since(now)))
}

// read takes in one process: fields 4, 6, 14 to 17, 22 and 24 of /proc/PID/stat.
func (m *meter) read(pid int, page uint64, buf []byte) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return // it ended
	}
	n, err := f.Read(buf)
	f.Close() //nolint:errcheck // read only
	if err != nil {
		return
	}
	text := buf[:n]
	var v [22]uint64 // v[i] is field i+3; the second is the name in parentheses and may hold both of them
	i := 0
	for word := range bytes.FieldsSeq(text[bytes.LastIndexByte(text, ')')+1:]) {
		if i == len(v) {
			break
		}
		v[i], _ = strconv.ParseUint(string(word), 10, 64) // the state is no number, and some that do not matter are negative
		i++
	}
	if i < len(v) {
		return
	}
	ticks := v[11] + v[12] + v[13] + v[14]
	m.procs[pid] = proc{session: int(v[3]), start: v[19], cpu: time.Duration(ticks) * clockTick, memory: v[21] * page}
	m.below[int(v[1])] = append(m.below[int(v[1])], pid)
}

// of returns what an instance takes: its process, all below it, and those of its
// session or its strays that lost their parent to the shim. Health commands are
// children of the shim too and are none. What an orphan used is lost with it, so
// the highest sum of CPU times stands.
func (m *meter) of(id workload.ID, r record) workload.Usage {
	m.mu.Lock()
	defer m.mu.Unlock()
	root, there := m.procs[r.Child.PID]
	if !there || root.start != r.Child.Start || m.at.Before(r.Started) {
		return workload.Usage{} // of another, or measured before it was the application
	}
	u := workload.Usage{At: m.at}
	next := []int{r.Child.PID}
	for _, pid := range m.below[r.Shim.PID] {
		p := m.procs[pid]
		stray := slices.ContainsFunc(r.Strays, func(s identity) bool { return s.PID == pid && s.Start == p.start })
		if pid != r.Child.PID && (p.session == r.Child.PID || stray) {
			next = append(next, pid)
		}
	}
	seen := map[int]bool{} // processes end and begin while they are read: the tree may be none
	for len(next) > 0 {
		pid := next[len(next)-1]
		next = next[:len(next)-1]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		next = append(next, m.below[pid]...)
		u.CPU += m.procs[pid].cpu
		u.Memory += m.procs[pid].memory
	}
	if was := m.last[id]; was.child == r.Child {
		u.CPU = max(u.CPU, was.cpu)
	}
	if m.last == nil {
		m.last = map[workload.ID]consumed{}
	}
	m.last[id] = consumed{child: r.Child, cpu: u.CPU}
	return u
}

// keep forgets the instances that are not in list.
func (m *meter) keep(list []workload.Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.last) <= 2*len(list)+16 {
		return
	}
	kept := make(map[workload.ID]consumed, len(list))
	for _, s := range list {
		if c, ok := m.last[s.Spec.ID]; ok {
			kept[s.Spec.ID] = c
		}
	}
	m.last = kept
}
