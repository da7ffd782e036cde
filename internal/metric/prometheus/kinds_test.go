package prometheus_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/metric/prometheus/prometheustest"
)

// What the suite does not know: forms that only this source has.
func TestForms(t *testing.T) {
	t.Parallel()
	server := prometheustest.Start(t, "")
	first := time.Now().Unix()/60*60 - 300
	w := written{t: t, server: server, first: first}
	t.Run("expressions", w.expressions)
	t.Run("native histograms", w.natives)
	t.Run("other edges", w.otherEdges)
	t.Run("histogram and none", w.mixed)
	t.Run("instances", w.instances)
	t.Run("more bad than all", w.moreThanAll)
	t.Run("a restart shows in one counter", w.restart)
	t.Run("not now", w.tooEarly)
}

type written struct {
	t      *testing.T
	server *prometheustest.Server
	first  int64
}

// line writes a value every five seconds for two minutes, the minute that is
// asked for being the second.
func (w *written) line(at func(second int64) float64, labels ...string) {
	s := prometheustest.Series{Labels: map[string]string{"job": "j", "instance": "i"}}
	for i := 0; i+1 < len(labels); i += 2 {
		s.Labels[labels[i]] = labels[i+1]
	}
	for second := w.first - 61; second < w.first+60; second += 5 {
		s.Times = append(s.Times, time.Unix(second, 999e6))
		s.Values = append(s.Values, at(second-w.first+61))
	}
	w.server.Write([]prometheustest.Series{s})
}

func times(n float64) func(int64) float64 { return func(s int64) float64 { return n * float64(s) } }

func (w *written) read(t *testing.T, m delivery.Metric) metric.Answer {
	t.Helper()
	a := ask(m)
	a.First, a.Last = w.first, w.first+59
	got, err := driver(t, w.server.URL).Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range got.Readings {
		if !r.Approx {
			t.Errorf("a reading of sums that others made is called exact: %+v", r)
		}
	}
	return got
}

func (w *written) expressions(t *testing.T) {
	for release, bad := range map[string]float64{"r1": 1, "r2": 3} {
		w.line(times(10), "__name__", "calls_total", "release", release, "result", "any")
		w.line(times(bad), "__name__", "calls_total", "release", release, "result", "bad")
	}
	got := w.read(t, delivery.Metric{
		Kind:  delivery.KindShare,
		Value: `sum(increase(calls_total{release="$release",result="bad"}[$step]))`,
		Per:   `calls_total{release="$release",result="any"}`,
	})
	var n, bad float64
	for _, r := range got.Readings {
		n, bad = n+r.Canary.N, bad+r.Canary.Sum
	}
	if n != 600 || math.Abs(bad-180) > 10 { // Prometheus extrapolates, we do not
		t.Errorf("%v bad of %v (%+v), want about 180 of 600", bad, n, got)
	}
	got = w.read(t, delivery.Metric{Kind: delivery.KindCount, Value: `sum(rate(calls_total{release="$release",result="any"}[$step]))`, Per: `calls_total{release="$release",result="any"}`})
	n = 0
	for _, r := range got.Readings {
		n += r.Canary.Sum
	}
	if math.Abs(n-600) > 30 {
		t.Errorf("rates make %v, want about 600: they are a second's", n)
	}
	got = w.read(t, delivery.Metric{Kind: delivery.KindLevel, Value: `sum by (release) (calls_total{release="$release"}) / 0`})
	if len(got.Readings) == 0 || got.Readings[0].Wrong == "" {
		t.Errorf("%+v, want readings that are called wrong", got)
	}
	got = w.read(t, delivery.Metric{Kind: delivery.KindCount, Value: `sum(increase(calls_total{release="$release"}[$step]))`, Per: "seconds"})
	if len(got.Readings) > 0 || !strings.Contains(got.Missing, "per") {
		t.Errorf("%+v, want nothing: how many instances there were is not known", got)
	}
}

