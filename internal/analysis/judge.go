package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Arm is what one release did in one second, or summed over several. A unit is
// one sticky key: however often it came in that second, it counts once, so that
// one caller's retries are not taken for independent evidence.
type Arm struct {
	Units uint64         // distinct sticky keys that arrived
	Bad   uint64         // of them, those with a 5xx, no connection, a timeout or a broken answer
	Open  uint64         // of them, those whose first request had not finished when the block was closed
	Bins  map[int]uint32 // Bin of the time of each unit's first answer -> units

	Again *Arm   // of them, those whose key had failed or been very slow before; no evidence against a release. nil is none
	Drawn uint64 // of them, those whose key was made for them, and so was drawn once by Block.Weight
	Lost  uint64 // requests that were carried to it and of which nothing was heard again

	Places map[string]Place // of the units, by the instance that was asked last; for words only, and may be nil
}

// Place is what one instance did.
type Place struct{ Units, Bad uint64 }

// Block is one second of both releases at once. Only concurrent counts are
// compared: a before-and-after comparison would judge the hour, not the release.
type Block struct {
	Second         int64 // Unix second of arrival
	Stable, Canary Arm

	Weight   float64   // the canary's part of the draw that was in force, above 0 and below 1; 0 is not known
	Pairs    Pairs     // of mirrored requests
	Readings []Reading // of the policy's metrics; at most one of each
	Fresh    bool      // an instance of the canary had been serving for less than delivery.JudgePolicy.Cold
}

// The margins and error rates that zero fields of a policy take.
const (
	defaultAlpha             = 0.01
	defaultBeta              = 0.05
	defaultErrorRatio        = 1.2
	defaultErrorAdd          = 0.001
	defaultPromoteErrorRatio = 2
	defaultPromoteErrorAdd   = 0.002
	defaultLatencyRatio      = 0.05
	defaultPromoteLatency    = 0.25
	defaultLatencyAdd        = time.Millisecond
	defaultPromoteLatencyAdd = 5 * time.Millisecond
	defaultCold              = 30 * time.Second
)

// maxMetrics bounds the metrics that one change is judged by.
const maxMetrics = 200

// Least exposure of the canary within a step before it can pass, whatever the
// margins: a pass says that somebody has used it.
const (
	leastUnits  = 30
	leastBlocks = 3
)

// Defaults returns the policy with its zero fields filled, and those of its
// metrics. Where a service promises how many requests may fail, a quarter of that
// is what a release may add, and all of it what must be proven not to be added.
func Defaults(p delivery.JudgePolicy) delivery.JudgePolicy {
	p.Alpha = cmp.Or(p.Alpha, defaultAlpha)
	p.Beta = cmp.Or(p.Beta, defaultBeta)
	p.ErrorRatio = cmp.Or(p.ErrorRatio, defaultErrorRatio)
	if budget := p.SLO.Errors; budget > 0 && budget < 1 {
		p.PromoteErrorAdd = cmp.Or(p.PromoteErrorAdd, budget)
		p.ErrorAdd = cmp.Or(p.ErrorAdd, min(budget/4, p.PromoteErrorAdd/2))
	}
	p.ErrorAdd = cmp.Or(p.ErrorAdd, defaultErrorAdd)
	p.PromoteErrorRatio = cmp.Or(p.PromoteErrorRatio, defaultPromoteErrorRatio)
	p.PromoteErrorAdd = cmp.Or(p.PromoteErrorAdd, defaultPromoteErrorAdd)
	p.LatencyRatio = cmp.Or(p.LatencyRatio, defaultLatencyRatio)
	p.PromoteLatency = cmp.Or(p.PromoteLatency, defaultPromoteLatency)
	p.LatencyAdd = cmp.Or(p.LatencyAdd, defaultLatencyAdd)
	p.PromoteLatencyAdd = cmp.Or(p.PromoteLatencyAdd, defaultPromoteLatencyAdd)
	p.Cold = cmp.Or(p.Cold, defaultCold)
	p.SLO.Patience = cmp.Or(p.SLO.Patience, defaultPatience)
	p.SLO.Within = cmp.Or(p.SLO.Within, defaultWithin)
	p.Metrics = slices.Clone(p.Metrics)
	for i, m := range p.Metrics {
		p.Metrics[i] = MetricDefaults(m)
	}
	return p
}

