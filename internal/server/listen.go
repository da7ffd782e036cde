package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// ListenOptions says what makes an address acceptable that other machines can
// reach. The zero value accepts loopback only.
type ListenOptions struct {
	CertFile    string // PEM; with KeyFile, everything is TLS, on loopback too
	KeyFile     string
	AllowRemote bool // other machines may connect without TLS: something in front of the server encrypts
}

// Listen opens the address of the API. An address that other machines can reach
// is refused with a *delivery.FieldError unless TLS or an explicit word allows it.
func Listen(addr string, o ListenOptions) (net.Listener, error) {
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, delivery.Invalid("tls", "needs both a certificate and its key")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, delivery.InvalidNext("listen", fmt.Sprintf("%q is not host:port", addr), "say 127.0.0.1:7500")
	}
	if o.CertFile == "" && !o.AllowRemote && !loopbackName(host) {
		return nil, delivery.InvalidNext("listen",
			addr+" can be reached from other machines, and whoever listens on the way would read the token",
			"listen on 127.0.0.1:"+port+", or give a TLS certificate and key, or allow remote connections explicitly")
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, delivery.InvalidNext("listen", addr+" is in use by another process", "stop it, or listen on another port")
	}
	if err != nil {
		return nil, fmt.Errorf("server: listen: %w", err)
	}
	if o.CertFile == "" {
		if at, ok := l.Addr().(*net.TCPAddr); !o.AllowRemote && (!ok || !at.IP.IsLoopback()) {
			return nil, errors.Join(delivery.InvalidNext("listen", host+" is not loopback on this machine", "listen on 127.0.0.1:"+port), l.Close())
		}
		return l, nil
	}
	pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, errors.Join(delivery.Invalid("tls", err.Error()), l.Close())
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}

func loopbackName(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// Bounds of a connection.
const (
	headTime   = 5 * time.Second  // for the head of a request to arrive
	answerTime = 2 * time.Minute  // for an ordinary answer to be taken; streams have their own
	idleTime   = 2 * time.Minute  // between two requests
	graceTime  = 10 * time.Second // for ordinary requests to end when the server stops
	maxHead    = 64 << 10         // bytes
)

// Serve answers on l until ctx ends, then lets ordinary requests end, ends the
// streams, and returns nil. It owns l. A handler with a HangUp method is told
// when to end its streams.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headTime, WriteTimeout: answerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHead,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	if s, ok := h.(interface{ HangUp() }); ok {
		srv.RegisterOnShutdown(s.HangUp)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("server: serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), graceTime)
	defer cancel()
	err := srv.Shutdown(grace)
	if err != nil {
		log.WarnContext(ctx, "requests were cut off: they did not end in time", slog.Any("error", err))
		err = srv.Close()
	}
	if end := <-ended; !errors.Is(end, http.ErrServerClosed) {
		err = errors.Join(err, end)
	}
	if err != nil {
		return fmt.Errorf("server: stop: %w", err)
	}
	return nil
}
