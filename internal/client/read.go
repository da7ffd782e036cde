package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
)

// Read gets the object at path, as a value and as the bytes it came in, so that
// whoever prints it loses nothing that this build does not know.
func Read[T any](ctx context.Context, c *Client, path string) (T, json.RawMessage, error) {
	var (
		value T
		raw   json.RawMessage
	)
	if err := c.Do(ctx, http.MethodGet, path, nil, &raw); err != nil {
		return value, nil, err
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return value, raw, fmt.Errorf("client: answer of %s: %w", path, err)
	}
	return value, raw, nil
}

// List is one page of a list, with the cursor of the next; "" on the last.
type List[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// PutHold pins an environment of a service, or quarantines a version of it.
func (c *Client) PutHold(ctx context.Context, q control.HoldRequest) (control.Held, error) {
	var out control.Held
	err := c.Do(ctx, http.MethodPost, "/holds", q, &out)
	return out, err
}

// Lines calls each for every line of a stream, as it came, until the stream or
// ctx ends or each returns an error, which it returns.
func (c *Client) Lines(ctx context.Context, path string, each func(line json.RawMessage) error) error {
	res, err := c.Open(ctx, Request{Method: http.MethodGet, Path: path, Accept: "application/x-ndjson"})
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // read to its end or of no use
	lines := wholeLines(res.Body)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := each(bytes.Clone(lines.Bytes())); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("client: %s broke off: %w", path, err)
	}
	return nil
}

// patient asks again while a server that is being started anew does not answer.
func (c *Client) patient(ctx context.Context, ask func() (*http.Response, error)) (*http.Response, error) {
	begun := time.Now()
	tick := time.NewTicker(pollTime)
	defer tick.Stop()
	for {
		res, err := ask()
		if err == nil || !away(err) || time.Since(begun) >= c.Patience {
			return res, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		_ = c.Again() // while the server is down there may be nothing to find yet
	}
}

// pollTime is the time between two questions to a server that is away.
const pollTime = 200 * time.Millisecond
