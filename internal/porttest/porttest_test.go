package porttest

import (
	"net"
	"testing"
)

// No two tests are given the same address, and each can be listened on, more than once.
func TestFree(t *testing.T) {
	given := map[string]bool{}
	for range 200 {
		addr := Free(t)
		if given[addr] {
			t.Fatalf("%s is given twice", addr)
		}
		given[addr] = true
		for range 2 {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What somebody listens on is given to nobody; what is released can be had again.
func TestReserve(t *testing.T) {
	addr, release, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := hold(addr); ok {
		t.Errorf("%s is held twice", addr)
	}
	release()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, ok := hold(addr); ok {
		t.Errorf("%s is held while somebody listens there", addr)
	}
}
