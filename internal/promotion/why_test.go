package promotion

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

func submitted(n int) Candidate {
	return Candidate{Service: "cart", Release: rel(n), Version: ver(n), Change: delivery.ChangeID(n)}
}

func TestWhy(t *testing.T) {
	until := noon.Add(time.Minute)
	judging := waitingOn("the judge has not proven v2 no worse yet", "enough requests", "", until)
	approval := waitingOn("step 25 % wants approval", "slipway promote 2 --env prod", anyone, time.Time{})
	for _, c := range []struct {
		name          string
		s             *scene
		env           string
		newest        Candidate
		running, next string
		may           bool
		sentence      string
		gate, lifts   string // the first that does not pass
	}{
		{
			name: "nothing was ever deployed", s: stage("staging", "prod"), env: "prod", newest: Candidate{Service: "cart"},
			sentence: "cart has no release for prod yet", gate: "release", lifts: "slipway deploy cart",
		}, {
			name: "up to date", s: stage("staging", "prod").done("staging", 2).done("prod", 2), env: "prod", newest: submitted(2),
			running: "v2", next: "v2", may: true, sentence: "cart v2 is stable in prod since 2026-03-02 11:00:00 UTC",
		}, {
			name: "up to date in the first", s: stage("staging", "prod").done("staging", 2), env: "staging", newest: submitted(2),
			running: "v2", next: "v2", may: true, sentence: "cart v2 is stable in staging since 2026-03-02 11:00:00 UTC",
		}, {
			name: "up to date, but nothing answers", s: stage("prod").done("prod", 2).trouble("the data plane does not answer"), env: "prod", newest: submitted(2),
			running: "v2", next: "v2", sentence: "cart v2 is stable in prod since 2026-03-02 11:00:00 UTC", gate: "data plane", lifts: "slipway doctor",
		}, {
			name: "up to date, though its changes are long gone", s: stage("prod").done("prod", 2), env: "prod", newest: Candidate{Service: "cart"},
			running: "v2", next: "v2", may: true, sentence: "cart v2 is stable in prod since 2026-03-02 11:00:00 UTC",
		}, {
			name: "waits for a person", s: stage("staging", "prod!").done("staging", 2).done("prod", 1), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because prod is promoted to by hand", gate: "promotion", lifts: "slipway promote 2 --to prod",
		}, {
			name: "goes on by itself", s: stage("staging", "prod").done("staging", 2).done("prod", 1), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", may: true, sentence: "cart v2 may enter prod right now",
		}, {
			name: "in flight, watched", s: stage("staging", "prod").done("staging", 2).done("prod", 1).open("prod", 2, delivery.Judging, judging), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is on its way into prod: 25 %, judging: the judge has not proven v2 no worse yet", gate: "rollout", lifts: "enough requests",
		}, {
			name: "in flight, waits for a person", s: stage("staging", "prod").done("staging", 2).done("prod", 1).open("prod", 2, delivery.Waiting, approval), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is on its way into prod: 25 %, waiting: step 25 % wants approval", gate: "rollout", lifts: "slipway promote 2 --env prod",
		}, {
			name: "in flight, waits for nothing", s: stage("staging", "prod").done("staging", 2).open("prod", 2, delivery.Preparing), env: "prod", newest: submitted(2),
			next: "v2", sentence: "cart v2 is on its way into prod: preparing: because it was preparing", gate: "rollout", lifts: "passes by itself",
		}, {
			name: "going back", s: stage("staging", "prod").done("staging", 2).done("prod", 1).open("prod", 2, delivery.Reverting).quarantined(2, "10 % errors"), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is on its way back in prod: reverting: because it was reverting", gate: "quarantine", lifts: "slipway release cart v2",
		}, {
			name: "still in the one before", s: stage("staging", "prod").done("staging", 1).done("prod", 1).open("staging", 2, delivery.Judging, judging), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because v2 is judging in staging: the judge has not proven v2 no worse yet", gate: "order", lifts: "passes when it is done there",
		}, {
			name: "still two before", s: stage("dev", "staging", "prod").done("dev", 2).done("staging", 1).done("prod", 1), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because v2 is not stable in staging", gate: "order", lifts: "slipway promote 2 --to staging",
		}, {
			name: "the nearest is next", s: stage("dev", "staging", "prod!").done("dev", 3).done("staging", 2).done("prod", 1), env: "prod", newest: submitted(3),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because prod is promoted to by hand", gate: "promotion", lifts: "slipway promote 2 --to prod",
		}, {
			name: "going back in the one before", s: stage("staging", "prod").done("staging", 1).done("prod", 1).open("staging", 2, delivery.Reverting), env: "prod", newest: submitted(2),
			running: "v1", next: "v1", may: true, sentence: "cart v1 is stable in prod since 2026-03-02 11:00:00 UTC",
		}, {
			name: "pinned", s: stage("staging", "prod").done("staging", 2).done("prod", 1).pinned("prod", "closing"), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because cart is held in prod by ann: closing", gate: "pin", lifts: "slipway release cart --env prod",
		}, {
			name: "on hold", s: stage("staging", "prod").done("staging", 2).done("prod", 1).ended("prod", 2, delivery.Reverted).quarantined(2, "10 % errors"), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because v2 is on hold: 10 % errors", gate: "quarantine", lifts: "slipway release cart v2",
		}, {
			name: "went back from the first", s: stage("staging", "prod").done("staging", 1).quarantined(2, "10 % errors").ended("staging", 2, delivery.Reverted), env: "staging", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in staging, because v2 is on hold: 10 % errors", gate: "quarantine", lifts: "slipway release cart v2",
		}, {
			name: "went back here before", s: stage("staging", "prod").done("staging", 2).done("prod", 1).ended("prod", 2, delivery.Reverted), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because change #2 ended reverted in prod: because it was reverted", gate: "history", lifts: "slipway promote 2 --to prod, or a newer release",
		}, {
			name: "cancelled before it began", s: stage("staging", "prod").done("staging", 1), env: "staging", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in staging, because nothing brings it to staging by itself", gate: "promotion", lifts: "slipway deploy cart v2",
		}, {
			name: "rolled back", s: stage("staging", "prod").done("staging", 2).stable("prod", 1, 3).ended("prod", 3, delivery.Done, back(2, 1)).quarantined(2, "rolled back by ann"), env: "prod", newest: submitted(2),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because v2 is on hold: rolled back by ann", gate: "quarantine", lifts: "slipway release cart v2",
		}, {
			name: "the one before was rolled back", s: stage("staging", "prod").stable("staging", 1, 3).ended("staging", 3, delivery.Done, back(2, 1)).done("prod", 2), env: "prod", newest: submitted(2),
			running: "v2", next: "v1", sentence: "cart v1 is not in prod, because change #3 is for staging alone", gate: "promotion", lifts: "slipway promote 3 --to prod",
		}, {
			name: "only change, here", s: stage("staging", "prod").done("staging", 1).done("prod", 1).open("prod", 2, delivery.Queued, forEnvAlone), env: "prod", newest: solely(submitted(2)),
			running: "v1", next: "v2", sentence: "cart v2 is on its way into prod: queued: because it was queued", gate: "rollout", lifts: "passes by itself",
		}, {
			name: "only change, went back here", s: stage("staging", "prod").done("staging", 1).done("prod", 1).ended("prod", 2, delivery.Reverted, forEnvAlone).quarantined(2, "10 % errors"), env: "prod", newest: solely(submitted(2)),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because v2 is on hold: 10 % errors", gate: "quarantine", lifts: "slipway release cart v2",
		}, {
			name: "only change, hold lifted", s: stage("staging", "prod").done("staging", 1).done("prod", 1).ended("prod", 2, delivery.Reverted, forEnvAlone), env: "prod", newest: solely(submitted(2)),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because change #2 ended reverted in prod: because it was reverted", gate: "history", lifts: "slipway deploy cart v2 --env prod, or a newer release",
		}, {
			name: "only change, stable elsewhere", s: stage("dev", "staging", "prod").stable("dev", 2, 2).ended("dev", 2, delivery.Done, forEnvAlone).done("staging", 1), env: "staging", newest: solely(submitted(2)),
			running: "v1", next: "v2", sentence: "cart v2 is not in staging, because change #2 is for dev alone", gate: "promotion", lifts: "slipway promote 2 --to staging",
		}, {
			name: "only change, on its way elsewhere", s: stage("staging", "prod").done("staging", 1).done("prod", 1).open("staging", 2, delivery.Judging, forEnvAlone), env: "prod", newest: solely(submitted(2)),
			running: "v1", next: "v1", may: true, sentence: "cart v1 is stable in prod since 2026-03-02 11:00:00 UTC",
		}, {
			name: "only change, on its way to the last, first asks", s: stage("staging", "prod").open("prod", 2, delivery.Judging, forEnvAlone), env: "staging", newest: solely(submitted(2)),
			sentence: "cart has no release for staging yet", gate: "release", lifts: "slipway deploy cart",
		}, {
			name: "only change, its environment is named", s: stage("staging", "prod").done("staging", 1).done("prod", 1), env: "prod", newest: func() Candidate { c := solely(submitted(2)); c.Env = "prod"; return c }(),
			running: "v1", next: "v2", sentence: "cart v2 is not in prod, because nothing brings it to prod by itself", gate: "promotion", lifts: "slipway deploy cart v2 --env prod",
		}, {
			name: "only change, gone without a trace", s: stage("staging", "prod").done("staging", 1).done("prod", 1), env: "prod", newest: solely(submitted(2)),
			running: "v1", next: "v1", may: true, sentence: "cart v1 is stable in prod since 2026-03-02 11:00:00 UTC",
		}, {
			name: "an environment that came later", s: stage("dev", "staging", "prod").done("prod", 1), env: "prod", newest: submitted(1),
			running: "v1", next: "v1", may: true, sentence: "cart v1 is stable in prod since 2026-03-02 11:00:00 UTC",
		}, {
			name: "nothing passed the one before", s: stage("staging", "prod").ended("staging", 1, delivery.Reverted), env: "prod", newest: submitted(1),
			next: "v1", sentence: "cart v1 is not in prod, because v1 is not stable in staging", gate: "order", lifts: "slipway deploy cart v1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Why(c.s.w, "cart", c.env, c.newest)
			if a.Service != "cart" || a.Env != c.env || a.Running != c.running || a.Next != c.next {
				t.Errorf("answer = %s in %s: runs %q, next %q, want cart in %s: runs %q, next %q", a.Service, a.Env, a.Running, a.Next, c.env, c.running, c.next)
			}
			if a.May != c.may || a.Sentence != c.sentence {
				t.Errorf("answer = %v %q, want %v %q", a.May, a.Sentence, c.may, c.sentence)
			}
			not := firstNot(a.Gates)
			if not.Name != c.gate || c.lifts != "" && not.Lifts != c.lifts {
				t.Errorf("first gate that does not pass = %s, lifted by %q, want %s, lifted by %q", not.Name, not.Lifts, c.gate, c.lifts)
			}
			if _, flies := c.s.w.Flight("cart", c.env); flies != (a.Flight != nil) {
				t.Errorf("flight = %v, want one: %v", a.Flight, flies)
			}
		})
	}
}

