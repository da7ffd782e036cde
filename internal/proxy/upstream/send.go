package upstream

import (
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/wire"
)

// sender writes a request beside the goroutine that waits for its answer, which
// may come before the body is through.
type sender struct {
	k      *Conn
	r      Request
	gate   chan bool // says whether the body shall be sent; nil if it shall
	done   chan struct{}
	ending atomic.Bool  // all that is left is the last write
	moved  atomic.Int64 // when the body last did, since Client.born
	err    error        // not to be read before done
}

// send starts to send the request.
func (k *Conn) send(r *Request) {
	s := &sender{k: k, r: *r, done: make(chan struct{})}
	s.moved.Store(int64(k.since))
	if k.expectBy > 0 {
		s.gate = make(chan bool, 1)
	}
	k.sender = s
	go s.run()
}

// letBody decides about a body that waits to be asked for, once.
func (k *Conn) letBody(asked bool) {
	k.expectBy = 0
	if s := k.sender; s != nil && s.gate != nil {
		select {
		case s.gate <- asked:
		default: // decided
		}
	}
}

// lastWrite is how long Release waits for the last write of a body, all of which
// the instance has seen, or it would not have answered, but most likely.
const lastWrite = 100 * time.Millisecond

// settle ends the sender and says whether the request was sent whole. With keep
// it waits a moment for the last write; else it breaks the sender off.
func (k *Conn) settle(keep bool) bool {
	s := k.sender
	if s == nil {
		return true
	}
	k.sender = nil
	if keep && s.ending.Load() {
		timer := time.NewTimer(lastWrite)
		defer timer.Stop()
		select {
		case <-s.done:
		case <-timer.C:
		}
	}
	select {
	case <-s.done:
		return s.err == nil
	default:
	}
	k.close()
	if s.gate != nil {
		select {
		case s.gate <- false:
		default:
		}
	}
	if s.r.Stop != nil {
		s.r.Stop()
	}
	<-s.done
	return false
}

func (s *sender) run() {
	defer close(s.done)
	streams := s.r.streams()
	s.ending.Store(!streams)
	if _, s.err = s.k.nc.Write(s.r.Head); s.err != nil || !streams {
		return
	}
	if s.gate != nil && !<-s.gate {
		s.err = errNotAsked
		return
	}
	s.err = s.copy()
	if bad, ok := errors.AsType[*BodyError](s.err); ok {
		s.k.breakOff(bad) // no answer can be waited for when the request is not whole
	}
}

// Around a piece of a chunked body.
const (
	before = 18 // 16 digits, CR LF
	behind = 2  // CR LF
)

// copy sends the body. An error of the connection is left to who reads the
// answer, for there may be one.
func (s *sender) copy() error {
	pool := &s.k.client.o.Buffers.copies
	buf := pool.Get().(*[copySize]byte)
	defer pool.Put(buf)
	left := s.r.Length
	for idle := 0; left != 0; {
		n, err := s.r.Body.Read(buf[before : copySize-behind])
		if err != nil && !errors.Is(err, io.EOF) {
			return &BodyError{err}
		}
		if idle++; n > 0 {
			idle = 0
		}
		switch {
		case idle > maxEmpty:
			return &BodyError{io.ErrNoProgress}
		case left == wire.Chunked:
		case int64(n) > left:
			return &BodyError{errLongBody}
		default:
			left -= int64(n)
		}
		s.moved.Store(int64(s.k.client.now()))
		s.ending.Store(left == 0 || left == wire.Chunked && err != nil)
		if werr := s.piece(buf, n, err != nil); werr != nil {
			return werr
		}
		s.moved.Store(int64(s.k.client.now()))
		if err != nil {
			break
		}
	}
	if left > 0 {
		return &BodyError{errShortBody}
	}
	return nil
}

// maxEmpty is how often in a row a body may be read to no effect.
const maxEmpty = 100

// piece writes n bytes of the body, which stand in buf from before on.
func (s *sender) piece(buf *[copySize]byte, n int, end bool) error {
	out := buf[before : before+n]
	if s.r.Length == wire.Chunked {
		if n > 0 {
			var size [before]byte
			line := wire.AppendChunkSize(size[:0], int64(n))
			start := before - len(line)
			copy(buf[start:], line)
			out = append(buf[start:before+n], "\r\n"...)
		}
		if end {
			var trailers []wire.Field
			if s.r.Trailer != nil {
				trailers = s.r.Trailer()
			}
			out = wire.AppendLast(out, trailers)
		}
	}
	if len(out) == 0 {
		return nil
	}
	_, err := s.k.nc.Write(out)
	return err
}
