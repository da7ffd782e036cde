package prometheus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// Bounds of an answer in seconds.
const (
	usualStep = 15
	longest   = 600 // read at once; whoever asks goes on after Until
	leastPast = 75  // of samples before the first block: the scrape before it, and five more
)

// ofRates finds the functions whose values are by the second.
var ofRates = regexp.MustCompile(`\bi?rate\s*\(`)

// source is one expression of both releases.
type source struct {
	name   string // of the metric, when it selects series
	series bool   // it selects series; else it is evaluated
	rates  bool   // what is evaluated is by the second
	stable []series
	canary []series
}

// question is one Read on its way.
type question struct {
	metric.Ask
	step   int64
	blocks struct{ from, to int64 } // of step seconds each, to excluded
	now    int64                    // Unix milliseconds
	warned []string
}

// Read answers in blocks of Metric.Every that are the same whoever asks when: an
// increase counts in the block in which it was scraped, which is up to one scrape
// after it happened, so whoever asks begins that much after a change of weights.
// A block is answered once every target that is alive has been scraped after it.
//
// Where Value or Per is no selector it is evaluated at the end of each block, and
// its values are taken for what happened in $step; where it is made of rates they
// are a second's, and taken times $step. Of a count by requests N is
// left zero: the data plane knows. A mean has one value an instance and block.
func (d *Driver) Read(ctx context.Context, a metric.Ask) (metric.Answer, error) {
	ctx, stop := context.WithTimeout(ctx, callTime)
	defer stop()
	q := question{Ask: a, step: max(int64(a.Metric.Every/time.Second), 0), now: d.now().UnixMilli()}
	if q.step == 0 {
		q.step = usualStep
	}
	last := min(a.Last, q.now/1000, a.First+longest)
	q.blocks.from, q.blocks.to = (a.First+q.step-1)/q.step, (last+1)/q.step
	if a.First < 0 || a.Last < a.First || q.blocks.from >= q.blocks.to {
		return metric.Answer{Until: a.First - 1}, nil
	}
	got, err := d.read(ctx, &q)
	if errors.Is(err, errTooMuch) {
		return metric.Answer{Until: a.First - 1, Missing: "the expression " + err.Error()}, nil
	}
	if err != nil {
		return metric.Answer{}, err
	}
	if len(q.warned) > 0 {
		got.Missing = strings.TrimPrefix(got.Missing+"; the server warns: "+strings.Join(q.warned, "; "), "; ")
	}
	return got, nil
}

func (d *Driver) read(ctx context.Context, q *question) (metric.Answer, error) {
	value, err := d.fetch(ctx, q, q.Metric.Value)
	if err != nil {
		return metric.Answer{}, err
	}
	var per source
	if q.hasPer() {
		if per, err = d.fetch(ctx, q, q.Metric.Per); err != nil {
			return metric.Answer{}, err
		}
	}
	return q.answer(value, per), nil
}

// hasPer reports whether Per is an expression.
func (q *question) hasPer() bool {
	switch q.Metric.Per {
	case "", delivery.PerSeconds, delivery.PerRequests:
		return false
	}
	return true
}

// fetch asks for one expression of both releases.
func (d *Driver) fetch(ctx context.Context, q *question, expr string) (source, error) {
	if q.Metric.Kind == delivery.KindLevel && (q.Stable.Instances != nil || q.Canary.Instances != nil) && !mentions(expr, instancesWord) {
		return source{}, delivery.InvalidNext("value", "only the twin's and the canary's instances are compared, and it does not say which those are", `add instance=~"$instances"`)
	}
	var src source
	for _, of := range []struct {
		side metric.Side
		to   *[]series
	}{{q.Stable, &src.stable}, {q.Canary, &src.canary}} {
		text, err := wordsOf(q.Ask, of.side, time.Duration(q.step)*time.Second).expand(expr)
		if err != nil {
			return source{}, fmt.Errorf("metric/prometheus: %s: %w", q.Metric.Name, err)
		}
		got, err := d.one(ctx, q, text, &src)
		if err != nil {
			return source{}, err
		}
		*of.to = got.series
		for _, w := range got.warnings {
			q.warned = append(q.warned, strings.TrimSpace(w))
		}
	}
	return src, nil
}

