package proxy_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// child is a data plane in a process of its own.
type child struct {
	*os.Process
	dir string
}

// childWorld is a world whose data plane is a child, with at most files open
// files; 0 is as many as this process may have.
func childWorld(t *testing.T, files int) (*traffictest.World, child) {
	t.Helper()
	dir := shortDir(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	if files > 0 {
		cmd = exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0"`, files), os.Args[0])
	}
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says "killed"
	})
	awaitPlane(t, dir)
	return traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s"))), child{cmd.Process, dir}
}

// tellMemory writes what the Go runtime of a child holds now, and the most it
// ever held, in bytes, into a file each time it is asked by a signal. What the race
// detector adds is in neither.
func tellMemory(dir string, asked <-chan os.Signal) {
	for range asked {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		tmp := filepath.Join(dir, "memory.tmp")
		if err := os.WriteFile(tmp, fmt.Appendln(nil, m.Sys-m.HeapReleased, m.Sys), 0o600); err == nil {
			_ = os.Rename(tmp, filepath.Join(dir, memoryFile))
		}
	}
}

const memoryFile = "memory"

// memory asks a child for its memory, now and at most, in bytes.
func (c child) memory(t *testing.T) (now, most int) {
	t.Helper()
	file := filepath.Join(c.dir, memoryFile)
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := c.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	await(t, "the child's memory", func() bool {
		b, err := os.ReadFile(file)
		if err == nil {
			_, err = fmt.Sscan(string(b), &now, &most)
		}
		return err == nil
	})
	return now, most
}

// open dials without saying anything. It is cut, not closed, at the end.
func open(t *testing.T, addr string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Timeout: 30 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	tcp := c.(*net.TCPConn)
	_ = tcp.SetLinger(0)
	t.Cleanup(func() { _ = tcp.Close() })
	return tcp
}

// Ten thousand callers that hold an idle connection each cost a bounded and
// small amount of memory, and are all still served.
func TestIdleConnectionsAreCheap(t *testing.T) {
	t.Parallel()
	const bound = 40 << 10 // bytes of one; HTTP/1.1 on net/http has two buffers of 4 KiB and a goroutine
	n := 10_000
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	// A data plane keeps a file for the instance behind each connection too, and
	// some for itself. The runtime has raised the limit to what may be.
	if room := int(files.Cur) * 9 / 20; n > room {
		t.Logf("only %d files may be open, so %d connections instead of %d", files.Cur, room, n)
		n = room
	}
	for name, words := range map[string]delivery.DataPlane{"raw": {}, "full": {FullOnly: true}} {
		t.Run(name, func(t *testing.T) {
			w, plane := childWorld(t, 0)
			w.Plane = words
			one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
			crowd(t, w.Addr, 500, func(int) string { return "" }) // what is made once is there
			before, _ := plane.memory(t)
			idle := make([]*plain, n)
			askAll := func(some []*plain) {
				var all sync.WaitGroup
				next := make(chan *plain)
				for range 8 {
					all.Go(func() {
						for c := range next {
							if code, body, err := c.ask(t.Context(), http.MethodGet, "shop", "/", "k"); err != nil || code != http.StatusOK {
								t.Errorf("GET = %d %q, %v", code, body, err)
							}
						}
					})
				}
				for _, c := range some {
					next <- c
				}
				close(next)
				all.Wait()
			}
			for i := range idle {
				idle[i] = &plain{addr: w.Addr}
			}
			askAll(idle)
			after, _ := plane.memory(t)
			each := (after - before) / n
			t.Logf("%d idle connections: %d bytes each (%.1f MB before, %.1f MB with them)", n, each, float64(before)/1e6, float64(after)/1e6)
			if each > bound {
				t.Errorf("an idle connection costs %d bytes, want at most %d", each, bound)
			}
			asked := idle[:200]
			for _, c := range asked {
				if c.conn == nil {
					t.Fatal("an idle connection was closed")
				}
			}
			askAll(asked)
			for _, c := range idle {
				if tcp, ok := c.conn.(*net.TCPConn); ok {
					_ = tcp.SetLinger(0)
				}
				c.close()
			}
		})
	}
}

