package embedded

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// ask is a question on what a test's samples say.
func ask(m delivery.Metric, first, last int64) metric.Ask {
	m.Name = "number"
	if m.From == "" {
		m.From = delivery.FromService
	}
	return metric.Ask{Metric: m, Service: "api", Env: "prod", Stable: metric.Side{Release: "r1", Version: "v1"}, Canary: metric.Side{Release: "r2", Version: "v2"}, First: noon + first, Last: noon + last}
}

// say adds one sample of an instance.
func say(s *Store, c *clock, release delivery.ReleaseID, instance, name string, kind metric.SeriesKind, second int64, v float64) {
	x := sample(name, noon+second, v)
	x.Release, x.Instance, x.Kind = release, instance, kind
	c.at = x.At
	s.Add([]metric.Sample{x})
}

func read(t *testing.T, s *Store, a metric.Ask) metric.Answer {
	t.Helper()
	got, err := s.Read(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

var crashes = delivery.Metric{Kind: delivery.KindCount, Value: "n_total", Per: delivery.PerSeconds}

// The level of a counter is how fast it rises: of seconds of a processor, how many
// processors an instance takes.
func TestLevelOfACounter(t *testing.T) {
	s, c := at(noon)
	for second := int64(0); second <= 60; second += 5 {
		for _, x := range []struct {
			release  delivery.ReleaseID
			instance string
			rate     float64
		}{{"r1", "a", .25}, {"r1", "b", .75}, {"r2", "c", 1.5}} {
			say(s, c, x.release, x.instance, "cpu", metric.Counter, second, 100+x.rate*float64(second))
		}
	}
	got := read(t, s, ask(delivery.Metric{Kind: delivery.KindLevel, Value: "cpu"}, 1, 60))
	if len(got.Readings) == 0 {
		t.Fatalf("no reading: %s", got.Missing)
	}
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	for _, r := range got.Readings {
		if r.Stable.N != 2 || !near(r.Stable.Sum, 1) || !near(r.Stable.Squares, .625) || r.Canary.N != 1 || !near(r.Canary.Sum, 1.5) {
			t.Errorf("%+v, want two instances that take a quarter and three quarters, and one that takes one and a half", r)
		}
	}
}

// Instances are read at different times and at different paces: a reading ends
// when all were read, and everything is counted once.
func TestReadingsOfInstancesAtDifferentPaces(t *testing.T) {
	s, c := at(noon)
	for second := range int64(61) {
		for _, x := range []struct {
			release     delivery.ReleaseID
			instance    string
			every, from int64
		}{{"r1", "a", 5, 0}, {"r1", "b", 5, 3}, {"r2", "c", 10, 1}} {
			if second >= x.from && (second-x.from)%x.every == 0 {
				say(s, c, x.release, x.instance, "n_total", metric.Counter, second, float64(2*second))
			}
		}
	}
	var got metric.Answer
	for first := int64(1); first <= 60; first = got.Until - noon + 1 {
		next := read(t, s, ask(crashes, first, 60))
		got.Readings, got.Until = append(got.Readings, next.Readings...), next.Until
		if next.Until < noon+first {
			break
		}
	}
	var stable, canary analysis.Value
	before := int64(noon)
	for _, r := range got.Readings {
		if from := r.Second - int64(r.Seconds); from < before {
			t.Errorf("a reading of %d s ends at %d, and one before it at %d", r.Seconds, r.Second-noon, before-noon)
		}
		before = r.Second
		stable.Sum += r.Stable.Sum
		stable.N += r.Stable.N
		canary.Sum += r.Canary.Sum
		canary.N += r.Canary.N
	}
	// Of c 50 seconds are read, from 1 to 51, and of a and b nearly the same each.
	if canary.N != 50 || canary.Sum != 100 || stable.Sum != 2*stable.N || math.Abs(stable.N-100) > 10 {
		t.Errorf("stable %+v, canary %+v", stable, canary)
	}
}

// What may still come is waited for, and what will not come is not.
func TestUntil(t *testing.T) {
	s, c := at(noon)
	for second := int64(0); second <= 20; second += 5 {
		say(s, c, "r1", "a", "n_total", metric.Counter, second, float64(second))
		say(s, c, "r2", "b", "n_total", metric.Counter, second, float64(second))
	}
	say(s, c, "r1", "a", "n_total", metric.Counter, 25, 25)
	for now, want := range map[int64]int64{25: 20, 35: 20, 36: 31, 40: 35} {
		c.at = time.Unix(noon+now, 0)
		got := read(t, s, ask(crashes, 1, 600))
		if got.Until-noon != want || len(got.Readings) != 4 {
			t.Errorf("at %d: %d readings until %d, want 4 until %d", now, len(got.Readings), got.Until-noon, want)
		}
		if gone := strings.Contains(got.Missing, "release v2 has told nothing of n_total since 12:00:20"); gone != (now > 35) {
			t.Errorf("at %d: Missing = %q", now, got.Missing)
		}
	}
}

// Only the instances that are asked for count.
func TestInstances(t *testing.T) {
	s, c := at(noon)
	for second := int64(0); second <= 10; second += 5 {
		for release, instances := range map[delivery.ReleaseID][]string{"r1": {"a", "twin"}, "r2": {"b"}} {
			for _, id := range instances {
				say(s, c, release, id, "memory", metric.Gauge, second, float64(len(id)*100)+float64(second))
			}
		}
	}
	a := ask(delivery.Metric{Kind: delivery.KindLevel, Value: "memory"}, 1, 10)
	a.Stable.Instances = []string{"twin"}
	got := read(t, s, a)
	if len(got.Readings) != 2 || !reflect.DeepEqual(got.Readings[1].Stable, analysis.Value{N: 1, Sum: 410, Squares: 410 * 410}) || got.Readings[1].Canary.Sum != 110 {
		t.Errorf("readings %+v", got.Readings)
	}
	a.Stable.Instances = []string{"none"}
	if got := read(t, s, a); len(got.Readings) > 0 || got.Missing == "" {
		t.Errorf("of an instance that is not there: %+v", got)
	}
}

// A count by requests is measured by what the data plane carried meanwhile.
func TestByRequests(t *testing.T) {
	s, c := at(noon)
	m := delivery.Metric{Kind: delivery.KindCount, From: delivery.FromLogs, Value: "error", Per: delivery.PerRequests}
	for second := int64(0); second <= 10; second += 5 {
		for release, id := range map[delivery.ReleaseID]string{"r1": "a", "r2": "b"} {
			x := sample("error", noon+second, float64(second))
			x.From, x.Release, x.Instance = delivery.FromLogs, release, id
			c.at = x.At
			s.Add([]metric.Sample{x})
		}
	}
	f := traffic.Frame{At: time.Unix(noon+9, 0)}
	for second := range int64(8) {
		f.Blocks = append(f.Blocks, traffic.Block{Route: "prod/api", Release: "r1", Second: noon + second, Requests: 10}, traffic.Block{Route: "prod/api", Release: "r2", Second: noon + second, Requests: 1})
	}
	s.Take(f, f.At)
	got := read(t, s, ask(m, 1, 10))
	if len(got.Readings) != 1 || got.Until != noon+5 { // the data plane was heard up to 6 only
		t.Fatalf("%+v, want one reading, until 5", got)
	}
	if r := got.Readings[0]; r.Stable.N != 50 || r.Canary.N != 5 || r.Stable.Sum != 5 {
		t.Errorf("reading %+v", r)
	}
}

func TestReadOfTraffic(t *testing.T) {
	s, _ := at(noon)
	own, callers := delivery.Metric{Kind: delivery.KindShare, From: delivery.FromTraffic}, delivery.Metric{Kind: delivery.KindLatency, From: delivery.FromTraffic, Callers: []string{"shop"}}
	if got := read(t, s, ask(own, 0, 9)); got.Missing == "" || got.Until != noon-1 {
		t.Errorf("before anything was heard: %+v", got)
	}
	arm := traffic.ArmCaller + "prod/api)"
	again := &traffic.Again{Units: 2, Bad: 1, Bins: map[int]uint32{7: 2}}
	f := traffic.Frame{At: time.Unix(noon+13, 0), Blocks: []traffic.Block{
		{Route: "prod/api", Release: "r1", Second: noon + 1, Units: 10, UnitsBad: 2, Again: again, Bins: map[int]uint32{7: 9}},
		{Route: "prod/api", Release: "r2", Second: noon + 1, Units: 5, UnitsBad: 1},
		{Route: "prod/api", Release: "r1", Second: noon + 2, Units: 10},
		{Route: "prod/api", Release: "r1", Second: noon + 3, Units: 10, Mixed: true},
		{Route: "prod/api", Release: "r2", Second: noon + 3, Units: 10},
		{Route: "prod/shop", Release: "s1", Second: noon + 1, Units: 99},
		{Route: "prod/shop", Caller: arm, Release: "r1", Second: noon + 1, Units: 4, Bins: map[int]uint32{7: 3}},
		{Route: "prod/shop", Caller: arm, Release: "r2", Second: noon + 1, Units: 1, Bins: map[int]uint32{8: 1}},
	}}
	s.Take(f, f.At)
	got := read(t, s, ask(own, 0, 9))
	if len(got.Readings) != 1 || got.Until != noon+9 || got.Missing != "" {
		t.Fatalf("%+v, want one reading: of the others one was mixed and one alone", got)
	}
	if r := got.Readings[0]; r.Second != noon+1 || r.Stable.N != 8 || r.Stable.Sum != 1 || r.Canary.N != 5 || r.Canary.Sum != 1 || r.Approx {
		t.Errorf("reading %+v", r)
	}
	got = read(t, s, ask(callers, 0, 9))
	if len(got.Readings) != 1 || !reflect.DeepEqual(got.Readings[0].Stable, analysis.Value{N: 4, Bins: map[int]uint32{7: 3}}) || got.Readings[0].Canary.Bins[8] != 1 {
		t.Errorf("at the caller: %+v", got)
	}
	if got := read(t, s, ask(own, 2, 2)); !strings.Contains(got.Missing, "v2 had no request") {
		t.Errorf("of a second in which the canary had none: %+v", got)
	}
	if _, err := s.Read(t.Context(), ask(delivery.Metric{Kind: delivery.KindMean, From: delivery.FromTraffic}, 0, 9)); !errors.Is(err, delivery.ErrInvalid) {
		t.Errorf("a mean of the data plane = %v, want ErrInvalid", err)
	}
}

func TestReadRefuses(t *testing.T) {
	s, _ := at(noon)
	for field, m := range map[string]delivery.Metric{
		"value":        {Kind: delivery.KindShare, Value: "rate(n[1m])", Per: "n"},
		"per: value":   {Kind: delivery.KindShare, Value: "n", Per: "n{"},
		"is no unit o": {Kind: delivery.KindLatency, Value: "n", Unit: "furlong"},
	} {
		if _, err := s.Read(t.Context(), ask(m, 0, 9)); !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v = %v, want an error of %s", m, err, field)
		}
	}
}

// More bad ones than there were is no share.
func TestMoreThanAllIsWrong(t *testing.T) {
	s, c := at(noon)
	for second := int64(0); second <= 5; second += 5 {
		for release, id := range map[delivery.ReleaseID]string{"r1": "a", "r2": "b"} {
			say(s, c, release, id, "bad_total", metric.Counter, second, float64(3*second))
			say(s, c, release, id, "all_total", metric.Counter, second, float64(second))
		}
	}
	got := read(t, s, ask(delivery.Metric{Kind: delivery.KindShare, Value: "bad_total", Per: "all_total"}, 1, 5))
	if len(got.Readings) != 1 || got.Readings[0].Wrong != "15 of 5 is more than all" {
		t.Errorf("%+v", got)
	}
}

// Buckets keep their sums: how many there were, how many were at most each end,
// and what lies between two ends never leaves them.
func TestToBins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := bucket{low: rapid.IntRange(-300, 1700).Draw(t, "low")}
		b.high = b.low + rapid.IntRange(0, 200).Draw(t, "width")
		n := rapid.Uint64Range(1, 5000).Draw(t, "n")
		to := map[int]uint32{}
		toBins(to, b, n, 0, rapid.Float64Range(0, 0.999999).Draw(t, "turn"))
		var sum uint64
		for bin, k := range to {
			sum += uint64(k)
			if bin < clampBin(b.low) || bin > clampBin(b.high) || k == 0 {
				t.Fatalf("%d of %+v lie in bin %d", k, b, bin)
			}
		}
		if sum != n {
			t.Fatalf("%d of %d are left", sum, n)
		}
	})
}

