package promotion

import (
	"slices"
	"testing"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func proposed(s *scene) []string {
	var out []string
	for _, c := range Proposals(s.w) {
		out = append(out, c.Service+" "+c.Version+" to "+c.Env)
	}
	return out
}

func TestProposals(t *testing.T) {
	for _, c := range []struct {
		name string
		s    *scene
		want []string
	}{
		{"goes on by itself", stage("staging", "prod").done("staging", 2).done("prod", 1), []string{"cart v2 to prod"}},
		{"goes on into an empty environment", stage("staging", "prod").done("staging", 1), []string{"cart v1 to prod"}},
		{"one step at a time", stage("dev", "staging", "prod").done("dev", 2).done("staging", 1).done("prod", 1), []string{"cart v2 to staging"}},
		{"each step at once", stage("dev", "staging", "prod").done("dev", 3).done("staging", 2).done("prod", 1), []string{"cart v3 to staging", "cart v2 to prod"}},
		{"manual waits", stage("staging", "prod!").done("staging", 2).done("prod", 1), nil},
		{"nothing to do", stage("staging", "prod").done("staging", 2).done("prod", 2), nil},
		{"the last has nowhere to go", stage("prod").done("prod", 2), nil},
		{"is on its way already", stage("staging", "prod").done("staging", 2).open("prod", 2, delivery.Queued), nil},
		{"takes over from an older one", stage("staging", "prod").done("staging", 2).open("prod", 1, delivery.Judging), []string{"cart v2 to prod"}},
		{"waits for an older one that soaks", stage("staging", "prod").done("staging", 2).open("prod", 1, delivery.Soaking), nil},
		{"does not overtake a newer one that only queues", stage("staging", "prod").done("staging", 2).open("prod", 1, delivery.Judging).open("prod", 3, delivery.Queued, forEnvAlone), nil},
		{"was cancelled there", stage("staging", "prod").done("staging", 2).ended("prod", 2, delivery.Cancelled), nil},
		{"was superseded there", stage("staging", "prod").done("staging", 2).ended("prod", 2, delivery.Superseded), nil},
		{"is pinned there", stage("staging", "prod").done("staging", 2).pinned("prod", "closing"), nil},
		{"is pinned where it is", stage("staging", "prod").done("staging", 2).pinned("staging", "closing"), []string{"cart v2 to prod"}},
		{"was for one alone", stage("staging", "prod").stable("staging", 2, 2).ended("staging", 2, delivery.Done, forEnvAlone), nil},
		{"its history is gone", stage("staging", "prod").stable("staging", 2, 2), nil},
		{"nothing can be routed", stage("staging", "prod").done("staging", 2).trouble("the data plane does not answer"), nil},
		{"its environment left the project", stage("prod").done("staging", 2).done("prod", 1), nil},
		{"its service left the project", func() *scene {
			s := stage("staging", "prod").done("staging", 2)
			s.w.Project.Services = s.w.Project.Services[1:]
			return s
		}(), nil},
	} {
		if got := proposed(c.s); !slices.Equal(got, c.want) {
			t.Errorf("%s: Proposals = %q, want %q", c.name, got, c.want)
		}
	}
}

// A release that went back is not brought out again by the automation: not while
// it is on hold, and not after, until a person asks or a newer release comes.
func TestCase24_WhatWentBackStaysBack(t *testing.T) {
	wentBack := func() *scene {
		return stage("staging", "prod").done("staging", 2).done("prod", 1).ended("prod", 2, delivery.Reverted)
	}
	if got := proposed(wentBack().quarantined(2, "10 % errors")); got != nil {
		t.Errorf("on hold: Proposals = %q, want none", got)
	}
	if got := proposed(wentBack()); got != nil {
		t.Errorf("hold lifted: Proposals = %q, want none: a person says so", got)
	}
	for _, c := range []Candidate{person(asks("prod", 2))} {
		if g := Gates(wentBack().w, c); !May(g) {
			t.Errorf("hold lifted, a person asks: gates = %+v, want all to pass", g)
		}
		if g := Gates(wentBack().quarantined(2, "10 % errors").w, c); May(g) {
			t.Error("on hold: a person's promotion passes, want the hold to be lifted first")
		}
	}
	newer := stage("staging", "prod").done("staging", 3).done("prod", 1).ended("prod", 2, delivery.Reverted).quarantined(2, "10 % errors")
	if got, want := proposed(newer), []string{"cart v3 to prod"}; !slices.Equal(got, want) {
		t.Errorf("a newer release: Proposals = %q, want %q", got, want)
	}
}

// After a rollback in the last environment, what is still stable before it is
// what went back. After one before it, what runs there again goes nowhere.
func TestCase24_ARollbackIsNotPromotedOver(t *testing.T) {
	inProd := stage("staging", "prod").done("staging", 2).ended("prod", 2, delivery.Done).
		stable("prod", 1, 3).ended("prod", 3, delivery.Done, back(2, 1))
	if got := proposed(inProd.quarantined(2, "rolled back by ann")); got != nil {
		t.Errorf("rolled back in prod: Proposals = %q, want none", got)
	}
	inProd.w.Holds = nil
	if got := proposed(inProd); got != nil {
		t.Errorf("rolled back in prod, hold lifted: Proposals = %q, want none", got)
	}
	underway := stage("staging", "prod").done("staging", 2).done("prod", 2).open("prod", 3, delivery.Starting, back(2, 1))
	if got := proposed(underway.quarantined(2, "rolled back by ann")); got != nil {
		t.Errorf("rollback under way: Proposals = %q, want none", got)
	}
	inStaging := stage("staging", "prod").stable("staging", 1, 3).ended("staging", 3, delivery.Done, back(2, 1)).
		done("prod", 2).quarantined(2, "rolled back by ann")
	if got := proposed(inStaging); got != nil {
		t.Errorf("rolled back in staging: Proposals = %q, want none", got)
	}
}

// A person who chose an older release for one environment finds it there until
// something newer than that choice is submitted; the automation tells why.
func TestADeliberateOlderChoiceStands(t *testing.T) {
	chosen := func() *scene { // change #3 is v1 again, for prod alone
		return stage("staging", "prod").done("staging", 2).ended("prod", 2, delivery.Done).
			stable("prod", 1, 3).ended("prod", 3, delivery.Done, forEnvAlone)
	}
	if got := proposed(chosen()); got != nil {
		t.Errorf("Proposals = %q, want none", got)
	}
	a := Why(chosen().w, "cart", "prod", Candidate{Service: "cart", Release: "r1", Version: "v1", Change: 3, Only: true})
	if want := "cart v2 is not in prod, because prod got v1 by change #3 after change #2"; a.May || a.Sentence != want {
		t.Errorf("Why = %v %q, want %q", a.May, a.Sentence, want)
	}
	if g := firstNot(a.Gates); g.Lifts != "slipway promote 2 --to prod, or a newer release" || g.Who != anyone {
		t.Errorf("lifted by %q (%s), want a person's promotion", g.Lifts, g.Who)
	}
	underway := stage("staging", "prod").done("staging", 2).done("prod", 0).open("prod", 3, delivery.Judging, forEnvAlone)
	if got := proposed(underway); got != nil {
		t.Errorf("while it rolls out: Proposals = %q, want none", got)
	}
	newer := chosen().open("staging", 4, delivery.Judging)
	newer.w.Open = nil
	newer.w.Stables[0] = delivery.Stable{Service: "cart", Env: "staging", Release: "r4", Version: "v4", Change: 4}
	newer.ended("staging", 4, delivery.Done)
	if got, want := proposed(newer), []string{"cart v4 to prod"}; !slices.Equal(got, want) {
		t.Errorf("a newer change: Proposals = %q, want %q", got, want)
	}
}

// A service that goes out without a canary, or had to wait for capacity, goes on
// like any other: what counts is that it is stable, not how it came to be.
func TestCase49_HowItBecameStableDoesNotMatter(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*delivery.Rollout)
	}{
		{"canary", func(r *delivery.Rollout) { r.Plan.Strategy = delivery.Canary }},
		{"no canary", func(r *delivery.Rollout) { r.Plan.Strategy, r.Plan.Steps = delivery.Recreate, nil }},
		{"first release", func(r *delivery.Rollout) { r.Origin = delivery.OriginInitial }},
		{"late capacity", func(r *delivery.Rollout) { r.Progress.Ready, r.Idle.Total = 1, 1 }},
		{"finished by a person", func(r *delivery.Rollout) { r.Approved = 2 }},
	} {
		s := stage("staging", "prod").stable("staging", 2, 2).ended("staging", 2, delivery.Done, c.edit).done("prod", 1)
		s.w.Stables = append(s.w.Stables, delivery.Stable{Service: "payment", Env: "staging", Release: "p9", Version: "v9", Change: 9})
		s.w.Open = append(s.w.Open, delivery.Rollout{ID: "10/prod", Service: "payment", Env: "prod", Change: 10, State: delivery.Waiting})
		if got, want := proposed(s), []string{"cart v2 to prod"}; !slices.Equal(got, want) {
			t.Errorf("%s: Proposals = %q, want %q", c.name, got, want)
		}
	}
}
