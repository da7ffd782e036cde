package sim

import (
	"math"
	"math/rand/v2"

	"github.com/slipway-cd/slipway/internal/analysis"
)

// epoch is the Unix second in which every rollout begins.
const epoch = 1_800_000_000

// settle is how long after its second a request that has no answer is Open, in seconds.
const settle = 2.5

// side is what one release did in one second, request by request, as a scrape
// of both would show it.
type side struct {
	n, bad uint64
	timed  bool                  // somebody measures times
	hist   [analysis.Bins]uint32 // of all requests
}

// quantile returns the time within which the share q of answers came, in seconds.
func (s *side) quantile(q float64) float64 {
	var sum float64
	for i, n := range &s.hist {
		if sum += float64(n); n > 0 && sum >= q*float64(s.n) {
			return analysis.Edge(i)
		}
	}
	return 0
}

// mean returns the mean time, in seconds.
func (s *side) mean() float64 {
	sum := 0.0
	for i, n := range &s.hist {
		sum += float64(n) * analysis.Edge(i)
	}
	return sum / float64(max(s.n, 1))
}

func (s *side) add(o *side) {
	s.n += o.n
	s.bad += o.bad
	if s.timed = o.timed; !o.timed {
		return
	}
	for i, n := range &o.hist {
		s.hist[i] += n
	}
}

// second is all that one second brought.
type second struct {
	at             int // since the rollout began
	step           int
	weight         float64 // as the router says it
	mixed          bool    // the weight changed in it
	stable, canary *side
	block          analysis.Block // as the data plane counts it
	repeat         bool           // the block comes twice

	pb, pc float64    // what was true, for the oracle
	times  [2]*times  // likewise
	world  *blueprint // that it is of
}

// blueprint is a scenario and what can be worked out once for all repetitions.
type blueprint struct {
	Scenario
	stable, canary *times // nil where nobody measures times
}

func draft(s Scenario) *blueprint {
	b := &blueprint{Scenario: s}
	if s.Times != nil {
		b.stable = newTimes(s.Times.cdf)
		b.canary = b.stable
		if s.Slow != (Slow{}) {
			b.canary = newTimes(s.Slow.of(*s.Times))
		}
	}
	return b
}

// world is one repetition under way.
type world struct {
	*blueprint
	r       *rand.Rand
	out     second
	sides   [2]side
	late    []side // of stable, that the sensor dates late
	weights []float64
	since   int // second of the last change of the weight
	began   int // first second of the first step
	crowd   *crowd
	pods    [2][]int // second until which each instance is in trouble
}

// enter returns the world of a repetition, and stable's counts from before.
func enter(b *blueprint, rep int) (*world, analysis.Arm) {
	w := &world{blueprint: b, r: dice(b.Name, rep)}
	w.out.stable, w.out.canary, w.out.world = &w.sides[0], &w.sides[1], b
	if b.Pods != nil {
		w.pods = [2][]int{make([]int, b.Pods.Stable), make([]int, b.Pods.Canary)}
	}
	before := b.Before
	if before == 0 {
		before = 60
	}
	var baseline analysis.Arm
	if b.Keys != nil {
		w.crowd = newCrowd(w)
		for t := -before; t < 0; t++ {
			w.crowd.second(t, 0, w.errors(t), [2]int{w.pace(t), w.pace(t)})
			baseline = sum(baseline, w.crowd.arm(0))
		}
	} else if before > 0 {
		pb := w.errors(0)[0]
		w.fill(0, poisson(w.r, b.RPS.at(0)*float64(before)), pb)
		w.time(0, w.pace(0))
		baseline = sum(baseline, w.arm(0))
	}
	return w, baseline
}

func sum(a, b analysis.Arm) analysis.Arm {
	if a.Bins == nil {
		a.Bins = map[int]uint32{}
	}
	a.Units += b.Units
	a.Bad += b.Bad
	a.Open += b.Open
	for bin, n := range b.Bins {
		a.Bins[bin] += n
	}
	return a
}

// second lets one pass under the weight that was asked for.
func (w *world) second(t, step int, weight float64, mixed bool) *second {
	w.weights = append(w.weights, weight)
	if mixed {
		w.since = t
	}
	o := &w.out
	o.at, o.step, o.weight, o.mixed = t, step, weight, mixed
	o.repeat = w.Sensor.Repeat > 0 && t%w.Sensor.Repeat == w.Sensor.Repeat-1
	force := w.force(t)
	p := w.errors(t)
	pace := [2]int{w.pace(t), w.pace(t)}
	fresh := w.warm(t, &p, &pace)
	o.pb, o.pc, o.times = p[0], p[1], [2]*times{w.stable, w.canary}

	o.block = analysis.Block{Second: epoch + int64(t+w.clock(t)), Weight: weight, Fresh: fresh}
	if w.crowd != nil {
		w.crowd.second(t, force, p, pace)
		w.crowd.request(&w.sides)
		o.block.Stable, o.block.Canary = w.crowd.arm(0), w.crowd.arm(1)
	} else {
		rps := w.RPS.at(t)
		w.fill(0, poisson(w.r, rps*(1-force)), p[0])
		w.fill(1, poisson(w.r, rps*force), p[1])
		lost := w.lose()
		w.time(0, pace[0])
		w.time(1, pace[1])
		w.delay()
		o.block.Stable, o.block.Canary = w.arm(0), w.arm(1)
		o.block.Canary.Lost = lost
	}
	o.block.Readings = w.readings(o.block.Stable.Units, o.block.Canary.Units)
	return o
}

