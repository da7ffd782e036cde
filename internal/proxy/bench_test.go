package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
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
// included, so the proxies themselves differ by more): while one release has all of
// the weight, and while two have and everything is counted that a judge asks for.
func BenchmarkProxy(b *testing.B) {
	for name, weights := range map[string][]delivery.Weight{"one release": {delivery.Full}, "two releases": {500, 9500}} {
		b.Run(name, func(b *testing.B) { benchmarkProxy(b, weights) })
	}
}

func benchmarkProxy(b *testing.B, weights []delivery.Weight) {
	instance := func() string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, 200))
		}))
		b.Cleanup(s.Close)
		return s.URL
	}
	target, err := url.Parse(instance())
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
	var pools []traffic.Pool
	for i, weight := range weights {
		at := strings.TrimPrefix(instance(), "http://")
		pools = append(pools, traffic.Pool{Release: delivery.ReleaseID(fmt.Sprint("r", i)), Weight: weight, Endpoints: []traffic.Endpoint{{ID: fmt.Sprint("a", i), Addr: at}}})
	}
	d := driver.New(filepath.Join(dir, "s"))
	if err := d.Apply(b.Context(), traffic.Table{
		Generation: 1,
		Listeners:  []traffic.Listener{{Name: "prod", Addr: addr, Env: "prod"}},
		Routes:     []traffic.Route{{Name: "prod/a", Env: "prod", Service: "a", Hosts: []string{""}, Pools: pools}},
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
				for k := range n/clients + min(1, max(0, n%clients-i)) {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
					if err != nil {
						b.Error(err)
						return
					}
					req.Header.Set("Cookie", fmt.Sprintf("slipway_id=%032x", 100*i+k%100))
					res, err := client.Do(req)
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
