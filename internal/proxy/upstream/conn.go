package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// Request is what one exchange sends.
type Request struct {
	Head     []byte              // request line, fields and the empty line; the beginning of the body may follow
	Method   string              // of Head
	Body     io.Reader           // what of the body is not behind Head; nil is nothing. It is read by another goroutine until Release or Discard
	Length   int64               // of Body, or wire.Chunked
	Trailer  func() []wire.Field // of a chunked body, called after its end; may be nil
	Stop     func()              // makes a Read of Body that waits return; Release and Discard wait for it. nil if none waits for long
	Deadline time.Time           // for the head of the answer; zero is none
	Wait     time.Duration       // above 0, Deadline is put off until this long after Body last moved
	Close    bool                // Head says that the connection will not be kept
	Expect   bool                // Head asks for 100 Continue: Body waits for it, or a second

	Interim func(*wire.Response) error // sees every 1xx answer but 101, 100 too; an error of it ends the exchange. nil drops them
}

// streams says whether there is a body beside Head.
func (r *Request) streams() bool { return r.Body != nil && r.Length != 0 }

// Conn is one connection, in the hands of one caller between Get and Release or
// Discard. Only Cancel may be called by another goroutine.
type Conn struct {
	client *Client
	nc     net.Conn
	tcp    *net.TCPConn
	raw    syscall.RawConn
	ready  func(uintptr) bool // k.onReady, made once
	peek   func(uintptr)      // k.onPeek, made once

	since    time.Duration // it has been idle, or was taken
	reused   bool
	bodyless bool // its last answer had no body
	closed   atomic.Bool
	cause    atomic.Pointer[error] // why the exchange was broken off

	read  *[readSize]byte
	write *[writeSize]byte
	buf   []byte // read, or a larger one
	r, w  int    // what of buf was read and not used yet

	// The exchange.
	res      wire.Response
	body     Body
	sender   *sender
	undo     func() bool   // ends the watch of the context
	armed    time.Duration // the read deadline of the socket; 0 is none
	limit    time.Duration // of the head; 0 is none
	expectBy time.Duration // the body is sent without having been asked for; 0 is not waiting
	wait     time.Duration
	begun    bool
	answered bool
	last     bool // the request asks for no other one
	dirty    bool // there was a byte too many
	hijacked bool
	held     bool // between Get and Release or Discard

	// One turn of the raw connection.
	out     []byte
	in      []byte
	got     int
	turnErr error
	peeked  int
	peekErr error
}

func newConn(c *Client, nc net.Conn) *Conn {
	k := &Conn{client: c, nc: nc}
	k.body.k = k
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			k.tcp, k.raw, k.ready, k.peek = tcp, raw, k.onReady, k.onPeek
		}
	}
	return k
}

// Reused says whether the connection has carried another exchange before.
func (k *Conn) Reused() bool { return k.reused }

// Answered says whether any byte of an answer came.
func (k *Conn) Answered() bool { return k.answered }

// Scratch returns an empty buffer to build Request.Head in. It is the caller's
// until Release or Discard.
func (k *Conn) Scratch() []byte {
	if k.write == nil {
		k.write = k.client.o.Buffers.writes.Get().(*[writeSize]byte)
	}
	return k.write[:0]
}

// Do sends r and waits for the head of the answer, which is valid until Release
// or Discard. It is called once for each Get. After an error the connection is
// closed and Body is no longer read; Discard must be called all the same.
//
// Errors: *ConnError, *wire.Error for a malformed answer, ErrDeadline, *Cancelled,
// *BodyError. When ctx can end, its end breaks the whole exchange off, up to
// Release; a caller that calls Cancel itself spares the cost by a ctx that cannot.
func (k *Conn) Do(ctx context.Context, r *Request) (*wire.Response, error) {
	k.begin(r)
	if ctx.Err() != nil {
		k.Cancel(context.Cause(ctx))
	} else if ctx.Done() != nil {
		k.undo = context.AfterFunc(ctx, func() { k.Cancel(context.Cause(ctx)) })
	}
	err := k.exchange(r)
	if err == nil {
		return &k.res, nil
	}
	k.close()
	k.settle(false)
	k.body.err = err
	return nil, err
}

