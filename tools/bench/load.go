package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// loadKind is one way to ask a peer.
type loadKind struct {
	id    string
	title string
	conns int
	path  string
	size  int  // of the answer's body, bytes
	h2    bool // h2load, 16 streams a connection
	open  bool // at a fixed rate, for latency
}

// Rate and connections of the open-loop run.
const (
	openRate  = 300 // requests a second
	openConns = 16
	streams   = 16 // of an HTTP/2 connection
)

// loads are all of them, in the order of the table. Memory is read after the
// one with 256 connections and small answers.
var loads = [...]loadKind{
	{id: "small-32", title: "200 B c=32", conns: 32, path: "/", size: small},
	{id: "small-256", title: "200 B c=256", conns: 256, path: "/", size: small},
	{id: "large-32", title: "100 KB c=32", conns: 32, path: "/big", size: large},
	{id: "large-256", title: "100 KB c=256", conns: 256, path: "/big", size: large},
	{id: "h2", title: "h2 c=8 m=16", conns: 8, path: "/", size: small, h2: true},
	{id: "open", title: "open loop", conns: openConns, path: "/", size: small, open: true},
}

// memoryAfter names the load after which memory is read.
const memoryAfter = "small-256"

// sample is one run of one load on one peer.
type sample struct {
	Round    int           `json:"round"`
	Peer     string        `json:"peer"`
	Load     string        `json:"load"`
	Requests int64         `json:"requests"`
	Failed   int64         `json:"failed"`          // answers that are not 2xx or are short, and socket errors
	CPU      time.Duration `json:"cpu_ns"`          // of the peer during the run
	Wall     time.Duration `json:"wall_ns"`         //
	Memory   int64         `json:"rss,omitempty"`   // bytes after the run
	Foreign  time.Duration `json:"foreign_ns"`      // others worked on the peer's core
	P50      time.Duration `json:"p50_ns,omitzero"` // of the open loop
	P90      time.Duration `json:"p90_ns,omitzero"`
	P99      time.Duration `json:"p99_ns,omitzero"`
}

// perRequest is the CPU time of a request in microseconds.
func (s sample) perRequest() float64 {
	return float64(s.CPU.Nanoseconds()) / 1e3 / float64(s.Requests)
}

// fits says whether a peer can be asked that way.
func (p *peer) fits(l loadKind) bool {
	return (!l.h2 || p.h2 != "") && (l.open || p.name != "direct")
}

// run asks one peer in one way for that long.
func (b *bench) run(ctx context.Context, p *peer, l loadKind, length time.Duration) (sample, error) {
	s := sample{Peer: p.name, Load: l.id}
	pid := p.proc.cmd.Process.Pid
	core := b.lab.proxyCore
	if p == b.direct {
		core = b.lab.loadCore
	}
	busyBefore, err := busy(core)
	if err != nil {
		return s, err
	}
	before, err := cpuOf(pid)
	if err != nil {
		return s, err
	}
	began := time.Now()
	switch {
	case l.open:
		err = b.openLoop(ctx, p, length, &s)
	case l.h2:
		err = b.h2load(ctx, p, l, length, &s)
	default:
		err = b.wrk(ctx, p, l, length, &s)
	}
	if err != nil {
		return s, fmt.Errorf("%s, %s: %w", p.name, l.title, err)
	}
	s.Wall = time.Since(began)
	after, err := cpuOf(pid)
	if err != nil {
		return s, err
	}
	busyAfter, err := busy(core)
	if err != nil {
		return s, err
	}
	if s.Memory, err = memoryOf(pid); err != nil {
		return s, err
	}
	s.CPU = after - before
	s.Foreign = max(0, busyAfter-busyBefore-s.CPU)
	if s.Requests == 0 {
		return s, fmt.Errorf("%s, %s: nothing was answered", p.name, l.title)
	}
	return s, p.proc.alive()
}

func (b *bench) wrk(ctx context.Context, p *peer, l loadKind, length time.Duration, s *sample) error {
	out, err := b.lab.tool(ctx, "wrk", "-t1", "-c"+strconv.Itoa(l.conns), fmt.Sprintf("-d%ds", int(length.Seconds())),
		"--timeout", "10s", "-s", b.script, "http://"+p.addr+l.path)
	if err != nil {
		return err
	}
	return s.fromWrk(out, l.size)
}

var (
	wrkResult = regexp.MustCompile(`(?m)^result requests=(\d+) bytes=(\d+) connect=(\d+) read=(\d+) write=(\d+) timeout=(\d+) status=(\d+)$`)
	h2Done    = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2Status  = regexp.MustCompile(`status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx`)
	h2Data    = regexp.MustCompile(`\((\d+)\) data`)
)

// fromWrk reads what the script in conf/load.lua says at the end. wrk counts
// every status above 399 as an error; nothing here answers 1xx or 3xx.
func (s *sample) fromWrk(out string, size int) error {
	n, err := numbers(wrkResult, out)
	if err != nil {
		return err
	}
	s.Requests = n[0]
	for _, bad := range n[2:] {
		s.Failed += bad
	}
	if n[1] < n[0]*int64(size) { // fewer bytes than the bodies have: some came short
		s.Failed += n[0] - n[1]/int64(size)
	}
	return nil
}

func (b *bench) h2load(ctx context.Context, p *peer, l loadKind, length time.Duration, s *sample) error {
	out, err := b.lab.tool(ctx, "h2load", "-t1", "-c"+strconv.Itoa(l.conns), "-m"+strconv.Itoa(streams),
		"-D"+strconv.Itoa(int(length.Seconds())), "-HCookie: slipway_id=0123456789abcdef0123456789abcdef", "http://"+p.h2+l.path)
	if err != nil {
		return err
	}
	return s.fromH2load(out, l.size)
}

// fromH2load reads h2load's summary.
func (s *sample) fromH2load(out string, size int) error {
	done, err := numbers(h2Done, out)
	if err != nil {
		return err
	}
	status, err := numbers(h2Status, out)
	if err != nil {
		return err
	}
	data, err := numbers(h2Data, out)
	if err != nil {
		return err
	}
	s.Requests = done[1]
	s.Failed = done[2] + done[3] + done[4] + status[1] + status[2] + status[3]
	if data[0] < s.Requests*int64(size) {
		s.Failed += s.Requests - data[0]/int64(size)
	}
	return nil
}

func numbers(re *regexp.Regexp, out string) ([]int64, error) {
	m := re.FindStringSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("bench: no %q in what the load generator said: %s", re, strings.TrimSpace(out))
	}
	n := make([]int64, len(m)-1)
	for i, digits := range m[1:] {
		var err error
		if n[i], err = strconv.ParseInt(digits, 10, 64); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
	}
	return n, nil
}

// openLoop runs this program itself as the client, pinned like the others.
func (b *bench) openLoop(ctx context.Context, p *peer, length time.Duration, s *sample) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	out, err := b.lab.tool(ctx, self, openLoopArg, p.addr, length.String())
	if err != nil {
		return err
	}
	var r openResult
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return fmt.Errorf("bench: open loop: %w: %s", err, out)
	}
	s.Requests, s.Failed, s.P50, s.P90, s.P99 = r.Requests, r.Failed, r.P50, r.P90, r.P99
	return nil
}
