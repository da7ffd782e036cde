package proxy_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/traffic"
	"github.com/slipway-cd/slipway/internal/traffic/traffictest"
)

// stormFor is how long the storm lasts: SLIPWAY_STORM, or a few seconds.
func stormFor(t *testing.T) time.Duration {
	t.Helper()
	s := os.Getenv("SLIPWAY_STORM")
	if s == "" {
		return 4 * time.Second
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// rough is an instance that misbehaves in every way it can think of. An answer
// with status 200 is its request's target.
type rough struct {
	t      *testing.T
	pools  map[string]traffic.Pool // by route: an address has one
	left   atomic.Int64            // generation by which it was not in the table; MaxInt64 while it may be
	served atomic.Int64
}

func newRough(t *testing.T, id string, release delivery.ReleaseID) *rough {
	t.Helper()
	in := &rough{t: t, pools: map[string]traffic.Pool{}}
	in.left.Store(math.MaxInt64)
	for _, route := range []string{"raw", "full"} {
		p := scripted(t, in.talk)
		p.Release, p.Version = release, "v"+string(release)
		p.Endpoints[0].ID = route + "." + id
		in.pools[route] = p
	}
	return in
}

func (in *rough) talk(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		in.served.Add(1)
		if gen, err := strconv.ParseInt(req.URL.Query().Get("gen"), 10, 64); err != nil || gen >= in.left.Load() {
			in.t.Errorf("%s asked an instance that had left by generation %d", req.RequestURI, in.left.Load())
		}
		if rand.IntN(8) == 0 && req.Method != http.MethodHead { // an early answer
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(req.RequestURI), req.RequestURI)
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil || !answerRoughly(c, req) {
			return
		}
	}
}

// answerRoughly says whether the connection goes on.
func answerRoughly(c net.Conn, req *http.Request) bool {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(c, format, args...) }
	to := req.RequestURI
	whole := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(to), to)
	if req.Method == http.MethodHead {
		say("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", len(to))
		return true
	}
	if req.Header.Get("Upgrade") != "" && rand.IntN(2) == 0 {
		say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: storm\r\n\r\nhello")
		_, _ = io.CopyN(c, c, 5)
		return false
	}
	switch rand.IntN(40) {
	case 0:
		return false
	case 1:
		say("%s", whole[:rand.IntN(len(whole))])
		return false
	case 2:
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return false
	case 3:
		_, _ = c.Read(make([]byte, 1)) // never
		return false
	case 4:
		say("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	case 5:
		say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
		return false
	case 6:
		say("rubbish\r\n\r\n")
	case 7:
		say("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nSet-Cookie: a=b\r\n\r\n%s", whole)
	case 8:
		say("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")
	case 9:
		say("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n")
	case 10:
		say("%sX-Smuggled: HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", whole)
	case 11:
		say("HTTP/1.1 200 OK\r\n\r\n%s", to)
		return false
	case 12, 13, 14:
		say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n%x;a=b\r\n%s\r\n", len(to), to)
		pause(context.Background(), time.Duration(rand.IntN(2000))*time.Microsecond)
		say("0\r\nX-End: 1\r\n\r\n")
	case 15:
		say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
	case 16:
		say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\nzz\r\n", len(to), to)
	case 17:
		say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", rand.IntN(1_000_000)))
		return false
	case 18:
		pause(context.Background(), time.Duration(rand.IntN(50))*time.Millisecond)
		say("%s", whole)
	case 19:
		say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
		_, _ = io.WriteString(c, to+strings.Repeat("x", 1_000_000-len(to)))
	default:
		say("%s", whole)
	}
	return true
}

// storm is callers that misbehave too, on both paths.
type storm struct {
	t     *testing.T
	w     *traffictest.World
	until time.Time
	gen   atomic.Int64 // that was acknowledged last
	next  atomic.Int64

	two *http.Transport // speaks HTTP/2

	asked, whole, tables atomic.Int64
}

// goes says whether it goes on: for its time, and on a machine that stands still for
// as long as it takes to be one.
func (s *storm) goes() bool {
	late := time.Since(s.until)
	return late < 0 || late < time.Minute && (s.whole.Load() < 50 || s.tables.Load() < 3)
}

func (s *storm) target() string { return fmt.Sprintf("/%d?gen=%d", s.next.Add(1), s.gen.Load()) }

// hear reads one answer, and checks that it is its own.
func (s *storm) hear(r *bufio.Reader, method, target string) (goes bool) {
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		s.noHang(err, target)
		if err != nil || res.StatusCode == http.StatusSwitchingProtocols {
			return false
		}
		if res.StatusCode < 200 {
			continue
		}
		b, err := io.ReadAll(res.Body)
		s.noHang(err, target)
		if err == nil && res.StatusCode == http.StatusOK && method != http.MethodHead {
			if !strings.HasPrefix(string(b), target) || strings.Trim(string(b[len(target):]), "x") != "" {
				s.t.Errorf("the answer to %s is %.100q", target, b)
			}
			s.whole.Add(1)
		}
		return err == nil && !res.Close
	}
}

