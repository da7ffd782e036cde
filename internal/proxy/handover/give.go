package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Environment is the variable that tells a process which of its files is the
// private socket to its predecessor.
const Environment = "SLIPWAY_HANDOVER_FD"

// patience is how long the end of a process is waited for when its socket has
// closed already.
const patience = 2 * time.Second

// Successor is the process that takes the place of this one.
type Successor struct {
	PID   int
	c     channel
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // of the process; set before ended is closed
}

// Start runs cmd, which must not be started yet, as the successor. Its files and
// variables are cmd's, and the private socket beside them. Abort ends it.
func Start(ctx context.Context, cmd *exec.Cmd) (*Successor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, theirs, err := pair()
	if err != nil {
		return nil, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	cmd.Env = append(without(cmd.Environ(), Environment), fmt.Sprintf("%s=%d", Environment, 2+len(cmd.ExtraFiles)))
	err = cmd.Start()
	err = errors.Join(err, theirs.Close())
	if err != nil {
		return nil, fmt.Errorf("handover: start: %w", errors.Join(err, c.conn.Close()))
	}
	s := &Successor{PID: cmd.Process.Pid, c: c, cmd: cmd, ended: make(chan struct{})}
	go func() { // ends with the process, which Abort or the end of ours outlives
		s.err = cmd.Wait()
		close(s.ended)
	}()
	return s, nil
}

func without(env []string, name string) []string {
	out := make([]string, 0, len(env)+1)
	for _, v := range env {
		if !strings.HasPrefix(v, name+"=") {
			out = append(out, v)
		}
	}
	return out
}

// Hello waits until the successor says what it is.
func (s *Successor) Hello(ctx context.Context) (Hello, error) {
	m, _, err := s.c.receive(ctx, stepHello)
	if err != nil {
		return Hello{}, s.why(err)
	}
	if m.Hello == nil || m.Hello.Protocol != Protocol {
		return Hello{}, fmt.Errorf("handover: the other binary hands over by another protocol than this one's %d; stop this data plane and start that one instead", Protocol)
	}
	return *m.Hello, nil
}

// Give passes the estate on and waits until the successor is ready. locks and
// listeners are as e counts them.
func (s *Successor) Give(ctx context.Context, e Estate, locks []*os.File, listeners []Descriptor) error {
	e.Protocol, e.PID, e.Locks = Protocol, os.Getpid(), len(locks)
	files := make([]Descriptor, 0, len(locks)+len(listeners))
	for _, l := range locks {
		files = append(files, l)
	}
	files = append(files, listeners...)
	if err := s.c.send(ctx, message{Step: stepEstate, Estate: &e}, files...); err != nil {
		return s.why(err)
	}
	_, _, err := s.c.receive(ctx, stepReady)
	return s.why(err)
}

// Go gives the successor the place and waits until it accepts requests.
func (s *Successor) Go(ctx context.Context) error {
	if err := s.c.send(ctx, message{Step: stepGo}); err != nil {
		return s.why(err)
	}
	_, _, err := s.c.receive(ctx, stepServing)
	return s.why(err)
}

// why names the end of the process as the reason when that is what happened.
func (s *Successor) why(err error) error {
	if err == nil || !gone(err) {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
		return err
	}
	end := "exit status 0"
	if s.err != nil {
		end = s.err.Error()
	}
	return fmt.Errorf("handover: the new process ended (%s) before it could serve", end)
}

// Abort kills the successor and returns when it has gone.
func (s *Successor) Abort() {
	_ = s.cmd.Process.Kill() // it may have gone already
	<-s.ended
	_ = s.c.conn.Close()
}

// Conn is the connection to the successor once it serves. The caller closes it.
func (s *Successor) Conn() net.Conn { return s.c.conn }