func (w *written) natives(t *testing.T) {
	for release, counts := range map[string][]uint64{"r1": {3, 1}, "r2": {1, 3}} { // (1/16, 1/8] and (1/8, 1/4]
		s := prometheustest.Series{Labels: map[string]string{"__name__": "took_seconds", "release": release, "job": "j", "instance": "i"}}
		for second := w.first - 61; second < w.first+60; second += 5 {
			n := uint64(second - w.first + 61)
			s.Times = append(s.Times, time.Unix(second, 999e6))
			s.Natives = append(s.Natives, prometheustest.Native{Offset: -3, Counts: []uint64{counts[0] * n, counts[1] * n}, Sum: float64(n)})
		}
		w.server.Write([]prometheustest.Series{s})
	}
	s, c := sums(t, w.read(t, delivery.Metric{Kind: delivery.KindLatency, Value: `took_seconds{release="$release"}`}))
	if s.N != 240 || c.N != 240 {
		t.Errorf("%v and %v values, want 240 each", s.N, c.N)
	}
	if a, b := within(s, 0.125), within(c, 0.125); a != 180 || b != 60 {
		t.Errorf("%v and %v are within 1/8 s, want 180 and 60", a, b)
	}
	if a := within(c, 0.25); a != 240 {
		t.Errorf("%v are within 1/4 s, want 240", a)
	}
}

func sums(t *testing.T, got metric.Answer) (s, c analysis.Value) {
	t.Helper()
	s.Bins, c.Bins = map[int]uint32{}, map[int]uint32{}
	for _, r := range got.Readings {
		if r.Wrong != "" {
			t.Errorf("reading is wrong: %s", r.Wrong)
		}
		for to, v := range map[*analysis.Value]analysis.Value{&s: r.Stable, &c: r.Canary} {
			to.N, to.Sum = to.N+v.N, to.Sum+v.Sum
			for i, n := range v.Bins {
				to.Bins[i] += n
			}
		}
	}
	if len(got.Readings) == 0 {
		t.Errorf("no readings: %s", got.Missing)
	}
	return s, c
}

func within(v analysis.Value, seconds float64) (n uint32) {
	for i, k := range v.Bins {
		if i <= analysis.Bin(seconds) {
			n += k
		}
	}
	return n
}

// otherEdges: the new version has other buckets. What both have is compared, in
// milliseconds here, and nothing is guessed between.
func (w *written) otherEdges(t *testing.T) {
	for release, edges := range map[string][]string{"r1": {"50", "100", "200", "+Inf"}, "r2": {"100", "150", "200", "+Inf"}, "r3": {"1", "2", "3", "+Inf"}} {
		for i, le := range edges {
			w.line(times(float64(i+1)), "__name__", "wait_ms_bucket", "release", release, "le", le)
		}
	}
	m := delivery.Metric{Kind: delivery.KindLatency, Unit: "ms", Value: `wait_ms{release="$release"}`}
	s, c := sums(t, w.read(t, m))
	if a, b := within(s, 0.1), within(c, 0.1); a != 120 || b != 60 {
		t.Errorf("%v and %v are within 100 ms, want 120 and 60", a, b)
	}
	if a, b := within(s, 0.19), within(c, 0.19); a != 120 || b != 60 {
		t.Errorf("%v and %v are within 190 ms, want what is within 100", a, b)
	}
	if a, b := within(s, 0.2), within(c, 0.2); a != 180 || b != 180 {
		t.Errorf("%v and %v are within 200 ms, want 180 each", a, b)
	}
	a := ask(m)
	a.First, a.Last, a.Canary.Release = w.first, w.first+59, "r3"
	got, err := driver(t, w.server.URL).Read(t.Context(), a)
	if err != nil || len(got.Readings) == 0 || !strings.Contains(got.Readings[0].Wrong, "no edge in common") {
		t.Errorf("Read = %+v, %v; want readings that are called wrong", got, err)
	}
}

