package control

import (
	"testing"

	"github.com/slipway-cd/slipway/internal/traffic"
)

// A port that one server picked is no other's, until the data plane of the first
// listens there: then everybody can see that it is not free.
func TestTwoServersPickTwoPorts(t *testing.T) {
	port, claim, err := freePort(nil)
	if err != nil {
		t.Fatal(err)
	}
	others := map[int]bool{}
	for p := firstEdge; p <= lastEdge; p++ {
		others[p] = p != port
	}
	one := claims{}
	one.keep("prod/cart>pricing", claim)
	defer one.end()
	picks := func() bool {
		got, claim, err := freePort(others)
		claim.Drop()
		return err == nil && got == port
	}
	open := []traffic.ListenerState{{Name: "prod/cart>bank"}, {Name: "prod/cart>pricing", Error: "address already in use"}}
	one.drop(open)
	if picks() {
		t.Errorf("two servers pick port %d", port)
	}
	open[1].Error = ""
	one.drop(open)
	if !picks() {
		t.Errorf("port %d is kept though the data plane has it", port)
	}
}