func (k *Conn) begin(r *Request) {
	k.begun, k.answered, k.dirty, k.last = true, false, false, r.Close
	k.read = k.client.o.Buffers.reads.Get().(*[readSize]byte)
	k.buf, k.r, k.w = k.read[:], 0, 0
	k.body.reset()
	k.wait, k.limit, k.expectBy = r.Wait, 0, 0
	if !r.Deadline.IsZero() {
		k.limit = max(1, r.Deadline.Sub(k.client.born))
	}
	if r.Expect && r.streams() {
		k.expectBy = k.client.now() + expectWait
	}
	k.armFirst()
}

// expectWait is how long a body waits to be asked for (RFC 9110, 10.1.1, leaves it open).
const expectWait = time.Second

// exchange sends the request and reads heads until the final one.
func (k *Conn) exchange(r *Request) error {
	var err error
	if !r.streams() && k.raw != nil {
		err = k.turn(r.Head)
	} else {
		k.send(r)
	}
	for interims := 0; err == nil; {
		var n int
		n, err = k.res.Parse(k.buf[k.r:k.w], r.Method, k.client.o.Head)
		switch {
		case err != nil:
			return k.why(err)
		case n == 0:
			err = k.fill()
			continue
		}
		k.r += n
		if !k.res.Interim() {
			k.final()
			return nil
		}
		if interims++; interims > maxInterim {
			return &wire.Error{Status: 502, Reason: errManyInterim.Error()}
		}
		err = k.interim(r)
	}
	return err
}

// maxInterim bounds the 1xx answers of one exchange.
const maxInterim = 32

func (k *Conn) interim(r *Request) error {
	if k.res.Status == 100 {
		k.letBody(true)
	}
	if r.Interim == nil {
		return nil
	}
	if err := r.Interim(&k.res); err != nil {
		return &Cancelled{err}
	}
	return nil
}

// final takes the final head: the deadline is met, and a body that was not asked
// for by now is not sent.
func (k *Conn) final() {
	k.letBody(false)
	k.limit, k.expectBy, k.wait = 0, 0, 0
	k.body.begin(k.res.Length)
}

// fill reads more of the head, until there is a whole line more: nothing less
// would let Parse get further, once it has seen the beginning.
func (k *Conn) fill() error {
	for {
		if k.w == len(k.buf) {
			k.makeRoom()
		}
		n, err := k.receive(k.buf[k.w:])
		if err != nil {
			return err
		}
		fresh := k.buf[k.w : k.w+n]
		first := k.r == k.w
		k.w += n
		if first || bytes.IndexByte(fresh, '\n') >= 0 || k.w-k.r >= k.client.o.Head.Head {
			return nil
		}
	}
}

// makeRoom moves what is not used yet to the front of the buffer, or doubles it.
// Parse refuses a head before it outgrows its limit.
func (k *Conn) makeRoom() {
	to := k.buf
	if k.r == 0 {
		to = make([]byte, 2*len(k.buf))
	}
	k.w = copy(to, k.buf[k.r:k.w])
	k.r, k.buf = 0, to
}

// receive reads from the connection, and goes on waiting while it may. Its error
// is what the caller of the exchange shall see.
func (k *Conn) receive(p []byte) (int, error) {
	for {
		n, err := k.nc.Read(p)
		if n > 0 {
			k.body.stood = false
			k.answered = true
			return n, nil
		}
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, k.why(err)
		}
		if err := k.expired(); err != nil {
			return 0, err
		}
	}
}

