package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// PatienceLimit is how long a lost server is waited for.
const PatienceLimit = 30 * time.Second

// maxLine bounds one line of a stream, in bytes.
const maxLine = 4 << 20

// Events calls each for every ledger line after since that matches the query
// values (change, service), in order and once, until ctx ends or each returns
// false. A server that goes away is waited for, for PatienceLimit, and asked
// again; what it refuses is not asked again.
func (c *Client) Events(ctx context.Context, since int64, query url.Values, each func(delivery.Event) bool) error {
	var lost time.Time
	for {
		opened, on, err := c.events(ctx, &since, query, each)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !on:
			return nil
		case refused(err):
			return err
		case opened:
			lost = time.Time{} // it was there, however it ended
		case lost.IsZero():
			lost = time.Now()
		case time.Since(lost) > PatienceLimit:
			return err
		}
		pause := time.NewTimer(pollTime)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
		_ = c.Again() // while the server is down there may be nothing to find yet
	}
}

// refused reports whether a request would be answered the same if it were sent
// again. A token may be of the server that ran before, so that is no refusal.
func refused(err error) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Status < http.StatusInternalServerError && p.Status != http.StatusUnauthorized && p.Status != http.StatusTooManyRequests
}

// events reads one stream. on is false once each has had enough.
func (c *Client) events(ctx context.Context, since *int64, query url.Values, each func(delivery.Event) bool) (opened, on bool, err error) {
	q := url.Values{}
	maps.Copy(q, query)
	q.Set("since", strconv.FormatInt(*since, 10))
	res, err := c.Open(ctx, Request{Method: http.MethodGet, Path: "/events?" + q.Encode(), Accept: "text/event-stream"})
	if err != nil {
		return false, true, err
	}
	defer func() { _ = res.Body.Close() }() // read to its end or of no use
	lines := wholeLines(res.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		var e delivery.Event
		if err := json.Unmarshal([]byte(strings.TrimSpace(data)), &e); err != nil {
			return true, true, fmt.Errorf("client: event: %w", err)
		}
		if e.Seq <= *since {
			continue
		}
		*since = e.Seq
		if !each(e) {
			return true, false, nil
		}
	}
	return true, true, lines.Err()
}

// wholeLines scans the lines of a stream that may break off: what has no end is
// half a line, and is left out.
func wholeLines(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if !bytes.ContainsRune(data, '\n') {
			return 0, nil, nil
		}
		return bufio.ScanLines(data, atEOF)
	})
	return lines
}
