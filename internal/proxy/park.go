package proxy

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// reads are the read side of a gate's connection. While a handler is at work
// net/http waits for the next byte, to learn when the caller leaves, and breaks
// the wait off when the handler is done: two changes of a deadline and a read that
// fails, for each request. Here that wait costs no system call: it is parked, and
// the engine looks about once a second whether there is something to read. Nor is
// a deadline set each time net/http asks for one: a timer that is early does no
// harm, since whoever is woken by it looks at the clock and waits on.
type reads struct {
	conn net.Conn
	tcp  *net.TCPConn // conn's own; nil if nobody can look into it from outside
	set  *set[*reads] // what the engine looks at; nil if nothing is parked

	mu      sync.Mutex
	woken   sync.Cond
	want    time.Time // guarded by mu: the deadline that was asked for; zero is none
	armed   time.Time // guarded by mu: that of conn
	reading bool      // guarded by mu: conn is being read
	parked  bool      // guarded by mu
	old     bool      // guarded by mu: the engine has seen this wait before
	come    bool      // guarded by mu: there is something to read
	closed  bool      // guarded by mu
}

func (r *reads) init(c net.Conn) {
	r.conn = c
	r.woken.L = &r.mu
}

// Read reads from the connection.
func (r *reads) Read(p []byte) (int, error) {
	r.mu.Lock()
	r.reading = true
	r.arm(false)
	r.mu.Unlock()
	for {
		n, err := r.conn.Read(p)
		early := n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
		r.mu.Lock()
		if early = early && !passed(r.want); early {
			r.arm(true)
		} else {
			r.reading = false
		}
		r.mu.Unlock()
		if !early {
			return n, err
		}
	}
}

// arm gives the connection the deadline that was asked for, unless it has an
// earlier one, or exactly. r.mu is held.
func (r *reads) arm(exactly bool) {
	sooner := !r.armed.IsZero() && (r.want.IsZero() || !r.armed.After(r.want))
	if r.armed.Equal(r.want) || sooner && !exactly {
		return
	}
	r.armed = r.want
	_ = r.conn.SetReadDeadline(r.want) // of a closed connection: the read says so
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// await parks until there may be something to read, or the deadline has passed.
func (r *reads) await() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parked, r.old, r.come = true, false, false
	for r.want.IsZero() && !r.come && !r.closed {
		r.woken.Wait()
	}
	r.parked = false
	if passed(r.want) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// SetReadDeadline is net.Conn's.
func (r *reads) SetReadDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want = t
	if r.reading {
		r.arm(false)
	}
	if r.parked && !t.IsZero() {
		r.woken.Signal()
	}
	return nil
}

// SetDeadline is net.Conn's.
func (r *reads) SetDeadline(t time.Time) error {
	return errors.Join(r.SetReadDeadline(t), r.conn.SetWriteDeadline(t))
}

// Close is net.Conn's.
func (r *reads) Close() error {
	r.mu.Lock()
	r.closed = true
	r.woken.Signal()
	r.mu.Unlock()
	if r.set != nil {
		r.set.remove(r)
	}
	return r.conn.Close()
}

// look ends a wait that was there a second ago if there is something to read,
// the end of the connection too.
func (r *reads) look() {
	r.mu.Lock()
	due := r.parked && r.old
	r.old = true
	r.mu.Unlock()
	if !due {
		return
	}
	if n, err := glance(r.tcp); n < 0 && errors.Is(err, syscall.EAGAIN) {
		return
	}
	r.mu.Lock()
	r.come = true // for a wait that has just begun it does no harm
	r.woken.Signal()
	r.mu.Unlock()
}

// glance reads a byte and leaves it there. Without one, the error says whether
// there is none yet, syscall.EAGAIN, or there will be none.
func glance(tcp *net.TCPConn) (n int, err error) {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	var one [1]byte
	broken := raw.Control(func(fd uintptr) {
		for {
			n, _, err = syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			if !errors.Is(err, syscall.EINTR) {
				return
			}
		}
	})
	if broken != nil {
		return 0, broken
	}
	return n, err
}

// sweepParked looks at each connection whose wait may be parked. It is called each
// second.
func sweepParked(all *set[*reads]) {
	for _, r := range all.list() {
		r.look()
	}
}
