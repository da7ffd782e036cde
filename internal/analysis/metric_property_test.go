package analysis

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// drawReading draws a reading of a kind.
func drawReading(t *rapid.T, m delivery.Metric) Reading {
	value := func(name string, n int) Value {
		k := rapid.IntRange(0, n).Draw(t, name)
		v := Value{N: float64(k)}
		switch m.Kind {
		case delivery.KindShare:
			v.Sum = float64(rapid.IntRange(0, k).Draw(t, name+" bad"))
		case delivery.KindCount:
			v.Sum = float64(rapid.IntRange(0, 6).Draw(t, name+" events"))
		case delivery.KindLatency:
			v.Bins = map[int]uint32{}
			for range 3 {
				v.Bins[rapid.IntRange(650, 800).Draw(t, name+" bin")] += uint32(k / 3)
			}
		case delivery.KindMean, delivery.KindLevel:
			for range k {
				y := rapid.Float64Range(0, 50).Draw(t, name+" value")
				v.Sum += y
				v.Squares += y * y
			}
		}
		return v
	}
	return Reading{Stable: value("stable", 20), Canary: value("canary", 8), Seconds: 5, Approx: rapid.Bool().Draw(t, "approx")}
}

// Every kind gives whole numbers whatever it reads, peaks never fall, readings
// that are asked about in between change nothing, and a copy that reads the same
// says the same.
func TestKindsHoldTogether(t *testing.T) {
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				a, b := newKind(k.metric), newKind(k.metric)
				peak := 0.0
				for range rapid.IntRange(1, 40).Draw(r, "readings") {
					x := drawReading(r, k.metric)
					a.observe(x)
					b.observe(x)
					low, high, _ := a.interval()
					e := a.estimates()
					for _, v := range []float64{a.evidence(), a.peak(), a.proof(), e.stable, e.canary, e.nStable, e.nCanary, e.badStable, e.badCanary} {
						if !isFinite(v) {
							r.Fatalf("%v among evidence %v, %v, %v and %+v", v, a.evidence(), a.peak(), a.proof(), e)
						}
					}
					if math.IsNaN(low) || math.IsNaN(high) || low > high {
						r.Fatalf("interval %v to %v", low, high)
					}
					if need := a.remaining(20); math.IsNaN(need) || need < 0 {
						r.Fatalf("needs %v", need)
					}
					if a.peak() < peak-1e-12 || a.peak() < a.evidence()-1e-12 && k.metric.Kind != delivery.KindLatency {
						r.Fatalf("peak %v after %v with evidence %v", a.peak(), peak, a.evidence())
					}
					peak = a.peak()
					switch rapid.IntRange(0, 9).Draw(r, "then") {
					case 0:
						a.nextStep()
						b.nextStep()
					}
				}
				if a.evidence() != b.evidence() || a.proof() != b.proof() || a.estimates() != b.estimates() {
					r.Fatalf("two that read the same say %v and %v", a.evidence(), b.evidence())
				}
				if why := a.wrong(); why != "" {
					r.Fatalf("refused: %s", why)
				}
			})
		})
	}
}

// Whatever another source sends, every kind keeps to finite evidence, and what
// is no number or negative is refused.
func TestWildReadings(t *testing.T) {
	inf := math.Inf(1)
	for name, k := range kinds {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				m := newKind(k.metric)
				number := rapid.SampledFrom([]float64{0, 0, 1, 3, 1e-300, .5, 20, 1e6, 1e12, 1e99, 1e300, -1, -1e300, inf, -inf, math.NaN()})
				for range rapid.IntRange(1, 60).Draw(r, "readings") {
					wild := Value{N: number.Draw(r, "n"), Sum: number.Draw(r, "sum"), Squares: number.Draw(r, "squares")}
					if rapid.Bool().Draw(r, "bins") {
						wild.Bins = map[int]uint32{rapid.IntRange(-2, Bins+1).Draw(r, "bin"): rapid.Uint32().Draw(r, "count")}
					}
					x := k.same
					x.Seconds, x.Approx = rapid.IntRange(-1, 1000).Draw(r, "seconds"), rapid.Bool().Draw(r, "approx")
					switch rapid.IntRange(0, 3).Draw(r, "where") {
					case 0:
						x.Stable = wild
					case 1:
						x.Canary = wild
					case 2:
						x.Stable, x.Canary = wild, wild
					}
					before := m.evidence()
					m.observe(x)
					if refused := !(x.Stable.N >= 0 && x.Canary.N >= 0); refused && (m.wrong() == "" || m.evidence() != before) {
						r.Fatalf("%+v was taken", x)
					}
					low, high, _ := m.interval()
					e := m.estimates()
					for _, v := range []float64{m.evidence(), m.peak(), m.proof(), e.stable, e.canary, e.nStable, e.nCanary, e.badStable, e.badCanary} {
						if !isFinite(v) {
							r.Fatalf("after %+v: %v among evidence %v, %v, %v and %+v", x, v, m.evidence(), m.peak(), m.proof(), e)
						}
					}
					if math.IsNaN(low) || math.IsNaN(high) || low > high || math.IsNaN(m.remaining(20)) {
						r.Fatalf("after %+v: interval %v to %v, needs %v", x, low, high, m.remaining(20))
					}
				}
			})
		})
	}
}

