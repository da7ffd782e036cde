package promotion

import (
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Each gate in each situation: how it stands, what it says, and who or what lifts it.
func TestGates(t *testing.T) {
	soaked := noon.Add(time.Minute)
	const (
		pass    = delivery.GatePass
		waits   = delivery.GateWaits
		blocked = delivery.GateBlocked
	)
	three := func() *scene { return stage("dev", "staging", "prod") }
	for _, c := range []struct {
		gate, name string
		s          *scene
		c          Candidate
		outcome    delivery.GateWord
		what       string
		lifts      string
		who        string
		until      time.Time
	}{
		{gate: "order", name: "first environment", s: three(), c: asks("dev", 2), outcome: pass, what: "dev is the first environment"},
		{gate: "order", name: "stable before", s: three().done("staging", 2), c: asks("prod", 2), outcome: pass, what: "v2 is stable in staging"},
		{gate: "order", name: "stable before, and for one alone", s: three().done("staging", 2), c: solely(asks("prod", 2)), outcome: pass, what: "v2 is stable in staging"},
		{gate: "order", name: "for one alone", s: three(), c: solely(asks("prod", 2)), outcome: pass, what: "v2 is for prod alone"},
		{gate: "order", name: "another is stable before", s: three().done("staging", 1), c: asks("prod", 2), outcome: blocked, what: "v2 is not stable in staging", lifts: "slipway deploy cart v2", who: anyone},
		{gate: "order", name: "stable two before", s: three().done("dev", 2), c: asks("prod", 2), outcome: blocked, what: "v2 is not stable in staging", lifts: "slipway promote 2 --to staging", who: anyone},
		{gate: "order", name: "a person may not skip either", s: three().done("dev", 2), c: person(asks("prod", 2)), outcome: blocked, what: "v2 is not stable in staging", lifts: "slipway promote 2 --to staging", who: anyone},
		{gate: "order", name: "on its way before", s: three().open("staging", 2, delivery.Starting, waitingOn("0 of 2 instances ready", "they become ready", "", noon)), c: asks("prod", 2), outcome: waits, what: "v2 is starting in staging: 0 of 2 instances ready", lifts: "passes when it is done there"},
		{gate: "order", name: "on its way before, waits for nothing", s: three().open("staging", 2, delivery.Preparing), c: asks("prod", 2), outcome: waits, what: "v2 is preparing in staging", lifts: "passes when it is done there"},
		{gate: "order", name: "behind another before", s: three().open("staging", 1, delivery.Soaking).open("staging", 2, delivery.Queued), c: asks("prod", 2), outcome: waits, what: "v2 is queued in staging", lifts: "passes when it is done there"},
		{gate: "order", name: "soaks before", s: three().open("staging", 2, delivery.Soaking, waitingOn("watched at full traffic for 1m0s", "passes by itself", "", soaked)), c: asks("prod", 2), outcome: waits, what: "v2 is soaking in staging: watched at full traffic for 1m0s", lifts: "passes when it is done there", until: soaked},
		{gate: "order", name: "waits for a person before", s: three().open("staging", 2, delivery.Waiting, waitingOn("step 25 % wants approval", "slipway promote 2 --env staging", anyone, time.Time{})), c: asks("prod", 2), outcome: blocked, what: "v2 is waiting in staging: step 25 % wants approval", lifts: "slipway promote 2 --env staging", who: anyone},
		{gate: "order", name: "goes back before", s: three().open("staging", 2, delivery.Reverting), c: asks("prod", 2), outcome: blocked, what: "v2 is reverting in staging", lifts: "slipway deploy cart v2", who: anyone},
		{gate: "order", name: "another service has it", s: func() *scene { s := three().done("staging", 2); s.w.Stables[0].Service = "payment"; return s }(), c: asks("prod", 2), outcome: blocked, what: "v2 is not stable in staging", lifts: "slipway deploy cart v2", who: anyone},

		{gate: "quarantine", name: "none", s: three(), c: asks("prod", 2), outcome: pass, what: "v2 is not on hold"},
		{gate: "quarantine", name: "of it", s: three().quarantined(2, "10 % errors"), c: asks("prod", 2), outcome: blocked, what: "v2 is on hold: 10 % errors", lifts: "slipway release cart v2", who: anyone},
		{gate: "quarantine", name: "of it, and a person asks", s: three().quarantined(2, "10 % errors"), c: person(solely(asks("prod", 2))), outcome: blocked, what: "v2 is on hold: 10 % errors", lifts: "slipway release cart v2", who: anyone},
		{gate: "quarantine", name: "without a reason", s: three().quarantined(2, ""), c: asks("dev", 2), outcome: blocked, what: "v2 is on hold", lifts: "slipway release cart v2", who: anyone},
		{gate: "quarantine", name: "of another release", s: three().quarantined(3, "bad"), c: asks("prod", 2), outcome: pass, what: "v2 is not on hold"},

		{gate: "pin", name: "none", s: three(), c: asks("prod", 2), outcome: pass, what: "cart is not held in prod"},
		{gate: "pin", name: "there", s: three().pinned("prod", "closing"), c: asks("prod", 2), outcome: blocked, what: "cart is held in prod by ann: closing", lifts: "slipway release cart --env prod", who: anyone},
		{gate: "pin", name: "there, and a person asks", s: three().pinned("prod", "closing"), c: person(asks("prod", 2)), outcome: blocked, what: "cart is held in prod by ann: closing", lifts: "slipway release cart --env prod", who: anyone},
		{gate: "pin", name: "elsewhere", s: three().pinned("staging", "closing"), c: asks("prod", 2), outcome: pass, what: "cart is not held in prod"},

		{gate: "history", name: "none", s: three(), c: asks("prod", 2), outcome: pass, what: "it has not been sent back from prod"},
		{gate: "history", name: "went back", s: three().ended("prod", 2, delivery.Reverted), c: asks("prod", 2), outcome: blocked, what: "change #2 ended reverted in prod: because it was reverted", lifts: "slipway promote 2 --to prod, or a newer release", who: anyone},
		{gate: "history", name: "could not go back", s: three().ended("prod", 2, delivery.RevertFailed), c: asks("prod", 2), outcome: blocked, what: "change #2 ended revert_failed in prod: because it was revert_failed", lifts: "slipway promote 2 --to prod, or a newer release", who: anyone},
		{gate: "history", name: "was superseded", s: three().ended("prod", 2, delivery.Superseded), c: asks("prod", 2), outcome: blocked, what: "change #2 ended superseded in prod: because it was superseded", lifts: "slipway promote 2 --to prod, or a newer release", who: anyone},
		{gate: "history", name: "was cancelled", s: three().ended("prod", 2, delivery.Cancelled), c: asks("prod", 2), outcome: blocked, what: "change #2 ended cancelled in prod: because it was cancelled", lifts: "slipway promote 2 --to prod, or a newer release", who: anyone},
		{gate: "history", name: "went back from the first", s: three().ended("dev", 2, delivery.Reverted), c: asks("dev", 2), outcome: blocked, what: "change #2 ended reverted in dev: because it was reverted", lifts: "slipway deploy cart v2, or a newer release", who: anyone},
		{gate: "history", name: "went back where it was for alone", s: three().ended("prod", 2, delivery.Reverted), c: solely(asks("prod", 2)), outcome: blocked, what: "change #2 ended reverted in prod: because it was reverted", lifts: "slipway deploy cart v2 --env prod, or a newer release", who: anyone},
		{gate: "history", name: "went back, and a person asks", s: three().ended("prod", 2, delivery.Reverted), c: person(asks("prod", 2)), outcome: pass, what: "it ended reverted in prod before; a person asks again"},
		{gate: "history", name: "went back elsewhere", s: three().ended("staging", 2, delivery.Reverted), c: asks("prod", 2), outcome: pass, what: "it has not been sent back from prod"},
		{gate: "history", name: "went back, then a retry was done and left", s: three().ended("prod", 2, delivery.Reverted).ended("prod", 2, delivery.Done).stable("prod", 1, 1), c: asks("prod", 2), outcome: blocked, what: "prod got v1 by change #1 after change #2", lifts: "slipway promote 2 --to prod, or a newer release", who: anyone},
		{gate: "history", name: "is there", s: three().done("prod", 2), c: asks("prod", 2), outcome: pass, what: "v2 is stable in prod"},
		{gate: "history", name: "an older one is there", s: three().done("prod", 1), c: asks("prod", 2), outcome: pass, what: "it has not been sent back from prod"},
		{gate: "history", name: "something newer is there", s: three().stable("prod", 1, 3), c: asks("prod", 2), outcome: blocked, what: "prod got v1 by change #3 after change #2", lifts: "slipway promote 2 --to prod, or a newer release", who: anyone},
		{gate: "history", name: "something newer is there, and a person asks", s: three().stable("prod", 1, 3), c: person(asks("prod", 2)), outcome: pass, what: "a person asks"},
		{gate: "history", name: "was done there, and nothing is", s: three().ended("prod", 2, delivery.Done), c: asks("prod", 2), outcome: blocked, what: "change #2 was done in prod before", lifts: "slipway promote 2 --to prod, or a newer release", who: anyone},

		{gate: "slot", name: "free", s: three(), c: asks("prod", 2), outcome: pass, what: "nothing else is under way in prod"},
		{gate: "slot", name: "taken elsewhere", s: three().open("staging", 1, delivery.Soaking), c: asks("prod", 2), outcome: pass, what: "nothing else is under way in prod"},
		{gate: "slot", name: "its own, by a person", s: three().open("prod", 2, delivery.Judging), c: person(asks("prod", 2)), outcome: pass, what: "change #2 itself has it in prod"},
		{gate: "slot", name: "its own", s: three().open("prod", 2, delivery.Queued), c: asks("prod", 2), outcome: waits, what: "change #2 (v2) is queued in prod", lifts: "passes when it ends, or slipway abort 2"},
		{gate: "slot", name: "an older one gives way", s: three().open("prod", 1, delivery.Judging), c: asks("prod", 2), outcome: pass, what: "takes over from change #1 (v1), which is judging"},
		{gate: "slot", name: "one that queues gives way", s: three().open("prod", 1, delivery.Queued, supersede(delivery.Coalesce)), c: asks("prod", 2), outcome: pass, what: "takes over from change #1 (v1), which is queued"},
		{gate: "slot", name: "an older one does not give way", s: three().open("prod", 1, delivery.Judging, supersede(delivery.Queue), waitingOn("not enough data", "more", "", noon)), c: asks("prod", 2), outcome: waits, what: "change #1 (v1) is judging in prod: not enough data", lifts: "passes when it ends, or slipway abort 1"},
		{gate: "slot", name: "coalesce waits for what has begun", s: three().open("prod", 1, delivery.Judging, supersede(delivery.Coalesce)), c: asks("prod", 2), outcome: waits, what: "change #1 (v1) is judging in prod", lifts: "passes when it ends, or slipway abort 1"},
		{gate: "slot", name: "nearly done", s: three().open("prod", 1, delivery.Soaking, waitingOn("watched", "passes by itself", "", soaked)), c: asks("prod", 2), outcome: waits, what: "change #1 (v1) is soaking in prod: watched", lifts: "passes when it ends, or slipway abort 1", until: soaked},
		{gate: "slot", name: "paused in its soak", s: three().open("prod", 1, delivery.Soaking, waitingOn("paused by ann", "slipway resume 1/prod", anyone, soaked)), c: asks("prod", 2), outcome: waits, what: "change #1 (v1) is soaking in prod: paused by ann", lifts: "passes when it ends, or slipway abort 1"},
		{gate: "slot", name: "on its way back", s: three().open("prod", 1, delivery.Reverting), c: person(asks("prod", 2)), outcome: waits, what: "change #1 (v1) is reverting in prod", lifts: "passes when it is back"},
		{gate: "slot", name: "a newer one is there", s: three().open("prod", 3, delivery.Judging), c: asks("prod", 2), outcome: waits, what: "change #3 (v3) is judging in prod; it is newer", lifts: "passes if it goes back, or slipway abort 3"},
		{gate: "slot", name: "a newer one is behind an older one", s: three().open("prod", 1, delivery.Judging).open("prod", 3, delivery.Queued), c: asks("prod", 2), outcome: waits, what: "change #3 (v3) is queued in prod; it is newer", lifts: "passes if it goes back, or slipway abort 3"},
		{gate: "slot", name: "a newer one is there, and a person asks", s: three().open("prod", 3, delivery.Judging), c: person(asks("prod", 2)), outcome: pass, what: "takes over from change #3 (v3), which is judging"},
		{gate: "slot", name: "the same release by another change", s: three().open("prod", 1, delivery.Judging, func(r *delivery.Rollout) { r.To = rel(2) }), c: asks("prod", 2), outcome: waits, what: "change #1 (v1) is judging in prod", lifts: "passes when it ends, or slipway abort 1"},
		{gate: "slot", name: "a state nobody knows", s: three().open("prod", 1, "dancing"), c: asks("prod", 2), outcome: waits, what: "change #1 (v1) is dancing in prod", lifts: "passes when it ends, or slipway abort 1"},

		{gate: "promotion", name: "automatic", s: three().done("staging", 2), c: asks("prod", 2), outcome: pass, what: "by itself"},
		{gate: "promotion", name: "not stable before", s: three(), c: asks("prod", 2), outcome: pass, what: "by itself"},
		{gate: "promotion", name: "manual", s: stage("staging", "prod!").done("staging", 2), c: asks("prod", 2), outcome: blocked, what: "prod is promoted to by hand", lifts: "slipway promote 2 --to prod", who: anyone},
		{gate: "promotion", name: "manual, and a person asks", s: stage("staging", "prod!").done("staging", 2), c: person(asks("prod", 2)), outcome: pass, what: "a person asks"},
		{gate: "promotion", name: "into the first", s: three(), c: asks("dev", 2), outcome: blocked, what: "nothing brings it to dev by itself", lifts: "slipway deploy cart v2", who: anyone},
		{gate: "promotion", name: "for one alone", s: three(), c: solely(asks("prod", 2)), outcome: blocked, what: "nothing brings it to prod by itself", lifts: "slipway deploy cart v2 --env prod", who: anyone},
		{gate: "promotion", name: "came for the one before alone", s: three().stable("staging", 2, 2).ended("staging", 2, delivery.Done, forEnvAlone), c: asks("prod", 2), outcome: blocked, what: "change #2 is for staging alone", lifts: "slipway promote 2 --to prod", who: anyone},
		{gate: "promotion", name: "its way is not known", s: three().stable("staging", 2, 2), c: asks("prod", 2), outcome: blocked, what: "how change #2 came to staging is not known any more", lifts: "slipway promote 2 --to prod", who: anyone},

		{gate: "data plane", name: "answers", s: three(), c: asks("prod", 2), outcome: pass, what: "answers"},
		{gate: "data plane", name: "does not", s: three().trouble("the data plane does not answer"), c: person(asks("prod", 2)), outcome: blocked, what: "the data plane does not answer", lifts: "slipway doctor", who: anyone},
	} {
		t.Run(c.gate+"/"+c.name, func(t *testing.T) {
			want := delivery.Gate{Name: c.gate, Outcome: c.outcome, What: c.what, Lifts: c.lifts, Who: c.who, Until: c.until}
			for _, g := range Gates(c.s.w, c.c) {
				if g.Name == c.gate && g != want {
					t.Errorf("gate = %+v, want %+v", g, want)
				}
			}
		})
	}
}

func TestGatesAreInTheOrderAPersonAsks(t *testing.T) {
	want := []string{"order", "quarantine", "pin", "history", "slot", "promotion", "data plane"}
	gates := Gates(stage("staging", "prod").w, asks("prod", 1))
	for i, g := range gates {
		if i >= len(want) || g.Name != want[i] {
			t.Errorf("gate %d = %s, want %v", i, g.Name, want)
		}
	}
	if len(gates) != len(want) {
		t.Errorf("%d gates, want %d", len(gates), len(want))
	}
}

func TestHoldOn(t *testing.T) {
	w := stage("staging", "prod").quarantined(2, "bad").pinned("prod", "closing").w
	for _, c := range []struct {
		name, service, env string
		release            delivery.ReleaseID
		want               delivery.HoldKind
	}{
		{"quarantined anywhere", "cart", "staging", "r2", delivery.Quarantine},
		{"pinned", "cart", "prod", "r3", delivery.Pinned},
		{"both", "cart", "prod", "r2", delivery.Quarantine},
		{"free", "cart", "staging", "r3", ""},
		{"another service", "payment", "prod", "r2", ""},
	} {
		h := w.HoldOn(c.service, c.env, c.release)
		if got := h; (got == nil) != (c.want == "") || got != nil && got.Kind != c.want {
			t.Errorf("%s: HoldOn = %+v, want %q", c.name, h, c.want)
		}
	}
	h := w.HoldOn("cart", "prod", "r3")
	h.Why = "changed"
	if w.Holds[1].Why != "closing" {
		t.Error("HoldOn gives its caller a hold of the world itself")
	}
}

func TestFlight(t *testing.T) {
	for _, c := range []struct {
		name string
		s    *scene
		want delivery.RolloutID
	}{
		{"none", stage("prod"), ""},
		{"the owner, whatever waits", stage("prod").open("prod", 3, delivery.Queued).open("prod", 1, delivery.Reverting).open("prod", 4, delivery.Queued), "1/prod"},
		{"the newest that waits", stage("prod").open("prod", 3, delivery.Queued).open("prod", 4, delivery.Queued).open("prod", 2, delivery.Queued), "4/prod"},
		{"elsewhere", stage("staging", "prod").open("staging", 3, delivery.Queued), ""},
		{"over already", stage("prod").open("prod", 3, delivery.Done), ""},
	} {
		if r, ok := c.s.w.Flight("cart", "prod"); r.ID != c.want || ok != (c.want != "") {
			t.Errorf("%s: Flight = %s, %v, want %s", c.name, r.ID, ok, c.want)
		}
	}
}
