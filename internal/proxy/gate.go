package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/door"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// gate stands between a caller's connection and net/http and lets HTTP/1 pass
// only as strictly written as the raw path takes it: net/http forgives what
// another server behind us may read in another way, and that is how requests are
// smuggled. It follows heads and bodies without changing a byte. In place of a
// head that breaks a rule it hands on a request of its own, so that the refusal
// comes in its turn, behind the answers to what came before.
type gate struct {
	net.Conn
	reads  reads
	head   int // bytes a head may have
	in     []byte
	at     int   // in[:at] may pass
	err    error // of the connection, once in has passed
	state  gateState
	left   int64 // bytes of the body, in gateBody
	chunks wire.Chunks
	req    wire.Request
	begun  bool                       // there was a head
	h2     bool                       // a connection that begins with its preface speaks HTTP/2
	why    atomic.Pointer[wire.Error] // the connection's last head was refused for this; net/http reads ahead of the request it carries

	gone   atomic.Bool            // the connection gives nothing more
	asking atomic.Pointer[asking] // to be broken off then
}

type gateState int

const (
	gateHead    gateState = iota
	gateBody              // of a known length
	gateChunks            // of a chunked one
	gateOpen              // it is no HTTP/1 any more
	gateRefused           // nothing more passes
)

// plainGate is a gate whose connection the kernel can write to by itself.
type plainGate struct {
	*gate
	io.ReaderFrom
}

// gated returns c behind a gate. Without TLS, which has chosen a protocol, it
// may turn out to speak HTTP/2, and net/http's waits are parked for a sweep of set.
func gated(c net.Conn, head int, set *set[*reads]) net.Conn {
	_, secure := c.(*tls.Conn)
	g := &gate{Conn: c, head: head, h2: !secure}
	g.reads.init(c)
	to, ok := c.(io.ReaderFrom)
	if !ok {
		return g
	}
	if guest, plain := c.(*door.Guest); plain {
		g.reads.tcp, g.reads.set = guest.TCPConn, set
		set.add(&g.reads)
	}
	return &plainGate{g, to}
}

// SetReadDeadline is net.Conn's.
func (g *gate) SetReadDeadline(t time.Time) error { return g.reads.SetReadDeadline(t) }

// SetDeadline is net.Conn's.
func (g *gate) SetDeadline(t time.Time) error { return g.reads.SetDeadline(t) }

// Close is net.Conn's.
func (g *gate) Close() error { return g.reads.Close() }

// NetConn returns the connection behind the gate.
func (g *gate) NetConn() net.Conn { return g.Conn }

// open lets everything pass from now on: the connection was taken out of HTTP.
// False means that the caller has spoken another protocol too early, and what it
// said is lost.
func (g *gate) open() bool {
	g.state, g.at = gateOpen, len(g.in)
	return g.why.Load() == nil
}

// openGate opens the gate of a hijacked connection.
func openGate(c net.Conn) bool {
	switch g := c.(type) {
	case *plainGate:
		return g.open()
	case *gate:
		return g.open()
	}
	return true
}

// The request that stands for a refused head. A caller that sends the like gets
// no refusal: its gate knows of none.
const (
	refusedTarget = "/.refused"
	refusedHost   = "refused"
)

// Read gives what may pass. What is whole passes without being copied.
func (g *gate) Read(p []byte) (int, error) {
	n, err := g.read(p)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		g.gone.Store(true) // before the look at what is to be broken off; see asking.ask
		if a := g.asking.Load(); a != nil {
			a.breakOff(errCaller)
		}
	}
	return n, err
}

// over says whether the caller has ended its side, or the connection is broken.
func (g *gate) over() bool { return g.gone.Load() }

func (g *gate) read(p []byte) (int, error) {
	if len(p) == 1 && g.between() {
		if err := g.reads.await(); err != nil {
			return 0, err
		}
	}
	for {
		if len(g.in) == 0 {
			if n, done, err := g.direct(p); done {
				return n, err
			}
			continue
		}
		if g.at == 0 && g.state != gateRefused {
			begins := g.state == gateHead
			if n := g.pass(g.in); g.why.Load() == nil {
				g.at = n
			}
			if begins && g.at > 0 && g.why.Load() == nil && g.state != gateOpen { // net/http takes no empty line before a request
				g.in, g.at = g.in[g.req.Lead:], g.at-g.req.Lead
			}
			if g.state == gateRefused {
				g.in = g.in[:g.at]
			}
		}
		if g.at > 0 {
			n := copy(p, g.in[:g.at])
			if g.in, g.at = g.in[n:], g.at-n; len(g.in) == 0 {
				g.in = nil
			}
			return n, nil
		}
		if g.err != nil {
			return 0, g.err
		}
		if err := g.fill(); err != nil {
			return 0, err
		}
	}
}

// between says that everything up to the end of a message has passed, and nothing
// after it has come. Whoever reads a single byte then only waits for something to
// happen: for a head or a body net/http has more room.
func (g *gate) between() bool {
	return g.reads.set != nil && g.state == gateHead && len(g.in) == 0 && g.err == nil
}

