// Package client speaks to the HTTP API of a running Slipway. It shows nothing
// and decides nothing; the commands and the tour use it, and their tests judge it.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Client speaks to one server. The zero value is not usable; see Find and New.
type Client struct {
	Base  string // "http://127.0.0.1:7500"
	Token string // "" shows none
	User  string // shown as who asked
	HTTP  *http.Client
	// Patience is how long what only reads waits for a server that is away.
	Patience time.Duration
	// Find again where the server is, after it was started anew; may be nil.
	refind func() (base, token string, err error)
}

// New returns a client of the server at base.
func New(base, token, user string) *Client {
	return &Client{Base: strings.TrimSuffix(base, "/"), Token: token, User: user, HTTP: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, ResponseHeaderTimeout: 2 * time.Minute}}}
}

// ErrNoServer says that no server was found for a state folder.
var ErrNoServer = errors.New("no server runs here")

// StateFolder returns the state folder that a person means: the one named, or
// $SLIPWAY_HOME, or the place that the XDG convention gives it.
func StateFolder(named string, vars func(string) string) (string, error) {
	switch {
	case named != "":
		return filepath.Abs(named)
	case vars("SLIPWAY_HOME") != "":
		return filepath.Abs(vars("SLIPWAY_HOME"))
	case filepath.IsAbs(vars("XDG_STATE_HOME")): // the convention says to ignore any other
		return filepath.Join(vars("XDG_STATE_HOME"), "slipway"), nil
	case vars("HOME") != "":
		return filepath.Join(vars("HOME"), ".local", "state", "slipway"), nil
	}
	return "", delivery.InvalidNext("state", "there is no HOME to keep it in", "name a folder with --state")
}

// Find returns a client of the server that keeps its state in folder.
func Find(folder, user string) (*Client, error) {
	find := func() (string, string, error) { return read(folder) }
	base, token, err := find()
	if err != nil {
		return nil, err
	}
	c := New(base, token, user)
	c.refind = find
	return c, nil
}

func read(folder string) (base, token string, err error) {
	doc, err := os.ReadFile(filepath.Join(folder, "api.json"))
	if errors.Is(err, os.ErrNotExist) {
		return "", "", fmt.Errorf("%w (%s)", ErrNoServer, folder)
	}
	if err != nil {
		return "", "", unreadable(folder, err)
	}
	var at struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(doc, &at); err != nil {
		return "", "", damaged(folder, "api.json", err.Error())
	}
	if at.URL == "" {
		return "", "", damaged(folder, "api.json", "it names no address")
	}
	secret, err := os.ReadFile(filepath.Join(folder, "token"))
	if err != nil {
		return "", "", unreadable(folder, err)
	}
	if token = strings.TrimSpace(string(secret)); token == "" {
		return "", "", damaged(folder, "token", "it is empty")
	}
	return at.URL, token, nil
}

// unreadable says what to do about a state folder that cannot be read.
func unreadable(folder string, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return delivery.InvalidNext("state", folder+" belongs to somebody else: "+err.Error(), "name a folder of yours with --state, or ask as the one who started the server")
	}
	return fmt.Errorf("client: %w", err)
}

// damaged says what to do about a file that the server writes and nobody can read.
func damaged(folder, file, why string) error {
	return delivery.InvalidNext("state", filepath.Join(folder, file)+" is damaged: "+why, "slipway up writes it anew")
}

// Problem is a refusal as the API says it (RFC 9457).
type Problem struct {
	Status int             `json:"status"`
	Title  string          `json:"title"`
	Detail string          `json:"detail"`
	Code   string          `json:"code"`
	Hint   string          `json:"hint"` // the next command
	Who    string          `json:"who"`  // may lift it
	Errors []ProblemDetail `json:"errors"`
}

// ProblemDetail is one of several things that are wrong.
type ProblemDetail struct {
	Location string `json:"location,omitempty"`
	Message  string `json:"message"`
	Value    any    `json:"value,omitempty"`
}

func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// Do sends in as JSON and reads the answer into out; either may be nil. A
// refusal is a *Problem; a server that does not answer matches ErrNoServer.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		doc, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("client: %w", err)
		}
		body = bytes.NewReader(doc)
	}
	return c.Send(ctx, Request{Method: method, Path: path, Type: "application/json", Body: body}, out)
}

// Request is one call, with a body of any type.
type Request struct {
	Method, Path string // Path begins below /api/v1
	Type         string // of Body
	Body         io.Reader
	Key          string // Idempotency-Key
	Accept       string
}

// Send sends a request and reads the JSON answer into out, which may be nil.
func (c *Client) Send(ctx context.Context, r Request, out any) error {
	res, err := c.Open(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }() // read to its end or of no use
	if out == nil || res.StatusCode == http.StatusNoContent {
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	if raw, ok := out.(*json.RawMessage); ok {
		if *raw, err = io.ReadAll(res.Body); err != nil {
			return fmt.Errorf("client: answer of %s: %w", r.Path, err)
		}
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("client: answer of %s: %w", r.Path, err)
	}
	return nil
}

// Open sends a request and returns the answer once it is known to be no refusal.
// The caller closes its body. What only reads is asked again, within Patience,
// while the server is away.
func (c *Client) Open(ctx context.Context, r Request) (*http.Response, error) {
	if r.Method == http.MethodGet && r.Body == nil && c.Patience > 0 {
		return c.patient(ctx, func() (*http.Response, error) { return c.open(ctx, r) })
	}
	return c.open(ctx, r)
}

// away reports whether a request met no server, or one that is stopping.
func away(err error) bool {
	p, refused := errors.AsType[*Problem](err)
	return errors.Is(err, ErrNoServer) || refused && p.Status == http.StatusServiceUnavailable && p.Code == "stopping"
}

func (c *Client) open(ctx context.Context, r Request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, c.Base+"/api/v1"+r.Path, r.Body)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if c.Token != "" { // reading may be open to all
		set("Authorization", "Bearer "+c.Token)
	}
	set("Slipway-User", c.User)
	set("Idempotency-Key", r.Key)
	set("Accept", r.Accept)
	if r.Body != nil {
		set("Content-Type", r.Type)
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	if res.StatusCode < 400 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	return nil, problemOf(res)
}

// maxProblem bounds what is read of a refusal, and maxDetail what is shown of
// one that is no JSON, in bytes.
const (
	maxProblem = 1 << 20
	maxDetail  = 500
)

// problemOf reads a refusal, also one that does not come from Slipway itself.
func problemOf(res *http.Response) *Problem {
	doc, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	p := &Problem{}
	if err != nil || json.Unmarshal(doc, p) != nil {
		text := strings.ToValidUTF8(string(doc[:min(len(doc), maxDetail)]), "")
		p = &Problem{Detail: strings.TrimSpace(text)}
	}
	p.Status = res.StatusCode
	if p.Title == "" {
		p.Title = res.Status
	}
	return p
}

// Again finds the server anew after it was lost. It changes the client.
func (c *Client) Again() error {
	if c.refind == nil {
		return nil
	}
	base, token, err := c.refind()
	if err != nil {
		return err
	}
	c.Base, c.Token = base, token
	return nil
}
