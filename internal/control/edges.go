package control

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/ports"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// The range of edge ports: below what the kernel gives to outgoing connections.
const firstEdge, lastEdge = 20000, 29999

// maxClaims is how many edges are kept from other servers at a time: each takes a
// file.
const maxClaims = 256

// edgeName names the listener through which one service calls another.
func edgeName(env, caller, callee string) string { return env + "/" + caller + ">" + callee }

// each calls f for every declared edge of every environment.
func each(p delivery.Project, f func(env, caller, callee string)) {
	for _, env := range p.EnvironmentNames() {
		for _, svc := range p.Services {
			for _, n := range svc.Run.Needs {
				f(env, svc.Name, n.Service)
			}
		}
	}
}

// edges gives every pair of services that call each other a port of their own,
// for ever: an instance keeps the address it was given.
func (l *Loop) edges(ctx context.Context, v *view) (map[string]int, error) {
	l.claims.drop(v.traffic.Listeners)
	have, err := l.d.Store.Allotted(ctx)
	if err != nil {
		return nil, fmt.Errorf("control: edge ports: %w", err)
	}
	var missing []string
	each(v.Project, func(env, caller, callee string) {
		if name := edgeName(env, caller, callee); have[name] == 0 {
			missing = append(missing, name)
		}
	})
	for _, name := range missing {
		err := l.save(ctx, "edge "+name, func(tx *store.Tx) error {
			port, err := tx.Allot(name, func(taken map[int]bool) (int, error) {
				port, claim, err := freePort(taken)
				l.claims.keep(name, claim)
				return port, err
			})
			have[name] = port
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("control: edge port of %s: %w", name, err)
		}
	}
	return have, nil
}

// claims are the ports of edges that this server picked and that the data plane
// does not listen on yet, by the edge: another server that starts at the same moment
// shall not find them free. An edge never gets another port.
type claims map[string]ports.Claim

func (c claims) keep(edge string, claim ports.Claim) {
	c[edge].Drop()
	if len(c) >= maxClaims {
		claim.Drop()
		return
	}
	c[edge] = claim
}

// drop lets go of the ports that the data plane listens on.
func (c claims) drop(open []traffic.ListenerState) {
	for _, ls := range open {
		if ls.Error == "" {
			c[ls.Name].Drop()
			delete(c, ls.Name)
		}
	}
}

// end lets go of all of them.
func (c claims) end() {
	for edge, claim := range c {
		claim.Drop()
		delete(c, edge)
	}
}

// freePort picks a port that is not taken here, that nobody listens on and that no
// other server has picked.
func freePort(taken map[int]bool) (int, ports.Claim, error) {
	const n = lastEdge - firstEdge + 1
	from := rand.IntN(n)
	for i := range n {
		port := firstEdge + (from+i)%n
		if taken[port] {
			continue
		}
		if claim, ok := ports.Take(port); ok {
			return port, claim, nil
		}
	}
	return 0, ports.Claim{}, fmt.Errorf("no free port from %d to %d", firstEdge, lastEdge)
}
