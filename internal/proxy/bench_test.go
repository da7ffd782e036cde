package proxy_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	driver "github.com/slipway-cd/slipway/internal/traffic/proxy"
)

// BenchmarkProxy sends the same requests through the data plane and through
// httputil.ReverseProxy over the same tuned transport, in alternation, and
// reports the ratio of CPU time of the whole process (clients and instance
// included, so the proxies themselves differ by more).
func BenchmarkProxy(b *testing.B) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(make([]byte, 200))
	}))
	b.Cleanup(upstream.Close)
	target, err := url.Parse(upstream.URL)
	if err != nil {
		b.Fatal(err)
	}
	reverse := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
	})
	b.Cleanup(reverse.Close)
	dir := shortDir(b)
	serve(b, dir)
	var lc net.ListenConfig
	ln, err := lc.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := ln.Addr().String()
	if err := ln.Close(); err != nil {
		b.Fatal(err)
	}
	d := driver.New(filepath.Join(dir, "s"))
	if err := d.Apply(b.Context(), traffic.Table{
		Generation: 1,
		Listeners:  []traffic.Listener{{Name: "prod", Addr: addr, Env: "prod"}},
		Routes: []traffic.Route{{Name: "prod/a", Env: "prod", Service: "a", Hosts: []string{""}, Pools: []traffic.Pool{
			{Release: "r1", Weight: delivery.Full, Endpoints: []traffic.Endpoint{{ID: "a", Addr: target.Host}}},
		}}},
	}); err != nil {
		b.Fatal(err)
	}
	const clients = 16
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	b.Cleanup(client.CloseIdleConnections)
	send := func(url string, n int) {
		var all sync.WaitGroup
		for i := range clients {
			all.Go(func() {
				for range n/clients + min(1, max(0, n%clients-i)) {
					res, err := client.Get(url)
					if err != nil {
						b.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
			})
		}
		all.Wait()
	}
	send("http://"+addr, 200)
	send(reverse.URL, 200)
	var ours, theirs time.Duration
	const round = 256
	b.ResetTimer()
	for done := 0; done < b.N; done += round {
		n := min(round, b.N-done)
		start := cpuTime(b)
		send("http://"+addr, n)
		half := cpuTime(b)
		send(reverse.URL, n)
		ours, theirs = ours+half-start, theirs+cpuTime(b)-half
	}
	b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "cpu-ns/req")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "x-ReverseProxy")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
