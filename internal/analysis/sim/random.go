package sim

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
)

// dice returns the randomness of one repetition of a scenario: the same in
// every run, whatever other scenarios or contestants run beside it.
func dice(name string, rep int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return rand.New(rand.NewPCG(h.Sum64(), uint64(rep)))
}

// poisson draws from the Poisson distribution: small means by multiplying
// uniforms (Knuth), others by transformed rejection (Hörmann 1993, PTRS).
func poisson(r *rand.Rand, mean float64) uint64 {
	if mean <= 0 {
		return 0
	}
	if mean < 30 {
		limit, n := math.Exp(-mean), uint64(0)
		for p := r.Float64(); p > limit; p *= r.Float64() {
			n++
		}
		return n
	}
	logMean := math.Log(mean)
	b := 0.931 + 2.53*math.Sqrt(mean)
	a := -0.059 + 0.02483*b
	inverse := 1.1239 + 1.1328/(b-3.4)
	for {
		u, v := r.Float64()-0.5, 1-r.Float64()
		s := 0.5 - math.Abs(u)
		k := math.Floor((2*a/s+b)*u + mean + 0.43)
		if s >= 0.07 && v <= 0.9277-3.6224/(b-2) {
			return uint64(k)
		}
		if k < 0 || s < 0.013 && v > s {
			continue
		}
		g, _ := math.Lgamma(k + 1)
		if math.Log(v)+math.Log(inverse)-math.Log(a/(s*s)+b) <= k*logMean-mean-g {
			return uint64(k)
		}
	}
}

// binomial draws from Bin(n, p) by the gaps between successes.
func binomial(r *rand.Rand, n uint64, p float64) uint64 {
	switch {
	case p <= 0 || n == 0:
		return 0
	case p >= 1:
		return n
	case p > 0.5:
		return n - binomial(r, n, 1-p)
	}
	var x, at uint64
	l := math.Log1p(-p)
	for {
		gap := math.Floor(math.Log(1-r.Float64()) / l)
		if gap >= float64(n-at) {
			return x
		}
		at += uint64(gap) + 1
		x++
	}
}

// geometric draws how many failures there are before a success, with the given mean.
func geometric(r *rand.Rand, mean float64) int {
	if mean <= 0 {
		return 0
	}
	return int(math.Log(1-r.Float64()) / math.Log(mean/(1+mean)))
}

// alias draws from a finite distribution in constant time (Walker's method, as Vose builds it).
type alias struct {
	keep  []float64
	other []int
}

func newAlias(p []float64) alias {
	n := len(p)
	a := alias{make([]float64, n), make([]int, n)}
	scaled := make([]float64, n)
	var small, large []int
	for i, v := range p {
		if scaled[i] = v * float64(n); scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.keep[s], a.other[s] = scaled[s], l
		if scaled[l] -= 1 - scaled[s]; scaled[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) {
		a.keep[i], a.other[i] = 1, i
	}
	return a
}

func (a alias) draw(r *rand.Rand) int {
	u := r.Float64() * float64(len(a.keep))
	i := int(u)
	if u-float64(i) < a.keep[i] {
		return i
	}
	return a.other[i]
}
