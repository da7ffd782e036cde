package upstream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asServer makes the test binary the instance of the benchmark, so that the CPU
// time of this process is the client's alone.
const asServer = "UPSTREAM_TEST_SERVER"

// answerAll answers every request with as many bytes as its path says, until
// standard input ends.
func answerAll() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go answerOne(c)
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func answerOne(c net.Conn) {
	in := bufio.NewReader(c)
	var n int
	for first := true; ; {
		line, err := in.ReadString('\n')
		switch {
		case err != nil:
			_ = c.Close()
			return
		case first:
			_, _ = fmt.Sscanf(line, "GET /%d ", &n)
			first = false
		case line == "\r\n":
			_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nServer: x\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", n))
			first = true
		}
	}
}

func startServer(t testing.TB) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), asServer+"=1", "GOMAXPROCS=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(addr)
}

func spentCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkExchange sends the same requests through this client and through
// http.Transport, in turns, and reports the CPU time of each for a request.
func BenchmarkExchange(b *testing.B) {
	addr := startServer(b)
	for _, size := range []int{200, 100_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			c := client(b, Options{Addr: addr})
			path := fmt.Sprintf("/%d", size)
			ours := func() error { return ourRound(b, c, path, int64(size)) }
			transport := &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true}
			defer transport.CloseIdleConnections()
			theirs := func() error { return theirRound(b, transport, "http://"+addr+path, int64(size)) }
			var our, their time.Duration
			n := 0
			for b.Loop() {
				our += burst(b, ours)
				their += burst(b, theirs)
				n += bursts
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(our.Microseconds())/float64(n), "us-cpu/req")
			b.ReportMetric(float64(their.Microseconds())/float64(n), "us-cpu/req-transport")
			b.ReportMetric(float64(our)/float64(their), "ratio")
		})
	}
}

// bursts requests are made between two looks at the clock, by callers side by side.
const (
	bursts  = 3200
	callers = 32
)

func burst(b *testing.B, once func() error) time.Duration {
	before := spentCPU()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range bursts / callers {
				if err := once(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return spentCPU() - before
}

func ourRound(b *testing.B, c *Client, path string, size int64) error {
	k, err := c.Get(b.Context())
	if err != nil {
		return err
	}
	defer k.Release()
	head := append(k.Scratch(), "GET "...)
	head = append(head, path...)
	head = append(head, " HTTP/1.1\r\nHost: a\r\nUser-Agent: bench\r\n\r\n"...)
	if _, err := k.Do(b.Context(), &Request{Head: head, Method: "GET", Deadline: time.Now().Add(patience)}); err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, k.Body())
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes of %d", n, size)
	}
	return err
}

func theirRound(b *testing.B, rt http.RoundTripper, url string, size int64) error {
	r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := rt.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	n, err := io.Copy(io.Discard, res.Body)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes of %d", n, size)
	}
	return err
}

// A plain exchange on a kept connection allocates nothing.
func TestNoAllocation(t *testing.T) {
	addr := serve(t, func(p *peer) {
		answer := []byte(good)
		for { // without allocating itself
			for end := 0; end < 4; {
				c, err := p.in.ReadByte()
				if err != nil {
					return
				}
				if c == "\r\n\r\n"[end] {
					end++
				} else {
					end = 0
				}
			}
			_, _ = p.Write(answer)
		}
	})
	c := client(t, Options{Addr: addr})
	ctx := context.WithoutCancel(t.Context())
	deadline := time.Now().Add(time.Hour)
	n := testing.AllocsPerRun(500, func() {
		k, err := c.GetChecked(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		head := append(k.Scratch(), getHead...)
		if _, err := k.Do(ctx, &Request{Head: head, Method: "GET", Deadline: deadline}); err != nil {
			t.Error(err)
		}
		if got := k.Body().Buffered(); len(got) != 5 {
			t.Errorf("got %q", got)
		}
		k.Release()
	})
	if n >= 1 { // a pool may be emptied in between
		t.Errorf("an exchange allocates %v times, want 0", n)
	}
}