func (d *Driver) one(ctx context.Context, q *question, text string, src *source) (answer, error) {
	sel, ok := selectorOf(text)
	src.name, src.series = sel.name, ok
	if !ok {
		src.name, src.rates = "", ofRates.MatchString(text)
		// A value at the very beginning of a block tells of the one before.
		return d.values(ctx, text, window{(q.blocks.from + 1) * q.step, q.blocks.to * q.step}, q.step)
	}
	if q.Metric.Kind == delivery.KindLatency {
		sel = sel.histogram()
	}
	// What comes after the last block tells that it is complete.
	return d.samples(ctx, sel, window{q.begins(), min(q.now/1000, q.blocks.to*q.step+q.past())})
}

// past is how many seconds of samples are read around the blocks.
func (q *question) past() int64 { return max(leastPast, stale*q.step) }

func (q *question) begins() int64 { return q.blocks.from*q.step - q.past() }

// side is one release and what there is of it.
type side struct {
	metric.Side
	who        string
	arm        arm
	value, per tally
	levels     map[int64][]float64
	spread     spread
}

func (q *question) answer(value, per source) metric.Answer {
	s := q.side("stable", q.Stable, value.stable, per.stable, value, per)
	c := q.side("canary", q.Canary, value.canary, per.canary, value, per)
	until := q.complete(value, per, &s, &c)
	got := metric.Answer{Until: max(q.First-1, until*q.step-1)}
	for _, one := range []*side{&s, &c} {
		if got.Missing = q.missing(one, value, per); got.Missing != "" {
			return got
		}
	}
	up, wrong := func(e float64) float64 { return e }, ""
	if q.Metric.Kind == delivery.KindLatency {
		up, wrong = shared(&s.spread, &c.spread)
	}
	for block := q.blocks.from; block < until; block++ {
		r := analysis.Reading{Metric: q.Metric.Name, Seconds: int(q.step), Approx: true, Wrong: wrong}
		known := [2]bool{}
		for i, one := range []*side{&s, &c} {
			v, ok, why := q.block(one, block, up, value.name == per.name)
			known[i] = ok || why != ""
			if why != "" && r.Wrong == "" {
				r.Wrong = one.who + ": " + why
			}
			if i == 0 {
				r.Stable = v
			} else {
				r.Canary = v
			}
		}
		switch {
		case known[0] && known[1]:
			got.Readings = append(got.Readings, metric.Reading{Second: (block+1)*q.step - 1, Reading: r})
		case !known[1]:
			got.Missing = q.silent(&c, block)
		default:
			got.Missing = q.silent(&s, block)
		}
	}
	return got
}

// side counts what there is of one release.
func (q *question) side(who string, of metric.Side, values, pers []series, value, per source) side {
	s := side{Side: of, who: who, arm: armOf(q.begins()*1000, q.step, values, pers)}
	count := func(src source) func([]series, int64) tally {
		switch {
		case src.series:
			return s.arm.counted
		case src.rates:
			return func(all []series, step int64) tally { return taken(all, step, float64(step)) }
		}
		return func(all []series, step int64) tally { return taken(all, step, 1) }
	}
	s.per = count(per)(pers, q.step)
	switch q.Metric.Kind {
	case delivery.KindLatency:
		s.spread = s.arm.spreads(values, q.step, count(value))
		s.value = s.spread.tally
	case delivery.KindLevel:
		s.levels, s.value = levels(values, q.step)
	case delivery.KindShare, delivery.KindCount, delivery.KindMean:
		s.value = count(value)(values, q.step)
	}
	if q.Metric.Per == delivery.PerSeconds {
		s.per = s.arm.seconds(q.step)
	}
	return s
}

