package analysis

import "math"

// series is a series of block means whose neighbours resemble each other. Sums
// are of distances from the first.
type series struct {
	n, first, last    float64
	sum, squares, lag float64 // lag is the sum of products of neighbours
}

func (s *series) add(v float64) {
	if s.n == 0 {
		s.first = v
	}
	v -= s.first
	s.n++
	s.lag += s.last * v
	s.last = v
	s.sum += v
	s.squares += v * v
}

func (s *series) mean() float64 {
	if s.n == 0 {
		return 0
	}
	return s.first + s.sum/s.n
}

// spread returns the variance about the mean, and the autocorrelation at lag 1,
// which short series underestimate by about (1+3 rho)/n (Kendall, Biometrika 41,
// 1954); half, before anything is known.
func (s *series) spread() (variance, rho float64) {
	m := s.sum / s.n
	variance = max(s.squares/s.n-m*m, 0)
	if variance == 0 {
		return 0, 0
	}
	rho = (s.lag - m*(2*s.sum-s.last) + (s.n-1)*m*m) / (s.n * variance)
	rho += (1 + 3*rho) / s.n
	const doubt = 10 // blocks that the assumption counts for
	rho = (s.n*min(max(rho, 0), 1) + doubt*0.5) / (s.n + doubt)
	return variance * s.n / max(s.n-1, 1), min(rho, 0.99)
}

// spreads learns what instances of one release differ by.
type spreads struct {
	readings float64
	sum      float64 // of the variances within a reading
	freedom  float64 // degrees of freedom of one reading; more readings of the same instances add none
	nb, nc   float64 // instances
	b, c     float64 // the arms' largest mean values so far, by size
}

func (v moments) plus(w moments) moments {
	return moments{v.n + w.n, v.sum + w.sum, v.squares + w.squares}
}

func (s *spreads) add(b, c moments) {
	free := max(b.n-1, 0) + max(c.n-1, 0)
	if free == 0 {
		return
	}
	s.readings++
	s.sum += (b.about(b.mean()) + c.about(c.mean())) / free
	s.freedom += (free - s.freedom) / s.readings
}

// size takes in how many instances a block had, and how high the level was.
func (s *spreads) size(w levelBlocks) {
	s.nb, s.nc = max(w.b.n/w.readings, 1), max(w.c.n/w.readings, 1)
	s.b, s.c = max(s.b, math.Abs(w.b.mean())), max(s.c, math.Abs(w.c.mean()))
}

// level is the size of a difference that matters; 0 where none does, as its square
// could not be told from 0.
func (s *spreads) level() float64 {
	if l := max(s.b, s.c); l > 1e-100 {
		return l
	}
	return 0
}

// variance returns W for a series of c - slope b.
func (s *spreads) variance(x *series, slope float64) float64 { return s.varianceAt(x, slope, x.n) }

// varianceAt returns what W will be after n blocks.
func (s *spreads) varianceAt(x *series, slope, n float64) float64 {
	ofB, ofC := slope*slope/s.nb, 1/s.nc
	free, sum := float64(instancesKnown), instancesKnown*instanceSpread*instanceSpread*(s.b*s.b*ofB+s.c*s.c*ofC)
	if s.readings > 0 {
		free += s.freedom
		sum += s.freedom * s.sum / s.readings * (ofB + ofC)
	}
	between := doubtful(free) * sum / free
	over, rho := x.spread()
	effective := n * (1 - rho) / (1 + rho)
	return between + doubtful(effective-1)*over/effective
}

// doubtful is the factor by which a variance of so many degrees of freedom is
// raised, so that it is below the true one in a tenth of cases only: free over the 10 %
// quantile of chi-square (Wilson and Hilferty, 1931).
func doubtful(free float64) float64 {
	if !(free > 1) {
		free = 1
	}
	const z = -1.2815515655446004
	q := 1 - 2/(9*free) + z*math.Sqrt(2/(9*free))
	return 1 / max(q*q*q, 0.004)
}

// evidence returns the log evidence that the mean of a series is above 0.
func (s *spreads) evidence(x *series, slope float64) float64 {
	if x.n < leastLevels || s.level() == 0 {
		return 0
	}
	return s.evidenceOf(x.mean(), s.variance(x, slope))
}

// evidenceOf integrates the likelihood ratio of a mean of variance w over a
// half-normal prior whose deviation is the level:
//
//	2 sqrt(w/(w+g)) exp(z^2/2) Phi(z), z = mean sqrt(g/(w (w+g))), g = level^2
func (s *spreads) evidenceOf(mean, w float64) float64 {
	g := s.level() * s.level()
	z := mean * math.Sqrt(g/(w*(w+g)))
	return math.Ln2 - math.Log1p(g/w)/2 + squarePhi(z)
}

// squarePhi returns z^2/2 + log Phi(z).
func squarePhi(z float64) float64 {
	if z < -30 { // Phi(z) is about phi(z)/-z
		return -math.Log(-z * math.Sqrt(2*math.Pi))
	}
	return z*z/2 + math.Log(math.Erfc(-z/math.Sqrt2)/2)
}
