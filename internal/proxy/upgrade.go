package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// upgrade hands the two connections to each other after 101. The request is
// counted as answered now; its instance stays claimed, and so is drained, until
// both sides are done.
func (x *exchange) upgrade(p *endpoint, res *http.Response) {
	instance, both := res.Body.(io.ReadWriteCloser)
	if !both || !strings.EqualFold(upgradeOf(res.Header), upgradeOf(x.r.Header)) {
		x.refuse(failure{broken, errors.New("switched to a protocol that was not asked for")})
		return
	}
	x.e.upgrades.Add(1)
	defer x.e.upgrades.Done()
	conn, client, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.refuse(failure{broken, err})
		return
	}
	defer func() { _ = conn.Close() }()
	if !openGate(conn) {
		x.end(failure{cancelled, errEarly}, 0, 0)
		return
	}
	// The server's head is ours to write now: what it would have sent, and 101.
	head := x.w.Header()
	head.Del("Connection")
	for name, values := range res.Header {
		head[name] = append(head[name], values...)
	}
	res.Header, res.Body = head, nil
	err = errors.Join(conn.SetDeadline(time.Time{}), res.Write(client), client.Flush())
	res.Body = instance // for its Close
	if err != nil {
		x.end(failure{cancelled, err}, http.StatusSwitchingProtocols, 0)
		return
	}
	p.answered()
	x.end(failure{how: finished}, http.StatusSwitchingProtocols, 0)
	two := &tunnel{caller: conn, instance: instance}
	p.streams.add(two)
	defer p.streams.remove(two)
	in, out := two.join(client.Reader, &x.e.buffers.pool, x.route.idle)
	x.ticket.more(in, out)
}

var errEarly = errors.New("the caller has spoken the other protocol before the switch to it")

// finIdle is how long the one direction of a tunnel may stand still after the
// other has ended.
const finIdle = time.Minute

// tunnel is two connections that are each other's.
type tunnel struct {
	caller, instance io.ReadWriteCloser
	moved            atomic.Int64
}

// join passes on both ways until both have ended, or nothing moved for idle. One
// that ends in good order is ended for the other side too, which may have more
// to say; one that breaks ends both.
func (t *tunnel) join(caller io.Reader, buffers *sync.Pool, idle time.Duration) (in, out int64) {
	w := watch{of: t}
	w.start(idle)
	defer w.stop()
	defer t.cut()
	var both sync.WaitGroup
	one := func(to io.Writer, from io.Reader, n *int64) {
		err := t.pass(to, from, buffers, n)
		if err == nil {
			err = closeWrite(to)
		}
		if err != nil {
			t.cut()
			return
		}
		w.hurry(finIdle)
	}
	both.Go(func() { one(t.instance, caller, &in) })
	one(t.caller, t.instance, &out)
	both.Wait()
	return in, out
}

// pass copies until the end, for which it returns nil.
func (t *tunnel) pass(to io.Writer, from io.Reader, buffers *sync.Pool, n *int64) error {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		got, err := from.Read(*buf)
		if got > 0 {
			t.moved.Add(1)
			wrote, err := to.Write((*buf)[:got])
			*n += int64(wrote)
			t.moved.Add(1)
			if err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

var errNoHalf = errors.New("the connection cannot be closed in one direction")

// closeWrite says to the other side that nothing more will come.
func closeWrite(w any) error {
	for {
		if half, ok := w.(interface{ CloseWrite() error }); ok {
			return half.CloseWrite()
		}
		inner, wrapped := w.(interface{ NetConn() net.Conn })
		if !wrapped {
			return errNoHalf
		}
		w = inner.NetConn()
	}
}

func (t *tunnel) pieces() int64 { return t.moved.Load() }
func (t *tunnel) stand()        { t.cut() }

// cut ends both, and with them what copies between them.
func (t *tunnel) cut() {
	_ = t.caller.Close()
	_ = t.instance.Close()
}
