package client_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// A state folder of somebody else is told from one without a server.
func TestFindWhatBelongsToSomebodyElse(t *testing.T) {
	for _, name := range []string{"api.json", "token"} {
		dir := folder(t, map[string]string{"api.json": `{"url":"http://127.0.0.1:7500"}`, "token": "secret"})
		if err := os.Chmod(filepath.Join(dir, name), 0); err != nil {
			t.Fatal(err)
		}
		err := asNobody(t, func() error { _, err := client.Find(dir, "ann"); return err })
		f, ok := errors.AsType[*delivery.FieldError](err)
		if !ok || f.Field != "state" || !strings.Contains(f.Why, "somebody else") || f.Next == "" || errors.Is(err, client.ErrNoServer) {
			t.Errorf("%s: error = %v, want one that says whose it is and what to do", name, err)
		}
	}
}

// asNobody does something without root's leave to read everything. The thread
// that gave up its rights ends with the goroutine.
func asNobody(t *testing.T, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		if os.Getuid() == 0 {
			runtime.LockOSThread()
			if err := unix.Setfsuid(65534); err != nil {
				done <- err
				return
			}
		}
		done <- do()
	}()
	return <-done
}
