package analysis

import (
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// usual is a service at 500 requests/s, judged by all that is built in for one
// that a single other service calls.
type usual struct {
	policy   delivery.JudgePolicy
	baseline Arm
	blocks   []Block
}

func newUsual(seconds int) usual {
	r := rand.New(rand.NewPCG(1, 2))
	s := service{rps: 500, errors: constant(.001, .001), latency: lognormal(1, 1)}
	u := usual{policy: delivery.JudgePolicy{Metrics: delivery.BuiltinMetrics([]string{"frontend"})}, baseline: s.baseline(r)}
	for i := range seconds {
		b, at := s.block(r, i), s.block(r, i)
		b.Weight, b.Stable.Drawn, b.Canary.Drawn = .1, poisson(r, 9), poisson(r, 1)
		b.Stable.Again = &Arm{Units: 1}
		b.Stable.Places = map[string]Place{"a": {b.Stable.Units, b.Stable.Bad}}
		b.Canary.Places = map[string]Place{"b": {b.Canary.Units, b.Canary.Bad}}
		b.Fresh = i < 5
		values := func(scale float64) Value { return Value{N: 2, Sum: 2e8 * scale, Squares: 2e16 * scale * scale} }
		b.Readings = []Reading{
			{Metric: delivery.MetricRestarts, Seconds: 1, Stable: Value{N: 4}, Canary: Value{N: 2}},
			{Metric: delivery.MetricMemory, Seconds: 1, Stable: values(1), Canary: values(1 + r.Float64()/100)},
			{Metric: delivery.MetricErrorLines, Seconds: 1, Stable: Value{N: 450, Sum: 1}, Canary: Value{N: 50}},
			{Metric: "errors at frontend", Seconds: 1, Stable: Value{N: 450, Sum: 1}, Canary: Value{N: 50}},
			{Metric: "latency at frontend", Seconds: 1, Stable: Value{N: float64(at.Stable.Units), Bins: at.Stable.Bins}, Canary: Value{N: float64(at.Canary.Units), Bins: at.Canary.Bins}},
		}
		// Those that come again answered in the first bin that has any answer.
		if bin, ok := lowestBin(b.Stable.Bins, func(int, uint32) bool { return true }); ok {
			b.Stable.Again.Bins = map[int]uint32{bin: 1}
		}
		u.blocks = append(u.blocks, b)
	}
	return u
}

// judge returns a judge that has seen the first seconds.
func (u usual) judge(tb testing.TB, seconds int) *Judge {
	j := New(u.policy, u.baseline)
	for _, b := range u.blocks[:seconds] {
		if err := j.Observe(b); err != nil {
			tb.Fatal(err)
		}
	}
	return j
}

// BenchmarkJudgeSecond measures one second of one rollout: what is built in is
// judged, and the verdict is asked for. A thousand rollouts take a thousand times
// that. Processor time is what counts where others are at work too.
func BenchmarkJudgeSecond(b *testing.B) {
	u := newUsual(600)
	for name, from := range map[string]int{"first minute": 0, "tenth minute": 540} {
		for part, what := range map[string]func(*Judge, Block) delivery.Verdict{
			"observe": func(j *Judge, k Block) delivery.Verdict { _ = j.Observe(k); return delivery.Verdict{} },
			"both":    func(j *Judge, k Block) delivery.Verdict { _ = j.Observe(k); return j.Verdict() },
		} {
			b.Run(name+"/"+part, func(b *testing.B) {
				b.ReportAllocs()
				judges := make([]*Judge, 0, b.N/60+1)
				for range cap(judges) {
					judges = append(judges, u.judge(b, from))
				}
				start := processor(b)
				b.ResetTimer()
				for i := range b.N {
					if v := what(judges[i/60], u.blocks[from+i%60]); v.Outcome == delivery.Fail {
						b.Fatal(v.Sentence)
					}
				}
				b.ReportMetric(float64(processor(b)-start)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// processor is the processor time that this process has taken.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkJudgeMemory measures what a judge holds after ten minutes.
func BenchmarkJudgeMemory(b *testing.B) {
	u := newUsual(600)
	var before, after runtime.MemStats
	judges := make([]*Judge, 0, 50)
	u.judge(b, 600)
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range cap(judges) {
		judges = append(judges, u.judge(b, 600))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((float64(after.HeapAlloc)-float64(before.HeapAlloc))/float64(len(judges)), "B/judge")
	runtime.KeepAlive(judges)
	runtime.KeepAlive(u.blocks)
}

// BenchmarkTestUpdate measures one block of one test.
func BenchmarkTestUpdate(b *testing.B) {
	u := newUsual(60)
	policy := Defaults(u.policy)
	errors, latency := newErrorTest(policy, u.baseline), newLatencyTest(policy, u.baseline)
	errors.bounds = nil
	k := u.blocks[30]
	latency.load(k)
	p := pair{450, 3, 50, 1}
	run := func(name string, update func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			start := processor(b)
			for b.Loop() {
				update()
			}
			b.ReportMetric(float64(processor(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
	run("errors against", func() { errors.accuse(p, 0, endLimit(policy.Alpha)) })
	run("errors for", func() { errors.prove(p) })
	run("threshold against", func() { latency.weigh(&latency.thresholds[5], k) })
	run("threshold for", func() { latency.prove(&latency.proofs[2], k) })
	for _, m := range policy.Metrics {
		if m.Kind == delivery.KindLatency {
			continue // eight thresholds at once
		}
		test := newMetricTest(m, policy)
		var r Reading
		for _, x := range k.Readings {
			if x.Metric == m.Name {
				r = x
			}
		}
		run(m.Name, func() { test.observe(r) })
	}
}
