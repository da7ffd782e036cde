package analysis

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// service is a model of stable and canary traffic: second by second it gives
// the chance of an error and the time of an answer.
type service struct {
	rps     float64
	share   func(second int) float64                  // of the canary; nil is a tenth
	errors  func(second int) (stable, canary float64) // shares
	latency func(r *rand.Rand, canary bool) float64   // seconds; nil counts errors only
	pace    func(second int) float64                  // multiplies the times of both arms; the baseline is second -1
	next    func(second int) bool                     // the step of the plan changes before this second
	quiet   bool                                      // no traffic before the rollout
}

// binomial draws from Bin(n, p) by the gaps between successes.
func binomial(r *rand.Rand, n uint64, p float64) uint64 {
	switch {
	case p <= 0 || n == 0:
		return 0
	case p > 0.5:
		return n - binomial(r, n, 1-p)
	}
	var x, at uint64
	l := math.Log1p(-p)
	for {
		gap := math.Floor(math.Log(1-r.Float64()) / l)
		if gap >= float64(n-at) {
			return x
		}
		at += uint64(gap) + 1
		x++
	}
}

// poisson draws the number of arrivals in one second at the given rate.
func poisson(r *rand.Rand, rate float64) uint64 {
	var n uint64
	for at := r.ExpFloat64(); at < rate; at += r.ExpFloat64() {
		n++
	}
	return n
}

func (s service) arm(r *rand.Rand, second int, n uint64, p float64, canary bool) Arm {
	a := Arm{Units: n, Bad: binomial(r, n, p)}
	if s.latency == nil {
		return a
	}
	pace := 1.0
	if s.pace != nil {
		pace = s.pace(second)
	}
	a.Bins = make(map[int]uint32, 128)
	for range n {
		a.Bins[Bin(pace*s.latency(r, canary))]++
	}
	return a
}

func (s service) block(r *rand.Rand, second int) Block {
	w := 0.1
	if s.share != nil {
		w = s.share(second)
	}
	pb, pc := s.errors(second)
	return Block{
		Second: int64(second),
		Stable: s.arm(r, second, poisson(r, s.rps*(1-w)), pb, false),
		Canary: s.arm(r, second, poisson(r, s.rps*w), pc, true),
	}
}

// baseline is a minute of stable alone.
func (s service) baseline(r *rand.Rand) Arm {
	if s.quiet {
		return Arm{}
	}
	pb, _ := s.errors(0)
	return s.arm(r, -1, poisson(r, s.rps*60), pb, false)
}

// ending is how one simulated rollout went.
type ending struct {
	outcome delivery.Outcome
	seconds int
	units   uint64 // of the canary
	verdict delivery.Verdict
}

// run judges until the outcome is stop or the horizon is reached.
func (s service) run(t *testing.T, seed uint64, horizon int, stop delivery.Outcome) ending {
	t.Helper()
	r := rand.New(rand.NewPCG(2026, seed))
	j := New(delivery.JudgePolicy{}, s.baseline(r))
	j.errors.bounds = nil // intervals are no part of the evidence, and most of the work
	for i := range j.latency.proofs {
		j.latency.proofs[i].bounds = nil
	}
	e := ending{outcome: delivery.NoData}
	for i := range horizon {
		if s.next != nil && s.next(i) {
			j.NextStep()
		}
		b := s.block(r, i)
		if err := j.Observe(b); err != nil {
			t.Fatal(err)
		}
		e.seconds, e.units = i+1, e.units+b.Canary.Units
		if j.failed || stop == delivery.Pass {
			e.verdict = j.Verdict()
			if e.outcome = e.verdict.Outcome; e.outcome == stop || e.outcome == delivery.Fail {
				return e
			}
		}
	}
	e.verdict = j.Verdict()
	e.outcome = e.verdict.Outcome
	return e
}

// repeat runs reps rollouts and returns those that ended as stop, quickest
// first, and the number of the others that failed.
func (s service) repeat(t *testing.T, reps, horizon int, stop delivery.Outcome) (stopped []ending, failed int) {
	t.Helper()
	for i := range reps {
		if e := s.run(t, uint64(i), horizon, stop); e.outcome == stop {
			stopped = append(stopped, e)
		} else if e.outcome == delivery.Fail {
			failed++
		}
	}
	slices.SortFunc(stopped, func(a, b ending) int { return cmp.Compare(a.seconds, b.seconds) })
	return stopped, failed
}

