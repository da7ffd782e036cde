package otlp

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/proxy/otlp/otlptest"
)

var quiet = slog.New(slog.DiscardHandler)

var plane = From{Service: "slipway-proxy", Scope: "github.com/slipway-cd/slipway/internal/proxy", Version: "v1"}

func id(b byte) (out [8]byte) { out[7] = b; return out }

// shown is the request of testdata/request.hex.
func shown() []*Span {
	at := time.Unix(1_700_000_000, 123_456_789)
	trace := [16]byte{0x0a, 0xf7, 15: 0x9c}
	return []*Span{
		{
			Trace: trace, ID: id(1), Parent: id(9), Remote: true, Name: "GET prod/shop", Kind: Server, Start: at, End: at.Add(time.Second),
			Attrs:  []Attr{{Key: "http.request.method", Text: "GET"}, {Key: "http.response.status_code", Number: 502}, {Key: "http.request.body.size"}, {Key: "delta", Number: -1}},
			Failed: true, Why: "no instance",
		},
		{Trace: trace, ID: id(2), Parent: id(1), Name: "GET", Kind: Client, Start: at, End: at},
		{Trace: [16]byte{1}, ID: id(3), Name: strings.Repeat("n", 200) + "\xff", Kind: Server, Start: at, End: at},
	}
}

// The golden bytes were read with the Go code that OpenTelemetry generates from
// its own .proto files (go.opentelemetry.io/proto/otlp v1.7.0): every field had
// the value that shown gives it.
func TestRequestIsWhatOpenTelemetryReads(t *testing.T) {
	want, err := os.ReadFile("testdata/request.hex")
	if err != nil {
		t.Fatal(err)
	}
	got := request(nil, plane, shown())
	if s := hex.Dump(got); s != string(want) {
		t.Errorf("request =\n%s", s)
	}
}

func TestRequestReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var spans []*Span
		for range rapid.IntRange(0, 5).Draw(t, "n") {
			s := &Span{Name: "GET " + rapid.String().Draw(t, "name"), Kind: Server, Start: time.Unix(0, rapid.Int64Range(0, math.MaxInt64).Draw(t, "start")), Failed: rapid.Bool().Draw(t, "failed")}
			copy(s.Trace[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "trace"))
			copy(s.ID[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "id"))
			s.End = s.Start
			for i := range rapid.IntRange(0, 3).Draw(t, "attrs") {
				s.Attrs = append(s.Attrs, Attr{Key: fmt.Sprint("k", i), Text: string(rapid.SliceOf(rapid.Byte()).Draw(t, "text")), Number: rapid.Int64().Draw(t, "number")})
			}
			spans = append(spans, s)
		}
		r, err := otlptest.Read(request(nil, plane, spans))
		got := r.Spans
		if err != nil || r.Resource["service.name"] != "slipway-proxy" || r.Resource["service.version"] != "v1" || r.Schema != schema || len(got) != len(spans) {
			t.Fatalf("%d spans of %q, %v, want %d of v1", len(got), r.Resource, err, len(spans))
		}
		for i, s := range spans {
			g := got[i]
			if g.Trace != hex.EncodeToString(s.Trace[:]) || g.ID != hex.EncodeToString(s.ID[:]) || g.Name != s.Name || g.Start != uint64(s.Start.UnixNano()) || (g.Status == 2) != s.Failed || len(g.Attrs) != len(s.Attrs) {
				t.Fatalf("span %d reads back as %+v, was %+v", i, g, s)
			}
			for _, a := range s.Attrs {
				want := strings.ToValidUTF8(a.Text, "\ufffd")
				if a.Text == "" {
					want = fmt.Sprint(a.Number)
				}
				if g.Attrs[a.Key] != want {
					t.Fatalf("attribute %+v reads back as %q", a, g.Attrs[a.Key])
				}
			}
		}
	})
}

func FuzzRejected(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x0a, 5, 0x08, 3, 0x12, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		rejected(b) // whatever a collector answers: it ends
	})
}

