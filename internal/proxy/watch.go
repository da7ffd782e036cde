package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

var errStill = errors.New("nothing moved for too long")

// watch cuts what stands still. It looks at a counter of pieces four times
// within the time that is allowed, which costs those who move nothing but the
// count; so a cut comes up to a quarter of the time late.
type watch struct {
	of movable

	mu    sync.Mutex
	every time.Duration // guarded by mu
	timer *time.Timer   // guarded by mu; nil when it is over
	last  int64         // guarded by mu
	still int           // guarded by mu: looks in a row that saw nothing move
}

// movable is what can stand still.
type movable interface {
	pieces() int64 // that have moved; only ever grows
	stand()        // it is cut
}

// looks is how often a watch looks within its time.
const looks = 4

// start watches until stop, and cuts once when nothing moved for limit.
func (w *watch) start(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.every = max(limit/looks, time.Millisecond)
	w.last = w.of.pieces()
	w.timer = time.AfterFunc(w.every, w.look)
}

func (w *watch) look() {
	w.mu.Lock()
	if w.timer == nil {
		w.mu.Unlock()
		return
	}
	if now := w.of.pieces(); now != w.last {
		w.last, w.still = now, 0
	} else {
		w.still++
	}
	over := w.still > looks
	if over {
		w.timer = nil
	} else {
		w.timer.Reset(w.every)
	}
	w.mu.Unlock()
	if over {
		w.of.stand()
	}
}

// hurry shortens the time from now on.
func (w *watch) hurry(limit time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if every := max(limit/looks, time.Millisecond); w.timer != nil && every < w.every {
		w.every, w.still = every, 0
		w.timer.Reset(every)
	}
}

// stop ends the watch. A cut that has begun may still go on.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}

// answering counts what is written to an answer.
type answering struct {
	http.ResponseWriter
	n atomic.Int64
}

func (p *answering) Write(b []byte) (int, error) {
	n, err := p.ResponseWriter.Write(b)
	p.n.Add(int64(n))
	return n, err
}

// bySplice is how many bytes the kernel moves before they count as a piece.
const bySplice = 256 << 10

// ReadFrom lets the kernel move what it can, piece by piece.
func (p *answering) ReadFrom(r io.Reader) (int64, error) {
	all, limited := r.(*io.LimitedReader)
	to, splices := p.ResponseWriter.(io.ReaderFrom)
	if !limited || !splices {
		return io.Copy(struct{ io.Writer }{p}, r)
	}
	return spliced(to, all, func(n int64) { p.n.Add(n) })
}

// spliced lets to take from what from leaves, and tells of each piece that moved.
func spliced(to io.ReaderFrom, from *io.LimitedReader, moved func(int64)) (total int64, err error) {
	for from.N > 0 && err == nil {
		part := io.LimitedReader{R: from.R, N: min(from.N, bySplice)}
		want := part.N
		var n int64
		n, err = to.ReadFrom(&part)
		total += n
		from.N -= n
		moved(n)
		if n < want {
			break
		}
	}
	return total, err
}

// Unwrap is for http.ResponseController.
func (p *answering) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// passOn passes an answer's body on, as long as anything moves in either direction.
func (x *exchange) passOn(ctx context.Context, from io.Reader, flush func() error) (int64, error) {
	x.watches()
	defer x.watch.stop()
	return x.e.buffers.stream(ctx, &x.answering, from, passing{flush: flush, look: x.look})
}

// watches begins the watch over an answer, which is to be written to x.answering.
func (x *exchange) watches() {
	x.answering.ResponseWriter = x.w
	x.watch.of = (*idleExchange)(x)
	x.watch.start(x.route.idle)
}

// idleExchange is an exchange as its watch sees it.
type idleExchange exchange

func (x *idleExchange) pieces() int64 { return x.answering.n.Load() + x.body.bytes() }

func (x *idleExchange) stand() {
	(*exchange)(x).breakOff(errStill)
	x.body.cut(x.w)
}
