package process

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/workload"
)

// One look serves every instance, so what it costs by process is what a thousand
// instances cost.
func BenchmarkMeterLook(b *testing.B) {
	var m meter
	for b.Loop() {
		m.next = time.Time{}
		m.look()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(len(m.procs)), "µs/process")
	b.ReportMetric(float64(len(m.procs)), "processes")
}

func BenchmarkMeterOf(b *testing.B) {
	var m meter
	m.look()
	r := record{Child: identity{PID: os.Getpid(), Start: m.procs[os.Getpid()].start}}
	for b.Loop() {
		m.of("prod.shop.r1.0", r)
	}
}

// A pid that was used again is another process, and a tree that was read while
// it changed may have a circle.
func TestMeterIsNotFooled(t *testing.T) {
	var m meter
	m.look()
	me := os.Getpid()
	if u := m.of("a", record{Child: identity{PID: me, Start: m.procs[me].start + 1}}); u != (workload.Usage{}) {
		t.Errorf("another process of the same pid takes %+v", u)
	}
	mine := record{Child: identity{PID: me, Start: m.procs[me].start}}
	before := m.of("a", mine)
	m.below[me] = append(m.below[me], me)
	m.below[7] = []int{me}
	if u := m.of("a", mine); u != before || u.Memory == 0 {
		t.Errorf("usage with a circle = %+v, want %+v", u, before)
	}
	p := m.procs[me]
	p.cpu = 0
	m.procs[me] = p
	if u := m.of("a", mine); u.CPU < before.CPU {
		t.Errorf("CPU time fell from %s to %s", before.CPU, u.CPU)
	}
	list := []workload.Status{{Spec: workload.Spec{ID: "a"}}}
	for i := range 100 {
		m.of(workload.ID(strconv.Itoa(i)), mine)
	}
	if m.keep(list); len(m.last) != 1 {
		t.Errorf("%d instances are remembered, want 1", len(m.last))
	}
}

// The name of a process may hold whatever confuses a reader of its stat.
func TestMeterReadsStrangeNames(t *testing.T) {
	strange := t.TempDir() + "/a) R 1 (b"
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sleep, strange); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), strange, "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	var m meter
	m.look()
	if p := m.procs[id.PID]; p.start != id.Start || m.of("a", record{Child: id}).At.IsZero() {
		t.Errorf("it is read as %+v, want start %d", p, id.Start)
	}
}
