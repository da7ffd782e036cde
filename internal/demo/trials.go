package demo

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

const (
	trialLimit  = 5 * time.Minute // the longest one rollout of a trial may take
	leastMedian = 5               // rollouts of which a median is held to what was planned
)

// errHeld says that a rollout was not decided in time.
var errHeld = errors.New("not decided in time")

// Trials is what rollouts showed that were done again and again.
type Trials struct {
	OK      bool    `json:"ok"` // all ended as they must
	Seconds float64 `json:"seconds"`
	Rows    []Trial `json:"rows"`
}

// Trial is one version, rolled out in prod again and again.
type Trial struct {
	Name   string   `json:"name"`
	Wanted string   `json:"wanted"`
	N      int      `json:"n"`
	OK     int      `json:"ok"`        // of them, that ended as wanted
	Held   int      `json:"held"`      // of them, good ones that were not proven fit in time: a person decides
	Plan   float64  `json:"planned_s"` // seconds until it is caught, by "slipway analysis plan" before it began; 0 is not planned
	Took   []Took   `json:"took"`      // of those, the shortest first
	Wrong  []string `json:"otherwise"` // how the others ended

	good  bool // it is not to come back
	first bool // it is to come back at the first step
}

// Took is how long one rollout took, and after how many requests to the new release.
type Took struct {
	Seconds float64 `json:"seconds"` // from its first request to the end, or to the judge's word against it
	Step    int     `json:"step"`    // in which it ended, 0 is the first
	Service string  `json:"service"`
}

// cautious is how trials roll out: no step is left before the release is proven fit.
func cautious() *delivery.Override {
	return &delivery.Override{Kind: delivery.Canary, Steps: []delivery.StepSpec{
		{Weight: delivery.Full / 4, Hold: 2 * time.Second, Proven: true},
		{Weight: delivery.Full / 2, Hold: 2 * time.Second, Proven: true},
		{Weight: delivery.Full, Hold: time.Second},
	}}
}

// trials rolls good versions out five times as often as bad ones, n times each,
// and returns 0 only if no good one was sent back and every bad one was.
func (s *stage) trials(ctx context.Context, n int) (int, error) {
	begun := time.Now()
	sum := Trials{OK: true}
	add := func(t Trial) {
		slices.SortFunc(t.Took, func(a, b Took) int { return int(a.Seconds*1000) - int(b.Seconds*1000) })
		if k := len(t.Took); k >= leastMedian && t.Plan > 0 && t.Took[k/2].Seconds > 2*t.Plan {
			t.Wrong = append(t.Wrong, fmt.Sprintf("the median of %.1f s is more than twice what was planned", t.Took[k/2].Seconds))
		}
		sum.Rows = append(sum.Rows, t)
		sum.OK = sum.OK && len(t.Wrong) == 0
		s.tell(t)
	}
	s.sayf("\n  the same rollouts, again and again: 25 %% until proven, 50 %% until proven, 100 %%\n")
	add(s.goodTrials(ctx, n))
	planned, err := s.planned(ctx, "payment", "v3-bad")
	if err != nil {
		return 1, err
	}
	for _, t := range []Trial{
		{Name: "payment v3-bad", Wanted: "caught at the first step", Plan: planned, first: true},
		{Name: "payment v4-slow", Wanted: "caught"},
		{Name: "pricing v3-empty", Wanted: "caught, though only its callers fail"},
	} {
		add(s.badTrials(ctx, n, t))
	}
	sum.Seconds = time.Since(begun).Seconds()
	if err := s.sumUp(sum); err != nil {
		return 1, err
	}
	switch {
	case ctx.Err() != nil:
		return 130, nil
	case !sum.OK:
		s.sayf("\n  not every rollout ended as it must\n")
		return 1, nil
	}
	s.sayf("\n  every rollout ended as it must, in %s\n", human(time.Since(begun)))
	return 0, nil
}

func (s *stage) tell(t Trial) {
	mark := "✔"
	if len(t.Wrong) > 0 {
		mark = "✖"
	}
	s.sayf("     %s %-18s %d of %d %s", mark, t.Name, t.OK, t.N, t.Wanted)
	if k := len(t.Took); k > 0 {
		s.sayf("   median %.1f s, longest %.1f s", t.Took[k/2].Seconds, t.Took[k-1].Seconds)
	}
	if late := t.late(); late > 0 {
		s.sayf(", %d of them after the first step", late)
	}
	s.sayf("\n")
	if t.Held > 0 {
		s.sayf("       %d not proven within %s, and taken back by us\n", t.Held, human(trialLimit))
	}
	if t.Plan > 0 {
		s.sayf("       %.1f s were planned\n", t.Plan)
	}
	for _, w := range t.Wrong {
		s.sayf("       %s\n", w)
	}
}

// late counts what was caught, but not at the first step.
func (t Trial) late() (n int) {
	for _, k := range t.Took {
		if !t.good && k.Step > 0 {
			n++
		}
	}
	return n
}

