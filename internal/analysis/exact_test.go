package analysis

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// choose returns the binomial probability of x of n.
func choose(n, x int, p float64) float64 {
	c := 1.0
	for i := range x {
		c *= float64(n-i) / float64(i+1)
	}
	return c * math.Pow(p, float64(x)) * math.Pow(1-p, float64(n-x))
}

// expect returns E[f] over all outcomes of a block of nb and nc units.
func expect(nb, nc int, pb, pc float64, f func(pair) float64) float64 {
	sum := 0.0
	for xb := range nb + 1 {
		for xc := range nc + 1 {
			w := choose(nb, xb, pb) * choose(nc, xc, pc)
			if w > 0 {
				sum += w * f(pair{float64(nb), float64(xb), float64(nc), float64(xc)})
			}
		}
	}
	return sum
}

// along returns points of the square on and beyond a line, on the side of its null.
func along(l line, under bool) [][2]float64 {
	var points [][2]float64
	for i := range 41 {
		pb := float64(i) / 40
		if i%2 == 1 {
			pb = math.Pow(10, -float64(i)/8)
		}
		pc := l.at(pb)
		for _, d := range []float64{0, 1e-9, 1e-3, .02, .1, .5} {
			p := pc + d
			if under {
				p = pc - d
			}
			if p >= 0 && p <= 1 {
				points = append(points, [2]float64{pb, p})
			}
		}
		if under && pc > 1 || !under && pc < 0 {
			points = append(points, [2]float64{pb, min(max(pc, 0), 1)})
		}
	}
	return points
}

// One block's e-variable has expectation at most 1 in every point of its null:
// inside, on the border and at the projection itself.
func TestBlockIsEVariable(t *testing.T) {
	const slack = 1 + 1e-12
	r := rand.New(rand.NewPCG(21, 1))
	worst := 0.0
	for range 400 {
		l := []line{{1, 0}, {1.2, 0}, {1, .001}, {2, .002}, {1, -.05}, {1, -.5}, {3, .3}, {1, .7}}[r.IntN(8)]
		nb, nc := 1+r.IntN(9), 1+r.IntN(9)
		sb := inside(math.Pow(10, -5*r.Float64()) * .95)
		from := min(max(l.at(sb), least), most)
		sc := timesOdds(from, multiples[r.IntN(len(multiples))])
		under := r.IntN(2) == 0
		if !under {
			sc = timesOdds(from, 1/multiples[r.IntN(len(multiples))])
		}
		if under && sc <= l.at(sb) || !under && sc >= l.at(sb) {
			continue
		}
		qb, qc := l.project(float64(nb), float64(nc), sb, sc)
		for _, p := range append(along(l, under), [2]float64{qb, qc}) {
			e := expect(nb, nc, p[0], p[1], func(p pair) float64 { return math.Exp(l.logE(p, sb, sc)) })
			worst = max(worst, e)
			if e > slack {
				t.Fatalf("E[S] = 1%+.3g at (%v, %v) of line %+v, alternative (%v, %v), %d and %d units", e-1, p[0], p[1], l, sb, sc, nb, nc)
			}
		}
	}
	t.Logf("largest E[S] - 1 is %.3g", worst-1)
}

// The rollback null of errors is a union of half-planes; the smaller e-variable
// is valid on all of it.
func TestSmallerOfTwoIsEVariable(t *testing.T) {
	limits := []line{{2, 0}, {1, .1}}
	for _, sb := range []float64{.01, .05, .1, .2, .4} {
		for _, m := range multiples {
			sc := timesOdds(max(limits[0].at(sb), limits[1].at(sb)), m)
			smaller := func(p pair) float64 {
				return math.Exp(min(limits[0].logE(p, sb, sc), limits[1].logE(p, sb, sc)))
			}
			for _, l := range limits {
				for _, p := range along(l, true) {
					if e := expect(6, 4, p[0], p[1], smaller); e > 1+1e-12 {
						t.Fatalf("E[S] = %v at %v, alternative (%v, %v)", e, p, sb, sc)
					}
				}
			}
		}
	}
}

