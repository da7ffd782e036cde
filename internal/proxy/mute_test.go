package proxy_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// taciturn is an instance that accepts, and then does what it is told with a
// connection whose request has come.
func taciturn(t *testing.T, then func(net.Conn)) (addr string) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var open []net.Conn
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			go func() {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					then(c)
				}
			}()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			_ = c.Close()
		}
	})
	return ln.Addr().String()
}

// deaf is an address whose queue of connections is full and never emptied: the
// kernel drops further SYNs, as a host that has gone or a firewall would.
func deaf(t *testing.T) (addr string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr = net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for range 10 {
		var c net.Conn
		for range 3 { // a single one may be late because we stood still
			d := net.Dialer{Timeout: 300 * time.Millisecond}
			if c, err = d.DialContext(t.Context(), "tcp", addr); err == nil {
				break
			}
		}
		if err != nil {
			return addr // full
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue of a listener that never accepts does not fill")
	return ""
}

// An instance that takes connections and does not answer costs its callers the
// timeout of the route and nothing else: each gets its answer, nobody's claim is
// left behind, and another route is not touched.
func TestInstancesThatStayMute(t *testing.T) {
	t.Parallel()
	kinds := map[string]struct {
		then func(net.Conn)
		want int
	}{
		"says-nothing":         {func(net.Conn) {}, http.StatusGatewayTimeout},
		"begins-a-head":        {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Le")) }, http.StatusGatewayTimeout},
		"dribbles-a-head":      {dribble, http.StatusGatewayTimeout},
		"only-ever-says-100":   {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n")) }, http.StatusGatewayTimeout},
		"hangs-up":             {func(c net.Conn) { _ = c.Close() }, http.StatusBadGateway},
		"hangs-up-in-the-head": {func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nCont")); _ = c.Close() }, http.StatusBadGateway},
		"cuts":                 {func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() }, http.StatusBadGateway},
	}
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		w.Routes = []traffic.Route{w.Route("prod/good", []string{"good"}, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))}
		for name, kind := range kinds {
			r := w.Route("prod/"+name, []string{name}, traffic.Pool{Release: "r2", Version: "v2", Weight: delivery.Full, Endpoints: []traffic.Endpoint{{ID: name, Addr: taciturn(t, kind.then)}}})
			if kind.want == http.StatusGatewayTimeout {
				r.Timeout = time.Second
			}
			w.Routes = append(w.Routes, r)
		}
		w.MustApply()
		var all sync.WaitGroup
		for name, kind := range kinds {
			for i := range 20 {
				all.Go(func() {
					p := &plain{addr: w.Addr}
					defer p.close()
					method := []string{http.MethodGet, http.MethodPost}[i%2]
					if code, body, err := p.ask(t.Context(), method, name, "/", fmt.Sprint(i)); err != nil || code != kind.want {
						t.Errorf("%s: %s = %d %s, %v, want %d", name, method, code, body, err, kind.want)
					}
				})
			}
		}
		for range 50 {
			if got := w.Get("good", ""); got != "r1" {
				t.Errorf("the good route is answered by %s", got)
			}
		}
		all.Wait()
		await(t, "the claims to be given back", func() bool {
			for _, r := range w.State().Routes {
				if r.Pools[0].Endpoints[0].InFlight != 0 {
					return false
				}
			}
			return true
		})
	})
}

func dribble(c net.Conn) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nX-Slow: ")); err == nil; _, err = c.Write([]byte("x")) {
		<-tick.C
	}
}

// An instance that cannot even be connected to, without a refusal, costs no
// request: whatever its method, the other instance answers it.
func TestInstanceThatIsDeaf(t *testing.T) {
	t.Parallel()
	bothPaths(t, func(t *testing.T, w *traffictest.World) {
		p := traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full)
		p.Endpoints = append(p.Endpoints, traffic.Endpoint{ID: "deaf", Addr: deaf(t)})
		p.Check = traffic.Check{Timeout: 2 * time.Second, Interval: 200 * time.Millisecond, Fall: 2}
		one(w, p)
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				c := &plain{addr: w.Addr}
				defer c.close()
				method := []string{http.MethodGet, http.MethodPost}[i%2]
				for range 4 {
					if code, body, err := c.ask(t.Context(), method, "shop", "/", fmt.Sprint(i)); err != nil || code != http.StatusOK || body != "r1" {
						t.Errorf("%s = %d %s, %v", method, code, body, err)
					}
				}
			})
		}
		all.Wait()
		await(t, "the check to notice", func() bool { return w.State().Routes[0].Pools[0].Healthy == 1 })
		await(t, "the claims to be given back", func() bool {
			for _, ep := range w.State().Routes[0].Pools[0].Endpoints {
				if ep.InFlight != 0 {
					return false
				}
			}
			return true
		})
	})
}