// endless writes piece until the peer stops it, at most limit bytes, and returns
// how many were taken and the status that came back, 0 for none.
func endless(t *testing.T, c net.Conn, start, piece string, limit int) (taken, status int) {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	answer := make(chan int, 1)
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			answer <- 0
			return
		}
		answer <- res.StatusCode
	}()
	chunk := strings.Repeat(piece, 1+4096/len(piece))
	_, err := io.WriteString(c, start)
	for err == nil && taken < limit {
		var n int
		n, err = io.WriteString(c, chunk)
		taken += n
		select {
		case status = <-answer:
			return taken, status
		default:
		}
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("write = %v", err)
	}
	return taken, <-answer
}

// A head that does not end is refused before much of it was taken in, whatever
// it is made of; nothing of it reaches an instance.
func TestHeadBombs(t *testing.T) {
	t.Parallel()
	bombs := map[string][2]string{
		"one long field":   {"GET / HTTP/1.1\r\nHost: shop\r\nX-Bomb: ", "x"},
		"many fields":      {"GET / HTTP/1.1\r\nHost: shop\r\n", "X-Bomb: x\r\n"},
		"many short names": {"GET / HTTP/1.1\r\nHost: shop\r\n", "a:\r\n"},
		"a long target":    {"GET /", "x"},
		"a long method":    {"", "G"},
		"many cookies":     {"GET / HTTP/1.1\r\nHost: shop\r\nCookie: ", "a=b; "},
		"long chunk sizes": {"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n", "0"},
		"chunk extensions": {"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n1", ";a=b"},
		"many trailers":    {"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-Bomb: x\r\n"},
	}
	const limit = 16 << 20 // bytes offered; sockets alone may hold some hundred KiB unread
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		in := w.Instance("a", "r1", "v1")
		one(w, traffictest.Share(in, delivery.Full))
		ctx, stop := context.WithCancel(t.Context())
		good := hammer(ctx, t, 4, w.Addr, http.MethodGet, func(string, string) {})
		for name, bomb := range bombs {
			taken, status := endless(t, open(t, w.Addr), bomb[0], bomb[1], limit)
			if taken >= limit {
				t.Errorf("%s: all %d bytes were taken", name, taken)
			}
			if status != 0 && status/100 != 4 && status != http.StatusBadGateway {
				t.Errorf("%s is answered %d, want a refusal", name, status)
			}
		}
		stop()
		good()
		// Just above the limit, and well formed, it is refused in words.
		for _, field := range []string{"X-Bomb: " + strings.Repeat("x", 80<<10) + "\r\n", strings.Repeat("X-Bomb: x\r\n", 10_000)} {
			c := open(t, w.Addr)
			_ = c.SetDeadline(time.Now().Add(30 * time.Second))
			go func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\n"+field+"\r\n") }()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("a head of %d bytes: %v, %v, want 431", len(field), res, err)
			}
		}
	})
}

// h2Frame is one HTTP/2 frame (RFC 9113, 4.1).
func h2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	return append(binary.BigEndian.AppendUint32(append(head, flags), stream), payload...)
}

// Frames and flags of RFC 9113, 6.
const (
	h2Headers, h2Reset, h2Settings, h2Continuation = 0x1, 0x3, 0x4, 0x9
	h2EndStream, h2EndHeaders                      = 0x1, 0x4
)

// h2Get is the header block of GET http://shop/, from the static table of HPACK
// (RFC 7541, A) and one literal without indexing.
var h2Get = append([]byte{0x82, 0x86, 0x84, 0x01, 4}, "shop"...)

// h2Literal is a literal field with incremental indexing and a new name (RFC
// 7541, 6.2.1), its value shorter than 127 + 16,384 bytes.
func h2Literal(name, value string) []byte {
	out := append([]byte{0x40, byte(len(name))}, name...)
	if n := len(value); n < 127 {
		out = append(out, byte(n))
	} else {
		out = append(out, 127, byte((n-127)%128)|128, byte((n-127)/128))
	}
	return append(out, value...)
}

