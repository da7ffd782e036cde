package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// families are averaged into the evidence against a release: errors and latency.
const families = 2

// suspicion is the evidence from which a verdict mentions signs of harm.
const suspicion = 5

// Verdict returns the judge's word as of the last block. Fail stays once it is
// reached. Pass needs every promotion test to have reached 1/beta within this
// step, and a little exposure. Its At is left zero: a judge has no clock.
//
// A check's FailAt is the evidence that fails the rollout by itself; several
// checks that are each below it may do so together.
func (j *Judge) Verdict() delivery.Verdict {
	v := delivery.Verdict{
		Evidence: number(j.evidence()),
		Limit:    1 / j.policy.Alpha,
		Seconds:  j.units.blocks,
		LeftOut:  j.left.blocks,
		Why:      j.left.String(),
		Checks:   []delivery.Check{j.errorCheck()},
	}
	for i := range j.latency.proofs {
		v.Checks = append(v.Checks, j.latencyCheck(&j.latency.proofs[i]))
	}
	v.Outcome = j.outcome(v.Checks)
	if v.Outcome == delivery.Fail {
		v.Checks = j.addCulprit(v.Checks)
	}
	v.Sentence = j.sentence(v)
	return v
}

func (j *Judge) outcome(checks []delivery.Check) delivery.Outcome {
	switch {
	case j.failed:
		return delivery.Fail
	case j.broken != "":
		return delivery.Broken
	case j.units.blocks == 0:
		return delivery.NoData
	case j.step.nc < leastUnits || j.step.blocks < leastBlocks || len(checks) != 1+len(proven):
		return delivery.Inconclusive
	case slices.ContainsFunc(checks, func(c delivery.Check) bool { return c.For < c.PassAt }):
		return delivery.Inconclusive
	}
	return delivery.Pass
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

func (j *Judge) errorCheck() delivery.Check {
	e := &j.errors
	c := delivery.Check{
		Name: "errors", Metric: "error rate", Unit: "share",
		NStable: uint64(e.seen.nb), NCanary: uint64(e.seen.nc),
		Bad: uint64(e.seen.xc), BadStable: uint64(e.seen.xb),
	}
	c.Stable, c.Canary = e.seen.shares()
	c.Low, c.High = e.interval()
	j.weigh(&c, e.against, e.promote.peak, families/j.policy.Alpha)
	c.Sentence = j.errorSentence(c)
	return c
}

// weigh fills in the evidence and its limits.
func (j *Judge) weigh(c *delivery.Check, against mixture, proof, failAt float64) {
	c.Against, c.For = number(against.evidence()), number(proof)
	c.FailAt, c.PassAt = failAt, 1/j.policy.Beta
	c.PValue = min(1, math.Exp(-against.peak))
	c.Outcome = each(*c)
}

// latencyCheck describes a quantile that promotion needs. Its counts are the
// units above the rollback threshold of that quantile, wherever it was in their second.
func (j *Judge) latencyCheck(p *proof) delivery.Check {
	t := &j.latency.thresholds[slices.Index(quantiles[:], p.quantile)]
	c := j.thresholdCheck(t)
	c.Name = quantileName(p.quantile)
	c.Low, c.High, _ = slower(p.bounds, Edge(p.bin+1))
	c.For = number(p.promote.peak)
	c.Outcome = each(c)
	c.Stable, c.Canary = j.latency.estimate(p.quantile, t.seen.nc)
	c.Sentence = j.latencySentence(c, p, t)
	return c
}

// thresholdCheck describes a rollback test that no promotion test goes with.
func (j *Judge) thresholdCheck(t *threshold) delivery.Check {
	c := delivery.Check{
		Name: quantileName(t.quantile), Metric: "latency", Unit: "s",
		NStable: uint64(t.seen.nb), NCanary: uint64(t.seen.nc),
		Bad: uint64(t.seen.xc), BadStable: uint64(t.seen.xb),
	}
	c.Stable, c.Canary = j.latency.estimate(t.quantile, t.seen.nc)
	c.Low, c.High, _ = slower(nil, Edge(t.bin))
	j.weigh(&c, t.against, 0, families*float64(len(j.latency.thresholds))/j.policy.Alpha)
	c.Sentence = fmt.Sprintf("%s %s against %s on stable: %s", c.Name, seconds(c.Canary), seconds(c.Stable), over(c, t))
	return c
}

// estimate returns the quantile q of both arms, in seconds; 0 before anything was seen.
func (l *latencyTest) estimate(q, units float64) (stable, canary float64) {
	if units == 0 {
		return 0, 0
	}
	return quantileOf(&l.stable, units, q), quantileOf(&l.canary, units, q)
}

// addCulprit puts the check with the most evidence first. It may be a quantile
// that promotion does not ask for.
func (j *Judge) addCulprit(checks []delivery.Check) []delivery.Check {
	for i := range j.latency.thresholds {
		c := j.thresholdCheck(&j.latency.thresholds[i])
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
func blame(c delivery.Check) float64 { return c.Against / c.FailAt }

func (j *Judge) sentence(v delivery.Verdict) string {
	requests := count(uint64(j.units.nc))
	switch v.Outcome {
	case delivery.Fail:
		return "the new release is worse: " + v.Checks[0].Sentence
	case delivery.Broken:
		return "cannot judge: " + j.broken
	case delivery.NoData:
		return "no data: " + cmp.Or(j.left.String(), "nothing was counted yet")
	case delivery.Pass:
		return fmt.Sprintf("the new release is proven fit: errors below %s of stable plus %s, %s less than %s slower, in %s requests to it",
			factor(j.policy.PromoteErrorRatio), points(j.policy.PromoteErrorAdd), list(names(v.Checks[1:])),
			percent(j.policy.PromoteLatency), requests)
	case delivery.Inconclusive:
	}
	switch {
	case j.step.nc < leastUnits || j.step.blocks < leastBlocks:
		return fmt.Sprintf("not enough data: %s to the new release so far in this step", plural(uint64(j.step.nc), "request"))
	case len(j.latency.proofs) == 0:
		return fmt.Sprintf("not enough data: latency thresholds need %d requests to stable, %d so far", tuningUnits, int(j.latency.recent.units()))
	}
	found := "no harm found"
	if v.Evidence >= suspicion {
		worst := slices.MaxFunc(v.Checks, func(a, b delivery.Check) int { return cmp.Compare(blame(a), blame(b)) })
		found = fmt.Sprintf("signs of harm (evidence %s of %s; %s)", short(v.Evidence, 2), short(v.Limit, 3), worst.Sentence)
	}
	return fmt.Sprintf("%s in %s requests to the new release, and %s", found, requests, j.missing(v.Checks))
}

// missing says which proofs are outstanding and about how long they take.
func (j *Judge) missing(checks []delivery.Check) string {
	var open []string
	more := 0.0
	for i, c := range checks {
		if c.For >= c.PassAt {
			continue
		}
		open = append(open, c.Name)
		if i == 0 {
			more = max(more, j.errors.remaining(c.PassAt))
		} else {
			more = max(more, j.latency.remaining(&j.latency.proofs[i-1], c.PassAt))
		}
	}
	verb := "are"
	if len(open) == 1 && open[0] != "errors" {
		verb = "is"
	}
	s := fmt.Sprintf("%s %s not proven fit yet", list(open), verb)
	if more > 1e7 {
		return s + "; at this rate a person must decide"
	}
	return fmt.Sprintf("%s: needs about %s more", s, count(roundUp(more)))
}

// roundUp rounds an estimate up to two digits.
func roundUp(v float64) uint64 {
	unit := math.Pow(10, max(0, math.Floor(math.Log10(max(v, 1)))-1))
	return uint64(math.Ceil(max(v, 1)/unit) * unit)
}

// String lists the reasons: "3 seconds: the split changed; 1 second: no request to the new release".
func (l *leftOut) String() string {
	parts := make([]string, 0, len(l.reasons))
	for _, r := range l.reasons {
		parts = append(parts, plural(uint64(r.n), "second")+": "+r.why)
	}
	return strings.Join(parts, "; ")
}
