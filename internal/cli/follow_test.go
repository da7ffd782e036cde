package cli

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/client"
	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/porttest"
	"github.com/slipway-cd/slipway/internal/traffic"
)

func expect(t *testing.T, r run, code exit, stdout ...string) {
	t.Helper()
	if r.code != int(code) {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for _, want := range stdout {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("stdout lacks %q", want)
		}
	}
	if t.Failed() {
		t.Logf("stdout\n%s\nstderr\n%s", r.stdout, r.stderr)
	}
}

func TestDeployDone(t *testing.T) {
	h := always(t, moment{})
	h.at = func(n int) moment { // dev first, prod later
		switch {
		case n < 2:
			return at(rolling("dev", delivery.Judging))
		case n < 3:
			m := at(rolling("dev", delivery.Done))
			m.why = []delivery.Answer{{Service: "payment", Env: "prod", Change: 7, Gates: []delivery.Gate{{Name: "slot", Outcome: delivery.GateWaits, What: "wait"}}}}
			return m
		}
		return at(rolling("dev", delivery.Done), rolling("prod", delivery.Done))
	}
	r := slipway(t.Context(), t, open(t, h), "deploy", "payment", "v2", "--set", "FEE=2", "--reason", "cheaper")
	expect(t, r, exitDone, "✔ payment v2 is live in dev, prod. done in 42 s")
	for _, want := range []string{"change #7  payment v1 → v2   code and config   by you", "dev → prod   canary 5 % 25 % 100 %", "FEE  1 → 2"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, r.stderr)
		}
	}
	want := control.Submission{Service: "payment", Version: "v2", Bundle: delivery.DigestOf([]byte("code")), Set: map[string]string{"FEE": "2"}, Reason: "cheaper"}
	if !reflect.DeepEqual(h.got, want) {
		t.Errorf("submitted %+v, want %+v", h.got, want)
	}
	if len(h.seen["Idempotency-Key"]) != 1 || len(h.seen["Slipway-User"]) != 1 || h.seen["Slipway-User"][0] != "ann" {
		t.Errorf("headers %v, want an Idempotency-Key and the user", h.seen)
	}
}

// Only configuration: nothing is uploaded, and the code that runs is kept.
func TestDeployConfigKeepsTheCode(t *testing.T) {
	h := always(t, at(rolling("dev", delivery.Done), rolling("prod", delivery.Done)))
	expect(t, slipway(t.Context(), t, open(t, h), "deploy", "payment", "--set", "FEE=2", "--unset", "OLD", "--detach"), exitDone, "slipway watch 7")
	if h.got.Bundle != "" || h.got.Version != "" || len(h.got.Unset) != 1 {
		t.Errorf("submitted %+v, want no bundle and no version", h.got)
	}
}

func TestDeployStrategy(t *testing.T) {
	h := always(t, at(rolling("dev", delivery.Done)))
	expect(t, slipway(t.Context(), t, open(t, h), "deploy", "payment", "--canary", "10,50", "--hold", "30s", "--env", "dev", "--dry-run"), exitDone, "nothing was changed")
	s := h.got.Strategy
	if s == nil || s.Kind != delivery.Canary || len(s.Steps) != 3 || s.Steps[0].Weight != delivery.Percent(10) || s.Steps[2].Weight != delivery.Full || s.Steps[1].Hold != 30*time.Second {
		t.Errorf("strategy %+v, want a canary of 10 %%, 50 %% and 100 %%", s)
	}
	if !h.got.DryRun || h.got.Env != "dev" {
		t.Errorf("submitted %+v, want a dry run for dev", h.got)
	}
	for _, bad := range [][]string{{"--canary", "50,10"}, {"--canary", "x"}, {"--canary", "0"}, {"--strategy", "magic"}, {"--set", "FEE"}, {"--from", "nowhere"}} {
		h.got = control.Submission{}
		r := slipway(t.Context(), t, open(t, h), append([]string{"deploy", "payment"}, bad...)...)
		expect(t, r, exitUsage)
		if h.got.Service != "" {
			t.Errorf("%v was submitted", bad)
		}
	}
}

func rolledBack() moment {
	r := rolling("prod", delivery.Reverted)
	r.Reverted, r.Ended = born.Add(40*time.Second), born.Add(41900*time.Millisecond)
	r.Cause = delivery.Cause{Kind: delivery.CauseVerdict, Text: "the new release is worse"}
	r.Verdict = &delivery.Verdict{Outcome: delivery.Fail, Checks: []delivery.Check{{Name: "errors", Outcome: delivery.Fail, Sentence: "errors 6.1 % against 0.4 % on stable"}}}
	m := at(rolling("dev", delivery.Done), r)
	m.whole.Holds = []delivery.Hold{{Kind: delivery.Quarantine, Service: "payment", Release: r.To, Version: "v2", Why: "worse", Change: 7}}
	live := m.live[r.ID]
	live.Exposure = control.Exposure{Requests: 670, Failed: 41}
	for i := range 41 {
		s := traffic.Sample{Method: "POST", Path: "/charge", Status: 502, Error: "connection refused"}
		if i >= 38 {
			s = traffic.Sample{Method: "GET", Path: "/fee", Status: 500}
		}
		live.Failed = append(live.Failed, s)
	}
	m.live[r.ID] = live
	return m
}

