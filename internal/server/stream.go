package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds of streams.
const (
	maxStreams = 64               // at once
	beatTime   = 10 * time.Second // between two signs of life
	takeTime   = 15 * time.Second // for the client to take what is sent; then it is dropped
	rightTime  = time.Second      // between two looks whether the client may still read
)

// streams counts the long answers under way and can end them all.
type streams struct {
	seats  chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newStreams(most int) *streams {
	return &streams{seats: make(chan struct{}, most), closed: make(chan struct{})}
}

func (s *streams) hangUp() { s.once.Do(func() { close(s.closed) }) }

// enter takes a seat. leave gives it back and must be called.
func (s *streams) enter() (leave func(), err error) {
	select {
	case <-s.closed:
		return nil, newProblem(codeStopping, "the server is stopping")
	default:
	}
	select {
	case s.seats <- struct{}{}:
		return func() { <-s.seats }, nil
	default:
		p := newProblem(codeTooMany, fmt.Sprintf("%d streams are open already, which is all there may be", cap(s.seats)))
		p.Hint = "close one, or try again in a few seconds"
		return nil, p
	}
}

// streamOutput is an answer that goes on. It has no form that huma could write.
type streamOutput struct {
	Body func(huma.Context)
}

// streamed returns an answer that write fills until its context ends: the client
// left, the server stops, or the client did not take what was sent.
func (s *Server) streamed(ctx context.Context, f framing, write func(context.Context, *stream)) (*streamOutput, error) {
	leave, err := s.streams.enter()
	if err != nil {
		return nil, err
	}
	return &streamOutput{Body: func(hc huma.Context) {
		defer leave()
		_, w := humago.Unwrap(hc)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		st := &stream{w: w, conn: http.NewResponseController(w), framing: f, cancel: cancel}
		h := w.Header()
		h.Set("Content-Type", string(f))
		h.Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		if hc.Method() == http.MethodHead {
			return
		}
		var beats sync.WaitGroup
		defer beats.Wait()
		defer cancel()
		beats.Go(func() { st.beat(ctx, s.streams.closed) })
		beats.Go(func() { s.holdRight(ctx, cancel) })
		write(ctx, st)
	}}, nil
}

// holdRight ends a stream when who follows it may not read any more.
func (s *Server) holdRight(ctx context.Context, cancel context.CancelFunc) {
	pass, _ := ctx.Value(passKey{}).(access.Pass)
	ticker := time.NewTicker(rightTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if who, err := s.d.Guard.Still(ctx, pass); err == nil && access.Need(who, delivery.Reader) != nil {
			cancel()
			return
		}
	}
}

// framing is how lines are told apart in a stream.
type framing string

const (
	sse    framing = "text/event-stream"
	ndjson framing = "application/x-ndjson"
)

// stream writes lines to one client, and gives up on one that does not take
// them: nothing is kept for it. It is safe for use by many goroutines.
type stream struct {
	framing framing
	cancel  context.CancelFunc

	mu   sync.Mutex
	w    io.Writer
	conn *http.ResponseController
}

// message is one line of a stream.
type message struct {
	id    int64  // 0: none
	event string // "": none
	data  any
}

// send writes one message. It returns false when the stream is over.
func (s *stream) send(m message) bool {
	data, err := json.Marshal(m.data)
	if err != nil {
		s.cancel()
		return false
	}
	text := string(data) + "\n"
	if s.framing == sse {
		text = "data: " + text + "\n"
		if m.event != "" {
			text = "event: " + m.event + "\n" + text
		}
		if m.id > 0 {
			text = fmt.Sprintf("id: %d\n", m.id) + text
		}
	}
	return s.write(text)
}

func (s *stream) write(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(text)
}

// put needs the lock.
func (s *stream) put(text string) bool {
	_ = s.conn.SetWriteDeadline(time.Now().Add(takeTime)) // a recorder in a test has none
	_, err := io.WriteString(s.w, text)
	if err != nil {
		s.cancel()
	}
	return err == nil
}

// flush sends what was written.
func (s *stream) flush() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.push()
}

// push needs the lock.
func (s *stream) push() bool {
	err := s.conn.Flush()
	if err != nil {
		s.cancel()
	}
	return err == nil
}

// beat shows that the stream lives, so that nobody between the two ends takes
// it for dead, and ends it when the server stops.
func (s *stream) beat(ctx context.Context, closed <-chan struct{}) {
	ticker := time.NewTicker(beatTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-closed:
			s.cancel()
			return
		case <-ticker.C:
			if !s.live() {
				return
			}
		}
	}
}

// live sends a comment that readers of the stream skip, where there is such a
// thing. A write under way is sign of life enough.
func (s *stream) live() bool {
	if !s.mu.TryLock() {
		return true
	}
	defer s.mu.Unlock()
	text := ""
	if s.framing == sse {
		text = ": live\n\n"
	}
	return s.put(text) && s.push()
}