func TestRejected(t *testing.T) {
	answer := nest(text(number(nil, 1, 300), 2, "too many"), 0, 1)
	if n, why := rejected(answer); n != 300 || why != "too many" {
		t.Errorf("rejected = %d, %q, want 300, too many", n, why)
	}
	if n, _ := rejected(answer[:len(answer)-3]); n != 0 {
		t.Errorf("of a torn answer %d are rejected", n)
	}
}

// collector is a receiver that answers what the test says.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	spans  []otlptest.Span // guarded by mu
	calls  int             // guarded by mu
	answer func(int) int   // by call, from 1: the status
	after  string          // Retry-After
	body   []byte          // of a 200
	err    error           // guarded by mu
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{answer: func(int) int { return http.StatusOK }}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if err != nil || r.URL.Path != "/base/v1/traces" || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-protobuf" {
		c.err = fmt.Errorf("%s %s %q: %w", r.Method, r.URL.Path, r.Header, err)
	}
	status := c.answer(c.calls)
	if status != http.StatusOK {
		w.Header().Set("Retry-After", c.after)
		w.WriteHeader(status)
		return
	}
	req, err := otlptest.Read(body)
	if err != nil {
		c.err = err
	}
	c.spans = append(c.spans, req.Spans...)
	_, _ = w.Write(c.body)
}

func (c *collector) seen(t *testing.T) (spans, calls int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		t.Fatal(c.err)
	}
	return len(c.spans), c.calls
}

func (c *collector) base() string { return c.URL + "/base/" }

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

func run[T item](t *testing.T, e *Exporter[T]) (end func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	end = func() { stop(); <-done }
	t.Cleanup(end)
	return end
}

func add(e *Spans, n int) {
	for i := range n {
		e.Add(&Span{ID: id(byte(i + 1)), Trace: [16]byte{1}, Name: "GET", Kind: Server})
	}
}

func TestSpansArriveInBatches(t *testing.T) {
	c, e := newCollector(t), NewSpans(plane, quiet)
	end := run(t, e)
	add(e, 10) // nobody listens: no loss, no span
	e.To(c.base())
	began := time.Now()
	add(e, maxBatch+3)
	added := time.Since(began)
	await(t, "the full batch and the rest", func() bool { return e.Sent() == maxBatch+3 })
	if n, calls := c.seen(t); n != maxBatch+3 || calls < 2 || calls > 2 && added < linger/2 || e.Dropped() != 0 {
		t.Errorf("%d calls, %d sent, %d dropped", calls, e.Sent(), e.Dropped())
	}
	e.To("")
	add(e, 5)
	e.To(c.base())
	add(e, 1)
	began = time.Now()
	end() // what is left goes out at the end
	if n, _ := c.seen(t); n != maxBatch+4 && time.Since(began) < lastCalls/2 {
		t.Errorf("%d spans arrived, want %d", n, maxBatch+4)
	}
}

func TestRetriedAndRefused(t *testing.T) {
	for status, again := range map[int]bool{429: true, 502: true, 503: true, 504: true, 400: false, 500: false, 302: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			c, e := newCollector(t), NewSpans(plane, quiet)
			c.answer = func(call int) int {
				if call == 1 {
					return status
				}
				return http.StatusOK
			}
			e.To(c.base())
			run(t, e)
			add(e, 3)
			await(t, "an end", func() bool { return e.Sent()+e.Dropped() == 3 })
			spans, calls := c.seen(t)
			if again && (spans != 3 || calls != 2 || e.Dropped() != 0) || !again && (spans != 0 || calls != 1 || e.Dropped() != 3) {
				t.Errorf("%d spans arrived in %d calls, %d dropped", spans, calls, e.Dropped())
			}
		})
	}
}

func TestPartlyTaken(t *testing.T) {
	c, e := newCollector(t), NewSpans(plane, quiet)
	c.body = nest(number(nil, 1, 2), 0, 1)
	e.To(c.base())
	run(t, e)
	add(e, 5)
	await(t, "the answers", func() bool { return e.Sent()+e.Dropped() == 5 })
	if _, calls := c.seen(t); calls == 1 && e.Dropped() != 2 || e.Dropped() < 2 { // of each call, and on a busy machine there may be more than one
		t.Errorf("%d dropped in %d calls, want 2", e.Dropped(), calls)
	}
}

