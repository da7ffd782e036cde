package analysis

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// bySubsets is the closed test as it is defined: over all sets of nulls.
func bySubsets(logs []float64, alpha float64) []bool {
	rejected := make([]bool, len(logs))
	for i := range logs {
		rejected[i] = true
		for set := range 1 << len(logs) {
			if set>>i&1 == 0 {
				continue
			}
			sum, n := 0.0, 0.0
			for k, v := range logs {
				if set>>k&1 == 1 {
					sum += math.Exp(v)
					n++
				}
			}
			if sum*alpha < n*(1-1e-12) {
				rejected[i] = false
			}
		}
	}
	return rejected
}

func TestEHolmIsTheClosedTest(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		logs := rapid.SliceOfN(rapid.Custom(func(r *rapid.T) float64 {
			return float64(rapid.IntRange(-20, 60).Draw(r, "tenths")) / 7.3
		}), 1, 9).Draw(r, "logs")
		alpha := rapid.SampledFrom([]float64{.01, .05, .2}).Draw(r, "alpha")
		if got, want := eHolm(logs, alpha), bySubsets(logs, alpha); !slices.Equal(got, want) {
			r.Fatalf("eHolm(%v, %v) = %v, all subsets say %v", logs, alpha, got, want)
		}
	})
}

func TestEHolmEdges(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		logs []float64
		want []bool
	}{
		{nil, []bool{}},
		{[]float64{math.Log(100) * (1 + 1e-12)}, []bool{true}},
		{[]float64{4.6}, []bool{false}},
		{[]float64{inf, 0, nan}, []bool{true, false, false}},
		{[]float64{1e9, -1e9, 6}, []bool{true, false, true}},
		{[]float64{5, math.Inf(-1)}, []bool{false, false}}, // 148 of 100, but the average of both is 74
	} {
		if got := eHolm(c.logs, .01); !slices.Equal(got, c.want) {
			t.Errorf("eHolm(%v) = %v, want %v", c.logs, got, c.want)
		}
	}
}

// e-BH by its definition, on the edge exactly.
func TestBenjaminiHochberg(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		e := rapid.SliceOfN(rapid.Float64Range(0, 300), 1, 12).Draw(r, "e")
		got := BenjaminiHochberg(e, .05)
		k := 0
		for _, yes := range got {
			if yes {
				k++
			}
		}
		least := math.Inf(1)
		for i, yes := range got {
			if yes {
				least = min(least, e[i])
			}
		}
		n := float64(len(e))
		if k > 0 && float64(k)*least*.05 < n {
			r.Fatalf("%d of %v rejected, the least of them %v is below %v", k, e, least, n/.05/float64(k))
		}
		sorted := slices.Sorted(slices.Values(e))
		slices.Reverse(sorted)
		for i, v := range sorted {
			if float64(i+1)*v*.05 >= n && k < i+1 {
				r.Fatalf("%d of %v rejected, want at least %d", k, e, i+1)
			}
		}
	})
	if got, want := BenjaminiHochberg([]float64{math.NaN(), 60, -1, 60, math.Inf(1), 1}, .05), []bool{false, true, false, true, true, false}; !slices.Equal(got, want) {
		t.Errorf("with no numbers among them %v, want %v", got, want)
	}
	if got := BenjaminiHochberg([]float64{20, 19.9}, .05); slices.Contains(got, true) {
		t.Errorf("20 and 19.9 of two at 0.05: %v, want none", got)
	}
}