// Why the smaller is taken in every block: when the base rate crosses the
// corner of the null, the smaller of the two products is no e-process.
func TestSmallerOfProductsIsNotValid(t *testing.T) {
	limits := [2]line{{2, 0}, {1, .2}}
	const n = 20
	path := [2][2]float64{{.02, .22}, {.45, .9}} // each on the border of the null
	var products, blocks float64
	type outcome struct{ w, s1, s2 float64 }
	var first, second []outcome
	for i, p := range path {
		sb := p[0]
		sc := timesOdds(p[1], 2)
		expect(n, n, p[0], p[1], func(c pair) float64 {
			o := outcome{
				choose(n, int(c.xb), p[0]) * choose(n, int(c.xc), p[1]),
				math.Exp(limits[0].logE(c, sb, sc)), math.Exp(limits[1].logE(c, sb, sc)),
			}
			if i == 0 {
				first = append(first, o)
			} else {
				second = append(second, o)
			}
			return 0
		})
	}
	for _, a := range first {
		for _, b := range second {
			products += a.w * b.w * min(a.s1*b.s1, a.s2*b.s2)
			blocks += a.w * b.w * min(a.s1, a.s2) * min(b.s1, b.s2)
		}
	}
	if products <= 1 {
		t.Errorf("E[min of products] = %v; the example no longer shows the trap", products)
	}
	if blocks > 1+1e-12 {
		t.Errorf("E[product of mins] = %v, want at most 1", blocks)
	}
	t.Logf("E[min of products] = %.4g, E[product of mins] = %.4g", products, blocks)
}

// worstStop returns the largest E[E_tau] that an adversary reaches who picks
// the point of the null before each block, and when to stop, from all that was seen.
func worstStop[S any](state S, blocks int, points [][2]float64, nb, nc int, step func(S, pair) S, value func(S) float64) float64 {
	best := value(state)
	if blocks == 0 {
		return best
	}
	next := make([]float64, 0, (nb+1)*(nc+1))
	for xb := range nb + 1 {
		for xc := range nc + 1 {
			s := step(state, pair{float64(nb), float64(xb), float64(nc), float64(xc)})
			next = append(next, worstStop(s, blocks-1, points, nb, nc, step, value))
		}
	}
	for _, p := range points {
		best = max(best, expect(nb, nc, p[0], p[1], func(o pair) float64 { return next[int(o.xb)*(nc+1)+int(o.xc)] }))
	}
	return best
}

func (e errorTest) clone() errorTest {
	e.against.log = slices.Clone(e.against.log)
	e.promote.log = slices.Clone(e.promote.log)
	e.bounds = slices.Clone(e.bounds)
	return e
}

