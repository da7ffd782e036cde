package analysis

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// metricTest judges one metric of both arms, reading by reading, in constant
// memory. Evidence is the logarithm of an e-process, so that of several metrics
// may be averaged (logMean) whatever the dependence between them. A reading
// without one of the arms says nothing.
type metricTest interface {
	observe(r Reading)                            // the next reading; an impossible one changes nothing but wrong
	evidence() float64                            // against the canary: log of the rollback process now
	peak() float64                                // the largest log of it so far
	proof() float64                               // for the canary: the largest log of the promotion process in this step
	interval() (low, high float64, known [2]bool) // of canary minus stable, valid at every time at once
	estimates() estimates                         //
	nextStep()                                    // the weight moved: proof starts afresh, evidence goes on with a restart
	remaining(passAt float64) float64             // what a healthy canary still needs, as estimates.nCanary counts, of a level in seconds; +Inf is never
	wrong() string                                // why the last reading that was refused was; "" if none was
	refused() int                                 // how many were
}

// estimates are what both arms had, for people. Stable's is weighted by the
// canary's exposure, so that it compares when the weight and the base have moved.
type estimates struct {
	stable, canary       float64 // a share, a rate, a mean, or a quantile in seconds
	nStable, nCanary     float64 // units, exposure or values
	badStable, badCanary float64 // of them; the events of a count, what was too slow of a latency
}

// newMetricTest returns the test of a metric that has its margins filled by
// MetricDefaults, and of which MetricProblem says nothing.
func newMetricTest(m delivery.Metric, p delivery.JudgePolicy) metricTest {
	switch m.Kind {
	case delivery.KindShare:
	case delivery.KindCount:
		return newCountTest(m, p.Alpha)
	case delivery.KindLatency:
		return newTimesTest(m, p)
	case delivery.KindMean:
		return newMeanTest(m, p.Alpha)
	case delivery.KindLevel:
		return newLevelTest(m, p.Alpha)
	}
	return newShareTest(m, p)
}

// margins are the bounds that zero fields of a metric take.
type margins struct{ ratio, add, promoteRatio, promoteAdd float64 }

// Silence proves a rare event rare only below some rate: one event in five
// minutes of an instance, or in 500 requests. With a floor of one a day, a
// release that never crashes would wait three days for its proof.
const (
	floorPerSecond = 1.0 / 300
	floorPerUnit   = 0.002
)

func defaultMargins(m delivery.Metric) margins {
	switch m.Kind {
	case delivery.KindShare:
	case delivery.KindCount:
		if m.Per == "seconds" {
			return margins{1.5, 0, 3, floorPerSecond}
		}
		return margins{1.5, 0, 3, floorPerUnit}
	case delivery.KindLatency:
		return margins{
			1 + defaultLatencyRatio, defaultLatencyAdd.Seconds(),
			1 + defaultPromoteLatency, defaultPromoteLatencyAdd.Seconds(),
		}
	case delivery.KindMean:
		return margins{1.05, 0, 1.15, 0}
	case delivery.KindLevel:
		return margins{1.2, 0, 1.5, 0}
	}
	return margins{defaultErrorRatio, defaultErrorAdd, defaultPromoteErrorRatio, defaultPromoteErrorAdd}
}

// MetricDefaults returns the metric with its zero fields filled. A canary is
// rolled back for a share above 1.2 times stable and 0.1 points, and proven below
// twice stable plus 0.2 points; a count above 1.5 times, proven below three
// times plus one event in five minutes of an instance or in 500 of any other
// exposure; a latency 5 % and 1 ms slower, proven below 25 % or 5 ms, at the
// 95th percentile; a mean 5 % and 15 %, a level 20 % and 50 %. Where the rollback
// margin is given and the promotion margin is not, the latter is at least twice
// as wide.
func MetricDefaults(m delivery.Metric) delivery.Metric {
	d := defaultMargins(m)
	m.Ratio = cmp.Or(m.Ratio, d.ratio)
	m.Add = cmp.Or(m.Add, d.add)
	m.PromoteRatio = cmp.Or(m.PromoteRatio, max(d.promoteRatio, 2*m.Ratio-1))
	m.PromoteAdd = cmp.Or(m.PromoteAdd, max(d.promoteAdd, 2*m.Add))
	m.Better = cmp.Or(m.Better, delivery.Lower)
	m.Role = cmp.Or(m.Role, delivery.Guard)
	m.NoData = cmp.Or(m.NoData, delivery.Wait)
	if m.Kind == delivery.KindLatency {
		m.Quantile = cmp.Or(m.Quantile, 0.95)
	}
	if m.From == delivery.FromPrometheus {
		m.Every = cmp.Or(m.Every, 15*time.Second)
	}
	return m
}

