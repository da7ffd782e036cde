package upstream

import "net"

// tcpTunnel is a hijacked TCP connection. It keeps what a TCP connection can do,
// half-close and splice, and is forgotten by its client when it is closed.
type tcpTunnel struct {
	*net.TCPConn
	k *Conn
}

// Close closes the connection.
func (t tcpTunnel) Close() error {
	t.k.close()
	return nil
}

// plainTunnel is any other hijacked connection.
type plainTunnel struct {
	net.Conn
	k *Conn
}

// Close closes the connection.
func (t plainTunnel) Close() error {
	t.k.close()
	return nil
}

func (k *Conn) tunnel() net.Conn {
	if k.tcp != nil {
		return tcpTunnel{k.tcp, k}
	}
	return plainTunnel{k.nc, k}
}
