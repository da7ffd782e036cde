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

// busy is a shop whose times were multiplied by noise before the rollout.
func busy(noise float64) service {
	s := shop()
	s.pace = func(second int) float64 {
		if second < 0 {
			return noise
		}
		return 1
	}
	return s
}

// A baseline from a noisy time, in which stable was two or three times slower
// than during the rollout, costs a healthy release little: the thresholds follow
// the rollout's own first units.
func TestNoisyBaseline(t *testing.T) {
	for _, c := range []struct {
		name       string
		rps, share float64
		horizon    int
	}{
		{"a tenth of 500/s", 500, .1, 400},
		{"half of 60/s", 60, .5, 800},
	} {
		median := func(noise float64) float64 {
			const reps = 40
			s := busy(noise)
			s.rps, s.share = c.rps, func(int) float64 { return c.share }
			got, failed := s.repeat(t, reps, c.horizon, delivery.Pass)
			if failed > atMost(reps, .01) {
				t.Errorf("%s, noise %v: %d of %d healthy releases failed", c.name, noise, failed, reps)
			}
			if len(got) < reps*9/10 {
				t.Errorf("%s, noise %v: %d of %d passed in %d s", c.name, noise, len(got), reps, c.horizon)
				return math.Inf(1)
			}
			slices.SortFunc(got, func(a, b ending) int { return cmp.Compare(a.units, b.units) })
			t.Logf("%s, noise %v: %d of %d passed, median %d requests, p90 %d", c.name, noise, len(got), reps, got[len(got)/2].units, got[len(got)*9/10].units)
			return float64(got[len(got)/2].units)
		}
		right := median(1)
		for _, noise := range []float64{2, 3} {
			if n := median(noise); n > 1.3*right {
				t.Errorf("%s, noise %v: %v requests, want at most 30 %% more than %v", c.name, noise, n, right)
			}
		}
	}
}

// While both arms become three times faster and slower again, a release at the
// margin does not fail, a healthy one passes and one at the bound does not.
func TestLatencyDrift(t *testing.T) {
	turn := func(period float64) func(int) float64 { // from 1 down to 1/3 and up again
		return func(second int) float64 {
			return math.Pow(3, -(1-math.Cos(2*math.Pi*float64(max(second, 0))/period))/2)
		}
	}
	rise := func(period float64) func(int) float64 {
		return func(second int) float64 { return 1 / turn(period)(second) }
	}
	leap := func(second int) float64 { // at once, every 40 seconds
		if second/40%2 == 1 {
			return 1. / 3
		}
		return 1
	}
	for _, c := range []struct {
		name string
		pace func(int) float64
	}{
		{"down and up in a minute", turn(60)},
		{"down and up in five minutes", turn(300)},
		{"up and down in a minute", rise(60)},
		{"up and down in five minutes", rise(300)},
		{"leaps", leap},
	} {
		const reps = 30
		s := shop()
		s.pace = c.pace
		got, failed := s.repeat(t, reps, 300, delivery.Pass)
		if failed > atMost(reps, .01) || len(got) < reps*9/10 {
			t.Errorf("%s: %d of %d healthy releases passed, %d failed", c.name, len(got), reps, failed)
			continue
		}
		s.latency = lognormal(1.05, 1)
		alarms, _ := s.repeat(t, reps, 150, delivery.Fail)
		if most := atMost(reps, .01); len(alarms) > most {
			t.Errorf("%s: %d of %d releases at the margin failed, want at most %d", c.name, len(alarms), reps, most)
		}
		s.latency = lognormal(1.25, 1)
		unfit, _ := s.repeat(t, reps, 100, delivery.Pass)
		if most := atMost(reps, .05); len(unfit) > most {
			t.Errorf("%s: %d of %d releases at the bound passed, want at most %d", c.name, len(unfit), reps, most)
		}
		t.Logf("%s: %d of %d passed, median %d s, p90 %d s; at the margin %d of %d failed, at the bound %d passed",
			c.name, len(got), reps, got[len(got)/2].seconds, got[len(got)*9/10].seconds, len(alarms), reps, len(unfit))
	}
}

// An outage of half a minute in which neither arm answers is forgotten soon.
func TestSharedTimeouts(t *testing.T) {
	for _, c := range []struct {
		name       string
		rps, share float64
		median     int // s at most
	}{
		{"a tenth of 500/s", 500, .1, 150},
		{"half of 60/s", 60, .5, 500},
	} {
		const reps = 20
		s := shop()
		s.rps, s.share = c.rps, func(int) float64 { return c.share }
		s.pace = func(second int) float64 {
			if second >= 10 && second < 40 {
				return 1e6
			}
			return 1
		}
		got, failed := s.repeat(t, reps, 900, delivery.Pass)
		if failed > atMost(reps, .01) || len(got) < reps*9/10 {
			t.Errorf("%s: %d of %d passed, %d failed", c.name, len(got), reps, failed)
			continue
		}
		m := got[len(got)/2]
		t.Logf("%s: %d of %d passed, median %d s, %d requests, p90 %d s", c.name, len(got), reps, m.seconds, m.units, got[len(got)*9/10].seconds)
		if m.seconds > c.median {
			t.Errorf("%s: passed after %d s in the median, want at most %d", c.name, m.seconds, c.median)
		}
	}
}

