package analysis

import "math"

// logRate returns the logarithm of the block e-variable of the alternative rates
// (sb, sc) against the half-plane of rates on the other side of the line, for
// events that come at rates p_b and p_c an exposure of nb and nc:
//
//	S = Poi(xb;nb sb) Poi(xc;nc sc) / [Poi(xb;nb qb) Poi(xc;nc qc)]
//
// with (qb, qc) the point of the line nearest in Kullback-Leibler divergence. Then
//
//	log E[S] = nc (sc/qc - 1) (p_c - r p_b - a),
//
// which is at most 0 on the whole half-plane. Rates that change from block to
// block, in both arms at once or at random, change nothing, as long as they stay
// in it. For a = 0 the Poisson terms of the sum of both counts cancel, and S is
// the ratio of binomials of the canary's part of xb+xc events: valid however the
// events of both arms together are distributed (arXiv 2011.06931).
//
// r, sb and sc are positive; sums may be fractions, as extrapolated counters are.
func (l line) logRate(p pair, sb, sc float64) float64 {
	if !(p.nb > 0 && p.nc > 0) {
		return 0
	}
	qb, qc := l.nearestRates(p.nb, p.nc, sb, sc)
	return p.xb*logRatio(sb, qb) + p.xc*logRatio(sc, qc) - l.a*p.nc*(sc-qc)/qc
}

// logRatio returns log(s/q), for near ones without cancellation.
func logRatio(s, q float64) float64 {
	if math.Abs(s-q) < q/2 {
		return math.Log1p((s - q) / q)
	}
	return math.Log(s / q)
}

// nearestRates returns the point of the line that minimises the divergence from
// (sb, sc). Its first coordinate solves r(nb + r nc) q^2 - B q - nb sb a = 0.
func (l line) nearestRates(nb, nc, sb, sc float64) (qb, qc float64) {
	if l.a < 0 { // the same line seen from the other arm has no negative rates
		qc, qb = line{1 / l.r, -l.a / l.r}.nearestRates(nc, nb, sc, sb)
		return qb, qc
	}
	w := nc / nb
	if l.a == 0 {
		qb = (sb + w*sc) / (1 + l.r*w)
		return qb, l.r * qb
	}
	top := 2 * l.r * (1 + l.r*w)
	half := l.r*(sb+w*sc) - l.a*(1+l.r*w)
	root := math.Sqrt(half*half + 2*top*sb*l.a)
	if half >= 0 {
		qb = (half + root) / top
	} else {
		qb = 2 * sb * l.a / (root - half)
	}
	return qb, l.r*qb + l.a
}

// tempo predicts a rate from the past. It remembers about the last manyEvents
// events and always at least half of one, since none so far is not none ever.
type tempo struct{ n, x float64 }

const manyEvents = 1000

func (t *tempo) add(n, x float64) {
	t.n += n
	t.x += x
	if t.x > manyEvents {
		t.n *= manyEvents / t.x
		t.x = manyEvents
	}
}

// predict returns the rate, before a block of the given exposure is known.
func (t *tempo) predict(exposure float64) float64 { return (t.x + 0.5) / (t.n + exposure) }
