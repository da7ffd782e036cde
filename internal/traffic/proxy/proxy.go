// Package proxy is the traffic driver that talks to the data-plane process over
// its control socket. It routes nothing itself; traffictest judges it.
package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// callTimeout bounds one Apply or State, a slow disk under the data plane included.
const callTimeout = 10 * time.Second

// silence is how long a stream of counts may say nothing; the data plane sends
// something each second.
const silence = 5 * time.Second

// Driver speaks to one data plane.
type Driver struct {
	socket string
	client *http.Client
}

// New returns the driver of the data plane whose control socket is at path. It
// connects when it is first used, and again whenever the data plane was restarted.
func New(socket string) *Driver {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	// A kept connection could be one to a data plane that has handed over, and be
	// closed under a request; a new one to a socket costs next to nothing.
	return &Driver{socket: socket, client: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true, DisableKeepAlives: true}}}
}

// Apply puts the whole table in force. A refused table gives a
// *delivery.FieldError, a stale generation delivery.ErrConflict.
func (d *Driver) Apply(ctx context.Context, t traffic.Table) error {
	body, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	res, err := d.do(ctx, http.MethodPut, "/v1/table", body)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// State returns what is in force now.
func (d *Driver) State(ctx context.Context) (traffic.State, error) {
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	var s traffic.State
	err := d.read(ctx, http.MethodGet, "/v1/state", nil, &s)
	return s, err
}

// Upgrade makes a process of the binary at path take the data plane's place
// without a lost request, and returns when it serves. An empty path is the file
// that the running one was started from. It may wait for a predecessor's last
// requests, a minute or so; ctx bounds that.
func (d *Driver) Upgrade(ctx context.Context, path string) (traffic.Upgrade, error) {
	body, err := json.Marshal(map[string]string{"binary": path})
	if err != nil {
		return traffic.Upgrade{}, fmt.Errorf("proxy: %w", err)
	}
	var done traffic.Upgrade
	err = d.read(ctx, http.MethodPost, "/v1/upgrade", body, &done)
	return done, err
}

// Drain takes an endpoint, by its ID or address, or all endpoints of a release,
// by its ID or version, out of rotation, and returns them as they are then:
// what is in flight on them goes on.
func (d *Driver) Drain(ctx context.Context, target string, o traffic.DrainOrder) ([]traffic.EndpointState, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return d.rotate(ctx, http.MethodPut, target, body)
}

// Undrain puts back what Drain took out.
func (d *Driver) Undrain(ctx context.Context, target string) ([]traffic.EndpointState, error) {
	return d.rotate(ctx, http.MethodDelete, target, nil)
}

func (d *Driver) rotate(ctx context.Context, method, target string, body []byte) ([]traffic.EndpointState, error) {
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	var done struct {
		Endpoints []traffic.EndpointState `json:"endpoints"`
	}
	err := d.read(ctx, method, "/v1/drains/"+url.PathEscape(target), body, &done)
	return done.Endpoints, err
}

// Dump returns all that the data plane knows of itself, for a bug report.
func (d *Driver) Dump(ctx context.Context) (traffic.Dump, error) {
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	var done traffic.Dump
	err := d.read(ctx, http.MethodGet, "/v1/dump", nil, &done)
	return done, err
}

// Table returns the table in force.
func (d *Driver) Table(ctx context.Context) (traffic.Table, error) {
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	var t traffic.Table
	err := d.read(ctx, http.MethodGet, "/v1/table", nil, &t)
	return t, err
}

// read asks and decodes the answer into v.
func (d *Driver) read(ctx context.Context, method, path string, body []byte, v any) error {
	res, err := d.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(res.Body).Decode(v); err != nil {
		return fmt.Errorf("proxy: %s: %w", path, err)
	}
	return nil
}

// Disturb puts a fault in force until its lease ends, or renews it; another one
// with its ID is replaced. One that is out of bounds gives a *delivery.FieldError.
func (d *Driver) Disturb(ctx context.Context, f traffic.Fault) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	body, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	res, err := d.do(ctx, http.MethodPut, "/v1/faults/"+url.PathEscape(f.ID), body)
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// Calm takes a fault back. One that is not in force is calm already.
func (d *Driver) Calm(ctx context.Context, id string) error {
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	res, err := d.do(ctx, http.MethodDelete, "/v1/faults/"+url.PathEscape(id), nil)
	switch {
	case errors.Is(err, delivery.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return res.Body.Close()
}

// Faults returns the faults in force, by ID.
func (d *Driver) Faults(ctx context.Context) ([]traffic.FaultState, error) {
	ctx, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	res, err := d.do(ctx, http.MethodGet, "/v1/faults", nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	var all []traffic.FaultState
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
		return nil, fmt.Errorf("proxy: faults: %w", err)
	}
	return all, nil
}

// Watch streams frames until ctx ends, which gives its error, or the data plane
// goes away or falls silent for 5 s.
func (d *Driver) Watch(ctx context.Context, since int64, frame func(traffic.Frame)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	quiet := time.AfterFunc(silence, func() { stop(errSilent) })
	defer quiet.Stop()
	res, err := d.do(ctx, http.MethodGet, "/v1/stats?since="+url.QueryEscape(strconv.FormatInt(since, 10)), nil)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	dec := json.NewDecoder(res.Body)
	for {
		var f traffic.Frame
		if err := dec.Decode(&f); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return fmt.Errorf("proxy: counts: %w", cause)
			}
			return fmt.Errorf("proxy: counts: the data plane went away: %w", err)
		}
		quiet.Stop()
		frame(f)
		quiet.Reset(silence)
	}
}

var errSilent = errors.New("the data plane sends nothing any more")

// tries is how often a data plane is asked that has just handed its place over.
const tries = 4

func (d *Driver) do(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	for n := 1; ; n++ {
		res, err := d.once(ctx, method, path, body)
		var handed *handedOver
		if !errors.As(err, &handed) || n == tries {
			return res, err
		}
	}
}

// handedOver says that the answer was that of a process whose successor has the
// socket by now.
type handedOver struct{ says string }

func (e *handedOver) Error() string { return "proxy: " + e.says }

func (d *Driver) once(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://proxy"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	res, err := d.client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		} else if inner := new(url.Error); errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("proxy: the data plane at %s does not answer (is slipway proxy running?): %w", d.socket, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, refusal(res)
}

// refusal turns a problem answer into the error it stands for.
func refusal(res *http.Response) error {
	var p struct {
		Code   string `json:"code"`
		Field  string `json:"field"`
		Detail string `json:"detail"`
		Hint   string `json:"hint"`
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil || json.Unmarshal(b, &p) != nil || p.Detail == "" {
		p.Detail = "the data plane answered " + res.Status
	}
	if p.Code == traffic.CodeHandedOver {
		return &handedOver{says: p.Detail}
	}
	if p.Code == traffic.CodeLastEndpoint {
		return &delivery.Refusal{Code: delivery.CodeNotEligible, Field: p.Field, Why: p.Detail, Next: p.Hint}
	}
	switch res.StatusCode {
	case http.StatusConflict:
		return fmt.Errorf("proxy: %s: %w", p.Detail, delivery.ErrConflict)
	case http.StatusNotFound:
		return fmt.Errorf("proxy: %s: %w", p.Detail, delivery.ErrNotFound)
	case http.StatusUnprocessableEntity, http.StatusBadRequest:
		return fmt.Errorf("proxy: %w", delivery.InvalidNext(p.Field, p.Detail, p.Hint))
	}
	if p.Hint != "" {
		p.Detail += "; " + p.Hint
	}
	return errors.New("proxy: " + p.Detail)
}
