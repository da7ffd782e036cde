package analysis

import "math"

// logPaired returns the logarithm of the e-variable of n pairs, in c of which only
// the canary's answer was bad and in b of which only stable's was, for the
// alternative chances (sb, sc) of the two kinds:
//
//	S = (sc/qc)^c (sb/qb)^b (s0/q0)^(n-b-c), s0 = 1-sb-sc, q0 = 1-qb-qc
//
// with (qb, qc) the point of the line qc = r qb + a nearest to (sb, sc) in
// Kullback-Leibler divergence. E[S] of one pair is linear in its chances, 1 on the
// line and less on the other side of it; pairs of different chances multiply. For
// a = 0 it is the ratio of binomials of the canary's part of the b+c pairs that
// differ (McNemar's test, with a margin on the odds).
//
// r > 0, -1 < a < 1; sb, sc and s0 are positive.
func (l line) logPaired(n, b, c, sb, sc float64) float64 {
	switch {
	case l.a < 0: // the same line seen from the other arm
		return line{1 / l.r, -l.a / l.r}.logPaired(n, c, b, sc, sb)
	case l.a == 0:
		q := (sb + sc) / (1 + l.r)
		return b*math.Log(sb/q) + c*math.Log(sc/(l.r*q))
	}
	qb := l.nearestPair(sb, sc)
	qc := l.at(qb)
	s0, q0 := 1-sb-sc, 1-l.a-(l.r+1)*qb
	return b*math.Log1p((sb-qb)/qb) + c*math.Log1p((sc-qc)/qc) + (n-b-c)*math.Log1p((s0-q0)/q0)
}

// nearestPair solves r(r+1) q^2 - B q - sb a(1-a) = 0 for the q that is positive.
func (l line) nearestPair(sb, sc float64) float64 {
	r, a := l.r, l.a
	half := sc*r*(1-a) + sb*(r*(1-a)-a*(r+1)) - (1-sb-sc)*(r+1)*a
	top := 2 * r * (r + 1)
	root := math.Sqrt(half*half + 2*top*sb*a*(1-a))
	if half >= 0 {
		return (half + root) / top
	}
	return 2 * sb * a * (1 - a) / (root - half)
}
