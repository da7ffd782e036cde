package controltest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Plane is the data plane of a machine: what is applied is in force at once.
type Plane struct{ m *Machine }

var _ traffic.Driver = Plane{}

// Plane returns the data plane of the machine.
func (m *Machine) Plane() Plane { return Plane{m} }

var errDeaf = errors.New("the data plane does not answer")

// Deafen makes the data plane answer nothing any more, until Mend.
func (m *Machine) Deafen() { m.hear(true) }

// Mend makes the data plane answer again.
func (m *Machine) Mend() { m.hear(false) }

func (m *Machine) hear(deaf bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deaf = deaf
	m.ring()
}

// Apply implements traffic.Driver.
func (p Plane) Apply(_ context.Context, t traffic.Table) error {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf {
		return errDeaf
	}
	if t.Generation < m.table.Generation {
		return delivery.ErrConflict
	}
	m.answer(time.Now().Unix() - 1) // by the table that was in force
	was := map[string]int64{}
	for _, r := range m.table.Routes {
		was[r.Name] = r.Gen
	}
	for _, r := range t.Routes {
		if gen, known := was[r.Name]; known && gen != r.Gen {
			m.turned[r.Name] = time.Now().Unix()
		}
	}
	m.table = t
	return nil
}

// State implements traffic.Driver.
func (p Plane) State(context.Context) (traffic.State, error) {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf {
		return traffic.State{}, errDeaf
	}
	s := traffic.State{Generation: m.table.Generation, Started: time.Now(), PID: 1, Version: "test"}
	for _, l := range m.table.Listeners {
		s.Listeners = append(s.Listeners, traffic.ListenerState{Name: l.Name, Addr: l.Addr})
	}
	for _, r := range m.table.Routes {
		rs := traffic.RouteState{Name: r.Name, Gen: r.Gen, Preview: r.Preview}
		for _, pool := range r.Pools {
			ps := traffic.PoolState{Release: pool.Release}
			for _, e := range pool.Endpoints {
				ok := m.serves(e)
				if ok {
					ps.Healthy++
				}
				ps.Endpoints = append(ps.Endpoints, traffic.EndpointState{ID: e.ID, Addr: e.Addr, Healthy: ok})
			}
			rs.Split = append(rs.Split, delivery.Share{Release: pool.Release, Weight: pool.Weight})
			rs.Pools = append(rs.Pools, ps)
		}
		s.Routes = append(s.Routes, rs)
	}
	return s, nil
}

// serves reports whether an endpoint is an instance that is ready. Its caller holds mu.
func (m *Machine) serves(e traffic.Endpoint) bool {
	r := m.runs[workload.ID(e.ID)]
	return r != nil && m.status(r).Phase == workload.Ready
}

// Watch implements traffic.Driver.
func (p Plane) Watch(ctx context.Context, since int64, frame func(traffic.Frame)) error {
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	var at reading
	for {
		f, err := p.m.frame(since, &at)
		if err != nil {
			return err
		}
		frame(f)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// reading is how far somebody who watches has read.
type reading struct{ blocks, failed int }

// frame is what was counted since the reading before.
func (m *Machine) frame(since int64, at *reading) (traffic.Frame, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deaf {
		return traffic.Frame{}, errDeaf
	}
	m.answer(time.Now().Unix() - 1)
	f := traffic.Frame{At: time.Now(), Boot: "test", Failed: slices.Clone(m.failed[at.failed:])}
	for _, b := range m.blocks[max(at.blocks-m.forgot, 0):] {
		if b.Second >= since {
			f.Blocks = append(f.Blocks, b)
		}
	}
	*at = reading{blocks: m.forgot + len(m.blocks), failed: len(m.failed)}
	return f, nil
}
