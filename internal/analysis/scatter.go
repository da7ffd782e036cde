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
// block are seen in the sums of several. A step that stands is none of a swing until
// it is taken back: a release that turned bad has shifted, and swings no more than before.
type scatter struct {
	chance float64 // units, more or less, that are chance besides; rare events come in ones and twos
	canary rate    // its units, for what its share is expected to be
	lately rate    // those of the last few blocks
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
	latelyKept  = 0.7 // of the canary's share of late, from one block to the next
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
	last     float64 // difference in the last block
	variance float64 // expected of it; 0 before the first
	usual    float64 // difference of late
	climb    climb
	patience int // blocks after which a step that stands is none of a swing
}

// add learns from a block when the shares were expected to be sb and sc, and so
// many units more or less are chance.
func (s *steps) add(p pair, sb, sc, units float64) {
	d, v := p.xc/p.nc-p.xb/p.nb, sb*(1-sb)/p.nb+sc*(1-sc)/p.nc
	if s.variance > 0 {
		step := max(0, math.Abs(d-s.last)-units/min(p.nb, p.nc))
		beyond := max(0, step*step/(v+s.variance)-chance)
		s.climb.follow(chance*(v+s.variance), s.patience, climb{before: s.usual, level: d, beyond: beyond, top: s.top, blocks: 1})
		s.sum += beyond
		s.top = max(s.top*(1-1.0/stepsMemory), beyond)
		if s.n++; s.n > stepsMemory {
			s.sum *= stepsMemory / s.n
			s.climb.beyond *= stepsMemory / s.n
			s.n = stepsMemory
		}
		s.usual += (d - s.usual) / usualBlocks
	} else {
		s.usual = d
	}
	s.last, s.variance = d, v
}

// moved forgets where the difference was.
func (s *steps) moved() { s.variance, s.climb = 0, climb{} }

// excess is the ratio of variances, when so many steps without any are assumed.
func (s *steps) excess(prior float64) float64 {
	sum := s.sum
	if s.climb.blocks >= s.patience {
		sum = max(0, sum-s.climb.beyond)
	}
	return 1 + sum/(prior+s.n)
}

// largest is the largest step of late.
func (s *steps) largest() float64 {
	if s.climb.blocks >= s.patience {
		return s.climb.top
	}
	return s.top
}

// climb is a step of the difference that was not taken back. A release that
// begins to fail makes one such step, and the larger it is the less may be held
// against the evidence that follows: what stands is no swing. It counts as one
// once the difference is back where it was.
type climb struct {
	before, level float64 // the difference
	beyond        float64 // the squared step; 0 is no climb
	top           float64 // the largest step but this
	blocks        int     // that it has stood
}

const (
	usualBlocks = 5    // that the usual difference is a mean of, about
	takenBack   = 0.25 // the part of a climb that may be left when it is taken back
	stands      = 3    // blocks that a moment may take
)

// follow takes the next block: the climb that it would begin. Squares up to noise
// are chance. A climb may take two blocks, or as many as it must stand; a larger
// step after that is another one.
func (c *climb) follow(noise float64, patience int, now climb) {
	way, down := c.level-c.before, c.level-now.level
	switch {
	case c.beyond == 0 && now.beyond == 0:
	case c.beyond == 0:
		*c = now
	case (now.level-c.before)*way < takenBack*way*way && down*down > noise:
		*c = climb{}
	case c.blocks <= max(patience, 2):
		c.stand(now)
		if down*way < 0 {
			c.beyond += now.beyond
		}
	case now.beyond > c.beyond:
		*c = now
	default:
		c.stand(now)
	}
}

// stand says that the climb stood for another block.
func (c *climb) stand(now climb) {
	c.top *= 1 - 1.0/stepsMemory
	c.blocks++
	c.level += (now.level - c.level) / float64(c.blocks)
}

// Units by which a step may be larger by chance.
const (
	errorChance = 2
	slowChance  = 1
)

func newScatter(units float64) scatter {
	return scatter{chance: units, one: steps{patience: stands}, many: steps{patience: 1}}
}

// learn closes a block with both arms, in which the past expected stable's share
// to be sb; the canary's begins there, too.
func (s *scatter) learn(p pair, sb float64) {
	sc := inside(max((s.canary.x+prior*sb)/(s.canary.n+prior), (s.lately.x+prior*sb)/(s.lately.n+prior)))
	s.one.add(p, sb, sc, s.chance)
	s.sum = pair{s.sum.nb + p.nb, s.sum.xb + p.xb, s.sum.nc + p.nc, s.sum.xc + p.xc}
	if s.summed++; s.summed == sumBlocks {
		s.many.add(s.sum, sb, sc, s.chance)
		s.sum, s.summed = pair{}, 0
	}
	s.canary.add(p.nc, p.xc)
	s.lately = rate{latelyKept*s.lately.n + p.nc, latelyKept*s.lately.x + p.xc}
	if s.said >= runLeast {
		s.run = min(s.run+1, runMost)
	} else {
		s.run = 0
	}
	s.said = 0
}

// moved says that another thing is counted from now on.
func (s *scatter) moved() {
	s.canary, s.lately = rate{}, rate{}
	s.one.moved()
	s.many.moved()
	s.sum, s.summed = pair{}, 0
}

// against returns what is kept of the log evidence of a block against the canary.
func (s *scatter) against(gain float64) float64 {
	gain = min(gain*min(s.keep(), 1/max(1, topShare*s.one.largest())), runBegins+runGrows*float64(s.run))
	s.said = max(s.said, gain)
	return gain
}

// keep is the share of the log evidence of a block that is kept where nothing is
// held against the canary: of what speaks for it, and of intervals.
func (s *scatter) keep() float64 { return 1 / max(s.one.excess(onePrior), s.many.excess(manyPrior)) }
