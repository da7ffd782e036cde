package process

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/ports"
)

const loopback = "127.0.0.1"

// claim is the port that a shim picked for its instance. It keeps all other shims
// of this machine away from it while nobody listens there yet, or not just now. An
// instance whose port somebody else took all the same picks another at its next
// start.
type claim struct {
	port int
	held ports.Claim
}

// pick returns the port of before, if that is still free, or else one of the range
// that nobody claims and nobody listens on. Before is 0 if there is none.
func (c *claim) pick(before, low, high int) (int, error) {
	if before != 0 && c.take(before) {
		return before, nil
	}
	n := high - low + 1
	from := rand.IntN(n)
	for i := range n {
		port := low + (from+i)%n
		if c.take(port) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d", low, high)
}

// take claims a port in place of the one before, unless it is another's.
func (c *claim) take(port int) bool {
	if c.port == port {
		return ports.Free(port)
	}
	held, ok := ports.Take(port)
	if !ok {
		return false
	}
	c.drop()
	*c = claim{port: port, held: held}
	return true
}

// drop lets others have the port.
func (c *claim) drop() {
	c.held.Drop()
	*c = claim{}
}

// listeners returns the addresses the processes accept connections on. Whole is
// false if one of them could not be looked into, so that some may be missing.
func listeners(group []identity) (addrs []netip.AddrPort, whole bool) {
	whole = true
	sockets := map[string]bool{}
	for _, p := range group {
		dir := fmt.Sprintf("/proc/%d/fd", p.PID)
		entries, err := os.ReadDir(dir)
		if err != nil {
			whole = whole && errors.Is(err, os.ErrNotExist)
			continue
		}
		for _, e := range entries {
			if to, err := os.Readlink(dir + "/" + e.Name()); err == nil {
				if inode, ok := strings.CutPrefix(to, "socket:["); ok {
					sockets[strings.TrimSuffix(inode, "]")] = true
				}
			}
		}
	}
	if len(group) == 0 || len(sockets) == 0 {
		return nil, whole
	}
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", group[0].PID, table))
		if err != nil {
			whole = whole && table == "tcp6" // a kernel without IPv6 has none
			continue
		}
		addrs = append(addrs, parseListeners(string(b), sockets)...)
	}
	return addrs, whole
}

// parseListeners reads the kernel's table of sockets: field 1 is the local
// address in the byte order of the machine, field 3 the state (0A: listening),
// field 9 the inode.
func parseListeners(table string, sockets map[string]bool) []netip.AddrPort {
	var addrs []netip.AddrPort
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 10 || f[3] != "0A" || !sockets[f[9]] {
			continue
		}
		host, port, _ := strings.Cut(f[1], ":")
		raw, err := hex.DecodeString(host)
		n, perr := strconv.ParseUint(port, 16, 16)
		if err != nil || perr != nil || len(raw)%4 != 0 {
			continue
		}
		for i := 0; i < len(raw); i += 4 {
			binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
		}
		if a, ok := netip.AddrFromSlice(raw); ok {
			addrs = append(addrs, netip.AddrPortFrom(a.Unmap(), uint16(n)))
		}
	}
	return addrs
}

// refused says why nobody answers on the port.
func refused(group []identity, port int) error {
	addrs, whole := listeners(group)
	var others []string
	for _, a := range addrs {
		if int(a.Port()) == port {
			return fmt.Errorf("listens on %s, not on %s:%d", a, loopback, port)
		}
		others = append(others, strconv.Itoa(int(a.Port())))
	}
	switch {
	case len(others) > 0:
		return fmt.Errorf("listens on %s, not on PORT %d", strings.Join(others, ", "), port)
	case whole:
		return fmt.Errorf("nothing listens on PORT %d", port)
	}
	return fmt.Errorf("connection refused on PORT %d", port)
}

// notOurs returns an error if somebody else answers on the port.
func notOurs(group []identity, port int) error {
	addrs, whole := listeners(group)
	if !whole {
		return nil
	}
	for _, a := range addrs {
		if int(a.Port()) == port {
			return nil
		}
	}
	return fmt.Errorf("PORT %d is answered by a process that is not part of the instance", port)
}
