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
//
// The thresholds are stable's own recent quantiles. They follow it between
// blocks, and the evidence multiplies on: a block's e-variable has to be valid
// only given the past, and a threshold is chosen from the past alone, so the
// product stays a supermartingale. The nulls therefore read: at every moment
// the canary is (or, for promotion, is not) less than the margin slower than
// stable is in the same second, at the quantiles that stable had of late. A
// canary within the margin at all latencies is within it at any threshold, so
// no drift that both arms share, however fast, and no choice of thresholds
// makes evidence against it grow in expectation.
type latencyTest struct {
	policy     delivery.JudgePolicy
	proven     []float64 // quantiles that promotion needs
	keep       float64   // what a unit counts for: 1, or less where units hang together
	recent     recent
	thresholds []threshold // one for each of quantiles, or none until stable is known
	proofs     []proof
	scratch    [2]within     // of the block, stable's and the canary's; after observe of those that count as evidence
	stable     [Bins]float64 // judged answers, weighted like seen.weighted
	canary     [Bins]float64
	counted    float64 // units of the canary in them
	cold       cold
}

// within are the units with an answer up to each bin; more than fit count as so many.
type within [Bins]uint32

// quantiles are stable's quantiles at which thresholds are set; proven are
// those that promotion needs.
var (
	quantiles = [...]float64{.5, .75, .9, .95, .98, .99, .995, .999}
	proven    = [...]float64{.5, .95, .99}
)

// threshold is the rollback test at one quantile of stable.
type threshold struct {
	quantile float64
	bin      int  // stable exceeds above its upper edge
	shift    int  // the canary above that of bin+shift
	moved    bool // seen was counted at several bins
	against  mixture
	scatter  scatter
	seen     seen
	late     late
}

// proof is the promotion test at one quantile of stable. Its threshold is just
// below the quantile's bin, so that stable's bin itself exceeds it: where most
// answers take the same time, the share above that time is nothing, and nothing
// could be proven to be less. A canary just like stable exceeds bin+shift as
// often as stable does.
type proof struct {
	quantile float64
	bin      int
	shift    int
	promote  mixture
	scatter  scatter
	kept     float64 // of the evidence of this block; the block itself has no say in it
	seen     seen
	bounds   []slowBound
}

func newLatencyTest(p delivery.JudgePolicy, baseline Arm) *latencyTest {
	l := &latencyTest{policy: p, proven: proven[:], keep: 1}
	l.load(Block{Stable: baseline})
	l.learn(baseline)
	if len(l.thresholds) > 0 {
		l.recent.discount()
	}
	return l
}

// learn adds stable's units of a loaded block to the recent ones, and moves the
// thresholds after them for the blocks to come.
func (l *latencyTest) learn(stable Arm) {
	l.recent.add(stable.Units, &l.scratch[0])
	if len(l.thresholds) == 0 && l.recent.units() >= tuningUnits {
		l.begin()
	}
	for i := range l.thresholds {
		if t := &l.thresholds[i]; l.recent.strayed(t.bin, t.quantile) {
			l.place(t)
		}
	}
	for i := range l.proofs {
		if t := &l.proofs[i]; l.recent.strayed(t.bin+1, t.quantile) {
			l.placeProof(t)
		}
	}
}

// begin chooses the first thresholds.
func (l *latencyTest) begin() {
	for _, q := range quantiles {
		l.thresholds = append(l.thresholds, threshold{quantile: q, scatter: newScatter(slowChance), against: alert.over(len(multiples))})
		l.place(&l.thresholds[len(l.thresholds)-1])
	}
	for _, q := range l.proven {
		l.proofs = append(l.proofs, proof{quantile: q, scatter: newScatter(slowChance), promote: newMixture(1), bounds: slowBounds()})
		l.placeProof(&l.proofs[len(l.proofs)-1])
	}
}

