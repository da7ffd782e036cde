package analysis

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Load is the traffic that a plan reckons with.
type Load struct {
	PerSecond float64           // units of both releases together
	Errors    float64           // stable's share of units that fail, from 0 to 1
	Latency   map[int]uint32    // stable's histogram; empty is lognormal, with a median of 50 ms and a shape of 0.8
	Weights   []delivery.Weight // of the canary, one for each step below delivery.Full
}

// Plan says before a deploy what its judge will be able to see, and when.
type Plan struct {
	Weights     []delivery.Weight `json:"weights"`
	Regressions []Outlook         `json:"regressions"` // by check, and from small to large
	Healthy     []Wait            `json:"healthy"`     // until a release just like stable is proven fit, one for each weight
}

// Outlook is what becomes of one regression.
type Outlook struct {
	Check   string  `json:"check"`             // "errors", "p50", "p95", "p99"
	What    string  `json:"what"`              // "errors 0.1 % to 1 %", "the slowest 10 % take 1.5 times as long"
	Stable  float64 `json:"stable"`            // share or seconds
	Canary  float64 `json:"canary"`            //
	Caught  []Wait  `json:"caught"`            // one for each weight
	Allowed bool    `json:"allowed,omitempty"` // it is within the margins at every threshold, and not to be caught
}

// Wait is about how long something takes in the median.
type Wait struct {
	After   time.Duration `json:"after"`             // whole seconds
	Units   float64       `json:"units"`             // of the canary until then
	Spoiled float64       `json:"spoiled,omitempty"` // of them, those that fail or are slower because of the regression
	Never   bool          `json:"never,omitempty"`   // not within a day; the rest is zero then
}

// horizon is what a plan calls never.
const horizon = 24 * time.Hour

// PowerTable tells how long the judge of policy p takes, in the median, until it
// catches each of a set of regressions at each weight, and until it has proven
// a healthy release fit. It reckons with the expected growth of the evidence: an
// e-process that grows by g a second, and begins with the stake s, reaches 1/alpha
// after about log(1/(alpha s))/g seconds.
func PowerTable(p delivery.JudgePolicy, l Load) (Plan, error) {
	p = Defaults(p)
	if why := unusable(p); why != "" {
		return Plan{}, errors.New("analysis: plan: " + why)
	}
	if !(l.PerSecond > 0 && l.PerSecond <= 1e9) {
		return Plan{}, fmt.Errorf("analysis: plan: %v requests a second, not above 0 and at most 1e9", l.PerSecond)
	}
	if !(l.Errors >= 0 && l.Errors <= 1) {
		return Plan{}, fmt.Errorf("analysis: plan: a share of errors of %v, not between 0 and 1", l.Errors)
	}
	if why := impossible("stable", Arm{Units: math.MaxUint64, Bins: l.Latency}); why != "" {
		return Plan{}, errors.New("analysis: plan: " + why)
	}
	for _, w := range l.Weights {
		if w <= 0 || w >= delivery.Full {
			return Plan{}, fmt.Errorf("analysis: plan: a weight of %v, not above 0 and below all", w)
		}
	}
	o := newOutlooker(p, l)
	plan := Plan{Weights: l.Weights}
	for _, r := range o.regressions() {
		out := Outlook{Check: r.check, What: r.what, Stable: r.stable, Canary: r.canary, Allowed: r.allowed}
		for _, w := range l.Weights {
			out.Caught = append(out.Caught, o.caught(r, w))
		}
		plan.Regressions = append(plan.Regressions, out)
	}
	for _, w := range l.Weights {
		plan.Healthy = append(plan.Healthy, o.healthy(w))
	}
	return plan, nil
}

// outlooker knows stable and the policy.
type outlooker struct {
	policy delivery.JudgePolicy
	load   Load
	times  survival
}

func newOutlooker(p delivery.JudgePolicy, l Load) *outlooker {
	return &outlooker{policy: p, load: l, times: survivalOf(l.Latency)}
}

// regression is a release that is worse than stable: it has errors with a share
// of canary, and the slowest part of its answers take times as long.
type regression struct {
	check, what    string
	stable, canary float64
	errors         float64 // share of the canary
	part, times    float64 // 0 and 1 is just as fast
	allowed        bool    // it is within the margins, and so is not to be caught
}

// The regressions that a plan looks at: shares of errors as multiples of
// stable's and as shares added to it, and times as multiples, of all answers and
// of the slowest ones.
var (
	errorMultiples = [...]float64{1.5, 2, 5, 10}
	errorShares    = [...]float64{.005, .01, .05, .2, 1}
	timeMultiples  = [...]float64{1.1, 1.2, 1.5, 2}
	slowestParts   = [...]struct{ quantile, part float64 }{{.5, 1}, {.95, .1}, {.99, .03}}
)