// One value in a wide bucket is as often in its lower half as in its upper.
func TestToBinsTakesNoSide(t *testing.T) {
	lower := 0
	for second := range int64(10_000) {
		to := map[int]uint32{}
		toBins(to, bucket{100, 200}, 1, 0, turnOf(second, 1))
		for bin := range to {
			if bin <= 150 {
				lower++
			}
		}
	}
	if lower < 4800 || lower > 5200 {
		t.Errorf("%d of 10000 lie in the lower half", lower)
	}
}

// Whatever bounds two states of a histogram have, what was added between is what
// was observed between, by the bounds that both know.
func TestAddedByCommonBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bounds := func(name string) (out []float64) {
			for _, x := range []float64{0.01, 0.1, 0.5, 1, 5} {
				if rapid.Bool().Draw(t, name) {
					out = append(out, x)
				}
			}
			return out
		}
		old, now := bounds("old"), bounds("now")
		before, after := &metric.Buckets{Bounds: old, Counts: make([]uint64, len(old)+1)}, &metric.Buckets{Bounds: now, Counts: make([]uint64, len(now)+1)}
		put := func(b *metric.Buckets, x float64) {
			i := 0
			for i < len(b.Bounds) && x > b.Bounds[i] {
				i++
			}
			b.Counts[i]++
		}
		value := rapid.SampledFrom([]float64{0.005, 0.05, 0.3, 0.7, 3, 30})
		for _, x := range rapid.SliceOfN(value, 0, 20).Draw(t, "before") {
			put(before, x)
			put(after, x)
		}
		between := rapid.SliceOfN(value, 0, 20).Draw(t, "between")
		for _, x := range between {
			put(after, x)
		}
		got, ok := added(before, after)
		if !ok {
			t.Fatal("nothing was begun anew")
		}
		var n, below uint64
		for b, k := range got {
			n += k
			if b.high <= gridOf(0.5) {
				below += k
			}
		}
		want := uint64(0)
		for _, x := range between {
			if x <= 0.5 {
				want++
			}
		}
		both := slices.Contains(old, 0.5) && slices.Contains(now, 0.5)
		if n != uint64(len(between)) || both && below != want {
			t.Fatalf("%d, of them %d within 0.5; want %d and %d", n, below, len(between), want)
		}
	})
}

