package main

import (
	"bytes"
	"context"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestFromWrk(t *testing.T) {
	var s sample
	out := "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 32 connections\nresult requests=1000 bytes=250000 connect=1 read=2 write=3 timeout=4 status=5\n"
	if err := s.fromWrk(out, 200); err != nil || s.Requests != 1000 || s.Failed != 15 {
		t.Errorf("fromWrk() = %+v, %v, want 1000 requests and 15 failed", s, err)
	}
	s = sample{}
	if err := s.fromWrk(strings.Replace(out, "bytes=250000", "bytes=190000", 1), 200); err != nil || s.Failed != 15+50 {
		t.Errorf("with 190,000 bytes of 1,000 bodies of 200: %+v, %v, want 50 short ones more", s, err)
	}
	if err := s.fromWrk("unable to connect to 127.0.0.1:1 Connection refused\n", 200); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("fromWrk() without a result = %v, want what wrk said", err)
	}
}

func TestFromH2load(t *testing.T) {
	const out = `finished in 2.00s, 1000.00 req/s, 1.00MB/s
requests: 2100 total, 2128 started, 2100 done, 2090 succeeded, 10 failed, 7 errored, 3 timeout
status codes: 2090 2xx, 1 3xx, 2 4xx, 4 5xx
traffic: 1.23MB (1230000) total, 120.5KB (123392) headers (space savings 90.00%), 408.20KB (418000) data
`
	var s sample
	if err := s.fromH2load(out, 200); err != nil || s.Requests != 2090 || s.Failed != 10+7+3+1+2+4 {
		t.Errorf("fromH2load() = %+v, %v", s, err)
	}
	if err := s.fromH2load("nothing", 200); err == nil {
		t.Error("fromH2load(nothing) = nil")
	}
}

func TestProc(t *testing.T) {
	if n, err := vmRSS([]byte("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t  2048 kB\n")); err != nil || n != 2<<20 {
		t.Errorf("vmRSS() = %d, %v, want 2 MiB", n, err)
	}
	const stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu0 9 9 9 9 9 9 9 9 0 0\ncpu1 1 2 3 1000 1000 4 5 6 0 0\ncpu10 7 7 7 7 7 7 7 7 0 0\n"
	if d, err := busyIn([]byte(stat), 1); err != nil || d != 210*time.Millisecond {
		t.Errorf("busyIn() = %s, %v, want 21 ticks: idle and waiting are not work", d, err)
	}
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for sum, end := 0, time.Now().Add(20*time.Millisecond); time.Now().Before(end); sum++ {
		_ = sum
	}
	if after, err := cpuOf(os.Getpid()); err != nil || after <= before {
		t.Errorf("cpuOf() = %s after %s, %v, want more", after, before, err)
	}
}

func TestMedians(t *testing.T) {
	if m := median([]float64{3, 1, 2}); m != 2 {
		t.Errorf("median of three = %v", m)
	}
	if m := median([]float64{4, 1, 2, 3}); m != 2.5 {
		t.Errorf("median of four = %v", m)
	}
	if m := median(nil); !math.IsNaN(m) {
		t.Errorf("median of none = %v", m)
	}
	us := func(round int, peer, load string, cpu time.Duration) sample {
		return sample{Round: round, Peer: peer, Load: load, Requests: 10, CPU: 10 * cpu}
	}
	r := results{
		us(1, base, "small-32", 10*time.Microsecond), us(2, base, "small-32", 20*time.Microsecond),
		us(1, "x", "small-32", 30*time.Microsecond), us(2, "x", "small-32", 20*time.Microsecond),
		us(3, "x", "small-32", 100*time.Microsecond), // the base has no third round
	}
	if low, high := r.rounds("x", base, "small-32"); low != 1 || high != 3 {
		t.Errorf("rounds() = %v to %v, want 1 to 3", low, high)
	}
	if got := r.cpu("x", "small-32"); got != 30 {
		t.Errorf("cpu() = %v, want 30", got)
	}
	if got := r.spread(base, "small-32"); math.Abs(got-10.0/15) > 1e-9 {
		t.Errorf("spread() = %v, want 2/3", got)
	}
	r = results{
		{Round: 1, Peer: "direct", Load: "open", P50: 1000},
		{Round: 2, Peer: "direct", Load: "open", P50: 9000},
		{Round: 1, Peer: "x", Load: "open", P50: 3000},
		{Round: 2, Peer: "x", Load: "open", P50: 11000},
	}
	if got := r.added("x", func(s sample) time.Duration { return s.P50 }); got != 2 {
		t.Errorf("added() = %v µs, want 2: each round by itself", got)
	}
}

