package metrictest

import (
	"math"
	"strconv"
	"testing"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// Run judges the drivers that open returns: each call gets a source that knows
// nothing yet.
func Run(t *testing.T, open func(t *testing.T) Bench) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(*world)
	}{
		{"share", share},
		{"count by instance-seconds", count},
		{"latency", latency},
		{"mean", mean},
		{"level", level},
		{"a restart loses nothing", restart},
		{"the first event of a series counts", born},
		{"no bad one ever is zero of many", clean},
		{"an arm without numbers is missing", missingArm},
		{"a name nobody uses is missing", unknown},
		{"what vanishes is no zero", vanished},
		{"an old value is not held on to", stale},
		{"no number is no value", notANumber},
		{"late and double samples", late},
		{"the same question, the same answer", repeatable},
		{"two halves are the whole", halves},
		{"releases with bad names", hostile},
		{"too many series", crowded},
		{"a source that cannot be asked", broken},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newWorld(t, open(t))) })
	}
}

// requests are the counters of a share: of each release two instances, each with
// 10 requests a second, of which the canary's fail by one and stable's by none
// but a half. A third release is there to be left out.
func (w *world) requests() []series {
	var all []series
	for release, bad := range map[delivery.ReleaseID]float64{stable: 0.5, w.canary: 1, "r-other": 7} {
		for _, i := range []string{"a", "b"} {
			all = append(all,
				series{release: release, instance: string(release[2:]) + i, name: "requests_total", labels: code("200"), kind: metric.Counter, at: w.rising(10 - bad)},
				series{release: release, instance: string(release[2:]) + i, name: "requests_total", labels: code("500"), kind: metric.Counter, at: w.rising(bad)})
		}
	}
	return all
}

func (w *world) errors() delivery.Metric {
	return delivery.Metric{Kind: delivery.KindShare, Value: w.Select("requests_total", `code="500"`), Per: w.Select("requests_total", "")}
}

func share(w *world) {
	w.write(w.requests()...)
	got := w.read(w.ask(w.errors()))
	s, c := totals(got)
	w.want("all of stable", s.N, 2*10*span)
	w.want("bad of stable", s.Sum, 2*0.5*span)
	w.want("all of canary", c.N, 2*10*span)
	w.want("bad of canary", c.Sum, 2*1*span)
	if got.Until != w.last() {
		w.t.Errorf("Until = %d, want %d: all of it is long over", got.Until, w.last())
	}
	if got.Missing != "" {
		w.t.Errorf("Missing = %q, want nothing to be missing", got.Missing)
	}
}

func count(w *world) {
	w.write(
		series{release: stable, instance: "s1", name: "crashes_total", kind: metric.Counter, at: w.rising(0)},
		series{release: stable, instance: "s2", name: "crashes_total", kind: metric.Counter, at: w.rising(0)},
		series{release: canary, instance: "c1", name: "crashes_total", kind: metric.Counter, at: w.rising(0.2)},
	)
	s, c := totals(w.read(w.ask(delivery.Metric{Kind: delivery.KindCount, Value: w.Select("crashes_total", ""), Per: "seconds"})))
	w.want("events of stable", s.Sum, 0)
	w.want("events of canary", c.Sum, 0.2*span)
	for arm, v := range map[string][2]float64{"stable": {s.N, 2 * span}, "canary": {c.N, span}} {
		if math.Abs(v[0]-v[1]) > 0.1*v[1] {
			w.t.Errorf("%s was exposed for %v instance-seconds, want about %v", arm, v[0], v[1])
		}
	}
}

// edges of the histogram of the suite, in seconds.
var edges = [...]float64{0.05, 0.1, 0.5}

// spread is a histogram that gets that many in each bucket every second.
func (w *world) spread(each ...uint64) func(int64) reading {
	return func(second int64) reading {
		n := uint64(second - w.first + history + 1)
		h := &metric.Buckets{Bounds: edges[:]}
		for i, e := range each {
			h.Counts = append(h.Counts, e*n)
			h.Sum += float64(e*n) * append(edges[:], 1)[i]
		}
		return reading{hist: h}
	}
}

func latency(w *world) {
	w.write(
		series{release: stable, instance: "s1", name: "wait_seconds", kind: metric.Histogram, at: w.spread(6, 3, 1, 0)},
		series{release: canary, instance: "c1", name: "wait_seconds", kind: metric.Histogram, at: w.spread(4, 3, 2, 1)},
		series{release: "r-other", instance: "o1", name: "wait_seconds", kind: metric.Histogram, at: w.spread(0, 0, 0, 50)},
	)
	s, c := totals(w.read(w.ask(delivery.Metric{Kind: delivery.KindLatency, Unit: "s", Value: w.Select("wait_seconds", "")})))
	w.want("all of stable", s.N, 10*span)
	w.want("all of canary", c.N, 10*span)
	for i, want := range [len(edges)][2]float64{{6, 4}, {9, 7}, {10, 9}} {
		at := strconv.FormatFloat(edges[i], 'g', -1, 64)
		w.want("stable within "+at+" s", within(s, edges[i]), want[0]*span)
		w.want("canary within "+at+" s", within(c, edges[i]), want[1]*span)
	}
}

// within counts what took at most that long.
func within(v analysis.Value, seconds float64) float64 {
	var n float64
	for i, k := range v.Bins {
		if i <= analysis.Bin(seconds) {
			n += float64(k)
		}
	}
	return n
}

