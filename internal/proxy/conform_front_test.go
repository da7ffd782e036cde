package proxy_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// lanesPerFront bounds how many cases one front serves at a time.
const lanesPerFront = 4

// conformFront is one HTTP implementation under the judge.
type conformFront struct {
	name  string // "full", "raw", "net/http", "haproxy"
	ours  bool
	lanes chan *lane

	// open says how many connections there are to a lane of the front; nil where
	// it does not tell.
	open func(*lane) int
}

// conformFronts starts every front, each with lanes of its own: both paths of
// the data plane, and two peers that show what others do with the same bytes.
func conformFronts(t *testing.T) []*conformFront {
	t.Helper()
	return []*conformFront{
		planeFront(t, "full", true),
		planeFront(t, "raw", false),
		stdFront(t),
		haproxyFront(t),
	}
}

func newConformFront(t *testing.T, name string) (*conformFront, []*lane) {
	t.Helper()
	f := &conformFront{name: name, lanes: make(chan *lane, lanesPerFront)}
	var lanes []*lane
	for range lanesPerFront {
		l := newLane(t)
		lanes = append(lanes, l)
		f.lanes <- l
	}
	return f, lanes
}

// planeFront is a data plane. A lane is a listener, an environment, a route and
// a release of its own, so that no case needs a host to find its upstream.
func planeFront(t *testing.T, name string, fullOnly bool) *conformFront {
	t.Helper()
	dir := shortDir(t)
	serve(t, dir)
	w := traffictest.NewWorld(t, driver.New(filepath.Join(dir, "s")))
	f, lanes := newConformFront(t, name)
	f.ours = true
	w.Listeners, w.Routes = nil, nil
	for i, l := range lanes {
		l.addr = porttest.Free(t)
		env := fmt.Sprint("lane", i)
		w.Listeners = append(w.Listeners, traffic.Listener{Name: env, Addr: l.addr, Env: env})
		w.Routes = append(w.Routes, traffic.Route{
			Name: env + "/echo", Env: env, Service: "echo", Gen: 1, Hosts: []string{""}, Salt: "s",
			Pools: []traffic.Pool{{
				Release: "r1", Version: "v1", Weight: delivery.Full,
				Endpoints: []traffic.Endpoint{{ID: env, Addr: l.ln.Addr().String()}},
				Check:     traffic.Check{Interval: time.Hour},
			}},
			Traffic: delivery.Traffic{Timeout: 30 * time.Second},
		})
	}
	f.open = func(l *lane) int {
		n := 0
		for _, s := range w.State().Listeners {
			if s.Addr == l.addr {
				n += s.Open
			}
		}
		return n
	}
	table := w.Table()
	table.Generation, table.Plane = 1, delivery.DataPlane{FullOnly: fullOnly} // and nobody is believed
	if err := w.Driver.Apply(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	for _, l := range w.State().Listeners {
		if l.Error != "" {
			t.Fatalf("listener %s: %s", l.Name, l.Error)
		}
	}
	return f
}

// stdFront is the standard library's proxy, as its documentation says to set it up.
func stdFront(t *testing.T) *conformFront {
	t.Helper()
	f, lanes := newConformFront(t, "net/http")
	before := log.Writer()
	log.SetOutput(io.Discard) // there its client tells of answers that nobody asked for
	t.Cleanup(func() { log.SetOutput(before) })
	silent := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	open := map[*lane]*atomic.Int64{}
	f.open = func(l *lane) int { return int(open[l].Load()) }
	for _, l := range lanes {
		conns := &atomic.Int64{}
		open[l] = conns
		to, err := url.Parse("http://" + l.ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}
		t.Cleanup(tr.CloseIdleConnections)
		srv := &http.Server{
			Handler: &httputil.ReverseProxy{
				Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host; r.SetXForwarded() },
				Transport: tr, ErrorLog: silent, FlushInterval: -1,
			},
			ReadHeaderTimeout: time.Minute, MaxHeaderBytes: 64 << 10, ErrorLog: silent,
			ConnState: func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateNew:
					conns.Add(1)
				case http.StateHijacked, http.StateClosed:
					conns.Add(-1)
				case http.StateActive, http.StateIdle:
				}
			},
		}
		var lc net.ListenConfig
		ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.addr = ln.Addr().String()
		go func() { _ = srv.Serve(ln) }()
		t.Cleanup(func() { _ = srv.Close() })
	}
	return f
}

// haproxyFront is Debian's HAProxy. It gets its listening sockets from the
// test, so that no port can be taken by another, and ends with it.
func haproxyFront(t *testing.T) *conformFront {
	t.Helper()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		program = "/usr/sbin/haproxy" // outside the PATH of users on Debian
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("HAProxy is missing: run make setup (%v)", err)
	}
	f, lanes := newConformFront(t, "haproxy")
	var conf strings.Builder
	conf.WriteString(`global
	nbthread 1
	maxconn 1000
defaults
	mode http
	option abortonclose
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	timeout http-request 60s
`)
	var files []*os.File
	for i, l := range lanes {
		var lc net.ListenConfig
		ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.addr = ln.Addr().String()
		file, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
		t.Cleanup(func() { _ = ln.Close() })
		fmt.Fprintf(&conf, "frontend f%d\n\tbind fd@%d\n\tdefault_backend b%d\n", i, 3+i, i)
		fmt.Fprintf(&conf, "backend b%d\n\tserver s %s\n", i, l.ln.Addr())
	}
	path := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(path, []byte(conf.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var says bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "-db", "-f", path)
	cmd.ExtraFiles, cmd.Stdout, cmd.Stderr = files, &says, &says
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		_ = file.Close()
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("haproxy: %s", says.String())
		}
	})
	return f
}