func (w *written) mixed(t *testing.T) {
	w.line(times(1), "__name__", "odd_bucket", "release", "r1", "le", "+Inf")
	w.line(times(1), "__name__", "odd_bucket", "release", "r1", "le", "1")
	w.line(times(1), "__name__", "odd", "release", "r2")
	got := w.read(t, delivery.Metric{Kind: delivery.KindLatency, Value: `odd{release="$release"}`})
	for _, r := range got.Readings {
		if r.Wrong == "" {
			t.Errorf("a histogram is compared with a number: %+v", r)
		}
	}
}

func (w *written) instances(t *testing.T) {
	for _, i := range []string{"warm", "twin"} {
		w.line(func(int64) float64 { return float64(len(i)) }, "__name__", "heap_bytes", "release", "r1", "instance", i)
	}
	w.line(func(int64) float64 { return 9 }, "__name__", "heap_bytes", "release", "r2", "instance", "new")
	a := ask(delivery.Metric{Kind: delivery.KindLevel, Value: `heap_bytes{release="$release",instance=~"$instances"}`})
	a.First, a.Last = w.first, w.first+59
	a.Stable.Instances, a.Canary.Instances = []string{"twin"}, []string{"new"}
	d := driver(t, w.server.URL)
	got, err := d.Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if s, c := sums(t, got); s.N != 4 || c.N != 4 || s.Sum != 16 || c.Sum != 36 {
		t.Errorf("stable %+v, canary %+v; want four values of 4 and of 9", s, c)
	}
	a.Metric.Value = `heap_bytes{release="$release"}`
	if got, err := d.Read(t.Context(), a); err == nil || !strings.Contains(err.Error(), "twin") {
		t.Errorf("Read of all instances = %+v, %v; want an error: only the twin's count", got, err)
	}
}

func (w *written) moreThanAll(t *testing.T) {
	for _, release := range []string{"r1", "r2"} {
		w.line(times(5), "__name__", "bad_total", "release", release)
		w.line(times(2), "__name__", "all_total", "release", release)
	}
	got := w.read(t, delivery.Metric{Kind: delivery.KindShare, Value: `bad_total{release="$release"}`, Per: `all_total{release="$release"}`})
	if len(got.Readings) == 0 || !strings.Contains(got.Readings[0].Wrong, "bad of") {
		t.Errorf("%+v, want readings that are called wrong", got)
	}
}

// restart: after it the failures are more than before, which alone would look
// like a rise of 8; that all requests fell shows that they are 9 from zero.
func (w *written) restart(t *testing.T) {
	drop := func(before, after float64) func(int64) float64 {
		return func(s int64) float64 {
			if s <= 90 {
				return before
			}
			return after
		}
	}
	for _, release := range []string{"r1", "r2"} {
		w.line(drop(1, 9), "__name__", "runs_total", "release", release, "result", "bad")
		w.line(drop(1000, 50), "__name__", "runs_total", "release", release, "result", "good")
	}
	_, c := sums(t, w.read(t, delivery.Metric{Kind: delivery.KindShare, Value: `runs_total{release="$release",result="bad"}`, Per: `runs_total{release="$release"}`}))
	if c.Sum != 9 || c.N != 59 {
		t.Errorf("%v bad of %v, want 9 of 59", c.Sum, c.N)
	}
}

