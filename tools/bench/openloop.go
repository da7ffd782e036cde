package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// openLoopArg makes this program the open-loop client.
const openLoopArg = "open-loop"

// openResult is what the client prints.
type openResult struct {
	Requests int64         `json:"requests"`
	Failed   int64         `json:"failed"`
	P50      time.Duration `json:"p50"`
	P90      time.Duration `json:"p90"`
	P99      time.Duration `json:"p99"`
}

// openLoop sends openRate requests a second over openConns connections,
// whether or not earlier ones were answered. The time of a request runs from
// the moment it was due to be sent, the wait for a free connection included, so
// that a slow proxy cannot slow its own clock (coordinated omission).
func openLoop(ctx context.Context, addr string, length time.Duration) (openResult, error) {
	due := make(chan time.Time, int(length.Seconds()*openRate)+1) // room for all: sending never waits
	took := make([][]time.Duration, openConns)
	errs := make([]error, openConns)
	var all sync.WaitGroup
	for i := range openConns {
		c, err := dialOpen(ctx, addr)
		if err != nil {
			return openResult{}, err
		}
		defer func() { _ = c.conn.Close() }()
		all.Go(func() { took[i], errs[i] = c.serve(due) })
	}
	ticker := time.NewTicker(time.Second / openRate)
	defer ticker.Stop()
	end := time.Now().Add(length)
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; {
		now = <-ticker.C
		due <- now
	}
	close(due)
	all.Wait()
	var sorted []time.Duration
	var r openResult
	for i := range took {
		sorted = append(sorted, took[i]...)
		if errs[i] != nil {
			r.Failed++
		}
	}
	if len(sorted) == 0 {
		return r, fmt.Errorf("bench: open loop: nothing was answered: %w", errors.Join(append(errs, ctx.Err())...))
	}
	slices.Sort(sorted)
	r.Requests = int64(len(sorted))
	r.P50, r.P90, r.P99 = quantile(sorted, 0.5), quantile(sorted, 0.9), quantile(sorted, 0.99)
	return r, ctx.Err()
}

// quantile is the nearest rank of sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// openConn is one connection of the open loop.
type openConn struct {
	conn net.Conn
	in   *bufio.Reader
	ask  []byte
}

func dialOpen(ctx context.Context, addr string) (*openConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("bench: open loop: %w", err)
	}
	ask := fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\nCookie: slipway_id=%032x\r\n\r\n", addr, conn.LocalAddr().(*net.TCPAddr).Port)
	return &openConn{conn: conn, in: bufio.NewReader(conn), ask: []byte(ask)}, nil
}

// serve sends one request for each that is due. The first failure ends it.
func (c *openConn) serve(due <-chan time.Time) ([]time.Duration, error) {
	var took []time.Duration
	for at := range due {
		if err := c.once(); err != nil {
			return took, err
		}
		took = append(took, time.Since(at))
	}
	return took, nil
}

func (c *openConn) once() error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.ask); err != nil {
		return err
	}
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || n != small {
		return fmt.Errorf("answered %s with %d bytes", res.Status, n)
	}
	return nil
}

// runOpenLoop is the program when it is the client: ADDR LENGTH.
func runOpenLoop(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("bench: open-loop wants an address and a length")
	}
	length, err := time.ParseDuration(args[1])
	if err != nil {
		return fmt.Errorf("bench: open-loop: %w", err)
	}
	r, err := openLoop(ctx, args[0], length)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}
