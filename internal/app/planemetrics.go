package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	exposition "github.com/slipway-cd/slipway/internal/proxy/metrics"
)

// Bounds on handing on the data plane's metrics.
const (
	planeTime  = 10 * time.Second
	planeBytes = 64 << 20
)

// plane hands on the data plane's metrics, which its control socket has, to those
// who may read ours: one address and one token for a scraper.
func (a *App) plane() http.Handler {
	c := &http.Client{Timeout: planeTime, Transport: &http.Transport{
		DisableKeepAlives: true, // an upgrade puts another process behind the socket
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			socket, err := a.files.socket()
			if err != nil {
				return nil, err
			}
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		page, err := planePage(r.Context(), c)
		if err != nil {
			a.log.WarnContext(r.Context(), "the data plane's metrics could not be read", slog.Any("error", err))
			http.Error(w, "the data plane does not answer; slipway doctor looks at it", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", exposition.ContentType)
		_, _ = w.Write(page) // a scraper that is gone asks again
	})
}

func planePage(ctx context.Context, c *http.Client) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://proxy/metrics", nil)
	if err != nil {
		return nil, err
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	page, err := io.ReadAll(io.LimitReader(res.Body, planeBytes+1))
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode != http.StatusOK:
		return nil, errors.New(res.Status)
	case len(page) > planeBytes: // a part of it would be a lie
		return nil, errors.New("the page is too long")
	}
	return page, nil
}
