package web

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/access"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// Times of a stream.
const (
	lookTime = time.Second      // between two looks at what a page shows, each a sign of life
	takeTime = 15 * time.Second // for the browser to take what is sent; then it is dropped
)

// wantsStream reports whether the script of a page asks for what it shows from now on.
func wantsStream(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/event-stream")
}

// feed is a stream of messages to one browser.
type feed struct {
	rw   http.ResponseWriter
	conn *http.ResponseController
}

// openFeed sends the head of a stream.
func openFeed(rw http.ResponseWriter) feed {
	h := rw.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	rw.WriteHeader(http.StatusOK)
	return feed{rw, http.NewResponseController(rw)}
}

// send hands text over; an error is a browser that is gone, or takes nothing.
func (f feed) send(text []byte) error {
	_ = f.conn.SetWriteDeadline(time.Now().Add(takeTime)) // a recorder in a test has none
	if _, err := f.rw.Write(text); err != nil {
		return err
	}
	return f.conn.Flush()
}

// stream says which build it is from and sends what a page shows whenever it differs
// from what was sent last: the same template with the same data as the page itself.
// It ends with the request, with the server, and with the right to see the page.
func (w *Web) stream(ctx context.Context, rw http.ResponseWriter, q request, look look) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := openFeed(rw)
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	var sent template.HTML
	if out.send(event("build", buildName())) != nil {
		return
	}
	for {
		now, message, over := w.renew(ctx, q, look, sent)
		if out.send(message) != nil || over {
			return
		}
		sent = now
		select {
		case <-ctx.Done():
			return
		case <-w.closed:
			return
		case <-ticker.C:
		}
	}
}

// renew returns what the page shows now, and the message that says so: a sign of life
// if that is what was sent last.
func (w *Web) renew(ctx context.Context, q request, look look, sent template.HTML) (now template.HTML, message []byte, over bool) {
	who, err := w.d.Guard.Still(ctx, q.pass)
	if err != nil {
		return sent, event("trouble", w.troubleOf(ctx, err).Why), false
	}
	if access.Need(who, delivery.Reader) != nil {
		return sent, event("gone", "you are no longer signed in"), true
	}
	q.Who = who
	s := look(ctx, q)
	switch {
	case s.err != nil:
		return sent, event("trouble", w.troubleOf(ctx, s.err).Why), false
	case s.main == sent:
		return s.main, event("beat", ""), false
	}
	return s.main, s.message(), false
}

// event is one message of a stream.
func event(name, data string) []byte {
	var out bytes.Buffer
	if name != "" {
		fmt.Fprintf(&out, "event: %s\n", name)
	}
	for line := range strings.Lines(strings.ReplaceAll(data, "\r", " ")) { // a bare one would end the line as well
		out.WriteString("data: " + strings.TrimSuffix(line, "\n") + "\n")
	}
	out.WriteString("\n")
	return out.Bytes()
}
