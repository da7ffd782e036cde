package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
)

// Predecessor is the process whose place this one takes.
type Predecessor struct{ c channel }

// Inherit returns the predecessor that started this process, or nil when nobody
// did. What it finds in the environment it removes, so that no other process of
// ours takes itself for a successor.
func Inherit() (*Predecessor, error) {
	v, there := os.LookupEnv(Environment)
	if !there {
		return nil, nil
	}
	if err := os.Unsetenv(Environment); err != nil {
		return nil, fmt.Errorf("handover: %w", err)
	}
	fd, err := strconv.Atoi(v)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("handover: %s=%q is no inherited file; it is set by slipway itself: unset it", Environment, v)
	}
	syscall.CloseOnExec(fd)
	c, err := channelOf(os.NewFile(uintptr(fd), "predecessor"))
	if err != nil {
		return nil, fmt.Errorf("handover: %s=%q: %w", Environment, v, err)
	}
	return &Predecessor{c: c}, nil
}

// Inherited says whether a predecessor started this process. It is false once
// Inherit was called.
func Inherited() bool {
	_, there := os.LookupEnv(Environment)
	return there
}

// Take says hello and waits for the estate. The files are the caller's to close.
func (p *Predecessor) Take(ctx context.Context, version string) (e Estate, locks, listeners []*os.File, err error) {
	hello := Hello{Protocol: Protocol, Version: version, PID: os.Getpid()}
	if err := p.c.send(ctx, message{Step: stepHello, Hello: &hello}); err != nil {
		return e, nil, nil, err
	}
	m, files, err := p.c.receive(ctx, stepEstate)
	if err != nil {
		return e, nil, nil, err
	}
	if m.Estate == nil || m.Estate.Locks < 0 || len(files) != m.Estate.Locks+len(m.Estate.Listeners) {
		closeAll(files)
		return e, nil, nil, errors.New("handover: the estate and its files do not match")
	}
	return *m.Estate, files[:m.Estate.Locks], files[m.Estate.Locks:], nil
}

// Ready says that everything is loaded and waits for the place. alone is true
// when the predecessor died meanwhile: then there is nobody left to say so, and
// the place is ours.
func (p *Predecessor) Ready(ctx context.Context) (alone bool, err error) {
	err = p.c.send(ctx, message{Step: stepReady})
	if err == nil {
		_, _, err = p.c.receive(ctx, stepGo)
	}
	if gone(err) {
		return true, nil
	}
	return false, err
}

// Serving says that requests are accepted here from now on.
func (p *Predecessor) Serving(ctx context.Context) error {
	return p.c.send(ctx, message{Step: stepServing})
}

// Failed tells the predecessor why its place is not taken; it goes on.
func (p *Predecessor) Failed(ctx context.Context, why error) error {
	return errors.Join(p.c.send(ctx, message{Step: stepFailed, Why: why.Error()}), p.c.conn.Close())
}

// Conn is the connection to the predecessor once this process serves. The
// caller closes it.
func (p *Predecessor) Conn() net.Conn { return p.c.conn }
