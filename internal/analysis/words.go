package analysis

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func (j *Judge) sayErrors(c *delivery.Check) {
	if c.NCanary == 0 {
		c.Sentence = "errors: nothing to compare yet"
		return
	}
	limit := max(j.policy.ErrorRatio*c.Stable, c.Stable+j.policy.ErrorAdd)
	compare(c, c.Name, delivery.CheckWords{
		Canary: percent(c.Canary), Stable: percent(c.Stable), Apart: j.differs(*c),
		Counts: fmt.Sprintf("%s of %s against %s of %s%s", count(c.Bad), count(c.NCanary), count(c.BadStable), count(c.NStable), j.places.words(limit)),
	})
}

// compare says two values of a check, in one sentence and in parts.
func compare(c *delivery.Check, what string, w delivery.CheckWords) {
	c.Words = &w
	c.Sentence = fmt.Sprintf("%s %s against %s on stable: ", what, w.Canary, w.Stable)
	switch {
	case w.Apart == "":
		c.Sentence += w.Counts
	case w.Allowed == "":
		c.Sentence += w.Apart + ", " + w.Counts
	default:
		c.Sentence += w.Apart + "; " + w.Counts + "; allowed is " + w.Allowed
	}
}

// sayMetric says a metric of the policy: both values, the difference, the
// counts and the margin.
func (j *Judge) sayMetric(c *delivery.Check, known [2]bool) {
	i := j.metrics.index[c.Name]
	m := &j.metrics.all[i]
	if c.NCanary == 0 || c.NStable == 0 {
		c.Sentence = c.Name + ": " + cmp.Or(c.Missing, "nothing to compare yet")
		return
	}
	what := c.Name
	if m.Kind == delivery.KindLatency {
		what += " " + quantileName(m.Quantile)
	}
	compare(c, what, delivery.CheckWords{
		Canary: amount(c.Canary, m.Metric), Stable: amount(c.Stable, m.Metric), Apart: j.apart(*c, known, m.Metric),
		Counts: tally(*c, m.Metric), Allowed: allowed(m.Metric),
	})
	if c.Approx {
		c.Sentence += "; approximate, from sums that others made"
	}
	if c.Outcome == delivery.NoData && c.Missing != "" {
		c.Sentence += "; " + c.Missing
	}
}

// apart says the interval of a metric's difference. A test that asks only whether
// there is one knows sooner than the interval how large it is: who reads that a
// release failed is not told that it may be better.
func (j *Judge) apart(c delivery.Check, known [2]bool, m delivery.Metric) string {
	low, high := distance(math.Abs(c.Low), m), distance(math.Abs(c.High), m)
	sure := j.sure()
	switch {
	case c.Outcome == delivery.Fail && !(known[0] && c.Low > 0) && !(known[1] && c.High < 0):
		return "beyond what chance explains, by how much is not known yet (p " + short(c.PValue, 2) + ")"
	case !known[0] && !known[1]:
		return delivery.ApartUnknown
	case known[0] && c.Low > 0 && known[1]:
		return "more by " + low + " to " + high + sure
	case known[0] && c.Low > 0:
		return "more by at least " + low + sure
	case known[1] && c.High < 0 && known[0]:
		return "less by " + high + " to " + low + sure
	case known[1] && c.High < 0:
		return "less by at least " + high + sure
	case !known[0]:
		return "at most " + high + " more" + sure
	case !known[1]:
		return "at most " + low + " less" + sure
	}
	return "between " + low + " less and " + high + " more" + sure
}

// tally says what a metric's numbers are taken from.
func tally(c delivery.Check, m delivery.Metric) string {
	switch m.Kind {
	case delivery.KindShare, delivery.KindLatency:
		return fmt.Sprintf("%s of %s against %s of %s", count(c.Bad), count(c.NCanary), count(c.BadStable), count(c.NStable))
	case delivery.KindCount:
		return fmt.Sprintf("%s in %s against %s in %s", count(c.Bad), exposure(c.NCanary, m), count(c.BadStable), exposure(c.NStable, m))
	case delivery.KindMean, delivery.KindLevel:
	}
	return fmt.Sprintf("%s against %s", plural(c.NCanary, "value"), count(c.NStable))
}

