package analysis

import (
	"math"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// levelTest judges what instances have rather than what requests get: memory,
// threads, the length of a queue. An instance's value now is nearly its value a
// second ago, and two instances of one release differ for good, so neither time
// nor readings make many units: the unit is the instance, and there are few.
//
// Values are averaged over blocks of levelBlock seconds. The mean over time of the
// difference beyond the margin has a variance of two parts,
//
//	W = B + s^2/n_eff,
//
// where n_eff is the number of blocks reduced by the autocorrelation at lag 1,
// and B is what instances of one release differ by: learned from how the values
// of one reading spread, with the caution that few degrees of freedom ask for. B
// does not shrink with time, so that two against two are only as sure as two
// against two. One against one shows no spread; it is taken to be instanceSpread
// of the level, so only a difference that is steady and far beyond the margin counts.
// A reading has one value an instance.
//
// Evidence is the likelihood ratio of the half-normal mixture over differences
// beyond the margin. It would be an e-process if W were known; estimated as it is,
// it holds in the simulations of its tests and not by proof.
type levelTest struct {
	refusal
	m       delivery.Metric
	alpha   float64
	now     levelBlocks
	beyond  runs   // canary beyond the rollback margin
	within  runs   // canary within the promotion margin, in this step
	apart   series // canary minus stable
	between spreads
	seconds float64 // judged
	seen    seenMeans
}

const (
	levelBlock     = 10   // seconds
	leastLevels    = 6    // blocks before anything is said
	instanceSpread = 0.03 // deviation between instances of a release, as a share of the level, before it is known
	instancesKnown = 4    // the degrees of freedom that this assumption counts for
)

// levelBlocks adds up readings until they cover a block.
type levelBlocks struct {
	b, c     moments
	readings float64
	seconds  int
}

func newLevelTest(m delivery.Metric, alpha float64) *levelTest {
	return &levelTest{m: m, alpha: alpha, beyond: newRuns(m.Ratio), within: newRuns(m.PromoteRatio)}
}

func (t *levelTest) observe(r Reading) {
	if !t.usable(r, meanProblem) || !r.paired() {
		return
	}
	b := moments{r.Stable.N, r.Stable.Sum, r.Stable.Squares}
	c := moments{r.Canary.N, r.Canary.Sum, r.Canary.Squares}
	t.between.add(b, c)
	w := &t.now
	w.b, w.c = w.b.plus(b), w.c.plus(c)
	w.readings++
	w.seconds += max(r.Seconds, 1)
	if w.seconds >= levelBlock {
		t.close(*w)
		*w = levelBlocks{}
	}
}

func (t *levelTest) close(w levelBlocks) {
	b, c := w.b.mean(), w.c.mean()
	t.between.size(w)
	t.apart.add(c - b)
	t.seconds += float64(w.seconds)
	t.seen.add(moments{n: w.b.n / w.readings, sum: w.b.sum / w.readings}, moments{n: w.c.n / w.readings, sum: w.c.sum / w.readings})
	t.beyond.add(t.excess(b, c), &t.between)
	t.within.add(t.room(b, c), &t.between)
}

// excess is how far the canary is beyond the rollback margin. The margin is the
// larger of two, whose expectation is no less than that of either.
func (t *levelTest) excess(b, c float64) float64 {
	if t.m.Better == delivery.Higher {
		return min(b/t.m.Ratio, b*t.m.Ratio, b-t.m.Add) - c
	}
	return c - max(b*t.m.Ratio, b/t.m.Ratio, b+t.m.Add)
}

// room is how far the canary is within the promotion margin.
func (t *levelTest) room(b, c float64) float64 {
	if t.m.Better == delivery.Higher {
		return c - min(b/t.m.PromoteRatio, b*t.m.PromoteRatio) + t.m.PromoteAdd
	}
	return max(b*t.m.PromoteRatio, b/t.m.PromoteRatio) + t.m.PromoteAdd - c
}

func (t *levelTest) evidence() float64 { return t.beyond.evidence(&t.between) }
func (t *levelTest) peak() float64     { return t.beyond.peak }
func (t *levelTest) proof() float64    { return t.within.peak }

func (t *levelTest) nextStep() {
	t.beyond.restart(&t.between)
	t.within = newRuns(t.m.PromoteRatio)
}

func (t *levelTest) interval() (low, high float64, known [2]bool) {
	if t.apart.n < leastLevels {
		return math.Inf(-1), math.Inf(1), known
	}
	w, g := t.between.variance(&t.apart, 1), t.between.level()*t.between.level()
	half := 0.0
	if g > 0 {
		half = math.Sqrt((w + w*w/g) * (2*math.Log(1/t.alpha) + math.Log1p(g/w)))
	}
	return t.apart.mean() - half, t.apart.mean() + half, [2]bool{true, true}
}

// estimates count an instance in one block as a value.
func (t *levelTest) estimates() estimates { return t.seen.estimates() }

// remaining returns seconds: until the mean over time is sure enough, if what
// instances differ by lets it ever be.
func (t *levelTest) remaining(passAt float64) float64 {
	if t.within.peak >= math.Log(passAt) {
		return 0
	}
	x := &t.within.series
	if x.n < 2 {
		return math.Inf(1)
	}
	b := t.seen.estimates().stable
	healthy, need := t.room(b, b), math.Log(passAt/t.within.stake)
	for n := max(x.n, leastLevels); n < 1e6; n = math.Ceil(1.05 * n) {
		if t.between.evidenceOf(healthy, t.between.varianceAt(x, t.m.PromoteRatio, n)) >= need {
			return max(n-x.n, 1) * t.seconds / t.apart.n
		}
	}
	return math.Inf(1)
}
