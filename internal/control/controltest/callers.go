package controltest

import (
	"fmt"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/workload"
)

// Callers ask a service all the time. Each request is of a caller of its own.
type Callers struct {
	From    string // the service that calls; "" is from outside
	Env     string
	Service string
	Rate    int    // requests a second
	Path    string // "" is "/"
}

// Bounds of what is counted.
const (
	kept    = 900 // seconds of blocks
	missed  = 60  // seconds that are made up for when nobody looked
	sampled = 5   // failed requests shown of one block
)

// Call lets callers ask from now on; those of the same way from and to are replaced.
func (m *Machine) Call(c Callers) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answer(time.Now().Unix() - 1)
	for i, old := range m.callers {
		if old.From == c.From && old.Env == c.Env && old.Service == c.Service {
			m.callers[i] = c
			return
		}
	}
	m.callers = append(m.callers, c)
}

// Fail shows a request as failed that no callers of Call made.
func (m *Machine) Fail(s traffic.Sample) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed = append(m.failed, s)
}

// Count tells of requests that no callers of Call made.
func (m *Machine) Count(blocks ...traffic.Block) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocks = append(m.blocks, blocks...)
}

// answer answers the callers of each second up to last by the table in force. Its
// caller holds mu.
func (m *Machine) answer(last int64) {
	m.asked = max(m.asked, last-missed)
	for m.asked < last {
		m.asked++
		for _, c := range m.callers {
			for _, r := range m.table.Routes {
				if r.Env == c.Env && r.Service == c.Service {
					m.ask(c, r)
				}
			}
		}
	}
	for len(m.blocks) > 0 && m.blocks[0].Second < last-kept {
		m.blocks = m.blocks[1:]
		m.forgot++
	}
}

// ask is what callers make of a route in one second. Its caller holds mu.
func (m *Machine) ask(c Callers, r traffic.Route) {
	for _, p := range r.Pools {
		n := uint64(0)
		for range c.Rate {
			if m.dice.Float64() < float64(p.Weight)/float64(delivery.Full) {
				n++
			}
		}
		if n == 0 {
			continue
		}
		turned := m.turned[r.Name]
		b := traffic.Block{
			Route: r.Name, Release: p.Release, Caller: c.From, Second: m.asked, Gen: r.Gen, Share: p.Weight,
			Mixed: turned == m.asked || turned == m.asked+1, Requests: n, Units: n, Bins: map[int]uint32{},
		}
		m.carry(&b, c, p)
		m.blocks = append(m.blocks, b)
	}
}

// carry gives the requests of a block to the instances of a pool. Its caller holds mu.
func (m *Machine) carry(b *traffic.Block, c Callers, p traffic.Pool) {
	up := ""
	for _, e := range p.Endpoints {
		if m.serves(e) {
			up = e.ID
		}
	}
	w := m.way(p.Version)
	slower := max(w.Slower, 1)
	for range b.Units {
		roll := m.dice.Float64()
		took := (0.004 + 0.01*roll*roll) * slower
		switch {
		case up == "":
			b.Connect++
			b.UnitsBad++
			continue
		case m.dice.Float64() < w.Fail:
			b.Server++
			b.UnitsBad++
			if b.UnitsBad <= sampled {
				m.failed = append(m.failed, m.sample(b, c, up, time.Duration(took*float64(time.Second))))
			}
		default:
			b.OK++
		}
		b.Bins[analysis.Bin(took)]++
	}
}

// sample is one failed request as a data plane shows it. Its caller holds mu.
func (m *Machine) sample(b *traffic.Block, c Callers, endpoint string, took time.Duration) traffic.Sample {
	path := c.Path
	if path == "" {
		path = "/"
	}
	says := ""
	if r := m.runs[workload.ID(endpoint)]; r != nil {
		says = m.way(r.spec.Version).Says
	}
	return traffic.Sample{
		At: time.Unix(b.Second, 0), Route: b.Route, Release: b.Release, Caller: b.Caller, Method: "POST", Path: path, Status: 502, Error: says,
		Took: took, Endpoint: endpoint, Trace: fmt.Sprintf("%016x%016x", m.dice.Uint64(), m.dice.Uint64()),
	}
}
