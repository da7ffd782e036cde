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
)

// Target is what is asked, and how: HTTP or GRPC, or with neither whether the
// port accepts a connection.
type Target struct {
	Addr     string            // host:port
	Protocol delivery.Protocol // of an HTTP check
	HTTP     string            // path; any 2xx is healthy
	GRPC     *string           // service name for grpc.health.v1.Health/Check, "" for the whole server
	Timeout  time.Duration     // 0 means 1 s
}

// Ask returns nil when the instance is healthy, and else why not, for people.
// It opens a connection of its own, because a kept one would not notice that
// nobody is accepted any more, and waits at most Timeout.
func Ask(ctx context.Context, t Target) error {
	ctx, stop := context.WithTimeout(ctx, cmp.Or(t.Timeout, time.Second))
	defer stop()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", t.Addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	switch {
	case t.GRPC != nil:
		return askGRPC(ctx, over(conn, true), t.Addr, *t.GRPC)
	case t.HTTP != "":
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.Addr+t.HTTP, nil)
	if err != nil {
		return fmt.Errorf("path %s: %w", t.HTTP, err)
	}
	req.Header.Set("User-Agent", agent)
	res, err := once.RoundTrip(req)
	if err != nil {
		return err
	}
	_ = res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("%s answered %d", t.HTTP, res.StatusCode)
	}
	return nil
}

const agent = "slipway-check"
