package proxy

import (
	"net/http"
	"time"
)

// Bounds of HTTP/2, in front and towards instances. A window is what one peer
// may have sent that nobody has read yet: memory of ours.
const (
	maxStreams   = 250       // at a time, of one caller's connection
	streamWindow = 512 << 10 // bytes; 10 MB/s of one upload over 50 ms
	connWindow   = 1 << 20   // bytes, of all streams together
	maxFrame     = 64 << 10  // bytes; a larger one only delays the others

	// An instance that says nothing this long, while it owes an answer or not,
	// is asked whether it is there; without an answer its connection is dead.
	pingAfter = 15 * time.Second
	pingWait  = 5 * time.Second
	idleH2    = 90 * time.Second // GOAWAY tells of an end, so an idle connection is no risk
)

// frontProtocols are what a listener speaks: HTTP/1.1, and HTTP/2 by ALPN with
// TLS, by prior knowledge (RFC 9113, 3.3) without. "Upgrade: h2c" is ignored.
func frontProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

func frontHTTP2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          maxStreams,
		MaxReadFrameSize:              maxFrame,
		MaxReceiveBufferPerConnection: connWindow,
		MaxReceiveBufferPerStream:     streamWindow,
	}
}

// speakH2C makes a transport talk HTTP/2 by prior knowledge. Requests share its
// connections; another one is opened when the instance's limit of streams is reached.
func speakH2C(t *http.Transport) {
	t.Protocols = new(http.Protocols)
	t.Protocols.SetUnencryptedHTTP2(true)
	t.IdleConnTimeout = idleH2
	t.HTTP2 = &http.HTTP2Config{
		MaxReadFrameSize:              maxFrame,
		MaxReceiveBufferPerConnection: 4<<20 - 1,
		MaxReceiveBufferPerStream:     streamWindow,
		SendPingTimeout:               pingAfter,
		PingTimeout:                   pingWait,
	}
}
