package analysis

import (
	"fmt"
	"math"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// meanTest judges the mean of values, one a unit. Strata are blocks: stable and
// canary are compared within each, and a base that moves between them moves no
// evidence. Its nulls are those of a count, with the direction that is good: for
// Higher, mean_c >= mean_b / r or >= mean_b - a is acceptable.
//
// With both bounds of a value the values are scaled to [0, 1] and the price of a
// bet is exact: the evidence is an e-process for every distribution, drifting or
// not. Without bounds no test is exact (Bahadur and Savage, 1956). Then values are
// scaled by the deviation that the past shows, a bet is at most 0.3 deviations, the
// first leastValues of each arm are only learned from, and the price is
// asymptotic: an e-process for symmetric values, and for skewed ones in the limit of
// many values a wager (arXiv 2103.06476 gives the same guarantee). Its tests
// simulate exponential and lognormal values.
type meanTest struct {
	refusal
	limits [2]side
	fit    side
	flat   side // fit where stable's mean is negative, and no multiple of it a margin

	low, width float64 // of the values; width 0 is not bounded
	bets       *[7]float64

	b, c    learned
	burst   dispersion
	against mixture
	promote mixture
	ends    meanEnds
	seen    seenMeans
	kept    float64
}

// exactBets and carefulBets are the alternatives. The best bet on a difference d
// is about d over the variance.
var (
	exactBets   = [7]float64{.8, .4, .2, .1, .05, .025, .0125}
	carefulBets = [7]float64{.3, .15, .075, .04, .02, .01, .005}
)

// leastValues of each arm are learned from before an asymptotic test begins.
const leastValues = 100

func newMeanTest(m delivery.Metric, alpha float64) *meanTest {
	t := &meanTest{
		limits:  [2]side{{m.Ratio, 0, 1}, {1, m.Add, 1}},
		fit:     side{m.PromoteRatio, m.PromoteAdd, -1},
		flat:    side{1, m.PromoteAdd, -1},
		bets:    &carefulBets,
		against: newMixture(len(carefulBets)), promote: newMixture(len(carefulBets)),
		ends: meanEnds{limit: endLimit(alpha)}, kept: 1,
	}
	if m.Better == delivery.Higher {
		t.limits = [2]side{{1 / m.Ratio, 0, -1}, {1, -m.Add, -1}}
		t.fit = side{1 / m.PromoteRatio, -m.PromoteAdd, 1}
		t.flat = side{1, -m.PromoteAdd, 1}
	}
	if m.Low != nil && m.High != nil {
		t.low, t.width = *m.Low, *m.High-*m.Low
		t.bets = &exactBets
	}
	return t
}

func (t *meanTest) exact() bool { return t.width > 0 }

func meanProblem(v Value) string {
	switch spread := v.N*v.Squares - v.Sum*v.Sum; {
	case !countable(v.N) || !(math.Abs(v.Sum) <= mostSum) || !(v.Squares >= 0 && v.Squares <= mostSum),
		v.N == 0 && (v.Sum != 0 || v.Squares != 0), spread < -1e-9*v.Sum*v.Sum:
		return fmt.Sprintf("has %v values of sum %v and sum of squares %v", v.N, v.Sum, v.Squares)
	}
	return ""
}

// mostSum bounds sums, so that products of them stay finite.
const mostSum = 1e60

func (t *meanTest) problem(v Value) string {
	why := meanProblem(v)
	if why != "" || !t.exact() || v.N == 0 {
		return why
	}
	x := moments{v.N, v.Sum, v.Squares}
	mean := (x.mean() - t.low) / t.width
	// y^2 <= y for every y from 0 to 1, and so for their sums.
	if slack := 1e-9 * (1 + math.Abs(t.low)/t.width); mean < -slack || mean > 1+slack ||
		x.about(t.low)/(t.width*t.width) > v.N*(mean+slack) {
		return fmt.Sprintf("has values outside of %v to %v", t.low, t.low+t.width)
	}
	return ""
}

func (t *meanTest) observe(r Reading) {
	if !t.usable(r, t.problem) {
		return
	}
	b := moments{r.Stable.N, r.Stable.Sum, r.Stable.Squares}
	c := moments{r.Canary.N, r.Canary.Sum, r.Canary.Squares}
	if r.paired() {
		t.kept = t.burst.keeps(r)
		if low, width, ok := t.scale(); ok {
			t.weigh(t.values(b, c, low, width), low, width)
			t.seen.add(b, c)
		}
	}
	t.learn(b, c)
}

// scale returns what the values are scaled by; ok is false while too few are known.
func (t *meanTest) scale() (low, width float64, ok bool) {
	if t.exact() {
		return t.low, t.width, true
	}
	if min(t.b.since, t.c.since) < leastValues {
		return 0, 0, false
	}
	deviation := math.Sqrt(max(t.b.variance(), t.c.variance()))
	least := 1e-6 * max(math.Abs(t.b.mean()), math.Abs(t.c.mean())) // of values that are all but constant
	width = max(deviation, least)
	return 0, width, width > 1/mostSum
}

// price returns the price of bets: exact with bounds, and else by the skewness
// that the past shows, with caution.
func (t *meanTest) price() price {
	if t.exact() {
		return 0
	}
	return price(1 + caution*max(t.b.skewness(), t.c.skewness()))
}

// values scales a block. Before anything is known of bounded values, the past
// predicts the middle.
func (t *meanTest) values(b, c moments, low, width float64) values {
	pastB, pastC := low+width/2, low+width/2
	if t.b.n > 0 {
		pastB = t.b.mean()
	}
	if t.c.n > 0 {
		pastC = t.c.mean()
	}
	return values{
		nb: b.n, nc: c.n, b: (b.mean() - low) / width, c: (c.mean() - low) / width,
		qb: b.about(pastB) / (width * width), qc: c.about(pastC) / (width * width),
	}
}

func (t *meanTest) weigh(v values, low, width float64) {
	p := t.price()
	one, two := t.limits[0].scaled(low, width), t.limits[1].scaled(low, width)
	fit := t.proves().scaled(low, width)
	for k, u := range t.bets {
		t.against.win(k, t.kept*min(one.gain(v, u, p), two.gain(v, u, p)))
		t.promote.win(k, t.kept*fit.gain(v, u, p))
		t.ends.win(k, v, u, t.kept, width, p)
	}
	t.against.close()
	t.promote.close()
}

// proves returns the border of the promotion null, chosen from the past: the null
// c >= max(r1 b, b) + a1 lies in the half-planes of both.
func (t *meanTest) proves() side {
	if t.b.n > 0 && t.b.mean() < 0 {
		return t.flat
	}
	return t.fit
}

func (t *meanTest) learn(b, c moments) {
	if b.n >= 2 && t.b.n > 0 {
		if within := b.about(b.mean()) / (b.n - 1); within > 0 {
			far := b.mean() - t.b.mean()
			t.burst.add(b.n*far*far/within, 1)
		}
	}
	t.b.add(b)
	t.c.add(c)
}

func (t *meanTest) evidence() float64 { return t.against.evidence() }
func (t *meanTest) peak() float64     { return t.against.peak }
func (t *meanTest) proof() float64    { return t.promote.peak }

func (t *meanTest) nextStep() {
	t.against.restart()
	t.promote.reset()
}

func (t *meanTest) interval() (low, high float64, known [2]bool) { return t.ends.interval() }
func (t *meanTest) estimates() estimates                         { return t.seen.estimates() }

func (t *meanTest) remaining(passAt float64) float64 {
	low, width, ok := t.scale()
	if !ok || t.seen.blocks == 0 {
		return math.Inf(1)
	}
	nb, nc := t.seen.nb/t.seen.blocks, t.seen.nc/t.seen.blocks
	mean, q := (t.b.mean()-low)/width, t.b.variance()/(width*width)
	v := values{nb, nc, mean, mean, nb * q, nc * q}
	fit, p, growth := t.proves().scaled(low, width), t.price(), 0.0
	for _, u := range t.bets {
		growth = max(growth, t.kept*fit.gain(v, u, p))
	}
	nats := math.Log(passAt*float64(len(t.bets))) - t.promote.evidence()
	if t.promote.evidence() >= math.Log(passAt) {
		nats = 0
	}
	return unitsFor(nats, growth, nc)
}

// meanEnds is a confidence sequence for the difference of means, canary minus
// stable: for every difference d the e-process with the border c - b = d has the
// log up[k] - d per[k] for bet k, so the ends are solved for and need no grid. If
// the difference moves, the interval is one for its mean weighted by per.
type meanEnds struct {
	limit         float64
	up, down, per [7]float64
}

func (e *meanEnds) win(k int, v values, u, keep, width float64, p price) {
	above, below := side{1, 0, 1}, side{1, 0, -1}
	onC, _ := above.bets(v, u)
	e.up[k] += keep * above.gain(v, u, p)
	e.down[k] += keep * below.gain(v, u, p)
	e.per[k] += keep * onC * v.nc / width
}

func (e *meanEnds) interval() (low, high float64, known [2]bool) {
	low, high = e.end(&e.up), -e.end(&e.down)
	return min(low, high), max(low, high), [2]bool{!math.IsInf(low, 0), !math.IsInf(high, 0)}
}

// end returns the largest difference that is refuted.
func (e *meanEnds) end(of *[7]float64) float64 {
	logs := *of
	lo, hi := math.Inf(-1), math.Inf(-1)
	for k, v := range of {
		if e.per[k] > 0 {
			lo = max(lo, (v-e.limit-math.Log(float64(len(of))))/e.per[k])
			hi = max(hi, (v-e.limit)/e.per[k])
		}
	}
	if math.IsInf(lo, 0) {
		return lo
	}
	for range 50 {
		d := lo + (hi-lo)/2
		for k, v := range of {
			logs[k] = v - d*e.per[k]
		}
		if logMean(logs[:]) >= e.limit {
			lo = d
		} else {
			hi = d
		}
	}
	return lo
}
