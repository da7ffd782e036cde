package app

import (
	"net"
	"testing"
)

// What is told to people and written down for the command line is an address that
// can be gone to, also where the server listens on all of them.
func TestNear(t *testing.T) {
	for at, want := range map[string]string{
		"127.0.0.1:7500":       "127.0.0.1:7500",
		"0.0.0.0:7500":         "127.0.0.1:7500",
		"[::]:7500":            "127.0.0.1:7500",
		"[::1]:7500":           "[::1]:7500",
		"192.0.2.1:7500":       "192.0.2.1:7500",
		"[2001:db8::1%lo]:443": "[2001:db8::1%lo]:443",
	} {
		addr, err := net.ResolveTCPAddr("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		if got := near(addr); got != want {
			t.Errorf("near(%s) = %s, want %s", at, got, want)
		}
	}
}
