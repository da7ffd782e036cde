package proxy

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/slipway-cd/slipway/internal/probe"
	"github.com/slipway-cd/slipway/internal/proxy/redact"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// watch checks the endpoint at once and then for as long as it is in a table.
// It never stops by itself, not even for the only endpoint of a pool.
func (p *endpoint) watch(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var good, bad int
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.gone:
			return
		case <-timer.C:
		}
		c := checkWithDefaults(*p.check.Load())
		if err := probe.Ask(ctx, probe.Target{Addr: p.addr, Protocol: p.protocol, HTTP: c.HTTP, GRPC: c.GRPC, Timeout: c.Timeout}); err == nil {
			good, bad = good+1, 0
			if good >= c.Rise && !p.up.Load() {
				p.rose()
			}
		} else if ctx.Err() == nil && !shortage(err) {
			good, bad = 0, bad+1
			if bad >= c.Fall {
				p.fell(err)
			}
		}
		// A little jitter, so that the checks of many endpoints do not march in step.
		timer.Reset(c.Interval - c.Interval/10 + rand.N(c.Interval/5+1))
	}
}

// checkWithDefaults returns c with the documented values in place of zero.
func checkWithDefaults(c traffic.Check) traffic.Check {
	c.Interval = cmp.Or(c.Interval, time.Second)
	c.Timeout = cmp.Or(c.Timeout, time.Second)
	c.Rise = cmp.Or(c.Rise, 2)
	c.Fall = cmp.Or(c.Fall, 3)
	return c
}

// rose takes the endpoint back in; it is as good as new.
func (p *endpoint) rose() {
	p.fresh.Store(time.Now().UnixNano())
	p.up.Store(true)
	p.stir()
	p.log.Info("endpoint passes its check again")
}

func (p *endpoint) fell(why error) {
	said := redact.Error(why) // it may quote an answer
	p.mu.Lock()
	p.why = "check failed: " + said
	p.mu.Unlock()
	if p.up.Swap(false) {
		p.stir()
		p.log.Warn("endpoint fails its check", slog.String("why", said))
	}
}
