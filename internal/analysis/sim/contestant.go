package sim

import (
	"slices"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// decision is what a contestant says after a second.
type decision int

const (
	goOn     decision = iota
	promote           // the step is proven, as far as it is concerned
	rollback          // for good
	none              // it cannot tell, and says why
)

// contestant judges a rollout second by second.
type contestant interface {
	observe(s *second) decision
}

// entrant is a way to judge.
type entrant struct {
	Name  string
	About string
	Plan  []Step // of a scenario that leaves the weights to the policy
	enter func(b *blueprint, baseline analysis.Arm) contestant
}

// entrants returns everybody who can take part.
func entrants() []entrant {
	minutes := func(weights ...float64) []Step {
		var plan []Step
		for _, w := range weights {
			plan = append(plan, Step{Weight: w, Hold: 60})
		}
		return plan
	}
	return slices.Concat(kayentas(), slipways(), []entrant{
		{"oracle", "Wald's sequential test, told both error rates and all times beforehand", nil, newOracle},
		{
			"fixed 99 %", "Flagger's default: success of the canary in the last minute at least 99 %, one failed check", minutes(.1, .2, .3, .4, .5),
			func(*blueprint, analysis.Arm) contestant {
				return &fixed{least: .99, window: 60, every: 60, failures: 1}
			},
		},
		{
			"Flagger tutorial", "success at least 99 % each minute, ten points more a minute, five failed checks", minutes(.1, .2, .3, .4, .5),
			func(*blueprint, analysis.Arm) contestant {
				return &fixed{least: .99, window: 60, every: 60, failures: 5}
			},
		},
		{
			"fixed 99.9 %", "the same at 99.9 %, one failed check", minutes(.1, .2, .3, .4, .5),
			func(*blueprint, analysis.Arm) contestant {
				return &fixed{least: .999, window: 60, every: 60, failures: 1}
			},
		},
		{
			"Argo docs", "success at least 95 % each five minutes, failureLimit 3, weights 20 to 80 %",
			[]Step{{Weight: .2, Hold: 300}, {Weight: .4, Hold: 300}, {Weight: .6, Hold: 300}, {Weight: .8, Hold: 300}},
			func(*blueprint, analysis.Arm) contestant {
				return &fixed{least: .95, window: 300, every: 300, failures: 4}
			},
		},
		{
			"p99 500 ms", "Flagger's documented latency check, one failed check", minutes(.1, .2, .3, .4, .5),
			func(*blueprint, analysis.Arm) contestant {
				return &fixed{slowest: func(*blueprint) float64 { return .5 }, window: 60, every: 60, failures: 1}
			},
		},
		{
			"p99 known", "p99 of a minute at most 1.1 times what it is known to be", minutes(.1, .2, .3, .4, .5),
			func(*blueprint, analysis.Arm) contestant {
				return &fixed{slowest: func(b *blueprint) float64 { return 1.1 * b.Times.quantile(.99) }, window: 60, every: 60, failures: 1}
			},
		},
		{"ratio 1.2", "errors of five minutes above 1.2 times stable's, asked each minute, as people write it in PromQL", nil, newRatio},
		{"z each minute", "two proportions, all counts so far, one-sided 1 %", nil, newZ},
		{"GrowthBook", "its sequential test of a difference of shares (asymptotic confidence sequence, N* 5000), each second", nil, newGrowthBook},
		{"KS each minute", "Kolmogorov and Smirnov on all times so far, one-sided 1 %", nil, newKS},
		{"CDF band", "Howard and Ramdas' band around both distributions, as Lindon et al. use it, each second", nil, newBand},
	})
}

// slipways are our own judge, by what it is asked to find.
func slipways() []entrant {
	careful := []Step{{Weight: .01, Hold: 10}, {Weight: .1, Hold: 10, Proven: true}, {Weight: .5, Hold: 10, Proven: true}}
	judged := func(name, about string, p delivery.JudgePolicy) entrant {
		return entrant{name, about, careful, func(b *blueprint, before analysis.Arm) contestant { return newOurs(b, before, p) }}
	}
	return []entrant{
		judged("slipway", "internal/analysis with its default margins", defaults()),
		judged("slipway, no margin", "the same, asked to find any harm", strict()),
		judged("slipway, errors only", "the default margins of a policy that judges errors and nothing else", only(defaults(), delivery.FamilyErrors)),
		judged("slipway, errors only, no margin", "the same, asked to find any harm", only(strict(), delivery.FamilyErrors)),
		judged("slipway, latency only", "the default margins of a policy that judges latency and nothing else", only(defaults(), delivery.FamilyLatency)),
		judged("slipway, latency only, no margin", "the same, asked to find any harm", only(strict(), delivery.FamilyLatency)),
		{
			"slipway, counts alone", "the same without sticky keys: each request is taken for a caller of its own", careful,
			func(b *blueprint, before analysis.Arm) contestant {
				o := newOurs(b, before, defaults())
				o.raw = true
				return o
			},
		},
	}
}

func entrantNamed(name string) (entrant, bool) {
	all := entrants()
	i := slices.IndexFunc(all, func(e entrant) bool { return e.Name == name })
	if i < 0 {
		return entrant{}, false
	}
	return all[i], true
}