// tooEarly: the block that is not over is not read (case 63).
func (w *written) tooEarly(t *testing.T) {
	now := time.Now()
	s := prometheustest.Series{Labels: map[string]string{"__name__": "fresh_total", "release": "r1", "job": "j", "instance": "i"}}
	// Scraped every five seconds, they are alive for 25 after the last: as long as this may take.
	for at := now.Unix() - 102; at <= now.Unix()-2; at += 5 {
		s.Times, s.Values = append(s.Times, time.Unix(at, 0)), append(s.Values, float64(at))
	}
	two := s
	two.Labels = map[string]string{"__name__": "fresh_total", "release": "r2", "job": "j", "instance": "i2"}
	w.server.Write([]prometheustest.Series{s, two})
	a := ask(delivery.Metric{Kind: delivery.KindCount, Value: `fresh_total{release="$release"}`, Per: "seconds"})
	a.First, a.Last = now.Unix()-60, now.Unix()+600
	got, err := driver(t, w.server.URL).Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	if got.Until > now.Unix()-3 || got.Until < now.Unix()-33 {
		t.Errorf("Until is %d s before now, want the end of the last whole block before the last scrape", now.Unix()-got.Until)
	}
	for _, r := range got.Readings {
		if r.Second > got.Until || r.Canary.Sum != 15 {
			t.Errorf("reading %+v ends after Until or is not whole", r)
		}
	}
	if len(got.Readings) < 1 {
		t.Errorf("no readings: %s", got.Missing)
	}
}

// target is a service that does ten things between two scrapes.
type target struct {
	mu    sync.Mutex
	n     int  // guarded by mu
	gone  bool // guarded by mu
	each  int
	serve *httptest.Server
}

func newTarget(t *testing.T, each int) *target {
	x := &target{each: each}
	x.serve = httptest.NewServer(x)
	t.Cleanup(x.serve.Close)
	return x
}

func (x *target) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gone {
		panic(http.ErrAbortHandler)
	}
	x.n += x.each
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = fmt.Fprintf(w, "# TYPE things_total counter\nthings_total{result=\"good\"} %d\nthings_total{result=\"bad\"} %d\n", x.n*9/10, x.n/10)
}

func (x *target) restart() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.n = 0
}

// vanish answers nobody any more. Its port stays its own: another server there would
// be taken for it.
func (x *target) vanish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone = true
}

func (x *target) at(release string) prometheustest.Target {
	return prometheustest.Target{Addr: strings.TrimPrefix(x.serve.URL, "http://"), Labels: map[string]string{"release": release}}
}

// A server that scrapes: the targets do their things between two scrapes, one of
// them is started anew, and then it vanishes.
func TestScraped(t *testing.T) {
	t.Parallel()
	stable, canary, other := newTarget(t, 10), newTarget(t, 10), newTarget(t, 10_000)
	server := prometheustest.Start(t, prometheustest.Targets(time.Second, map[string][]prometheustest.Target{
		"services": {stable.at("r1"), canary.at("r2"), other.at("r9")},
	}))
	d := driver(t, server.URL)
	a := ask(delivery.Metric{Kind: delivery.KindShare, Every: 2 * time.Second, Value: `things_total{result="bad",release="$release"}`, Per: `things_total{release="$release"}`})
	a.First = time.Now().Unix()
	var got metric.Answer
	enough := func(n int) func() bool {
		return func() bool {
			var err error
			a.Last = time.Now().Unix()
			if got, err = d.Read(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			return len(got.Readings) >= n
		}
	}
	server.Until("there are readings", enough(3))
	canary.restart()
	server.Until("there are more", enough(6))
	for _, r := range got.Readings {
		for _, v := range []analysis.Value{r.Stable, r.Canary} {
			// Whole scrapes of 10 each: none is lost by the restart, none is another's.
			if r.Wrong != "" || math.Mod(v.N, 10) != 0 || v.N > 100 || v.Sum*10 != v.N {
				t.Errorf("reading %+v is not so many scrapes of 10 things, one of them bad", r)
			}
		}
	}
	canary.vanish()
	server.Until("the canary is missed", func() bool {
		enough(0)()
		return got.Until >= got.Readings[len(got.Readings)-1].Second+4
	})
	if last := got.Readings[len(got.Readings)-1]; last.Canary.N == 0 || !strings.Contains(got.Missing, "r2") {
		t.Errorf("the last reading is %+v, and missing is %q; want none without the canary, and that it is missed", last, got.Missing)
	}
}