// direct reads into p and keeps back what may not pass yet. It is not done when
// that was all.
func (g *gate) direct(p []byte) (n int, done bool, err error) {
	if g.err != nil {
		return 0, true, g.err
	}
	if g.state == gateRefused {
		return 0, true, io.EOF
	}
	n, err = g.reads.Read(p)
	if n == 0 {
		return 0, true, err
	} // else an error comes again: TLS tells of its end together with the last bytes
	if g.state == gateHead && n > 0 && p[0] == '\r' {
		g.in = bytes.Clone(p[:n])
		return 0, false, nil
	}
	ok := g.pass(p[:n])
	if ok < n && g.state != gateRefused {
		g.in = bytes.Clone(p[ok:n])
	}
	return ok, ok > 0, nil
}

// fill reads more behind what is kept back: of a head a line at least, for it
// grows by lines, and to parse it again for each byte would take a time that is
// the square of its size. A deadline that passes loses nothing: net/http sets one
// to stop a read, and reads again.
func (g *gate) fill() error {
	var more [2 << 10]byte
	for {
		n, err := g.reads.Read(more[:])
		g.in = append(g.in, more[:n]...)
		switch {
		case n > 0: // an error comes again
			if g.state != gateHead || len(g.in) >= g.head || bytes.IndexByte(more[:n], '\n') >= 0 {
				return nil
			}
		case errors.Is(err, io.EOF):
			g.at, g.err = len(g.in), err // net/http says what it thinks of half a head
			return nil
		default:
			return err
		}
	}
}

// pass returns how much of b may pass, and follows that: at most to the end of
// the message at hand.
func (g *gate) pass(b []byte) int {
	n := 0
	for n < len(b) {
		rest := b[n:]
		switch g.state {
		case gateHead:
			size, whole := 0, n == 0 // what was before this message passes first
			if whole {
				size, whole = g.passHead(rest)
			}
			if !whole {
				return n
			}
			n += size
		case gateBody:
			size := min(g.left, int64(len(rest)))
			n += int(size)
			if g.left -= size; g.left == 0 {
				g.state = gateHead
			}
		case gateChunks:
			_, size, err := g.chunks.Next(rest)
			n += size
			if err != nil {
				g.err = err
				return n
			}
			if g.chunks.Done() {
				g.state = gateHead
			}
		case gateOpen:
			return len(b)
		case gateRefused:
			return n
		}
	}
	return n
}

// passHead returns the size of the head at the start of b, and whether it is whole.
func (g *gate) passHead(b []byte) (int, bool) {
	if g.h2 && !g.begun && startsAlike(b, preface) {
		if len(b) < len(preface) {
			return 0, false
		}
		g.state = gateOpen
		return len(b), true
	}
	n, err := g.req.Parse(b, wire.Limits{Head: g.head})
	if err != nil {
		g.refuse(err)
	}
	if n > 0 {
		g.begun = true
		g.enter()
	}
	return n, n > 0
}

// preface begins a connection of HTTP/2 (RFC 9113, 3.4). What begins like it and
// goes on otherwise is for HTTP/1, or else whoever wrote PRI would have no gate.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// startsAlike says whether one of the two is the beginning of the other.
func startsAlike(b []byte, s string) bool {
	n := min(len(b), len(s))
	return string(b[:n]) == s[:n]
}

// enter begins the body of the request whose head has passed.
func (g *gate) enter() {
	switch {
	case string(g.req.Method) == http.MethodConnect:
		g.state = gateRefused // we answer it, and the connection ends
	case g.req.Length == wire.Chunked:
		g.state, g.chunks = gateChunks, wire.Chunks{}
	case g.req.Length > 0:
		g.state, g.left = gateBody, g.req.Length
	}
}

// refuse puts a request of ours in the place of a head that breaks a rule.
func (g *gate) refuse(err error) {
	why, ok := errors.AsType[*wire.Error](err)
	if !ok {
		why = &wire.Error{Status: http.StatusBadRequest, Reason: err.Error()}
	}
	g.state = gateRefused
	g.why.Store(why)
	g.in = []byte("GET " + refusedTarget + " HTTP/1.1\r\nHost: " + refusedHost + "\r\nConnection: close\r\n\r\n")
	g.at = len(g.in)
}

type gateKey struct{}

// withGate is a part of http.Server.ConnContext: requests learn of their gate.
func withGate(ctx context.Context, c net.Conn) context.Context {
	switch g := c.(type) {
	case *plainGate:
		return context.WithValue(ctx, gateKey{}, g.gate)
	case *gate:
		return context.WithValue(ctx, gateKey{}, g)
	}
	return ctx
}

// beneath returns the first connection of a kind on the way down from c: a gate,
// TLS, a guest.
func beneath[T any](c net.Conn) (found T, ok bool) {
	for {
		if found, ok = c.(T); ok {
			return found, true
		}
		inner, wrapped := c.(interface{ NetConn() net.Conn })
		if !wrapped {
			return found, false
		}
		c = inner.NetConn()
	}
}