// place puts a threshold at stable's recent quantile. Its evidence goes on.
func (l *latencyTest) place(t *threshold) {
	bin := l.recent.quantile(t.quantile)
	if bin != t.bin {
		t.moved = t.moved || t.seen.blocks > 0
		t.scatter.moved()
	}
	t.bin = bin
	t.shift = min(int(math.Ceil(margin(bin, l.policy.LatencyRatio, l.policy.LatencyAdd)-1e-9)), Bins-2-bin)
}

func (l *latencyTest) placeProof(t *proof) {
	bin := l.recent.quantile(t.quantile) - 1
	if bin != t.bin {
		t.scatter.moved()
		for i := range t.bounds {
			t.bounds[i].canary = rate{} // its past was at another bin
		}
	}
	t.bin = bin
	t.shift = min(int(margin(bin, l.policy.PromoteLatency, l.policy.PromoteLatencyAdd)+1e-9), Bins-2-bin)
}

// margin returns the margin in bins at the upper edge of bin: share of it, or
// add if that is more.
func margin(bin int, share float64, add time.Duration) float64 {
	return math.Log1p(max(share, add.Seconds()/Edge(bin))) * invLogGamma
}

// nextStep lets the proofs start afresh, and restarts the evidence.
func (l *latencyTest) nextStep() {
	for i := range l.thresholds {
		l.thresholds[i].against.restart()
	}
	for i := range l.proofs {
		l.proofs[i].promote.reset()
	}
}

// judge weighs the block that was loaded. Promotion counts every unit and every second. Evidence
// against the canary leaves out the units that came again, and the seconds in
// which its instances are fresh, but for what no cold cache explains. Which
// seconds these are is known before their outcomes, so the rest is an e-process still.
func (l *latencyTest) judge(b Block, limit float64) {
	known := len(l.thresholds) > 0
	if known && b.paired() {
		for i := range l.proofs {
			l.prove(&l.proofs[i], b)
		}
	}
	l.setApart(&b)
	if known && b.paired() {
		l.sum(b)
		if b.Fresh {
			l.cold.observe(l, b)
		} else {
			l.compare(b, limit)
		}
	}
	l.learn(b.Stable)
}

// compare weighs a block of instances that are warm.
func (l *latencyTest) compare(b Block, limit float64) {
	if l.cold.thaw() {
		for i := range l.thresholds {
			l.thresholds[i].against.restart()
			l.thresholds[i].scatter = newScatter(slowChance)
		}
		for i := range l.proofs {
			l.proofs[i].promote.restart()
			l.proofs[i].scatter = newScatter(slowChance) // what cold caches swung says nothing of warm ones
		}
	}
	for i := range l.thresholds {
		l.weigh(&l.thresholds[i], b)
	}
	for i := range l.proofs {
		l.narrow(&l.proofs[i], b, limit)
	}
}

func (l *latencyTest) weigh(t *threshold, b Block) {
	p := l.pair(b, t.bin, t.shift)
	sb := l.recent.exceeding(t.bin)
	for k, m := range multiples {
		if sc := timesOdds(sb, m); sc > sb {
			t.against.win(k, t.scatter.against(line{1, 0}.logE(p, sb, sc)))
		}
	}
	t.against.close()
	t.seen.add(p)
	t.late.add(p)
	t.scatter.learn(p, sb)
}

func (l *latencyTest) prove(t *proof, b Block) {
	p := l.pair(b, t.bin, t.shift)
	t.kept = t.scatter.keep()
	if sb, sc := l.recent.exceeding(t.bin), l.recent.exceeding(t.bin+t.shift); sc < sb {
		t.promote.win(0, t.kept*line{1, 0}.logE(p, sb, sc))
		t.scatter.learn(p, sb)
	}
	t.promote.close()
	t.seen.add(p)
}