func TestWhyInFlightNamesItsBlocker(t *testing.T) {
	until := noon.Add(time.Minute)
	for _, c := range []struct {
		name    string
		edit    func(*delivery.Rollout)
		outcome delivery.GateWord
		lifts   string
		who     string
		until   time.Time
	}{
		{"time", waitingOn("held at 25 %", "passes by itself", "", until), delivery.GateWaits, "passes by itself", "", until},
		{"a person", waitingOn("wants approval", "slipway promote 2 --env prod", anyone, time.Time{}), delivery.GateBlocked, "slipway promote 2 --env prod", anyone, time.Time{}},
		{"something that does not say what lifts it", waitingOn("stars", "", "", time.Time{}), delivery.GateWaits, "passes by itself", "", time.Time{}},
		{"nothing", func(*delivery.Rollout) {}, delivery.GateWaits, "passes by itself", "", time.Time{}},
	} {
		a := Why(stage("prod").open("prod", 2, delivery.Judging, c.edit).w, "cart", "prod", submitted(2))
		g := a.Gates[len(a.Gates)-1]
		if g.Name != "rollout" || g.Outcome != c.outcome || g.Lifts != c.lifts || g.Who != c.who || !g.Until.Equal(c.until) {
			t.Errorf("%s: gate = %+v", c.name, g)
		}
		if a.May {
			t.Errorf("%s: may enter while it is on its way", c.name)
		}
	}
}

