package door

import (
	"io"
	"net"
	"sync/atomic"
)

// What a guest is doing.
const (
	idle int32 = iota
	busy
	gone // closed to make room
)

// Guest is one caller's open connection. It is a *net.TCPConn in all but this:
// it is counted until it is closed, and knows whether a request is on it.
type Guest struct {
	*net.TCPConn
	door   *Door
	rest   []byte // read already, by a path that gave the connection on
	doing  atomic.Int32
	moved  atomic.Int64 // tick of the last byte read or the last request's end; 0 before the first one's
	closed atomic.Bool
}

// Enter says that there is a request on the connection now. False means that it
// was closed to make room before: nothing may be done for the request.
func (g *Guest) Enter() bool { return g.doing.CompareAndSwap(idle, busy) || g.doing.Load() == busy }

// Leave says that there is no request on the connection any more.
func (g *Guest) Leave() {
	if g.doing.Load() == busy {
		g.moved.Store(g.door.house.now.Load())
		g.doing.CompareAndSwap(busy, idle)
	}
}

// Unread gives bytes back that were read; the next Read returns them. Only the
// goroutine that read them may call it, before it gives the connection on.
func (g *Guest) Unread(b []byte) { g.rest = b }

// Read is net.Conn's.
func (g *Guest) Read(p []byte) (int, error) {
	if len(g.rest) > 0 {
		n := copy(p, g.rest)
		if g.rest = g.rest[n:]; len(g.rest) == 0 {
			g.rest = nil
		}
		return n, nil
	}
	n, err := g.TCPConn.Read(p)
	if g.moved.Load() != 0 {
		g.moved.Store(g.door.house.now.Load())
	}
	return n, err
}

// WriteTo copies what comes to w until the end.
func (g *Guest) WriteTo(w io.Writer) (int64, error) {
	if len(g.rest) == 0 {
		return g.TCPConn.WriteTo(w)
	}
	n, err := w.Write(g.rest)
	if g.rest = g.rest[n:]; err != nil {
		return int64(n), err
	}
	m, err := g.TCPConn.WriteTo(w)
	return int64(n) + m, err
}

// Close closes the connection and gives its place to who waits.
func (g *Guest) Close() error {
	if g.closed.Swap(true) {
		return net.ErrClosed
	}
	err := g.TCPConn.Close()
	g.door.house.left(g)
	return err
}

// waiting returns since which tick the connection waits for another request.
func (g *Guest) waiting() (since int64, ok bool) {
	since = g.moved.Load()
	return since, since != 0 && g.doing.Load() == idle
}

// dismiss closes an idle connection, unless a request began on it meanwhile.
func (g *Guest) dismiss() bool {
	if !g.doing.CompareAndSwap(idle, gone) {
		return false
	}
	_ = g.Close()
	return true
}
