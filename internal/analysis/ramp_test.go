package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// arm draws one arm of n units of a healthy service whose base is at times of usual.
func (k kindOfService) arm(r *rand.Rand, n int, times float64) Value {
	switch k.kind {
	case delivery.KindShare:
		return Value{N: float64(n), Sum: float64(binomial(r, uint64(n), .01*times))}
	case delivery.KindCount:
		return Value{N: float64(n), Sum: float64(poisson(r, .02*float64(n)*times))}
	case delivery.KindLatency:
		v := Value{N: float64(n), Bins: map[int]uint32{}}
		for range n {
			v.Bins[Bin(.05*times*math.Exp(.8*r.NormFloat64()))]++
		}
		return v
	case delivery.KindMean, delivery.KindLevel:
	}
	if k.bounded {
		return sample(r, n, func(r *rand.Rand) float64 { return 100 * r.Float64() * r.Float64() }, times/3)
	}
	return sample(r, n, populations["exponential"], times)
}

type kindOfService struct {
	kind    delivery.MetricKind
	bounded bool
}

func (k kindOfService) metric() delivery.Metric {
	m := delivery.Metric{Kind: k.kind}
	if k.bounded {
		m.Low, m.High = new(0.0), new(100.0)
	}
	return MetricDefaults(m)
}

var services = []kindOfService{
	{delivery.KindShare, false}, {delivery.KindCount, false}, {delivery.KindLatency, false}, {delivery.KindMean, false}, {delivery.KindMean, true},
}

// Identical releases while the weight goes up in steps and the base goes up
// tenfold: sums over the steps would call the new one worse every time (Simpson's
// paradox), and no kind of metric does, without any margin to help.
func TestMetricsWhileBothRamp(t *testing.T) {
	const reps, blocks = 20, 240
	for _, k := range services {
		m := k.metric()
		m.Ratio, m.Add = 1+1e-9, 1e-9
		alarms := 0
		for seed := range uint64(reps) {
			r := rand.New(rand.NewPCG(17, seed))
			test := newMetricTest(m, Defaults(delivery.JudgePolicy{}))
			for i := range blocks {
				nc := []int{1, 5, 25, 50}[4*i/blocks]
				if 4*i%blocks == 0 && i > 0 {
					test.nextStep()
				}
				times := math.Pow(10, float64(i)/blocks-.5)
				test.observe(Reading{Stable: k.arm(r, 100-nc, times), Canary: k.arm(r, nc, times), Seconds: 1})
			}
			alarms += one(test.peak() >= math.Log(100))
		}
		if alarms > atMost(reps, .01) {
			t.Errorf("%s, bounded %v: %d of %d identical releases called worse", k.kind, k.bounded, alarms, reps)
		}
		t.Logf("%s, bounded %v: %d of %d called worse", k.kind, k.bounded, alarms, reps)
	}
}

// What is said to be needed is about what is needed.
func TestRemainingIsTrue(t *testing.T) {
	for _, k := range services {
		sum, n := 0.0, 0.0
		for seed := range uint64(15) {
			r := rand.New(rand.NewPCG(18, seed))
			test := newMetricTest(k.metric(), Defaults(delivery.JudgePolicy{}))
			said, from := math.Inf(1), 0.0
			for i := 0; test.proof() < math.Log(20) && i < 4000; i++ {
				if i == 12 {
					said, from = test.remaining(20), test.estimates().nCanary
				}
				test.observe(Reading{Stable: k.arm(r, 90, 1), Canary: k.arm(r, 10, 1), Seconds: 1})
			}
			took := test.estimates().nCanary - from
			if !math.IsInf(said, 0) { // it was not proven before it was asked
				sum += math.Log(took / said)
				n++
			}
		}
		if times := math.Exp(sum / n); n < 8 || times < .5 || times > 2 {
			t.Errorf("%s, bounded %v: took %.2f times what was said", k.kind, k.bounded, times)
		}
	}
}
