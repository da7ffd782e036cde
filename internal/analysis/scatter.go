package analysis

import "math"

// scatter learns by how much the difference between the arms' shares moves from
// block to block beyond what independent units explain. A program that stops for
// a moment - to collect garbage, to wait for a lock, because its neighbour has the
// processor - makes all its requests of that moment slow at once. Such a moment is
// one observation and not fifty, and in the long run it comes to either release alike.
//
// The log of a block e-variable is linear in the counts, so shares whose long-run
// means meet the null give it a negative drift however they move; what moves more
// only swings further. Dividing it by the ratio of variances brings the swings back
// to those of independent units. It is learned from the past alone, and
// E[S^k] <= E[S]^k <= 1 for 0 < k <= 1 (Jensen), as is E[min(S, c)] <= E[S]: for
// independent units the tempered process is an e-process still, and for moments
// of the kind above tempering is a correction that holds in simulation, not by proof.
//
// The variance is that of the step from one block to the next, to which neither a
// constant difference adds nor a drift that both arms share. Moments longer than a
// block are seen in the sums of several. A step of a sum counts once one the other
// way has taken it back: a release that turned bad has shifted and swings no more
// than before, and its sum would outweigh all others.
type scatter struct {
	chance float64 // units, more or less, that are chance besides; rare events come in ones and twos
	canary rate    // its units, for what its share is expected to be
	one    steps   // block by block
	many   steps   // by sums of sumBlocks blocks
	sum    pair
	summed int     // blocks in sum
	run    int     // blocks up to the last one that all spoke against the canary
	said   float64 // the most that an alternative said of this block
}

const (
	sumBlocks   = 10
	onePrior    = 15  // steps of independent units that are assumed before any are seen
	manyPrior   = 6   // of sums
	stepsMemory = 300 // steps that are remembered
	topShare    = 0.2 // of the largest step, which one like it may be measured by
	chance      = 4   // squared steps up to this many times the expected one are chance: what independent units do is not tempered

	runBegins = 3.0 // nats that the first block of a run can say against the canary
	runGrows  = 1.0 // and each further one more: one bad second proves nothing, a third in a row a lot
	runLeast  = 1.0 // nats that make a block part of a run
	runMost   = 4
)

// steps are the squared steps of a difference, in units of what is expected, and
// beyond chance.
type steps struct {
	n, sum   float64
	top      float64 // the largest of late
	returns  bool    // only steps that come back count: a shift is no swing
	up, down float64 // the largest steps that have not come back yet
	last     float64 // difference in the last block
	variance float64 // expected of it; 0 before the first
}

// add learns from a block when the shares were expected to be sb and sc, and so
// many units more or less are chance.
func (s *steps) add(p pair, sb, sc, units float64) {
	d, v := p.xc/p.nc-p.xb/p.nb, sb*(1-sb)/p.nb+sc*(1-sc)/p.nc
	if s.variance > 0 {
		step := max(0, math.Abs(d-s.last)-units/min(p.nb, p.nc))
		beyond := max(0, step*step/(v+s.variance)-chance)
		if s.returns {
			beyond = s.taken(beyond, d > s.last)
		}
		s.sum += beyond
		s.top = max(s.top*(1-1.0/stepsMemory), beyond)
		if s.n++; s.n > stepsMemory {
			s.sum *= stepsMemory / s.n
			s.n = stepsMemory
		}
	}
	s.last, s.variance = d, v
}

// taken returns twice what a step takes back of those the other way, and
// remembers the rest of it.
func (s *steps) taken(step float64, up bool) float64 {
	here, there := &s.down, &s.up
	if up {
		here, there = there, here
	}
	back := min(step, *there)
	*there -= back
	*here = max(*here, step-back)
	return 2 * back
}

// excess is the ratio of variances, when so many steps without any are assumed.
func (s *steps) excess(prior float64) float64 { return 1 + s.sum/(prior+s.n) }

// Units by which a step may be larger by chance.
const (
	errorChance = 2
	slowChance  = 1
)

func newScatter(units float64) scatter { return scatter{chance: units, many: steps{returns: true}} }

// learn closes a block with both arms, in which the past expected stable's share
// to be sb; the canary's begins there, too.
func (s *scatter) learn(p pair, sb float64) {
	sc := inside((s.canary.x + prior*sb) / (s.canary.n + prior))
	s.one.add(p, sb, sc, s.chance)
	s.sum = pair{s.sum.nb + p.nb, s.sum.xb + p.xb, s.sum.nc + p.nc, s.sum.xc + p.xc}
	if s.summed++; s.summed == sumBlocks {
		s.many.add(s.sum, sb, sc, s.chance)
		s.sum, s.summed = pair{}, 0
	}
	s.canary.add(p.nc, p.xc)
	if s.said >= runLeast {
		s.run = min(s.run+1, runMost)
	} else {
		s.run = 0
	}
	s.said = 0
}

// moved says that another thing is counted from now on.
func (s *scatter) moved() {
	s.canary = rate{}
	s.one.variance, s.many.variance = 0, 0
	s.sum, s.summed = pair{}, 0
}

// against returns what is kept of the log evidence of a block against the canary.
func (s *scatter) against(gain float64) float64 {
	gain = min(gain*min(s.keep(), 1/max(1, topShare*s.one.top)), runBegins+runGrows*float64(s.run))
	s.said = max(s.said, gain)
	return gain
}

// keep is the share of the log evidence of a block that is kept where nothing is
// held against the canary: of what speaks for it, and of intervals.
func (s *scatter) keep() float64 { return 1 / max(s.one.excess(onePrior), s.many.excess(manyPrior)) }
