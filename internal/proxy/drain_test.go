package proxy

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// A table that comes as the data plane ends opens no address that would keep it
// from ending.
func TestTheEndComesBeforeATable(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("/tmp", "slp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	o := Options{Socket: filepath.Join(dir, "s"), StateDir: dir, Log: quiet, Version: "test", Grace: time.Minute}
	e := newEngine(o, "boot", 1024)
	ctx, stop := context.WithCancel(t.Context())
	begun, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- e.run(ctx, o, func(ctx context.Context) (net.Listener, error) {
			defer close(begun)
			return e.begin(ctx)
		})
	}()
	<-begun
	if err := e.take(ctx); err != nil {
		t.Fatal(err)
	}
	applied, addr := make(chan error, 1), porttest.Free(t)
	go func() {
		applied <- e.apply(t.Context(), traffic.Table{Generation: 1, Listeners: []traffic.Listener{{Name: "prod", Addr: addr, Env: "prod"}}})
	}()
	stop()
	for look := time.NewTicker(time.Millisecond); !e.ending.Load(); {
		<-look.C
	}
	e.give()
	if err := <-applied; !errors.Is(err, errEnding) {
		t.Errorf("apply() at the end = %v, want a refusal", err)
	}
	if err := <-done; err != nil {
		t.Errorf("run() = %v", err)
	}
	if err := e.seat.leave(); err != nil {
		t.Error(err)
	}
}
