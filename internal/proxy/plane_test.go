package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/proxy"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// childDir makes the test binary a data plane of that folder.
const childDir = "SLIPWAY_TEST_DATA_PLANE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGUSR1) // before anybody finds us there and asks
		go tellMemory(dir, asked)
		os.Exit(plane(dir))
	}
	if socket := os.Getenv(renewSocket); socket != "" {
		fmt.Fprintln(os.Stderr, renew(context.Background(), socket))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func options(dir string) proxy.Options {
	return proxy.Options{
		Socket: filepath.Join(dir, "s"), StateDir: filepath.Join(dir, "state"),
		Log: slog.New(slog.DiscardHandler), Version: "test", Grace: 2 * time.Second,
	}
}

// shortDir is a folder whose path leaves room for a socket's name.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "slp") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// serve runs a data plane in dir and returns what ends it.
func serve(t testing.TB, dir string) (end func() error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- proxy.Run(ctx, options(dir)) }()
	ended := false
	end = func() error {
		if ended {
			return nil
		}
		ended = true
		stop()
		return <-done
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	awaitPlane(t, dir)
	return end
}

func awaitPlane(t testing.TB, dir string) {
	t.Helper()
	d := driver.New(filepath.Join(dir, "s"))
	await(t, "the data plane", func() bool {
		_, err := d.State(t.Context())
		return err == nil
	})
}

// world is a fresh data plane with real instances.
func world(t *testing.T) *traffictest.World {
	t.Helper()
	dir := shortDir(t)
	serve(t, dir)
	return traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited two minutes for %s", what)
		}
	}
}

// pause lets d pass or says that the test is over.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// plain is a keep-alive client that never repeats a request.
type plain struct {
	addr   string
	header string // further lines of the head, each with its CRLF
	conn   net.Conn
	r      *bufio.Reader
	last   time.Time // when the last answer was there
}

// ask sends one request over the open connection, or over a new one if the last
// answer said that it closes.
func (c *plain) ask(ctx context.Context, method, host, path, key string) (int, string, error) {
	if c.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", c.addr)
		if err != nil {
			return 0, "", err
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	_ = c.conn.SetDeadline(time.Now().Add(30 * time.Second))
	head := method + " " + path + " HTTP/1.1\r\nHost: " + host + "\r\nSlipway-Key: " + key + "\r\n" + c.header
	body := ""
	if method == http.MethodPost {
		body = "ping"
		head += "Content-Length: 4\r\n"
	}
	if _, err := io.WriteString(c.conn, head+"\r\n"+body); err != nil {
		return 0, "", err
	}
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return 0, "", err
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", err
	}
	c.last = time.Now()
	if res.Close {
		c.close()
	}
	return res.StatusCode, string(b), nil
}

// slept says whether the connection was kept for so long without a request that a
// data plane which ends, or leaves an address, may have closed it before the
// request that began then: it says for a second or two that it will.
func (c *plain) slept(began time.Time) bool {
	return c.conn != nil && !c.last.IsZero() && began.Sub(c.last) > 500*time.Millisecond
}

func (c *plain) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// backend is an instance with a handler of the test's own.
func backend(t *testing.T, release string, h http.HandlerFunc) traffic.Pool {
	t.Helper()
	return backendSpeaking(t, release, delivery.HTTP1, h)
}

func backendSpeaking(t *testing.T, release string, protocol delivery.Protocol, h http.HandlerFunc) traffic.Pool {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	if protocol == delivery.H2C {
		srv.Protocols = new(http.Protocols)
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	p := traffictest.Share(&traffictest.Instance{ID: release + ".0", Addr: ln.Addr().String(), Version: "v" + release}, 10000)
	p.Release = "r" + p.Release
	p.Check, p.Protocol = traffic.Check{}, protocol
	return p
}

// one applies a single route on any host to the pools.
func one(w *traffictest.World, pools ...traffic.Pool) {
	r := w.Route("prod/shop", []string{""}, pools...)
	w.Routes = []traffic.Route{r}
	w.MustApply()
}

func TestRunRefusesASecondDataPlane(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	serve(t, dir)
	o := options(dir)
	o.Socket += "2"
	err := proxy.Run(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("second Run() = %v, want the process that has the folder", err)
	}
	awaitPlane(t, dir)
}

func TestRunReplacesADeadSocketAndKeepsItPrivate(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	end := serve(t, dir)
	info, err := os.Stat(filepath.Join(dir, "s"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket = %v, %v, want mode 0600", info.Mode(), err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the end the socket is there: %v", err)
	}
}

func TestRunRefusesALongSocketPath(t *testing.T) {
	t.Parallel()
	o := options(t.TempDir())
	o.Socket = "/tmp/" + strings.Repeat("x", 120)
	if err := proxy.Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("Run() = %v, want the cure", err)
	}
}
