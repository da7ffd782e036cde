package proxy

import (
	"net"
	"net/http"
	"sync"
)

// single is a listener of one connection, which is open already.
type single struct {
	conn  chan net.Conn
	addr  net.Addr
	once  sync.Once
	ended chan struct{}
}

func oneConn(c net.Conn) *single {
	s := &single{conn: make(chan net.Conn, 1), addr: c.LocalAddr(), ended: make(chan struct{})}
	s.conn <- c
	return s
}

// Accept returns the connection, and after that waits for Close.
func (s *single) Accept() (net.Conn, error) {
	select {
	case c := <-s.conn:
		return c, nil
	case <-s.ended:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. The connection is its server's.
func (s *single) Close() error {
	s.once.Do(func() { close(s.ended) })
	return nil
}

// Addr is the connection's.
func (s *single) Addr() net.Addr { return s.addr }

// h2cOnly makes many calls at a time share the one connection.
func h2cOnly() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}
