package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/field"
	"github.com/slipway-cd/slipway/internal/proxy/upstream"
)

// maxReplay is the largest body that is kept to be sent again.
const maxReplay = 64 << 10

// body is a caller's request body on its way to an instance. It survives the
// Close of a failed attempt, so that an attempt that sent nothing can be made
// again, and refuses reads once the exchange is over.
type body struct {
	mu      sync.Mutex
	from    io.Reader // guarded by mu; nil when the exchange is over
	all     bool      // guarded by mu: it was read to its end
	started bool      // guarded by mu: a read was made
	n       int64     // guarded by mu: bytes read
	err     error     // guarded by mu: the caller broke off
	reading bool      // guarded by mu: waiting for the caller now
	moved   func()    // guarded by mu: called at each piece; nil once there is an answer
	copy    *copying  // guarded by mu: takes each piece too; nil when the request is not copied
	whole   []byte    // the body, when it was small enough to keep
	none    bool
	over    bool // guarded by mu: the handler returns, and its ResponseWriter with it
}

var errOver = errors.New("the exchange is over")

// takeBody reads a small body whole, within limit, and leaves any other to be
// streamed. A caller that waits for "100 Continue" is not read before the
// instance agrees.
func takeBody(w http.ResponseWriter, r *http.Request, limit time.Duration) (*body, error) {
	b := &body{from: r.Body}
	switch {
	case r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0:
		b.none = true
	case r.ContentLength > 0 && r.ContentLength <= maxReplay && r.Header.Get("Expect") == "":
		conn := http.NewResponseController(w)
		_ = conn.SetReadDeadline(time.Now().Add(limit))
		b.whole = make([]byte, r.ContentLength)
		n, err := io.ReadFull(r.Body, b.whole)
		b.n = int64(n)
		if err != nil {
			return b, err // the deadline stays: the server must not wait for the rest
		}
		_ = conn.SetReadDeadline(time.Time{})
	}
	return b, nil
}

// replayable says whether the body can be sent again in full.
func (b *body) replayable() bool { return b.none || b.whole != nil }

// untouched says whether nothing of the body is used up.
func (b *body) untouched() bool {
	if b.replayable() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.started
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	from := b.from
	b.started, b.reading = true, from != nil
	b.mu.Unlock()
	if from == nil {
		return 0, errOver
	}
	n, err := from.Read(p)
	b.mu.Lock()
	b.reading = false
	b.n += int64(n)
	if b.moved != nil {
		b.moved()
	}
	if b.copy != nil {
		b.copy.piece(p[:n], err)
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.all = true
	default:
		b.err = err
	}
	b.mu.Unlock()
	return n, err
}

// Close does nothing: the server closes the caller's body.
func (b *body) Close() error { return nil }

// end detaches the body from attempts that still read it. A read that waits for
// the caller is broken off, and of an unread rest nothing is waited for: neither
// the client below can end an exchange while its body is being read, nor does the
// server above send an answer before it has tried to read up to 256 KB of the rest.
func (b *body) end(w http.ResponseWriter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.from, b.moved = nil, nil
	if b.copy != nil {
		b.copy.drop()
	}
	if more := b.reading || !b.all && !b.replayable(); more && !b.over {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	}
}

// cut is end, and breaks off a write of the answer too.
func (b *body) cut(w http.ResponseWriter) {
	b.end(w)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now())
	}
}

// leave is end, for when the handler returns. A timer that has just gone off may
// come too late, and must find nothing to set: over HTTP/1 a deadline would be the
// next request's, and over HTTP/2 net/http would panic, where nobody recovers.
func (b *body) leave(w http.ResponseWriter) {
	b.end(w)
	b.mu.Lock()
	b.over = true
	b.mu.Unlock()
}

// onMove sets what is called at each piece of the body; nil ends it.
func (b *body) onMove(moved func()) {
	b.mu.Lock()
	b.moved = moved
	b.mu.Unlock()
}

// twice lets a copy of the request have the body too.
func (b *body) twice(t *copying) {
	if b.replayable() {
		t.whole(b.whole)
		return
	}
	b.mu.Lock()
	b.copy = t
	b.mu.Unlock()
}

// callerBroke returns why the caller's body ended early, or nil.
func (b *body) callerBroke() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *body) bytes() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.n
}

// idempotent says whether a method may be carried out twice (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, http.MethodTrace:
		return true
	}
	return false
}

// copyBuffers are shared by all exchanges.
type copyBuffers struct{ pool sync.Pool }

func newCopyBuffers() *copyBuffers {
	return &copyBuffers{pool: sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}}
}

var errCaller = errors.New("the caller went away")

// passing is how an answer's body is passed on.
type passing struct {
	flush func() error   // called before more is waited for; nil when pieces may wait for each other
	look  *field.Scanner // sees the pieces too; nil is nobody
}

// stream copies an answer's body. An error of the caller's side is errCaller.
func (c *copyBuffers) stream(ctx context.Context, w io.Writer, from io.Reader, how passing) (int64, error) {
	var total int64
	flush := how.flush
	ours, own := from.(*answerBody)
	if own && flush == nil && how.look == nil {
		n, err := ours.WriteTo(w) // the kernel moves a long one
		return n, callersFault(ctx, err)
	}
	if own && flush != nil {
		ready := ours.Buffered()
		_, _ = how.look.Write(ready)
		n, err := w.Write(ready)
		total = int64(n)
		if err != nil {
			return total, errCaller
		}
		if ours.Done() {
			if ours.ends(); len(ours.res.Trailer) > 0 && flush() != nil { // else a length is set, behind which there is no trailer
				return total, errCaller
			}
			return total, nil
		}
	}
	buf := c.pool.Get().(*[]byte)
	defer c.pool.Put(buf)
	for {
		if flush != nil && flush() != nil {
			return total, errCaller
		}
		n, err := from.Read(*buf)
		if n > 0 {
			_, _ = how.look.Write((*buf)[:n])
			wrote, werr := w.Write((*buf)[:n])
			total += int64(wrote)
			if werr != nil {
				return total, errCaller
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return total, nil
		default:
			return total, callersFault(ctx, err)
		}
	}
}

// callersFault turns an error that the caller is to blame for into errCaller.
func callersFault(ctx context.Context, err error) error {
	var write *upstream.WriteError
	if err != nil && (ctx.Err() != nil || errors.As(err, &write)) {
		return errCaller
	}
	return err
}