// worsen makes one thing of the canary's reading worse.
func worsen(m delivery.Metric, v Value) (Value, bool) {
	switch m.Kind {
	case delivery.KindShare:
		v.Sum++
		return v, v.Sum <= v.N
	case delivery.KindCount:
		v.Sum++
		return v, v.N > 0
	case delivery.KindLatency:
		slow := map[int]uint32{}
		moved := false
		for bin, n := range v.Bins {
			slow[bin] += n
			if n > 0 && !moved {
				moved = true
				slow[bin]--
				slow[1200]++
			}
		}
		v.Bins = slow
		return v, moved
	case delivery.KindMean, delivery.KindLevel:
	}
	return v, false
}

// One more failure, event or slow answer of the canary never lowers the evidence
// against it and never raises that for it. What is said later is tempered by how
// much this block swung, and so is another matter.
func TestKindsAreMonotone(t *testing.T) {
	for _, name := range []string{"share", "count", "latency"} {
		k := kinds[name]
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				a, b := newKind(k.metric), newKind(k.metric)
				n := rapid.IntRange(1, 40).Draw(r, "readings")
				for i := range n {
					x := drawReading(r, k.metric)
					a.observe(x)
					if worse, ok := worsen(k.metric, x.Canary); i == n-1 && ok {
						x.Canary = worse
					}
					b.observe(x)
					if !atLeast(b.evidence(), a.evidence()) || !atLeast(a.proof(), b.proof()) {
						r.Fatalf("one more moves the evidence against from %v to %v, for from %v to %v", a.evidence(), b.evidence(), a.proof(), b.proof())
					}
				}
			})
		})
	}
}

// Rates of any size, events in any number and borders of either sign give numbers.
func TestRatesOfAnySize(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		size := func(name string, from, to float64) float64 {
			return math.Pow(10, rapid.Float64Range(from, to).Draw(r, name))
		}
		p := pair{nb: size("nb", -9, 12), nc: size("nc", -9, 12), xb: size("xb", -3, 12), xc: size("xc", -3, 12)}
		l := line{size("r", 0, 3), rapid.SampledFrom([]float64{-1, 0, 1}).Draw(r, "sign") * size("a", -12, 6)}
		sb, sc := size("sb", -13, 9), size("sc", -13, 9)
		if v := l.logRate(p, sb, sc); !isFinite(v) {
			r.Fatalf("logRate(%+v, %v, %v) on %+v = %v", p, sb, sc, l, v)
		}
		qb, qc := l.nearestRates(p.nb, p.nc, sb, sc)
		if !(qb > 0 && qc > 0) || math.Abs(qc-l.at(qb)) > 1e-9*(qc+l.r*qb+math.Abs(l.a)) {
			r.Fatalf("nearestRates(%v, %v, %v, %v) on %+v = (%v, %v)", p.nb, p.nc, sb, sc, l, qb, qc)
		}
	})
}

// A block that comes in parts of the same ratio of the arms gives what it gives in
// one, as long as nothing is learned in between; and in whatever order its shards
// are summed.
func TestPartsAddUp(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		one := rapid.Float64Range(.001, .3)
		sb, sc := one.Draw(r, "sb"), one.Draw(r, "sc")
		l := rapid.SampledFrom([]line{{1, 0}, {1.2, 0}, {1, .01}, {2, .02}, {1, -.02}}).Draw(r, "line")
		draw := func(times float64) pair {
			return pair{9 * times, float64(rapid.IntRange(0, 9).Draw(r, "xb")), 4 * times, float64(rapid.IntRange(0, 4).Draw(r, "xc"))}
		}
		p, q := draw(1), draw(3)
		all := pair{p.nb + q.nb, p.xb + q.xb, p.nc + q.nc, p.xc + q.xc}
		for name, f := range map[string]func(pair) float64{
			"shares": func(p pair) float64 { return l.logE(p, sb, sc) },
			"rates":  func(p pair) float64 { return l.logRate(p, sb, sc) },
			"pairs":  func(p pair) float64 { return l.logPaired(p.nb+p.nc, p.xb, p.xc, sb, sc) },
		} {
			parts, whole := f(p)+f(q), f(all)
			if math.Abs(parts-whole) > 1e-9*(1+math.Abs(parts)) {
				r.Fatalf("%s: log S = %v in parts, %v in one", name, parts, whole)
			}
			if k := one.Draw(r, "keep"); math.Abs(f(all.times(k))-k*whole) > 1e-9*(1+math.Abs(whole)) {
				r.Fatalf("%s: log S = %v of the share %v, %v of all", name, f(all.times(k)), k, whole)
			}
		}
		s, u := side{1.2, .01, 1}, exactBets[rapid.IntRange(0, 6).Draw(r, "bet")]
		v := values{nb: 9, nc: 4, b: .3, c: .4, qb: 1, qc: .5}
		w := values{nb: 18, nc: 8, b: .6, c: .1, qb: 2, qc: .25}
		both := values{nb: 27, nc: 12, b: .5, c: .2, qb: 3, qc: .75}
		if parts, whole := s.gain(v, u, 0)+s.gain(w, u, 0), s.gain(both, u, 0); math.Abs(parts-whole) > 1e-12 {
			r.Fatalf("means: log S = %v in parts, %v in one", parts, whole)
		}
	})
}
