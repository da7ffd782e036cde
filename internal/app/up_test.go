package app_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/app"
	"github.com/slipway-cd/slipway/internal/cli"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
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
	report, err := app.Up(t.Context(), cli.UpOptions{State: state, Addr: porttest.Free(t)})
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

// A data plane of another version gives its place to one of this, without a
// request lost; and a second up changes nothing.
func TestUpUpgradesTheDataPlane(t *testing.T) {
	state := shortFolder(t)
	cmd := exec.Command(os.Args[0], "oldproxy", "--state", state)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = cmd.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !app.ProxyRuns(state); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the old data plane does not run")
		}
	}
	first, err := app.Up(t.Context(), cli.UpOptions{State: state, Addr: porttest.Free(t)})
	t.Cleanup(func() {
		if _, err := app.Down(context.WithoutCancel(t.Context()), cli.DownOptions{State: state}); err != nil {
			t.Error(err)
		}
	})
	if err != nil || first.UpgradedFrom != "0.0.1" || first.ProxyPID == cmd.Process.Pid {
		t.Fatalf("Up() = %+v, %v, want an upgrade from 0.0.1 by another process than %d", first, err, cmd.Process.Pid)
	}
	again, err := app.Up(t.Context(), cli.UpOptions{State: state})
	if err != nil || again.UpgradedFrom != "" || again.ProxyPID != first.ProxyPID || again.Started {
		t.Errorf("Up() again = %+v, %v, want nothing", again, err)
	}
}