// A collector that never answers well: nothing waits for it, what is too much
// is dropped and counted, and the end takes two seconds.
func TestDeadCollector(t *testing.T) {
	c, e := newCollector(t), NewSpans(plane, quiet)
	c.answer, c.after = func(int) int { return http.StatusServiceUnavailable }, "3600"
	e.To(c.base())
	end := run(t, e)
	const n = 2 * maxQueued
	for range n {
		add(e, 1)
	}
	if d := e.Dropped(); d == 0 || d > n {
		t.Errorf("%d of %d spans dropped", d, n)
	}
	await(t, "a call", func() bool { _, calls := c.seen(t); return calls > 0 })
	end()
	if e.Dropped()+e.Sent() != n {
		t.Errorf("%d dropped and %d sent of %d", e.Dropped(), e.Sent(), n)
	}
}

// A call that is under way when the end comes is waited for, and its spans are
// sent once.
func TestTheEndWaitsForTheCall(t *testing.T) {
	c, e := newCollector(t), NewSpans(plane, quiet)
	called, let := make(chan struct{}), make(chan struct{})
	c.answer = func(int) int { close(called); <-let; return http.StatusOK }
	e.To(c.base())
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	add(e, 3)
	<-called
	began := time.Now()
	stop()
	close(let)
	<-done
	patient := time.Since(began) < lastCalls/2 // else the machine stood still for longer than anybody waits
	if n, calls := c.seen(t); n != 3 || calls != 1 || e.Sent()+e.Dropped() != 3 || patient && e.Dropped() != 0 {
		t.Errorf("%d spans arrived in %d calls, %d sent, %d dropped", n, calls, e.Sent(), e.Dropped())
	}
}

// The waits between calls, in a bubble: Retry-After when it is longer, and a
// batch is given up after half a minute.
func TestBackoff(t *testing.T) {
	for after, want := range map[string][]time.Duration{
		"":               {0, 250, 750, 1750, 3750, 7750, 12750, 17750, 22750, 27750, 32750},
		"10":             {0, 10000, 20000, 30000, 40000},
		"99999999999999": {0, 30000, 60000},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := NewSpans(plane, quiet)
			var at []time.Duration
			began := time.Now()
			e.client = &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				at = append(at, time.Since(began)/time.Millisecond)
				return &http.Response{StatusCode: 503, Header: http.Header{"Retry-After": {after}}, Body: io.NopCloser(bytes.NewReader(nil))}, nil
			})}
			e.To("http://collector")
			if e.send(t.Context(), shown()); e.Dropped() != 3 {
				t.Errorf("%d dropped, want 3", e.Dropped())
			}
			if fmt.Sprint(at) != fmt.Sprint(want) {
				t.Errorf("Retry-After %q: calls at %v ms, want %v", after, at, want)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 1, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "7": 7 * time.Second, "7000": giveUp,
		"Mon, 23 Nov 2026 01:00:09 GMT": 9 * time.Second,
		"Mon, 23 Nov 2026 00:00:00 GMT": 0,
		"Mon, 23 Nov 2099 00:00:00 GMT": giveUp,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("retryAfter(%q) = %s, want %s", in, got, want)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	spans := shown()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = request(buf[:0], plane, spans)
	}
}

type refusing struct{}

func (refusing) RoundTrip(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }

// A collector that is not there is tried again while there is time, and not
// waited for at the end.
func TestTheEndDoesNotWaitForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := NewSpans(plane, quiet)
		e.client.Transport = refusing{}
		e.To("http://127.0.0.1:1")
		end := run(t, e)
		add(e, 3)
		time.Sleep(10 * time.Second)
		if e.Dropped() != 0 {
			t.Errorf("%d are dropped too soon", e.Dropped())
		}
		time.Sleep(time.Minute)
		if e.Dropped() != 3 {
			t.Errorf("%d are dropped in time, want 3", e.Dropped())
		}
		add(e, 2)
		began := time.Now()
		end()
		if took := time.Since(began); took != 0 || e.Dropped() != 5 {
			t.Errorf("the end took %s and dropped %d", took, e.Dropped())
		}
	})
}
