package analysis

import (
	"cmp"
	"math"
	"slices"
)

// eHolm says which of several nulls are rejected so that any of those that are
// true is rejected with a chance of at most alpha, whatever the dependence
// between their e-values, given as logs: closed testing with averages (Vovk and
// Wang, Annals of Statistics 49, 2021). A null is rejected if the average over
// every set that it is in reaches 1/alpha. The hardest set is the one with all
// that are below 1/alpha themselves, so one sum decides for all. Not-a-number
// counts as no evidence at all.
func eHolm(logs []float64, alpha float64) []bool {
	rejected := make([]bool, len(logs))
	missing := 0.0
	for _, v := range logs {
		missing += max(1-share(v, alpha), 0)
	}
	for i, v := range logs {
		over := share(v, alpha) - 1
		rejected[i] = over >= 0 && over >= missing
	}
	return rejected
}

// share is the part of 1/alpha that an e-value has reached.
func share(log, alpha float64) float64 {
	if math.IsNaN(log) {
		return 0
	}
	return math.Exp(log + math.Log(alpha))
}

// BenjaminiHochberg says which of several nulls are rejected by the e-BH rule
// (Wang and Ramdas, JRSS B 84, 2022): the k largest e-values, for the largest k of
// which the k-th is at least n/(alpha k). Of what it rejects, a share of at most
// alpha is expected to be true nulls, whatever the dependence between the
// e-values. Those that are not a number, or below 0, are no evidence. It is for
// experiments with many metrics or variants, where naming a few in vain is no harm.
func BenjaminiHochberg(e []float64, alpha float64) []bool {
	rejected := make([]bool, len(e))
	order := make([]int, len(e))
	for i := range order {
		order[i] = i
	}
	worth := func(i int) float64 {
		if e[i] >= 0 {
			return e[i]
		}
		return 0
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(worth(j), worth(i)) })
	for k := len(e); k > 0; k-- {
		if float64(k)*worth(order[k-1])*alpha >= float64(len(e)) {
			for _, i := range order[:k] {
				rejected[i] = true
			}
			break
		}
	}
	return rejected
}