// When thresholds move the counts are those of the whole rollout still, and the
// sentence says what they are counts of; thresholds that never moved are named alone.
func TestWordsOfMovingThresholds(t *testing.T) {
	at := func(n uint32, bins ...int) Arm {
		a := Arm{Bins: map[int]uint32{}}
		for _, bin := range bins {
			a.Bins[bin] += n
			a.Units += uint64(n)
		}
		return a
	}
	// Stable takes 108 ms or less before the rollout, and 48 ms or less in it.
	slow, fast := Bin(.108), Bin(.048)
	j := New(delivery.JudgePolicy{}, at(100, slow, slow-1, slow-2, slow-3))
	var units uint64
	for i := range 60 {
		b := Block{Second: int64(i), Stable: at(25, fast, fast-1, fast-2, fast-3), Canary: at(5, fast, fast-1, fast-2, fast-3)}
		observe(t, j, b)
		units += b.Canary.Units
		for _, c := range j.Verdict().Checks {
			if c.NCanary != units || c.NStable != 5*units || c.Outcome == delivery.NoData {
				t.Fatalf("after %d seconds %s counts %d and %d (%s), want %d and %d", i+1, c.Name, c.NCanary, c.NStable, c.Outcome, units, 5*units)
			}
		}
	}
	v := j.Verdict()
	want := "0 of 1,200 took over stable's recent p99 and the margin (now 50.9 ms), against 0 of 6,000 over that p99 itself (now 48.4 ms)"
	if v.Checks[3].Outcome != delivery.Pass || !strings.HasSuffix(v.Checks[3].Sentence, want) {
		t.Errorf("p99 = %s %q, want pass and … %q", v.Checks[3].Outcome, v.Checks[3].Sentence, want)
	}
	for i := range 60 {
		observe(t, j, Block{Second: int64(100 + i), Stable: at(25, fast, fast-1, fast-2, fast-3), Canary: at(5, fast+20, fast+19, fast+18, fast+17)})
	}
	v = j.Verdict()
	if want = "took over stable's recent " + v.Checks[0].Name + " and the margin (now "; v.Outcome != delivery.Fail || !strings.Contains(v.Sentence, want) {
		t.Errorf("verdict = %s %q, want fail and %q", v.Outcome, v.Sentence, want)
	}
	// Nothing moves for chance alone.
	j = New(delivery.JudgePolicy{}, at(100, slow, slow-1, slow-2, slow-3))
	for i := range 60 {
		observe(t, j, Block{Second: int64(i), Stable: at(25, slow, slow-1, slow-2, slow-3), Canary: at(5, slow, slow-1, slow-2, slow-3)})
	}
	for _, c := range j.Verdict().Checks[1:] {
		if strings.Contains(c.Sentence, "recent") {
			t.Errorf("%s says %q although stable never moved", c.Name, c.Sentence)
		}
	}
}

// What stable did two windows ago is forgotten, a baseline after the first own
// units; what is remembered stays a histogram of bounded size.
func TestRecent(t *testing.T) {
	add := func(r *recent, n uint32, bin int) {
		var l latencyTest
		l.load(Block{Stable: Arm{Units: uint64(n), Bins: map[int]uint32{bin: n}}})
		r.add(uint64(n), &l.scratch[0])
	}
	var r recent
	add(&r, 1_000_000, 900)
	r.discount()
	if r.units() != baselineUnits || r.quantile(.5) != 900 || r.within(899) != 0 {
		t.Fatalf("a baseline of a million units counts for %v, its median at %d; want %d at 900", r.units(), r.quantile(.5), baselineUnits)
	}
	for n := 50; n <= 30_000; n += 50 {
		bin := 700
		if n > 20_000 {
			bin = 800
		}
		add(&r, 50, bin)
		last := 0.0
		for bin := range Bins {
			v := r.within(bin)
			if v < last || v > r.units() {
				t.Fatalf("within bin %d are %v units, before it %v, of %v", bin, v, last, r.units())
			}
			last = v
		}
		if last != r.units() || r.units() > 2*fullWindow || r.units() < min(float64(n)/2, fullWindow) {
			t.Fatalf("after %d units %v of %v are within the histogram, want all of at least %v", n, last, r.units(), min(n/2, fullWindow))
		}
		if n >= firstWindow && r.within(800) != r.units() {
			t.Fatalf("after %d units %v are the baseline's, want 0", n, r.units()-r.within(800))
		}
	}
	if old := r.within(799); old != 0 {
		t.Errorf("%v units of 10,000 ago are remembered", old)
	}
}

// A threshold has strayed when the share above it is off by a tenth and by more than chance.
func TestStrayed(t *testing.T) {
	r := recent{full: window{units: 1000, each: 1}} // one in each bin
	for bin := range r.full.within {
		r.full.within[bin] = min(uint32(bin), 1000)
	}
	for bin, want := range map[int]bool{500: false, 549: false, 551: true, 451: false, 449: true, 0: true, -1: true} {
		if got := r.strayed(bin, .5); got != want {
			t.Errorf("strayed(%d, median) = %v, want %v", bin, got, want)
		}
	}
	for bin, want := range map[int]bool{990: false, 985: false, 983: true, 996: false, 997: true, 1200: true} {
		if got := r.strayed(bin, .99); got != want {
			t.Errorf("strayed(%d, p99) = %v, want %v", bin, got, want)
		}
	}
}

// Moving thresholds take no memory.
func TestObserveAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	s := shop()
	s.pace = func(second int) float64 { return 1 + float64(second%7) }
	blocks := make([]Block, 0, 102)
	j := New(delivery.JudgePolicy{}, s.baseline(r))
	for i := range cap(blocks) {
		blocks = append(blocks, s.block(r, i))
	}
	next, moves := 0, 0
	if n := testing.AllocsPerRun(100, func() {
		before := j.latency.thresholds[0].bin
		if err := j.Observe(blocks[next]); err != nil {
			panic(err)
		}
		next++
		if j.latency.thresholds[0].bin != before {
			moves++
		}
	}); n != 0 {
		t.Errorf("Observe allocates %v times", n)
	}
	if moves < 5 {
		t.Errorf("the median moved %d times, want at least 5", moves)
	}
}