// Against an adversary over three blocks, with a restart after each of them and
// a new step after the second, the evidence stays an e-process.
func TestAdversarialStopping(t *testing.T) {
	policy := Defaults(delivery.JudgePolicy{ErrorRatio: 1.5, ErrorAdd: .05, PromoteErrorRatio: 2, PromoteErrorAdd: .1})
	start := newErrorTest(policy, Arm{Units: 1000, Bad: 60})
	start.bounds = []bound{{line: line{1, .05}, up: true}, {line: line{1, -.02}}, {line: line{1, .2}}}
	step := func(e errorTest, p pair) errorTest {
		e = e.clone()
		e.against.blocks, e.promote.blocks = restartEvery-1, restartEvery-1
		e.observe(p, math.Inf(1))
		if e.seen.blocks == 2 {
			e.against.restart()
		}
		return e
	}
	under := func(p [2]float64) bool { return p[1] <= max(1.5*p[0], p[0]+.05) }
	over := func(p [2]float64) bool { return p[1] >= 2*p[0]+.1 }
	grid := func(in func([2]float64) bool, borders ...line) (points [][2]float64) {
		for _, l := range borders {
			for _, pb := range []float64{0, .01, .06, .1, .2, .45, .6} {
				points = append(points, [2]float64{pb, l.at(pb)})
			}
		}
		for _, pb := range []float64{0, .06, .3, .9} {
			for _, pc := range []float64{0, .06, .5, 1} {
				points = append(points, [2]float64{pb, pc})
			}
		}
		return slices.DeleteFunc(points, func(p [2]float64) bool { return p[1] > 1 || p[1] < 0 || !in(p) })
	}
	for _, c := range []struct {
		name   string
		points [][2]float64
		value  func(errorTest) float64
	}{
		{
			"rollback", grid(under, line{1.5, 0}, line{1, .05}),
			func(e errorTest) float64 { return math.Exp(e.against.evidence()) },
		},
		{"promotion", grid(over, line{2, .1}), func(e errorTest) float64 { return math.Exp(e.promote.evidence()) }},
		{
			"lower bound", grid(func(p [2]float64) bool { return p[1] <= p[0]+.05 }, line{1, .05}),
			func(e errorTest) float64 { return math.Exp(logMean(e.bounds[0].log[:])) },
		},
		{
			"upper bound", grid(func(p [2]float64) bool { return p[1] >= p[0]-.02 }, line{1, -.02}),
			func(e errorTest) float64 { return math.Exp(logMean(e.bounds[1].log[:])) },
		},
		{
			"far upper bound", grid(func(p [2]float64) bool { return p[1] >= p[0]+.2 }, line{1, .2}),
			func(e errorTest) float64 { return math.Exp(logMean(e.bounds[2].log[:])) },
		},
	} {
		if e := worstStop(start, 3, c.points, 3, 2, step, c.value); e > 1+1e-9 {
			t.Errorf("%s: an adversary reaches E = %v, want at most 1", c.name, e)
		} else {
			t.Logf("%s: an adversary over %d points reaches E = 1%+.2g", c.name, len(c.points), e-1)
		}
		if e := worstStop(start, 3, [][2]float64{{0, 1}, {1, 0}}, 3, 2, step, c.value); e < 1.01 {
			t.Errorf("%s: where the null is false E = %v, want more than 1: the test would be blind", c.name, e)
		}
	}
}

// histograms lists all ways to put n units on the bins, with their chances.
func histograms(n int, bins []int, p []float64) (arms []Arm, chance []float64) {
	var fill func(i, left int, a map[int]uint32, w float64)
	fill = func(i, left int, a map[int]uint32, w float64) {
		if i == len(bins)-1 {
			last := map[int]uint32{bins[i]: uint32(left)}
			maps.Copy(last, a)
			arms = append(arms, Arm{Units: uint64(n), Bins: last})
			chance = append(chance, w*math.Pow(p[i], float64(left)))
			return
		}
		for k := range left + 1 {
			ways := choose(left, k, .5) * math.Pow(2, float64(left))
			a[bins[i]] = uint32(k)
			fill(i+1, left-k, a, w*ways*math.Pow(p[i], float64(k)))
		}
		delete(a, bins[i])
	}
	fill(0, n, map[int]uint32{}, 1)
	return arms, chance
}

func (l *latencyTest) clone() *latencyTest {
	c := *l
	c.thresholds, c.proofs = slices.Clone(l.thresholds), slices.Clone(l.proofs)
	for i := range c.thresholds {
		c.thresholds[i].against.log = slices.Clone(c.thresholds[i].against.log)
	}
	for i := range c.proofs {
		c.proofs[i].promote.log = slices.Clone(c.proofs[i].promote.log)
	}
	c.cold.against = slices.Clone(l.cold.against)
	for i := range c.cold.against {
		c.cold.against[i] = c.cold.against[i].clone()
	}
	return &c
}

// latencyGame is played by an adversary who picks both arms' times before each
// block, and when to stop, from all that was seen.
type latencyGame struct {
	stable        int // units in a block
	canary        int
	bins          []int       // stable's
	shares        [][]float64 // that both arms may have on their bins
	canaries      [][]int     // bins that the canary may have
	fresh         [][]int     // bins that it may have in a second in which its instances are fresh
	before, after func(*latencyTest, Block)
	value         func(*latencyTest) float64
}

