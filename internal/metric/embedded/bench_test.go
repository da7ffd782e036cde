package embedded

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// fleetOf are n releases with 50 counters each, as one scrape of all reads them.
func fleetOf(n int) []metric.Sample {
	var out []metric.Sample
	for r := range n {
		for v := range 50 {
			x := sample("http_requests_total", noon, 0)
			x.Service, x.Release = fmt.Sprint("service-", r/2), delivery.ReleaseID(fmt.Sprint("r", r))
			x.Labels = []metric.Label{{Name: "code", Value: fmt.Sprint(200 + v)}, {Name: "method", Value: "GET"}}
			out = append(out, x)
		}
	}
	return out
}

// readAgain reads every counter again: so many of 50 rose, by some 50 a second.
func readAgain(all []metric.Sample, at time.Time, rng *rand.Rand, change int) {
	passed := int(at.Sub(all[0].At) / time.Second)
	for i := range all {
		all[i].At = at
		if i%50 < change {
			all[i].Value += float64(50*passed + rng.IntN(10+passed))
		}
	}
}

// BenchmarkAdd is the price of one sample of one of 5,000 series in the steady state.
func BenchmarkAdd(b *testing.B) {
	s, c := at(noon)
	all, rng := fleetOf(100), rand.New(rand.NewPCG(1, 1))
	tick := func() {
		c.at = c.at.Add(time.Second)
		readAgain(all, c.at, rng, 50)
	}
	for range 700 {
		tick()
		s.Add(all)
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n%len(all) == 0 {
			b.StopTimer()
			tick()
			b.StartTimer()
			if refused, why := s.Add(all); refused > 0 {
				b.Fatal(why)
			}
		}
		n++
	}
}

// BenchmarkRead answers the judge: a share of two releases with 50 series each,
// over the last ten seconds. BenchmarkQuery draws ten minutes of a service.
func BenchmarkRead(b *testing.B) {
	s, a := tenMinutes()
	a.First = a.Last - 9
	for b.Loop() {
		if got, err := s.Read(b.Context(), a); err != nil || len(got.Readings) != 10 {
			b.Fatal(len(got.Readings), got.Missing, err)
		}
	}
}

func BenchmarkQuery(b *testing.B) {
	s, a := tenMinutes()
	q := Query{Service: a.Service, From: delivery.FromService, Select: Selector{Name: "http_requests_total"}, Show: ShowRate, First: time.Unix(a.First, 0), Last: time.Unix(a.Last, 0), Step: 5 * time.Second}
	for b.Loop() {
		if lines, err := s.Query(q); err != nil || len(lines) != 100 || len(lines[0].Points) < 115 {
			b.Fatal(len(lines), err)
		}
	}
}

// tenMinutes is a full store of two releases, and an ask for all of it.
func tenMinutes() (*Store, metric.Ask) {
	s, c := at(noon)
	all, rng := fleetOf(2), rand.New(rand.NewPCG(1, 1))
	for range keptSamples {
		c.at = c.at.Add(time.Second)
		readAgain(all, c.at, rng, 50)
		s.Add(all)
	}
	m := delivery.Metric{Name: "errors", Kind: delivery.KindShare, From: delivery.FromService, Value: `http_requests_total{code=~"22."}`, Per: "http_requests_total"}
	return s, metric.Ask{Metric: m, Service: "service-0", Env: "prod", Stable: metric.Side{Release: "r0"}, Canary: metric.Side{Release: "r1"}, First: noon + 1, Last: noon + keptSamples}
}

// sampled is how many of the 1,000 releases a benchmark of memory fills: what a
// release takes does not depend on how many there are.
const sampled = 50

// BenchmarkMemory is what 1,000 releases with 50 values a second take, once ten
// minutes of seconds and a day of minutes are full. Of 50 buckets and codes some
// 12 change in every second, as in any service; that all do is the worst there is.
func BenchmarkMemory(b *testing.B) {
	b.Run("12 of 50 change", func(b *testing.B) { benchmarkMemory(b, 12) })
	b.Run("all change", func(b *testing.B) { benchmarkMemory(b, 50) })
}

func benchmarkMemory(b *testing.B, change int) {
	for b.Loop() {
		before := heap()
		s, c := at(noon)
		all, rng := fleetOf(sampled), rand.New(rand.NewPCG(1, 1))
		for range keptMinutes {
			c.at = c.at.Add(time.Minute)
			readAgain(all, c.at, rng, change)
			s.Add(all)
		}
		day := heap() - before
		for range keptSamples {
			c.at = c.at.Add(time.Second)
			readAgain(all, c.at, rng, change)
			s.Add(all)
		}
		per := 1000 / sampled / 1e6
		b.ReportMetric(float64(day)*per, "MB/day-of-minutes")
		b.ReportMetric(float64(heap()-before)*per, "MB")
		b.ReportMetric(float64(s.Size().Bytes)*per, "MB-data")
		runtime.KeepAlive(all)
	}
}

// BenchmarkFramesMemory is what the data plane's counts of 1,000 releases take.
func BenchmarkFramesMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		s, _ := at(noon)
		for second := range int64(keptSeconds) {
			f := traffic.Frame{At: time.Unix(noon+second, 0), Boot: "a"}
			for r := range sampled {
				f.Blocks = append(f.Blocks, busy(fmt.Sprint("prod/service-", r/2), delivery.ReleaseID(fmt.Sprint("r", r)), noon+second))
			}
			s.Take(f, f.At)
		}
		b.ReportMetric(float64(heap()-before)*(1000/sampled/1e6), "MB")
		runtime.KeepAlive(s)
	}
}

// busy is a second of 50 requests with 40 times.
func busy(route string, release delivery.ReleaseID, second int64) traffic.Block {
	b := traffic.Block{Route: route, Release: release, Caller: "shop", Second: second, Requests: 50, OK: 50, Units: 50, BytesIn: 1e4, BytesOut: 1e6, Bins: map[int]uint32{}}
	for i := range 40 {
		b.Bins[500+i*3] = 1 + uint32(i)%2
	}
	return b
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
