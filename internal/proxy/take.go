package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/handover"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// takeLimit is how long a successor waits for its predecessor's next word. It is
// longer than handLimit: it is the predecessor that gives up and says so.
const takeLimit = handLimit + 10*time.Second

// succeed takes the place of the process that started this one, and returns the
// socket of the control API when requests are accepted.
func (e *engine) succeed(ctx context.Context, before *handover.Predecessor) (net.Listener, error) {
	ctx, stop := context.WithTimeoutCause(ctx, takeLimit, errors.New("the predecessor fell silent"))
	defer stop()
	e.step("start")
	estate, locks, sockets, err := before.Take(ctx, e.version)
	if err != nil {
		return nil, errors.Join(err, before.Conn().Close())
	}
	e.step("taken")
	e.seat.locks = append(e.seat.locks, locks...)
	e.boot, e.succeeds = estate.Boot, true
	inherited := adopt(e.log, estate.Listeners, sockets)
	ready, control, err := e.prepare(ctx, estate, inherited)
	if err != nil {
		return nil, errors.Join(err, before.Failed(ctx, err))
	}
	e.step("ready")
	alone, err := before.Ready(ctx)
	if err != nil {
		return nil, errors.Join(err, control.Close(), before.Conn().Close())
	}
	e.step("go")
	if err := e.seat.take(); err != nil {
		return nil, errors.Join(err, control.Close(), before.Failed(ctx, err))
	}
	e.install(ready.table, ready.fronts)
	e.disturbOn(ready.faults, time.Now())
	if alone {
		e.legacy.settle(e.counts.epoch.Load())
		e.log.Warn("the predecessor died while it handed over; its place is taken")
		_ = before.Conn().Close()
		return control, nil
	}
	e.step("serving")
	old, err := e.follows(ctx, estate.PID, before)
	if err != nil {
		e.legacy.settle(e.counts.epoch.Load())
		e.log.Warn("the predecessor died as its place was taken", slog.Any("why", err))
		_ = before.Conn().Close()
		return control, nil
	}
	e.elder.Store(old)
	e.spawn(func(ctx context.Context) { e.mourn(ctx, old) })
	return control, nil
}

// follows tells the predecessor that requests are accepted here, from when on
// the socket is a connection to it.
func (e *engine) follows(ctx context.Context, pid int, before *handover.Predecessor) (*elder, error) {
	if err := before.Serving(ctx); err != nil {
		return nil, err
	}
	return newElder(ctx, pid, before.Conn(), e.log)
}

// prepared is a table that is ready to be put in force.
type prepared struct {
	table  *table
	fronts []*front
	faults []traffic.FaultState
}

// prepare does all that may fail, and nothing that shows.
func (e *engine) prepare(ctx context.Context, estate handover.Estate, inherited map[string]net.Listener) (prepared, net.Listener, error) {
	var none prepared
	if estate.Protocol != handover.Protocol {
		return none, nil, fmt.Errorf("the running data plane hands over by protocol %d, this binary by %d: stop that one and start this one instead", estate.Protocol, handover.Protocol)
	}
	var known memory
	if err := json.Unmarshal(estate.State, &known); err != nil {
		return none, nil, fmt.Errorf("the predecessor's state: %w", err)
	}
	spec, err := e.disk.inForce()
	if err != nil {
		return none, nil, err
	}
	if spec.Generation != estate.Generation {
		return none, nil, fmt.Errorf("the table on disk has generation %d, the one in force %d", spec.Generation, estate.Generation)
	}
	t, err := compile(spec, nil, e.builder())
	if err != nil {
		return none, nil, err
	}
	t.remember(known.State)
	e.keepOut(t)
	control, err := e.seat.open(ctx)
	if err != nil {
		return none, nil, fmt.Errorf("control socket: %w", err)
	}
	fronts := e.bindNew(ctx, t, inherited)
	for addr, ln := range inherited {
		if t.listeners[addr] == nil {
			_ = ln.Close() // it has left the table since
		}
	}
	for _, b := range known.Blocks {
		e.legacy.take(b, e.counts.epoch.Load())
	}
	return prepared{t, fronts, known.Faults}, control, nil
}

// adopt makes listeners of the sockets that came with their addresses.
func adopt(log *slog.Logger, addrs []string, sockets []*os.File) map[string]net.Listener {
	inherited := map[string]net.Listener{}
	for i, f := range sockets {
		ln, err := net.FileListener(f)
		if err != nil {
			log.Error("an inherited listener cannot be used, binding it anew", slog.String("addr", addrs[i]), slog.Any("error", err))
		} else {
			inherited[addrs[i]] = ln
		}
		_ = f.Close() // the listener has a descriptor of its own
	}
	return inherited
}

// remember makes endpoints as unhealthy as the predecessor knew them, until
// their own checks say otherwise.
func (t *table) remember(s traffic.State) {
	for _, r := range s.Routes {
		for _, p := range r.Pools {
			for _, es := range p.Endpoints {
				if ep := t.endpoints[endpointKey{es.ID, es.Addr}]; ep != nil && !es.Healthy && es.Drained == nil {
					ep.mu.Lock()
					ep.why = es.Why
					ep.mu.Unlock()
					ep.up.Store(false)
				}
			}
		}
	}
}

// disturbOn goes on with a predecessor's faults for what is left of their leases.
func (e *engine) disturbOn(faults []traffic.FaultState, now time.Time) {
	for _, f := range faults {
		if f.Lease = f.Until.Sub(now); f.Lease <= 0 {
			continue
		}
		if _, _, err := e.disturb(f.Fault); err != nil {
			e.log.Warn("a fault ends with the predecessor", slog.String("fault", f.ID), slog.Any("why", err))
		}
	}
}
