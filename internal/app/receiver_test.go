package app

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/metric/embedded"
	"github.com/slipway-cd/slipway/internal/store"
)

// A receiver whose port is somebody else's says so, and listens once it is free.
func TestReceiverSaysWhyItIsDeaf(t *testing.T) {
	t.Parallel()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	in, err := openIntake(t.Context(), st, "key", embedded.New(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.Listen("tcp", in.addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.receive(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("receive = %v", err)
		}
	})
	until := func(what string, holds func() bool) {
		t.Helper()
		deadline := time.After(time.Minute)
		for tick := time.NewTicker(20 * time.Millisecond); !holds(); {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatal("never: " + what)
			}
		}
	}
	until("it says that its port is taken", func() bool { addr, err := in.heard(); return addr == in.addr && err != nil })
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	until("it listens", func() bool {
		conn, err := net.Dial("tcp", in.addr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		_, err = in.heard()
		return err == nil
	})
	if states := in.states(); states != nil {
		t.Errorf("states = %v before anything is scraped", states)
	}
}
