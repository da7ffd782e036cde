package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// twoEnds returns both ends of a connection of TCP.
func twoEnds(t *testing.T) (ours *net.TCPConn, theirs net.Conn) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	theirs, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = theirs.Close()
		_ = c.Close()
	})
	return c.(*net.TCPConn), theirs
}

// parking is a connection whose waits are parked.
func parking(t *testing.T) (*reads, net.Conn) {
	t.Helper()
	ours, theirs := twoEnds(t)
	r := &reads{tcp: ours, set: &set[*reads]{}}
	r.init(ours)
	r.set.add(r)
	return r, theirs
}

// happens waits for what came of a wait or a read.
func happens(t *testing.T, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatalf("waited 30 s for %s", what)
		return nil
	}
}

func going(do func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	return done
}

func (r *reads) isParked() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.parked
}

func awaitParked(t *testing.T, r *reads) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !r.isParked(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the wait was not parked within 30 s")
		}
	}
}

var longAgo = time.Unix(1, 0)

// net/http breaks a wait off with a deadline that has passed, before it has begun
// or afterwards, and nothing of the next request is lost by that.
func TestParkedWaitIsBrokenOff(t *testing.T) {
	t.Parallel()
	r, theirs := parking(t)
	for i := range 100 {
		if i%2 == 0 {
			_ = r.SetReadDeadline(longAgo)
		}
		done := going(r.await)
		if i%2 == 1 {
			awaitParked(t, r)
			if _, err := theirs.Write([]byte{byte(i)}); err != nil { // wakes nobody
				t.Fatal(err)
			}
			sweepParked(r.set) // nor does the first look
			_ = r.SetReadDeadline(longAgo)
		}
		if err := happens(t, "the end of a wait", done); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a wait that was broken off = %v", err)
		}
		_ = r.SetReadDeadline(time.Time{})
		if i%2 == 1 {
			var b [8]byte
			if n, err := r.Read(b[:]); n != 1 || b[0] != byte(i) || err != nil {
				t.Fatalf("after it, Read = %d %v, %v; want %d", n, b[:n], err, i)
			}
		}
	}
}

// Whatever there is to read, bytes or the end, ends a wait at the second look;
// so do a deadline and Close.
func TestParkedWaitEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cause func(*reads, net.Conn)
		then  error
	}{
		"the caller leaves": {func(r *reads, theirs net.Conn) {
			_ = theirs.Close()
			sweepParked(r.set)
		}, io.EOF},
		"a half of it does": {func(r *reads, theirs net.Conn) {
			_ = theirs.(*net.TCPConn).CloseWrite()
			sweepParked(r.set)
		}, io.EOF},
		"it speaks": {func(r *reads, theirs net.Conn) {
			_, _ = theirs.Write([]byte("x"))
			sweepParked(r.set)
		}, nil},
		"a deadline":   {func(r *reads, _ net.Conn) { _ = r.SetDeadline(time.Now().Add(50 * time.Millisecond)) }, os.ErrDeadlineExceeded},
		"we close":     {func(r *reads, _ net.Conn) { _ = r.Close() }, net.ErrClosed},
		"others close": {func(r *reads, _ net.Conn) { _ = r.tcp.Close(); sweepParked(r.set) }, net.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, theirs := parking(t)
			done := going(r.await)
			awaitParked(t, r)
			sweepParked(r.set)
			if !r.isParked() {
				t.Fatal("a look at nothing ended the wait")
			}
			for deadline := time.Now().Add(30 * time.Second); ; <-time.After(time.Millisecond) {
				if c.cause(r, theirs); !r.isParked() {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("still parked after 30 s")
				}
			}
			if err := happens(t, "the end of the wait", done); err != nil {
				if c.then == nil || !errors.Is(err, c.then) {
					t.Fatalf("await() = %v, want nil or %v", err, c.then)
				}
				return
			}
			var b [8]byte
			if _, err := r.Read(b[:]); !errors.Is(err, c.then) {
				t.Errorf("Read() = %v, want %v", err, c.then)
			}
		})
	}
}

// A timer that is left from an earlier deadline ends no read that may last
// longer, and one that is too late is set again.
func TestDeadlinesAreKeptThoughTheyAreNotSet(t *testing.T) {
	t.Parallel()
	r, theirs := parking(t)
	var b [8]byte
	read := func() error {
		_, err := r.Read(b[:])
		return err
	}
	_ = r.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if err := read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read() = %v, want the deadline", err)
	}
	for _, next := range []time.Time{{}, time.Now().Add(time.Hour)} {
		var done <-chan error
		for late := true; late; {
			soon := time.Now().Add(time.Second)
			_ = r.SetReadDeadline(soon)
			done = going(read)
			_ = r.SetReadDeadline(next)
			if late = !time.Now().Before(soon); late { // we stood still, and the read may be over by right
				_ = r.SetReadDeadline(longAgo)
				if err := happens(t, "the end of a read", done); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("Read() = %v, want the deadline", err)
				}
			}
		}
		select {
		case err := <-done:
			t.Fatalf("Read() = %v before its time", err)
		case <-time.After(1200 * time.Millisecond):
		}
		if _, err := theirs.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if err := happens(t, "a byte", done); err != nil {
			t.Fatalf("Read() = %v, want a byte", err)
		}
	}
	done := going(read)
	_ = r.SetReadDeadline(time.Now().Add(20 * time.Millisecond)) // earlier than that of the connection
	if err := happens(t, "the deadline", done); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read() = %v, want the deadline", err)
	}
}
