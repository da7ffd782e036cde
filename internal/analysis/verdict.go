package analysis

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// suspicion is the evidence from which a verdict mentions signs of harm.
const suspicion = 5

// Verdict returns the judge's word as of the last block. Fail stays once it is
// reached. Pass needs every promotion test to have reached 1/beta within this
// step, and a little exposure. Its At is left zero: a judge has no clock.
//
// A check's FailAt is the evidence that fails the rollout by itself; several
// checks that are each below it may do so together. It is put into words once
// for each thing that the judge was told, however often it is asked for.
func (j *Judge) Verdict() delivery.Verdict {
	if j.word == nil {
		v := j.speak()
		j.word = &v
	}
	v := *j.word
	v.Checks = slices.Clone(v.Checks)
	return v
}

func (j *Judge) speak() delivery.Verdict {
	v := delivery.Verdict{
		Evidence: number(j.evidence()),
		Limit:    1 / j.policy.Alpha,
		Seconds:  max(j.units.blocks, j.mirror.seconds),
		LeftOut:  j.left.blocks,
		Why:      j.left.String(),
		Checks:   j.checks(),
	}
	if !j.failed {
		v.Invalid, v.Incident = j.trust.why, j.whole.incident()
	}
	v.Outcome = j.outcome(v)
	if v.Outcome == delivery.Fail {
		v.Checks = j.addCulprit(v.Checks)
	}
	j.nameCulprits(v.Checks)
	v.Sentence = j.sentence(v)
	return v
}

// outcome decides. What cannot be judged comes first, then what keeps any
// release from moving on, then what is missing.
func (j *Judge) outcome(v delivery.Verdict) delivery.Outcome {
	switch {
	case j.failed:
		return delivery.Fail
	case v.Invalid != "" || j.trouble() != "":
		return delivery.Broken
	case v.Seconds == 0:
		return delivery.NoData
	case v.Incident != "" || j.little() != "" || j.gone.gone(j.last, j.step) != "" || j.trust.suspect() != "" || v.Evidence >= doubt:
		return delivery.Inconclusive
	case slices.ContainsFunc(v.Checks, j.holdsUp), j.trust.split.missing():
		return delivery.Inconclusive
	}
	return delivery.Pass
}

// trouble says why the input cannot be judged; "" if it can.
func (j *Judge) trouble() string {
	return cmp.Or(j.broken, j.behind.clock(j.last), j.metrics.refused())
}

// holdsUp says whether a check keeps the release from moving on.
func (j *Judge) holdsUp(c delivery.Check) bool {
	if c.Role != delivery.Required {
		return false
	}
	if i, ok := j.metrics.index[c.Name]; ok && c.Kind != "" {
		return !j.metrics.proven(&j.metrics.all[i], c.PassAt)
	}
	return c.For < c.PassAt
}

// mirrored says whether this step is judged by mirrored requests alone.
func (j *Judge) mirrored() bool { return j.step.blocks == 0 && j.mirror.pairs > 0 }

// little says what exposure is missing before any proof counts; "" if it is enough.
func (j *Judge) little() string {
	least := max(leastUnits, float64(j.policy.AtLeast))
	switch {
	case j.mirrored() && j.mirror.pairs < least:
		return plural(uint64(j.mirror.pairs), "mirrored request") + " so far in this step"
	case j.mirrored():
		return ""
	case j.step.nc < least || j.step.blocks < leastBlocks:
		return plural(uint64(j.step.nc), "request") + " to the new release so far in this step"
	case len(j.latency.proofs) == 0 && decides(j.policy, delivery.FamilyLatency):
		return fmt.Sprintf("latency thresholds need %d requests to stable, %d so far", tuningUnits, int(j.latency.recent.units()))
	}
	return ""
}

// sentence sums a verdict up.
func (j *Judge) sentence(v delivery.Verdict) string {
	switch v.Outcome {
	case delivery.Fail:
		if late := j.lately(v.Checks[0]); late != "" {
			return "the new release became worse: " + late + "; over all, " + v.Checks[0].Sentence
		}
		return "the new release is worse: " + v.Checks[0].Sentence
	case delivery.Broken:
		if v.Invalid != "" && j.broken == "" {
			return "the releases cannot be compared: " + v.Invalid
		}
		return "cannot judge: " + j.trouble()
	case delivery.NoData:
		return "no data: " + cmp.Or(j.left.String(), "nothing was counted yet")
	case delivery.Pass:
		return j.fit(v) + j.unguarded()
	case delivery.Inconclusive:
	}
	gone, little := j.gone.gone(j.last, j.step), j.little()
	switch {
	case v.Incident != "":
		return "incident, nothing moves on: " + v.Incident
	case gone != "":
		return gone
	case little != "":
		return "not enough data: " + little
	}
	if why := j.trust.suspect(); why != "" {
		return why
	}
	found := "no harm found"
	if v.Evidence >= suspicion {
		worst := slices.MaxFunc(v.Checks, func(a, b delivery.Check) int { return cmp.Compare(blame(a), blame(b)) })
		found = fmt.Sprintf("signs of harm (evidence %s of %s; %s)", short(v.Evidence, 2), short(v.Limit, 3), worst.Sentence)
	}
	s := fmt.Sprintf("%s in %s, and %s", found, j.exposure(), j.outstanding(v.Checks))
	switch {
	case slices.ContainsFunc(v.Checks, j.holdsUp):
	case v.Evidence >= doubt:
		s = fmt.Sprintf("%s in %s: it was proven fit before, and does not go on while they last", found, j.exposure())
	default:
		s = fmt.Sprintf("%s in %s, and it does not go on while callers of it may not be counted: %s",
			found, j.exposure(), j.trust.split.drawn())
	}
	if why := j.latency.cold.now(j.policy); why != "" {
		s += "; " + why
	}
	return s + j.lasting() + j.unguarded()
}

