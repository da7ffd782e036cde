package door_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/proxy/door"
)

// childLog makes the test binary an echo server with few descriptors, which
// writes its address and what it logs to that folder.
const childLog = "SLIPWAY_TEST_FEW_FILES"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childLog); dir != "" {
		if err := fewFiles(context.Background(), dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// echo answers each byte with itself, one request at a time.
func echo(g *door.Guest) {
	defer g.Close()
	var b [1]byte
	for {
		if _, err := g.Read(b[:]); err != nil {
			return
		}
		switch b[0] {
		case 'h': // a request that hangs
			if !g.Enter() {
				return
			}
			continue
		case 'l': // no longer
			g.Leave()
		case 'r': // one that is done at once
			if !g.Enter() {
				return
			}
			g.Leave()
		}
		if _, err := g.Write(b[:]); err != nil {
			return
		}
	}
}

var quiet = slog.New(slog.DiscardHandler)

// open serves d on a fresh address until the test ends.
func open(t *testing.T, d *door.Door) string {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, ln, func(g *door.Guest) { go echo(g) }) }()
	t.Cleanup(func() {
		stop()
		_ = ln.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) && !errors.Is(err, context.Canceled) {
			t.Errorf("Serve() = %v", err)
		}
	})
	return ln.Addr().String()
}

func call(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// say sends a byte and wants it back.
func say(c net.Conn, what byte) error {
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write([]byte{what}); err != nil {
		return err
	}
	var b [1]byte
	_, err := io.ReadFull(c, b[:])
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if <-tick.C; time.Now().After(deadline) {
			t.Fatal("waited 30 s for ", what)
		}
	}
}

// silent says that nothing comes on c for a while.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	var b [1]byte
	if n, err := c.Read(b[:]); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read() = %d, %v, want nothing yet", n, err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
}

func TestLongestIdleGoesFirst(t *testing.T) {
	t.Parallel()
	h := door.New(100, quiet)
	d := h.Door(3, quiet)
	addr := open(t, d)
	busy, older, newer := call(t, addr), call(t, addr), call(t, addr)
	must(t, say(busy, 'r'))
	_, err := busy.Write([]byte{'h'})
	must(t, err)
	must(t, say(busy, 'x')) // the request has begun
	must(t, say(older, 'r'))
	h.Tick()
	must(t, say(newer, 'r'))
	h.Tick()
	h.Tick()
	must(t, say(call(t, addr), 'r'))
	if err := say(older, 'r'); err == nil {
		t.Error("the longest idle connection is still open")
	}
	must(t, say(newer, 'r'))
	must(t, say(busy, 'l'))
	if s := d.Stats(); s.Dismissed != 1 || s.Open != 3 || s.Most != 3 || s.Waited != 1 {
		t.Errorf("Stats() = %+v, want 3 of 3 open, 1 waited and 1 dismissed", s)
	}
}

func TestWithoutIdleOnesTheNewestWaits(t *testing.T) {
	t.Parallel()
	h := door.New(100, quiet)
	d := h.Door(2, quiet)
	addr := open(t, d)
	first, fresh := call(t, addr), call(t, addr) // fresh had no request yet: it is not idle
	must(t, say(first, 'r'))
	await(t, "both to be in", func() bool { return d.Stats().Open == 2 })
	third := call(t, addr)
	_, err := third.Write([]byte{'r'})
	must(t, err)
	silent(t, third) // first has just been answered, which is not idle either
	must(t, fresh.Close())
	var b [1]byte
	_, err = io.ReadFull(third, b[:])
	must(t, err)
	must(t, say(first, 'r'))
	if s := d.Stats(); s.Dismissed != 0 || s.Waited != 1 {
		t.Errorf("Stats() = %+v, want nobody dismissed", s)
	}
}

func TestTheWholeHouseIsBounded(t *testing.T) {
	t.Parallel()
	h := door.New(2, quiet)
	one, two := h.Door(10, quiet), h.Door(10, quiet)
	a, b := open(t, one), open(t, two)
	first := call(t, a)
	must(t, say(first, 'r'))
	must(t, say(call(t, b), 'x'))
	h.Tick()
	h.Tick()
	must(t, say(call(t, b), 'x')) // whoever is idle, at whichever door
	if err := say(first, 'x'); err == nil {
		t.Error("an idle connection of the other door is still open")
	}
	waits := call(t, a)
	_, err := waits.Write([]byte{'x'})
	must(t, err)
	silent(t, waits)
	h.Limit(3)
	var got [1]byte
	_, err = io.ReadFull(waits, got[:])
	must(t, err)
}

