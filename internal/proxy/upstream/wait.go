package upstream

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// healing bounds the first wait of an exchange; see turn.
const healing = time.Second

// armFirst sees to it that a deadline is set that is not after the limit of the
// exchange, nor much later than healing allows. A deadline left from an exchange
// before may be early: whoever is woken by it looks at the clock and waits on. So
// a busy connection sets a deadline about once a second, not for every request.
func (k *Conn) armFirst() {
	now := k.since
	if k.armed > now && (k.limit == 0 || k.armed <= k.limit) && k.armed <= now+healing {
		return
	}
	at := now + healing
	if k.limit > 0 {
		at = min(at, k.limit)
	}
	k.arm(at)
}

// arm sets the read deadline; 0 is none.
func (k *Conn) arm(at time.Duration) {
	var t time.Time
	if at > 0 {
		t = k.client.born.Add(at)
	}
	k.armed = at
	_ = k.nc.SetReadDeadline(t) // of a closed connection: the read says so
}

// expired is called when the read deadline has passed. It returns what ends the
// wait, or nil after setting the next deadline.
func (k *Conn) expired() error {
	if err := k.broken(); err != nil {
		return err
	}
	now := k.client.now()
	if k.body.begun {
		if k.body.idle > 0 && k.body.stood {
			return ErrDeadline
		}
		k.body.stood = true
		next := time.Duration(0)
		if k.body.idle > 0 {
			next = now + k.body.idle
		}
		k.arm(next)
		return k.broken()
	}
	if k.expectBy > 0 && now >= k.expectBy {
		k.letBody(true)
	}
	limit := k.limit
	if k.wait > 0 && k.sender != nil {
		limit = max(limit, time.Duration(k.sender.moved.Load())+k.wait)
	}
	if limit > 0 && now >= limit {
		return ErrDeadline
	}
	next := limit
	if k.expectBy > 0 && (next == 0 || k.expectBy < next) {
		next = k.expectBy
	}
	k.arm(next)
	return k.broken()
}

// turn sends a whole request and reads the beginning of the answer with one
// write and one read, where Write and Read would make three calls: Read tries
// before it waits, and what it tries fails.
//
// It works inside one RawConn.Read, which takes the read lock of the descriptor,
// forgets the readiness seen so far, and then calls back until it is told true,
// waiting for readiness in between. The first call writes and answers false. The
// poller is edge-triggered, so what matters is that no edge is lost: whatever
// arrives after readiness was forgotten, thus whatever arrives after the write,
// is an edge that the wait sees. What had arrived before is lost to it: bytes
// nobody asked for, which Get looks for, or the end of the connection. After that
// end the write draws a reset, which is an edge again, except from a server that
// closed one direction and still reads; then the wait ends with the deadline,
// a second at the most for the first one, and the next call reads and sees it.
//
// Deadlines and Close work as for Read, since the wait is the same: the deadline
// is checked before the first call and ends the wait; Close ends the wait, and
// the descriptor stays valid until RawConn.Read has returned. The callback makes
// only non-blocking calls on the descriptor; a call of k.nc within it would wait
// for the read lock forever.
func (k *Conn) turn(head []byte) error {
	k.out, k.in, k.got, k.turnErr = head, k.buf, 0, nil
	defer func() { k.out, k.in = nil, nil }()
	for {
		err := k.raw.Read(k.ready)
		switch {
		case err == nil && len(k.out) > 0 && k.turnErr == nil: // the socket took a part
			k.send(&Request{Head: k.out})
			return k.fill()
		case err == nil && k.turnErr == nil:
			k.w, k.answered = k.got, true
			return nil
		case err == nil:
			return k.why(k.turnErr)
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return k.why(err)
		}
		if err := k.expired(); err != nil {
			return err
		}
	}
}

// onReady is called back by turn: to write, and then to read when there is something.
func (k *Conn) onReady(fd uintptr) bool {
	if len(k.out) > 0 {
		n, err := again(func() (int, error) { return syscall.Write(int(fd), k.out) })
		if n > 0 {
			k.out = k.out[n:]
		}
		if err != nil && !errors.Is(err, syscall.EAGAIN) {
			k.turnErr = os.NewSyscallError("write", err)
		}
		return err != nil || len(k.out) > 0
	}
	n, err := again(func() (int, error) { return syscall.Read(int(fd), k.in) })
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return false
	case err != nil:
		k.turnErr = os.NewSyscallError("read", err)
	case n == 0:
		k.turnErr = io.EOF
	}
	k.got = n
	return true
}

// quiet says whether nothing has happened on an idle connection: neither its end
// nor a byte, which could only be taken for the answer to the next request.
func (k *Conn) quiet() bool {
	if k.raw == nil {
		return true
	}
	err := k.look()
	return err == nil && errors.Is(k.peekErr, syscall.EAGAIN)
}

// lost says whether an open connection has nothing more to give.
func (k *Conn) lost() bool {
	err := k.look()
	return err != nil || k.peeked <= 0 && !errors.Is(k.peekErr, syscall.EAGAIN)
}

// look reads a byte and leaves it there.
func (k *Conn) look() error {
	k.peeked, k.peekErr = 0, nil
	return k.raw.Control(k.peek)
}

func (k *Conn) onPeek(fd uintptr) {
	var one [1]byte
	k.peeked, k.peekErr = again(func() (int, error) {
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return n, err
	})
}

// again repeats a call that a signal interrupted.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
