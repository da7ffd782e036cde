package proxy

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/upstream"
	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// answer passes an instance's answer on.
func (c *rawConn) answer(p *endpoint, conn *upstream.Conn, res *wire.Response, in int) rawDone {
	x := &c.x
	if !x.crossed {
		x.answered(time.Since(x.ticket.began))
	}
	if res.Upgrade { // nobody asked for it
		conn.Discard()
		why := failure{broken, errNotAsked}
		x.lost(p, why)
		c.held = nil
		return c.refuse(why, in)
	}
	end, ends := ended{status: res.Status, in: int64(in)}, c.ends()
	var err error
	c.waitsFor(conn)
	end.out, err = c.pass(conn.Body(), res, ends)
	c.waitsFor(nil)
	if err == nil {
		p.answered()
	} else if end.why = sort(err, x.route.timeout); end.why.how != cancelled {
		end.why.how = broken
		x.blame(p, end.why)
	}
	if err != nil || res.Status >= 500 { // else nobody looks at it
		end.head = rawLines(res.Fields)
	}
	x.close(end)
	if err == nil {
		conn.Release()
	} else {
		conn.Discard()
	}
	p.unclaim()
	c.held = nil
	if err != nil || ends {
		return rawCut
	}
	return rawServed
}

// pass writes the answer and returns how much of a body it had. What is there
// already goes out together with the head.
func (c *rawConn) pass(body *upstream.Body, res *wire.Response, ends bool) (int64, error) {
	body.SetIdle(c.x.route.idle)
	framed := res.Length == wire.Chunked || res.Length == wire.UntilClose
	c.out = c.appendAnswer(c.out[:0], res, ends, framed)
	if framed {
		return c.passPieces(body)
	}
	ready := body.Buffered()
	c.out = append(c.out, ready...)
	if err := c.flush(); err != nil {
		return 0, err
	}
	n := int64(len(ready))
	if body.Done() {
		return n, nil
	}
	if res.Length > longAnswer {
		streams := &c.held.streams
		streams.add(c)
		defer streams.remove(c)
	}
	more, err := body.WriteTo((*rawWriter)(c))
	return n + more, err
}

// passPieces passes on a body of unknown length, piece by piece as it comes.
func (c *rawConn) passPieces(body *upstream.Body) (int64, error) {
	ready := body.Buffered()
	total := int64(len(ready))
	if total > 0 {
		c.out = wire.AppendChunk(c.out, ready)
	}
	if !body.Done() {
		streams := &c.held.streams
		streams.add(c)
		defer streams.remove(c)
		buf := c.e.buffers.pool.Get().(*[]byte)
		defer c.e.buffers.pool.Put(buf)
		for !body.Done() {
			if err := c.flush(); err != nil { // nothing waits for what is still to come
				return total, err
			}
			c.moves()
			n, err := body.Read(*buf)
			if n > 0 {
				total += int64(n)
				c.out = wire.AppendChunk(c.out, (*buf)[:n])
			}
			if err != nil && !body.Done() {
				return total, err
			}
		}
	}
	c.out = wire.AppendLast(c.out, body.Trailer())
	return total, c.flush()
}

// flush writes what is in c.out to the caller.
func (c *rawConn) flush() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.tcp.Write(c.out)
	c.out = c.out[:0]
	if err != nil {
		return &upstream.WriteError{Err: err}
	}
	return nil
}

// moves notes that a piece of an answer has moved: what stands still is cut by
// sweep, and what moves may go on for as long as it likes.
func (c *rawConn) moves() { c.since.Store(time.Now().UnixNano()) }

// rawWriter is the caller's side of an answer that does not go out with its head.
type rawWriter rawConn

func (w *rawWriter) Write(p []byte) (int, error) {
	n, err := w.tcp.Write(p)
	(*rawConn)(w).moves()
	if err != nil {
		err = &upstream.WriteError{Err: err}
	}
	return n, err
}

// ReadFrom lets the kernel move a long body from socket to socket.
func (w *rawWriter) ReadFrom(r io.Reader) (int64, error) {
	all, limited := r.(*io.LimitedReader)
	if !limited {
		return w.tcp.ReadFrom(r)
	}
	return spliced(w.tcp, all, func(int64) { (*rawConn)(w).moves() })
}

// appendAnswer writes the head that the caller gets.
func (c *rawConn) appendAnswer(b []byte, res *wire.Response, ends, framed bool) []byte {
	b = appendStatus(b, res)
	dated := false
	for i := range res.Fields {
		f := &res.Fields[i]
		if f.Kind.Framing() {
			continue
		}
		dated = dated || len(f.Name) == 4 && wire.Is(f.Name, "date")
		b = wire.AppendField(b, f.Name, f.Value)
	}
	if !dated {
		b = appendDate(b)
	}
	if c.x.remembers() {
		b = append(b, "Set-Cookie: "+keyCookie+"="...)
		b = append(b, c.x.who.key...)
		b = append(b, cookieRest...)
		b = append(b, "\r\n"...)
	}
	switch {
	case framed:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case res.Length > 0 || res.Has(wire.KindContentLength) && res.Status >= 200 && res.Status != http.StatusNoContent:
		if res.Length == 0 { // none, or that of the body there would be (RFC 9110, 8.6)
			b = append(append(append(b, "Content-Length: "...), res.First(wire.KindContentLength)...), "\r\n"...)
			break
		}
		b = appendLength(b, res.Length)
	}
	if ends {
		b = append(b, "Connection: close\r\n"...)
	}
	return append(b, "\r\n"...)
}

func appendStatus(b []byte, res *wire.Response) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(res.Status), 10)
	b = append(b, ' ')
	b = append(b, res.Reason...)
	return append(b, "\r\n"...)
}

func appendDate(b []byte) []byte {
	b = append(b, "Date: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	return append(b, "\r\n"...)
}
