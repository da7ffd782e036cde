package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// limited applies the world's routes under limits.
func limited(w *traffictest.World, l delivery.PlaneLimits) {
	w.Plane.Limits = l
	w.MustApply()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	var d net.Dialer
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

func TestOverloadIsShedAtOnce(t *testing.T) {
	t.Parallel()
	w := world(t)
	in := w.Instance("a", "r1", "v1")
	one(w, traffictest.Share(in, delivery.Full))
	limited(w, delivery.PlaneLimits{InFlight: 2})
	held := make(chan int, 2)
	for range 2 {
		go func() {
			code, _ := w.AskPath("shop", "", "/hold")
			held <- code
		}()
	}
	await(t, "both to be held", func() bool { return w.State().Routes[0].Pools[0].Endpoints[0].InFlight == 2 })
	res := do(t, request(t, http.MethodGet, "http://"+w.Addr+"/", nil))
	var p struct{ Code, Hint string }
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || p.Code != "overloaded" || p.Hint == "" {
		t.Errorf("a third request = %s, Retry-After %q, %+v", res.Status, res.Header.Get("Retry-After"), p)
	}
	in.Let()
	for range 2 {
		if code := <-held; code != http.StatusOK {
			t.Errorf("a request that was in = %d, want 200", code)
		}
	}
	await(t, "room again", func() bool { code, _ := w.Ask("shop", ""); return code == http.StatusOK })
	// What is refused for other reasons is counted out as well.
	for range 10 {
		r := request(t, http.MethodGet, "http://"+w.Addr+"/", nil)
		r.Header.Set("Slipway-Preview", "nobody")
		if res := do(t, r); res.StatusCode != http.StatusNotFound {
			t.Fatalf("an unknown preview = %s, want 404", res.Status)
		}
	}
	if code, _ := w.Ask("shop", ""); code != http.StatusOK {
		t.Errorf("after ten refusals = %d, want 200", code)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	w := world(t)
	in := w.Instance("a", "r1", "v1")
	one(w, traffictest.Share(in, delivery.Full))
	limited(w, delivery.PlaneLimits{Connections: 2})
	silent, idle := dial(t, w.Addr), &plain{addr: w.Addr}
	t.Cleanup(idle.close)
	if code, _, err := idle.ask(t.Context(), http.MethodGet, "shop", "/", ""); code != http.StatusOK {
		t.Fatal(code, err)
	}
	await(t, "both to be in", func() bool { return w.State().Listeners[0].Open == 2 })
	third := &plain{addr: w.Addr}
	t.Cleanup(third.close)
	if code, _, err := third.ask(t.Context(), http.MethodGet, "shop", "/", ""); code != http.StatusOK {
		t.Fatal(code, err)
	}
	if s := w.State().Listeners[0]; s.Dismissed != 1 || s.Open != 2 || s.Most != 2 {
		t.Errorf("listener = %+v, want 2 of 2 open and the idle one dismissed", s)
	}
	if _, err := idle.conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
		t.Error("the idle connection is open")
	}
	if _, err := io.WriteString(silent, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(silent).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 200") {
		t.Errorf("the connection that had no request yet got %q, %v", line, err)
	}
}

func TestHeadsAreBounded(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	big := request(t, http.MethodGet, "http://"+w.Addr+"/", nil)
	big.Header.Set("X-Big", strings.Repeat("x", 32<<10))
	if res := do(t, big); res.StatusCode != http.StatusOK {
		t.Errorf("a head of 32 KiB = %s, want 200 by default", res.Status)
	}
	limited(w, delivery.PlaneLimits{HeadBytes: 8 << 10, HeadTime: 3 * time.Second, Idle: 3 * time.Second})
	if res := do(t, big); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a head of 32 KiB = %s, want 431", res.Status)
	}
	slow := dial(t, w.Addr)
	if _, err := io.WriteString(slow, "GET / HTTP/1.1\r\nHost: sh"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(slow); err != nil && !errors.Is(err, unix.ECONNRESET) || strings.Contains(string(b), "200") {
		t.Errorf("a head that never ends = %q, %v, want the end", b, err)
	}
	idle := dial(t, w.Addr)
	if _, err := io.WriteString(idle, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(idle); err != nil || !strings.Contains(string(b), "200") {
		t.Errorf("an idle connection = %q, %v, want one answer and the end", b, err)
	}
}

// New limits reach new connections; those that are open finish under the old ones.
func TestChangedLimitsLoseNothing(t *testing.T) {
	t.Parallel()
	w := world(t)
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	ctx, stop := context.WithCancel(t.Context())
	wait := hammer(ctx, t, 6, w.Addr, http.MethodPost, func(string, string) {})
	for i := range 6 {
		limited(w, delivery.PlaneLimits{HeadBytes: 16<<10 + i})
		pause(t.Context(), 100*time.Millisecond)
	}
	stop()
	if wait() == 0 {
		t.Error("nobody asked")
	}
}

func TestAPlaneWithFewFilesLetsFewIn(t *testing.T) {
	t.Parallel()
	w, _ := childWorld(t, 160)
	one(w, traffictest.Share(w.Instance("a", "r1", "v1"), delivery.Full))
	if s := w.State().Listeners[0]; s.Most != 48 { // (160-64)/2
		t.Errorf("160 files allow %d connections, want 48", s.Most)
	}
	limited(w, delivery.PlaneLimits{Connections: 10_000}) // more than there can be: the whole plane's bound holds
	for range 200 {
		c := &plain{addr: w.Addr}
		t.Cleanup(c.close)
		if code, _, err := c.ask(t.Context(), http.MethodGet, "shop", "/", ""); code != http.StatusOK {
			t.Fatalf("with a full table = %d, %v", code, err)
		}
	}
	w.MustApply() // the control socket has descriptors left
	if s := w.State().Listeners[0]; s.Open > 48 || s.Dismissed < 100 {
		t.Errorf("listener = %+v, want at most 48 open and the rest dismissed", s)
	}
}
