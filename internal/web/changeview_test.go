package web

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// two is when everything of these tests happens.
var two = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)

func sec(s float64) time.Time { return two.Add(time.Duration(s * float64(time.Second))) }

// clocked is how a page writes a time of these tests, wherever they run.
func clocked(s float64) string { return sec(s).Local().Format("15:04:05 MST") }

// failing is what a judge says of a release that fails requests.
func failing() *delivery.Verdict {
	c := delivery.Check{
		Name: "errors", Unit: "share", Outcome: delivery.Fail, Culprit: true, Role: delivery.Required, Stable: 0.004, Canary: 0.061, Low: 0.049, High: 0.064, NStable: 2000, NCanary: 673, Bad: 41, BadStable: 8,
		Against: 911, FailAt: 300, For: 0.2, PassAt: 5, Sentence: "errors 6.1 % against 0.4 % on stable: worse by 4.9 to 6.4 points (99 %), 41 of 673 against 8 of 2,000",
		Words: &delivery.CheckWords{Canary: "6.1 %", Stable: "0.4 %", Apart: "worse by 4.9 to 6.4 points (99 %)", Counts: "41 of 673 against 8 of 2,000"},
	}
	return &delivery.Verdict{Outcome: delivery.Fail, Sentence: "the new release is worse: " + c.Sentence, Checks: []delivery.Check{c}, Seconds: 92, LeftOut: 3, Why: "3 seconds: the split changed in it", At: sec(60)}
}

func judging() *delivery.Verdict {
	return &delivery.Verdict{Outcome: delivery.Inconclusive, Sentence: "no harm found in 1,204 requests to the new release, and errors are not proven fit yet: needs about 900 more"}
}

// canaried is a rollout of v3 over v2, so far, as a table of this file changes it.
func canaried(change func(*changeFacts)) changeFacts {
	of := changeFacts{
		Change: delivery.Change{ID: 7, Kind: delivery.Code, Kinds: []delivery.Kind{delivery.Code}, By: "ann", Submitted: two, Members: []delivery.Member{{Service: "checkout", Version: "v3"}}, Origin: delivery.OriginPerson},
		Picked: delivery.Rollout{
			ID: "7/prod", Change: 7, Service: "checkout", Env: "prod", From: "r2", To: "r3", Was: "v2", Version: "v3", State: delivery.Judging, Step: 0,
			Created: two, Started: sec(1), Entered: sec(5), Exposed: sec(5),
			Plan: delivery.Plan{Strategy: delivery.Canary, Replicas: 2, Steps: []delivery.Step{
				{Do: delivery.DoWeight, Weight: delivery.Percent(5), New: 1, Proven: true}, {Do: delivery.DoWeight, Weight: delivery.Full, New: 2},
			}},
		},
		Judged: control.Explained{Policy: delivery.JudgePolicy{Alpha: 0.01}},
		From:   delivery.Release{ID: "r2"}, To: delivery.Release{ID: "r3"},
	}
	change(&of)
	of.Rollouts = append(of.Rollouts, of.Picked)
	return of
}

// ended makes the picked rollout one that is over.
func ended60(of *changeFacts, s delivery.State) {
	of.Picked.State, of.Picked.Ended = s, sec(60)
}

func wentBack(of *changeFacts, cause delivery.CauseKind, text, by string) {
	ended60(of, delivery.Reverted)
	of.Picked.Cause = delivery.Cause{Kind: cause, Text: text, By: by, At: sec(52)}
	of.Picked.Reverted, of.Picked.Shifted = sec(52), sec(53.9)
}