// worst returns the largest E[E_tau] that the adversary reaches.
func (g latencyGame) worst(l *latencyTest, blocks int) float64 {
	best := g.value(l)
	if blocks == 0 {
		return best
	}
	for i, bins := range slices.Concat(g.canaries, g.fresh) {
		fresh := i >= len(g.canaries)
		var values []float64 // of what follows each outcome; they do not depend on the chances
		for _, p := range g.shares {
			sa, sw := histograms(g.stable, g.bins, p)
			ca, cw := histograms(g.canary, bins, p)
			if values == nil {
				for i := range sa {
					for k := range ca {
						b, next := Block{Stable: sa[i], Canary: ca[k], Fresh: fresh}, l.clone()
						g.before(next, b)
						next.observe(b, math.Inf(1))
						g.after(next, b)
						values = append(values, g.worst(next, blocks-1))
					}
				}
			}
			sum := 0.0
			for i, w := range sw {
				for k, v := range cw {
					sum += w * v * values[i*len(cw)+k]
				}
			}
			best = max(best, sum)
		}
	}
	return best
}

// The whole latency family, thresholds and shifts included, is an e-process for
// canaries that are slower by the margin at most, and its promotion tests are
// for canaries that are slower by the promotion margin at least: also when after
// every block all thresholds are chosen again, from that block more than from
// all before it, and the mixtures restart.
func TestLatencyIsEProcess(t *testing.T) {
	const mid = 700
	bins := []int{mid, mid + 150, mid + 300}
	tuning := Arm{Units: 1000, Bins: map[int]uint32{mid: 600, mid + 150: 300, mid + 300: 100}}
	start := newLatencyTest(Defaults(delivery.JudgePolicy{LatencyAdd: 1, PromoteLatencyAdd: 1}), tuning)
	for i := range start.proofs {
		start.proofs[i].bounds = nil
	}
	shift := func(by ...int) (all [][]int) {
		for _, k := range by {
			all = append(all, []int{bins[0] + k, bins[1] + k, bins[2] + k})
		}
		return all
	}
	restart := func(l *latencyTest, _ Block) {
		for k := range l.thresholds {
			l.thresholds[k].against.restart()
		}
	}
	forget := func(l *latencyTest, units float64) { // all but that
		const parts = 1 << 20
		w := window{units: units, each: units / parts}
		for i := range w.within {
			w.within[i] = uint32(math.Round(l.recent.within(i) / l.recent.units() * parts))
		}
		l.recent = recent{full: w}
	}
	var places map[[2]int]bool
	retune := func(l *latencyTest, b Block) {
		restart(l, b)
		for i := range l.thresholds {
			l.place(&l.thresholds[i])
		}
		for i := range l.proofs {
			l.placeProof(&l.proofs[i])
		}
		forget(l, 1)
		places[[2]int{l.thresholds[0].bin, l.proofs[2].bin}] = true
	}
	asIs := func(*latencyTest, Block) {}
	lookAhead := func(l *latencyTest, b Block) {
		forget(l, 1e-9)
		l.load(b)
		l.recent.add(b.Stable.Units, &l.scratch[0])
		retune(l, b)
	}
	against := func(l *latencyTest) float64 { return math.Exp(l.evidence()) }
	passes := func(i int) func(*latencyTest) float64 {
		return func(l *latencyTest) float64 { return math.Exp(l.proofs[i].promote.evidence()) }
	}
	fixed := latencyGame{stable: 2, canary: 2, bins: bins, shares: [][]float64{{.6, .3, .1}, {.1, .1, .8}, {1, 0, 0}}, before: asIs, after: restart}
	moving := fixed
	moving.canary, moving.after = 1, retune
	moving.shares = append(slices.Clone(moving.shares), []float64{0, 1, 0}, []float64{0, .1, .9})
	for _, c := range []struct {
		name     string
		canaries [][]int
		blocks   int // with moving thresholds
		value    func(*latencyTest) float64
	}{
		{"rollback, within the margin", shift(0, 5), 2, against},
		{"rollback, now faster by far", shift(-150, 5), 3, against},
		{"promotion p50, beyond the bound", shift(22, 60), 2, passes(0)},
		{"promotion p95, beyond the bound", shift(22, 60), 2, passes(1)},
		{"promotion p99, beyond the bound", shift(22, 200), 2, passes(2)},
	} {
		for kind, g := range map[string]latencyGame{"fixed": fixed, "moving": moving} {
			places = map[[2]int]bool{}
			g.canaries, g.value = c.canaries, c.value
			l, blocks := start.clone(), 2
			if kind == "moving" {
				forget(l, 1)
				blocks = c.blocks
			}
			e := g.worst(l, blocks)
			if e > 1+1e-9 {
				t.Errorf("%s, %s thresholds: an adversary reaches E = %v, want at most 1", c.name, kind, e)
			}
			if kind == "moving" && len(places) < 3 {
				t.Errorf("%s: the thresholds were at %d places, want at least 3", c.name, len(places))
			}
			t.Logf("%s, %s thresholds: an adversary reaches E = 1%+.2g (%d places)", c.name, kind, e-1, len(places))
		}
	}
	places = map[[2]int]bool{}
	for name, g := range map[string]latencyGame{"fixed": fixed, "moving": moving} {
		g.canaries, g.value = shift(8), against
		if e := g.worst(start.clone(), 2); e <= 1.001 {
			t.Errorf("beyond the margin, %s thresholds: E = %v, want more than 1: the test would be blind", name, e)
		}
	}
	// What must not be done: thresholds that know the block they judge.
	moving.before, moving.canaries, moving.value = lookAhead, shift(0), against
	l := start.clone()
	forget(l, 1)
	if e := moving.worst(l, 2); e <= 1.001 {
		t.Errorf("with thresholds chosen from the block itself E = %v, want more than 1: the adversary is too weak", e)
	} else {
		t.Logf("with thresholds chosen from the block itself E = %.4g", e)
	}
}

