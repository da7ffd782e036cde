package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
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

// mute is an instance that reads each request whole and hangs up without a word.
func mute(t *testing.T) (addr string, got *atomic.Int64) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	got = new(atomic.Int64)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return // a check
				}
				_, _ = io.Copy(io.Discard, r.Body)
				got.Add(1)
			}()
		}
	}()
	return ln.Addr().String(), got
}

// Which requests are made again when a connection dies before a byte of an answer.
func TestOnlyIdempotentRequestsAreRepeated(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		method string
		body   string
		stream bool
		again  bool
	}{
		{method: http.MethodGet, again: true},
		{method: http.MethodHead, again: true},
		{method: http.MethodDelete, again: true},
		{method: http.MethodPut, body: "small", again: true},
		{method: http.MethodPut, body: strings.Repeat("x", 64<<10+1)},
		{method: http.MethodPut, body: "small", stream: true},
		{method: http.MethodPost},
		{method: http.MethodPost, body: "small"},
		{method: http.MethodPatch, body: "small"},
	} {
		t.Run(fmt.Sprint(c.method, " ", len(c.body), " ", c.stream), func(t *testing.T) {
			t.Parallel()
			w := world(t)
			good := w.Instance("good", "r1", "v1")
			addr, got := mute(t)
			// A candidate of one mute instance, with the stable release behind it.
			one(w, traffic.Pool{Release: "r2", Version: "v2", Weight: delivery.Full - 1, Endpoints: []traffic.Endpoint{{ID: "mute", Addr: addr}}}, traffictest.Share(good, 1))
			r := request(t, c.method, "http://"+w.Addr, nil)
			if c.body != "" {
				r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.body)), int64(len(c.body))
			}
			if c.stream {
				r.ContentLength = -1
			}
			r.Header.Set("Slipway-Key", "k")
			res := do(t, r)
			want := http.StatusBadGateway
			if c.again {
				want = http.StatusOK
			}
			if res.StatusCode != want || got.Load() != 1 {
				t.Errorf("answer = %s after %d tries at the mute instance, want %d after 1", res.Status, got.Load(), want)
			}
			w.AwaitBlocks("the charge on the candidate", func(all map[traffictest.BlockKey]traffic.Block) bool {
				for k, b := range all {
					if k.Release == "r1" && b.Requests > 0 {
						t.Errorf("the stable release was charged: %+v", b)
					}
					if k.Release == "r2" && b.Broken == 1 && b.UnitsBad == 1 && (b.Retries == 1) == c.again {
						return true
					}
				}
				return false
			})
		})
	}
}

// A connect failure sent nothing: any request goes to another instance, a
// streamed one too.
func TestConnectFailureIsRetriedForAnyMethod(t *testing.T) {
	t.Parallel()
	w := world(t)
	good := w.Instance("good", "r1", "v1")
	p := traffictest.Share(good, delivery.Full)
	p.Endpoints = append(p.Endpoints, traffic.Endpoint{ID: "dead", Addr: porttest.Free(t)})
	p.Check = traffic.Check{Interval: time.Hour} // only connect failures tell
	one(w, p)
	const n = 40
	for i := range n {
		r := request(t, http.MethodPost, "http://"+w.Addr, io.NopCloser(strings.NewReader("streamed")))
		r.ContentLength = -1
		if res := do(t, r); res.StatusCode != http.StatusOK {
			t.Fatalf("POST %d = %s", i, res.Status)
		}
	}
	w.AwaitBlocks("retries that nobody is charged for", func(all map[traffictest.BlockKey]traffic.Block) bool {
		var retries, ok uint64
		for _, b := range all {
			retries, ok = retries+b.Retries, ok+b.OK
		}
		return retries > 0 && ok == n
	})
}

// A caller that stops in the middle of its body is not the instance's fault.
func TestStalledUploadIsTheCallersFault(t *testing.T) {
	t.Parallel()
	w := world(t)
	in := backend(t, "1", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	r := w.Route("prod/shop", []string{""}, in)
	r.Timeout = 3 * time.Second // longer than a busy machine stands still
	w.Routes = []traffic.Route{r}
	w.MustApply()
	for _, length := range []string{"100", "1000000"} { // kept, streamed
		var d net.Dialer
		c, err := d.DialContext(t.Context(), "tcp", w.Addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: "+length+"\r\n\r\nhalf"); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if b, err := io.ReadAll(c); len(b) != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a stalled upload of %s got %q, %v, want a closed connection", length, b, err)
		}
		_ = c.Close()
	}
	// A slow one that moves is served, however long it takes.
	pr, pw := io.Pipe()
	go func() {
		for range 20 {
			pause(t.Context(), 200*time.Millisecond)
			_, _ = io.WriteString(pw, "piece")
		}
		_ = pw.Close()
	}()
	if res := do(t, request(t, http.MethodPost, "http://"+w.Addr, pr)); res.StatusCode != http.StatusOK {
		t.Errorf("a slow upload = %s, want 200", res.Status)
	}
	w.AwaitBlocks("two cancelled and one good", func(all map[traffictest.BlockKey]traffic.Block) bool {
		var cancelled, ok, timeout uint64
		for _, b := range all {
			cancelled, ok, timeout = cancelled+b.Cancelled, ok+b.OK, timeout+b.Timeout
		}
		return cancelled == 2 && ok == 1 && timeout == 0
	})
}

// What the control API answers to what it cannot take.
func TestControlRefusals(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	serve(t, dir)
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(dir, "s"))
	}}
	t.Cleanup(tr.CloseIdleConnections)
	for _, c := range []struct {
		method, path, body string
		status             int
		code, says         string
	}{
		{"PUT", "/v1/table", ``, 400, "not_a_table", "whole JSON"},
		{"PUT", "/v1/table", `{"generation":1,`, 400, "not_a_table", "whole JSON"},
		{"PUT", "/v1/table", `{"generation":"one"}`, 400, "not_a_table", "generation"},
		{"PUT", "/v1/table", `{"generation":1,"later":true}`, 400, "not_a_table", "later"},
		{"PUT", "/v1/table", `{}`, 422, "invalid_table", "generation"},
		{"PUT", "/v1/table", `{"generation":7}`, 204, "", ""},
		{"PUT", "/v1/table", `{"generation":7}`, 204, "", ""},
		{"PUT", "/v1/table", `{"generation":6}`, 409, "stale_generation", "older than 7"},
		{"PUT", "/v1/table", `{"generation":7,"routes":[{"name":"a"}]}`, 409, "stale_generation", "other content"},
		{"PUT", "/v1/table", `{"x":"` + strings.Repeat("y", 17<<20) + `"}`, 413, "table_too_large", "16 MiB"},
		{"GET", "/v1/stats?since=monday", ``, 400, "bad_since", "monday"},
		{"GET", "/healthz", ``, 200, "", "ok"},
		{"GET", "/v1/table", ``, 200, "", `"generation":7`},
		{"POST", "/v1/table", ``, 405, "", ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, "http://proxy"+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		var p struct{ Code string }
		if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
			if err := json.Unmarshal(b, &p); err != nil {
				t.Error(err)
			}
		}
		if res.StatusCode != c.status || p.Code != c.code || !strings.Contains(string(b), c.says) {
			t.Errorf("%s %s %.40s = %d %s, want %d %s with %q", c.method, c.path, c.body, res.StatusCode, b, c.status, c.code, c.says)
		}
	}
	if s, err := driver.New(filepath.Join(dir, "s")).State(t.Context()); err != nil || s.Generation != 7 {
		t.Errorf("State = %+v, %v, want generation 7", s, err)
	}
}
