package proxy_test

import (
	"io"
	"net"
	"testing"
)

// The judge relies on what the kernel says of queues, by either way of asking.
func TestUnreadBytes(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	here, there := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
	elsewhere := &net.TCPAddr{IP: here.IP, Port: 1}
	for name, ask := range map[string]func(at, to *net.TCPAddr) (int, error){
		"proc": unreadByProc,
		"both": func(at, to *net.TCPAddr) (int, error) { return unread(at, to) },
	} {
		n := 0
		if until(t.Context(), func() bool { n, err = ask(there, elsewhere); return err != nil || n == 1 }) != nil || err != nil {
			t.Errorf("%s: the backlog = %d, %v, want the one connection", name, n, err)
		}
	}
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	for range 2 {
		if _, err := io.WriteString(c, "12345"); err != nil {
			t.Fatal(err)
		}
		for name, ask := range map[string]func(at, to *net.TCPAddr) (int, error){
			"proc": unreadByProc,
			"both": func(at, to *net.TCPAddr) (int, error) { return unread(at, to) },
		} {
			n := 0
			if until(t.Context(), func() bool { n, err = ask(there, here); return err != nil || n == 5 }) != nil || err != nil {
				t.Errorf("%s: unread = %d, %v, want 5", name, n, err)
			}
			if n, err := ask(there, elsewhere); err != nil || n != 0 {
				t.Errorf("%s: the backlog = %d, %v, want none", name, n, err)
			}
		}
		if _, err := io.ReadFull(in, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		if n, err := unread(there, here); err != nil || n != 0 {
			t.Errorf("unread = %d, %v, want 0 once it was read", n, err)
		}
	}
	if _, err := unreadByDiag(there, here); err != nil {
		t.Logf("%v: the slower way is taken", err)
	}
}