// unusable says why no judgement is possible under p; "" if it is.
func unusable(p delivery.JudgePolicy) string {
	share := func(v float64) bool { return v > 0 && v < 1 }
	factor := func(v float64) bool { return v >= 1 && v <= 1000 }
	switch {
	case !share(p.Alpha):
		return fmt.Sprintf("alpha is %v, not between 0 and 1", p.Alpha)
	case !share(p.Beta):
		return fmt.Sprintf("beta is %v, not between 0 and 1", p.Beta)
	case !factor(p.ErrorRatio) || !factor(p.PromoteErrorRatio):
		return fmt.Sprintf("the error ratios are %v and %v, not between 1 and 1000", p.ErrorRatio, p.PromoteErrorRatio)
	case !share(p.ErrorAdd) || !share(p.PromoteErrorAdd):
		return fmt.Sprintf("the added error shares are %v and %v, not between 0 and 1", p.ErrorAdd, p.PromoteErrorAdd)
	case !(p.LatencyRatio > 0 && p.LatencyRatio <= 1000) || !(p.PromoteLatency > 0 && p.PromoteLatency <= 1000):
		return fmt.Sprintf("the latency margins are %v and %v, not between 0 and 1000", p.LatencyRatio, p.PromoteLatency)
	case p.Only != "" && p.Only != delivery.FamilyErrors && p.Only != delivery.FamilyLatency:
		return fmt.Sprintf("only is %q, not errors or latency", p.Only)
	case len(p.Metrics) > maxMetrics:
		return fmt.Sprintf("there are %d metrics, more than %d", len(p.Metrics), maxMetrics)
	}
	names := map[string]bool{}
	for _, m := range p.Metrics {
		if why := MetricProblem(m); why != "" {
			return fmt.Sprintf("metric %s: %s", m.Name, why)
		}
		if names[m.Name] {
			return fmt.Sprintf("there are two metrics %s", m.Name)
		}
		names[m.Name] = true
	}
	return sloProblem(p.SLO)
}

// Judge weighs a new release against stable, second by second. It may be asked
// for its verdict at any time and as often as one likes: over the whole
// rollout an acceptable release fails with a probability of at most alpha, and
// in each step an unacceptable one passes with at most beta (Ville's inequality).
// A Judge is not safe for concurrent use.
type Judge struct {
	policy  delivery.JudgePolicy
	errors  errorTest
	latency *latencyTest
	metrics metrics
	mirror  mirror
	trust   trust
	whole   whole
	last    int64
	broken  string
	failed  bool
	left    leftOut
	units   seen // of the rollout: of these, evidence is taken from all but those that came again
	step    seen // of this step
	again   seen // of units, those that came again
	places  places
	gone    gaps              // without a request to one of them
	behind  behind            // seconds that were refused since the last one that was not
	word    *delivery.Verdict // as of what it was told last; nil is not said yet
}

// New returns a judge for one rollout under p, whose zero fields are filled.
// The baseline is stable's counts from before the rollout; it tunes the tests
// until the rollout's own seconds do, and is never evidence, so it may be empty,
// old or of a noisy hour; impossible counts in it are not used. An unusable
// policy makes a judge whose verdict is Broken and says why.
func New(p delivery.JudgePolicy, baseline Arm) *Judge {
	p = Defaults(p)
	j := &Judge{policy: p, last: math.MinInt64, broken: unusable(p)}
	if j.broken != "" {
		j.policy = Defaults(delivery.JudgePolicy{})
	}
	if impossible("stable", baseline) != "" {
		baseline = Arm{}
	}
	j.whole = newWhole(j.policy.SLO)
	j.begin(baseline)
	return j
}

// begin starts all tests.
func (j *Judge) begin(baseline Arm) {
	j.errors = newErrorTest(j.policy, baseline)
	j.latency = newLatencyTest(j.policy, baseline)
	j.metrics = newMetrics(j.policy)
	j.mirror = newMirror(j.policy.Alpha)
	j.trust = newTrust()
}

// paired says whether both releases were asked anything.
func (b Block) paired() bool { return b.Stable.Units > 0 && b.Canary.Units > 0 }

// impossible says what is wrong with an arm's counts; "" if nothing is.
func impossible(name string, a Arm) string {
	answered, bin, ok := sumOf(a.Bins)
	return a.impossible(name, answered, bin, ok)
}

