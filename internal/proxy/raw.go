package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/door"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// Sizes of the raw path's buffers.
const (
	rawBuffer = 8 << 10   // of a connection while it has a request
	rawBody   = maxReplay // largest request body it takes; longer ones go to the full path
)

// rawConn is a caller's connection on the raw path: plain HTTP/1.1 requests to
// plain routes, read and answered by one goroutine without net/http. Whatever is
// unusual is handed, connection and all, to the full path.
//
// All requests of a connection are served within one call of RawConn.Read. Its
// callback is asked again each time the socket has become readable, and the
// poller remembers an edge that arrives meanwhile; so after a read that did not
// fill the buffer there is nothing to read until the callback has returned and
// was called again, and an exchange costs one read and one write on this side.
// Within the callback the connection's own Read would wait for itself for ever;
// Write and the deadlines are other locks.
type rawConn struct {
	f     *front
	e     *engine
	guest *door.Guest
	tcp   *net.TCPConn // the guest's
	peer  netip.Addr

	phase    atomic.Int32                            // a rawPhase
	looked   atomic.Bool                             // for the end of the caller, in this rest
	since    atomic.Int64                            // Unix nanoseconds: when the phase began, or something last moved
	patience atomic.Int64                            // nanoseconds that may pass while busy
	queues   atomic.Pointer[context.CancelCauseFunc] // ends the wait for a slot

	asking

	fresh   bool     // no request came yet
	expects rawPhase // phase, for the connection's own goroutine
	in      []byte   // nil while idle
	have    int      // bytes of in that are filled
	at      int      // bytes of in that are used up
	out     []byte
	req     rawAsked
	x       passage
	held    *endpoint // claimed by the request that is being carried
	next    rawNext
	wants   int         // bytes of the request whose body is waited for
	lingers bool        // the caller must be able to read the answer before the connection dies
	over    atomic.Bool // cut
}

// rawNext is what becomes of a connection when its callback returns true.
type rawNext int

const (
	rawEnd rawNext = iota
	rawHand
)

// rawPhase is what a connection is waiting for.
type rawPhase int32

const (
	rawIdle       rawPhase = iota // the next request
	rawHead                       // the rest of a head
	rawAwaitsBody                 // the rest of a short body
	rawBusy                       // an instance, or the caller to take the answer
)

// enters begins a phase. Whoever sweeps reads the phase first and then its time:
// so a new phase is never seen with the time of the one before.
func (c *rawConn) enters(p rawPhase, now time.Time) {
	c.expects = p
	c.since.Store(now.UnixNano())
	c.phase.Store(int32(p))
}

// wake ends the connection as soon as it has no request: its callback is not
// called again once the deadline has passed.
func (c *rawConn) wake() { _ = c.tcp.SetReadDeadline(time.Unix(1, 0)) }

// cut ends the connection now. It shuts the socket instead of closing it, for
// Close waits for the callback to return.
func (c *rawConn) cut() {
	c.over.Store(true)
	c.abandon()
	_ = c.tcp.CloseRead()
	_ = c.tcp.CloseWrite()
	_ = c.tcp.SetDeadline(time.Unix(1, 0))
}

// queued keeps how to break off a wait for a slot, whose caller nobody reads
// from meanwhile; nil when it is over.
func (c *rawConn) queued(stop context.CancelCauseFunc) {
	if stop == nil {
		c.queues.Store(nil)
		return
	}
	c.queues.Store(&stop)
}

// abandon breaks the exchange off that the caller waits for, or the wait for one.
func (c *rawConn) abandon() {
	if stop := c.queues.Load(); stop != nil {
		(*stop)(errCaller)
	}
	c.breakOff(errCaller)
}

// gone says whether the caller has closed its side.
func (c *rawConn) gone() bool {
	n, err := glance(c.tcp)
	return n <= 0 && !errors.Is(err, syscall.EAGAIN)
}

func newRawConn(f *front, g *door.Guest) *rawConn {
	c := &rawConn{f: f, e: f.engine, guest: g, tcp: g.TCPConn, fresh: true}
	c.from, c.interim = c, c.passInterim
	if at, ok := g.RemoteAddr().(*net.TCPAddr); ok {
		c.peer = at.AddrPort().Addr().Unmap()
	}
	c.req.remote = c.peer
	c.enters(rawIdle, time.Now())
	return c
}

// serve answers requests until the connection ends or is handed on. ctx is for
// dialling only.
func (c *rawConn) serve(ctx context.Context) {
	defer c.survive()
	raw, err := c.tcp.SyscallConn()
	for again := err == nil; again; {
		err = raw.Read(func(fd uintptr) bool { return c.turn(ctx, fd) })
		again = errors.Is(err, os.ErrDeadlineExceeded) && c.overtaken()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && c.expects == rawAwaitsBody {
		err, c.next = nil, rawHand // a body that takes its time is for the full path
	}
	if err == nil && c.next == rawHand {
		c.guest.Unread(bytes.Clone(c.in[c.at+c.lead() : c.have]))
		c.release()
		c.f.hand(c.guest)
		return
	}
	c.release()
	if c.lingers {
		c.linger()
	}
	_ = c.guest.Close()
}

// overtaken says whether a request came while the connection was woken to end as
// one that has none, and lets it be read: its caller cannot have known of the end.
func (c *rawConn) overtaken() bool {
	switch c.expects {
	case rawIdle:
		if n, _ := glance(c.tcp); n <= 0 {
			return false
		}
	case rawAwaitsBody: // else the full path waits for it
		if !c.f.hasEnded() || time.Now().UnixNano()-c.since.Load() > int64(c.f.silence().body) {
			return false
		}
	case rawHead, rawBusy:
		return false
	}
	return c.tcp.SetReadDeadline(time.Time{}) == nil && !c.over.Load()
}

// lead is how many bytes of empty lines, which net/http does not take, stand
// before the request that is handed on.
func (c *rawConn) lead() int { return min(c.req.Lead, c.have-c.at) }

// linger reads on for a moment after the last answer: closing a socket with
// unread bytes resets it, and the caller might never see what it was told.
func (c *rawConn) linger() {
	_ = c.tcp.CloseWrite()
	_ = c.tcp.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.tcp, lingerBytes)
}

