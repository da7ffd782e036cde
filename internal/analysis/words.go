package analysis

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func (j *Judge) errorSentence(c delivery.Check) string {
	if c.NCanary == 0 {
		return "errors: nothing to compare yet"
	}
	return fmt.Sprintf("errors %s against %s on stable: %s, %s of %s against %s of %s",
		percent(c.Canary), percent(c.Stable), j.difference(c.Low, c.High),
		count(c.Bad), count(c.NCanary), count(c.BadStable), count(c.NStable))
}

// sure says how often the intervals hold.
func (j *Judge) sure() string { return " (" + short(100*(1-j.policy.Alpha), 4) + " %)" }

// difference says an interval of error shares.
func (j *Judge) difference(low, high float64) string {
	sure := j.sure()
	switch {
	case low <= -1 && high >= 1:
		return "difference not known yet"
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

func (j *Judge) latencySentence(c delivery.Check, p *proof, t *threshold) string {
	if c.NCanary == 0 {
		return c.Name + ": nothing to compare yet"
	}
	_, _, known := slower(p.bounds, Edge(p.bin+1))
	return fmt.Sprintf("%s %s against %s on stable: %s, %s", c.Name, seconds(c.Canary), seconds(c.Stable),
		j.delay(c.Low, c.High, known), over(c, t))
}

// delay says an interval of seconds, of which either end may not be known.
func (j *Judge) delay(low, high float64, known [2]bool) string {
	sure := j.sure()
	switch {
	case !known[0] && !known[1]:
		return "difference not known yet"
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

func names(checks []delivery.Check) []string {
	all := make([]string, len(checks))
	for i, c := range checks {
		all[i] = c.Name
	}
	return all
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

// short writes v with the given significant digits, without an exponent or trailing zeros.
func short(v float64, digits int) string {
	f, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	if f == 0 {
		return "0" // never "-0"
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// bare says a share as a percentage without its sign: "0.42", "6.1", "99.5".
func bare(share float64) string {
	if v := share * 100; v < 10 {
		return short(v, 2)
	}
	return short(share*100, 3)
}

func percent(share float64) string { return bare(share) + " %" }
func points(share float64) string  { return bare(share) + " points" }
func factor(v float64) string      { return short(v, 3) + " times that" }

// seconds says a time as people read it: "0.85 ms", "412 ms", "1.24 s".
func seconds(s float64) string {
	if s < 1 {
		return short(s*1000, 3) + " ms"
	}
	return short(s, 3) + " s"
}

// count writes n with commas between thousands.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return count(n) + " " + noun + "s"
}
