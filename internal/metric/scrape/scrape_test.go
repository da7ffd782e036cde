package scrape

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/porttest"
)

// kept is a store that keeps everything.
type kept struct {
	mu  sync.Mutex
	all map[string][]metric.Sample // by instance
}

func (k *kept) Add(samples []metric.Sample) (int, string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range samples {
		if why := s.Wrong(); why != "" {
			panic(s.Name + " " + why)
		}
		k.all[s.Instance] = append(k.all[s.Instance], s)
	}
	return 0, ""
}

// value is the newest value of a series of an instance.
func (k *kept) value(instance, name string) (float64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range slices.Backward(k.all[instance]) {
		if s.Name == name {
			return s.Value, true
		}
	}
	return 0, false
}

func (k *kept) count(instance, name string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.all[instance] {
		if s.Name == name {
			n++
		}
	}
	return n
}

func series(instance string) metric.Series {
	return metric.Series{From: delivery.FromService, Service: "shop", Env: "prod", Release: "r1", Instance: instance}
}

// start runs a scraper on handlers by instance, and returns what it keeps.
func start(t *testing.T, targets ...Target) (*Scraper, *kept) {
	t.Helper()
	k := &kept{all: map[string][]metric.Sample{}}
	s := New(Options{Targets: func() []Target { return targets }, Sink: k, Log: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, k
}

func serve(t *testing.T, instance string, h http.HandlerFunc) Target {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return Target{Series: series(instance), URL: srv.URL + "/metrics", Every: 100 * time.Millisecond}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited two minutes for %s", what)
		}
	}
}

func (s *Scraper) of(instance string) State {
	for _, st := range s.States() {
		if st.Series.Instance == instance {
			return st
		}
	}
	return State{}
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		fmt.Fprint(w, body)
	}
}

func testPage(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "openmetrics", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Pages of real client libraries arrive as samples, packed or not; labels by which
// a service calls itself somebody else are set aside.
func TestPagesBecomeSamples(t *testing.T) {
	asked := make(chan http.Header, 100)
	python := serve(t, "python", func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.Header:
		default:
		}
		w.Header().Set("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		z.Write(testPage(t, "python.om"))
		z.Close()
	})
	fresh := fmt.Sprintf("late 1 %d\nearly 1 %d\nnow 1 %d\n", time.Now().Add(-time.Hour).UnixMilli(), time.Now().Add(time.Hour).UnixMilli(), time.Now().UnixMilli())
	plain := serve(t, "plain", text("# TYPE jobs_total counter\njobs_total{service=\"other\",release=\"r9\",instance=\"x\",z=\"1\"} 7\n# TYPE lost counter\nlost -1\n"+fresh))
	node := serve(t, "node", text(string(testPage(t, "node.txt"))))
	s, k := start(t, python, plain, node)
	for _, id := range []string{"python", "plain", "node"} {
		await(t, id+" to be up", func() bool { v, _ := k.value(id, "up"); return v == 1 })
	}
	head := <-asked
	if a := head.Get("Accept"); !strings.Contains(a, "application/openmetrics-text;version=1.0.0") || !strings.Contains(a, "text/plain;version=0.0.4") || head.Get("Accept-Encoding") != "gzip" {
		t.Errorf("asked with %v", head)
	}
	for _, tt := range []struct {
		instance, name string
		want           float64
	}{
		{"python", "orders_total", 17},
		{"python", "build_info", 1},
		{"plain", "jobs_total", 7},
		{"plain", "now", 1},
		{"plain", "scrape_samples_scraped", 2},
		{"node", "checkout_basket_eur_count", 0},
		{"node", "nodejs_version_info", 1},
	} {
		// An answer that took longer than two seconds says something else, until the next.
		await(t, fmt.Sprintf("%s of %s to be %v", tt.name, tt.instance, tt.want), func() bool {
			v, there := k.value(tt.instance, tt.name)
			return there && v == tt.want
		})
	}
	for _, name := range []string{"lost", "late", "early"} {
		if _, there := k.value("plain", name); there {
			t.Errorf("%s is kept", name)
		}
	}
	await(t, "what was left out of a page to be told", func() bool {
		st := s.of("plain")
		return st.Up && strings.Contains(st.Why, "lost is negative")
	})
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.all["plain"] {
		if one.Name == "jobs_total" && fmt.Sprint(one.Labels) != "[{exported_instance x} {exported_release r9} {exported_service other} {z 1}]" {
			t.Errorf("labels = %v", one.Labels)
		}
		if one.Release != "r1" || one.Service != "shop" || one.Instance != "plain" {
			t.Errorf("%s is of %+v", one.Name, one.Series)
		}
	}
	for _, one := range k.all["python"] {
		if one.Name == "request_latency_seconds" && (fmt.Sprint(one.Hist) != "&{[0.1 1] [8 3 1] 3.75}" || one.Since.IsZero()) {
			t.Errorf("histogram = %v since %s", one.Hist, one.Since)
		}
		if one.Name == "queue" {
			t.Error("a gaugehistogram is kept")
		}
	}
}

