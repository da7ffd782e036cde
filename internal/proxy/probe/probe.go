// Package probe asks one instance once whether it can take requests: by a
// connection, an HTTP path or the gRPC health protocol. It keeps no state and
// decides nothing from the answer; its judges are real servers.
package probe

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// Target is what is asked, and how.
type Target struct {
	Addr     string            // host:port
	Protocol delivery.Protocol // of an HTTP check
	Check    traffic.Check
}

// WithDefaults returns c with the documented values in place of zero.
func WithDefaults(c traffic.Check) traffic.Check {
	c.Interval = cmp.Or(c.Interval, time.Second)
	c.Timeout = cmp.Or(c.Timeout, time.Second)
	c.Rise = cmp.Or(c.Rise, 2)
	c.Fall = cmp.Or(c.Fall, 3)
	return c
}

// Ask returns nil when the instance is healthy, and else why not, for people.
// It opens a connection of its own, because a kept one would not notice that
// nobody is accepted any more, and waits at most Check.Timeout.
func Ask(ctx context.Context, t Target) error {
	t.Check = WithDefaults(t.Check)
	ctx, stop := context.WithTimeout(ctx, t.Check.Timeout)
	defer stop()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	switch {
	case t.Check.GRPC != nil:
		return askGRPC(ctx, over(conn, true), t.Addr, *t.Check.GRPC)
	case t.Check.HTTP != "":
		return askHTTP(ctx, over(conn, t.Protocol == delivery.H2C), t)
	}
	return nil
}

// over is a client of one connection and one request, which follows no redirects.
func over(conn net.Conn, h2 bool) *http.Transport {
	t := &http.Transport{
		DialContext:            func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              new(http.Protocols),
	}
	t.Protocols.SetHTTP1(!h2)
	t.Protocols.SetUnencryptedHTTP2(h2)
	return t
}

func askHTTP(ctx context.Context, once *http.Transport, t Target) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.Addr+t.Check.HTTP, nil)
	if err != nil {
		return fmt.Errorf("path %s: %w", t.Check.HTTP, err)
	}
	req.Header.Set("User-Agent", agent)
	res, err := once.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("%s answered %d", t.Check.HTTP, res.StatusCode)
	}
	return nil
}

const agent = "slipway-check"