// force returns the weight that is in force, which need not be that asked for.
func (w *world) force(t int) float64 {
	share := w.weights[max(t-w.Router.Lag, 0)]
	if w.Router.Lag > t {
		share = 0
	}
	if w.Router.Skew > 0 {
		share *= w.Router.Skew
	}
	if k := w.Router.Least; k > 0 && share > 0 {
		s, c := &w.sides[0], &w.sides[1]
		lead := float64(c.bad)/float64(max(c.n, 1)) - float64(s.bad)/float64(max(s.n, 1))
		odds := share / (1 - share) * math.Exp(k*lead)
		share = odds / (1 + odds)
	}
	return share
}

// errors returns the shares of both arms.
func (w *world) errors(t int) [2]float64 {
	p := w.Errors.at(t)
	if w.Noise > 0 {
		p *= math.Exp(w.Noise*w.r.NormFloat64() - w.Noise*w.Noise/2)
	}
	p = min(p, 1)
	both := [2]float64{p, p}
	if t >= 0 {
		both[1] = w.Effect.on(p, t, w.out.weight)
	}
	if w.Pods != nil {
		for arm := range both {
			both[arm] += w.down(arm, t) * (w.Pods.Errors - both[arm])
		}
	}
	return both
}

// down returns the share of an arm's instances that are in trouble.
func (w *world) down(arm, t int) float64 {
	n := 0
	for i := range w.pods[arm] {
		until := &w.pods[arm][i]
		if t >= *until && w.r.Float64()*w.Pods.Every < 1 {
			*until = t + 1 + geometric(w.r, w.Pods.For-1)
		}
		if t < *until {
			n++
		}
	}
	return float64(n) / float64(max(len(w.pods[arm]), 1))
}

// pace returns by how many bins all times are longer.
func (w *world) pace(t int) int {
	if w.Pace == nil {
		return 0
	}
	return bins(w.Pace.at(t))
}

// warm makes new instances slow, and says whether the judge is told so.
func (w *world) warm(t int, p *[2]float64, pace *[2]int) bool {
	c := w.Cold
	if c == nil {
		return false
	}
	since := w.since
	if c.Once {
		since = w.began
	}
	age := t - since
	if left := 1 - float64(age)/float64(c.For); left > 0 {
		p[1] = min(p[1]+c.Add*left, 1)
		pace[1] += bins(1 + (c.Pace-1)*left)
	}
	return age < cold && !c.Hidden
}

// cold is what the judge takes for a new instance, in seconds.
const cold = 30

// clock returns by how much the clock is wrong.
func (w *world) clock(t int) int {
	s := w.Sensor
	if s.Step == 0 || t < s.StepAt || s.StepBack > 0 && t >= s.StepBack {
		return 0
	}
	return s.Step
}

// fill makes the requests of one arm.
func (w *world) fill(arm int, n uint64, p float64) {
	w.sides[arm].n, w.sides[arm].bad = n, binomial(w.r, n, p)
}

// time makes how long they took.
func (w *world) time(arm, pace int) {
	s := &w.sides[arm]
	if s.timed = w.stable != nil; !s.timed {
		return
	}
	s.hist = [analysis.Bins]uint32{}
	dist := w.stable
	if arm == 1 {
		dist = w.canary
	}
	for range s.n {
		s.hist[dist.bin(w.r, pace)]++
	}
}

// arm returns what the data plane counts of an arm whose requests are independent:
// each is a caller of its own, drawn once.
func (w *world) arm(i int) analysis.Arm {
	s := &w.sides[i]
	a := analysis.Arm{Units: s.n, Bad: s.bad, Drawn: s.n}
	if w.stable != nil {
		a.Bins, a.Open = binned(&s.hist)
	}
	return a
}

// binned splits a histogram into answers and what is open when the block closes.
func binned(hist *[analysis.Bins]uint32) (map[int]uint32, uint64) {
	last := analysis.Bin(settle)
	answers, open := make(map[int]uint32, 256), uint64(0)
	for i, n := range hist {
		switch {
		case n == 0:
		case i > last:
			open += uint64(n)
		default:
			answers[i] = n
		}
	}
	return answers, open
}

// lose takes away what the sensor loses, and returns how many requests were
// carried to the canary and never heard of again.
func (w *world) lose() uint64 {
	s := w.Sensor
	w.thin(&w.sides[0], s.LoseStable, s.LoseStable)
	w.thin(&w.sides[1], s.LoseCanary, 1-(1-s.LoseCanary)*(1-s.LoseBad))
	return w.thin(&w.sides[1], s.Vanish, s.Vanish)
}

// thin takes away a share of the good and of the bad requests.
func (w *world) thin(s *side, good, bad float64) uint64 {
	if good <= 0 && bad <= 0 {
		return 0
	}
	lostBad := binomial(w.r, s.bad, bad)
	lost := lostBad + binomial(w.r, s.n-s.bad, good)
	s.bad -= lostBad
	s.n -= lost
	return lost
}

// delay makes stable's counts come late, or not at all.
func (w *world) delay() {
	s, stable := w.Sensor, &w.sides[0]
	if s.Shift > 0 {
		w.late = append(w.late, *stable)
		if *stable = (side{}); len(w.late) > s.Shift {
			*stable, w.late = w.late[0], w.late[1:]
		}
	}
	if t := w.out.at; t >= s.Dark[0] && t < s.Dark[1] {
		*stable = side{}
	}
}
