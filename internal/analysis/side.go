package analysis

import "math"

// side is one side of a line of means: sign (c - slope b - add) > 0, which a null
// says is not so. slope > 0; sign is 1 or -1.
type side struct{ slope, add, sign float64 }

// scaled is the side for values (v-low)/width.
func (s side) scaled(low, width float64) side {
	s.add = (s.add + low*(s.slope-1)) / width
	return s
}

// values is one block of both arms' values, ready to be bet on: how many, their
// means, and the sums of squared distances from the means that the past predicts.
type values struct{ nb, nc, b, c, qb, qc float64 }

// bets returns what is staked on each canary value, and against each stable value,
// for a bet of u on the block: in proportion to the inverse of the variance of
// c - slope b for values of equal variance, and u at most.
func (s side) bets(v values, u float64) (onC, onB float64) {
	onC = 1 / (1 + s.slope*s.slope*v.nc/v.nb)
	onB = s.slope * onC * v.nc / v.nb
	u /= max(1, onB)
	return u * onC, u * onB
}

// gain returns the log of a block's e-variable for a bet of u on the side:
//
//	onC nc sign (c - slope b - add) - price(onC) qc - price(onB) qb
//
// As onB nb = slope onC nc, the means drop out on the border of the null, and the
// rest is a product over the values of exp(+-bet (y - mean) - price(bet) (y - past)^2),
// each of expectation at most 1 where price is one for such values.
func (s side) gain(v values, u float64, p price) float64 {
	onC, onB := s.bets(v, u)
	won := onC*v.nc*s.sign*(v.c-s.slope*v.b-s.add) - p.of(onC)*v.qc - p.of(onB)*v.qb
	if won > -ruin { // and a number
		return won
	}
	return -ruin
}

// ruin is as much as a block can lose, in nats: also one whose values are so far
// from the past that their squares are beyond a float64.
const ruin = 1e6

// price is what a bet u costs for each squared distance of a value from its past
// mean. 0 is exact for values in [0, 1]:
//
//	psi(u) = -log(1-u) - u
//
// For y and m in [0, 1], 0 <= u < 1 and either sign,
// E exp(+-u (y - mean) - psi(u) (y - m)^2) <= 1, whatever the distribution of y:
// exp(u x - psi(u) x^2) <= 1 + u x for x >= -1 (Fan, Grama and Liu, arXiv
// 1311.6273), at x = +-(y - m); the expectation of the right side is at most
// exp(+-u (mean - m)). It is the predictable plug-in empirical-Bernstein bet of
// Waudby-Smith and Ramdas (arXiv 2010.09686), whose log is a sum over the values
// and thus a function of their number, sum and squares.
//
// Above 0 it is the beginning of psi(g u)/g^2, which is exact for distances of at
// most g on the losing side:
//
//	u^2/2 + g u^3/3
//
// Without g it is exact for y symmetric about its mean (de la Peña, Annals of
// Probability 27, 1999). In general the third order of E exp(...) is at most 0 if g
// is at least the skewness, and the fourth is below 0.
type price float64

func (g price) of(u float64) float64 {
	if g == 0 {
		return -math.Log1p(-u) - u
	}
	return u*u/2 + float64(g)*u*u*u/3
}
