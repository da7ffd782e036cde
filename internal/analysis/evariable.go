package analysis

import "math"

// pair is one block's counts of one outcome: nb stable units of which xb had
// it, nc canary units of which xc had it.
type pair struct{ nb, xb, nc, xc float64 }

// line is the border p_c = r p_b + a between what is acceptable and what is
// not; r > 0 and -1 < a < 1.
type line struct{ r, a float64 }

// at returns the canary's share on the line where stable's is p.
func (l line) at(p float64) float64 { return l.r*p + l.a }

// logE returns the logarithm of the block e-variable of the alternative
// (sb, sc) against the half-plane on the other side of the line:
//
//	S = Bin(xb;nb,sb) Bin(xc;nc,sc) / [Bin(xb;nb,qb) Bin(xc;nc,qc)]
//
// where (qb, qc) is the point of the line nearest to (sb, sc) in
// nb KL(sb||qb) + nc KL(sc||qc). E[S] <= 1 for every point of the half-plane,
// whatever the block sizes (Turner and Grünwald, arXiv 2203.09785): log E[S] is
// concave in the point, 0 at q, and its gradient there points out of the
// half-plane. The alternative must lie strictly inside the unit square and off
// the half-plane. A block without one of the arms says nothing and returns 0;
// so does one whose q cannot be told from 1 in a float64, which is known before
// its outcomes are.
func (l line) logE(p pair, sb, sc float64) float64 {
	return l.ratio(p.nb, p.nc, sb, sc).log(p)
}

// ratio is a block e-variable before the block's outcomes are known: the log of
// the likelihood ratio of one unit with the outcome, and of one without, in
// each arm.
type ratio struct{ xb, yb, xc, yc float64 }

func (l line) ratio(nb, nc, sb, sc float64) ratio {
	if nb == 0 || nc == 0 {
		return ratio{}
	}
	qb, qc := l.project(nb, nc, sb, sc)
	if max(qb, qc) > nearlyOne {
		return ratio{}
	}
	return ratio{
		math.Log1p((sb - qb) / qb), math.Log1p((qb - sb) / (1 - qb)),
		math.Log1p((sc - qc) / qc), math.Log1p((qc - sc) / (1 - qc)),
	}
}

func (r ratio) log(p pair) float64 {
	return p.xb*r.xb + (p.nb-p.xb)*r.yb + p.xc*r.xc + (p.nc-p.xc)*r.yc
}

// nearlyOne is where 1-q has lost too many digits.
const nearlyOne = 1 - 1e-12

// growth returns the expected logE of a block of nb and nc units if (sb, sc) is the truth.
func (l line) growth(nb, nc, sb, sc float64) float64 {
	return l.logE(pair{nb: nb, xb: nb * sb, nc: nc, xc: nc * sc}, sb, sc)
}

// project returns the point (qb, qc) of the line that minimises
// nb KL(sb||qb) + nc KL(sc||qc).
func (l line) project(nb, nc, sb, sc float64) (qb, qc float64) {
	switch {
	case l.r == 1 && l.a == 0:
		q := (nb*sb + nc*sc) / (nb + nc)
		return q, q
	case l.a >= 0:
		qb = nearest(arm{nb, sb}, arm{nc, sc}, l.r, l.a)
		return qb, l.at(qb)
	default: // solve for the coordinate that may be tiny, so that the other is a sum without cancellation
		k, c := 1/l.r, -l.a/l.r
		qc = nearest(arm{nc, sc}, arm{nb, sb}, k, c)
		return k*qc + c, qc
	}
}

type arm struct{ n, s float64 }

// pull returns the derivative of n KL(s||q) in q, and its second derivative.
func (a arm) pull(q float64) (d, dd float64) {
	u, v := a.s/q, (1-a.s)/(1-q)
	return a.n * (q - a.s) / (q * (1 - q)), a.n * (u*u/a.s + v*v/(1-a.s))
}

// nearest returns the u in (0, 1) that minimises
// one.n KL(one.s||u) + two.n KL(two.s||k u + c), for k > 0 and 0 <= c < 1. The
// objective is convex, so its derivative has one root, between the places where
// either term alone vanishes. Newton's steps are kept inside the bracket and
// replaced by a bisection when they do not pay; the search ends when a step no
// longer moves u, or no float64 is left between the ends. Anything less exact
// breaks E[S] <= 1.
func nearest(one, two arm, k, c float64) float64 {
	t := (two.s - c) / k
	lo, hi := max(min(one.s, t), 0), max(one.s, t)
	hi = min(hi, 1, (1-c)/k)
	u := (one.n*one.s + two.n*t) / (one.n + two.n)
	if !(u > lo && u < hi) {
		u = lo + (hi-lo)/2
	}
	if !(u > lo && u < hi) {
		return u
	}
	last := math.Inf(1)
	for {
		var g, dg float64
		if w := k*u + c; w < 1 {
			g1, d1 := one.pull(u)
			g2, d2 := two.pull(w)
			g, dg = g1+k*g2, d1+k*k*d2
		} else {
			g, dg = math.Inf(1), 1
		}
		switch {
		case g > 0:
			hi = u
		case g < 0:
			lo = u
		default:
			return u
		}
		next := u - g/dg
		if next == u {
			return u
		}
		if !(next > lo && next < hi) || math.Abs(g) > last/2 {
			next = lo + (hi-lo)/2
			last = math.Inf(1)
		} else {
			last = math.Abs(g)
		}
		if !(next > lo && next < hi) {
			return u
		}
		u = next
	}
}

