package proxy_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/slipway-cd/slipway/internal/proxy"
	"github.com/slipway-cd/slipway/internal/proxy/handover"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// dieAt names the step of a hand-over at which a data plane kills itself: "old"
// or "new", a colon and the step.
const dieAt = "SLIPWAY_TEST_DIE_AT"

// freezeOld makes a successor that is ready stop its predecessor, make the file
// named and wait until it is gone.
const freezeOld = "SLIPWAY_TEST_FREEZE"

// versionIs makes a data plane report another version than "test".
const versionIs = "SLIPWAY_TEST_VERSION"

// graceIs makes a data plane give what is in flight at its end another time.
const graceIs = "SLIPWAY_TEST_GRACE"

// plane is a process that is a data plane, or the successor of one.
func plane(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	side := "old"
	if handover.Inherited() {
		side = "new"
	}
	o := options(dir)
	if v := os.Getenv(versionIs); v != "" {
		o.Version = v
	}
	if d, err := time.ParseDuration(os.Getenv(graceIs)); err == nil {
		o.Grace = d
	}
	o.OnStep(func(step string) {
		if mark := os.Getenv(freezeOld); mark != "" && side+step == "newready" {
			_ = syscall.Kill(os.Getppid(), syscall.SIGSTOP)
			_ = os.WriteFile(mark, nil, 0o600)
			for there := true; there; {
				pause(ctx, 10*time.Millisecond)
				_, err := os.Stat(mark)
				there = err == nil
			}
		}
		if os.Getenv(dieAt) == side+":"+step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	if err := proxy.Run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process starts a data plane in dir as a process of its own. Whoever serves
// there when the test is over is ended.
func process(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childDir+"="+dir), env...)
	cmd.Stderr = &log
	cmd.WaitDelay = time.Second // successors have stderr too
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	ended.Go(func() { _ = cmd.Wait() })
	t.Cleanup(func() {
		for pid := holder(t, dir); pid != 0; pid = holder(t, dir) {
			_ = syscall.Kill(pid, syscall.SIGTERM)
			await(t, "the data plane to end", func() bool { return holder(t, dir) != pid })
		}
		ended.Wait()
		if log.Len() > 0 {
			t.Logf("data plane said: %s", log.String())
		}
	})
	awaitPlane(t, dir)
	return cmd
}

// holder is the process whose pid is in the lock of the state folder while
// anybody holds it, or 0.
func holder(t *testing.T, dir string) int {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "state", "lock"))
	if err != nil {
		return 0
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) == nil {
		return 0
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatalf("lock says %q: %v", b, err)
	}
	return pid
}

// clientele are clients that never repeat a request and keep their connections, as
// pools of services do; what they lose is an error of the test.
type clientele struct {
	t        *testing.T
	addr     string
	stop     context.CancelFunc
	all      sync.WaitGroup
	requests atomic.Int64
	closed   atomic.Int64 // connections that an answer said to close
	sockets  atomic.Int64 // WebSockets opened
	long     atomic.Int64 // downloads done
}

// longBody is how much a download brings, over about a second.
const longBody = 3 << 20

func gather(t *testing.T, addr string, clients int) *clientele {
	ctx, stop := context.WithCancel(t.Context())
	c := &clientele{t: t, addr: addr, stop: stop}
	for i := range clients {
		method := http.MethodGet
		if i%2 == 1 {
			method = http.MethodPost
		}
		c.all.Go(func() { c.ask(ctx, method) })
	}
	for range 3 {
		c.all.Go(func() { c.talk(ctx) })
		c.all.Go(func() { c.load(ctx) })
	}
	return c
}

func (c *clientele) end() {
	c.stop()
	c.all.Wait()
	c.t.Logf("%d requests, %d connections closed in good order, %d WebSockets, %d downloads", c.requests.Load(), c.closed.Load(), c.sockets.Load(), c.long.Load())
}

func (c *clientele) ask(ctx context.Context, method string) {
	conn := &plain{addr: c.addr}
	defer conn.close()
	for ctx.Err() == nil {
		code, _, err := conn.ask(context.WithoutCancel(ctx), method, "shop", "/", "")
		if err != nil || code != http.StatusOK {
			c.t.Errorf("%s after %d requests = %d, %v", method, c.requests.Load(), code, err)
			return
		}
		c.requests.Add(1)
		if conn.conn == nil {
			c.closed.Add(1)
		}
		pause(ctx, time.Millisecond+rand.N(2*time.Millisecond))
	}
}