// mean has baskets that are all worth the same in a release, so that the mean is
// the same whether a basket or an instance's average is taken for the unit.
func mean(w *world) {
	for release, worth := range map[delivery.ReleaseID]float64{stable: 30, canary: 20, "r-other": 999} {
		w.write(
			series{release: release, instance: string(release), name: "basket_euros_total", kind: metric.Counter, at: w.rising(2 * worth)},
			series{release: release, instance: string(release), name: "baskets_total", kind: metric.Counter, at: w.rising(2)})
	}
	s, c := totals(w.read(w.ask(delivery.Metric{Kind: delivery.KindMean, Value: w.Select("basket_euros_total", ""), Per: w.Select("baskets_total", "")})))
	w.average("stable", s, 30)
	w.average("canary", c, 20)
}

func level(w *world) {
	for release, bytes := range map[delivery.ReleaseID]float64{stable: 4e8, canary: 5e8, "r-other": 1} {
		w.write(series{release: release, instance: string(release), name: "memory_bytes", kind: metric.Gauge, at: steady(bytes)})
	}
	s, c := totals(w.read(w.ask(delivery.Metric{Kind: delivery.KindLevel, Unit: "bytes", Value: w.Select("memory_bytes", "")})))
	w.average("stable", s, 4e8)
	w.average("canary", c, 5e8)
}

// average wants values that are all the same.
func (w *world) average(arm string, v analysis.Value, want float64) {
	w.t.Helper()
	if v.N == 0 {
		w.t.Fatalf("%s has no values", arm)
	}
	w.want("mean of "+arm, v.Sum/v.N, want)
	w.want("mean square of "+arm, v.Squares/v.N, want*want)
}

func restart(w *world) {
	at := w.first + 32 // between the samples of the seconds 29 and 34
	anew := func(each float64) func(int64) reading {
		whole := w.rising(each)
		return func(second int64) reading {
			if second < at {
				return whole(second)
			}
			return reading{value: each * float64(second-at+1)}
		}
	}
	w.write(
		series{release: stable, instance: "s1", name: "jobs_total", kind: metric.Counter, at: w.rising(4)},
		series{release: canary, instance: "c1", name: "jobs_total", kind: metric.Counter, at: anew(4)},
		series{release: stable, instance: "s1", name: "failed_jobs_total", kind: metric.Counter, at: w.rising(1)},
		series{release: canary, instance: "c1", name: "failed_jobs_total", kind: metric.Counter, at: anew(1)},
	)
	s, c := totals(w.read(w.ask(delivery.Metric{Kind: delivery.KindShare, Value: w.Select("failed_jobs_total", ""), Per: w.Select("jobs_total", "")})))
	w.want("all of stable", s.N, 4*span)
	const lost = 2 // seconds after the last sample of the old process; nobody has them
	w.want("all of canary", c.N, 4*(span-lost))
	w.want("bad of canary", c.Sum, span-lost)
}

// born: most libraries publish a labelled counter from its first event on. An
// instance that was read before without it had none.
func born(w *world) {
	all := series{release: canary, instance: "c1", name: "requests_total", labels: code("200"), kind: metric.Counter, at: w.rising(10)}
	bad := all
	bad.labels, bad.from, bad.to = code("500"), 28, span
	bad.at = steady(3)
	of := all
	of.release, of.instance = stable, "s1"
	w.write(all, bad, of)
	s, c := totals(w.read(w.ask(w.errors())))
	w.want("bad of canary", c.Sum, 3)
	w.want("all of canary", c.N, 10*span+3)
	w.want("bad of stable", s.Sum, 0)
}

func clean(w *world) {
	for _, release := range []delivery.ReleaseID{stable, canary} {
		w.write(series{release: release, instance: string(release), name: "requests_total", labels: code("200"), kind: metric.Counter, at: w.rising(10)})
	}
	s, c := totals(w.read(w.ask(w.errors())))
	w.want("all of stable", s.N, 10*span)
	w.want("all of canary", c.N, 10*span)
	w.want("bad of both", s.Sum+c.Sum, 0)
}

func missingArm(w *world) {
	w.write(
		series{release: stable, instance: "s1", name: "requests_total", labels: code("200"), kind: metric.Counter, at: w.rising(10)},
		series{release: stable, instance: "s1", name: "memory_bytes", kind: metric.Gauge, at: steady(1)},
		series{release: stable, instance: "s1", name: "wait_seconds", kind: metric.Histogram, at: w.spread(6, 3, 1, 0)},
	)
	for _, m := range []delivery.Metric{
		w.errors(),
		{Kind: delivery.KindCount, Value: w.Select("requests_total", ""), Per: "seconds"},
		{Kind: delivery.KindLevel, Value: w.Select("memory_bytes", "")},
		{Kind: delivery.KindLatency, Value: w.Select("wait_seconds", "")},
	} {
		w.nothing(w.read(w.ask(m)))
	}
}

func unknown(w *world) {
	w.write(w.requests()...)
	for _, m := range []delivery.Metric{
		{Kind: delivery.KindShare, Value: w.Select("failures_total", ""), Per: w.Select("requests_total", "")},
		{Kind: delivery.KindShare, Value: w.Select("requests_total", `code="500"`), Per: w.Select("all_total", "")},
		{Kind: delivery.KindCount, Value: w.Select("failures_total", ""), Per: "seconds"},
		{Kind: delivery.KindLevel, Value: w.Select("heap_bytes", "")},
		{Kind: delivery.KindMean, Value: w.Select("heap_bytes", ""), Per: w.Select("heaps_total", "")},
		{Kind: delivery.KindLatency, Value: w.Select("requests_seconds", "")},
	} {
		w.nothing(w.read(w.ask(m)))
	}
}
