package proxy_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	dataplane "github.com/slipway-cd/slipway/internal/proxy"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// start runs a real data plane until the test ends and returns its socket.
func start(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "slp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	socket := filepath.Join(dir, "s")
	go func() {
		done <- dataplane.Run(ctx, dataplane.Options{Socket: socket, StateDir: filepath.Join(dir, "state"), Log: slog.New(slog.DiscardHandler), Version: "test", Grace: time.Second})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run() = %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	d := proxy.New(socket)
	traffictest.Await(t, "the data plane", func() bool {
		_, err := d.State(t.Context())
		return err == nil
	})
	return socket
}

func TestDriver(t *testing.T) {
	traffictest.Run(t, func(t *testing.T) traffic.Driver { return proxy.New(start(t)) })
}

func TestNoDataPlaneNamesSocketAndCure(t *testing.T) {
	d := proxy.New("/tmp/there-is-none.sock")
	_, err := d.State(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/tmp/there-is-none.sock") || !strings.Contains(err.Error(), "slipway proxy") {
		t.Errorf("State() = %v, want the socket and the command that starts it", err)
	}
}

func TestRefusalKeepsFieldAndReason(t *testing.T) {
	d := proxy.New(start(t))
	err := d.Apply(t.Context(), traffic.Table{Generation: 1, Routes: []traffic.Route{{Name: "prod/a", Pools: []traffic.Pool{{Release: "r1", Weight: delivery.Full}}}}})
	var field *delivery.FieldError
	if !errors.As(err, &field) || field.Field != "route prod/a pool r1" || field.Next == "" {
		t.Errorf("Apply() = %v, want a field error that names the pool and the cure", err)
	}
}

func TestWatchEndsWhenTheEngineGoesAway(t *testing.T) {
	var lc net.ListenConfig
	dir, err := os.MkdirTemp("/tmp", "slp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := lc.Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	gone := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"boot":"b","blocks":[]}` + "\n" + `{"bo`))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})}
	go func() { _ = gone.Serve(ln) }()
	t.Cleanup(func() { _ = gone.Close() })
	frames := 0
	err = proxy.New(filepath.Join(dir, "s")).Watch(t.Context(), 0, func(traffic.Frame) { frames++ })
	if err == nil || frames != 1 {
		t.Errorf("Watch() = %v after %d frames, want an error after 1", err, frames)
	}
}