func exposure(n uint64, m delivery.Metric) string {
	switch m.Per {
	case "seconds":
		return plural(n, "instance-second")
	case "requests":
		return plural(n, "request")
	}
	return count(n)
}

// allowed says the rollback margin.
func allowed(m delivery.Metric) string {
	more := "more"
	if m.Better == delivery.Higher {
		more = "less"
	}
	var parts []string
	if m.Ratio > 1 {
		parts = append(parts, percent(m.Ratio-1))
	}
	if m.Add > 0 {
		parts = append(parts, distance(m.Add, m))
	}
	if len(parts) == 0 {
		return "no " + more
	}
	return strings.Join(parts, " or ") + " " + more
}

// amount says a value of a metric in its unit.
func amount(v float64, m delivery.Metric) string {
	switch {
	case m.Kind == delivery.KindShare:
		return percent(v)
	case m.Kind == delivery.KindLatency || m.Unit == "s":
		return seconds(v)
	case m.Unit == "bytes":
		return size(v)
	case m.Unit == "" || m.Unit == "share":
		return short(v, 3)
	}
	if per, ok := strings.CutPrefix(m.Unit, "1/"); ok {
		return short(v, 3) + "/" + per
	}
	return short(v, 3) + " " + m.Unit
}

// distance says how far two values of a metric are apart. Of shares that is in
// points: 20 % more of 1 % would not be 21 %.
func distance(v float64, m delivery.Metric) string {
	if m.Kind == delivery.KindShare {
		return points(v)
	}
	return amount(v, m)
}

// size says a size: "512 B", "1.2 MB".
func size(v float64) string {
	units := [...]string{"B", "kB", "MB", "GB", "TB"}
	i := 0
	for math.Abs(v) >= 1000 && i < len(units)-1 {
		v /= 1000
		i++
	}
	return short(v, 3) + " " + units[i]
}

// sure says how often the intervals hold.
func (j *Judge) sure() string { return " (" + short(100*(1-j.policy.Alpha), 4) + " %)" }

// differs says the interval of a check of errors. It holds for a difference that
// stands still: where the shares so far lie outside it the difference has moved
// meanwhile, and one interval of it would contradict them. That there is harm may be
// known sooner than how much: who reads that a release failed is not told that it may
// be better.
func (j *Judge) differs(c delivery.Check) string {
	moved := c.Canary-c.Stable < c.Low || c.Canary-c.Stable > c.High
	switch {
	case c.Outcome == delivery.Fail && (moved || c.Low <= 0):
		return "worse by more than chance explains (p " + short(c.PValue, 2) + ")"
	case moved:
		return "the difference has moved meanwhile"
	}
	return j.difference(c.Low, c.High)
}

// difference says an interval of error shares.
func (j *Judge) difference(low, high float64) string {
	sure := j.sure()
	switch {
	case low <= -1 && high >= 1:
		return delivery.ApartUnknown
	case low > 0 && high >= 1:
		return "worse by more than " + points(low) + sure
	case low > 0:
		return "worse by " + bare(low) + " to " + points(high) + sure
	case high < 0:
		return "better by " + bare(-high) + " to " + points(-low) + sure
	case high >= 1:
		return "at most " + points(-low) + " better" + sure
	case low <= -1:
		return "at most " + points(high) + " worse" + sure
	}
	return "between " + bare(-low) + " points better and " + bare(high) + " worse" + sure
}

