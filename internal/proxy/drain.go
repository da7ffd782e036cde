package proxy

import (
	"context"
	"errors"
	"time"
)

// end lets what is under way finish: answers carry "Connection: close" for as
// long as first, then idle connections are closed, then what is in flight has
// until ctx ends. Streams have less: PlaneLimits.Streams from the beginning on.
func (e *engine) end(ctx context.Context, first time.Duration) error {
	e.ending.Store(true)
	if e.take(ctx) == nil { // a table that is being put in force opens no address behind our back
		e.give()
	}
	e.faults.Clear() // who is delayed must not be cut for it, and a successor cannot take these back
	cut := time.AfterFunc(e.limits().Streams, e.cutStreams)
	defer cut.Stop()
	all := e.everyFront()
	if e.handed.Load() { // the successor must have time to take over what was counted last
		pause(ctx, first)
	} else {
		settle(ctx, first, all...)
	}
	errs := make(chan error, len(all))
	for _, f := range all {
		go func() { errs <- f.finish(ctx) }()
	}
	var err error
	for range all {
		err = errors.Join(err, <-errs)
	}
	upgraded := make(chan struct{})
	go func() {
		e.upgrades.Wait()
		close(upgraded)
	}()
	select {
	case <-upgraded:
	case <-ctx.Done():
	}
	for _, p := range e.everyEndpoint() {
		p.cutStreams()
		p.sever()
		p.client.CloseIdleConnections()
	}
	<-upgraded
	return err
}

// yield stops accepting on every address.
func (e *engine) yield() {
	e.ending.Store(true)
	for _, f := range e.everyFront() {
		f.yield()
	}
}

// drop closes every address at once, when nothing was ever served.
func (e *engine) drop(ctx context.Context) {
	over, stop := context.WithCancel(ctx)
	stop()
	e.yield()
	for _, f := range e.everyFront() {
		_ = f.finish(over)
	}
}

// drainLimit is how long a request may still take that is in flight now: until
// its own time is over, and as long again as a stream has.
func (e *engine) drainLimit() time.Duration {
	longest := defaultTimeout
	for _, r := range e.table.Load().routes {
		longest = max(longest, r.timeout)
	}
	return longest + e.limits().Streams
}

func (e *engine) cutStreams() {
	for _, p := range e.everyEndpoint() {
		p.cutStreams()
	}
}

// everyFront lists the addresses of the table in force, and those that have left.
func (e *engine) everyFront() []*front {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*front, 0, len(e.fronts)+len(e.leaving))
	for _, f := range e.fronts {
		all = append(all, f)
	}
	for f := range e.leaving {
		all = append(all, f)
	}
	return all
}

// everyEndpoint lists the endpoints of the table in force, and those that drain.
func (e *engine) everyEndpoint() []*endpoint {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.table.Load()
	all := make([]*endpoint, 0, len(t.endpoints)+len(e.draining))
	for _, p := range t.endpoints {
		all = append(all, p)
	}
	for p := range e.draining {
		all = append(all, p)
	}
	return all
}

// stream is an answer or an upgraded connection that may last as long as it likes.
type stream interface{ cut() }

// cutStreams breaks off what streams from or to the endpoint now. Requests that
// wait for the head of an answer are left alone.
func (p *endpoint) cutStreams() {
	for _, s := range p.streams.list() {
		s.cut()
	}
}