// multiples are the odds ratios of the alternatives, as far beyond the line as
// a regression may plausibly be.
var multiples = [...]float64{1.25, 1.5, 2, 3, 5, 10, 30}

// least and most keep predicted shares inside the unit interval.
const (
	least = 1e-6
	most  = 1 - 1e-6
)

func inside(p float64) float64 { return min(max(p, least), most) }

// timesOdds returns the share whose odds are m times those of p.
func timesOdds(p, m float64) float64 { return m * p / (1 - p + m*p) }

// rate predicts a share from the past. It remembers about the last memory
// units, so that it follows a drifting service.
type rate struct{ n, x float64 }

const memory = 20_000

func (r *rate) add(n, x float64) {
	r.n += n
	r.x += x
	if r.n > memory {
		r.x *= memory / r.n
		r.n = memory
	}
}

func (r *rate) predict() float64 { return inside(r.x / r.n) }

// mixture is an e-process over several alternatives that start at several
// times: mean over k of (W_k + reserve). A part of each alternative's stake plays
// from the first block; each restart moves some of the reserve into W_k. Moving
// stakes changes nothing in expectation, so the whole stays a nonnegative
// supermartingale that starts at 1: it is a prior over the time at which the
// release turned bad, and a regression found after a restart costs the log of
// that restart's part, instead of all the wealth lost before (the e-detector
// idea of arXiv 2203.03532).
type mixture struct {
	onset
	log      []float64 // log W_k
	reserve  float64
	restarts int
	blocks   int
	peak     float64 // largest log evidence so far
	sum      float64 // log evidence as of the last win or restart
	summed   bool    // sum is
}

// onset says how likely trouble is thought to begin when: with the first block
// with the chance atOnce, else at restart i with the chance
//
//	(late+1) / ((i+late) (i+late+1))
//
// which over all i sums to 1. The larger late is, the less the first restarts
// are expected, and the more those after them.
type onset struct{ atOnce, late float64 }

// Proofs of fitness lose their wealth to an outage and need it back soon after.
// A release is mostly bad from its first request on; if it turns bad later, no
// restart is much likelier than the next.
var (
	soon  = onset{atOnce: 0.5}
	alert = onset{atOnce: 0.8, late: 10}
)

// restartEvery is the number of judged blocks between restarts.
const restartEvery = 30

func newMixture(alternatives int) mixture { return soon.over(alternatives) }

// over returns an e-process over so many alternatives.
func (o onset) over(alternatives int) mixture {
	m := mixture{onset: o, log: make([]float64, alternatives)}
	m.reset()
	return m
}

// reset starts afresh.
func (m *mixture) reset() {
	for k := range m.log {
		m.log[k] = math.Log(m.atOnce)
	}
	*m = mixture{onset: m.onset, log: m.log, reserve: 1 - m.atOnce}
}

// win multiplies the wealth of alternative k by e^gain; after the last
// alternative of a block comes close.
func (m *mixture) win(k int, gain float64) {
	m.log[k] += gain
	m.summed = false
}

// close ends a block.
func (m *mixture) close() {
	m.peak = max(m.peak, m.evidence())
	m.blocks++
	if m.blocks%restartEvery == 0 {
		m.restart()
	}
}

// restart moves the next part of the reserve into every alternative.
func (m *mixture) restart() {
	m.restarts++
	i := float64(m.restarts) + m.late
	left := (1 - m.atOnce) * (m.late + 1)
	part := math.Log(left / (i * (i + 1)))
	for k, w := range m.log {
		m.log[k] = logAdd(w, part)
	}
	m.reserve = left / (i + 1)
	m.summed = false
}

// evidence returns the logarithm of the e-process. It is asked for several times
// in a second, and summed up once.
func (m *mixture) evidence() float64 {
	if !m.summed {
		m.sum, m.summed = logAdd(logMean(m.log), math.Log(m.reserve)), true
	}
	return m.sum
}

func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// logMean returns the logarithm of the mean of exp(v).
func logMean(v []float64) float64 {
	top := math.Inf(-1)
	for _, x := range v {
		top = max(top, x)
	}
	sum := 0.0
	for _, x := range v {
		sum += math.Exp(x - top)
	}
	return top + math.Log(sum/float64(len(v)))
}

// number returns exp(v), at most 1e308, so that it survives JSON.
func number(v float64) float64 {
	if v > 709 {
		return 1e308
	}
	return math.Exp(v)
}
