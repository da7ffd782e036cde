package ports_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/slipway-cd/slipway/internal/ports"
	"github.com/slipway-cd/slipway/internal/porttest"
)

func TestTake(t *testing.T) {
	addr := porttest.Free(t)
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	mine, ok := ports.Take(port)
	if !ok {
		t.Fatalf("port %d is free and cannot be claimed", port)
	}
	if _, ok := ports.Take(port); ok {
		t.Errorf("port %d is claimed twice", port)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("a claim is in the way of who listens: %v", err)
	}
	mine.Drop()
	if _, ok := ports.Take(port); ok {
		t.Errorf("port %d is claimed while somebody listens there", port)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again, ok := ports.Take(port)
	if !ok {
		t.Errorf("port %d cannot be claimed again", port)
	}
	again.Drop()
}