// sumOf adds up a histogram; not ok is that it has a bin that there is not, the
// lowest of which is outside.
func sumOf(bins map[int]uint32) (sum uint64, outside int, ok bool) {
	ok = true
	for bin, n := range bins {
		if uint(bin) >= Bins && (ok || bin < outside) {
			outside, ok = bin, false
		}
		sum += uint64(n)
	}
	return sum, outside, ok
}

// impossible is given what sumOf says of the bins.
func (a Arm) impossible(name string, answered uint64, outside int, ok bool) string {
	switch {
	case a.Bad > a.Units:
		return fmt.Sprintf("%s has %d failed of %d requests", name, a.Bad, a.Units)
	case !ok:
		return fmt.Sprintf("%s has a latency bin %d; there are 0 to %d", name, outside, Bins-1)
	case a.Open > a.Units || answered > a.Units-a.Open:
		return fmt.Sprintf("%s has %d answered or open of %d requests", name, answered+a.Open, a.Units)
	case a.Drawn > a.Units:
		return fmt.Sprintf("%s has %d drawn of %d requests", name, a.Drawn, a.Units)
	case a.Again == nil:
		return ""
	}
	return a.impossibleAgain(name, answered)
}

// impossibleAgain says what is wrong with the units that came again.
func (a Arm) impossibleAgain(name string, answered uint64) string {
	again := *a.Again
	again.Again, again.Drawn = nil, 0
	if why := impossible(name, again); why != "" {
		return "of those that came again " + why
	}
	if again.Units > a.Units || again.Bad > a.Bad || again.Open > a.Open || a.Bad-again.Bad > a.Units-again.Units {
		return fmt.Sprintf("%s has %d units that came again, %d of them failed and %d open, of %d, %d and %d",
			name, again.Units, again.Bad, again.Open, a.Units, a.Bad, a.Open)
	}
	came, _, _ := sumOf(again.Bins)
	if all, came := answered+a.Open, came+again.Open; all-came > a.Units-again.Units {
		return fmt.Sprintf("%s has %d answered or open of the %d units that came for the first time", name, all-came, a.Units-again.Units)
	}
	if bin, ok := lowestBin(again.Bins, func(bin int, n uint32) bool { return n > a.Bins[bin] }); ok {
		return fmt.Sprintf("%s has %d units that came again in latency bin %d of %d", name, again.Bins[bin], bin, a.Bins[bin])
	}
	return ""
}

// lowestBin returns the first bin of which is is true, so that the same counts get
// the same words.
func lowestBin(bins map[int]uint32, is func(bin int, n uint32) bool) (at int, found bool) {
	for bin, n := range bins {
		if is(bin, n) && (!found || bin < at) {
			at, found = bin, true
		}
	}
	return at, found
}

// Observe judges one block. A block whose second is not after the last one is
// refused: it is a duplicate, came too late, or the clock went back. Impossible
// counts are refused too, and the verdict is Broken from then on. A refused
// block changes no evidence. After a Fail nothing changes any more.
func (j *Judge) Observe(b Block) error {
	j.word = nil
	if b.Second <= j.last {
		j.behind.refuse(b.Second)
		return fmt.Errorf("analysis: block of second %d is not after %d: a duplicate, too late, or the clock went back", b.Second, j.last)
	}
	if why := cmp.Or(j.latency.load(b), b.Pairs.impossible()); why != "" {
		j.broken = cmp.Or(j.broken, fmt.Sprintf("second %d: %s", b.Second, why))
		return fmt.Errorf("analysis: block of second %d: %s", b.Second, why)
	}
	j.last, j.behind = b.Second, behind{}
	if j.failed {
		return nil
	}
	j.gone.observe(b)
	j.whole.observe(b, &j.latency.scratch)
	if !j.trust.observe(b) {
		j.left.add("the releases cannot be compared")
		return nil
	}
	limit := endLimit(j.policy.Alpha)
	j.weigh(b, limit)
	j.metrics.observe(b)
	if j.mirror.begins(b) {
		j.mirror.begin(j.evidence())
	} else {
		j.mirror.observe(b)
	}
	j.failed = j.evidence() >= -math.Log(j.policy.Alpha)
	return nil
}