// goodTrials rolls the same code out with another configuration each time, in
// all services at once, n times each.
func (s *stage) goodTrials(ctx context.Context, n int) Trial {
	services := []string{"shop", "cart", "catalog", "pricing", "payment"}
	t := Trial{Name: "same code", Wanted: "promoted", N: n * len(services), good: true}
	var mu sync.Mutex
	var hands sync.WaitGroup
	for _, service := range services {
		hands.Go(func() {
			for i := range n {
				if ctx.Err() != nil {
					return
				}
				r, err := s.trial(ctx, control.Submission{Service: service, Env: s.prod(), Set: map[string]string{"TRIAL": strconv.Itoa(i + 1)}})
				mu.Lock()
				t.note(r, err, r.State == delivery.Done)
				mu.Unlock()
			}
		})
	}
	hands.Wait()
	return t
}

// planned asks before a bad version goes out how soon its errors will be seen at
// the first step: between the two regressions of the plan that are next to it.
func (s *stage) planned(ctx context.Context, service, version string) (float64, error) {
	var told control.Forecast
	if err := s.api.Do(ctx, http.MethodGet, "/services/"+service+"/analysis/plan?env="+s.prod(), nil, &told); err != nil {
		return 0, err
	}
	plan := told.Plan
	at := slices.Index(plan.Weights, cautious().Steps[0].Weight)
	how := Versions(service)[slices.IndexFunc(Versions(service), func(b Behaviour) bool { return b.Version == version })]
	var below, above *analysis.Outlook
	for i := range plan.Regressions {
		switch o := &plan.Regressions[i]; {
		case o.Check != "errors" || at < 0 || o.Caught[at].Never:
		case o.Canary <= how.Fail:
			below = o
		case above == nil:
			above = o
		}
	}
	if below == nil || above == nil {
		return 0, fmt.Errorf("demo: there is no plan for %.0f %% errors of %s at the first step", 100*how.Fail, service)
	}
	part := math.Log(how.Fail/below.Canary) / math.Log(above.Canary/below.Canary)
	slow, quick := below.Caught[at].After.Seconds(), above.Caught[at].After.Seconds()
	return slow * math.Pow(quick/slow, part), nil
}

// badTrials rolls one version out in prod, n times. It has to be caught, and in
// the median within twice the time that was planned.
func (s *stage) badTrials(ctx context.Context, n int, t Trial) Trial {
	service, version, _ := strings.Cut(t.Name, " ")
	t.N = n
	for i := range n { // with a configuration of its own each is another release, and not the one that is held
		if ctx.Err() != nil {
			break
		}
		r, err := s.trial(ctx, control.Submission{
			Service: service, Version: version, Set: map[string]string{"TRIAL": strconv.Itoa(i + 1)},
			Env: s.prod(), BreakGlass: true,
		})
		t.note(r, err, r.State == delivery.Reverted && r.Cause.Kind == delivery.CauseVerdict && (r.Step == 0 || !t.first))
	}
	return t
}

// note writes down how one rollout ended.
func (t *Trial) note(r delivery.Rollout, err error, ok bool) {
	switch {
	case errors.Is(err, errHeld) && t.good:
		t.Held++
	case err != nil:
		t.Wrong = append(t.Wrong, err.Error())
	case !ok:
		t.Wrong = append(t.Wrong, fmt.Sprintf("%s of %s is %s at step %d: %s", r.ID, r.Service, r.State, r.Step+1, r.Reason))
	default:
		t.OK++
		end := r.Ended
		if !r.Reverted.IsZero() {
			end = r.Reverted
		}
		t.Took = append(t.Took, Took{end.Sub(r.Exposed).Seconds(), r.Step, r.Service})
	}
}

// trial rolls one submission out and returns its rollout in prod when that is
// over, or waits for a person.
func (s *stage) trial(ctx context.Context, sub control.Submission) (delivery.Rollout, error) {
	ctx, stop := context.WithTimeout(ctx, trialLimit)
	defer stop()
	sub.Strategy, sub.Reason = cautious(), "a trial"
	done, err := s.deploy(ctx, sub)
	if err != nil {
		return delivery.Rollout{}, err
	}
	var last delivery.Rollout
	err = s.until(ctx, func() (bool, error) {
		whole, err := s.api.Change(ctx, done.Change.ID)
		if err != nil {
			return false, err
		}
		for _, r := range whole.Rollouts {
			last = r
			if r.State.Final() && (r.Env == s.prod() || r.State != delivery.Done) {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil && last.ID != "" {
		return last, errors.Join(fmt.Errorf("%s of %s: %w: %s after %s: %s", last.ID, last.Service, errHeld, last.State, trialLimit, last.Reason), s.giveUp(ctx, last))
	}
	return last, err
}

// giveUp ends a rollout that did not end in time, so that the next can begin.
func (s *stage) giveUp(ctx context.Context, r delivery.Rollout) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer stop()
	if _, err := s.api.Ask(ctx, "abort", control.Request{Change: r.Change, Env: r.Env, Reason: "the trial took too long"}); err != nil {
		return err
	}
	return s.until(ctx, func() (bool, error) {
		live, err := s.api.Live(ctx, r.ID)
		return err == nil && live.Rollout.State.Final(), err
	})
}