func (o *outlooker) regressions() []regression {
	base := o.load.Errors
	var all []regression
	add := func(to float64) {
		all = append(all, regression{
			check: "errors", what: fmt.Sprintf("errors %s to %s", percent(base), percent(to)),
			stable: base, canary: to, errors: to, times: 1,
			allowed: to <= max(o.policy.ErrorRatio*base, base+o.policy.ErrorAdd),
		})
	}
	for _, m := range errorMultiples {
		if base > 0 && m*base < 1 {
			add(m * base)
		}
	}
	for _, s := range errorShares {
		if base == 0 && s <= 1 || s > 1.05*errorMultiples[len(errorMultiples)-1]*base && s > base {
			add(s)
		}
	}
	for _, s := range slowestParts {
		x := Edge(o.times.quantile(s.quantile))
		for _, m := range timeMultiples {
			who := "all answers take "
			if s.part < 1 {
				who = "the slowest " + percent(s.part) + " take "
			}
			r := regression{
				check: quantileName(s.quantile), what: who + short(m, 3) + " times as long",
				stable: x, canary: m * x, errors: base, part: s.part, times: m,
			}
			r.allowed = o.withinMargins(r)
			all = append(all, r)
		}
	}
	return all
}

// sizes returns the units that both arms get in a second.
func (o *outlooker) sizes(w delivery.Weight) (nb, nc float64) {
	nc = o.load.PerSecond * float64(w) / float64(delivery.Full)
	return o.load.PerSecond - nc, nc
}

// caught says when the evidence against a release reaches its limit: the mean
// of the families that decide, each the mean of its e-processes.
func (o *outlooker) caught(r regression, w delivery.Weight) Wait {
	nb, nc := o.sizes(w)
	var grow []growing
	if decides(o.policy, delivery.FamilyErrors) {
		grow = append(grow, growing{o.errorGrowth(r, nb, nc)})
	}
	if decides(o.policy, delivery.FamilyLatency) {
		var slow growing
		for _, q := range quantiles {
			slow = append(slow, o.latencyGrowth(r, q, nb, nc))
		}
		grow = append(grow, slow)
	}
	if newMetrics(o.policy).deciding > 0 {
		grow = append(grow, growing{{}}) // of which nothing is known yet
	}
	after := reach(-math.Log(o.policy.Alpha), func(t float64) float64 {
		logs := make([]float64, len(grow))
		for i, g := range grow {
			logs[i] = g.at(t)
		}
		return logMean(logs)
	})
	harm := max(r.errors-o.load.Errors, 0)
	if r.times != 1 {
		harm = r.part
	}
	return wait(after, nc, harm)
}

// growing is a family: the growth a second of each alternative of each of its e-processes.
type growing [][len(multiples)]float64

// at returns the log evidence of the family after t seconds. Half of each stake
// plays from the beginning.
func (g growing) at(t float64) float64 {
	logs := make([]float64, len(g))
	for i, all := range g {
		for k, v := range all {
			all[k] = grown(v, t) - math.Ln2
		}
		logs[i] = logAdd(logMean(all[:]), -math.Ln2)
	}
	return logMean(logs)
}

// grown returns the log evidence after t seconds that each say v, when the first
// of a run may say no more than scatter lets it.
func grown(v, t float64) float64 {
	sum := 0.0
	for i := 0; i < runMost && t > 0; i++ {
		sum += min(v, runBegins+runGrows*float64(i)) * min(t, 1)
		t--
	}
	return sum + min(v, runBegins+runGrows*runMost)*max(t, 0)
}

func (o *outlooker) errorGrowth(r regression, nb, nc float64) (all [len(multiples)]float64) {
	sb := inside(o.load.Errors)
	p := pair{nb: nb, xb: nb * o.load.Errors, nc: nc, xc: nc * r.errors}
	lines := [2]line{{o.policy.ErrorRatio, 0}, {1, o.policy.ErrorAdd}}
	from := max(lines[0].at(sb), lines[1].at(sb))
	for k, m := range multiples {
		if sc := timesOdds(from, m); from < most && sc < 1 {
			all[k] = min(lines[0].logE(p, sb, sc), lines[1].logE(p, sb, sc))
		}
	}
	return all
}

// withinMargins says whether a release is slower by no more than the margin at every threshold.
func (o *outlooker) withinMargins(r regression) bool {
	return !slices.ContainsFunc(quantiles[:], func(q float64) bool {
		bin, shift := o.threshold(q)
		return o.slower(r, float64(bin+shift)) > o.times.above(float64(bin))+1e-12
	})
}

