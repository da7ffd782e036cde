package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// checks describes every test: errors, the quantiles that promotion needs, the
// policy's metrics in its order, and mirrored requests. In a step that is judged
// by mirrored requests alone only these are required.
func (j *Judge) checks() []delivery.Check {
	all := make([]delivery.Check, 0, 1+len(j.latency.proofs)+len(j.metrics.all)+2)
	all = append(all, j.errorCheck())
	for i := range j.latency.proofs {
		all = append(all, j.latencyCheck(&j.latency.proofs[i]))
	}
	for i := range all {
		all[i].Role = j.roleOf(all[i])
		all[i].Outcome = ruled(all[i])
	}
	for i := range j.metrics.all {
		all = append(all, j.metricCheck(&j.metrics.all[i]))
	}
	if j.mirror.begun {
		all = append(all,
			j.mirrorCheck("copies that fail", "of both answers only this one is bad", j.mirror.bad),
			j.mirrorCheck("copies that are slow", "of both answers only this one is slow", j.mirror.slow))
	}
	return all
}

// roleOf is what a check of the service's own requests decides.
func (j *Judge) roleOf(c delivery.Check) delivery.Role {
	family := delivery.FamilyErrors
	if c.Metric == "latency" {
		family = delivery.FamilyLatency
	}
	switch {
	case !decides(j.policy, family):
		return delivery.Watch
	case j.mirrored():
		return delivery.Guard
	}
	return delivery.Required
}

// ruled is the outcome of a check in its role: one that is only shown fails nothing.
func ruled(c delivery.Check) delivery.Outcome {
	if c.Role == delivery.Watch && c.Outcome == delivery.Fail {
		return delivery.Inconclusive
	}
	return c.Outcome
}

// each decides one check: a check passes or fails by its own limits.
func each(c delivery.Check) delivery.Outcome {
	switch {
	case c.NCanary == 0 || c.NStable == 0:
		return delivery.NoData
	case c.Against >= c.FailAt:
		return delivery.Fail
	case c.For >= c.PassAt:
		return delivery.Pass
	}
	return delivery.Inconclusive
}

// share is the part of all evidence that one of the families is, before mirrored
// requests take theirs.
func (j *Judge) share() float64 {
	s := 1 / j.families()
	if j.mirror.begun {
		s *= 1 - mirrorShare
	}
	return s
}

func (j *Judge) errorCheck() delivery.Check {
	e := &j.errors
	c := delivery.Check{
		Name: "errors", Metric: "error rate", Unit: "share",
		NStable: uint64(e.seen.nb), NCanary: uint64(e.seen.nc),
		Bad: uint64(e.seen.xc), BadStable: uint64(e.seen.xb),
	}
	c.Stable, c.Canary = e.seen.shares()
	c.Low, c.High = e.interval()
	j.weighed(&c, e.against.evidence(), e.against.peak, e.promote.peak, j.share())
	j.sayErrors(&c)
	if a := j.again; a.nc+a.nb > 0 {
		c.Missing = fmt.Sprintf("%s to the new release and %s to stable are left out, of callers that failed or were slow before: %s and %s of them failed",
			plural(uint64(a.nc), "request"), count(uint64(a.nb)), count(uint64(a.xc)), count(uint64(a.xb)))
	}
	return c
}

// weighed fills in the evidence and its limits; share is the part of the whole
// that the test is.
func (j *Judge) weighed(c *delivery.Check, against, peak, proof, share float64) {
	c.Against, c.For = number(against), number(proof)
	c.FailAt, c.PassAt = 1/(j.policy.Alpha*share), 1/j.policy.Beta
	c.PValue = min(1, math.Exp(-peak))
	c.Outcome = each(*c)
}

// latencyCheck describes a quantile that promotion needs. Its counts are the
// units above the rollback threshold of that quantile, wherever it was in their second.
func (j *Judge) latencyCheck(p *proof) delivery.Check {
	t := j.thresholdOf(p)
	c := j.overThreshold(t)
	seen := t.countedFor(p)
	c.NStable, c.NCanary, c.Bad, c.BadStable = uint64(seen.nb), uint64(seen.nc), uint64(seen.xc), uint64(seen.xb)
	low, high, _ := slower(p.bounds, Edge(p.bin+1))
	c.Low, c.High = bounded(low), bounded(high)
	c.For = number(p.promote.peak)
	c.Outcome = each(c)
	c.Stable, c.Canary = j.latency.estimate(p.quantile, j.latency.counted)
	c.Missing = j.latency.cold.left(j.policy)
	j.sayLatency(&c, p, t)
	return c
}

// countedFor returns what people are told was counted at the quantile of a proof:
// what the rollback test did, and before there is a warm second what proves the
// release fit all the same.
func (t *threshold) countedFor(p *proof) *seen {
	if t.seen.blocks == 0 {
		return &p.seen
	}
	return &t.seen
}

// thresholdOf returns the rollback test at the quantile of a proof.
func (j *Judge) thresholdOf(p *proof) *threshold {
	return &j.latency.thresholds[slices.Index(quantiles[:], p.quantile)]
}

// thresholdCheck describes a rollback test that no promotion test goes with.
func (j *Judge) thresholdCheck(t *threshold) delivery.Check {
	c := j.overThreshold(t)
	c.Stable, c.Canary = j.latency.estimate(t.quantile, j.latency.counted)
	c.Low, c.High = -math.MaxFloat64, math.MaxFloat64 // no interval is kept of it
	compare(&c, c.Name, delivery.CheckWords{Canary: seconds(c.Canary), Stable: seconds(c.Stable), Counts: over(c, t)})
	return c
}

