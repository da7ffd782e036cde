package analysis

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// The times of a plan are within a factor of 1.5, and two seconds, of the median
// of simulated rollouts.
func TestPlanIsTrue(t *testing.T) {
	load := Load{PerSecond: 500, Errors: .005, Weights: []delivery.Weight{delivery.Full / 10}}
	plan, err := PowerTable(delivery.JudgePolicy{}, load)
	if err != nil {
		t.Fatal(err)
	}
	near := func(what string, got time.Duration, simulated int) {
		t.Helper()
		t.Logf("%s: planned %v, simulated %d s", what, got, simulated)
		if a, b := got.Seconds(), float64(simulated); a > 1.5*b+2 || b > 1.5*a+2 {
			t.Errorf("%s: planned %v, simulated %d s", what, got, simulated)
		}
	}
	for _, o := range plan.Regressions {
		c := o.Caught[0]
		if c.Never || c.After > 3*time.Minute {
			continue
		}
		s := shop()
		s.errors = constant(.005, .005)
		s.latency = nil
		ratio := o.Canary / o.Stable
		switch o.Check {
		case "errors":
			s.errors = constant(.005, o.Canary)
		case "p50":
			s.latency = lognormal(ratio, 1)
		case "p99":
			s.latency = lognormal(1, ratio)
		default:
			continue
		}
		const reps = 15
		got, _ := s.repeat(t, reps, 900, delivery.Fail)
		if len(got) < reps {
			t.Errorf("%s: %d of %d caught", o.What, len(got), reps)
			continue
		}
		near(o.What, c.After, got[reps/2].seconds)
	}
	got, _ := shop().repeat(t, 25, 600, delivery.Pass)
	near("healthy", plan.Healthy[0].After, got[len(got)/2].seconds)
}

// Larger regressions are caught sooner and heavier steps see more; what is
// within the margins is allowed, and not caught soon.
func TestPlanIsInOrder(t *testing.T) {
	for _, base := range []float64{0, .0001, .01, .3, 1} {
		for _, rate := range []float64{.01, 5, 500} {
			plan, err := PowerTable(delivery.JudgePolicy{}, Load{
				PerSecond: rate, Errors: base, Latency: map[int]uint32{500: 700, 520: 250, 560: 50},
				Weights: []delivery.Weight{delivery.Full / 100, delivery.Full / 10, delivery.Full / 2},
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := json.Marshal(plan); err != nil {
				t.Fatal(err)
			}
			later := func(a, b Wait) bool { return a.Never && !b.Never || !b.Never && a.After > b.After }
			var last Outlook
			for _, o := range plan.Regressions {
				if !slices.IsSortedFunc(o.Caught, func(a, b Wait) int {
					if later(a, b) {
						return -1
					}
					return 0
				}) {
					t.Errorf("%s at %v/s: %+v", o.What, rate, o.Caught)
				}
				for i, c := range o.Caught {
					if o.Check == last.Check && later(c, last.Caught[i]) {
						t.Errorf("%s takes longer than %s: %+v, %+v", o.What, last.What, c, last.Caught[i])
					}
					if o.Allowed && !c.Never && c.After < time.Hour {
						t.Errorf("%s is allowed and caught after %v", o.What, c.After)
					}
					if math.IsNaN(c.Units) || math.IsNaN(c.Spoiled) || c.Spoiled > c.Units {
						t.Errorf("%s: %+v", o.What, c)
					}
				}
				last = o
			}
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	for want, c := range map[string]struct {
		p delivery.JudgePolicy
		l Load
	}{
		"alpha is 2":              {delivery.JudgePolicy{Alpha: 2}, Load{PerSecond: 1}},
		"0 requests a second":     {delivery.JudgePolicy{}, Load{}},
		"NaN requests a second":   {delivery.JudgePolicy{}, Load{PerSecond: math.NaN()}},
		"a share of errors of -1": {delivery.JudgePolicy{}, Load{PerSecond: 1, Errors: -1}},
		"a latency bin 9999":      {delivery.JudgePolicy{}, Load{PerSecond: 1, Latency: map[int]uint32{9999: 1}}},
		"a weight of":             {delivery.JudgePolicy{}, Load{PerSecond: 1, Weights: []delivery.Weight{delivery.Full}}},
	} {
		if _, err := PowerTable(c.p, c.l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("PowerTable = %v, want %q", err, want)
		}
	}
}