// unguarded says which guards see nothing.
func (j *Judge) unguarded() string {
	if names := j.metrics.absentGuards(); len(names) > 0 {
		return "; there are no data on " + list(names)
	}
	return ""
}

// exposure says what the new release was asked.
func (j *Judge) exposure() string {
	if j.mirrored() {
		return count(uint64(j.mirror.pairs)) + " mirrored requests"
	}
	return count(uint64(j.units.nc)) + " requests to the new release"
}

// fit says what was proven.
func (j *Judge) fit(v delivery.Verdict) string {
	if j.mirrored() {
		return fmt.Sprintf("the new release is proven fit on copies: it alone fails or is slow hardly more often than stable alone, in %s", j.exposure())
	}
	var slow, rest, proven []string
	for _, c := range v.Checks {
		switch {
		case c.Role != delivery.Required:
		case c.Name == "errors" && c.Kind == "":
			proven = append(proven, fmt.Sprintf("errors below %s of stable plus %s", factor(j.policy.PromoteErrorRatio), points(j.policy.PromoteErrorAdd)))
		case c.Kind == "":
			slow = append(slow, c.Name)
		default:
			rest = append(rest, c.Name)
		}
	}
	if len(slow) > 0 {
		proven = append(proven, fmt.Sprintf("%s less than %s slower", list(slow), percent(j.policy.PromoteLatency)))
	}
	if len(rest) > 0 {
		proven = append(proven, list(rest)+" within bounds")
	}
	return fmt.Sprintf("the new release is proven fit: %s, in %s requests to it", strings.Join(proven, ", "), count(uint64(j.units.nc)))
}

// outstanding says which proofs are and about how long they take.
func (j *Judge) outstanding(checks []delivery.Check) string {
	var open []string
	more, never := 0.0, false
	for i, c := range checks {
		if !j.holdsUp(c) {
			continue
		}
		open = append(open, c.Name)
		if c.Kind != "" {
			if needs := j.needs(c); needs != "" {
				open[len(open)-1] += " (" + needs + ")"
			}
			continue
		}
		switch {
		case j.mirrored():
			more = max(more, j.mirror.remaining(c.PassAt))
		case i == 0:
			more = max(more, j.errors.remaining(c.PassAt))
		default:
			more = max(more, j.latency.remaining(&j.latency.proofs[i-1], c.PassAt))
		}
		never = more > 1e7
	}
	verb := "are"
	if len(open) == 1 && open[0] != "errors" {
		verb = "is"
	}
	s := fmt.Sprintf("%s %s not proven fit yet", list(open), verb)
	switch {
	case never:
		return s + "; at this rate a person must decide"
	case more == 0:
		return s
	}
	return fmt.Sprintf("%s: needs about %s more", s, count(roundUp(more)))
}

// needs says what a required metric is without: its data, or about how much more
// of them; "" is not known.
func (j *Judge) needs(c delivery.Check) string {
	i, ok := j.metrics.index[c.Name]
	if !ok || c.NCanary == 0 {
		return c.Missing
	}
	more := j.metrics.all[i].test.remaining(c.PassAt)
	switch {
	case more == 0 || more > 1e7:
		return ""
	case c.Kind == delivery.KindLevel:
		return fmt.Sprintf("about %s s more", count(roundUp(more)))
	}
	return fmt.Sprintf("about %s more", count(roundUp(more)))
}

// lasting says that most failures come from callers that failed before, which
// keeps the release from being proven and is no evidence against it either.
func (j *Judge) lasting() string {
	bad := j.errors.proof.at(j.units.xb / max(j.units.nb, 1))
	if !decides(j.policy, delivery.FamilyErrors) || j.again.xc < leastFailures || 2*j.again.xc < j.units.xc || j.units.xc < bad*j.units.nc {
		return ""
	}
	return fmt.Sprintf("; most failures (%s of %s) come from callers that failed or were slow before, which is no evidence against the release: if that lasts, a person must decide",
		count(uint64(j.again.xc)), count(uint64(j.units.xc)))
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