// overThreshold has the counts and the evidence of a rollback test.
func (j *Judge) overThreshold(t *threshold) delivery.Check {
	c := delivery.Check{
		Name: quantileName(t.quantile), Metric: "latency", Unit: "s",
		NStable: uint64(t.seen.nb), NCanary: uint64(t.seen.nc),
		Bad: uint64(t.seen.xc), BadStable: uint64(t.seen.xb),
	}
	share := j.share() / float64(len(j.latency.thresholds))
	if j.latency.cold.against != nil {
		share *= 1 - coldShare
	}
	j.weighed(&c, t.against.evidence(), t.against.peak, 0, share)
	return c
}

// estimate returns the quantile q of both arms, in seconds; 0 before anything was seen.
func (l *latencyTest) estimate(q, units float64) (stable, canary float64) {
	if units == 0 {
		return 0, 0
	}
	return quantileOf(&l.stable, units, q), quantileOf(&l.canary, units, q)
}

// metricCheck describes a metric of the policy.
func (j *Judge) metricCheck(m *judgedMetric) delivery.Check {
	e := m.test.estimates()
	c := delivery.Check{
		Name: m.Name, Metric: m.Name, Unit: m.Unit, Kind: m.Kind, Role: m.Role, Approx: m.approx,
		Stable: finiteOr0(e.stable), Canary: finiteOr0(e.canary),
		NStable: whole64(e.nStable), NCanary: whole64(e.nCanary),
		Bad: whole64(e.badCanary), BadStable: whole64(e.badStable),
	}
	low, high, known := m.test.interval()
	c.Low, c.High = bounded(low), bounded(high)
	share := j.share() / float64(max(j.metrics.deciding, 1))
	j.weighed(&c, m.test.evidence(), m.test.peak(), m.test.proof(), share)
	var absent bool
	c.Missing, absent = j.metrics.missing(m)
	c.Outcome = ruled(c)
	if absent {
		c.Outcome = delivery.NoData
	}
	j.sayMetric(&c, known)
	return c
}

// mirrorCheck describes a test of pairs.
func (j *Judge) mirrorCheck(name, metric string, t *pairedTest) delivery.Check {
	e := t.estimates()
	c := delivery.Check{
		Name: name, Metric: metric, Unit: "share", Role: delivery.Guard,
		Stable: e.stable, Canary: e.canary,
		NStable: whole64(e.nStable), NCanary: whole64(e.nCanary), Bad: whole64(e.badCanary), BadStable: whole64(e.badStable),
	}
	if j.mirrored() {
		c.Role = delivery.Required
	}
	low, high, _ := t.interval()
	c.Low, c.High = bounded(low), bounded(high)
	j.weighed(&c, t.evidence(), t.peak(), t.proof(), mirrorShare/2)
	c.Sentence = fmt.Sprintf("%s: %s of the pairs against %s the other way round, %s and %s of %s",
		name, percent(c.Canary), percent(c.Stable), count(c.Bad), count(c.BadStable), count(c.NCanary))
	return c
}

// bounded keeps a number within what JSON can write.
func bounded(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return min(max(v, -math.MaxFloat64), math.MaxFloat64)
}

func finiteOr0(v float64) float64 {
	if math.IsInf(v, 0) {
		return 0
	}
	return bounded(v)
}

// whole64 rounds a count that is not negative.
func whole64(v float64) uint64 {
	if !(v > 0) {
		return 0
	}
	return uint64(min(math.Round(v), 1<<63))
}

// addCulprit puts the check with the most evidence first. It may be a quantile
// that promotion does not ask for.
func (j *Judge) addCulprit(checks []delivery.Check) []delivery.Check {
	var more []delivery.Check
	if decides(j.policy, delivery.FamilyLatency) {
		for i := range j.latency.thresholds {
			more = append(more, j.thresholdCheck(&j.latency.thresholds[i]))
		}
		if j.latency.cold.against != nil {
			more = append(more, j.coldCheck())
		}
	}
	for _, c := range more {
		known := slices.ContainsFunc(checks, func(k delivery.Check) bool { return k.Name == c.Name })
		if !known && !slices.ContainsFunc(checks, func(k delivery.Check) bool { return blame(k) >= blame(c) }) {
			checks = append(checks, c)
		}
	}
	slices.SortStableFunc(checks, func(a, b delivery.Check) int { return cmp.Compare(blame(b), blame(a)) })
	checks[0].Outcome = delivery.Fail
	return checks
}

// blame is a check's share of the limit that it reached.
func blame(c delivery.Check) float64 {
	if c.Role == delivery.Watch {
		return 0
	}
	return c.Against / c.FailAt
}

// nameCulprits marks the checks that are worse beyond doubt however many there
// are (e-Holm): errors, latency as a whole by its worst check, each metric that may
// fail a rollout, and mirrored requests.
func (j *Judge) nameCulprits(checks []delivery.Check) {
	var logs []float64
	var of []int // the check of each
	slowest := -1
	for i, c := range checks {
		switch {
		case c.Role == delivery.Watch:
			continue
		case c.Metric == "latency" && c.Kind == "":
			if slowest < 0 || blame(c) > blame(checks[slowest]) {
				slowest = i
			}
			continue
		}
		logs, of = append(logs, math.Log(c.Against)), append(of, i)
	}
	if slowest >= 0 {
		logs, of = append(logs, j.latency.evidence()), append(of, slowest)
	}
	for k, named := range eHolm(logs, j.policy.Alpha) {
		checks[of[k]].Culprit = named
	}
}
