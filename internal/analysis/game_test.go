package analysis

import (
	"math"
	"slices"
)

// shape is one block that an adversary may choose: all that can be read of it,
// and the chances of each under every point of the null.
type shape struct {
	readings []Reading
	chances  [][]float64
}

// adversary returns the largest E[E_tau] of one who picks the shape of the next
// block, the point of the null, and when to stop, from all that was seen.
func adversary[S any](s S, blocks int, shapes []shape, play func(S, Reading) S, value func(S) float64) float64 {
	best := value(s)
	if blocks == 0 {
		return best
	}
	for _, k := range shapes {
		next := make([]float64, len(k.readings))
		for i, r := range k.readings {
			next[i] = adversary(play(s, r), blocks-1, shapes, play, value)
		}
		for _, w := range k.chances {
			sum := 0.0
			for i, v := range next {
				sum += w[i] * v
			}
			best = max(best, sum)
		}
	}
	return best
}

// binomials is the shape of nb and nc units that have something or not.
func binomials(nb, nc int, points [][2]float64) shape {
	var s shape
	for xb := range nb + 1 {
		for xc := range nc + 1 {
			s.readings = append(s.readings, counts(float64(nb), float64(xb), float64(nc), float64(xc)))
		}
	}
	for _, p := range points {
		var w []float64
		for xb := range nb + 1 {
			for xc := range nc + 1 {
				w = append(w, choose(nb, xb, p[0])*choose(nc, xc, p[1]))
			}
		}
		s.chances = append(s.chances, w)
	}
	return s
}

func counts(nb, xb, nc, xc float64) Reading {
	return Reading{Stable: Value{N: nb, Sum: xb}, Canary: Value{N: nc, Sum: xc}, Seconds: 1}
}

// poissonChance returns the chance of x events where mean are expected.
func poissonChance(x int, mean float64) float64 {
	if mean == 0 {
		if x == 0 {
			return 1
		}
		return 0
	}
	l, _ := math.Lgamma(float64(x) + 1)
	return math.Exp(float64(x)*math.Log(mean) - mean - l)
}

func (m mixture) clone() mixture {
	m.log = slices.Clone(m.log)
	return m
}

// eager makes the mixtures restart after the next block.
func eager(all ...*mixture) {
	for _, m := range all {
		m.blocks = restartEvery - 1
	}
}