// atMost returns the 99.99 % quantile of Bin(n, p): a count that a valid test
// does not pass by chance.
func atMost(n int, p float64) int {
	sum := 0.0
	for x := range n + 1 {
		if sum += choose(n, x, p); sum >= .9999 {
			return x
		}
	}
	return n
}

// An acceptable release fails no more often than alpha allows, whatever the
// base rate, the hour and the traffic do.
func TestFalseAlarms(t *testing.T) {
	margin := func(p float64) float64 { return max(1.2*p, p+.001) }
	both := func(stable func(int) float64, canary func(float64) float64) func(int) (float64, float64) {
		return func(i int) (float64, float64) { return stable(i), canary(stable(i)) }
	}
	same := func(p float64) float64 { return p }
	drift := func(i int) float64 { return .002 + .018*float64(i)/1800 }
	outage := func(i int) float64 {
		if i >= 60 && i < 120 {
			return .2
		}
		return .005
	}
	ramp := func(i int) float64 { return [...]float64{.01, .05, .25, .5}[i/450] }
	for _, c := range []struct {
		name          string
		s             service
		reps, horizon int
	}{
		{"0.1 %", service{rps: 500, errors: constant(.001, .001)}, 40, 300},
		{"0.1 % at the margin", service{rps: 500, errors: constant(.001, margin(.001))}, 40, 300},
		{"0.5 % at the margin", service{rps: 500, errors: constant(.005, margin(.005))}, 40, 300},
		{"1 % at the margin", service{rps: 500, errors: constant(.01, margin(.01))}, 40, 300},
		{"half of all at the margin", service{rps: 500, errors: constant(.5, margin(.5))}, 40, 120},
		{"drift across the corner at the margin", service{rps: 500, errors: both(drift, margin)}, 40, 1800},
		{"D1: ramp and drift", service{
			rps: 500, errors: both(drift, same), share: ramp,
			next: func(i int) bool { return i > 0 && i%450 == 0 },
		}, 40, 1800},
		{"D2: shared outage", service{rps: 500, errors: both(outage, same)}, 40, 300},
		{"low traffic", service{rps: 5, errors: constant(.01, .01), latency: lognormal(1, 1), quiet: true}, 40, 900},
		{"errors and latency", shop(), 40, 120},
		{"5 % slower", service{rps: 500, errors: constant(.005, .005), latency: lognormal(1.05, 1)}, 40, 120},
	} {
		failed, _ := c.s.repeat(t, c.reps, c.horizon, delivery.Fail)
		t.Logf("%s: %d of %d failed", c.name, len(failed), c.reps)
		if most := atMost(c.reps, .01); len(failed) > most {
			t.Errorf("%s: %d of %d acceptable releases failed, want at most %d", c.name, len(failed), c.reps, most)
		}
	}
}

