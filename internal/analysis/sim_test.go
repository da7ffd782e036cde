package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// service is a model of stable and canary traffic: second by second it gives
// the chance of an error and the time of an answer.
type service struct {
	rps     float64
	share   func(second int) float64                  // of the canary
	errors  func(second int) (stable, canary float64) // shares
	latency func(r *rand.Rand, canary bool) float64   // seconds
	samples int                                       // most answers drawn per arm and second; 0 draws all
}

// binomial draws from Bin(n, p); exact by inversion over the mode-free range, for the n used here.
func binomial(r *rand.Rand, n uint64, p float64) uint64 {
	if p <= 0 || n == 0 {
		return 0
	}
	if p >= 1 {
		return n
	}
	if p > 0.5 {
		return n - binomial(r, n, 1-p)
	}
	// geometric gaps between successes
	var x, at uint64
	l := math.Log1p(-p)
	for {
		gap := math.Floor(math.Log(1-r.Float64()) / l)
		if gap >= float64(n-at) {
			return x
		}
		at += uint64(gap) + 1
		x++
		if at >= n {
			return x
		}
	}
}

func poisson(r *rand.Rand, mean float64) uint64 {
	var n uint64
	for at := r.ExpFloat64(); at < mean; at += r.ExpFloat64() {
		n++
	}
	return n
}

func (s service) arm(r *rand.Rand, n uint64, p float64, canary bool) Arm {
	a := Arm{Units: n, Bad: binomial(r, n, p)}
	if s.latency == nil {
		return a
	}
	a.Bins = make(map[int]uint32, 128)
	for range n {
		a.Bins[Bin(s.latency(r, canary))]++
	}
	return a
}

func (s service) block(r *rand.Rand, second int) Block {
	w := 0.1
	if s.share != nil {
		w = s.share(second)
	}
	pb, pc := s.errors(second)
	return Block{
		Second: int64(second),
		Stable: s.arm(r, poisson(r, s.rps*(1-w)), pb, false),
		Canary: s.arm(r, poisson(r, s.rps*w), pc, true),
	}
}

// baseline is a minute of stable alone.
func (s service) baseline(r *rand.Rand) Arm {
	pb, _ := s.errors(0)
	return s.arm(r, poisson(r, s.rps*60), pb, false)
}

func BenchmarkObserve(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	s := service{rps: 500,
		errors:  func(int) (float64, float64) { return .005, .005 },
		latency: func(r *rand.Rand, c bool) float64 { return 0.05 * math.Exp(.8*r.NormFloat64()) },
	}
	blocks := make([]Block, 64)
	for i := range blocks {
		blocks[i] = s.block(r, i)
	}
	j := New(delivery.JudgePolicy{}, s.baseline(r))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k := blocks[i%len(blocks)]
		k.Second = int64(i)
		if err := j.Observe(k); err != nil {
			b.Fatal(err)
		}
	}
}
