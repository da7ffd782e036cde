// Package loglines counts the lines that instances write, by how bad they are,
// into a store of numbers. It keeps no line and judges nothing; its tests run
// real instances.
package loglines

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/logs"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/workload"
)

// every is how often files are looked at and totals are handed on.
const every = time.Second

// pause is how long a source of lines that failed is left alone.
const pause = 5 * time.Second

// Counter counts until its Run ends.
type Counter struct {
	From workload.Driver
	To   metric.Sink
	Log  *slog.Logger

	mu     sync.Mutex
	totals map[workload.ID]*total // guarded by mu
}

// total is what one instance wrote since its Run began.
type total struct {
	lines, warn, error uint64
}

// of returns the total of an instance; mu is held.
func (c *Counter) of(id workload.ID) *total {
	t := c.totals[id]
	if t == nil {
		t = &total{}
		c.totals[id] = t
	}
	return t
}

// Run counts what is written from now on, until ctx ends. Instances that run are
// told as well when they wrote nothing: no line is a number, too.
func (c *Counter) Run(ctx context.Context) {
	c.totals = map[workload.ID]*total{}
	began := time.Now()
	var reader sync.WaitGroup
	defer reader.Wait()
	reader.Go(func() { c.read(ctx, began) })
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := c.hand(ctx, began, now); err != nil && ctx.Err() == nil {
				c.Log.WarnContext(ctx, "lines of logs cannot be counted", slog.Any("error", err))
			}
		}
	}
}

// read follows all instances. A reader that fails begins again where it was in
// time, so that no line counts twice; what was written meanwhile is missed
// beyond the last lines that a reader begins with.
func (c *Counter) read(ctx context.Context, from time.Time) {
	for {
		err := c.From.Logs(ctx, workload.LogQuery{Follow: true, Every: every, Tail: 1000}, func(l workload.LogLine) bool {
			if l.At.After(from) {
				c.count(l)
			}
			return true
		})
		from = time.Now()
		if ctx.Err() != nil {
			return
		}
		c.Log.WarnContext(ctx, "lines of logs cannot be read; will try again", slog.Any("error", err))
		again := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-again.C:
		}
		again.Stop()
	}
}

func (c *Counter) count(l workload.LogLine) {
	if l.Stream == "slipway" {
		return // what the runner says is not the program's
	}
	level := logs.Parse(l.Text).Level
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.of(l.ID)
	t.lines++
	switch {
	case level >= logs.Error:
		t.error++
	case level == logs.Warn:
		t.warn++
	}
}

// hand gives the totals of the instances that are there, and forgets the others.
func (c *Counter) hand(ctx context.Context, began, now time.Time) error {
	all, err := c.From.List(ctx)
	if err != nil {
		return err
	}
	var out []metric.Sample
	c.mu.Lock()
	there := make(map[workload.ID]*total, len(all))
	for _, s := range all {
		if s.Phase == workload.Stopped {
			continue
		}
		t := c.of(s.Spec.ID)
		there[s.Spec.ID] = t
		for name, n := range map[string]uint64{delivery.LinesAll: t.lines, delivery.LinesWarn: t.warn, delivery.LinesError: t.error} {
			out = append(out, metric.Sample{
				Series: metric.Series{From: delivery.FromLogs, Service: s.Spec.Service, Env: s.Spec.Env, Release: s.Spec.Release, Instance: string(s.Spec.ID), Name: name},
				Kind:   metric.Counter, At: now, Since: began, Value: float64(n),
			})
		}
	}
	c.totals = there
	c.mu.Unlock()
	if refused, why := c.To.Add(out); refused > 0 {
		c.Log.DebugContext(ctx, "counts of lines were refused", slog.Int("refused", refused), slog.String("why", why))
	}
	return nil
}