// complete is the first block of which not everything is known yet.
func (q *question) complete(value, per source, s, c *side) int64 {
	known := min(s.arm.complete(q.now), c.arm.complete(q.now))
	if !value.series || q.hasPer() && !per.series {
		known = min(known, q.now-q.step*1000) // evaluated: what was scraped a step ago is there by now
	}
	return min(q.blocks.to, known/1000/q.step)
}

// missing says why nothing is known of a release.
func (q *question) missing(s *side, value, per source) string {
	switch {
	case q.hasPer() && s.per.series == 0:
		return q.none(s, q.Metric.Per)
	case s.value.series == 0 && !(q.hasPer() && value.name != "" && value.name == per.name):
		return q.none(s, q.Metric.Value)
	case q.Metric.Per == delivery.PerSeconds && !value.series:
		return `for how many instance-seconds an expression speaks is not known; name a series in "per"`
	}
	return ""
}

func (q *question) none(s *side, expr string) string {
	return fmt.Sprintf("nothing answers to %s for release %s (%s)", expr, s.Release, s.who)
}

// silent says why a block is missing.
func (q *question) silent(s *side, block int64) string {
	last := max(s.value.last, s.per.last)
	return fmt.Sprintf("release %s (%s) said nothing from %s to %s; the last before %s was at %s",
		s.Release, s.who, clock(block*q.step), clock((block+1)*q.step), clock(q.blocks.to*q.step), clock(last/1000))
}

func clock(second int64) string { return time.Unix(second, 0).UTC().Format("15:04:05Z") }

// block is one block of one release. ok is false when there is no data of it, and
// wrong says why it cannot be judged.
func (q *question) block(s *side, block int64, up func(float64) float64, oneName bool) (v analysis.Value, ok bool, wrong string) {
	for _, t := range []tally{s.value, s.per} {
		if why := t.wrong[block]; why != "" {
			return v, false, why
		}
	}
	switch q.Metric.Kind {
	case delivery.KindLatency:
		if _, ok = s.spread.rose[block]; !ok || up == nil {
			return v, ok, ""
		}
		v, wrong = s.spread.value(block, up, scale(q.Metric.Unit))
		return v, true, wrong
	case delivery.KindLevel:
		for _, x := range s.levels[block] {
			v.N, v.Sum, v.Squares = v.N+1, v.Sum+x, v.Squares+x*x
		}
		return v, v.N > 0, ""
	case delivery.KindMean:
		return q.mean(s, block)
	case delivery.KindShare, delivery.KindCount:
	}
	sum, hasSum := s.value.sum(block)
	n, hasN := s.per.sum(block)
	switch q.Metric.Per {
	case "", delivery.PerRequests:
		hasN = hasSum
	case delivery.PerSeconds:
	default:
		// What is never bad has no series of its own, while all of the name have.
		hasSum = hasSum || oneName && hasN
	}
	if !hasSum || !hasN {
		return v, false, ""
	}
	if q.Metric.Kind == delivery.KindShare && sum > n*(1+1e-9) {
		return v, false, fmt.Sprintf("%v bad of %v: what value selects must be a part of what per does", sum, n)
	}
	return analysis.Value{N: n, Sum: sum}, true, ""
}

// mean takes the average of each instance in a block for one value.
func (q *question) mean(s *side, block int64) (v analysis.Value, ok bool, wrong string) {
	per, units := s.per.rose[block]
	if _, sums := s.value.rose[block]; !units || !sums {
		return v, false, ""
	}
	for _, target := range slices.Sorted(maps.Keys(per)) {
		n := per[target]
		sum, known := s.value.rose[block][target]
		if n <= 0 || !known {
			continue
		}
		x := sum / n
		v.N, v.Sum, v.Squares = v.N+1, v.Sum+x, v.Squares+x*x
	}
	if math.IsInf(v.Squares, 0) {
		return v, false, "the values are too large"
	}
	return v, true, ""
}

// scale makes seconds of the unit that a latency is kept in.
func scale(unit string) float64 {
	switch unit {
	case "ms":
		return 1e-3
	case "us", "µs":
		return 1e-6
	}
	return 1
}