// What the banner says for each state and each kind of change: every sentence here
// was read aloud.
func TestBanner(t *testing.T) {
	quarantine := store.HoldRecord{Hold: delivery.Hold{Kind: delivery.Quarantine, Version: "v3", Release: "r3"}}
	for name, c := range map[string]struct {
		of   func(*changeFacts)
		want string // lead | found | more | next
		sign string
	}{
		"queued": {func(of *changeFacts) {
			of.Picked.State, of.Picked.Waiting = delivery.Queued, &delivery.Blocker{On: "slot", What: "rollout 6/prod is under way here", Lifts: "it ends, or slipway abort 6/prod"}
		}, "v3 waits for its turn in prod.||Rollout 6/prod is under way here.|What lifts it: it ends, or slipway abort 6/prod.", "waiting"},
		"held by a pin": {func(of *changeFacts) {
			of.Picked.State, of.Picked.Waiting = delivery.Queued, &delivery.Blocker{On: "hold", What: "checkout is held in prod: the sale is on", Lifts: "slipway release checkout --env prod"}
		}, "v3 waits for its turn in prod.||Checkout is held in prod: the sale is on.|What lifts it: slipway release checkout --env prod.", "blocked"},
		"starting": {func(of *changeFacts) {
			of.Picked.State, of.Picked.Waiting = delivery.Starting, &delivery.Blocker{On: "instances", What: "1 of 2 instances of v3 ready", Lifts: "they answer their health check"}
		}, "v3 is starting in prod.||1 of 2 instances of v3 ready.|What lifts it: they answer their health check.", "starting"},
		"shifting": {func(of *changeFacts) { of.Picked.State = delivery.Shifting }, "v3 is being given 5 % of the requests in prod.|||", "shifting"},
		"judging": {func(of *changeFacts) {
			of.Judged.Verdict, of.Counted, of.Exposure = judging(), true, control.Exposure{Requests: 1204}
			of.Picked.Waiting = &delivery.Blocker{On: "not enough data", What: "the judge has not proven v3 no worse yet", Lifts: "enough requests, or slipway promote 7 --env prod"}
		}, "v3 answers 5 % of the requests in prod.|No harm found in 1,204 requests to v3, and errors are not proven fit yet: needs about 900 more.|None of the 1,204 requests it answered failed.|What lifts it: enough requests, or slipway promote 7 --env prod.", "judging"},
		"approval": {func(of *changeFacts) {
			of.Picked.State, of.Picked.Waiting = delivery.Waiting, &delivery.Blocker{On: "approval", What: "step 5 % wants approval", Lifts: "slipway promote 7 --env prod"}
		}, "v3 answers 5 % of the requests in prod. It waits for approval.|||What lifts it: slipway promote 7 --env prod.", "waits for approval"},
		"decision": {func(of *changeFacts) {
			of.Picked.State, of.Picked.Waiting = delivery.Waiting, &delivery.Blocker{On: "decision", What: "the judge still says inconclusive on v3: a person decides", Lifts: "slipway promote 7 --env prod, or slipway abort 7"}
		}, "v3 answers 5 % of the requests in prod.||The judge still says inconclusive on v3: a person decides.|What lifts it: slipway promote 7 --env prod, or slipway abort 7.", "waits for a person"},
		"paused": {func(of *changeFacts) {
			of.Picked.Paused = &delivery.Pause{By: "bo", Why: "lunch.", At: sec(30)}
		}, "Paused by bo at " + clocked(30) + ": lunch. v3 answers 5 % of the requests in prod.|||", "paused"},
		"incident": {func(of *changeFacts) {
			of.Judged.Verdict, of.Picked.Waiting = judging(), &delivery.Blocker{On: "incident", What: "incident: both releases fail 12 % of the requests", Lifts: "it is over, or slipway promote 7 --env prod"}
		}, "v3 answers 5 % of the requests in prod.|Incident: both releases fail 12 % of the requests.||What lifts it: it is over, or slipway promote 7 --env prod.", "stands still"},
		"preview": {func(of *changeFacts) {
			of.Picked.Plan = delivery.Plan{Strategy: delivery.BlueGreen, Steps: []delivery.Step{{Do: delivery.DoStart, New: 2, Preview: true}}}
			of.Judged.Nothing = "it goes to everybody at once here, so there is nothing to compare it with"
		}, "v3 is up in prod and answers on its preview route alone.|Nothing was judged: it goes to everybody at once here, so there is nothing to compare it with.||", "judging"},
		"finishing": {func(of *changeFacts) { of.Picked.State = delivery.Finishing }, "All requests in prod are being moved to v3.|||", "finishing"},
		"soaking": {func(of *changeFacts) {
			of.Picked.State, of.Picked.Waiting = delivery.Soaking, &delivery.Blocker{On: "soak", What: "watched at full traffic for 1m0s", Lifts: "passes by itself", Until: sec(90)}
		}, "v3 answers all requests in prod and is still being watched.||Watched at full traffic for 1m0s.|It goes on by itself at " + clocked(90) + ".", "soaking"},
		"done": {func(of *changeFacts) {
			ended60(of, delivery.Done)
			of.Judged.Verdict = &delivery.Verdict{Outcome: delivery.Pass, Sentence: "the new release is proven fit: errors below 1.5 times that of stable plus 0.1 points, in 3,000 requests to it"}
		}, "v3 went into prod at " + clocked(60) + ", in 59 s.|v3 is proven fit: errors below 1.5 times that of stable plus 0.1 points, in 3,000 requests to it.||", "done"},
		"done unproven": {func(of *changeFacts) {
			ended60(of, delivery.Done)
			of.Judged.Verdict = judging()
		}, "v3 went into prod at " + clocked(60) + ", in 59 s.|It was not proven fit: no harm found in 1,204 requests to v3, and errors are not proven fit yet: needs about 900 more.||", "done"},
		"first release": {func(of *changeFacts) {
			ended60(of, delivery.Done)
			of.Picked.From, of.Picked.Was, of.Judged.Nothing = "", "", "it is the first release here: there was nothing to compare it with"
		}, "v3 is the first release of checkout in prod, since " + clocked(60) + ".|Nothing was judged: it is the first release here: there was nothing to compare it with.||", "done"},
		"rollback": {func(of *changeFacts) {
			ended60(of, delivery.Done)
			of.Picked.Origin, of.Judged.Nothing = delivery.OriginRollback, "it goes to everybody at once here, so there is nothing to compare it with"
		}, "checkout went back to v3 in prod at " + clocked(60) + ".|Nothing was judged: it goes to everybody at once here, so there is nothing to compare it with.||", "done"},
		"going back": {func(of *changeFacts) {
			wentBack(of, delivery.CauseVerdict, "x", "slipway")
			of.Picked.State, of.Picked.Verdict = delivery.Reverting, failing()
		}, "Going back to v2 in prod since " + clocked(52) + ".|Errors of v3 were 6.1 % against 0.4 % on v2, worse by 4.9 to 6.4 points (99 %): 41 of 673 against 8 of 2,000.||", "going back"},
		"reverted by the judge": {func(of *changeFacts) {
			wentBack(of, delivery.CauseVerdict, "x", "slipway")
			of.Picked.Verdict, of.Judged.Verdict = failing(), failing()
			of.Counted, of.Exposure, of.Holds = true, control.Exposure{Requests: 673, Failed: 41}, []store.HoldRecord{quarantine}
		}, "Rolled back automatically at " + clocked(52) + ".|Errors of v3 were 6.1 % against 0.4 % on v2, worse by 4.9 to 6.4 points (99 %): 41 of 673 against 8 of 2,000.|All requests were back on v2 within 1.9 s. 41 of the 673 requests it answered failed. v3 is on hold: it is not tried again until the hold is released.|", "rolled back"},
		"reverted by a person": {func(of *changeFacts) {
			wentBack(of, delivery.CausePerson, "aborted by bo: wrong branch", "bo")
			lifted := quarantine
			lifted.Lifted = &store.Lifted{By: "ann", At: sec(55)}
			of.Holds = []store.HoldRecord{lifted}
		}, "Taken back by bo at " + clocked(52) + ".|Wrong branch.|All requests were back on v2 within 1.9 s. The hold on v3 was released by ann at " + clocked(55) + ".|", "rolled back"},
		"reverted before anybody used it": {func(of *changeFacts) {
			wentBack(of, delivery.CauseProgress, "v3 exited 3 times during its rollout; exit status 1", "slipway")
			of.Picked.Exposed, of.Counted = time.Time{}, true
		}, "Rolled back automatically at " + clocked(52) + ".|v3 exited 3 times during its rollout; exit status 1.|No request had been sent to it: v2 served all of them throughout.|", "rolled back"},
		"reverted first release": {func(of *changeFacts) {
			wentBack(of, delivery.CauseProgress, "no progress for 30s: 0 of 2 instances of v3 ready, 0 healthy", "slipway")
			of.Picked.From, of.Picked.Was = "", ""
		}, "Rolled back automatically at " + clocked(52) + ".|No progress for 30s: 0 of 2 instances of v3 ready, 0 healthy.|Nothing served checkout in prod before it, so nothing does now.|", "rolled back"},
		"reverted by its test": {func(of *changeFacts) {
			wentBack(of, delivery.CauseTest, "the test on the preview route failed: exit status 2", "slipway")
			of.Picked.Exposed = time.Time{}
		}, "Rolled back automatically at " + clocked(52) + ".|The test on the preview route failed: exit status 2.|No request had been sent to it: v2 served all of them throughout.|", "rolled back"},
		"could not go back": {func(of *changeFacts) {
			wentBack(of, delivery.CauseMissing, "the files of v3 are gone", "slipway")
			of.Picked.State, of.Picked.Reason = delivery.RevertFailed, "the stable release v2 has no healthy instance"
		}, "v3 could not be taken back in prod: a person is needed.|The stable release v2 has no healthy instance.|It went back because: The files of v3 are gone.|Next: slipway doctor.", "could not go back"},
		"superseded": {func(of *changeFacts) {
			ended60(of, delivery.Superseded)
			of.Picked.Reason = "superseded by change #8 (v4) before it began"
		}, "v3 gave way to a newer change in prod at " + clocked(60) + ".|Superseded by change #8 (v4) before it began.||", "superseded"},
		"cancelled": {func(of *changeFacts) {
			ended60(of, delivery.Cancelled)
			of.Picked.Reason = "cancelled: v3 was quarantined: errors"
		}, "v3 was cancelled in prod at " + clocked(60) + ", before it began.|v3 was quarantined: errors.||", "cancelled"},
	} {
		of := canaried(c.of)
		b := bannerOf(of)
		if got := strings.Join([]string{b.Lead, b.Found.String(), strings.Join(b.More, " "), b.Next}, "|"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		if b.Sign.Word != c.sign {
			t.Errorf("%s: sign = %q, want %q", name, b.Sign.Word, c.sign)
		}
	}
}

// Every state has a banner that says something of the version and the environment.
func TestBannerOfEveryState(t *testing.T) {
	for _, s := range delivery.States() {
		of := canaried(func(of *changeFacts) {
			if of.Picked.State = s; s.Final() {
				of.Picked.Ended = sec(60)
			}
		})
		v := changeViewOf(of)
		if v.Banner.Lead == "" || v.Banner.Sign.Icon == "" || len(v.Rail) < 2 || v.NoChart == "" && len(v.Charts) == 0 {
			t.Errorf("%s: banner %+v, %d steps", s, v.Banner, len(v.Rail))
		}
		if row := changeRowOf(of.Change, of.Rollouts); s != delivery.Superseded && s != delivery.Cancelled && s != delivery.Reverting && s != delivery.Reverted && s != delivery.RevertFailed && row.Outcome == "" {
			t.Errorf("%s: the list says nothing of it", s)
		}
	}
}

// moved is a line of the ledger about a step.
func moved(s float64, from, to delivery.State, step int, weight delivery.Weight, n uint64) delivery.Event {
	m := `{"from":"` + string(from) + `","weight":` + itoa(int(weight))
	if n > 0 {
		m += `,"verdict":{"checks":[{"n_canary":` + itoa(int(n)) + `}]}`
	}
	return delivery.Event{At: sec(s), Kind: delivery.EventMoved, Rollout: "7/prod", State: to, Step: step, Data: []byte(m + "}")}
}

func itoa(n int) string { return strings.ReplaceAll(grouped(n), ",", "") }

// The rail tells each step with the time it took and how many requests were judged.
func TestRail(t *testing.T) {
	of := canaried(func(of *changeFacts) {
		wentBack(of, delivery.CauseVerdict, "x", "slipway")
		of.Picked.Step = 1
		staging := of.Picked
		staging.ID, staging.Env, staging.State, staging.Ended, staging.Started = "7/staging", "staging", delivery.Done, sec(1), sec(0.5)
		of.Rollouts = []delivery.Rollout{staging}
		of.Picked.Plan.Steps = append(of.Picked.Plan.Steps, delivery.Step{Do: delivery.DoWeight, Weight: delivery.Full})
		of.Picked.Plan.Steps[1].Weight = delivery.Percent(25)
		of.Moves = []delivery.Event{
			moved(2, delivery.Preparing, delivery.Starting, 0, 500, 0),
			moved(3, delivery.Starting, delivery.Shifting, 0, 500, 0),
			moved(5, delivery.Shifting, delivery.Judging, 0, 500, 0),
			moved(6, delivery.Judging, delivery.Judging, 0, 500, 0), // it waits
			moved(35, delivery.Judging, delivery.Shifting, 1, 2500, 1204),
			moved(36, delivery.Shifting, delivery.Judging, 1, 2500, 0),
			moved(52, delivery.Judging, delivery.Reverting, 1, 2500, 1877),
			moved(60, delivery.Reverting, delivery.Reverted, 1, 2500, 0),
		}
	})
	steps, weights := walk(of.Picked, of.Moves)
	var got []string
	for _, s := range railOf(of, steps) {
		got = append(got, s.Sign.Word+" · "+s.Name+" · "+s.Detail)
	}
	want := []string{
		"submitted · by ann · " + clocked(0), "done · staging · " + clocked(1) + ", in 0.5 s", "passed · Canary 5 % in prod · 30 s, 1,204 requests",
		"failed · Canary 25 % in prod · 16 s, 673 requests", "rolled back · v2 in prod · back in 1.9 s",
	}
	if !slices.Equal(got, want) {
		t.Errorf("rail =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var shares []delivery.Weight
	for _, w := range weights {
		shares = append(shares, w.Weight)
	}
	if !slices.Equal(shares, []delivery.Weight{500, 2500, 0}) {
		t.Errorf("weights = %v", shares)
	}
}

// While a rollout is under way the rail shows what is ahead of it.
func TestRailAhead(t *testing.T) {
	of := canaried(func(of *changeFacts) {
		of.Ahead = []string{"moon"}
		of.Moves = []delivery.Event{moved(3, delivery.Starting, delivery.Shifting, 0, 500, 0), moved(5, delivery.Shifting, delivery.Judging, 0, 500, 0)}
	})
	steps, _ := walk(of.Picked, of.Moves)
	var got []string
	for _, s := range railOf(of, steps) {
		here := ""
		if s.Here {
			here = " (here)"
		}
		got = append(got, s.Sign.Word+" · "+s.Name+here)
	}
	want := []string{"submitted · by ann", "judging · Canary 5 % in prod (here)", "not yet · Canary 100 % in prod", "not yet · v3 stable in prod", "not yet · moon"}
	if !slices.Equal(got, want) {
		t.Errorf("rail = %q, want %q", got, want)
	}
}

// The lines of the drawing are the numbers that the judge goes by, and the band is
// where it knows the truth to lie.
func TestCharts(t *testing.T) {
	known := analysis.Band{Stable: 0.004, Canary: 0.061, Low: 0.049, High: 0.064, Lowest: true, Highest: true, NCanary: 673}
	early := analysis.Band{Stable: 0.004, Canary: 0.03, Low: -1, High: 1, NCanary: 10}
	of := canaried(func(of *changeFacts) {
		of.Judged.Verdict = failing()
		of.Trail = control.Trail{Every: 2, Moments: []control.Moment{
			{Second: 1000, Stable: control.Side{P95: 0.178}, Errors: nil},
			{Second: 1002, Stable: control.Side{P95: 0.178}, Canary: control.Side{P95: 0.183}, Errors: &early},
			{Second: 1008, Canary: control.Side{P95: 0.2}, Errors: &known},
		}}
	})
	charts, none := chartsOf(of, []weighed{{time.Unix(1003, 0), 500}, {time.Unix(1008, 0), 0}})
	if none != "" || len(charts) != 3 {
		t.Fatalf("%d charts, %q", len(charts), none)
	}
	e, w, l := charts[0], charts[1], charts[2]
	if e.From != 1000 || e.To != 1010 || len(e.Series[0].Values) != 6 || e.Top != 10 {
		t.Errorf("errors from %d to %d, %d values, top %v", e.From, e.To, len(e.Series[0].Values), e.Top)
	}
	near := func(got []float64, want ...float64) bool {
		return slices.EqualFunc(got, want, func(a, b float64) bool { return math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-9 })
	}
	gap := math.NaN()
	if got := e.Series[0].Values; !near(got, gap, 3, 3, 3, 6.1, gap) {
		t.Errorf("canary = %v", got)
	}
	if low, high := e.Band.Low, e.Band.High; !near(low, gap, 0, 0, 0, 5.3, gap) || !near(high, gap, 10, 10, 10, 6.8, gap) {
		t.Errorf("band = %v to %v, want nothing known to be the whole axis", low, high)
	}
	if !near(w.Series[0].Values, 0, 5, 5, 5, 0, 0) {
		t.Errorf("weight = %v", w.Series[0].Values)
	}
	if !near(l.Series[0].Values, gap, 183, gap, gap, 200, gap) {
		t.Errorf("latency = %v", l.Series[0].Values)
	}
	if !strings.Contains(e.Sentence, "6.1 % on v3 and 0.4 % on v2 at the end") || e.Band.Name != "99 % sure" {
		t.Errorf("sentence %q, band %q", e.Sentence, e.Band.Name)
	}
	if kinds := []string{e.Marks[0].Kind, e.Marks[1].Kind}; !slices.Equal(kinds, []string{"step", "back"}) {
		t.Errorf("marks = %+v", e.Marks)
	}
	if _, none := chartsOf(canaried(func(of *changeFacts) { of.Judged.Nothing = "the judge is off here" }), nil); none != "Charts compare a new release with the stable one. Here nothing was compared." {
		t.Errorf("without a judge: %q", none)
	}
}

// What changed is told of every kind that there is something to say of, and
// secrets by reference alone.
func TestFacts(t *testing.T) {
	of := canaried(func(of *changeFacts) {
		of.Change.Commit = "9f2c71ab"
		of.From.Config, of.To.Config = map[string]string{"TAX": "http://tax", "SAME": "1"}, map[string]string{"TAX": "http://tax-v2", "SAME": "1", "NEW": "on"}
		of.From.Artifacts = []delivery.Artifact{{Kind: delivery.Code, Digest: delivery.DigestOf([]byte("a"))}, {Kind: delivery.Secret, Ref: "vault:tax#1"}}
		of.To.Artifacts = []delivery.Artifact{{Kind: delivery.Code, Digest: delivery.DigestOf([]byte("a"))}, {Kind: delivery.Secret, Ref: "vault:tax#2"}}
	})
	facts := map[string]string{}
	for _, f := range factsOf(of) {
		facts[f.Name] = f.Value
	}
	if facts["Commit"] != "9f2c71ab" || facts["Secret"] != "vault:tax#1 → vault:tax#2" || !strings.HasSuffix(facts["Code"], "the same as before") || facts["Schema"] != "" || facts["Flag"] != "" {
		t.Errorf("facts = %v", facts)
	}
	lines, more := diffOf(of)
	want := []diffLine{{"", "Configuration in prod"}, {"+", "NEW=on"}, {"-", "TAX=http://tax"}, {"+", "TAX=http://tax-v2"}}
	if !slices.Equal(lines, want) || more != 0 {
		t.Errorf("diff = %v, %d more", lines, more)
	}
}

func TestSentence(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "no harm found": "No harm found.", "v3 is up": "v3 is up.", "is it?": "Is it?", " two  ": "Two.", "slipway-x failed": "slipway-x failed.", "ünder": "Ünder.",
	} {
		if got := sentence(text); got != want {
			t.Errorf("sentence(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestAmountOf(t *testing.T) {
	for _, c := range []struct {
		v    float64
		unit string
		want string
	}{
		{0.061, "share", "6.1 %"},
		{0.183, "s", "183 ms"},
		{1.24, "s", "1.2 s"},
		{0, "s", "0 ms"},
		{2.5e9, "bytes", "2.5 GB"},
		{11.8, "1/s", "12/s"},
		{12345, "", "12,345"},
		{math.Inf(1), "", "+Inf"},
		{math.NaN(), "", "0"},
		{1e300, "EUR", "1.0e+300 EUR"},
		{0.04, "EUR", "0.04 EUR"},
	} {
		if got := amountOf(c.v, c.unit); got != c.want {
			t.Errorf("amountOf(%v, %q) = %q, want %q", c.v, c.unit, got, c.want)
		}
	}
}

func TestLasted(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "", time.Millisecond: "0.1 s", 1900 * time.Millisecond: "1.9 s", 42 * time.Second: "42 s", 280 * time.Second: "4 min 40 s", time.Hour: "1 h", 3*time.Hour + 5*time.Minute: "3 h 5 min", 50 * time.Hour: "2 d 2 h",
	} {
		if got := lasted(d); got != want {
			t.Errorf("lasted(%s) = %q, want %q", d, got, want)
		}
	}
}

// An interval of a difference that has moved since is not told as if it held.
func TestDriftIsNotDrawnAsKnown(t *testing.T) {
	of := canaried(func(of *changeFacts) {
		of.Judged.Verdict = failing()
		of.Trail = control.Trail{Every: 1}
		for i, canary := range []float64{0.004, 0.02, 0.01} {
			of.Trail.Moments = append(of.Trail.Moments, control.Moment{Second: int64(1000 + i), Errors: &analysis.Band{Stable: 0.004, Canary: canary, Low: 0.003, High: 0.01, Lowest: true, Highest: true, NCanary: 9}})
		}
		of.Trail.Moments[0].Errors.Low = -0.001
	})
	charts, _ := chartsOf(of, nil)
	if high := charts[0].Band.High; math.IsNaN(high[0]) || !math.IsNaN(high[1]) || !math.IsNaN(high[2]) {
		t.Errorf("band up to %v, want it to end where the rate moved", high)
	}
}

// A check is told in its parts, whatever they say, and one that an older Slipway kept
// without parts by its sentence.
func TestCheckInParts(t *testing.T) {
	of := canaried(func(*changeFacts) {})
	v := *failing()
	v.Checks[0].Words.Apart, v.Checks[0].Words.Allowed = "beyond what chance explains, by how much is not known yet (p 0.01)", "no more"
	if got, want := blamed(v, of.Picked).String(), "Errors of v3 were 6.1 % against 0.4 % on v2, beyond what chance explains, by how much is not known yet (p 0.01): 41 of 673 against 8 of 2,000; allowed is no more."; got != want {
		t.Errorf("blamed = %s\nwant %s", got, want)
	}
	if row := whyRowOf(v.Checks[0]); row.Is != "6.1 %" || row.Was != "0.4 %" || row.Apart != v.Checks[0].Words.Apart {
		t.Errorf("row = %+v", row)
	}
	v.Checks[0].Words.Apart = ""
	if row := whyRowOf(v.Checks[0]); row.Apart != v.Checks[0].Words.Counts {
		t.Errorf("row without an interval = %+v", row)
	}
	v.Checks[0].Words = nil
	if got := blamed(v, of.Picked).String(); got != sentence(v.Checks[0].Sentence) {
		t.Errorf("blamed = %s, want the sentence", got)
	}
	if row := whyRowOf(v.Checks[0]); row.Is != "6.1 %" || row.Was != "0.4 %" || row.Sign.Word != "worse by 4.9 to 6.4 points (99 %), 41 of 673 against 8 of 2,000" || row.Apart != "" {
		t.Errorf("row = %+v", row)
	}
	rate := delivery.Check{Name: delivery.MetricErrorLines, Kind: delivery.KindCount, Unit: "1/request", Outcome: delivery.Inconclusive, Canary: 0.0617, Stable: 0.000629, NCanary: 9, NStable: 9, Words: &delivery.CheckWords{Canary: "0.0617/request", Stable: "0.000629/request", Apart: delivery.ApartUnknown}}
	if row := whyRowOf(rate); row.Name != "Error lines per request" || row.Is != "0.062" || row.Was != "0.00063" || row.Sign.Word != "not enough data" || row.Apart != "" {
		t.Errorf("row of a rate = %+v", row)
	}
}

// The ledger of a page tells the news, page by page, and every line if asked for.
func TestLedgerOfAChange(t *testing.T) {
	of := canaried(func(of *changeFacts) {
		for i := range maxLedger + 1 {
			e := moved(float64(i), delivery.Starting, delivery.Shifting, 0, 500, 0)
			if i%2 == 0 {
				e = delivery.Event{At: sec(0), Kind: delivery.EventIntent, Text: "route"}
			}
			e.Seq = int64(1000 - i)
			of.Ledger = append(of.Ledger, e)
		}
	})
	lines, p := ledgerOf(of)
	if len(lines) != ledgerPage || lines[0].Seq != 999 || p.Prev != "" || p.Next != "/changes/7?env=prod&before=970#ledger" {
		t.Errorf("%d lines from %d, %+v", len(lines), lines[0].Seq, p)
	}
	of.All, of.Before = true, 2000
	lines, p = ledgerOf(of)
	if len(lines) != ledgerPage || lines[0].Seq != 1000 || p.Prev != "/changes/7?env=prod&ledger=all#ledger" || p.Next != "/changes/7?env=prod&ledger=all&before=986#ledger" {
		t.Errorf("%d lines from %d, %+v", len(lines), lines[0].Seq, p)
	}
	of.Ledger = of.Ledger[:3]
	if lines, p = ledgerOf(of); len(lines) != 3 || p.Next != "" {
		t.Errorf("%d lines, %+v", len(lines), p)
	}
}