// A goal is judged against the best of those it names, and one that could not
// be measured is not shown.
func TestGoals(t *testing.T) {
	r := results{
		{Peer: "slipway-raw", Load: "small-32", Requests: 1, CPU: 50, Memory: 1},
		{Peer: base, Load: "small-32", Requests: 1, CPU: 51},
		{Peer: "reverse-tuned", Load: "small-32", Requests: 1, CPU: 99},
		{Peer: "caddy", Load: "small-32", Requests: 1, CPU: 200},
		{Peer: "slipway-raw", Load: "small-256", Requests: 1, CPU: 50, Memory: 41e6},
		{Peer: base, Load: "small-256", Requests: 1, CPU: 40, Memory: 20e6},
	}
	peers := []*peer{{name: "slipway-raw"}, {name: base}, {name: "reverse-tuned", reverse: true}, {name: "caddy", reverse: true}}
	var out bytes.Buffer
	if err := goals(&out, r, peers); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) > 0 {
			got = append(got, strings.Join(f, " "))
		}
	}
	want := []string{
		"goals (in brackets: the lowest and highest ratio of a round)",
		"✔ slipway-raw 200 B c=32 0.98 x haproxy (0.98 to 0.98) goal <= 1.0 x",
		"✘ slipway-raw 200 B c=256 1.25 x haproxy (1.25 to 1.25) goal <= 1.0 x",
		"✘ slipway-raw memory 2.05 x haproxy goal <= 2.0 x",
		"✘ slipway-raw 200 B c=32 0.51 x reverse-tuned (0.51 to 0.51) goal <= 0.5 x",
		"1 of 4 kept",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("goals:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := report(&out, r, peers); err != nil {
		t.Error(err)
	}
	if err := failures(&out, append(r, sample{Peer: "x", Requests: 5, Failed: 1})); err == nil {
		t.Error("a failed request is no error")
	}
}

// While the server stalls, requests stay due: all are sent, and their wait counts.
func TestOpenLoopCountsTheWait(t *testing.T) {
	t.Parallel()
	const stall = 300 * time.Millisecond
	var n atomic.Int64
	var until atomic.Int64 // Unix nanosecond
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 20 {
			until.Store(time.Now().Add(stall).UnixNano())
		}
		if left := time.Until(time.Unix(0, until.Load())); left > 0 {
			select {
			case <-time.After(left):
			case <-r.Context().Done():
			}
		}
		_, _ = w.Write(make([]byte, small))
	}))
	defer s.Close()
	r, err := openLoop(t.Context(), s.Listener.Addr().String(), time.Second)
	if err != nil || r.Failed != 0 {
		t.Fatalf("openLoop() = %+v, %v", r, err)
	}
	// A fifth of what was due fell into the stall, more than there are connections.
	if r.P99 < stall/2 || r.P50 > r.P90 || r.P90 > r.P99 {
		t.Errorf("openLoop() = %+v, want a wait of about %s in its tail", r, stall)
	}
	if r.Requests != n.Load() {
		t.Errorf("%d answers of %d requests", r.Requests, n.Load())
	}
}

func TestOpenLoopCountsFailures(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	if r, err := openLoop(t.Context(), s.Listener.Addr().String(), 100*time.Millisecond); err == nil {
		t.Errorf("openLoop() against 503 = %+v, nil", r)
	}
}

func TestParse(t *testing.T) {
	if o, err := parse([]string{"-quick"}); err != nil || o.rounds != 1 || o.seconds != 1 {
		t.Errorf("parse(-quick) = %+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-rounds", "0"}, {"-loads", "tiny"}, {"-proxy-core", "0"}, {"-proxy-core", "4096"}} {
		if _, err := parse(bad); err == nil {
			t.Errorf("parse(%q) = nil", bad)
		}
	}
}

// Every configuration can be filled, and what runs in a lab ends with it.
func TestLab(t *testing.T) {
	t.Parallel()
	l, err := newLab(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{lab: l, direct: &peer{addr: "127.0.0.1:1"}, rest: "127.0.0.1:2"}
	for _, name := range []string{"upstream.nginx", "nginx", "haproxy", "caddy.json", "slipway.json"} {
		path, err := b.config(name, name, fields{Addr: "127.0.0.1:3", H2: "127.0.0.1:4"})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "127.0.0.1:2") || strings.Contains(string(text), "{{") {
			t.Errorf("%s = %s, %v", name, text, err)
		}
	}
	p, err := l.start(t.Context(), 0, "sleeper", "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.alive(); err != nil {
		t.Error(err)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
	if p.alive() == nil {
		t.Error("a process outlived its lab")
	}
	if _, err := os.Stat(l.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
}

func TestAwaitSaysWhyAProcessEnded(t *testing.T) {
	t.Parallel()
	l, err := newLab(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.close() }()
	p, err := l.start(t.Context(), 0, "quitter", "sh", "-c", "echo no such thing >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = p.await(t.Context(), func(context.Context) error { return net.ErrClosed })
	if err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("await() = %v, want what the process said", err)
	}
}
