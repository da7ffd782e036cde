package demo

import (
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	leastSteps   = 6 // requests of a shopper before it leaves ...
	mostSteps    = 14
	shopperLimit = 15 * time.Second // of one request
	growth       = 0.25             // share of requests by newcomers while the crowd is small
)

// crowd is the shoppers who are in the shop. The goroutine that sends them owns
// everything but back, by which those who have their answer come home.
type crowd struct {
	shop *url.URL
	size int // shoppers it takes for the rate at the pace of one
	wire *http.Transport
	tell func(outcome)
	idle []*shopper // the longest idle first
	live int        // idle and away
	out  int        // away
	back chan *shopper
	away sync.WaitGroup
}

// shopper is one session.
type shopper struct {
	client *http.Client
	left   int // steps until it leaves
	items  int // in its basket
	begun  bool
}

// outcome is how one request ended: a mishap when it failed, else with an empty Error.
type outcome Mishap

func (o outcome) failed() bool  { return o.Error != "" }
func (o outcome) refused() bool { return o.Status >= 400 && o.Status < 500 }

// send picks the shopper who makes the next request, a new one while the crowd
// is small; nil when as many are away as may be.
func (c *crowd) send() (one *shopper, isNew bool) {
	if c.out == cap(c.back) {
		return nil, false
	}
	c.out++
	grow := c.live < c.size && rand.Float64() < growth
	if !grow && len(c.idle) > 0 {
		one, c.idle = c.idle[0], c.idle[1:]
		return one, false
	}
	c.live++
	return c.enter(), true
}

func (c *crowd) enter() *shopper {
	jar, _ := cookiejar.New(nil) // fails never: there are no options to be wrong
	return &shopper{
		left: leastSteps + rand.IntN(mostSteps-leastSteps+1),
		client: &http.Client{
			Transport: c.wire, Jar: jar, Timeout: shopperLimit,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// home takes back a shopper who has its answer.
func (c *crowd) home(one *shopper) {
	c.out--
	if one.left <= 0 {
		c.live--
		return
	}
	c.idle = append(c.idle, one)
}

// walk lets a shopper take one step and tells how it went, unless ctx cut it off.
func (c *crowd) walk(ctx context.Context, one *shopper) {
	step, form := one.next()
	o := c.take(ctx, one, step, form)
	if ctx.Err() == nil {
		c.tell(o)
	}
	one.left--
	switch {
	case o.failed():
		one.left = 0
	case o.Status != http.StatusOK:
	case step == "POST /cart":
		one.items++
	case step == "POST /checkout":
		one.items = 0
	}
	c.back <- one // has room for all that are away
}

// next picks the next step: look around first, then mostly fill the basket and pay.
func (one *shopper) next() (step string, form url.Values) {
	dice := rand.Float64()
	switch {
	case !one.begun || dice < 0.15:
		one.begun = true
		return "GET /", nil
	case one.items > 0 && (dice < 0.95 || one.items >= basketLimit):
		return "POST /checkout", url.Values{}
	}
	wishes := [...]string{"tea", "rope", "lamp", "chart", "biscuit", "compass"}
	return "POST /cart", url.Values{"item": {wishes[rand.IntN(len(wishes))]}}
}

// take sends one request, once, and reads the whole answer.
func (c *crowd) take(ctx context.Context, one *shopper, step string, form url.Values) outcome {
	o := outcome{At: time.Now(), Step: step}
	lost := func(why string) outcome {
		o.Error = why
		return o
	}
	var sent atomic.Int32
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Add(1) }})
	method, path, _ := strings.Cut(step, " ")
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, c.shop.JoinPath(path).String(), body)
	if err != nil {
		return lost(err.Error())
	}
	req.Header.Set("Accept", "application/json")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := one.client.Do(req)
	if err != nil {
		return lost(err.Error())
	}
	defer resp.Body.Close()
	o.Status, o.Release = resp.StatusCode, resp.Header.Get("Slipway-Release")
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return lost("answer cut off: " + err.Error())
	}
	var env envelope
	known := json.Unmarshal(text, &env) == nil
	if o.Release == "" && env.Service != "" {
		o.Release = env.Service + " " + env.Version
	}
	switch {
	case sent.Load() > 1:
		return lost("the connection was closed under the request, and it was sent again")
	case resp.StatusCode < 500 && resp.StatusCode != http.StatusOK:
		return o
	case resp.StatusCode == http.StatusOK && known:
		return o
	case resp.StatusCode == http.StatusOK:
		return lost("the answer is not the shop's")
	case env.Error == "":
		env.Error = resp.Status
	}
	if env.Cause != nil {
		o.Cause = strings.TrimSpace(env.Cause.Service + " " + env.Cause.Version)
	}
	return lost(env.Error)
}
