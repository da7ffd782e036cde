package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-cd/slipway/internal/artifact"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// Whole is one change with its rollouts.
type Whole struct {
	Change   delivery.Change    `json:"change"`
	Rollouts []delivery.Rollout `json:"rollouts"`
	Release  delivery.Release   `json:"release"`
	Holds    []delivery.Hold    `json:"holds"`
}

// items is a page of a list.
type items[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// Project returns the project in force and the file it came from.
func (c *Client) Project(ctx context.Context) (delivery.Project, string, error) {
	var out struct {
		Project delivery.Project `json:"project"`
		Source  string           `json:"source"`
	}
	err := c.Do(ctx, http.MethodGet, "/project", nil, &out)
	return out.Project, out.Source, err
}

// PutProject puts the project of a file in force. dir is the absolute folder of the file.
func (c *Client) PutProject(ctx context.Context, file, dir string, src []byte) (delivery.Project, bool, error) {
	var out struct {
		Project delivery.Project `json:"project"`
		Changed bool             `json:"changed"`
	}
	q := url.Values{"file": {file}, "dir": {dir}}
	err := c.Send(ctx, Request{Method: http.MethodPut, Path: "/project?" + q.Encode(), Type: "application/yaml", Body: strings.NewReader(string(src))}, &out)
	return out.Project, out.Changed, err
}

// Upload packs a folder or file and gives it to the server. It does not ask
// first (Expect: 100-continue): a Go server hangs up at once on who did and is
// refused later on, and the refusal is lost.
func (c *Client) Upload(ctx context.Context, path string) (delivery.Digest, error) {
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := artifact.Pack(ctx, path, w)
		packed <- err
		w.CloseWithError(err)
	}()
	var out struct {
		Digest delivery.Digest `json:"digest"`
	}
	err := c.Send(ctx, Request{Method: http.MethodPost, Path: "/bundles", Type: "application/x-tar", Body: r}, &out)
	_ = r.CloseWithError(errAnswered) // never fails
	if packErr := <-packed; packErr != nil && !errors.Is(packErr, errAnswered) && !errors.Is(packErr, io.ErrClosedPipe) {
		return "", packErr // whatever was sent is half a bundle
	}
	return out.Digest, err
}

// errAnswered ends the packing of what nobody reads any more.
var errAnswered = errors.New("answered early")

// Submit submits a change, once even if it has to be sent again.
func (c *Client) Submit(ctx context.Context, s control.Submission) (control.Submitted, error) {
	var out control.Submitted
	doc, err := json.Marshal(s)
	if err != nil {
		return out, fmt.Errorf("client: %w", err)
	}
	err = c.Send(ctx, Request{Method: http.MethodPost, Path: "/changes", Type: "application/json", Body: strings.NewReader(string(doc)), Key: rand.Text()}, &out)
	return out, err
}

// Change returns one change with its rollouts.
func (c *Client) Change(ctx context.Context, id delivery.ChangeID) (Whole, error) {
	var out Whole
	err := c.Do(ctx, http.MethodGet, fmt.Sprintf("/changes/%d", id), nil, &out)
	return out, err
}

// Live returns one rollout with its measurements.
func (c *Client) Live(ctx context.Context, id delivery.RolloutID) (control.Live, error) {
	var out control.Live
	err := c.Do(ctx, http.MethodGet, "/rollouts/"+string(id), nil, &out)
	return out, err
}

// Ask asks something of a change under way, or, with q.Service set, of whatever
// is under way for that service. verb is one of the API's.
func (c *Client) Ask(ctx context.Context, verb string, q control.Request) (control.Asked, error) {
	var out control.Asked
	path := fmt.Sprintf("/changes/%d/%s", q.Change, verb)
	if q.Service != "" {
		path = "/services/" + url.PathEscape(q.Service) + "/" + verb
	}
	err := c.Do(ctx, http.MethodPost, path, wish{Env: q.Env, Reason: q.Reason, Seen: q.Seen, DryRun: q.DryRun}, &out)
	return out, err
}

// Promote asks for the next environment, or approves a step that waits.
func (c *Client) Promote(ctx context.Context, q control.PromoteRequest) (control.Asked, error) {
	var out control.Asked
	path := fmt.Sprintf("/changes/%d/promote", q.Change)
	if q.Service != "" {
		path = "/services/" + url.PathEscape(q.Service) + "/promote"
	}
	err := c.Do(ctx, http.MethodPost, path, wish{To: q.To, Reason: q.Reason, Seen: q.Seen, DryRun: q.DryRun}, &out)
	return out, err
}

// Rollback goes back.
func (c *Client) Rollback(ctx context.Context, q control.RollbackRequest) (control.RolledBack, error) {
	var out control.RolledBack
	err := c.Do(ctx, http.MethodPost, "/services/"+url.PathEscape(q.Service)+"/rollback", wish{Env: q.Env, To: q.To, Reason: q.Reason, Seen: q.Seen, DryRun: q.DryRun}, &out)
	return out, err
}

// Switch switches the traffic of a service to what a blue-green rollout has made
// ready, or back.
func (c *Client) Switch(ctx context.Context, q control.SwitchRequest) (control.RolledBack, error) {
	var out control.RolledBack
	err := c.Do(ctx, http.MethodPost, "/services/"+url.PathEscape(q.Service)+"/switch", wish{Env: q.Env, Back: q.Back, Reason: q.Reason, Seen: q.Seen, DryRun: q.DryRun}, &out)
	return out, err
}

// wish is the body of a verb.
type wish struct {
	Env    string `json:"env,omitempty"`
	To     string `json:"to,omitempty"`
	Back   bool   `json:"back,omitempty"`
	Reason string `json:"reason,omitempty"`
	Seen   string `json:"seen,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// Preview asks for the header that a release under way answers to.
func (c *Client) Preview(ctx context.Context, q control.PreviewRequest) (control.Preview, error) {
	var out control.Preview
	err := c.Do(ctx, http.MethodPost, "/previews", q, &out)
	return out, err
}

// Lift lifts holds.
func (c *Client) Lift(ctx context.Context, q control.Lift) (control.Lifted, error) {
	var out control.Lifted
	err := c.Do(ctx, http.MethodPost, "/holds/lift", q, &out)
	return out, err
}

// Holds lists the active holds.
func (c *Client) Holds(ctx context.Context) ([]delivery.Hold, error) {
	var out items[delivery.Hold]
	err := c.Do(ctx, http.MethodGet, "/holds", nil, &out)
	return out.Items, err
}

// Board says what runs where and what can be deployed right now.
func (c *Client) Board(ctx context.Context) (delivery.Board, error) {
	var out delivery.Board
	err := c.Do(ctx, http.MethodGet, "/status", nil, &out)
	return out, err
}
