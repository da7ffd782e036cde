package analysis

import "github.com/slipway-cd/slipway/internal/delivery"

// equivalence proves that a canary is neither worse nor better than stable beyond
// the promotion margin of a metric, which is what a change that should change
// nothing promises, and reason to promote it early. Two one-sided promotion tests
// run, one of them with the arms swapped; both must be proven, each at beta, and no
// correction is due (Berger, Technometrics 24, 1982).
type equivalence struct{ worse, better metricTest }

func newEquivalence(m delivery.Metric, p delivery.JudgePolicy) equivalence {
	return equivalence{worse: newMetricTest(m, p), better: newMetricTest(m, p)}
}

func (e equivalence) observe(r Reading) {
	e.worse.observe(r)
	r.Stable, r.Canary = r.Canary, r.Stable
	e.better.observe(r)
}

// proof returns the log evidence that the arms are equivalent.
func (e equivalence) proof() float64 { return min(e.worse.proof(), e.better.proof()) }

func (e equivalence) nextStep() {
	e.worse.nextStep()
	e.better.nextStep()
}
