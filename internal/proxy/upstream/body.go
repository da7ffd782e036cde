package upstream

import (
	"errors"
	"io"
	"os"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// Body is the body of an answer, without its framing. It ends with the use of
// its connection.
type Body struct {
	k       *Conn
	begun   bool
	stood   bool          // the read deadline has passed since the last byte
	idle    time.Duration // 0 is no bound
	length  int64         // as in wire.Head
	left    int64         // of length
	chunks  wire.Chunks
	limited io.LimitedReader
	err     error // how it ended; io.EOF is well
}

func (b *Body) reset() { *b = Body{k: b.k} }

func (b *Body) begin(length int64) {
	b.begun, b.length, b.left = true, length, length
	if length == 0 {
		b.err = io.EOF
	}
}

// Length returns the size of the body, wire.Chunked or wire.UntilClose.
func (b *Body) Length() int64 { return b.length }

// Done says whether the body was read to a good end.
func (b *Body) Done() bool { return b.err == io.EOF } //nolint:errorlint // its own mark

// Trailer returns the trailer fields of a chunked body that is Done.
func (b *Body) Trailer() []wire.Field { return b.chunks.Trailers() }

// SetIdle lets reads fail with ErrDeadline when nothing comes for d, or up to a
// second or another d longer; 0 waits forever.
func (b *Body) SetIdle(d time.Duration) { b.idle, b.stood = d, false }

// Buffered returns the beginning of the body as far as it came with the head,
// which counts as read. It is valid until Release or Discard. When the body is
// Done then, the whole answer can be passed on with one write.
func (b *Body) Buffered() []byte {
	k := b.k
	if b.err != nil || k.r == k.w {
		return nil
	}
	p := k.buf[k.r:k.w]
	if b.length >= 0 {
		p = p[:min(int64(len(p)), b.left)]
	}
	k.r += len(p)
	n, _ := b.took(p) // b.err is for the next Read
	return p[:n]
}

// Read reads. The end comes with the last bytes, not after them. A body that the
// connection's end cut short is io.ErrUnexpectedEOF, one that is badly chunked
// *wire.Error; the other errors are those of Conn.Do.
func (b *Body) Read(p []byte) (int, error) {
	for b.err == nil && len(p) > 0 {
		if b.length >= 0 {
			p = p[:min(int64(len(p)), b.left)]
		}
		n, err := b.take(p)
		if err != nil {
			b.err = b.cut(err)
			break
		}
		if n, err = b.took(p[:n]); n > 0 || err != nil {
			return n, err
		}
	}
	return 0, b.err
}

// take returns raw bytes, those that came with the head first.
func (b *Body) take(p []byte) (int, error) {
	k := b.k
	if k.r < k.w {
		n := copy(p, k.buf[k.r:k.w])
		k.r += n
		return n, nil
	}
	return k.receive(p)
}

// took accounts for raw bytes in p, moves what is data to its front, and returns
// how much that is, and the end when it is reached.
func (b *Body) took(p []byte) (int, error) {
	switch {
	case b.length == wire.UntilClose:
		return len(p), nil
	case b.length >= 0:
		if b.left -= int64(len(p)); b.left == 0 {
			b.err = io.EOF
		}
		return len(p), b.err
	}
	n := 0
	for raw := p; len(raw) > 0; {
		data, used, err := b.chunks.Next(raw)
		n += copy(p[n:], data)
		raw = raw[used:]
		switch {
		case err != nil:
			b.err = &wire.Error{Status: 502, Reason: err.Error()}
		case b.chunks.Done():
			b.err = io.EOF
			b.k.dirty = b.k.dirty || len(raw) > 0
		default:
			continue
		}
		return n, b.err
	}
	return n, nil
}

// cut returns what an error of the connection means for the body.
func (b *Body) cut(err error) error {
	var broken *ConnError
	if !errors.As(err, &broken) || !errors.Is(broken.Err, io.EOF) {
		return err
	}
	if b.length == wire.UntilClose {
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

// spliceMin is from where on it pays to let the kernel move a body.
const spliceMin = 16 << 10

// WriteTo passes what is left of the body on. A long body of known length goes
// from socket to socket when w can take it so (an io.ReaderFrom, as *net.TCPConn
// and the answer writer of net/http are). An error of w is *WriteError.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	var total int64
	if p := b.Buffered(); len(p) > 0 {
		n, err := w.Write(p)
		total = int64(n)
		if err != nil {
			return total, &WriteError{err}
		}
	}
	if to, ok := w.(io.ReaderFrom); ok && b.err == nil && b.k.tcp != nil && b.left >= spliceMin {
		n, err := b.splice(to)
		total += n
		if err != nil || b.err != nil {
			return total, b.end(err)
		}
	}
	pool := &b.k.client.o.Buffers.copies
	buf := pool.Get().(*[copySize]byte)
	defer pool.Put(buf)
	for b.err == nil {
		n, err := b.Read(buf[:])
		if n > 0 {
			n, werr := w.Write(buf[:n])
			total += int64(n)
			if werr != nil {
				return total, &WriteError{werr}
			}
		}
		if err != nil {
			break
		}
	}
	return total, b.end(nil)
}

// end returns err, or how the body ended if that was not well.
func (b *Body) end(err error) error {
	if err == nil && !b.Done() {
		return b.err
	}
	return err
}

// splice passes the rest of a body of known length on. Progress is not seen while
// the kernel moves bytes, so a deadline that comes after some were moved is set
// anew.
func (b *Body) splice(to io.ReaderFrom) (total int64, err error) {
	k := b.k
	for b.err == nil {
		at := time.Duration(0)
		if b.idle > 0 {
			at = k.client.now() + b.idle
		}
		if at != k.armed {
			k.arm(at)
		}
		if err := k.broken(); err != nil {
			b.err = err
			return total, nil
		}
		b.limited = io.LimitedReader{R: k.tcp, N: b.left}
		n, err := to.ReadFrom(&b.limited)
		total += n
		if n > 0 {
			k.answered = true
		}
		if b.left -= n; b.left == 0 {
			b.err = io.EOF
			return total, nil // what is wrong with to, its next write says
		}
		switch {
		case err == nil:
			b.err = io.ErrUnexpectedEOF
		case errors.Is(err, os.ErrDeadlineExceeded) && at > 0 && k.client.now() >= at && k.broken() == nil:
			if n == 0 {
				b.err = ErrDeadline
			}
		case k.broken() != nil:
			b.err = k.broken()
		case k.lost():
			b.err = b.cut(k.why(err))
		default:
			return total, &WriteError{err}
		}
	}
	return total, nil
}
