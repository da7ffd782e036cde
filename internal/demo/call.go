package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"time"
)

const (
	callLimit   = 5 * time.Second // of one call to another service
	answerLimit = 1 << 20         // bytes of a callee's answer
)

// passed lists the headers that travel with a request from service to service:
// the sticky key of the split, the trace, and its baggage.
var passed = [...]string{"Slipway-Key", "Traceparent", "Baggage"}

// ask is one call to another service. A nil body makes it a GET.
type ask struct {
	callee string
	path   string
	query  url.Values
	body   any
}

// envelope is what every answer carries.
type envelope struct {
	Service string            `json:"service"`
	Version string            `json:"version"`
	Callees map[string]string `json:"callees"`
	Error   string            `json:"error"`
	Cause   *cause            `json:"cause"`
}

// call asks another service, notes which versions answered, and decodes the
// answer into out. A callee's 4xx is passed on as it is; anything worse is a 502.
func (v *visit) call(ctx context.Context, a ask, out any) error {
	req, err := v.request(ctx, a)
	if err != nil {
		return err
	}
	broken := func(err error) error {
		return &failure{http.StatusBadGateway, a.callee + ": " + err.Error(), cause{Service: a.callee}}
	}
	resp, err := v.svc.client.Do(req)
	if err != nil {
		return broken(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return broken(err)
	}
	env := envelope{Error: resp.Status}
	if err := json.Unmarshal(b, &env); err != nil && resp.StatusCode == http.StatusOK {
		return broken(err)
	}
	maps.Copy(v.callees, env.Callees)
	if env.Service != "" {
		v.callees[env.Service] = env.Version
	}
	switch {
	case resp.StatusCode >= 500:
		c := cause{Service: a.callee, Version: env.Version}
		if env.Cause != nil {
			c = *env.Cause
		}
		return &failure{http.StatusBadGateway, a.callee + ": " + env.Error, c}
	case resp.StatusCode != http.StatusOK:
		return &failure{status: resp.StatusCode, message: a.callee + ": " + env.Error}
	}
	if err := json.Unmarshal(b, out); err != nil {
		return broken(err)
	}
	return nil
}

func (v *visit) request(ctx context.Context, a ask) (*http.Request, error) {
	method, body := http.MethodGet, []byte(nil)
	if a.body != nil {
		var err error
		if body, err = json.Marshal(a.body); err != nil {
			return nil, err
		}
		method = http.MethodPost
	}
	target := v.svc.urls[a.callee] + a.path
	if len(a.query) > 0 {
		target += "?" + a.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if a.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range passed {
		if values := v.in.Header.Values(h); len(values) > 0 {
			req.Header[h] = values
		}
	}
	return req, nil
}