func TestDeployRolledBack(t *testing.T) {
	r := slipway(t.Context(), t, open(t, always(t, rolledBack())), "deploy", "payment", "v2")
	expect(t, r, exitRolledBack)
	golden(t, "rolled-back.txt", r.stdout)
}

// What -o json prints is the object of the API: nothing lost, nothing added.
func TestJSONIsTheAPIObject(t *testing.T) {
	m := rolledBack()
	h := always(t, m)
	h.board = delivery.Board{Project: "shop", Environments: []string{"dev"}, Services: []delivery.Row{{Service: "payment", Sentence: "yes <&>"}}, Deployable: 1, At: born}
	state := open(t, h)
	for _, c := range []struct {
		args []string
		code exit
		want any
	}{
		{[]string{"deploy", "payment", "v2", "-o", "json"}, exitRolledBack, m.whole},
		{[]string{"watch", "7", "-o", "json"}, exitRolledBack, m.whole},
		{[]string{"deploy", "payment", "v2", "--detach", "-o", "json"}, exitDone, h.done},
		{[]string{"status", "-o", "json"}, exitDone, h.board},
	} {
		r := slipway(t.Context(), t, state, c.args...)
		expect(t, r, c.code)
		doc, err := json.Marshal(c.want)
		if err != nil {
			t.Fatal(err)
		}
		var got, want any
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
			t.Fatalf("%v: %v in %q", c.args, err, r.stdout)
		}
		if err := json.Unmarshal(doc, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v printed\n%s\nwant\n%s", c.args, r.stdout, doc)
		}
	}
	if r := slipway(t.Context(), t, state, "status", "-o", "yaml"); !strings.Contains(r.stdout, "project: shop\n") {
		t.Errorf("status -o yaml printed %q", r.stdout)
	}
	if r := slipway(t.Context(), t, state, "deploy", "payment", "v2", "--detach", "-o", "name"); r.stdout != "7\n" {
		t.Errorf("deploy -o name printed %q, want 7", r.stdout)
	}
}

func TestDeployWaits(t *testing.T) {
	approval := rolling("prod", delivery.Waiting)
	approval.Waiting = &delivery.Blocker{On: "approval", What: "step 25 % wants approval", Lifts: "slipway promote 7 --env prod", Who: "anyone with access"}
	paused := rolling("prod", delivery.Judging)
	paused.Waiting = &delivery.Blocker{On: "pause", What: "paused by bob", Lifts: "slipway resume 7/prod", Who: "anyone with access"}
	held := rolling("prod", delivery.Queued)
	held.Waiting = &delivery.Blocker{On: "hold", What: "payment is held in prod: closing", Lifts: "slipway release payment --env prod", Who: "anyone with access"}
	byHand := at(rolling("dev", delivery.Done))
	byHand.why = []delivery.Answer{{Service: "payment", Env: "prod", Change: 7, Gates: []delivery.Gate{
		{Name: "order", Outcome: delivery.GatePass},
		{Name: "promotion", Outcome: delivery.GateBlocked, What: "prod is promoted to by hand", Lifts: "slipway promote 7 --to prod", Who: "anyone with access"},
	}}}
	for name, c := range map[string]struct {
		m    moment
		want []string
	}{
		"approval":  {at(rolling("dev", delivery.Done), approval), []string{"⏸", "wants approval", "next  slipway promote 7 --env prod"}},
		"pause":     {at(rolling("dev", delivery.Done), paused), []string{"⏸", "paused by bob", "next  slipway resume 7/prod"}},
		"hold":      {at(rolling("dev", delivery.Done), held), []string{"⛔", "closing", "next  slipway release payment --env prod"}},
		"promotion": {byHand, []string{"⏸", "waits before prod", "next  slipway promote 7 --to prod"}},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, slipway(t.Context(), t, open(t, always(t, c.m)), "deploy", "payment", "v2"), exitWaiting, c.want...)
		})
	}
}

// A wait that a person has just lifted is not the end.
func TestPromoteApproves(t *testing.T) {
	waiting := rolling("prod", delivery.Waiting)
	waiting.Waiting = &delivery.Blocker{On: "approval", What: "step 25 % wants approval", Lifts: "slipway promote 7 --env prod", Who: "anyone with access"}
	h := always(t, moment{})
	h.at = func(n int) moment {
		if n == 0 {
			return at(rolling("dev", delivery.Done), waiting)
		}
		if n < 3 {
			asked := waiting
			asked.Asked = &delivery.Ask{Verb: delivery.AskApprove, By: "ann"}
			return at(rolling("dev", delivery.Done), asked)
		}
		return at(rolling("dev", delivery.Done), rolling("prod", delivery.Done))
	}
	r := slipway(t.Context(), t, open(t, h), "promote", "7", "--env", "prod")
	expect(t, r, exitDone, "payment v2 is live in prod")
	if got := h.asked(); len(got) != 1 || got[0] != "/changes/7/promote" {
		t.Errorf("asked %v, want one promote", got)
	}
}