// An adversary who makes instances fresh and warm as it likes, with a canary that
// is within the margin while warm and within the wide one while fresh, gains nothing.
func TestFreshIsEProcess(t *testing.T) {
	const mid = 700
	bins := []int{mid, mid + 300}
	start := newLatencyTest(Defaults(delivery.JudgePolicy{LatencyAdd: 1, PromoteLatencyAdd: 1}), Arm{Units: 1000, Bins: map[int]uint32{mid: 600, mid + 300: 400}})
	start.proofs = nil
	by := func(k int) [][]int { return [][]int{{bins[0] + k, bins[1] + k}} }
	whole := func(l *latencyTest) float64 { // whether what is fresh becomes better or not
		if l.cold.against == nil {
			return math.Exp(l.warm())
		}
		logs := []float64{l.cold.against[0].evidence(), l.cold.against[1].evidence()}
		return (1-coldShare)*math.Exp(l.warm()) + math.Exp(l.cold.stake+logMean(logs))
	}
	nothing := func(*latencyTest, Block) {}
	g := latencyGame{
		stable: 2, canary: 1, bins: bins, shares: [][]float64{{.6, .4}, {.1, .9}, {1, 0}}, canaries: by(5), fresh: by(139),
		before: nothing, after: nothing, value: whole,
	}
	if e := g.worst(start.clone(), 3); e > 1+1e-9 {
		t.Errorf("an adversary reaches E = %v, want at most 1", e)
	}
	g.fresh = by(145)
	if e := g.worst(start.clone(), 3); e < 1.001 {
		t.Errorf("beyond the wide margin E = %v, want more than 1: the test would be blind", e)
	}
	rapid.Check(t, func(r *rapid.T) { // a share that is taken is not made
		e := rapid.Float64Range(-50, 50).Draw(r, "evidence")
		m := newMirror(.01)
		m.begin(e)
		c := cold{against: []mixture{newMixture(7), newMixture(7)}, stake: e + math.Log(coldShare)}
		if a, b := m.join(e), c.join(e); math.Abs(a-e) > 1e-9 || math.Abs(b-e) > 1e-9 {
			r.Fatalf("evidence of %v becomes %v and %v when others join", e, a, b)
		}
	})
}

