package analysis

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// clustered draws errors that come mean at a time: retries of one caller.
func clustered(r *rand.Rand, n, share, mean float64) Value {
	v := Value{N: n}
	for range poisson(r, n*share/mean) {
		k := 1.0
		for r.Float64() > 1/mean {
			k++
		}
		v.Sum += k
	}
	v.Sum = min(v.Sum, n)
	return v
}

// Sums that others made may count one incident many times. As they are, they
// would fail nearly every healthy canary; tempered, none in sight.
func TestTempering(t *testing.T) {
	const reps, readings = 20, 200 // of 15 seconds: an hour
	for _, kind := range []delivery.MetricKind{delivery.KindShare, delivery.KindCount} {
		for _, mean := range []float64{1, 3, 10} {
			raw, tempered, found, proven := 0, 0, 0, 0
			for seed := range uint64(reps) {
				r := rand.New(rand.NewPCG(13, seed))
				m := MetricDefaults(delivery.Metric{Kind: kind, Add: 1e-9})
				m.Ratio = 1 + 1e-9 // no margin helps
				fresh := func() metricTest { return newMetricTest(m, Defaults(delivery.JudgePolicy{})) }
				plain, approx, bad := fresh(), fresh(), fresh()
				for range readings {
					s := clustered(r, 6750, .005, mean)
					c := clustered(r, 750, .005, mean)
					plain.observe(Reading{Stable: s, Canary: c})
					approx.observe(Reading{Stable: s, Canary: c, Approx: true})
					bad.observe(Reading{Stable: s, Canary: clustered(r, 750, .025, mean), Approx: true})
				}
				raw += one(plain.peak() >= math.Log(100))
				tempered += one(approx.peak() >= math.Log(100))
				found += one(bad.peak() >= math.Log(100))
				proven += one(approx.proof() >= math.Log(20))
			}
			t.Logf("%s, %v errors at a time: of %d alike %d are called worse as they are, %d tempered; %d proven; %d of the bad found", kind, mean, reps, raw, tempered, proven, found)
			if tempered > atMost(reps, .01) || found < reps-2 {
				t.Errorf("%s, %v errors at a time: %d of %d called worse, and %d of the bad found", kind, mean, tempered, reps, found)
			}
			if mean == 3 && kind == delivery.KindCount && raw < reps/2 { // a share is tempered by its swings in any case
				t.Errorf("%s: only %d of %d are called worse as they are: the test shows nothing", kind, raw, reps)
			}
		}
	}
}