// A bad release is caught, blamed on the right check, and soon.
func TestDetection(t *testing.T) {
	slow := func(all, tail float64) service {
		return service{rps: 500, errors: constant(.005, .005), latency: lognormal(all, tail)}
	}
	turns := service{rps: 500, errors: func(i int) (float64, float64) {
		if i < 900 {
			return .005, .005
		}
		return .005, .05
	}}
	noisy := busy(3)
	noisy.latency = lognormal(1, 1.5)
	for _, c := range []struct {
		name          string
		s             service
		reps, horizon int
		median        int // s at most
		metric        string
	}{
		{"0.5 to 5 %", service{rps: 500, errors: constant(.005, .05)}, 100, 60, 5, "error rate"},
		{"0.1 to 1 %", service{rps: 500, errors: constant(.001, .01)}, 60, 300, 28, "error rate"},
		{"1 to 2 %", service{rps: 500, errors: constant(.01, .02)}, 40, 900, 120, "error rate"},
		{"0.1 to 20 %", service{rps: 500, errors: constant(.001, .2)}, 100, 20, 2, "error rate"},
		{"D3: 5 % after 900 s", turns, 10, 960, 910, "error rate"},
		{"0.5 to 5 %, low traffic", service{rps: 5, errors: constant(.005, .05), quiet: true}, 30, 3600, 600, "error rate"},
		{"tail 50 % slower", slow(1, 1.5), 30, 200, 30, "latency"},
		{"tail 50 % slower, noisy baseline", noisy, 30, 200, 30, "latency"},
		{"all 20 % slower", slow(1.2, 1), 30, 200, 30, "latency"},
		{"all 50 % slower", slow(1.5, 1), 30, 60, 5, "latency"},
	} {
		got, _ := c.s.repeat(t, c.reps, c.horizon, delivery.Fail)
		if len(got) < c.reps*9/10 {
			t.Errorf("%s: %d of %d caught in %d s", c.name, len(got), c.reps, c.horizon)
			continue
		}
		m, q := got[len(got)/2], got[len(got)*9/10]
		t.Logf("%s: %d of %d caught, median %d s, %d requests; p90 %d s", c.name, len(got), c.reps, m.seconds, m.units, q.seconds)
		if m.seconds > c.median {
			t.Errorf("%s: caught after %d s in the median, want at most %d", c.name, m.seconds, c.median)
		}
		if check := m.verdict.Checks[0]; check.Metric != c.metric || check.Outcome != delivery.Fail || !strings.Contains(m.verdict.Sentence, check.Sentence) {
			t.Errorf("%s: blamed on %s %q, want %s", c.name, check.Name, m.verdict.Sentence, c.metric)
		}
	}
}

// A healthy release is proven fit; an outage that hits both arms delays that and no more.
func TestPromotion(t *testing.T) {
	outage := shop()
	outage.errors = func(i int) (float64, float64) {
		if i >= 10 && i < 70 {
			return .2, .2
		}
		return .005, .005
	}
	fix := shop()
	fix.errors = constant(.6, .002)
	for _, c := range []struct {
		name   string
		s      service
		median int // s at most
	}{
		{"0.5 %", shop(), 75},
		{"0.1 %", service{rps: 500, errors: constant(.001, .001), latency: lognormal(1, 1)}, 75},
		{"outage of a minute", outage, 200},
		{"a fix for a broken stable", fix, 75},
	} {
		got, failed := c.s.repeat(t, 40, 300, delivery.Pass)
		if len(got) < 36 || failed > atMost(40, .01) {
			t.Errorf("%s: %d of 40 passed, %d failed in 300 s", c.name, len(got), failed)
			continue
		}
		m, q := got[len(got)/2], got[len(got)*9/10]
		t.Logf("%s: %d of 40 passed, median %d s, %d requests; p90 %d s", c.name, len(got), m.seconds, m.units, q.seconds)
		if m.seconds > c.median {
			t.Errorf("%s: passed after %d s in the median, want at most %d", c.name, m.seconds, c.median)
		}
	}
}

// A release exactly at the bound of what is unacceptable passes no more often than beta allows.
func TestFalsePromotion(t *testing.T) {
	for _, c := range []struct {
		name string
		s    service
	}{
		{"errors 0.1 %", service{rps: 500, errors: constant(.001, .004), latency: lognormal(1, 1)}},
		{"errors 1 %", service{rps: 500, errors: constant(.01, .022), latency: lognormal(1, 1)}},
		{"latency", service{rps: 500, errors: constant(.001, .001), latency: lognormal(1.25, 1)}},
		{"p99", service{rps: 500, errors: constant(.001, .001), latency: lognormal(1, 1.25)}},
	} {
		got, _ := c.s.repeat(t, 60, 200, delivery.Pass)
		t.Logf("%s: %d of 60 passed", c.name, len(got))
		if most := atMost(60, .05); len(got) > most {
			t.Errorf("%s: %d of 60 unacceptable releases passed, want at most %d", c.name, len(got), most)
		}
	}
}

// With one canary request in two seconds the judge waits and says so; it never
// passes on silence.
func TestLowTraffic(t *testing.T) {
	s := service{rps: 5, errors: constant(.001, .001), latency: lognormal(1, 1), quiet: true}
	for seed := range uint64(20) {
		e := s.run(t, seed, 600, delivery.Pass)
		if e.outcome != delivery.Inconclusive {
			t.Fatalf("after %d requests %s: %s", e.units, e.outcome, e.verdict.Sentence)
		}
		if !strings.Contains(e.verdict.Sentence, " more") {
			t.Fatalf("sentence %q does not say how much is missing", e.verdict.Sentence)
		}
	}
}