// Everybody may ask and tell at once.
func TestManyAtOnce(t *testing.T) {
	s := New()
	now := time.Now()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range 50 {
				at := now.Add(time.Duration(n-50) * time.Second)
				x := sample("n_total", at.Unix(), float64(n))
				x.Instance = fmt.Sprint(i)
				s.Add([]metric.Sample{x})
				s.Take(traffic.Frame{At: at, Boot: fmt.Sprint(i), Blocks: []traffic.Block{served("r1", at.Unix(), 10)}}, at)
			}
		})
		all.Go(func() {
			for range 50 {
				if _, err := s.Read(t.Context(), metric.Ask{Metric: crashes, Service: "api", Env: "prod", First: now.Unix() - 50, Last: now.Unix()}); err != nil {
					t.Error(err)
				}
				if _, err := s.Query(Query{Select: Selector{Name: Latency}, Show: ShowQuantile, Quantile: 0.5, First: now.Add(-time.Minute), Last: now, Step: time.Second}); err != nil {
					t.Error(err)
				}
				s.Minutes(0, now.Unix())
				s.Size()
				s.Refused()
				s.Calls("")
			}
		})
	}
	all.Wait()
	if requests, _ := s.Exposure("prod/api", "r1", 0, now.Unix()+1); requests != 4*50*10 {
		t.Errorf("%d requests, want %d", requests, 4*50*10)
	}
}