// threshold returns where the rollback test of a quantile looks, as latencyTest.place does.
func (o *outlooker) threshold(q float64) (bin, shift int) {
	bin = o.times.quantile(q)
	return bin, int(math.Ceil(margin(bin, o.policy.LatencyRatio, o.policy.LatencyAdd) - 1e-9))
}

func (o *outlooker) latencyGrowth(r regression, q, nb, nc float64) (all [len(multiples)]float64) {
	bin, shift := o.threshold(q)
	sb := inside(o.times.above(float64(bin)))
	p := pair{nb: nb, xb: nb * sb, nc: nc, xc: nc * o.slower(r, float64(bin+shift))}
	for k, m := range multiples {
		if sc := timesOdds(sb, m); sc > sb {
			all[k] = line{1, 0}.logE(p, sb, sc)
		}
	}
	return all
}

// slower returns the canary's share above a bin.
func (o *outlooker) slower(r regression, bin float64) float64 {
	if r.times == 1 {
		return o.times.above(bin)
	}
	from := float64(o.times.quantile(1 - r.part))
	if r.part < 1 && bin < from {
		return o.times.above(bin)
	}
	was := bin - math.Log(r.times)*invLogGamma
	if r.part < 1 {
		was = max(was, from)
	}
	return o.times.above(was)
}

// healthy says when every promotion test has reached its limit, and the canary
// its least exposure.
func (o *outlooker) healthy(w delivery.Weight) Wait {
	nb, nc := o.sizes(w)
	nats := math.Log(1/o.policy.Beta) + math.Ln2
	proof := line{o.policy.PromoteErrorRatio, o.policy.PromoteErrorAdd}
	sb := expected(proof, inside(o.load.Errors))
	after := max(leastBlocks, leastUnits/nc, float64(o.policy.AtLeast)/nc)
	if decides(o.policy, delivery.FamilyErrors) {
		after = max(after, nats/proof.growth(nb, nc, sb, sb))
	}
	if !decides(o.policy, delivery.FamilyLatency) {
		return wait(after, nc, 0)
	}
	for _, q := range proven {
		bin := o.times.quantile(q) - 1
		shift := int(margin(bin, o.policy.PromoteLatency, o.policy.PromoteLatencyAdd) + 1e-9)
		sb, sc := inside(o.times.above(float64(bin))), inside(o.times.above(float64(bin+shift)))
		if sc >= sb {
			return Wait{Never: true}
		}
		after = max(after, nats/line{1, 0}.growth(nb, nc, sb, sc))
	}
	return wait(after, nc, 0)
}

func wait(seconds, nc, harm float64) Wait {
	if !(seconds <= horizon.Seconds()) {
		return Wait{Never: true}
	}
	seconds = max(math.Ceil(seconds-1e-9), 1)
	return Wait{After: time.Duration(seconds) * time.Second, Units: seconds * nc, Spoiled: seconds * nc * harm}
}

// reach returns the time at which a growing function reaches the limit; +Inf if
// it does not within the horizon.
func reach(limit float64, at func(t float64) float64) float64 {
	lo, hi := 0.0, horizon.Seconds()
	if at(hi) < limit {
		return math.Inf(1)
	}
	for hi-lo > 1e-3*hi {
		if mid := (lo + hi) / 2; at(mid) < limit {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// survival is the share of answers above each bin of a histogram.
type survival [Bins]float64

func survivalOf(bins map[int]uint32) survival {
	var s survival
	total := 0.0
	for i := range s {
		total += float64(bins[i])
		s[i] = total
	}
	for i := range s {
		if total > 0 {
			s[i] = 1 - s[i]/total
		} else {
			const median, shape = .05, .8
			s[i] = math.Erfc(math.Log(Edge(i)/median)/shape/math.Sqrt2) / 2
		}
	}
	s[Bins-1] = 0
	return s
}

// quantile returns the first bin that holds at least the share q of the answers.
func (s *survival) quantile(q float64) int {
	for i, above := range s[:Bins-1] {
		if above <= 1-q+1e-12 {
			return i
		}
	}
	return Bins - 2
}

// above returns the share of answers above a bin; between two of them it is on
// the straight line that joins them.
func (s *survival) above(bin float64) float64 {
	switch {
	case bin <= -1:
		return 1
	case bin < 0:
		return 1 + (bin+1)*(s[0]-1)
	case bin >= Bins-1:
		return 0
	}
	i := int(bin)
	return s[i] + (bin-float64(i))*(s[i+1]-s[i])
}
