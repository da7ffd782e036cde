package handover

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Protocol is the number of the steps above. Two processes that speak different
// numbers do not hand over.
const Protocol = 1

// maxMessage bounds one message, in bytes of JSON.
const maxMessage = 32 << 20

// step names a message.
type step string

const (
	stepHello   step = "hello"
	stepEstate  step = "estate"
	stepReady   step = "ready"
	stepGo      step = "go"
	stepServing step = "serving"
	stepFailed  step = "failed"
)

// message is one step of either side.
type message struct {
	Step   step    `json:"step"`
	Hello  *Hello  `json:"hello,omitempty"`
	Estate *Estate `json:"estate,omitempty"`
	Files  int     `json:"files,omitempty"` // descriptors that follow, one with each of as many bytes
	Why    string  `json:"why,omitempty"`   // of a failure
}

// Hello is what a successor says of itself.
type Hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"`
	PID      int    `json:"pid"`
}

// Estate is what a predecessor leaves.
type Estate struct {
	Protocol   int             `json:"protocol"`
	PID        int             `json:"pid"`
	Boot       string          `json:"boot"`            // of the counts, which go on
	Generation int64           `json:"generation"`      // of the table in force, which is on disk
	Locks      int             `json:"locks"`           // files held under flock, the first to follow
	Listeners  []string        `json:"listeners"`       // addresses, in the order in which their sockets follow
	State      json.RawMessage `json:"state,omitempty"` // what else is known and not on disk
}

// Descriptor is an open socket or file that can be passed on.
type Descriptor interface {
	SyscallConn() (syscall.RawConn, error)
}

// channel carries messages and descriptors.
type channel struct{ conn *net.UnixConn }

// pair returns two ends of one socket: ours, and the file another process inherits.
func pair() (channel, *os.File, error) {
	syscall.ForkLock.RLock() // no process may be forked between the two calls
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return channel{}, nil, fmt.Errorf("handover: socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "successor")
	ours, err := channelOf(os.NewFile(uintptr(fds[0]), "predecessor"))
	if err != nil {
		return channel{}, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// channelOf takes f over, whatever comes of it.
func channelOf(f *os.File) (channel, error) {
	c, err := net.FileConn(f)
	err = errors.Join(err, f.Close())
	if err != nil {
		return channel{}, fmt.Errorf("handover: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return channel{}, errors.Join(errors.New("handover: the inherited file is no unix socket"), c.Close())
	}
	return channel{conn: u}, nil
}

// until bounds what is done on the channel by ctx; the caller ends it.
func (c channel) until(ctx context.Context) (end func()) {
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		if stop() {
			_ = c.conn.SetDeadline(time.Time{})
		}
	}
}

func (c channel) send(ctx context.Context, m message, files ...Descriptor) error {
	defer c.until(ctx)()
	m.Files = len(files)
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("handover: %s: %w", m.Step, err)
	}
	if len(body) > maxMessage {
		return fmt.Errorf("handover: %s has %d bytes, more than %d", m.Step, len(body), maxMessage)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	if _, err := c.conn.Write(append(head, body...)); err != nil {
		return said(ctx, m.Step, err)
	}
	for _, f := range files {
		if err := c.pass(f); err != nil {
			return said(ctx, m.Step, err)
		}
	}
	return nil
}

// pass sends a descriptor without ever asking for the number of its file: that
// would make it blocking, for the process that accepts on it too.
func (c channel) pass(f Descriptor) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) {
		_, _, sent = c.conn.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(fd)), nil)
	})
	return errors.Join(err, sent)
}

// receive returns the message of the step that is due, and its files.
func (c channel) receive(ctx context.Context, due step) (m message, files []*os.File, err error) {
	defer c.until(ctx)()
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.conn, head); err != nil {
		return m, nil, said(ctx, due, err)
	}
	n := binary.BigEndian.Uint32(head)
	if n > maxMessage {
		return m, nil, fmt.Errorf("handover: %s: a message of %d bytes", due, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return m, nil, said(ctx, due, err)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, nil, fmt.Errorf("handover: %s: %w", due, err)
	}
	switch {
	case m.Step == stepFailed:
		return m, nil, errors.New(m.Why)
	case m.Step != due:
		return m, nil, fmt.Errorf("handover: %q where %q was due", m.Step, due)
	}
	for range m.Files {
		f, err := c.take()
		if err != nil {
			closeAll(files)
			return m, nil, said(ctx, due, err)
		}
		files = append(files, f)
	}
	return m, files, nil
}

// take receives one descriptor.
func (c channel) take() (*os.File, error) {
	one, room := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	n, nRoom, _, _, err := c.conn.ReadMsgUnix(one, room)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	control, err := syscall.ParseSocketControlMessage(room[:nRoom])
	if err != nil || len(control) != 1 {
		return nil, fmt.Errorf("a descriptor is missing: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	fds, err := syscall.ParseUnixRights(&control[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("a descriptor is missing: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	return os.NewFile(uintptr(fds[0]), "handed over"), nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// said is why a step did not come about: the context's end, if that is it.
func said(ctx context.Context, at step, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("handover: %s: %w", at, err)
}

// gone says that the other process closed its end, as every death does.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}