func TestStandingAndBrief(t *testing.T) {
	for _, c := range []struct {
		state    delivery.State
		step     int
		standing string
		weight   delivery.Weight
	}{
		{delivery.Queued, 0, "queued: because it was queued", 0},
		{delivery.Starting, 0, "starting: because it was starting", 0},
		{delivery.Shifting, 1, "25 %, shifting: because it was shifting", 0},
		{delivery.Judging, 1, "25 %, judging: because it was judging", 2500},
		{delivery.Shifting, 2, "100 %, shifting: because it was shifting", 2500},
		{delivery.Waiting, 1, "25 %, waiting: because it was waiting", 2500},
		{delivery.Finishing, 2, "finishing: because it was finishing", delivery.Full},
		{delivery.Soaking, 2, "soaking: because it was soaking", delivery.Full},
		{delivery.Reverting, 1, "reverting: because it was reverting", 0},
		{delivery.Judging, 9, "judging: because it was judging", 0},
	} {
		r := stage("prod").rollout("prod", 2, c.state, nil)
		r.Step = c.step
		if got := Standing(r); got != c.standing {
			t.Errorf("Standing(%s at %d) = %q, want %q", c.state, c.step, got, c.standing)
		}
		f := Brief(r)
		if f.Weight != c.weight || f.Rollout != "2/prod" || f.Change != 2 || f.Version != "v2" || f.State != c.state {
			t.Errorf("Brief(%s at %d) = %+v, want weight %s", c.state, c.step, f, c.weight)
		}
	}
	if got := Standing(delivery.Rollout{State: delivery.Queued}); got != "queued" {
		t.Errorf("Standing without a reason = %q, want the state alone", got)
	}
}

