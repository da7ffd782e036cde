package controltest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Way is how the instances of a version behave. The zero value is ready at once
// and answers every request in a few milliseconds.
type Way struct {
	Start  time.Duration // until it is ready
	Crash  string        // it says this and exits, again and again
	Sick   string        // it never gets ready; what its health check answers
	Fail   float64       // share of requests that it fails
	Says   string        // why, in the samples of failed requests
	Slower float64       // its times by this factor; 0 is 1
}

// Machine is a workload driver in memory; Plane is the data plane over it. It is
// safe for concurrent use and outlives the loops over it; make it with New.
type Machine struct {
	mu      sync.Mutex
	ways    map[string]Way // by version
	runs    map[workload.ID]*run
	started int // instances so far
	lines   []workload.LogLine
	written chan struct{} // closed and replaced when a line is written
	bell    chan struct{}

	table   traffic.Table
	deaf    bool // the data plane does not answer
	turned  map[string]int64
	callers []Callers
	asked   int64 // second up to which callers were answered
	blocks  []traffic.Block
	forgot  int // blocks before those
	failed  []traffic.Sample
	dice    *rand.Rand
}

type run struct {
	spec    workload.Spec
	port    int
	started time.Time
}

var _ workload.Driver = (*Machine)(nil)

// New returns a machine on which nothing runs and nobody calls.
func New() *Machine {
	return &Machine{
		ways: map[string]Way{}, runs: map[workload.ID]*run{}, turned: map[string]int64{},
		bell: make(chan struct{}, 1), written: make(chan struct{}), dice: rand.New(rand.NewPCG(1, 1)), // a test has to repeat
	}
}

// Behave says how a version behaves from now on; with another configuration it
// behaves alike.
func (m *Machine) Behave(version string, w Way) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ways[version] = w
	m.ring()
}

// way is how a version behaves. Its caller holds mu.
func (m *Machine) way(version string) Way {
	code, _, _ := strings.Cut(version, "+")
	return m.ways[code]
}

// Ensure implements workload.Driver.
func (m *Machine) Ensure(_ context.Context, s workload.Spec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.runs[s.ID] == nil {
		m.started++
		m.runs[s.ID] = &run{spec: s, port: 20000 + m.started%40000, started: time.Now()}
	}
	m.ring()
	return nil
}

// Stop implements workload.Driver.
func (m *Machine) Stop(_ context.Context, id workload.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.runs, id)
	m.ring()
	return nil
}

// List implements workload.Driver.
func (m *Machine) List(context.Context) ([]workload.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]workload.Status, 0, len(m.runs))
	for _, r := range m.runs {
		out = append(out, m.status(r))
	}
	slices.SortFunc(out, func(a, b workload.Status) int { return cmp.Compare(a.Spec.ID, b.Spec.ID) })
	return out, nil
}

// status is what is known of one instance. Its caller holds mu.
func (m *Machine) status(r *run) workload.Status {
	s := workload.Status{Spec: r.spec, Phase: workload.Starting, Addr: fmt.Sprintf("127.0.0.1:%d", r.port), Started: r.started, Since: r.started, PID: r.port}
	switch w, up := m.way(r.spec.Version), time.Since(r.started); {
	case w.Crash != "":
		s.Phase, s.Restarts, s.LastExit, s.Tail = workload.Backoff, int(up/time.Second), "exit status 1", []string{w.Crash}
	case w.Sick != "":
		s.Probe = w.Sick
	case up >= w.Start:
		s.Phase = workload.Ready
	}
	return s
}

// Say makes an instance write a line; its ID need not be of one that runs.
func (m *Machine) Say(id workload.ID, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, workload.LogLine{At: time.Now(), ID: id, Stream: "stdout", Text: text})
	close(m.written)
	m.written = make(chan struct{})
}

// Logs implements workload.Driver.
func (m *Machine) Logs(ctx context.Context, q workload.LogQuery, line func(workload.LogLine) bool) error {
	for sent := 0; ; {
		m.mu.Lock()
		lines, written := slices.Clone(m.lines), m.written
		m.mu.Unlock()
		lines = slices.DeleteFunc(lines, func(l workload.LogLine) bool { return !wanted(q, l) })
		if q.Tail > 0 && sent == 0 && len(lines) > q.Tail {
			sent = len(lines) - q.Tail
		}
		for ; sent < len(lines); sent++ {
			if !line(lines[sent]) {
				return nil
			}
		}
		if !q.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-written:
		}
	}
}

// wanted reports whether a query selects a line, by the parts of its instance's ID.
func wanted(q workload.LogQuery, l workload.LogLine) bool {
	part := strings.SplitN(string(l.ID), ".", 4)
	for i, want := range []string{q.Env, q.Service, string(q.Release)} {
		if want != "" && (i >= len(part) || part[i] != want) {
			return false
		}
	}
	return q.Want == nil || q.Want(l)
}

// Changed implements workload.Driver.
func (m *Machine) Changed() <-chan struct{} { return m.bell }

func (m *Machine) ring() {
	select {
	case m.bell <- struct{}{}:
	default:
	}
}
