// Package sim plays rollouts to judges, ours and others', and counts their
// mistakes and their time. It is no proof: validity is proven by exact
// enumeration in package analysis. Its scenarios are data, and its gates are in its tests.
package sim

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
)

// ending is how one rollout went under one contestant.
type ending struct {
	Rolled, Shipped bool // neither: it holds, and a person decides
	At              int  // seconds until then
	Canary          uint64
	Extra           float64 // failed requests that stable would not have had
	Passed          int     // second of the first Promote; 0 is never
	Unsure          int     // seconds in which it said that it cannot tell
	Said            string  // our judge's last sentence
	PassedCanary    uint64
}

// lane is one contestant on its way through a rollout.
type lane struct {
	contestant
	plan  []Step
	step  int
	since int // second of the last change of the weight
	end   ending
	done  bool
}

// play lets the contestants judge one repetition. Where the scenario says the
// weights, all of them see the same traffic; otherwise each has its own.
func play(b *blueprint, who []entrant, rep int) []ending {
	out := make([]ending, len(who))
	if len(b.Steps) == 0 || slices.ContainsFunc(b.Steps, func(s Step) bool { return s.Proven }) {
		for i, e := range who {
			out[i] = race(b, rep, []entrant{e})[0]
		}
		return out
	}
	return race(b, rep, who)
}

// race lets contestants who walk the same weights judge the same traffic.
func race(b *blueprint, rep int, who []entrant) []ending {
	w, before := enter(b, rep)
	lanes := make([]lane, len(who))
	for i, e := range who {
		lanes[i] = lane{contestant: e.enter(b, before), plan: b.Steps}
		if len(b.Steps) == 0 {
			lanes[i].plan = e.Plan
		}
	}
	open := len(lanes)
	for t := 0; t < b.Horizon && open > 0; t++ {
		first := &lanes[slices.IndexFunc(lanes, func(l lane) bool { return !l.done })]
		s := w.second(t, first.step, first.plan[first.step].Weight, t == first.since && t > 0)
		for i := range lanes {
			if l := &lanes[i]; !l.done {
				if l.take(s); l.done {
					open--
				}
			}
		}
	}
	ends := make([]ending, len(lanes))
	for i := range lanes {
		ends[i] = lanes[i].end
		if o, ok := lanes[i].contestant.(*ours); ok {
			ends[i].Said = o.said
		}
	}
	return ends
}

// take gives one second to the contestant, and does what it decides.
func (l *lane) take(s *second) {
	said := l.observe(s)
	l.end.At = s.at + 1
	l.end.Canary += s.canary.n
	l.end.Extra += float64(s.canary.n) * (s.pc - s.pb)
	switch said {
	case rollback:
		l.end.Rolled, l.done = true, true
		return
	case promote:
		if l.end.Passed == 0 {
			l.end.Passed, l.end.PassedCanary = s.at+1, l.end.Canary
		}
	case none:
		l.end.Unsure++
	case goOn:
	}
	step := l.plan[l.step]
	if s.at+1-l.since < step.Hold || step.Proven && said != promote {
		return
	}
	if l.step+1 == len(l.plan) {
		l.end.Shipped, l.done = true, true
		return
	}
	l.step++
	l.since = s.at + 1
}

// Score is how one contestant did in all repetitions of one scenario.
type Score struct {
	Scenario   Scenario
	Contestant string
	Reps       int
	Ends       []ending
}

// Play runs reps repetitions of a scenario, as many at once as there are
// processors. What comes out depends on the scenario and reps alone.
func Play(s Scenario, contestants []string, reps int) ([]Score, error) {
	var who []entrant
	for _, name := range contestants {
		e, ok := entrantNamed(name)
		if !ok {
			return nil, fmt.Errorf("sim: scenario %q: there is no contestant %q", s.Name, name)
		}
		if len(s.Steps) == 0 && len(e.Plan) == 0 {
			return nil, fmt.Errorf("sim: scenario %q: %q has no steps of its own", s.Name, name)
		}
		who = append(who, e)
	}
	b := draft(s)
	all := make([][]ending, reps)
	var wg sync.WaitGroup
	work := make(chan int)
	for range min(runtime.GOMAXPROCS(0), reps) {
		wg.Go(func() {
			for rep := range work {
				all[rep] = play(b, who, rep)
			}
		})
	}
	for rep := range reps {
		work <- rep
	}
	close(work)
	wg.Wait()
	scores := make([]Score, len(who))
	for i, e := range who {
		scores[i] = Score{Scenario: s, Contestant: e.Name, Reps: reps}
		for _, ends := range all {
			scores[i].Ends = append(scores[i].Ends, ends[i])
		}
	}
	return scores, nil
}

