package upstream

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// Options say how to reach one instance. Zero fields take what their line says.
type Options struct {
	Addr        string                                                   // host:port
	Dial        func(ctx context.Context, addr string) (net.Conn, error) // TCP
	DialTimeout time.Duration                                            // a second
	Idle        time.Duration                                            // 4 s: below 5 s, the shortest keep-alive of common servers, which must not close under a request
	MaxIdle     int                                                      // 1024 connections
	Head        wire.Limits                                              // of answers: 256 KiB and 1000 fields
	Buffers     *Buffers                                                 // its own; clients may share one
}

func (o Options) orDefaults() Options {
	if o.DialTimeout <= 0 {
		o.DialTimeout = time.Second
	}
	if o.Dial == nil {
		dialer := &net.Dialer{}
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	}
	if o.Idle <= 0 {
		o.Idle = 4 * time.Second
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = 1024
	}
	if o.Head.Head <= 0 {
		o.Head.Head = 256 << 10
	}
	if o.Head.Fields <= 0 {
		o.Head.Fields = 1000
	}
	if o.Buffers == nil {
		o.Buffers = NewBuffers()
	}
	return o
}

// Client is the connections to one instance. It starts no goroutine of its own:
// its owner calls Sweep about once a second.
type Client struct {
	o    Options
	born time.Time // times are kept as what has passed since then

	mu      sync.Mutex
	idle    []*Conn            // guarded by mu; the youngest is the last
	open    map[*Conn]struct{} // guarded by mu; in use or idle
	severed bool               // guarded by mu
}

// New returns a client without a connection.
func New(o Options) *Client {
	return &Client{o: o.orDefaults(), born: time.Now(), open: map[*Conn]struct{}{}}
}

func (c *Client) now() time.Duration { return time.Since(c.born) }

// checkAfter is how long a connection may be idle and still be used without a
// look at it. A look is a system call; under load connections are younger. Behind
// an answer without a body there always is one: a server that sends a body all
// the same is the likeliest to say more than it should.
const checkAfter = 20 * time.Millisecond

// Get returns the youngest idle connection that looks sound, or dials. The
// caller ends its use with Release or Discard. An error is a *DialError.
func (c *Client) Get(ctx context.Context) (*Conn, error) { return c.get(ctx, checkAfter) }

// GetChecked is Get for a request that must not be made twice: every idle
// connection is looked at.
func (c *Client) GetChecked(ctx context.Context) (*Conn, error) { return c.get(ctx, 0) }

func (c *Client) get(ctx context.Context, unchecked time.Duration) (*Conn, error) {
	now := c.now()
	for {
		k := c.pop(now)
		if k == nil {
			return c.GetFresh(ctx)
		}
		if now-k.since < unchecked && !k.bodyless || k.quiet() {
			k.since, k.reused, k.held = now, true, true
			return k, nil
		}
		k.close()
	}
}

// pop takes the youngest idle connection. If that is too old, all are, and are closed.
func (c *Client) pop(now time.Duration) *Conn {
	c.mu.Lock()
	n := len(c.idle)
	if n == 0 {
		c.mu.Unlock()
		return nil
	}
	k := c.idle[n-1]
	if now-k.since < c.o.Idle {
		c.idle[n-1] = nil
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return k
	}
	old := c.idle
	c.idle = nil
	c.mu.Unlock()
	closeAll(old)
	return nil
}

// GetFresh dials.
func (c *Client) GetFresh(ctx context.Context) (*Conn, error) {
	c.mu.Lock()
	severed := c.severed
	c.mu.Unlock()
	if severed {
		return nil, &DialError{c.o.Addr, ErrSevered}
	}
	nc, err := DialWithin(ctx, c.o.DialTimeout, func(ctx context.Context) (net.Conn, error) { return c.o.Dial(ctx, c.o.Addr) })
	if err != nil {
		return nil, &DialError{c.o.Addr, err}
	}
	k := newConn(c, nc)
	c.mu.Lock()
	if severed = c.severed; !severed {
		c.open[k] = struct{}{}
	}
	c.mu.Unlock()
	if severed {
		return nil, &DialError{c.o.Addr, errors.Join(ErrSevered, nc.Close())}
	}
	k.since, k.held = c.now(), true
	return k, nil
}

// put takes a clean connection back.
func (c *Client) put(k *Conn) {
	k.since = c.now()
	c.mu.Lock()
	keep := !c.severed && len(c.idle) < c.o.MaxIdle
	if keep {
		c.idle = append(c.idle, k)
	}
	c.mu.Unlock()
	if !keep {
		k.close()
	}
}

// Sweep closes connections that have been idle for too long.
func (c *Client) Sweep(now time.Time) {
	oldest := now.Sub(c.born) - c.o.Idle
	c.mu.Lock()
	n := 0
	for n < len(c.idle) && c.idle[n].since <= oldest {
		n++
	}
	old := append([]*Conn(nil), c.idle[:n]...)
	rest := copy(c.idle, c.idle[n:])
	clear(c.idle[rest:])
	c.idle = c.idle[:rest]
	c.mu.Unlock()
	closeAll(old)
}

// CloseIdle closes the connections that are not in use.
func (c *Client) CloseIdle() {
	c.mu.Lock()
	old := c.idle
	c.idle = nil
	c.mu.Unlock()
	closeAll(old)
}

func closeAll(all []*Conn) {
	for _, k := range all {
		k.close()
	}
}

// Sever cuts every connection, in use or hijacked too, and refuses new ones. Who
// uses one sees a *ConnError with ErrSevered, never a clean end.
func (c *Client) Sever() {
	c.mu.Lock()
	c.severed = true
	c.idle = nil
	all := make([]*Conn, 0, len(c.open))
	for k := range c.open {
		all = append(all, k)
	}
	c.mu.Unlock()
	for _, k := range all {
		k.breakOff(ErrSevered)
		k.close()
	}
}

// Open returns how many connections there are, and how many of them are idle.
func (c *Client) Open() (all, idle int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open), len(c.idle)
}

func (c *Client) forget(k *Conn) {
	c.mu.Lock()
	delete(c.open, k)
	c.mu.Unlock()
}
