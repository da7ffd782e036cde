package process

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/workload"
)

// run is one life of the application under a keeper.
type run struct {
	k       *keeper
	c       *child
	bounds  *bounds
	health  health
	err     error  // it could not be started
	killed  string // why the keeper killed it
	probe   string // last failed health check
	starved bool   // the kernel killed it for want of memory
	served  bool   // it was ready once
	since   time.Time
}

// begin starts the application. What fails is in err and in the record.
func (k *keeper) begin() *run {
	spec := k.w.Spec
	r := &run{k: k}
	k.log.forget()
	k.r.settle(workload.Starting)
	k.r.Tail = nil
	if k.r.Port, r.err = k.claim.pick(k.r.Port, k.w.Tuning.PortLow, k.w.Tuning.PortHigh); r.err != nil {
		return r
	}
	var path string
	if path, r.err = lookCommand(spec.Bundle, spec.Run.Command[0], pathOf(spec.Vars)); r.err != nil {
		return r
	}
	tree := hierarchy{}
	if !k.w.Tuning.NoGroups {
		tree = cgroups()
	}
	r.bounds = bind(tree, groupName(k.dir), spec.Run.Limits)
	k.r.Limits = r.bounds.words
	o := order{Path: path, Argv: spec.Run.Command, Env: environ(spec.Vars, k.r.Port), Files: uint64(max(spec.Run.Limits.OpenFiles, 0))}
	r.c, r.err = k.nursery.startChild(o, spec.Bundle, k.log, r.bounds.admit, func(id identity) error {
		k.r.Child, k.r.Started = id, time.Now().UTC()
		return k.save()
	})
	if r.err != nil {
		return r
	}
	r.since = time.Now()
	k.log.say("started %s as pid %d on port %d%s", strings.Join(o.Argv, " "), r.c.id.PID, k.r.Port, listed(r.bounds.words))
	h := withDefaults(spec.Run.Health)
	r.health = health{rise: h.Rise, fall: h.Fall}
	return r
}

func listed(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return ", bounded to " + strings.Join(words, ", ")
}

// watch stays with the application until it ends or ctx does.
func (r *run) watch(ctx context.Context) {
	probing, enough := context.WithCancel(ctx)
	var wg sync.WaitGroup
	probes, asked := make(chan error), make(chan time.Duration)
	p := r.prober()
	wg.Go(func() { ask(probing, p, asked, probes) })
	defer wg.Wait()
	defer enough()
	k := r.k
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	next := time.Duration(0)
	ready := asked
	for {
		select {
		case ready <- next:
			ready = nil // until the answer is here
		case err := <-probes:
			r.see(err)
			next, ready = r.health.wait(p.spec.Interval), asked
		case <-tick.C:
			k.r.Strays = k.nursery.strays(r.c)
			k.keepTrying()
			if why := r.bounds.over(r.c.group()); why != "" && r.killed == "" {
				r.killed = why
				r.kill()
			}
		case <-r.c.ended:
			return
		case <-ctx.Done():
			enough()
			wg.Wait() // so that a health command is not taken for the application
			r.stop()
			return
		}
	}
}

// ask probes each time it is told how long to wait before.
func ask(ctx context.Context, p *prober, asked <-chan time.Duration, probes chan<- error) {
	for {
		select {
		case wait := <-asked:
			if pause(ctx, wait) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
		err := p.once(ctx)
		select {
		case probes <- err:
		case <-ctx.Done():
			return
		}
	}
}

func (r *run) prober() *prober {
	k := r.k
	spec := k.w.Spec
	return &prober{
		spec: withDefaults(spec.Run.Health), port: k.r.Port, bundle: spec.Bundle, since: r.since,
		env: environ(spec.Vars, k.r.Port), path: pathOf(spec.Vars),
		start: k.nursery.start, wait: k.nursery.wait, group: r.c.group, client: newClient(spec.Run.Protocol),
	}
}

// see takes in the answer to one probe.
func (r *run) see(err error) {
	k := r.k
	h := k.w.Spec.Run.Health
	byNet := h.HTTP != "" || h.GRPC != nil || h.TCP
	if err == nil && byNet && !r.health.ready {
		err = notOurs(r.c.group(), k.r.Port)
	}
	changed := r.health.see(err == nil)
	if err != nil {
		r.probe = err.Error()
		k.r.Probe = r.probe
	}
	switch {
	case r.health.ready && changed:
		r.served = true
		k.r.to(workload.Ready)
		k.log.say("ready after %s", time.Since(r.since).Round(time.Millisecond))
	case changed:
		k.r.to(workload.Unready)
		k.log.say("not ready: %s", r.probe)
	}
	if r.health.ready {
		k.r.Tail = nil
		if err == nil {
			k.r.Probe, r.probe = "", ""
		}
	} else {
		k.r.Tail = k.log.last()
	}
	k.keepTrying()
}

// stop ends the application: SIGTERM to its group and to what left it, its
// grace, then SIGKILL.
func (r *run) stop() {
	k := r.k
	grace := k.w.Spec.Run.Stop.Grace
	if grace <= 0 {
		grace = defaultGrace
	}
	k.r.to(workload.Stopping)
	k.r.Probe = ""
	k.keepTrying()
	k.log.say("stopping; it has %s", grace)
	others := k.nursery.strays(r.c)
	if r.c.id.runs() {
		unix.Kill(-r.c.id.PID, unix.SIGTERM) //nolint:errcheck // it may be ending by itself
	} else {
		others = r.c.group() // the number of its group may be another's by now
	}
	for _, p := range others {
		p.signal(unix.SIGTERM) //nolint:errcheck // it may be ending by itself
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for len(r.c.group()) > 0 {
		select {
		case <-look.C:
		case <-limit.C:
			k.log.say("killed: it did not end within %s", grace)
			k.r.LastExit = "signal: killed (it did not end within " + grace.String() + ")"
			return // close kills
		}
	}
	<-r.c.ended
	k.r.LastExit = exitWords(r.c.exit)
}

func (r *run) kill() {
	if err := killAll(r.c.group); err != nil {
		r.k.log.say("%v", err)
	}
}

// close ends all that is left of this life.
func (r *run) close() {
	if r.c != nil {
		r.kill()
		<-r.c.ended
		r.c.drain()
	}
	if r.bounds != nil {
		r.starved = r.bounds.overMemory()
		r.bounds.release()
	}
}

// why says how this life ended.
func (r *run) why() string {
	switch {
	case r.err != nil:
		return r.err.Error()
	case r.killed != "":
		return "killed: " + r.killed
	case r.starved:
		return exitWords(r.c.exit) + ": " + memoryWords(r.k.w.Spec.Run.Limits.MemoryBytes)
	}
	return exitWords(r.c.exit)
}

// steady reports whether it served for so long that its end is not the next
// turn of a crash loop.
func (r *run) steady(least time.Duration) bool {
	return r.served && time.Since(r.since) >= least
}

// backoff doubles from BackoffMin with each quick exit up to BackoffMax, and
// takes up to a fifth off, so that many instances do not start in step.
func backoff(quick int, t Tuning) time.Duration {
	d := t.BackoffMin
	for range min(quick, 30) {
		if d *= 2; d >= t.BackoffMax {
			d = t.BackoffMax
			break
		}
	}
	return d - time.Duration(rand.Int64N(int64(d)/5+1))
}
