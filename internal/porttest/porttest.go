// Package porttest gives tests addresses to listen on later: for a process that is
// still to start, or a server that is stopped and started where it was. It does not
// listen itself. Its judge is its own test.
package porttest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"testing"
)

// The ports lie above those of instances and of edges and below those that the
// kernel gives to whoever asks for any: nobody takes one while nobody listens there.
const first, last = 30000, 32767

// Free returns an address on which nobody listens, and which no other test on this
// machine is given before this one has ended.
func Free(t testing.TB) string {
	t.Helper()
	addr, release, err := Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return addr
}

// Base returns a port that is free as Free's is, and with it are those at each
// distance from it.
func Base(t testing.TB, distances ...int) int {
	t.Helper()
	n := last - first + 1 - slices.Max(distances)
	from := rand.IntN(n)
	for i := range n {
		base := first + (from+i)%n
		if release, ok := holdAll(base, distances); ok {
			t.Cleanup(release)
			return base
		}
	}
	t.Fatalf("porttest: no free ports from %d to %d at %v", first, last, distances)
	return 0
}

// holdAll holds all ports at the distances from base, or none.
func holdAll(base int, distances []int) (release func(), ok bool) {
	var held []func()
	release = func() {
		for _, r := range held {
			r()
		}
	}
	for _, d := range append([]int{0}, distances...) {
		one, ok := hold(net.JoinHostPort("127.0.0.1", strconv.Itoa(base+d)))
		if !ok {
			release()
			return nil, false
		}
		held = append(held, one)
	}
	return release, true
}

// Reserve is Free for who has no testing.TB; release lets others have the address.
func Reserve() (addr string, release func(), err error) {
	n := last - first + 1
	from := rand.IntN(n)
	for i := range n {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+(from+i)%n))
		if release, ok := hold(addr); ok {
			return addr, release, nil
		}
	}
	return "", nil, fmt.Errorf("porttest: no free port from %d to %d", first, last)
}

// hold keeps other tests away from an address by its UDP port, which nothing here
// uses and which leaves the TCP port free. The kernel forgets it with the process.
func hold(addr string) (release func(), ok bool) {
	mine, err := net.ListenPacket("udp", addr)
	if err != nil {
		return nil, false
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		_ = mine.Close()
		return nil, false
	}
	_ = l.Close()
	return func() { _ = mine.Close() }, true
}
