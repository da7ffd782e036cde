package cli

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
)

func TestExplained(t *testing.T) {
	s := &session{look: look{width: 100}}
	checks := []delivery.Check{
		{
			Name: "errors", Unit: "share", Outcome: delivery.Fail, Stable: 0.003, Canary: 0.041, Low: 0.021, High: 0.056, NStable: 17550, NCanary: 1950, Bad: 80, BadStable: 53,
			Against: 212.4, For: 0, FailAt: 100, PassAt: 20, PValue: 0.0047, Sentence: "4.1 % of the new release's requests fail, 0.3 % of stable's", Kind: delivery.KindShare, Culprit: true,
		},
		{
			Name: "p95", Unit: "s", Outcome: delivery.Inconclusive, Stable: 0.041, Canary: 0.044, Low: -0.002, High: 0.009, NStable: 17550, NCanary: 1950, Bad: 98, BadStable: 877,
			Against: 0.4, For: 3.2, FailAt: 100, PassAt: 20, PValue: 1, Sentence: "not proven less than 25 % slower yet", Kind: delivery.KindLatency,
		},
		{Name: "memory", Unit: "bytes", Outcome: delivery.NoData, Sentence: "no data", Kind: delivery.KindLevel, Role: delivery.Watch, Missing: "no reading for 1 m"},
		{
			Name: "queue_wait", Unit: "s", Outcome: delivery.Inconclusive, Stable: 0.2, Canary: 0.21, Low: -0.1, High: 0.3, NStable: 900, NCanary: 90, Against: 1.2, FailAt: 100, PassAt: 20, For: 1,
			Sentence: "no worse so far", Kind: delivery.KindLatency, Role: delivery.Guard, Approx: true,
		},
		{
			Name: "restarts", Unit: "1/s", Outcome: delivery.Inconclusive, Low: -math.MaxFloat64, High: math.MaxFloat64, NStable: 18, NCanary: 18, Against: 1, FailAt: 900, PassAt: 20, For: 1,
			Sentence: "restarts 0/s against 0/s on stable: difference not known yet", Kind: delivery.KindCount, Role: delivery.Guard, Missing: "1 reading left out",
		},
		{
			Name: "errors at shop", Unit: "share", Outcome: delivery.Inconclusive, Low: -0.1, High: 1, NStable: 153, NCanary: 7, Against: 0.99, FailAt: 900, PassAt: 20, For: 1,
			Sentence: "errors at shop 0 % against 0 % on stable: at most 10 points less (99 %); 0 of 7 against 0 of 153", Kind: delivery.KindShare, Role: delivery.Guard,
		},
		{
			Name: "lost", Outcome: delivery.Inconclusive, Canary: 0.191, Low: -0.254, High: 1, NStable: 54, NCanary: 68, Bad: 13, Against: 2.6, FailAt: 1500, PassAt: 20, For: 1, PValue: 0.39,
			Sentence: "lost 19.1 % against 0 % on stable: at most 25.4 points less (99 %); 13 of 68 against 0 of 54; approximate, from sums that others made", Kind: delivery.KindShare, Role: delivery.Guard, Approx: true,
		},
		{Name: "p99", Unit: "s", Outcome: delivery.NoData, Sentence: "p99: nothing to compare yet", Missing: "the instances are warming up"},
		{Name: "p50", Unit: "s", Outcome: delivery.NoData, Sentence: "p50: nothing to compare yet", Missing: "the instances are warming up"},
		{Name: "latency at shop", Unit: "s", Outcome: delivery.NoData, Sentence: "latency at shop: no data since 5 s", Missing: "no data since 5 s", Role: delivery.Guard},
	}
	all := []control.Explained{
		{Service: "catalog", Env: "staging", Version: "v3", State: delivery.Done, Reason: "v3 is stable in staging", Nothing: "it is the first release here: there was nothing to compare it with"},
		{
			Service: "catalog", Env: "prod", Version: "v3", Was: "v2", State: delivery.Reverted, Reason: "v2 serves all traffic again", Policy: analysis.Defaults(delivery.JudgePolicy{}), Twin: true,
			Verdict: &delivery.Verdict{
				Outcome: delivery.Fail, Sentence: "the new release fails 4.1 % of its requests, 0.3 % of stable's fail", Checks: checks, Evidence: 106.2, Limit: 100, Seconds: 37, LeftOut: 4, Why: "warm-up after a weight change (4)",
			},
		},
		{
			Service: "catalog", Env: "eu", Version: "v3", Was: "v2", State: delivery.Judging, Reason: "5 % acknowledged", Live: true, Policy: analysis.Defaults(delivery.JudgePolicy{}),
			Verdict: &delivery.Verdict{Outcome: delivery.Inconclusive, Sentence: "both releases fail", Incident: "12 % of all requests fail, 1 % may", Invalid: "the keys are not drawn as they should be", Seconds: 1},
		},
	}
	golden(t, "analysis-explain.txt", s.explained(all, ""))
	if got := s.explained(all, "eu"); strings.Contains(got, "prod") || !strings.Contains(got, "INCIDENT") {
		t.Errorf("explained in eu = %q", got)
	}
	narrow := &session{look: look{width: 60, live: true}}
	for line := range strings.Lines(narrow.explained(all, "prod")) {
		if columns(strings.TrimRight(line, "\n")) > 100 {
			t.Errorf("too long for a narrow terminal: %q", line)
		}
	}
}

func TestReplayedAndForecast(t *testing.T) {
	s := &session{look: look{width: 100}}
	v := &delivery.Verdict{Outcome: delivery.Pass, Seconds: 61}
	golden(t, "analysis-replay.txt", s.replayed([]control.Replayed{
		{Env: "staging", Version: "v3", Same: true, Note: "nothing was judged: it is the first release here"},
		{Env: "prod", Version: "v3", Same: true, Rules: 2, Entries: 64, Stored: v, Again: v},
		{Env: "eu", Version: "v3", Rules: 1, Entries: 64, Stored: v, Again: v, Differs: []string{"checks[0].stable was 0.1 and is 0.2"}, Note: "it was judged by rules 1, and this Slipway judges by rules 2: the verdict may differ"},
	}))
	golden(t, "analysis-plan.txt", s.forecast(control.Forecast{
		Service: "catalog", Env: "prod", Seconds: 600, Rate: 48.23, Errors: 0.001, P50: 0.012, P95: 0.041, P99: 0.09, Holds: []time.Duration{10 * time.Second, time.Minute},
		Plan: analysis.Plan{
			Weights: []delivery.Weight{delivery.Percent(5), delivery.Percent(25)},
			Regressions: []analysis.Outlook{
				{What: "errors 0.1 % to 0.15 %", Caught: []analysis.Wait{{}, {}}, Allowed: true},
				{What: "errors 0.1 % to 1 %", Caught: []analysis.Wait{{After: 412 * time.Second, Units: 990, Spoiled: 9.2}, {After: 90 * time.Second, Units: 1080, Spoiled: 9.8}}},
				{What: "all answers take 1.1 times as long", Caught: []analysis.Wait{{Never: true}, {After: 2 * time.Hour, Spoiled: 86000}}},
			},
			Healthy: []analysis.Wait{{After: 340 * time.Second}, {After: 70 * time.Second}},
		},
	}))
}
