// Package ports keeps a TCP port of this machine for whoever picked it and does not
// listen there yet: until then two processes that look at the same moment find the
// same port free. Its judge is its own test.
package ports

import (
	"errors"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// Claim is a port that is kept. It is a name in the kernel that only claims know, so
// that the port itself stays free, and the kernel forgets it with the process. Where
// there are no such names (outside Linux) a claim only says that the port was free.
type Claim struct{ held net.Listener }

// Take claims a port of loopback, from 1 to 65535. It says no if another process or
// another claim of this one has claimed it, or if somebody listens there.
func Take(port int) (Claim, bool) {
	held, err := net.Listen("unix", "@slipway-port-"+strconv.Itoa(port))
	if errors.Is(err, unix.EADDRINUSE) {
		return Claim{}, false
	}
	if err != nil {
		held = nil
	}
	c := Claim{held: held}
	if !Free(port) {
		c.Drop()
		return Claim{}, false
	}
	return c, true
}

// Drop lets others have the port.
func (c Claim) Drop() {
	if c.held != nil {
		c.held.Close() //nolint:errcheck // nobody ever connected
	}
}

// Free says whether a port of loopback can be listened on now.
func Free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