const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// survive keeps a mistake in one request from ending all others.
func (c *rawConn) survive() {
	err := recover()
	if err == nil {
		return
	}
	c.e.log.Error("a request broke the raw path", slog.Any("panic", err), slog.String("stack", string(debug.Stack())))
	c.mu.Lock()
	conn := c.waits
	c.waits = nil
	c.mu.Unlock()
	if conn != nil {
		conn.Discard()
	}
	c.x.fell()
	if c.held != nil {
		c.held.unclaim()
	}
	_ = c.guest.Close()
}

// turn is the callback: it reads what has come and answers every request that is
// whole. False means: call again when there is more.
func (c *rawConn) turn(ctx context.Context, fd uintptr) bool {
	for {
		if c.in == nil {
			c.in = rawBuffers.Get().(*[rawBuffer]byte)[:]
		}
		n, err := syscall.Read(int(fd), c.in[c.have:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			c.rest()
			return false
		case err != nil || n == 0:
			c.next = rawEnd
			return true
		}
		c.have += n
		full := c.have == len(c.in)
		if c.answerAll(ctx, n) {
			return true
		}
		c.rest()
		if !full {
			return false
		}
	}
}

// rest gives the buffer back when nothing is in it, and notes since when the
// caller is waited for.
func (c *rawConn) rest() {
	if c.at == c.have {
		c.at, c.have = 0, 0
		c.release()
	}
}

func (c *rawConn) release() {
	if len(c.in) == rawBuffer {
		rawBuffers.Put((*[rawBuffer]byte)(c.in))
	}
	c.in = nil
	if cap(c.out) > rawBuffer/2 { // an idle connection keeps little
		c.out = nil
	}
}

var rawBuffers = sync.Pool{New: func() any { return new([rawBuffer]byte) }}

// answerAll answers the requests that are whole. True means that the connection
// is done with, here.
func (c *rawConn) answerAll(ctx context.Context, fresh int) bool {
	if c.expects == rawHead && c.have < len(c.in) && bytes.IndexByte(c.in[c.have-fresh:c.have], '\n') < 0 {
		return false // a head grows by lines
	}
	if c.expects == rawAwaitsBody && c.have-c.at < c.wants {
		return false // and needs no second look until its body is there
	}
	if c.fresh && wire.Preface(c.in[c.at:c.have]) {
		c.next = rawHand
		return true
	}
	for c.at < c.have {
		n, err := c.req.Parse(c.in[c.at:c.have], wire.Limits{Head: c.e.limits().HeadBytes})
		if err != nil {
			c.refuseHead(err)
			return true
		}
		if n == 0 {
			c.await(rawHead)
			c.room()
			return false
		}
		c.fresh = false
		if c.unusual() {
			c.next = rawHand
			return true
		}
		whole := n + int(c.req.Length)
		if whole > c.have-c.at {
			if !c.guest.Enter() {
				return true
			}
			c.await(rawAwaitsBody)
			c.wants = whole
			c.grow(whole)
			return false
		}
		body := c.in[c.at+n : c.at+whole]
		if !c.guest.Enter() {
			return true
		}
		done := c.carry(ctx, body)
		c.guest.Leave()
		if done == rawHandOver {
			c.next = rawHand
			return true
		}
		c.at += whole
		if done == rawCut {
			c.lingers = c.lingers || c.at < c.have || !c.req.Close // who did not ask for the end may be writing
			return true
		}
		c.looked.Store(false)
		c.enters(rawIdle, time.Now())
	}
	return false
}

// unusual says whether a request is not for this path: HTTP/2, an upgrade, an
// Expect, a body that is long or of unknown length.
func (c *rawConn) unusual() bool {
	const carried = wire.RawTarget
	return c.req.Unusual&^carried != 0 || c.req.Length == wire.Chunked || c.req.Length > rawBody
}

// room makes place for more of a head, which its parser bounds.
func (c *rawConn) room() {
	if c.have == len(c.in) {
		c.grow(2 * (c.have - c.at))
	}
}

// await notes that the rest of a message is waited for. The time counts from the
// first piece on.
func (c *rawConn) await(p rawPhase) {
	if c.expects != p {
		c.enters(p, time.Now())
	}
}

// grow makes place for size bytes from c.at on.
func (c *rawConn) grow(size int) {
	if size <= len(c.in)-c.at {
		return
	}
	in := c.in
	if size > len(in) {
		in = make([]byte, size)
	}
	n := copy(in, c.in[c.at:c.have])
	if len(c.in) == rawBuffer && &in[0] != &c.in[0] {
		rawBuffers.Put((*[rawBuffer]byte)(c.in))
	}
	c.in, c.at, c.have = in, 0, n
}