func TestRow(t *testing.T) {
	for _, c := range []struct {
		name     string
		s        *scene
		now      bool
		sentence string
		held     string // per cell: p pinned, q quarantined, - none
	}{
		{"nothing yet", stage("staging", "prod"), true, "yes, nothing is deployed yet", "--"},
		{"up to date", stage("staging", "prod").done("staging", 1).done("prod", 1), true, "yes, up to date", "--"},
		{"one environment", stage("prod").done("prod", 1), true, "yes, up to date", "-"},
		{"behind", stage("staging", "prod").done("staging", 2).done("prod", 1), true, "yes, v2 waits before prod", "--"},
		{"not there yet", stage("staging", "prod").done("staging", 1), true, "yes, v1 waits before prod", "--"},
		{"ahead", stage("staging", "prod").done("staging", 1).done("prod", 2), true, "yes, prod is ahead with v2", "--"},
		{"the first is new", stage("staging", "prod").done("prod", 2), true, "yes, up to date", "--"},
		{"first under way", stage("staging", "prod").open("staging", 2, delivery.Judging), true, "yes, takes over from v2 in staging", "--"},
		{"first cannot be taken over", stage("staging", "prod").open("staging", 2, delivery.Soaking, waitingOn("watched", "itself", "", noon)), false, "soon  change #2 (v2) is soaking in staging: watched", "--"},
		{"last under way", stage("staging", "prod").done("staging", 2).done("prod", 1).open("prod", 2, delivery.Soaking), true, "yes, v2 is soaking in prod", "--"},
		{"first pinned", stage("staging", "prod").pinned("staging", "tests run"), false, "NO  held in staging by ann: tests run", "p-"},
		{"first pinned and under way", stage("staging", "prod").pinned("staging", "tests run").open("staging", 2, delivery.Soaking), false, "NO  held in staging by ann: tests run", "p-"},
		{"last pinned", stage("staging", "prod").pinned("prod", "closing"), true, "yes, held in prod by ann: closing", "-p"},
		{"pin before quarantine", stage("prod").quarantined(2, "bad").ended("prod", 2, delivery.Reverted).pinned("prod", "closing"), false, "NO  held in prod by ann: closing", "p"},
		{"went back", stage("staging", "prod").done("staging", 2).done("prod", 1).ended("prod", 2, delivery.Reverted).quarantined(2, "bad"), true, "yes, but not v2 (on hold)", "-q"},
		{"goes back", stage("staging", "prod").done("staging", 2).done("prod", 1).open("prod", 2, delivery.Reverting).quarantined(2, "bad"), true, "yes, v2 is going back in prod; but not v2 (on hold)", "-q"},
		{"was rolled back", stage("staging", "prod").done("staging", 2).stable("prod", 1, 3).ended("prod", 3, delivery.Done, back(2, 1)).quarantined(2, "bad"), true, "yes, but not v2 (on hold)", "-q"},
		{"is rolled back", stage("staging", "prod").done("staging", 2).done("prod", 2).open("prod", 3, delivery.Starting, back(2, 1)).quarantined(2, "bad"), true, "yes, v1 is starting in prod; but not v2 (on hold)", "-q"},
		{"put on hold by a person", stage("staging", "prod").quarantined(2, "bad").quarantined(3, "worse"), true, "yes, but not v2, v3 (on hold)", "--"},
		{"nothing answers", stage("staging", "prod").done("staging", 2).trouble("the data plane does not answer"), false, "NO  the data plane does not answer", "--"},
		{"no environment", stage(), true, "yes, nothing is deployed yet", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := rowOf(c.s.w.of("cart"), "cart", func(_, env string, release delivery.ReleaseID) (int, int) { return len(env), len(release) })
			if row.Service != "cart" || row.Now != c.now || row.Sentence != c.sentence {
				t.Errorf("row = %v %q, want %v %q", row.Now, row.Sentence, c.now, c.sentence)
			}
			var held strings.Builder
			for i, cell := range row.Cells {
				if cell.Held == nil {
					held.WriteByte('-')
				} else {
					held.WriteByte(cell.Held.Kind[0])
				}
				env := c.s.w.Project.Environments[i].Name
				s, ok := c.s.w.Stable("cart", env)
				if cell.Env != env || cell.Release != s.Release || cell.Version != s.Version || cell.Change != s.Change || !cell.Since.Equal(s.Since) {
					t.Errorf("cell %d = %+v, want %s with %+v", i, cell, env, s)
				}
				if ok && (cell.Healthy != len(env) || cell.Want != len(s.Release)) {
					t.Errorf("cell %d: %d of %d healthy, want %d of %d", i, cell.Healthy, cell.Want, len(env), len(s.Release))
				}
				if r, flies := c.s.w.Flight("cart", env); flies != (cell.Flight != nil) || flies && cell.Flight.Rollout != r.ID {
					t.Errorf("cell %d: flight %+v, want %s", i, cell.Flight, r.ID)
				}
			}
			if held.String() != c.held {
				t.Errorf("held = %q, want %q", held.String(), c.held)
			}
		})
	}
}

// Another service's holds, rollouts and releases are none of this one's business.
func TestServicesDoNotMix(t *testing.T) {
	s := stage("staging", "prod").done("staging", 2).done("prod", 1).open("prod", 2, delivery.Soaking).quarantined(2, "bad").pinned("staging", "x")
	row := rowOf(s.w.of("payment"), "payment", func(string, string, delivery.ReleaseID) (int, int) { return 0, 0 })
	if !row.Now || row.Sentence != "yes, nothing is deployed yet" {
		t.Errorf("row = %v %q, want an empty one", row.Now, row.Sentence)
	}
	if a := Why(s.w, "payment", "prod", Candidate{Service: "payment"}); a.Running != "" || a.Flight != nil || a.Sentence != "payment has no release for prod yet" {
		t.Errorf("Why = %+v, want an empty one", a)
	}
}
