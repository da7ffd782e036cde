package promotion

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// course is a plan of steps with these weights.
func course(kind delivery.StrategyKind, weights ...int) delivery.Plan {
	p := delivery.Plan{Strategy: kind, Window: 10 * time.Minute, Soak: 30 * time.Second}
	for _, w := range weights {
		p.Steps = append(p.Steps, delivery.Step{Do: delivery.DoWeight, Weight: delivery.Percent(w), Proven: w < 100})
	}
	return p
}

// green is the plan of a blue-green rollout that a person switches.
func green() delivery.Plan {
	p := course(delivery.BlueGreen, 100)
	p.Steps = append([]delivery.Step{{Do: delivery.DoStart, Approve: true, Preview: true}}, p.Steps...)
	return p
}

// What is asked of a rollout says exactly what it does, in every state that has a
// use for it.
func TestAskingEffect(t *testing.T) {
	canary := course(delivery.Canary, 5, 25, 50, 100)
	cfg := []string{"FEE", "TAX_URL"}
	for name, c := range map[string]struct {
		verb   delivery.AskVerb
		state  delivery.State
		step   int
		weight int
		keys   []string
		edit   func(*delivery.Rollout)
		want   string
	}{
		"abort":                {delivery.AskAbort, delivery.Judging, 1, 25, nil, nil, "moves 25 % of prod traffic back to v1; keeps the configuration; v2 goes on hold"},
		"abort with config":    {delivery.AskAbort, delivery.Judging, 1, 25, cfg, nil, "moves 25 % of prod traffic back to v1; takes back the configuration of FEE and TAX_URL; v2 goes on hold"},
		"abort at full":        {delivery.AskAbort, delivery.Soaking, 3, 100, nil, nil, "moves all prod traffic back to v1; keeps the configuration; v2 goes on hold"},
		"abort before traffic": {delivery.AskAbort, delivery.Starting, 0, 0, nil, nil, "stops v2 in prod before it gets any traffic; v1 keeps all of it; v2 goes on hold"},
		"abort of the queued":  {delivery.AskAbort, delivery.Queued, 0, 0, nil, nil, "takes change #7 (v2) out of the line before prod; nothing changes there"},
		"abort of the first": {
			delivery.AskAbort, delivery.Starting, 0, 0, nil, func(r *delivery.Rollout) { r.From, r.Was = "", "" },
			"stops v2, the first release in prod: nothing serves cart there then; v2 goes on hold",
		},
		"abort of nothing new": {delivery.AskAbort, delivery.Starting, 0, 0, nil, func(r *delivery.Rollout) { r.From = r.To }, "ends change #7 in prod; v2 serves on as it is"},
		"abort again":          {delivery.AskAbort, delivery.Reverting, 1, 25, nil, nil, "changes nothing: v2 is on its way back in prod already"},
		"abort asked already": {
			delivery.AskAbort, delivery.Judging, 1, 25, nil, func(r *delivery.Rollout) { r.Asked = &delivery.Ask{Verb: delivery.AskAbort} },
			"changes nothing: v2 is on its way back in prod already",
		},
		"abort of green":    {delivery.AskAbort, delivery.Soaking, 1, 100, nil, func(r *delivery.Rollout) { r.Plan = green() }, "switches all prod traffic from v2 (green) back to v1 (blue); keeps the configuration; v2 goes on hold"},
		"pause":             {delivery.AskPause, delivery.Judging, 1, 25, nil, nil, "leaves 25 % of prod traffic on v2 until it is resumed; it is judged all the while, and goes back by itself if it is worse"},
		"pause the queued":  {delivery.AskPause, delivery.Queued, 0, 0, nil, nil, "keeps v2 from beginning in prod until it is resumed"},
		"pause the start":   {delivery.AskPause, delivery.Starting, 0, 0, nil, nil, "gives v2 no prod traffic until it is resumed"},
		"resume":            {delivery.AskResume, delivery.Judging, 1, 25, nil, nil, "lets v2 go on in prod with 25 % of the traffic, next 50 % once it is proven no worse"},
		"resume a shift":    {delivery.AskResume, delivery.Shifting, 2, 25, nil, nil, "lets v2 go on in prod with 25 % of the traffic, next 50 %"},
		"resume to the end": {delivery.AskResume, delivery.Waiting, 2, 50, nil, nil, "lets v2 go on in prod with 50 % of the traffic, next all of it"},
		"resume the queued": {delivery.AskResume, delivery.Queued, 0, 0, nil, nil, "lets v2 begin in prod when it is its turn"},
		"resume the soak":   {delivery.AskResume, delivery.Soaking, 3, 100, nil, nil, "lets v2 go on in prod with all of the traffic"},
		"approve":           {delivery.AskApprove, delivery.Waiting, 1, 25, nil, nil, "raises v2 from 25 % to 50 % of prod traffic"},
		"approve the last":  {delivery.AskApprove, delivery.Waiting, 2, 50, nil, nil, "moves all prod traffic to v2"},
		"approve full":      {delivery.AskApprove, delivery.Waiting, 3, 100, nil, nil, "lets v2, which has all prod traffic, become stable"},
		"approve early":     {delivery.AskApprove, delivery.Judging, 0, 5, nil, nil, "raises v2 from 5 % to 25 % of prod traffic once it is proven no worse at 5 %"},
		"approve unproven":  {delivery.AskApprove, delivery.Judging, 3, 100, nil, nil, "lets v2, which has all prod traffic, become stable once its time at 100 % is over"},
		"approve in spite": {
			delivery.AskApprove, delivery.Waiting, 1, 25, nil, func(r *delivery.Rollout) {
				r.Waiting = &delivery.Blocker{On: "decision", What: "judged for 10m0s and still inconclusive"}
			},
			"raises v2 from 25 % to 50 % of prod traffic, in spite of what is known: judged for 10m0s and still inconclusive",
		},
		"approve an incident": {
			delivery.AskApprove, delivery.Shifting, 1, 5, nil, func(r *delivery.Rollout) { r.Waiting = &delivery.Blocker{On: "incident"} },
			"lets v2 go on in prod in spite of the incident",
		},
		"switch":       {delivery.AskApprove, delivery.Waiting, 0, 0, nil, func(r *delivery.Rollout) { r.Plan = green() }, "switches all prod traffic from v1 (blue) to v2 (green); v1 stays warm for 10 min"},
		"switch early": {delivery.AskApprove, delivery.Judging, 0, 0, nil, func(r *delivery.Rollout) { r.Plan = green() }, "switches all prod traffic from v1 (blue) to v2 (green) as soon as its test has passed; v1 stays warm for 10 min"},
		"switch, and nothing is kept": {
			delivery.AskApprove, delivery.Waiting, 0, 0, nil, func(r *delivery.Rollout) { r.Plan = green(); r.Plan.Window = 0 },
			"switches all prod traffic from v1 (blue) to v2 (green)",
		},
		"finish":         {delivery.AskPromote, delivery.Judging, 1, 25, nil, nil, "skips what is left of the analysis and moves all prod traffic from v1 to v2 now, then watches it for 30 s; v1 stays warm for 10 min"},
		"finish early":   {delivery.AskPromote, delivery.Starting, 0, 0, nil, nil, "skips what is left of the analysis and moves all prod traffic from v1 to v2 as soon as its instances are ready, then watches it for 30 s; v1 stays warm for 10 min"},
		"finish batches": {delivery.AskPromote, delivery.Judging, 0, 25, nil, func(r *delivery.Rollout) { r.Plan.Strategy = delivery.Rolling }, "skips the time between the batches: v2 replaces v1 in prod batch after batch"},
		"finish the first": {
			delivery.AskPromote, delivery.Starting, 0, 0, nil, func(r *delivery.Rollout) { r.From, r.Plan.Steps = "", nil },
			"lets v2 take all prod traffic as soon as its instances are ready, as it would by itself",
		},
	} {
		r := delivery.Rollout{
			ID: "7/prod", Change: 7, Service: "cart", Env: "prod", From: "r1", Was: "v1", To: "r2", Version: "v2",
			State: c.state, Step: c.step, Plan: canary,
		}
		if c.edit != nil {
			c.edit(&r)
		}
		got := Asking{Verb: c.verb, Rollout: r, Weight: delivery.Percent(c.weight), Keys: c.keys}.Effect()
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// What starts says where, how it goes on by itself, and with what.
func TestStartingEffect(t *testing.T) {
	canary := course(delivery.Canary, 5, 25, 50, 100)
	first := delivery.Plan{Strategy: delivery.Canary}
	manual, auto := delivery.Manual, delivery.Auto
	for name, c := range map[string]struct {
		s    Starting
		want string
	}{
		"all by themselves": {
			Starting{Version: "v2", Was: "v1", Ways: []Way{{"dev", first, auto}, {"staging", canary, auto}, {"prod", canary, auto}}},
			"starts v2 in dev, then staging and prod by themselves; canary 5 %, 25 %, 50 %, 100 % in prod",
		},
		"one more": {
			Starting{Version: "v2", Was: "v1", Ways: []Way{{"staging", first, auto}, {"prod", canary, auto}}},
			"starts v2 in staging, then prod by itself; canary 5 %, 25 %, 50 %, 100 % in prod",
		},
		"prod by hand": {
			Starting{Version: "v2", Was: "v1", Ways: []Way{{"dev", first, auto}, {"staging", canary, auto}, {"prod", canary, manual}}},
			"starts v2 in dev, then staging by itself; prod once a person promotes it; canary 5 %, 25 %, 50 %, 100 % in prod",
		},
		"what follows by hand waits too": {
			Starting{Version: "v2", Was: "v1", Ways: []Way{{"dev", first, auto}, {"staging", canary, manual}, {"prod", canary, auto}}},
			"starts v2 in dev; staging and prod once a person promotes it; canary 5 %, 25 %, 50 %, 100 % in prod",
		},
		"alone": {
			Starting{Version: "v2", Was: "v1", Alone: true, Ways: []Way{{"prod", course(delivery.Recreate, 100), auto}}},
			"starts v2 in prod alone; recreate: what runs stops before it starts",
		},
		"first release": {Starting{Version: "v1", Ways: []Way{{"prod", first, auto}}, Keys: []string{"A"}}, "starts v1 in prod; all traffic at once"},
		"configuration": {
			Starting{Version: "v1+abc", Was: "v1", Ways: []Way{{"prod", canary, auto}}, Keys: []string{"A", "B", "C", "D"}},
			"starts v1+abc in prod; canary 5 %, 25 %, 50 %, 100 %; keeps the code and changes the configuration of A, B, C and 1 more",
		},
		"code and configuration": {
			Starting{Version: "v2", Was: "v1", Code: true, Ways: []Way{{"prod", course(delivery.Rolling, 50, 100), auto}}, Keys: []string{"A"}},
			"starts v2 in prod; rolling, 2 batches; changes the configuration of A",
		},
		"blue-green": {Starting{Version: "v2", Was: "v1", Ways: []Way{{"prod", green(), auto}}}, "starts v2 in prod; blue-green: all traffic at once when a person switches"},
	} {
		if got := c.s.Effect(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// Going back says to what, how fast, and what of the release that is left stays.
func TestBackEffect(t *testing.T) {
	canary := course(delivery.Canary, 50, 100)
	for name, c := range map[string]struct {
		b    Back
		want string
	}{
		"warm": {Back{Env: "prod", From: "v2", To: "v1", Warm: noon, Code: true}, "moves all prod traffic from v2 back to v1 at once, which is still warm; keeps the configuration; v2 goes on hold"},
		"cold": {
			Back{Env: "prod", From: "v2", To: "v1", Plan: canary, Code: true, Keys: []string{"FEE"}},
			"starts v1 again in prod and moves all traffic back to it from v2: canary 50 %, 100 %; takes back the configuration of FEE; v2 goes on hold",
		},
		"configuration": {
			Back{Env: "prod", From: "v1+abc", To: "v1", Warm: noon, Keys: []string{"FEE"}},
			"moves all prod traffic from v1+abc back to v1 at once, which is still warm; keeps the code and takes back the configuration of FEE; v1+abc goes on hold",
		},
		"held": {Back{Env: "prod", From: "v2", To: "v1", Warm: noon, Code: true, Held: true}, "moves all prod traffic from v2 back to v1 at once, which is still warm; keeps the configuration"},
	} {
		if got := c.b.Effect(); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

// Lifting a hold says whether anything goes out by that.
func TestHoldAndLiftEffect(t *testing.T) {
	hold := func(s *scene) delivery.Hold { return s.w.Holds[len(s.w.Holds)-1] }
	quarantine := stage("staging", "prod").done("staging", 1).done("prod", 1).quarantined(3, "bad")
	for name, c := range map[string]struct {
		s    *scene
		want string
	}{
		"quarantine":           {quarantine, "lifts the hold on cart v3; nothing is deployed by that"},
		"pin":                  {stage("staging", "prod").done("staging", 1).done("prod", 1).pinned("prod", "a sale"), "lifts the hold on cart in prod; nothing is deployed by that"},
		"pin with the next":    {stage("staging", "prod").done("prod", 1).done("staging", 2).pinned("prod", "a sale"), "lifts the hold on cart in prod; cart v2 then enters prod by itself"},
		"pin, and by hand":     {stage("staging", "prod!").done("prod", 1).done("staging", 2).pinned("prod", "a sale"), "lifts the hold on cart in prod; nothing is deployed by that"},
		"pin with one waiting": {stage("staging", "prod").done("prod", 1).open("prod", 4, delivery.Queued).pinned("prod", "a sale"), "lifts the hold on cart in prod; change #4 (v4), which waits for it, begins in prod when it is its turn"},
	} {
		h := hold(c.s)
		h.ID = 9
		c.s.w.Holds[len(c.s.w.Holds)-1] = h
		if got := LiftEffect(c.s.w, []delivery.Hold{h}); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
	if got, want := HoldEffect(hold(quarantine)), "lets cart v3 into no environment until the hold is lifted; where it runs, it goes on"; got != want {
		t.Errorf("hold: %s, want %s", got, want)
	}
	if got, want := HoldEffect(delivery.Hold{Kind: delivery.Pinned, Service: "cart", Env: "prod"}), "lets nothing new of cart into prod until the hold is lifted; what runs or is under way there goes on"; got != want {
		t.Errorf("pin: %s, want %s", got, want)
	}
}

// What fits a rollout is what has an effect on it: in every state, each ask is
// either refused with a next command or says what it does.
func TestFits(t *testing.T) {
	plan := course(delivery.Canary, 25, 100)
	asking := []delivery.AskVerb{delivery.AskAbort, delivery.AskPause, delivery.AskResume, delivery.AskApprove, delivery.AskPromote}
	fits := map[delivery.State]string{
		delivery.Queued: "abort pause promote", delivery.Preparing: "abort pause promote", delivery.Starting: "abort pause promote", delivery.Shifting: "abort pause promote",
		delivery.Judging: "abort pause promote", delivery.Waiting: "abort pause approve promote", delivery.Finishing: "abort pause", delivery.Soaking: "abort pause", delivery.Reverting: "abort",
	}
	for _, state := range delivery.States() {
		r := delivery.Rollout{ID: "7/prod", Change: 7, Service: "cart", Env: "prod", From: "r1", Was: "v1", To: "r2", Version: "v2", State: state, Plan: plan}
		var got []string
		for _, verb := range asking {
			err := Fits(verb, r)
			if err == nil {
				got = append(got, string(verb))
				if (Asking{Verb: verb, Rollout: r}).Effect() == "" {
					t.Errorf("%s of what is %s says nothing", verb, state)
				}
				continue
			}
			no, ok := errors.AsType[*delivery.Refusal](err)
			if !ok || no.Next == "" || !strings.Contains(no.Why, "cart v2 in prod") {
				t.Errorf("%s of what is %s = %+v, want a refusal that says of what, and what comes next", verb, state, err)
			}
		}
		if strings.Join(got, " ") != fits[state] {
			t.Errorf("%s: %s fit, want %s", state, got, fits[state])
		}
	}
	paused := delivery.Rollout{State: delivery.Judging, Plan: plan, Paused: &delivery.Pause{By: "bob"}}
	if Fits(delivery.AskResume, paused) != nil || Fits(delivery.AskPause, paused) == nil {
		t.Error("what is paused can be resumed and not paused")
	}
	gate := plan
	gate.Steps = []delivery.Step{{Do: delivery.DoWeight, Weight: delivery.Percent(25), Approve: true}}
	if !Approvable(delivery.Rollout{State: delivery.Judging, Plan: gate}) || Approvable(delivery.Rollout{State: delivery.Judging, Plan: gate, Approved: 1}) {
		t.Error("a gate can be approved while its step is judged, and once")
	}
}

// Where a rollout is now is said in one sentence.
func TestNow(t *testing.T) {
	r := delivery.Rollout{Change: 7, Service: "cart", Env: "prod", Version: "v2", State: delivery.Judging, Plan: course(delivery.Canary, 25, 100), Reason: "25 % acknowledged"}
	for want, edit := range map[string]func(*delivery.Rollout){
		"cart v2 in prod is at 25 %, judging: 25 % acknowledged":                             func(*delivery.Rollout) {},
		"cart v2 in prod is at 25 %, judging: 25 % acknowledged; bob has asked to finish it": func(r *delivery.Rollout) { r.Asked = &delivery.Ask{Verb: delivery.AskPromote, By: "bob"} },

		"cart v2 is stable in prod":                             func(r *delivery.Rollout) { r.State = delivery.Done },
		"cart v2 is revert failed in prod: no healthy instance": func(r *delivery.Rollout) { r.State, r.Reason = delivery.RevertFailed, "no healthy instance" },
	} {
		one := r
		edit(&one)
		if got := Now(one); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		10 * time.Minute: "10 min", 90 * time.Minute: "1 h 30 min", 45 * time.Second: "45 s", time.Hour: "1 h", 61 * time.Second: "1 min 1 s", 20 * time.Millisecond: "20ms",
	} {
		if got := Span(d); got != want {
			t.Errorf("Span(%s) = %q, want %q", d, got, want)
		}
	}
}
