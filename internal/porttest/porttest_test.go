package porttest

import (
	"net"
	"strconv"
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

// Ports at distances from each other are given all or not at all.
func TestBase(t *testing.T) {
	given := map[int]bool{}
	for range 20 {
		base := Base(t, 60, 70, 80)
		for _, d := range []int{0, 60, 70, 80} {
			if given[base+d] {
				t.Fatalf("%d is given twice", base+d)
			}
			given[base+d] = true
			if _, ok := hold(net.JoinHostPort("127.0.0.1", strconv.Itoa(base+d))); ok {
				t.Errorf("%d is not held", base+d)
			}
		}
	}
	base := Base(t, 1)
	if _, ok := holdAll(base-1, []int{1, 2}); ok {
		t.Error("what is held is given again, among others")
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