// MetricProblem says field by field why a metric cannot be judged by its bounds,
// with zero fields filled; "" if it can. It does not look at its name and selectors.
func MetricProblem(m delivery.Metric) string {
	m = MetricDefaults(m)
	var all []string
	wrong := func(bad bool, format string, args ...any) {
		if bad {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	switch m.Kind {
	case delivery.KindShare, delivery.KindCount, delivery.KindLatency:
		wrong(m.Better == delivery.Higher, "better is higher, which a %s cannot be: count what is bad instead", m.Kind)
	case delivery.KindMean, delivery.KindLevel:
	default:
		return fmt.Sprintf("kind is %q, not share, count, latency, mean or level", m.Kind)
	}
	wrong(m.Better != delivery.Lower && m.Better != delivery.Higher, "better is %q, not lower or higher", m.Better)
	most := 1e12
	if m.Kind == delivery.KindShare {
		most = 1
	}
	wrong(!(m.Ratio >= 1 && m.Ratio <= 1000), "ratio is %v, not from 1 to 1000", m.Ratio)
	wrong(!(m.PromoteRatio >= m.Ratio && m.PromoteRatio <= 1000), "promote_ratio is %v, not from ratio to 1000", m.PromoteRatio)
	wrong(!(m.Add >= 0 && m.Add < most), "add is %v, not from 0 to below %v", m.Add, most)
	wrong(!(m.PromoteAdd >= m.Add && m.PromoteAdd < most), "promote_add is %v, not from add to below %v", m.PromoteAdd, most)
	wrong(m.PromoteRatio == m.Ratio && m.PromoteAdd == m.Add,
		"promote_ratio and promote_add are ratio and add: nothing lies between what is rolled back and what is proven")
	if m.Kind == delivery.KindLatency {
		wrong(!(m.Quantile > 0 && m.Quantile < 1), "quantile is %v, not between 0 and 1", m.Quantile)
	}
	if why := boundsProblem(m); why != "" {
		all = append(all, why)
	}
	return strings.Join(all, "; ")
}

// boundsProblem says what is wrong with the bounds of a mean's values.
func boundsProblem(m delivery.Metric) string {
	finite := func(v *float64) bool { return !math.IsNaN(*v) && !math.IsInf(*v, 0) }
	switch {
	case m.Low == nil && m.High == nil:
		return ""
	case m.Kind != delivery.KindMean:
		return "low and high are of a mean only"
	case m.Low == nil || m.High == nil:
		return "low and high are needed both, or none"
	case !finite(m.Low) || !finite(m.High) || *m.Low >= *m.High:
		return fmt.Sprintf("low is %v and high %v: low must be less", *m.Low, *m.High)
	}
	return ""
}

// refusal remembers why a reading was refused.
type refusal struct {
	why string
	n   int
}

func (r *refusal) wrong() string { return r.why }
func (r *refusal) refused() int  { return r.n }

// usable says whether a reading can be looked at, and remembers why not.
func (r *refusal) usable(x Reading, check func(Value) string) bool {
	why := x.Wrong
	if why == "" {
		why = check(x.Stable)
		if why != "" {
			why = "stable " + why
		} else if why = check(x.Canary); why != "" {
			why = "the new release " + why
		}
	}
	if why != "" {
		r.refuse(why)
	}
	return why == ""
}

func (r *refusal) refuse(why string) {
	r.why = why
	r.n++
}

// countable says why v cannot be a number of events, units or an exposure.
func countable(v float64) bool { return v >= 0 && v <= mostUnits }

// mostUnits bounds one reading; sums of a million such are still exact enough.
const mostUnits = 1e12

// leastExposure is the least that a reading of an arm says anything with: a
// nanosecond of an instance. With less, ratios of exposures overflow.
const leastExposure = 1e-9

// paired says whether a reading has both arms.
func (r Reading) paired() bool { return r.Stable.N >= leastExposure && r.Canary.N >= leastExposure }

// pair is a reading as counts.
func (r Reading) pair() pair {
	return pair{nb: r.Stable.N, xb: r.Stable.Sum, nc: r.Canary.N, xc: r.Canary.Sum}
}