// Trouble that both arms share says nothing against the canary.
func TestSharedOutage(t *testing.T) {
	j := New(delivery.JudgePolicy{}, same(1000, 1))
	for i := range 300 {
		observe(t, j, Block{Second: int64(i), Stable: Arm{Units: 450, Bad: 450, Open: 450}, Canary: Arm{Units: 50, Bad: 50, Open: 50}})
		if v := j.Verdict(); v.Evidence > 1 {
			t.Fatalf("evidence after %d seconds of a shared outage = %v, want at most 1", i+1, v.Evidence)
		}
	}
	if v := j.Verdict(); v.Outcome != delivery.Inconclusive {
		t.Errorf("verdict on a shared outage = %s, want inconclusive", v.Outcome)
	}
}

// The intervals hold the truth at every second of a rollout with probability 1-alpha.
func TestIntervalsCover(t *testing.T) {
	const reps = 40
	for _, c := range []struct{ stable, canary, slower float64 }{
		{.005, .005, 1}, {.01, .05, 1.5}, {.3, .1, .8},
	} {
		s := service{rps: 500, errors: constant(c.stable, c.canary), latency: lognormal(c.slower, 1)}
		var missed [1 + len(proven)]int
		width := 0.0
		for seed := range uint64(reps) {
			r := rand.New(rand.NewPCG(99, seed))
			j := New(delivery.JudgePolicy{Alpha: .05}, s.baseline(r))
			var out [1 + len(proven)]bool
			for i := range 40 {
				b := s.block(r, i)
				limit := math.Log(2 / .05)
				j.errors.observe(pair{
					float64(b.Stable.Units), float64(b.Stable.Bad), float64(b.Canary.Units), float64(b.Canary.Bad),
				}, limit)
				j.latency.observe(b, limit)
				low, high := j.errors.interval()
				out[0] = out[0] || c.canary-c.stable < low-1e-12 || c.canary-c.stable > high+1e-12
				width += (high - low) / reps / 40
				for k := range j.latency.proofs {
					p := &j.latency.proofs[k]
					x := Edge(p.bin + 1)
					low, high, _ := slower(p.bounds, x)
					out[1+k] = out[1+k] || x*(c.slower-1) < low-x*.011 || x*(c.slower-1) > high+x*.011
				}
			}
			for k, o := range out {
				if o {
					missed[k]++
				}
			}
		}
		t.Logf("%v: missed %v of %d; mean width of the difference of errors %.3g", c, missed, reps, width)
		for k, n := range missed {
			if n > atMost(reps, .05) {
				t.Errorf("%v: interval %d missed the truth in %d of %d rollouts, want at most %d", c, k, n, reps, atMost(reps, .05))
			}
		}
	}
}

// BenchmarkObserve measures one second of one service at 500 requests/s: in the
// first minute, when many ends of intervals are still open, and later.
func BenchmarkObserve(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	s := shop()
	blocks := make([]Block, 60)
	for i := range blocks {
		blocks[i] = s.block(r, i)
	}
	baseline := s.baseline(r)
	b.Run("first minute", func(b *testing.B) {
		b.ReportAllocs()
		var j *Judge
		for i := range b.N {
			if i%len(blocks) == 0 {
				b.StopTimer()
				j = New(delivery.JudgePolicy{}, baseline)
				b.StartTimer()
			}
			if err := j.Observe(blocks[i%len(blocks)]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("later", func(b *testing.B) {
		b.ReportAllocs()
		j := New(delivery.JudgePolicy{}, baseline)
		for i := 0; b.Loop(); i++ {
			k := blocks[i%len(blocks)]
			k.Second = int64(i)
			if err := j.Observe(k); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkVerdict(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	s := shop()
	j := New(delivery.JudgePolicy{}, s.baseline(r))
	for i := range 20 {
		if err := j.Observe(s.block(r, i)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if v := j.Verdict(); v.Outcome == delivery.Fail {
			b.Fatal(v.Sentence)
		}
	}
}