// why returns what an error of the connection means.
func (k *Conn) why(err error) error {
	if cause := k.broken(); cause != nil {
		return cause
	}
	if _, malformed := errors.AsType[*wire.Error](err); malformed {
		return err
	}
	return &ConnError{Err: err, Reused: k.reused, Answered: k.answered}
}

// broken returns why the exchange was broken off, or nil.
func (k *Conn) broken() error {
	p := k.cause.Load()
	if p == nil {
		return nil
	}
	if errors.Is(*p, ErrSevered) {
		return &ConnError{Err: *p, Reused: k.reused, Answered: k.answered}
	}
	return *p
}

// Cancel breaks the exchange off: Do, or a read of the body, returns *Cancelled.
// It must not come after Release or Discard, when the connection may be
// somebody else's.
func (k *Conn) Cancel(cause error) { k.breakOff(&Cancelled{cause}) }

// breakOff notes the cause first and then wakes who waits, who arms first and then
// looks for a cause: so one of the two sees the other.
func (k *Conn) breakOff(cause error) {
	if k.cause.CompareAndSwap(nil, &cause) {
		_ = k.nc.SetDeadline(time.Unix(1, 0)) // a closed connection needs no waking
	}
}

// Body returns the body of the answer.
func (k *Conn) Body() *Body { return &k.body }

// Hijack takes the connection out of HTTP, with what was read beyond the head of
// an answer with Upgrade set. Close ends the connection; Sever still cuts it. The
// bytes are valid until Discard, which must be called once they are used and
// leaves the connection open.
func (k *Conn) Hijack() (net.Conn, []byte, error) {
	if !k.res.Upgrade || k.body.err != io.EOF { //nolint:errorlint // the body's own mark
		return nil, nil, errNoUpgrade
	}
	if !k.unwatch() || !k.settle(true) {
		return nil, nil, k.why(errOver)
	}
	if err := k.nc.SetDeadline(time.Time{}); err != nil {
		return nil, nil, k.why(err)
	}
	if err := k.broken(); err != nil {
		return nil, nil, err
	}
	k.hijacked = true
	return k.tunnel(), k.buf[k.r:k.w], nil
}

// Release ends the use of the connection. It is kept if the exchange left it
// clean. Only the first Release or Discard after a Get does anything.
func (k *Conn) Release() {
	if !k.held {
		return
	}
	keep := !k.begun || k.body.Done() && !k.last && !k.res.Close && !k.res.Upgrade && k.r == k.w && !k.dirty
	keep = k.unwatch() && keep
	keep = k.settle(keep) && keep && k.cause.Load() == nil
	if !keep || k.closed.Load() {
		k.Discard()
		return
	}
	k.bodyless = k.body.length == 0
	k.free()
	k.client.put(k)
}

// Discard ends the use of the connection and closes it, unless it was hijacked.
func (k *Conn) Discard() {
	if !k.held {
		return
	}
	k.unwatch()
	if !k.hijacked {
		k.close()
	}
	k.settle(false)
	k.free()
}

// unwatch ends the watch of the context and says whether it came to nothing.
func (k *Conn) unwatch() bool {
	undo := k.undo
	k.undo = nil
	return undo == nil || undo()
}

// manyFields is more than a connection keeps room for while it is idle.
const manyFields = 64

// free gives the buffers back, and forgets what points into them.
func (k *Conn) free() {
	clear(k.res.Fields)
	if cap(k.res.Fields) > manyFields {
		k.res.Fields = nil
	}
	b := k.client.o.Buffers
	if k.read != nil {
		b.reads.Put(k.read)
	}
	if k.write != nil {
		b.writes.Put(k.write)
	}
	k.read, k.write, k.buf, k.r, k.w = nil, nil, nil, 0, 0
	k.body.err, k.begun, k.held = errOver, false, false
}

// close closes the connection, once.
func (k *Conn) close() {
	if k.closed.CompareAndSwap(false, true) {
		k.client.forget(k)
		_ = k.nc.Close() // nobody could do anything about it
	}
}
