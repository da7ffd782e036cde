package proxy

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// deadlines is a ResponseWriter that counts how often one is set.
type deadlines struct {
	http.ResponseWriter
	n int
}

func (d *deadlines) SetReadDeadline(time.Time) error {
	d.n++
	return nil
}

func (d *deadlines) SetWriteDeadline(time.Time) error {
	d.n++
	return nil
}

// stuck is a caller's body on which nothing comes until until is closed.
type stuck struct{ begun, until chan struct{} }

func (s stuck) Read([]byte) (int, error) {
	close(s.begun)
	<-s.until
	return 0, io.ErrUnexpectedEOF
}

// A timer that goes off when the handler has returned does not touch what is
// net/http's again.
func TestNothingIsTouchedBehindTheHandler(t *testing.T) {
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	from := stuck{make(chan struct{}), make(chan struct{})}
	b := &body{from: from}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = b.Read(make([]byte, 1))
	}()
	<-from.begun
	b.leave(w) // breaks the read off that waits
	b.end(w)
	b.cut(w)
	close(from.until)
	<-done
	if w.n != 1 {
		t.Errorf("%d deadlines were set, want that of the end alone", w.n)
	}
}
