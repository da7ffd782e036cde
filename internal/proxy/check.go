package proxy

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// withDefaults fills what a check leaves open.
func withDefaults(c traffic.Check) traffic.Check {
	c.Interval = cmp.Or(c.Interval, time.Second)
	c.Timeout = cmp.Or(c.Timeout, time.Second)
	c.Rise = cmp.Or(c.Rise, 2)
	c.Fall = cmp.Or(c.Fall, 3)
	return c
}

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
		c := withDefaults(*p.check.Load())
		if err := p.probe(ctx, c); err == nil {
			good, bad = good+1, 0
			if good >= c.Rise && !p.up.Swap(true) {
				p.log.Info("endpoint passes its check again")
			}
		} else if ctx.Err() == nil {
			good, bad = 0, bad+1
			if bad >= c.Fall {
				p.fell(err)
			}
		}
		// A little jitter, so that the checks of many endpoints do not march in step.
		timer.Reset(c.Interval - c.Interval/10 + rand.N(c.Interval/5+1))
	}
}

func (p *endpoint) fell(why error) {
	p.mu.Lock()
	p.why = "check failed: " + why.Error()
	p.mu.Unlock()
	if p.up.Swap(false) {
		p.log.Warn("endpoint fails its check", slog.Any("why", why))
	}
}

// probe asks the instance once over a fresh connection.
func (p *endpoint) probe(ctx context.Context, c traffic.Check) error {
	ctx, stop := context.WithTimeout(ctx, c.Timeout)
	defer stop()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return err
	}
	if c.HTTP == "" {
		return conn.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.addr+c.HTTP, nil)
	if err != nil {
		return fmt.Errorf("path %s: %w", c.HTTP, err)
	}
	req.Header.Set("User-Agent", "slipway-check")
	// One connection, one request, no redirects: a RoundTripper of its own.
	once := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	defer once.CloseIdleConnections()
	res, err := once.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("%s answered %d", c.HTTP, res.StatusCode)
	}
	return nil
}