// count returns how many endings are so.
func (s Score) count(is func(ending) bool) int {
	n := 0
	for _, e := range s.Ends {
		if is(e) {
			n++
		}
	}
	return n
}

// RolledBack returns how many rollouts were rolled back.
func (s Score) RolledBack() int { return s.count(func(e ending) bool { return e.Rolled }) }

// Promoted returns how many were promoted: shipped by the last step of a
// contestant's own plan or of one that has to be proven, or else proven fit at any moment.
func (s Score) Promoted() int { return s.count(s.promoted) }

func (s Score) promoted(e ending) bool {
	if s.Scenario.waits() {
		return e.Passed > 0
	}
	return e.Shipped
}

// waits says whether the weights are the scenario's alone, so that coming to
// their end means nothing.
func (s Scenario) waits() bool {
	return len(s.Steps) > 0 && !slices.ContainsFunc(s.Steps, func(p Step) bool { return p.Proven })
}

// Held returns how many were neither.
func (s Score) Held() int {
	return s.count(func(e ending) bool { return !e.Rolled && !s.promoted(e) })
}

// Unsure returns in how many the contestant said at some moment that it cannot tell.
func (s Score) Unsure() int { return s.count(func(e ending) bool { return e.Unsure > 0 }) }

// Spent is what right decisions took: of each the values in ascending order.
type Spent struct{ Seconds, Canary, Extra []float64 }

// Decided returns what it took to decide rightly.
func (s Score) Decided() Spent {
	var out Spent
	good := s.Scenario.Truth == Fit || s.Scenario.Truth == Margin
	for _, e := range s.Ends {
		at, canary := e.At-s.Scenario.Effect.From, e.Canary
		switch {
		case !good && e.Rolled:
		case good && !s.promoted(e):
			continue
		case good && s.Scenario.waits():
			at, canary = e.Passed, e.PassedCanary
		case good:
		default:
			continue
		}
		out.Seconds = append(out.Seconds, float64(at))
		out.Canary = append(out.Canary, float64(canary))
	}
	for _, e := range s.Ends {
		out.Extra = append(out.Extra, e.Extra)
	}
	for _, v := range [][]float64{out.Seconds, out.Canary, out.Extra} {
		slices.Sort(v)
	}
	return out
}

// quantile returns the value below which the share q of sorted values lies.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// clopperPearson returns the exact interval of confidence 95 % of a share of
// which x of n were seen.
func clopperPearson(x, n int) (low, high float64) {
	solve := func(reached func(p float64) bool) float64 {
		lo, hi := 0.0, 1.0
		for range 60 {
			if mid := (lo + hi) / 2; reached(mid) {
				hi = mid
			} else {
				lo = mid
			}
		}
		return (lo + hi) / 2
	}
	if x > 0 {
		low = solve(func(p float64) bool { return 1-upTo(x-1, n, p) >= .025 })
	}
	high = 1
	if x < n {
		high = solve(func(p float64) bool { return upTo(x, n, p) <= .025 })
	}
	return low, high
}

// upTo returns the probability of at most x of n.
func upTo(x, n int, p float64) float64 {
	sum := 0.0
	for k := range x + 1 {
		sum += chance(k, n, p)
	}
	return min(sum, 1)
}

// chance returns the probability of exactly k of n.
func chance(k, n int, p float64) float64 {
	switch {
	case p <= 0:
		return float64(index(k == 0))
	case p >= 1:
		return float64(index(k == n))
	}
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return math.Exp(a - b - c + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}
