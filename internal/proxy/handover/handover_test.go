package handover_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/proxy/handover"
)

// how makes the test binary a successor that behaves in that way.
const how = "SLIPWAY_TEST_SUCCESSOR"

func TestMain(m *testing.M) {
	if way := os.Getenv(how); way != "" {
		if err := succeed(context.Background(), way); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// succeed takes the place, answers one connection of the first listener with
// its pid and the second lock's path, and ends when the predecessor goes.
func succeed(ctx context.Context, way string) error {
	if !handover.Inherited() {
		return errors.New("nobody started us")
	}
	p, err := handover.Inherit()
	if err != nil {
		return err
	}
	if handover.Inherited() {
		return errors.New("the environment still says so")
	}
	if way == "silent" {
		select {}
	}
	e, locks, sockets, err := p.Take(ctx, "v2")
	if err != nil {
		return err
	}
	if way == "fails" {
		return p.Failed(ctx, errors.New("the disk is on fire"))
	}
	if len(locks) != 1 || len(sockets) != len(e.Listeners) {
		return p.Failed(ctx, fmt.Errorf("%d locks and %d sockets", len(locks), len(sockets)))
	}
	ln, err := net.FileListener(sockets[0])
	if err != nil {
		return err
	}
	alone, err := p.Ready(ctx)
	if err != nil || alone {
		return errors.Join(err, fmt.Errorf("alone: %v", alone))
	}
	if err := p.Serving(ctx); err != nil {
		return err
	}
	c, err := ln.Accept()
	if err != nil {
		return err
	}
	fmt.Fprintf(c, "%d %s %s %s", os.Getpid(), e.Boot, e.Listeners[0], e.State)
	c.Close()
	_, err = io.Copy(io.Discard, p.Conn()) // until the predecessor closes it
	return err
}

func start(t *testing.T, way string) *handover.Successor {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), how+"="+way)
	cmd.Stderr = os.Stderr
	s, err := handover.Start(t.Context(), cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Abort)
	return s
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, stop := context.WithTimeout(t.Context(), d)
	t.Cleanup(stop)
	return ctx
}

// A listener goes to the other process with the connections that wait on it, and
// a lock stays held when the process that took it closes it.
func TestHandOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	held, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(held.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	waiting, err := net.Dial("tcp", addr) // nobody accepts it here
	if err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 30*time.Second)
	s := start(t, "well")
	hello, err := s.Hello(ctx)
	if err != nil || hello.Version != "v2" || hello.PID != s.PID {
		t.Fatalf("Hello() = %+v, %v", hello, err)
	}
	err = s.Give(ctx, handover.Estate{Boot: "b1", Listeners: []string{addr}, State: []byte(`{"a":1}`)}, []*os.File{held}, []handover.Descriptor{ln.(*net.TCPListener)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Go(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ln.Close(), held.Close()); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(waiting)
	if want := fmt.Sprintf(`%d b1 %s {"a":1}`, s.PID, addr); err != nil || string(said) != want {
		t.Errorf("the waiting connection got %q, %v, want %q", said, err, want)
	}
	again, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := syscall.Flock(int(again.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		t.Error("the lock is free though the successor has it")
	}
	if err := s.Conn().Close(); err != nil {
		t.Fatal(err)
	}
	// It ends when it sees that, and then the lock is free.
	if err := syscall.Flock(int(again.Fd()), syscall.LOCK_SH); err != nil {
		t.Error(err)
	}
}

func TestSuccessorFails(t *testing.T) {
	ctx := within(t, 30*time.Second)
	s := start(t, "fails")
	if _, err := s.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Give(ctx, handover.Estate{}, nil, nil); err == nil || err.Error() != "the disk is on fire" {
		t.Errorf("Give() = %v, want what the successor said", err)
	}
}

func TestSuccessorIsSilent(t *testing.T) {
	s := start(t, "silent")
	if _, err := s.Hello(within(t, 100*time.Millisecond)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Hello() = %v, want the end of our patience", err)
	}
}

func TestOtherBinaryEnds(t *testing.T) {
	s, err := handover.Start(t.Context(), exec.Command("/bin/false"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abort()
	if _, err := s.Hello(within(t, 30*time.Second)); err == nil || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("Hello() = %v, want how it ended", err)
	}
}

// What is no inherited socket is refused with the cure.
func TestInheritNonsense(t *testing.T) {
	for _, v := range []string{"x", "1", "999"} {
		t.Setenv(handover.Environment, v)
		if p, err := handover.Inherit(); err == nil || p != nil {
			t.Errorf("Inherit() with %q = %v, %v", v, p, err)
		}
	}
	if p, err := handover.Inherit(); err != nil || p != nil {
		t.Errorf("Inherit() of nobody = %v, %v", p, err)
	}
}