// slowly finds the minimum by 200 bisections of the sign of the derivative.
func slowly(nb, nc, sb, sc float64, l line) float64 {
	lo, hi := max(0, -l.a/l.r), min(1, (1-l.a)/l.r)
	for range 200 {
		q := lo + (hi-lo)/2
		w := l.at(q)
		if w >= 1 || w > 0 && q > 0 && nb*(q-sb)/(q*(1-q))+l.r*nc*(w-sc)/(w*(1-w)) > 0 {
			hi = q
		} else {
			lo = q
		}
	}
	return lo
}

func checkProjection(t *testing.T, nb, nc, sb, sc float64, l line) {
	t.Helper()
	qb, qc := l.project(nb, nc, sb, sc)
	if !(qb > 0 && qb <= 1 && qc > 0 && qc <= 1) {
		t.Fatalf("project(%v, %v, %v, %v) on %+v = (%v, %v), want inside the square", nb, nc, sb, sc, l, qb, qc)
	}
	if v := l.logE(pair{nb, nb, nc, nc}, sb, sc); math.IsNaN(v) || math.IsInf(v, 0) {
		t.Fatalf("logE = %v on %+v", v, l)
	}
	if max(qb, qc) > nearlyOne {
		return // not used
	}
	if d := math.Abs(qc - l.at(qb)); d > 4e-16*(1+math.Abs(l.a)+l.r) {
		t.Fatalf("project(%v, %v, %v, %v) on %+v is %v off the line", nb, nc, sb, sc, l, d)
	}
	if want := slowly(nb, nc, sb, sc, l); math.Abs(qb-want) > 1e-9*want+1e-15 {
		t.Fatalf("project(%v, %v, %v, %v) on %+v = %v, bisection says %v", nb, nc, sb, sc, l, qb, want)
	}
	// The two pulls cancel, to what one step between neighbouring floats changes.
	one, dd1 := arm{nb, sb}.pull(qb)
	two, dd2 := arm{nc, sc}.pull(qc)
	g, ulp := one+l.r*two, 4e-16*((dd1+l.r*l.r*dd2)*(qb+math.Abs(l.a))+math.Abs(one)+l.r*math.Abs(two))
	if math.Abs(g) > max(ulp*16, 1e-9*(math.Abs(one)+l.r*math.Abs(two))) {
		t.Fatalf("gradient %v at project(%v, %v, %v, %v) on %+v, want 0 within %v", g, nb, nc, sb, sc, l, ulp)
	}
}

func TestProjection(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 8))
	for range 5000 {
		l := line{1 + 2*r.Float64(), .9*r.Float64() - .3}
		if r.IntN(3) == 0 {
			l = line{1.2, 0}
		}
		share := func() float64 { return inside(math.Pow(10, -6*r.Float64())) }
		size := func() float64 { return math.Ceil(math.Pow(10, 9*r.Float64())) }
		checkProjection(t, size(), size(), share(), share(), l)
	}
}

func FuzzProjection(f *testing.F) {
	f.Add(450.0, 50.0, .005, .05, 1.2, 0.0)
	f.Add(1e9, 1.0, 1e-6, 1-1e-6, 2.0, .002)
	f.Add(1.0, 1e9, .5, .5, 1.0, -.7)
	f.Add(3.0, 2.0, .99, .001, 3.0, .7)
	f.Fuzz(func(t *testing.T, nb, nc, sb, sc, r, a float64) {
		for _, v := range []float64{nb, nc, sb, sc, r, a} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Skip()
			}
		}
		nb, nc = min(max(math.Abs(nb), 1), 1e9), min(max(math.Abs(nc), 1), 1e9)
		l := line{min(max(math.Abs(r), 1), 1000), math.Mod(a, .95)}
		checkProjection(t, nb, nc, inside(math.Abs(math.Mod(sb, 1))), inside(math.Abs(math.Mod(sc, 1))), l)
	})
}
