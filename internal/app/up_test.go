package app_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/app"
	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// An address that the server could not have is refused before anything starts.
func TestUpRefusesAnAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for addr, want := range map[string]string{
		l.Addr().String(): "in use by another process",
		"0.0.0.0:0":       "can be reached from other machines",
		"nonsense":        "is not host:port",
	} {
		state := shortFolder(t)
		report, err := app.Up(t.Context(), cli.UpOptions{State: state, Addr: addr})
		var field *delivery.FieldError
		if !errors.As(err, &field) || !strings.Contains(err.Error(), want) || report.Started {
			t.Errorf("up at %s: %+v, %v; want a refusal of the field that says %q", addr, report, err, want)
		}
		for _, part := range []string{"proxy", "server"} {
			if _, err := os.Stat(filepath.Join(state, part+".log")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("up at %s started the %s (%v)", addr, part, err)
			}
		}
	}
}

// A server that cannot start says why, and takes the proxy that was started for
// it along. What an older log says is not the reason.
func TestUpTellsTheReason(t *testing.T) {
	state := shortFolder(t)
	if err := os.MkdirAll(filepath.Join(state, "store.db"), 0o700); err != nil { // a folder is no database
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "server.log"), []byte("✖ an old story\n  next  an old command\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := app.Up(t.Context(), cli.UpOptions{State: state, Addr: freeAddr(t)})
	if err == nil || report.Started {
		t.Fatalf("up with a folder for a database: %+v, %v", report, err)
	}
	if !strings.Contains(err.Error(), "server ended while it started") || !strings.Contains(err.Error(), "store") || strings.Contains(err.Error(), "old") {
		t.Errorf("up says %q, want what the server said of its database", err)
	}
	if app.ProxyRuns(state) {
		t.Error("the proxy that up started still runs")
	}
}

// shortFolder is a state folder whose path is short enough for sockets; what
// still runs there is stopped.
func shortFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "slip")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, part := range []string{"server", "proxy"} {
			if b, err := os.ReadFile(filepath.Join(dir, part+".log")); err == nil && t.Failed() {
				t.Logf("%s.log:\n%s", part, b)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