// HTTP/2 bombs: heads that never end, heads that unpack to a thousand times
// their size, and streams that are reset as soon as they are opened. Each costs
// the data plane little memory, and others nothing.
func TestHTTP2Bombs(t *testing.T) {
	t.Parallel()
	w, plane := childWorld(t, 0)
	p := traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full)
	p.Endpoints = append(p.Endpoints, traffictest.Share(w.Instance("b", "r1", "v1"), 0).Endpoints...) // one may be too busy to connect to within a second
	one(w, p)
	ctx, stop := context.WithCancel(t.Context())
	good := hammer(ctx, t, 4, w.Addr, http.MethodGet, func(string, string) {})
	_, before := plane.memory(t)
	write := func(c net.Conn, most int, next func(i int) []byte) (written int) {
		go func() { _, _ = io.Copy(io.Discard, c) }() // it must not block on what it tells us
		var err error
		for i := 0; err == nil && written < most; i++ {
			var n int
			n, err = c.Write(next(i))
			written += n
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the data plane neither reads nor closes")
		}
		return written
	}
	const offered = 32 << 20
	if n := write(h2Raw(t, w.Addr), offered, func(i int) []byte {
		if i == 0 {
			return h2Frame(h2Headers, 0, 1, h2Get)
		}
		return h2Frame(h2Continuation, 0, 1, h2Literal("x-bomb", strings.Repeat("x", 8<<10)))
	}); n >= offered {
		t.Errorf("all %d bytes of an endless head were taken", n)
	}
	// One field of 4,000 bytes, indexed, and then 16,000 times its index: 64 MB.
	refer := append(append([]byte{}, h2Get...), h2Literal("x-bomb", strings.Repeat("x", 3900))...)
	refer = append(refer, strings.Repeat("\xbe", 12_000)...)
	var all sync.WaitGroup
	for range 20 {
		c := h2Raw(t, w.Addr)
		all.Go(func() {
			write(c, 1<<20, func(i int) []byte {
				return h2Frame(h2Headers, h2EndHeaders|h2EndStream, uint32(2*i+1), refer)
			})
		})
	}
	all.Wait()
	write(h2Raw(t, w.Addr), 2<<20, h2Fickle)
	_, most := plane.memory(t)
	t.Logf("at most %.1f MB before the bombs, %.1f MB with them", float64(before)/1e6, float64(most)/1e6)
	if most > before+128<<20 { // they unpack to more than a gigabyte
		t.Errorf("the bombs took %d bytes", most-before)
	}
	stop()
	good()
	res, err := overH2C(t).RoundTrip(request(t, http.MethodGet, "http://"+w.Addr+"/", nil))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("after the bombs GET over HTTP/2 = %v, %v", res, err)
	}
}

// h2Raw is a connection that has begun to speak HTTP/2.
func h2Raw(t *testing.T, addr string) net.Conn {
	t.Helper()
	c := open(t, addr)
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), h2Frame(h2Settings, 0, 0, nil)...)); err != nil {
		t.Fatal(err)
	}
	return c
}

// h2Fickle asks for something and resets it, as the i-th stream.
func h2Fickle(i int) []byte {
	id := uint32(2*i + 1)
	return append(h2Frame(h2Headers, h2EndHeaders|h2EndStream, id, h2Get), h2Frame(h2Reset, 0, id, make([]byte, 4))...)
}

// A caller who resets what it asks for is cut before it has cost its instance
// many connections; one who does it now and then is not.
func TestRapidResetIsCut(t *testing.T) {
	t.Parallel()
	w := world(t)
	var conns atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "r1") }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	one(w, traffictest.Share(&traffictest.Instance{ID: "a", Release: "r1", Version: "v1", Addr: s.Listener.Addr().String()}, delivery.Full))

	c := h2Raw(t, w.Addr)
	go func() { _, _ = io.Copy(io.Discard, c) }()
	const offered = 200_000
	i, err := 0, error(nil)
	for ; i < offered && err == nil; i++ {
		_, err = c.Write(h2Fickle(i))
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d streams were taken and reset, and the connection is still there (%v)", i, err)
	}
	t.Logf("cut after %d streams, which cost %d connections to the instance", i, conns.Load())
	if n := conns.Load(); n > 5_000 {
		t.Errorf("%d connections to the instance", n)
	}

	c = h2Raw(t, w.Addr)
	for i := range 200 {
		if _, err := c.Write(h2Fickle(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write(h2Frame(h2Headers, h2EndHeaders|h2EndStream, 2*200+1, h2Get)); err != nil {
		t.Fatal(err)
	}
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(c, head); err != nil {
			t.Fatalf("200 resets, and no answer to the request after them: %v", err)
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(c, payload); err != nil {
			t.Fatal(err)
		}
		if head[3] == h2Headers && binary.BigEndian.Uint32(head[5:]) == 2*200+1 {
			if payload[0] != 0x88 { // ":status: 200" of the static table
				t.Errorf("the header block begins %#x, want 200", payload[0])
			}
			return
		}
	}
}