// Whoever hangs, answers garbage or never ends costs nobody else anything, and it
// is said how it failed.
func TestHostileInstances(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	gz := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", "text/plain")
			w.Write(body)
		}
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	z.Write(bytes.Repeat([]byte("# all of this is a comment\n"), 2<<20))
	z.Close()
	var million strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&million, "requests_total{user=\"%d\"} 1\n", i)
	}
	closed := Target{Series: series("closed"), URL: "http://" + porttest.Free(t) + "/metrics", Every: 100 * time.Millisecond}
	bad := map[string]struct {
		target       Target
		reason, want string
	}{
		"hangs":   {serve(t, "hangs", hang), tooSlow, "no whole answer within 2s"},
		"drips":   {serve(t, "drips", drip), tooSlow, "no whole answer within 2s"},
		"closed":  {closed, noAnswer, "refused"},
		"garbage": {serve(t, "garbage", text("<html><body>500</body></html>\n")), badPage, "line 1: there is no name"},
		"html":    {serve(t, "html", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<!DOCTYPE html>") }), badContent, "no page of metrics"},
		"lies": {serve(t, "lies", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/openmetrics-text")
			fmt.Fprint(w, "a 1\n")
		}), badPage, "ends without # EOF"},
		"endless":     {serve(t, "endless", endless), badPage, "longer than 4194304 bytes"},
		"one line":    {serve(t, "one line", text("a{b=\""+strings.Repeat("x", 1<<20))), badPage, "the line is longer"},
		"bomb":        {serve(t, "bomb", gz(bomb.Bytes())), badPage, "longer than 4194304 bytes"},
		"no gzip":     {serve(t, "no gzip", gz([]byte("a 1\n"))), badPage, "gzip"},
		"a million":   {serve(t, "a million", text(million.String())), badPage, "more than 10000 numbers on the page, and requests_total"},
		"twice":       {serve(t, "twice", text("# TYPE a gauge\na 1\n# TYPE a gauge\na 2\n")), badPage, "family a comes twice"},
		"huge":        {serve(t, "huge", text("a 1e400\n")), badPage, "no number that can be held"},
		"elsewhere":   {serve(t, "elsewhere", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", http.StatusFound) }), badStatus, "answered 302"},
		"broken":      {serve(t, "broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), badStatus, "answered 500"},
		"cut off":     {serve(t, "cut off", cutOff), badPage, ""},
		"bad address": {Target{Series: series("bad address"), URL: "http://[::1", Every: time.Second}, badURL, ""},
	}
	targets := []Target{serve(t, "good", text("a 1\n"))}
	for _, b := range bad {
		targets = append(targets, b.target)
	}
	s, k := start(t, targets...)
	for name, b := range bad {
		await(t, name+" to fail for "+b.want, func() bool { // on a busy machine anything may take two seconds at first
			st := s.of(name)
			return !st.At.IsZero() && !st.Up && strings.Contains(st.Why, b.want)
		})
		// The store is given it after the state has changed.
		await(t, name+" to be down", func() bool { v, there := k.value(name, "up"); return there && v == 0 })
		await(t, name+" to be counted as "+b.reason, func() bool {
			k.mu.Lock()
			defer k.mu.Unlock()
			counted := false
			for _, one := range k.all[name] {
				counted = counted || one.Name == "scrape_failures_total" && one.Labels[0].Value == b.reason
				if strings.HasPrefix(one.Name, "requests") || one.Name == "a" {
					t.Errorf("%s: %s%v is kept", name, one.Name, one.Labels)
				}
			}
			return counted
		})
	}
	before := k.count("good", "a")
	await(t, "the good one to be asked all the time", func() bool { return k.count("good", "a") >= before+5 })
}

func drip(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for r.Context().Err() == nil {
		fmt.Fprint(w, "# drip\n")
		w.(http.Flusher).Flush()
		<-tick.C
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	block := bytes.Repeat([]byte("# on and on\n"), 1000)
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func cutOff(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "1000")
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprint(w, "a 1\nb")
}

// A page that nobody named and that is not there is no failure; it is looked for
// again a minute later, and from the time it was there it is a target like others.
func TestGuessing(t *testing.T) {
	var mu sync.Mutex
	asked, there := 0, false
	guess := serve(t, "guess", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if !there {
			http.NotFound(w, r)
			return
		}
		text("a 1\n")(w, r)
	})
	guess.Guess = true
	s, k := start(t, guess, serve(t, "named", text("a 1\n")))
	await(t, "the first try", func() bool { return !s.of("guess").At.IsZero() })
	await(t, "some time", func() bool { return k.count("named", "a") > 5 })
	mu.Lock()
	if asked != 1 {
		t.Errorf("it was asked %d times within a minute", asked)
	}
	there = true
	mu.Unlock()
	if n := k.count("guess", "up"); n != 0 {
		t.Errorf("it was said %d times that it is down", n)
	}
	s.mu.Lock()
	st := s.states["guess"]
	if wait := st.next.Sub(st.At); wait != retry {
		t.Errorf("it is asked again after %s", wait)
	}
	st.next = time.Now()
	s.mu.Unlock()
	await(t, "its page", func() bool { v, _ := k.value("guess", "up"); return v == 1 })
	mu.Lock()
	there = false
	mu.Unlock()
	await(t, "its end", func() bool { v, _ := k.value("guess", "up"); return v == 0 })
}

// Who does not answer is asked less and less often, and who is gone is forgotten.
func TestPace(t *testing.T) {
	st := &state{State: State{Target: Target{Every: time.Second}}, failures: map[string]int{}}
	now := time.Now()
	for i, want := range []time.Duration{1, 1, 1, 2, 4, 8, 16, 30, 30} {
		if st.learn(fail(tooSlow, ""), now, 0); st.next.Sub(now) != want*time.Second {
			t.Errorf("after %d failures it waits %s, want %d s", i+1, st.next.Sub(now), want)
		}
	}
	if st.learn(page{}, now, 0); st.next.Sub(now) != time.Second {
		t.Errorf("after an answer it waits %s", st.next.Sub(now))
	}
	targets := []Target{{Series: series("a"), URL: "http://127.0.0.1:1/", Every: Normal}}
	s := New(Options{Targets: func() []Target { return targets }})
	s.due(now)
	s.states["a"].Found, s.states["a"].next = true, now.Add(Normal)
	targets[0].Every = Close
	s.due(now)
	if wait := s.states["a"].next.Sub(now); wait > Close {
		t.Errorf("once it is looked at closely, it waits %s", wait)
	}
	targets = nil
	if s.due(now); len(s.States()) != 0 {
		t.Error("what is gone is not forgotten")
	}
}
