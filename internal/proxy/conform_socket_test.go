package proxy_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// awaitRead waits until the other end of a loopback connection has taken all
// that was written to it, by what the kernel says of the other end's queue. So
// two writes are two reads.
func awaitRead(ctx context.Context, c net.Conn) error {
	ctx, stop := context.WithTimeout(ctx, conformLimit)
	defer stop()
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for {
		n, err := unread(c.RemoteAddr(), c.LocalAddr())
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// unread returns how many bytes wait in the receive queue of the TCP socket at
// one IPv4 address that is connected to the other; of a listening socket, when
// there is no such connection, how many connections were not accepted yet. A
// socket that is gone has none.
func unread(at, to net.Addr) (int, error) {
	n, err := unreadByDiag(at.(*net.TCPAddr), to.(*net.TCPAddr))
	if errors.Is(err, errNoDiag) {
		return unreadByProc(at.(*net.TCPAddr), to.(*net.TCPAddr))
	}
	return n, err
}

var errNoDiag = errors.New("this kernel does not tell about sockets over netlink")

// unreadByDiag asks the kernel for one socket, by sock_diag(7).
func unreadByDiag(at, to *net.TCPAddr) (int, error) {
	const (
		netlinkSockDiag  = 4
		sockDiagByFamily = 20
		size             = 16 + 56 // nlmsghdr and inet_diag_req_v2
		queueAt          = 16 + 56 // in nlmsghdr and inet_diag_msg
	)
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return 0, errNoDiag
	}
	defer func() { _ = syscall.Close(fd) }()
	var ask [size]byte
	binary.NativeEndian.PutUint32(ask[0:], size)
	binary.NativeEndian.PutUint16(ask[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(ask[6:], syscall.NLM_F_REQUEST)
	ask[16], ask[17] = syscall.AF_INET, syscall.IPPROTO_TCP
	binary.NativeEndian.PutUint32(ask[20:], 0xffffffff) // any state
	binary.BigEndian.PutUint16(ask[24:], uint16(at.Port))
	binary.BigEndian.PutUint16(ask[26:], uint16(to.Port))
	copy(ask[28:], at.IP.To4())
	copy(ask[44:], to.IP.To4())
	binary.NativeEndian.PutUint64(ask[64:], 0xffffffffffffffff) // no cookie
	if err := syscall.Sendto(fd, ask[:], 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return 0, errNoDiag
	}
	var said [1024]byte
	n, _, err := syscall.Recvfrom(fd, said[:], 0)
	if err != nil || n < 20 {
		return 0, errNoDiag
	}
	switch kind := binary.NativeEndian.Uint16(said[4:]); {
	case kind == sockDiagByFamily && n >= queueAt+4:
		return int(binary.NativeEndian.Uint32(said[queueAt:])), nil
	case kind == syscall.NLMSG_ERROR && int32(binary.NativeEndian.Uint32(said[16:])) == -int32(syscall.ENOENT):
		return 0, nil
	}
	return 0, errNoDiag
}

// unreadByProc looks through all sockets, which takes longer.
func unreadByProc(at, to *net.TCPAddr) (int, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	listening := 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		part := strings.Fields(lines.Text())
		if len(part) < 5 || part[1] != procAddr(at) {
			continue
		}
		var n int
		if _, err := fmt.Sscanf(part[4][strings.IndexByte(part[4], ':')+1:], "%x", &n); err != nil {
			return 0, err
		}
		switch part[2] {
		case procAddr(to):
			return n, nil
		case "00000000:0000":
			listening = n
		}
	}
	return listening, lines.Err()
}

// procAddr is an IPv4 address as /proc/net/tcp has it: four bytes in the order
// of the machine, which is little-endian wherever the tests run, and the port.
func procAddr(a *net.TCPAddr) string {
	ip := slices.Clone(a.IP.To4())
	slices.Reverse(ip)
	return strings.ToUpper(hex.EncodeToString(ip)) + fmt.Sprintf(":%04X", a.Port)
}
