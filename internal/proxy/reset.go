package proxy

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Bounds of an HTTP/2 caller who resets what it has just asked for (rapid reset,
// CVE-2023-44487). To the caller it is a few bytes; here it is a connection to an
// instance, which cannot be used again. The numbers are those that Envoy has.
const (
	resetEarly = time.Second // after the request came
	resetsFree = 500         // streams of one connection; from then on no more than half may be reset early
)

// h2Conn counts the streams of one caller's connection.
type h2Conn struct {
	conn       net.Conn
	all, early atomic.Int64
}

type h2ConnKey struct{}

// withH2Conn is http.Server.ConnContext. Requests of one connection have
// nothing else in common that net/http would tell.
func withH2Conn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, h2ConnKey{}, &h2Conn{conn: c})
}

// countStream is called when a request of HTTP/2 is over, and closes the
// connection of a caller who resets most of them.
func countStream(r *http.Request, began time.Time) {
	s, there := r.Context().Value(h2ConnKey{}).(*h2Conn)
	if !there {
		return
	}
	all := s.all.Add(1)
	if r.Context().Err() == nil || time.Since(began) >= resetEarly {
		return
	}
	if early := s.early.Add(1); all >= resetsFree && early > all/2 {
		_ = s.conn.Close()
	}
}