// weigh judges the requests of a block.
func (j *Judge) weigh(b Block, limit float64) {
	p := pair{
		nb: float64(b.Stable.Units), xb: float64(b.Stable.Bad),
		nc: float64(b.Canary.Units), xc: float64(b.Canary.Bad),
	}
	first := p
	if again := b.Stable.Again; again != nil {
		first.nb, first.xb = p.nb-float64(again.Units), p.xb-float64(again.Bad)
	}
	if again := b.Canary.Again; again != nil {
		first.nc, first.xc = p.nc-float64(again.Units), p.xc-float64(again.Bad)
	}
	j.errors.accuse(first, b.drawn(), limit)
	j.errors.prove(p)
	j.latency.judge(b, limit)
	if p.nb == 0 || p.nc == 0 {
		if b.Pairs.Both == 0 {
			j.left.add(unpaired(p))
		}
		return
	}
	j.units.add(p)
	j.step.add(p)
	j.again.add(pair{p.nb - first.nb, p.xb - first.xb, p.nc - first.nc, p.xc - first.xc})
	j.places.add(b.Canary.Places)
}

func unpaired(p pair) string {
	switch {
	case p.nc > 0:
		return "no request to stable to compare with"
	case p.nb > 0:
		return "no request to the new release"
	}
	return "no request at all"
}

// evidence is the log of the average over the families errors, latency and
// metrics, in which every metric that may fail a rollout weighs the same. It is an
// e-process whatever the dependence between them. However many metrics there
// are, errors and latency keep a third of it each. A family that the policy leaves
// out has no part, so that the others lose nothing by it. Mirrored requests join it
// as they come.
func (j *Judge) evidence() float64 {
	var all [3]float64
	families := all[:0]
	if decides(j.policy, delivery.FamilyErrors) {
		families = append(families, j.errors.against.evidence())
	}
	if decides(j.policy, delivery.FamilyLatency) {
		families = append(families, j.latency.evidence())
	}
	if j.metrics.deciding > 0 {
		families = append(families, j.metrics.evidence())
	}
	return j.mirror.join(logMean(families))
}

// decides says whether a family has a say under a policy.
func decides(p delivery.JudgePolicy, f delivery.Family) bool { return p.Only == "" || p.Only == f }

// families are how many are averaged.
func (j *Judge) families() float64 {
	n := 2.0
	if j.policy.Only != "" {
		n--
	}
	if j.metrics.deciding > 0 {
		n++
	}
	return n
}

// LeaveOut records that the block of a second is not judged, and why. Seconds
// up to the last one are accounted for already and are ignored.
func (j *Judge) LeaveOut(second int64, why string) {
	j.word = nil
	if second <= j.last {
		j.behind.refuse(second)
		return
	}
	j.last, j.behind = second, behind{}
	if !j.failed {
		j.left.add(why)
	}
}

// NextStep says that the weight moved to a new step of the plan. The evidence
// for the release starts afresh, because a release can be fine at 5 % and not at
// 50 %; the evidence against it goes on, with a restart's share for new trouble.
// After a step in which the releases could not be compared all starts afresh.
func (j *Judge) NextStep() {
	if j.failed {
		return
	}
	j.step, j.word = seen{}, nil
	if j.trust.why != "" {
		j.begin(Arm{})
		return
	}
	j.trust = newTrust()
	j.errors.against.restart()
	j.errors.promote.reset()
	j.latency.nextStep()
	j.metrics.nextStep()
	j.mirror.nextStep()
}

// behind counts seconds that were refused, each of them newer than the one before
// it: a duplicate now and then is nothing, but a clock that went back makes every
// second one that was judged already, until it has caught up.
type behind struct {
	n    int
	last int64
}

// lagging is how many such seconds in a row are no accident.
const lagging = 10

func (b *behind) refuse(second int64) {
	if b.n == 0 || second > b.last {
		b.n, b.last = b.n+1, second
	}
}

// clock says that the clock went back behind the newest second that was judged; "" if it did not.
func (b behind) clock(newest int64) string {
	if b.n < lagging {
		return ""
	}
	return fmt.Sprintf("the clock went back by %s: nothing is judged until it has caught up", time.Duration(newest-b.last)*time.Second)
}

// leftOut counts the blocks that were not judged, by reason.
type leftOut struct {
	blocks  int
	reasons []reason
}

type reason struct {
	why string
	n   int
}

// maxReasons bounds what is kept apart; later reasons are counted together.
const maxReasons = 6

func (l *leftOut) add(why string) {
	l.blocks++
	for i := range l.reasons {
		if r := &l.reasons[i]; r.why == why || i == maxReasons-1 {
			r.n++
			return
		}
	}
	if len(l.reasons) == maxReasons-1 {
		why = "other reasons"
	}
	l.reasons = append(l.reasons, reason{why, 1})
}