func (s *storm) noHang(err error, what string) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		s.t.Errorf("%s: nothing came for 20 s", what)
	}
}

// call is one connection of a caller.
func (s *storm) call() {
	var d net.Dialer
	nc, err := d.DialContext(s.t.Context(), "tcp", s.w.Addr)
	if err != nil {
		s.t.Error(err)
		return
	}
	c := nc.(*net.TCPConn)
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	for goes := true; goes && s.goes(); {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		s.asked.Add(1)
		goes = s.act(c, r)
	}
}

// act does one thing, and says whether the connection can go on.
func (s *storm) act(c *net.TCPConn, r *bufio.Reader) bool {
	host := []string{"raw", "raw", "full"}[rand.IntN(3)]
	to := s.target()
	head := func(method, more string) string {
		return method + " " + to + " HTTP/1.1\r\nHost: " + host + "\r\n" + more + "\r\n"
	}
	say := func(what ...string) {
		for i, p := range what {
			if i > 0 {
				pause(s.t.Context(), time.Duration(rand.IntN(3))*time.Millisecond)
			}
			if _, err := io.WriteString(c, p); err != nil {
				s.noHang(err, to)
				return
			}
		}
	}
	big := strings.Repeat("x", 100<<10)
	switch rand.IntN(24) {
	case 0: // pipelined, over both paths perhaps
		first, second := to, s.target()
		say("GET " + first + " HTTP/1.1\r\nHost: raw\r\n\r\nPOST " + second + " HTTP/1.1\r\nHost: full\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
		return s.hear(r, http.MethodGet, first) && s.hear(r, http.MethodPost, second)
	case 1: // an empty line before the next
		say("\r\n" + head(http.MethodGet, ""))
	case 2:
		say(head(http.MethodPost, "Content-Length: 10\r\n"), "hello", "world")
		return s.hear(r, http.MethodPost, to)
	case 3:
		say(head(http.MethodPut, "Content-Length: 102400\r\n"), big)
		return s.hear(r, http.MethodPut, to)
	case 4:
		say(head(http.MethodPost, "Transfer-Encoding: chunked\r\n"), "5;x=y\r\nhello\r\n", "0\r\nA: b\r\n\r\n")
		return s.hear(r, http.MethodPost, to)
	case 5: // gone within a head, or within a body
		say(head(http.MethodPost, "Content-Length: 102400\r\n")[:30+rand.IntN(20)])
		return false
	case 6:
		say(head(http.MethodPost, "Content-Length: 102400\r\n"), big[:rand.IntN(len(big))])
		return false
	case 7: // gone while the answer is waited for, or half gone
		say(head(http.MethodGet, ""))
		_ = c.SetLinger(rand.IntN(2) - 1)
		return false
	case 8:
		say(head(http.MethodGet, ""))
		_ = c.CloseWrite()
	case 9: // takes nothing for a while
		say(strings.Repeat(head(http.MethodGet, ""), 50))
		pause(s.t.Context(), time.Duration(rand.IntN(50))*time.Millisecond)
		return false
	case 10:
		say("GET " + to + " HTTP/1.0\r\nHost: raw\r\n\r\n")
		s.hear(r, http.MethodGet, to)
		return false
	case 11:
		say(head(http.MethodHead, ""))
		return s.hear(r, http.MethodHead, to)
	case 12:
		say(head(http.MethodPost, "Expect: 100-continue\r\nContent-Length: 5\r\n"), "hello")
		return s.hear(r, http.MethodPost, to)
	case 13:
		say("GET " + to + " HTTP/1.1\nHost: raw\n\n")
		s.hear(r, http.MethodGet, to)
		return false
	case 14:
		say(head(http.MethodGet, "Connection: upgrade\r\nUpgrade: storm\r\n"))
	case 15:
		say(head(http.MethodPost, "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), "0\r\n\r\n")
		s.hear(r, http.MethodPost, to)
		return false
	case 16:
		say("GET http://raw" + to + " HTTP/1.1\r\nHost: other\r\n\r\n")
		return s.hear(r, http.MethodGet, to)
	case 17:
		say(head(http.MethodGet, "Connection: close\r\n"))
	default:
		say(head(http.MethodGet, ""))
	}
	return s.hear(r, http.MethodGet, to)
}

// over2 asks over HTTP/2 and leaves now and then.
func (s *storm) over2() {
	for s.goes() {
		ctx, stop := context.WithTimeout(s.t.Context(), time.Duration(rand.IntN(400))*time.Millisecond)
		to := s.target()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.w.Addr+to, strings.NewReader(strings.Repeat("x", rand.IntN(200_000))))
		if err != nil {
			s.t.Error(err)
		}
		s.asked.Add(1)
		if res, err := s.two.RoundTrip(req); err == nil {
			b, err := io.ReadAll(res.Body)
			if err == nil && res.StatusCode == http.StatusOK && !strings.HasPrefix(string(b), to) {
				s.t.Errorf("the answer to %s is %.100q", to, b)
			}
			_ = res.Body.Close()
		}
		stop()
	}
}

// change puts tables in force, one behind the other, with this or that of the
// instances in it.
func (s *storm) change(all []*rough) {
	for s.goes() {
		keep := 1 + rand.IntN(len(all)-1)
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for _, in := range all[:keep] {
			in.left.Store(math.MaxInt64)
		}
		s.routes(all[:keep])
		s.w.Generation++
		if err := s.w.Driver.Apply(s.t.Context(), s.w.Table()); err != nil {
			s.t.Errorf("Apply = %v", err)
			return
		}
		for _, in := range all[keep:] {
			in.left.Store(s.w.Generation)
		}
		s.gen.Store(s.w.Generation)
		s.tables.Add(1)
		pause(s.t.Context(), time.Duration(rand.IntN(4))*time.Millisecond)
	}
}

// pools are the instances as a route has them.
func pools(route string, in []*rough) []traffic.Pool {
	var pools []traffic.Pool
	for _, one := range in {
		mine := one.pools[route]
		at := slices.IndexFunc(pools, func(p traffic.Pool) bool { return p.Release == mine.Release })
		if at < 0 {
			at = len(pools)
			pools = append(pools, mine)
			pools[at].Endpoints = nil
		}
		pools[at].Endpoints = append(pools[at].Endpoints, mine.Endpoints...)
	}
	for i := range pools {
		pools[i].Weight = delivery.Full / delivery.Weight(len(pools))
		pools[i].Drain = time.Second
	}
	return pools
}

// routes are two, to the same instances; what host full asks for is never plain.
func (s *storm) routes(in []*rough) {
	care := delivery.Traffic{
		Timeout: 300 * time.Millisecond, Idle: 500 * time.Millisecond,
		Ejection: delivery.Ejection{Longest: 10 * time.Millisecond},
		Limits:   delivery.TrafficLimits{InFlight: 6, Queue: 20, Wait: 50 * time.Millisecond},
	}
	raw := s.w.Route("prod/raw", []string{""}, pools("raw", in)...)
	raw.Traffic = care
	full := s.w.Route("prod/full", []string{"full"}, pools("full", in)...)
	full.Traffic = care
	full.PerTry = 200 * time.Millisecond
	s.w.Routes = []traffic.Route{raw, full}
}

// Callers and instances that misbehave in every way, while tables change: no
// answer goes to the wrong caller, nobody waits in vain, no request reaches an
// instance that had left, and in the end nothing is in flight, every request is
// counted once, and no goroutine and no file is left.
func TestStormOfBothPaths(t *testing.T) {
	w := world(t)
	w.Plane.Limits.InFlight = 300
	s := &storm{t: t, w: w, two: overH2C(t)}
	var all []*rough
	for i, release := range []delivery.ReleaseID{"r1", "r1", "r2", "r2"} {
		all = append(all, newRough(t, fmt.Sprint("in.", i), release))
	}
	s.routes(all)
	w.MustApply()
	s.gen.Store(w.Generation)
	files, routines := openFiles(t), runtime.NumGoroutine()
	s.until = time.Now().Add(stormFor(t))
	var callers sync.WaitGroup
	for range 40 {
		callers.Go(func() {
			for s.goes() {
				s.call()
			}
		})
	}
	for range 4 {
		callers.Go(s.over2)
	}
	s.change(all)
	callers.Wait()
	t.Logf("%d requests, %d whole answers, %d tables", s.asked.Load(), s.whole.Load(), s.tables.Load())
	if s.whole.Load() < 50 || s.tables.Load() < 3 {
		t.Error("that is no storm")
	}
	s.settles(all, files, routines)
}

// settles checks what must hold when everybody has gone.
func (s *storm) settles(all []*rough, files, routines int) {
	t, w := s.t, s.w
	t.Helper()
	await(t, "nothing to be in flight", func() bool {
		s.two.CloseIdleConnections()
		st := w.State()
		flying := len(st.Draining)
		for _, r := range st.Routes {
			flying += r.Held
			for _, p := range r.Pools {
				flying += p.Waiting
				for _, e := range p.Endpoints {
					flying += e.InFlight
				}
			}
		}
		return flying == 0 && st.Listeners[0].Open == 0
	})
	w.AwaitBlocks("each request to be counted once", func(blocks map[traffictest.BlockKey]traffic.Block) bool {
		var b traffic.Block
		for _, one := range blocks {
			b.Requests += one.Requests
			b.Unfinished += one.Unfinished
			b.OK += one.OK + one.Client + one.Server + one.Connect + one.Timeout + one.Broken + one.Cancelled + one.Shed
		}
		return b.Unfinished == 0 && b.OK == b.Requests && b.Requests > 0
	})
	w.Plane.Limits.InFlight = 1 // one more than are carried, if nothing was forgotten
	good := w.Instance("good", "r3", "v3")
	one(w, traffictest.Share(good, delivery.Full))
	for _, in := range all {
		in.left.Store(0)
	}
	for range 3 {
		if code, body := w.Ask("shop", "k"); code != http.StatusOK {
			t.Errorf("alone, GET = %d %s", code, body)
		}
	}
	await(t, "goroutines and files to be given back", func() bool {
		return runtime.NumGoroutine() <= routines+20 && openFiles(t) <= files+20
	})
}

// openFiles counts those of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