func (j *Judge) sayLatency(c *delivery.Check, p *proof, t *threshold) {
	if c.NCanary == 0 {
		c.Sentence = c.Name + ": nothing to compare yet"
		return
	}
	w := delivery.CheckWords{Canary: seconds(c.Canary), Stable: seconds(c.Stable)}
	if t.seen.blocks == 0 {
		w.Apart = delivery.ApartUnknown
		w.Counts = fmt.Sprintf("in %s to it and %s to stable while its instances were fresh", plural(c.NCanary, "request"), count(c.NStable))
	} else {
		_, _, known := slower(p.bounds, Edge(p.bin+1))
		w.Apart, w.Counts = j.delay(c.Low, c.High, known), over(*c, t)
	}
	compare(c, c.Name, w)
}

// delay says an interval of seconds, of which either end may not be known.
func (j *Judge) delay(low, high float64, known [2]bool) string {
	sure := j.sure()
	switch {
	case !known[0] && !known[1]:
		return delivery.ApartUnknown
	case known[0] && !known[1] && low > 0:
		return "slower by more than " + seconds(low) + sure
	case known[0] && !known[1]:
		return "at most " + seconds(-low) + " faster" + sure
	case !known[0] && high < 0:
		return "faster by more than " + seconds(-high) + sure
	case !known[0]:
		return "at most " + seconds(high) + " slower" + sure
	case low > 0:
		return "slower by " + seconds(low) + " to " + seconds(high) + sure
	case high < 0:
		return "faster by " + seconds(-high) + " to " + seconds(-low) + sure
	}
	return "between " + seconds(-low) + " faster and " + seconds(high) + " slower" + sure
}

// over says the counts of a threshold test. Once the threshold has followed
// stable they belong to a quantile and no longer to one latency.
func over(c delivery.Check, t *threshold) string {
	beyond, at := seconds(Edge(t.bin+t.shift)), seconds(Edge(t.bin))
	if t.moved {
		q := quantileName(t.quantile)
		beyond = "stable's recent " + q + " and the margin (now " + beyond + ")"
		at = "that " + q + " itself (now " + at + ")"
	}
	return fmt.Sprintf("%s of %s took over %s, against %s of %s over %s",
		count(c.Bad), count(c.NCanary), beyond, count(c.BadStable), count(c.NStable), at)
}

// list joins words: "errors, p50 and p95".
func list(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// quantileName says .995 as "p99.5".
func quantileName(q float64) string { return "p" + short(q*100, 4) }

// short writes v with the given significant digits and without trailing zeros; with
// an exponent only where nobody would count the digits.
func short(v float64, digits int) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(math.Abs(v), 'f', -1, 64) // never "-0"
	}
	if a := math.Abs(v); a < 1e-9 || a >= 1e18 {
		return strconv.FormatFloat(v, 'e', digits-1, 64)
	}
	places := digits - 1 - int(math.Floor(math.Log10(math.Abs(v))))
	if places <= 0 {
		unit := math.Pow(10, float64(-places))
		return strconv.FormatFloat(math.Round(v/unit)*unit, 'f', 0, 64)
	}
	s := strings.TrimRight(strconv.FormatFloat(v, 'f', places, 64), "0")
	return strings.TrimSuffix(s, ".")
}

// bare says a share as a percentage without its sign: "0.42", "6.1", "99.5".
func bare(share float64) string {
	v := share * 100
	switch rest := 100 - v; {
	case v < 10:
		return short(v, 2)
	case rest > 0 && rest < 1: // never 100 of what is not all, down to a millionth
		return short(v, min(2-int(math.Floor(math.Log10(rest))), 8))
	}
	return short(v, 3)
}

func percent(share float64) string { return bare(share) + " %" }
func points(share float64) string {
	if v := bare(share); v != "1" {
		return v + " points"
	}
	return "1 point"
}
func factor(v float64) string { return short(v, 3) + " times that" }

// seconds says a time as people read it: "0.85 ms", "412 ms", "1.24 s".
func seconds(s float64) string {
	if s < 1 {
		return short(s*1000, 3) + " ms"
	}
	return short(s, 3) + " s"
}

// count writes n with commas between thousands.
func count(n uint64) string { return delivery.Grouped(n) }

func plural(n uint64, noun string) string { return delivery.Plural(n, noun) }