// narrow moves the ends of the interval of a quantile. From above the threshold
// is that of the rollback test, from below that of the promotion test.
func (l *latencyTest) narrow(t *proof, b Block, limit float64) {
	nb, nc, keep := float64(b.Stable.Units), float64(b.Canary.Units), t.kept
	above, below := l.recent.exceeding(t.bin+1), l.recent.exceeding(t.bin)
	up, down := line{1, 0}.ratios(true, nb, nc, above), line{1, 0}.ratios(false, nb, nc, below)
	var active [2]int
	for i := range t.bounds {
		s := &t.bounds[i]
		to := t.bin + 1 + s.shift
		if s.refuted || skips(active[s.direction()], t.seen.blocks) || s.up && (to < 0 || to > Bins-2) {
			continue
		}
		active[s.direction()]++
		if s.up {
			s.observe(l.pair(b, t.bin+1, s.shift).times(keep), above, up, limit)
		} else {
			s.observe(l.pair(b, t.bin, s.shift).times(keep), below, down, limit)
		}
	}
}

// load prepares the counts of a block: the answers up to each bin. It says what
// is wrong with them; "" if nothing is.
func (l *latencyTest) load(b Block) string {
	for i, arm := range [...]*Arm{&b.Stable, &b.Canary} {
		answered, outside, ok := l.scratch[i].load(arm.Bins)
		if why := arm.impossible(arms[i], answered, outside, ok); why != "" {
			return why
		}
	}
	return ""
}

var arms = [...]string{"stable", "canary"}

// load is sumOf that keeps the units up to each bin.
func (w *within) load(bins map[int]uint32) (sum uint64, outside int, ok bool) {
	clear(w[:])
	ok = true
	for bin, n := range bins {
		if uint(bin) < Bins {
			w[bin] = n
		} else if ok || bin < outside {
			outside, ok = bin, false
		}
	}
	for i, n := range w {
		sum += uint64(n)
		w[i] = uint32(min(sum, math.MaxUint32))
	}
	return sum, outside, ok
}

// setApart takes the units that came again out of the loaded counts of a block.
func (l *latencyTest) setApart(b *Block) {
	for i, arm := range [...]*Arm{&b.Stable, &b.Canary} {
		if arm.Again == nil {
			continue
		}
		arm.Units -= arm.Again.Units
		var again within
		for bin, n := range arm.Again.Bins {
			again[bin] = n
		}
		gone := uint32(0)
		for bin, n := range again {
			gone += n
			l.scratch[i][bin] -= gone
		}
	}
}

// sum adds the counts of a block of both arms to the histograms for people. What
// came while the instances were fresh is forgotten once they are warm.
func (l *latencyTest) sum(b Block) {
	if !b.Fresh && l.cold.fresh {
		clear(l.stable[:])
		clear(l.canary[:])
		l.counted = 0
	}
	l.counted += float64(b.Canary.Units)
	w := float64(b.Canary.Units) / float64(b.Stable.Units)
	stable, canary := uint32(0), uint32(0)
	for i := range Bins {
		s, c := l.scratch[0][i], l.scratch[1][i]
		if s != stable {
			l.stable[i] += w * float64(s-stable)
			stable = s
		}
		if c != canary {
			l.canary[i] += float64(c - canary)
			canary = c
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
	return float64(a.Units - uint64(l.scratch[arm][bin]))
}

func (l *latencyTest) pair(b Block, bin, shift int) pair {
	return pair{
		nb: float64(b.Stable.Units), xb: l.exceeds(0, b.Stable, bin),
		nc: float64(b.Canary.Units), xc: l.exceeds(1, b.Canary, bin+shift),
	}.times(l.keep)
}

// evidence returns the log of the average evidence over the thresholds, and of
// what fresh instances have shown.
func (l *latencyTest) evidence() float64 {
	if len(l.thresholds) == 0 {
		return 0
	}
	return l.cold.join(l.warm())
}

// warm is the log of the average evidence over the thresholds.
func (l *latencyTest) warm() float64 {
	var logs [len(quantiles)]float64
	for i := range l.thresholds {
		logs[i] = l.thresholds[i].against.evidence()
	}
	return logMean(logs[:len(l.thresholds)])
}

// remaining returns about how many more canary units prove a healthy canary at a quantile.
func (l *latencyTest) remaining(t *proof, passAt float64) float64 {
	nb, nc := t.seen.typical()
	sb, sc := l.recent.exceeding(t.bin), l.recent.exceeding(t.bin+t.shift)
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
