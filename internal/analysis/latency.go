package analysis

import (
	"math"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// latencyTest judges how long the first answer takes. A unit exceeds x when it
// has no answer within x, so units still open and units whose caller gave up
// exceed every threshold. At each threshold x the rollback null is
// P_c(L > x(1+delta)) <= P_b(L > x): on the log histogram the margin is a shift
// in bins, rounded up so that no less than delta is tolerated. Promotion wants
// P_c(L > x(1+delta1)) < P_b(L > x) proven; there the shift is rounded down so
// that no less than asked is proven.
type latencyTest struct {
	policy     delivery.JudgePolicy
	tuning     *[Bins]uint64 // stable's histogram until there are thresholds, then nil
	tuned      uint64        // units in it
	thresholds []threshold
	proofs     []proof
	scratch    [2][Bins]uint64 // answers up to each bin, of stable and canary
	stable     [Bins]float64   // judged answers, weighted like seen.weighted
	canary     [Bins]float64
}

// quantiles are stable's quantiles at which thresholds are set; proven are
// those that promotion needs.
var (
	quantiles = [...]float64{.5, .75, .9, .95, .98, .99, .995, .999}
	proven    = [...]float64{.5, .95, .99}
)

// tuningUnits is how many stable units fix the thresholds.
const tuningUnits = 200

// threshold is the rollback test at one latency.
type threshold struct {
	quantile float64
	bin      int // stable exceeds above its upper edge
	shift    int // the canary above that of bin+shift
	stable   rate
	against  mixture
	seen     seen
}

// proof is the promotion test at one latency.
type proof struct {
	quantile float64
	bin      int
	shift    int
	below    rate // stable above bin
	beyond   rate // stable above bin+shift: where a canary just like stable would be
	promote  mixture
	seen     seen
	bounds   []slowBound
	slow     rate // stable above bin+1, for the bounds from above
}

func newLatencyTest(p delivery.JudgePolicy, baseline Arm) *latencyTest {
	l := &latencyTest{policy: p, tuning: new([Bins]uint64)}
	l.tune(baseline)
	return l
}

// tune adds to the histogram that fixes the thresholds, and fixes them once it is large enough.
func (l *latencyTest) tune(stable Arm) {
	for i, n := range stable.Bins {
		l.tuning[i] += uint64(n)
	}
	l.tuned += stable.Units
	if l.tuned < tuningUnits {
		return
	}
	var sum uint64
	for i, n := range l.tuning {
		sum += n
		l.tuning[i] = sum
	}
	for _, q := range quantiles {
		if bin := l.quantileBin(q); len(l.thresholds) == 0 || l.thresholds[len(l.thresholds)-1].bin < bin {
			l.thresholds = append(l.thresholds, l.newThreshold(q, bin))
		}
	}
	for _, q := range proven {
		l.proofs = append(l.proofs, l.newProof(q, l.quantileBin(q)))
	}
	l.tuning = nil
}

// quantileBin returns the first bin that holds at least the share q of the tuning units.
func (l *latencyTest) quantileBin(q float64) int {
	for i, n := range l.tuning {
		if float64(n) >= q*float64(l.tuned) {
			return min(i, Bins-2)
		}
	}
	return Bins - 2
}

func (l *latencyTest) newThreshold(q float64, bin int) threshold {
	return threshold{
		quantile: q, bin: bin,
		shift:   min(int(math.Ceil(margin(bin, l.policy.LatencyRatio, l.policy.LatencyAdd)-1e-9)), Bins-2-bin),
		stable:  l.exceeding(bin),
		against: newMixture(len(multiples)),
	}
}

// newProof sets the threshold just below the quantile's bin, so that stable's
// bin itself exceeds it: where most answers take the same time, the share above
// that time is nothing, and nothing could be proven to be less.
func (l *latencyTest) newProof(q float64, bin int) proof {
	t := bin - 1
	shift := min(int(margin(t, l.policy.PromoteLatency, l.policy.PromoteLatencyAdd)+1e-9), Bins-2-t)
	return proof{
		quantile: q, bin: t, shift: shift,
		below: l.exceeding(t), beyond: l.exceeding(t + shift), slow: l.exceeding(bin),
		promote: newMixture(1),
		bounds:  slowBounds(),
	}
}

// margin returns the margin in bins at the upper edge of bin: share of it, or
// add if that is more.
func margin(bin int, share float64, add time.Duration) float64 {
	return math.Log1p(max(share, add.Seconds()/Edge(bin))) * invLogGamma
}

// exceeding predicts stable's share above bin from the tuning units.
func (l *latencyTest) exceeding(bin int) rate {
	r := rate{n: 1, x: 0.5}
	within := uint64(0)
	if bin >= 0 {
		within = l.tuning[bin]
	}
	r.add(float64(l.tuned), float64(l.tuned-within))
	return r
}

func (l *latencyTest) observe(b Block, limit float64) {
	if l.tuning != nil {
		l.tune(b.Stable)
		return
	}
	paired := b.Stable.Units > 0 && b.Canary.Units > 0
	l.load(b, paired)
	for i := range l.thresholds {
		t := &l.thresholds[i]
		p := l.pair(b, t.bin, t.shift)
		if paired {
			sb := t.stable.predict()
			for k, m := range multiples {
				if sc := timesOdds(sb, m); sc > sb {
					t.against.win(k, line{1, 0}.logE(p, sb, sc))
				}
			}
			t.against.close()
			t.seen.add(p)
		}
		t.stable.add(p.nb, p.xb)
	}
	for i := range l.proofs {
		l.prove(&l.proofs[i], b, paired, limit)
	}
}

func (l *latencyTest) prove(t *proof, b Block, paired bool, limit float64) {
	p := l.pair(b, t.bin, t.shift)
	if paired {
		if sb, sc := t.below.predict(), t.beyond.predict(); sc < sb {
			t.promote.win(0, line{1, 0}.logE(p, sb, sc))
		}
		t.promote.close()
		t.seen.add(p)
		l.narrow(t, b, limit)
	}
	t.below.add(p.nb, p.xb)
	t.beyond.add(p.nb, l.exceeds(0, b.Stable, t.bin+t.shift))
	t.slow.add(p.nb, l.exceeds(0, b.Stable, t.bin+1))
}

// narrow moves the ends of the interval of a quantile. From above the threshold
// is that of the rollback test, from below that of the promotion test.
func (l *latencyTest) narrow(t *proof, b Block, limit float64) {
	nb, nc := float64(b.Stable.Units), float64(b.Canary.Units)
	above, below := t.slow.predict(), t.below.predict()
	up, down := line{1, 0}.ratios(true, nb, nc, above), line{1, 0}.ratios(false, nb, nc, below)
	for i := range t.bounds {
		s := &t.bounds[i]
		if s.refuted {
			continue
		}
		if to := t.bin + 1 + s.shift; !s.up {
			s.observe(l.pair(b, t.bin, s.shift), below, down, limit)
		} else if to >= 0 && to <= Bins-2 {
			s.observe(l.pair(b, t.bin+1, s.shift), above, up, limit)
		}
	}
}

// load prepares the counts of a block and adds them to the histograms.
func (l *latencyTest) load(b Block, paired bool) {
	clear(l.scratch[0][:])
	clear(l.scratch[1][:])
	for i, n := range b.Stable.Bins {
		l.scratch[0][i] = uint64(n)
	}
	for i, n := range b.Canary.Bins {
		l.scratch[1][i] = uint64(n)
	}
	w := 0.0
	if paired {
		w = float64(b.Canary.Units) / float64(b.Stable.Units)
	}
	var sums [2]uint64
	for i := range Bins {
		nb, nc := l.scratch[0][i], l.scratch[1][i]
		sums[0] += nb
		sums[1] += nc
		l.scratch[0][i], l.scratch[1][i] = sums[0], sums[1]
		if paired {
			l.stable[i] += w * float64(nb)
			l.canary[i] += float64(nc)
		}
	}
}

// exceeds returns the units of an arm without an answer up to the upper edge of
// bin: all of them below the histogram, those in its last bin above it.
func (l *latencyTest) exceeds(arm int, a Arm, bin int) float64 {
	switch {
	case bin < 0:
		return float64(a.Units)
	case bin > Bins-2:
		bin = Bins - 2
	}
	return float64(a.Units - l.scratch[arm][bin])
}

func (l *latencyTest) pair(b Block, bin, shift int) pair {
	return pair{
		nb: float64(b.Stable.Units), xb: l.exceeds(0, b.Stable, bin),
		nc: float64(b.Canary.Units), xc: l.exceeds(1, b.Canary, bin+shift),
	}
}

// evidence returns the log of the average evidence over the thresholds.
func (l *latencyTest) evidence() float64 {
	var logs [len(quantiles)]float64
	for i := range l.thresholds {
		logs[i] = l.thresholds[i].against.evidence()
	}
	if len(l.thresholds) == 0 {
		return 0
	}
	return logMean(logs[:len(l.thresholds)])
}

// remaining returns about how many more canary units prove a healthy canary at this quantile.
func (t *proof) remaining(passAt float64) float64 {
	nb, nc := t.seen.typical()
	sb, sc := t.below.predict(), t.beyond.predict()
	growth := 0.0
	if sc < sb {
		growth = line{1, 0}.growth(nb, nc, sb, sc)
	}
	return unitsFor(math.Log(passAt)-t.promote.evidence(), growth, nc)
}

// quantileOf returns the quantile q of a histogram of total units, of which those
// without an answer count as slower than any, in seconds: the upper edge of
// the bin that holds it.
func quantileOf(h *[Bins]float64, total, q float64) float64 {
	sum := 0.0
	for i, n := range h {
		sum += n
		if sum >= q*total*(1-1e-12) {
			return Edge(i)
		}
	}
	return Edge(Bins - 1)
}