// No request that began is cut by who waits, in whatever order things happen.
func TestNoRequestIsCutForRoom(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		h := door.New(rapid.IntRange(2, 6).Draw(rt, "house"), quiet)
		d := h.Door(rapid.IntRange(2, 6).Draw(rt, "door"), quiet)
		var lc net.ListenConfig
		ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			rt.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		var all sync.WaitGroup
		go func() {
			defer close(done)
			_ = d.Serve(ctx, ln, func(g *door.Guest) { all.Go(func() { echo(g) }) })
		}()
		defer func() {
			stop()
			_ = ln.Close()
			<-done
			all.Wait()
			if s := d.Stats(); s.Open != 0 {
				rt.Fatalf("%d connections are counted after the last one closed", s.Open)
			}
		}()
		var conns []net.Conn
		busy := map[net.Conn]bool{}
		defer func() {
			for _, c := range conns {
				_ = c.Close()
			}
		}()
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			if len(conns) < 12 && rapid.Bool().Draw(rt, "comes") {
				c, err := net.Dial("tcp", ln.Addr().String())
				if err != nil {
					rt.Fatal(err)
				}
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				conns = append(conns, c)
				if len(busy) < 1 { // room for one at least, or the next would wait for ever
					if say(c, 'r') == nil {
						if _, err := c.Write([]byte{'h'}); err != nil {
							rt.Fatal(err)
						}
						if say(c, 'x') != nil {
							rt.Fatal("a request that began was cut")
						}
						busy[c] = true
					}
				}
			}
			for range rapid.IntRange(0, 3).Draw(rt, "ticks") {
				h.Tick()
			}
		}
		for c := range busy {
			if err := say(c, 'l'); err != nil {
				rt.Fatalf("a request that began was cut: %v", err)
			}
		}
	})
}

func TestUnreadComesFirst(t *testing.T) {
	t.Parallel()
	h := door.New(10, quiet)
	d := h.Door(10, quiet)
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	got := make(chan string, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.Serve(t.Context(), ln, func(g *door.Guest) {
			var first [3]byte
			_, _ = io.ReadFull(g, first[:])
			g.Unread(first[:])
			all, _ := io.ReadAll(struct{ io.Reader }{g})
			got <- string(all)
			g.Unread([]byte("again"))
			var out strings.Builder
			_, _ = g.WriteTo(&out)
			got <- out.String()
			_ = g.Close()
			if err := g.Close(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("second Close() = %v, want net.ErrClosed", err)
			}
		})
	}()
	c := call(t, ln.Addr().String())
	_, err = io.WriteString(c, "abcdef")
	must(t, err)
	must(t, c.(*net.TCPConn).CloseWrite())
	if a, b := <-got, <-got; a != "abcdef" || b != "again" {
		t.Errorf("read %q and %q, want abcdef and again", a, b)
	}
	must(t, ln.Close())
	<-done
}

// fewFiles echoes with room for 40 descriptors, limits that are too high for
// that, and a control file that it opens when asked to.
func fewFiles(ctx context.Context, dir string) error {
	limit := unix.Rlimit{Cur: 40, Max: 40}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, nil))
	h := door.New(1000, logger)
	ticks := time.NewTicker(door.Tick / 10) // ten times as fast
	go func() {
		for range ticks.C {
			h.Tick()
		}
	}()
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "addr.new"), []byte(ln.Addr().String()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, "addr.new"), filepath.Join(dir, "addr")); err != nil {
		return err
	}
	return h.Door(1000, logger).Serve(ctx, ln, func(g *door.Guest) { go echo(g) })
}

func TestFullTableOfFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childLog+"="+dir)
	child.Stderr = os.Stderr
	must(t, child.Start())
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	var addr string
	await(t, "the child", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "addr"))
		addr = string(b)
		return err == nil
	})
	var fresh []net.Conn // without a request: they may not be closed for others
	for range 20 {
		fresh = append(fresh, call(t, addr))
	}
	must(t, say(fresh[19], 'x'))
	for range 60 { // three times what is left; each makes room by closing an idle one
		must(t, say(call(t, addr), 'r'))
	}
	for _, c := range fresh {
		must(t, say(c, 'x'))
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	must(t, err)
	if !strings.Contains(string(log), "too many open files") || !strings.Contains(string(log), "accepted again") {
		t.Errorf("log = %s, want the shortage and its end", log)
	}
}

func TestShareLeavesAReserve(t *testing.T) {
	t.Parallel()
	for files, want := range map[int]int{64: 1, 256: 96, 1024: 480, 20000: 9375, 1 << 20: 491520} {
		if got := door.Share(files); got != want {
			t.Errorf("Share(%d) = %d, want %d", files, got, want)
		}
	}
	if n, err := door.Files(); err != nil || n < 64 {
		t.Errorf("Files() = %d, %v", n, err)
	}
}
