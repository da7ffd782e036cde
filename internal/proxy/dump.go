package proxy

import (
	"context"
	"net/url"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// dumpSeconds is how far back the counts of a dump go.
const dumpSeconds = 60

// dump is all that a bug report needs, without a key.
func (e *engine) dump(ctx context.Context) (traffic.Dump, error) {
	s, err := e.whole(ctx)
	if err != nil {
		return traffic.Dump{}, err
	}
	now := time.Now()
	d := traffic.Dump{At: now, State: s, Table: bare(e.table.Load().spec), Faults: e.faults.List(now), Process: e.uses(now)}
	d.Blocks = e.blocks(now.Unix() - dumpSeconds)
	d.Failed = e.counts.failedSince(0)
	return d, nil
}

// bare is a table without what must not leave the machine.
func bare(t traffic.Table) traffic.Table {
	t.PreviewKey = nil
	if u, err := url.Parse(t.Plane.OTLP); err == nil && u.User != nil {
		u.User = url.User("redacted")
		t.Plane.OTLP = u.String()
	}
	return t
}

// uses says what the process uses.
func (e *engine) uses(now time.Time) traffic.Process {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p := traffic.Process{
		Go: runtime.Version(), Procs: runtime.GOMAXPROCS(0), Up: now.Sub(e.started).Round(time.Second),
		Goroutines: runtime.NumGoroutine(), OpenFiles: -1, HeapBytes: m.HeapInuse, TotalBytes: m.Sys,
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		p.OpenFiles = len(open) - 1 // the folder itself
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		p.FileLimit = limit.Cur
	}
	return p
}
