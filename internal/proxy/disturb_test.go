package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// Beneath TLS the connection is reset as well, without its good-bye: that would
// be a clean end.
func TestResetBeneathTLS(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(&exchange{w: w, r: r}).reset()
	}))
	t.Cleanup(s.Close)
	var d net.Dialer
	tcp, err := d.DialContext(t.Context(), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	_ = tcp.SetDeadline(time.Now().Add(30 * time.Second))
	roots := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	secure := tls.Client(tcp, &tls.Config{RootCAs: roots, ServerName: "example.com"})
	if _, err := io.WriteString(secure, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, secure); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection ended with %v, want a reset", err)
	}
}