func TestDeployBlocked(t *testing.T) {
	h := always(t, at())
	h.refuse = &client.Problem{Status: 409, Title: "Held", Detail: "payment v2 is on hold since 14:31:52: worse", Code: string(delivery.CodeQuarantined), Who: "anyone with access", Hint: "slipway release payment v2"}
	r := slipway(t.Context(), t, open(t, h), "deploy", "payment", "v2")
	expect(t, r, exitBlocked)
	golden(t, "blocked.txt", r.stderr)
	if r.stdout != "" {
		t.Errorf("stdout %q, want nothing", r.stdout)
	}
}

// Ctrl-C stops watching, not the change.
func TestDeployInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	h := always(t, moment{})
	h.at = func(n int) moment {
		if n > 1 {
			stop()
		}
		return at(rolling("dev", delivery.Judging))
	}
	r := slipway(ctx, t, open(t, h), "deploy", "payment", "v2")
	expect(t, r, exitInterrupted)
	if !strings.Contains(r.stderr, "change #7 goes on") || !strings.Contains(r.stderr, "slipway abort 7") {
		t.Errorf("stderr %q, want how to stop it", r.stderr)
	}
	if got := h.asked(); len(got) != 0 {
		t.Errorf("asked %v, want nothing", got)
	}
}

func TestDeployTimeout(t *testing.T) {
	r := slipway(t.Context(), t, open(t, always(t, at(rolling("dev", delivery.Judging)))), "deploy", "payment", "v2", "--timeout", "300ms")
	expect(t, r, exitTimeout)
	if !strings.Contains(r.stderr, "change #7 goes on") {
		t.Errorf("stderr %q, want that it goes on", r.stderr)
	}
}

func TestFailedEnds(t *testing.T) {
	newer := at(rolling("dev", delivery.Done))
	newer.why = []delivery.Answer{{Service: "payment", Env: "prod", Change: 8}}
	for name, m := range map[string]moment{
		"superseded":    at(rolling("dev", delivery.Superseded)),
		"revert failed": at(rolling("dev", delivery.RevertFailed)),
		"newer":         newer,
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, slipway(t.Context(), t, open(t, always(t, m)), "watch", "7"), exitFailed, "next  slipway")
		})
	}
}

// An abort that worked is a success; the same end of a deploy is not.
func TestAbort(t *testing.T) {
	m := rolledBack()
	m.whole.Rollouts = m.whole.Rollouts[1:]
	m.whole.Change.Only = "prod"
	h := always(t, m)
	expect(t, slipway(t.Context(), t, open(t, h), "abort", "7", "--reason", "enough"), exitDone, "↩ rolled back to v1 in 1.9 s")
	if got := h.asked(); len(got) != 1 || got[0] != "/changes/7/abort" {
		t.Errorf("asked %v, want one abort", got)
	}
}

// Watching survives a server that is killed and started again elsewhere.
func TestWatchSurvivesARestart(t *testing.T) {
	h := always(t, moment{})
	first := httptest.NewUnstartedServer(h)
	if err := first.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if first.Listener, err = net.Listen("tcp", porttest.Free(t)); err != nil { // where nobody else answers when it is gone
		t.Fatal(err)
	}
	first.Start()
	state := announce(t, t.TempDir(), first.URL)
	gone := make(chan struct{})
	h.at = func(n int) moment {
		if n == 2 {
			select {
			case <-gone:
			default:
				close(gone)
			}
		}
		if n < 4 {
			return at(rolling("dev", delivery.Judging))
		}
		return at(rolling("dev", delivery.Done), rolling("prod", delivery.Done))
	}
	again := make(chan struct{})
	go func() {
		defer close(again)
		<-gone
		first.CloseClientConnections()
		first.Close()
		second := httptest.NewServer(h)
		t.Cleanup(second.Close)
		announce(t, state, second.URL)
	}()
	r := slipway(t.Context(), t, state, "watch", "7")
	<-again
	expect(t, r, exitDone, "payment v2 is live")
}

func TestNoServer(t *testing.T) {
	r := slipway(t.Context(), t, t.TempDir(), "status")
	expect(t, r, exitFailed)
	if !strings.Contains(r.stderr, "next  slipway up") {
		t.Errorf("stderr %q, want slipway up", r.stderr)
	}
	// The files are there, but nobody listens any more.
	r = slipway(t.Context(), t, announce(t, t.TempDir(), "http://"+porttest.Free(t)), "why", "payment")
	expect(t, r, exitFailed)
	if !strings.Contains(r.stderr, "next  slipway up") {
		t.Errorf("stderr %q, want slipway up", r.stderr)
	}
}

func TestWrongToken(t *testing.T) {
	state := open(t, http.HandlerFunc(always(t, at()).ServeHTTP))
	if err := os.WriteFile(state+"/token", []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, slipway(t.Context(), t, state, "status"), exitFailed)
}