// talk opens a WebSocket again whenever it is cut.
func (c *clientele) talk(ctx context.Context) {
	for ctx.Err() == nil {
		ws, _, err := websocket.Dial(context.WithoutCancel(ctx), "ws://"+c.addr+"/socket", nil)
		if err != nil {
			c.t.Errorf("WebSocket %d: %v", c.sockets.Load(), err)
			return
		}
		for n := 0; ctx.Err() == nil; n++ {
			err := ws.Write(ctx, websocket.MessageText, []byte("hello"))
			if err == nil {
				_, _, err = ws.Read(ctx)
			}
			if err != nil {
				if n == 0 && ctx.Err() == nil {
					c.t.Errorf("a fresh WebSocket said nothing: %v", err)
				}
				break
			}
			if n == 0 {
				c.sockets.Add(1)
			}
			pause(ctx, 5*time.Millisecond)
		}
		_ = ws.CloseNow()
	}
}

func (c *clientele) load(ctx context.Context) {
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "http://"+c.addr+"/long", nil)
		if err != nil {
			c.t.Error(err)
			return
		}
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			c.t.Errorf("download: %v", err)
			return
		}
		n, err := io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || n != longBody {
			c.t.Errorf("download of %d bytes of %d: %v", n, longBody, err)
			return
		}
		c.long.Add(1)
	}
}

// shop is an instance with everything that an upgrade could break.
func shop(t *testing.T) traffic.Pool {
	return backend(t, "1", func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/socket":
			ws, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer ws.CloseNow()
			for {
				kind, b, err := ws.Read(r.Context())
				if err != nil || ws.Write(r.Context(), kind, b) != nil {
					return
				}
			}
		case "/long":
			w.Header().Set("Content-Length", strconv.Itoa(longBody))
			piece := make([]byte, longBody/32)
			for range 32 {
				if _, err := w.Write(piece); err != nil {
					return
				}
				if http.NewResponseController(w).Flush() != nil || !pause(r.Context(), 20*time.Millisecond) {
					return
				}
			}
		default:
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "r1")
		}
	})
}

// upgrades is how many upgrades the load test makes: SLIPWAY_UPGRADES, or 3.
func upgrades(t *testing.T) int {
	t.Helper()
	s := os.Getenv("SLIPWAY_UPGRADES")
	if s == "" {
		return 3
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("SLIPWAY_UPGRADES=%s is no number of upgrades", s)
	}
	return n
}

// Upgrades of the data plane, one after the other under clients that never
// repeat a request, lose none.
func TestUpgradesUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	total := upgrades(t)
	dir := shortDir(t)
	process(t, dir)
	d := driver.New(filepath.Join(dir, "s"))
	w := traffictest.NewWorld(t, d)
	w.Plane.Limits.Streams = 5 * time.Second // a download takes one, but the machine may be busy
	one(w, shop(t))
	clients := 24
	if total > 3 {
		clients, w.Plane.Limits.Streams = 64, 2*time.Second
		w.MustApply()
	}
	c := gather(t, w.Addr, clients)
	defer c.end()
	seen := map[int]bool{w.State().PID: true}
	for i := range total {
		before := c.requests.Load()
		done, err := d.Upgrade(t.Context(), "")
		if err != nil {
			t.Fatalf("upgrade %d: %v", i+1, err)
		}
		if seen[done.PID] || !seen[done.OldPID] || holder(t, dir) != done.PID {
			t.Fatalf("upgrade %d = %+v, lock held by %d; want a new process that has the place", i+1, done, holder(t, dir))
		}
		seen[done.PID] = true
		one(w, w.Routes[0].Pools...)
		if s := w.State(); s.PID != done.PID || s.Generation != w.Generation || s.Listeners[0].Error != "" {
			t.Fatalf("after upgrade %d State = %+v, want generation %d by %d", i+1, s, w.Generation, done.PID)
		}
		await(t, "requests by the new process", func() bool { return c.requests.Load() > before+int64(clients) })
		if t.Failed() {
			t.Fatalf("upgrade %d of %d lost something", i+1, total)
		}
	}
	c.stop()
	c.all.Wait()
	if c.closed.Load() < int64(total) || c.sockets.Load() < 3 || c.long.Load() == 0 {
		t.Errorf("%d connections closed in good order, %d WebSockets, %d downloads: that is no load", c.closed.Load(), c.sockets.Load(), c.long.Load())
	}
}
