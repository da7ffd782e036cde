package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/control"
	"github.com/slipway-cd/slipway/internal/control/controltest"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// gatedYAML is a project whose prod wants a person, and whose services go out in
// other ways.
const gatedYAML = `project: harbor
services:
  shop: { run: ./shop, rollout: { steps: [{ weight: 10, approve: true, hold: 0s, proven: false }, { weight: 100, hold: 0s, proven: false }] } }
  cart: { run: ./cart, rollout: { strategy: recreate } }
  mail: { run: ./mail, rollout: { strategy: rolling, judge: { off: true } } }
environments:
  - { name: prod, replicas: 2 }
rollout: { soak: 0s }
`

func at(id delivery.ChangeID) string { return fmt.Sprintf("/changes/%d", id) }

// A change that is judged bad tells what was found, what was done, whom it reached
// and what comes next; in every environment it tells what it did there.
func TestChangePages(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	p := h.admin()
	good := h.submit(control.Submission{Service: "payment", Version: "v2", Bundle: h.bundle("v2"), Reason: "faster bank", Commit: "9f2c71ab"})
	h.settled(good)
	p.get(at(good)).want(http.StatusOK).says("payment v1 → v2", "v2 went into prod at", "v2 is proven fit: errors below", "None of the", "by ann", "“faster bank”", "Commit 9f2c71ab",
		"passed Canary 50 % in prod", "Error rate so far", "slipway analysis replay 4", "Everywhere this version went", "Roll back prod…").hides("Most common failure")
	p.get(at(good)+"?env=staging").want(http.StatusOK).says("v2 went into staging at", "Nothing was judged", "code canary staging")
	h.m.Behave("v3-bad", controltest.Way{Fail: 0.6, Says: "bank: refused"})
	bad := h.deploy("payment", "v3-bad")
	h.settled(bad)
	p.get(at(bad)).want(http.StatusOK).says("Rolled back automatically at", "Errors of v3-bad were", "on v2, worse by", "requests it answered failed", "v3-bad is on hold", "Release hold on v3-bad",
		"failed Canary", "back in", "POST /charges → 502", "bank: refused", "culprit", "Left out: ").has(`aria-live="polite"`, `/act/release?`)
	back, err := h.loop.Rollback(t.Context(), control.RollbackRequest{Service: "payment", Env: "prod", By: "bo"})
	if err != nil {
		t.Fatal(err)
	}
	h.settled(back.Change.ID)
	p.get(at(back.Change.ID)).want(http.StatusOK).says("payment went back to v1 in prod at", "rollback", "prod only", "Nothing was judged", "by bo").hides("Error rate so far")
	config := h.submit(control.Submission{Service: "payment", Set: map[string]string{"BANK_TIMEOUT_MS": "200"}, Env: "staging"})
	h.settled(config)
	p.get(at(config)).want(http.StatusOK).says("configuration", "BANK_TIMEOUT_MS=800", "BANK_TIMEOUT_MS=200", "the same as before")
	p.get("/changes/1").want(http.StatusOK).says("v1 is the first release of payment in prod", "nothing → v1").hides("Why Check")
	p.get("/changes/99").want(http.StatusNotFound).says("there is no change #99; the latest are #7 (payment", "See all changes")
	p.get("/changes/x%3Cb%3E").want(http.StatusNotFound).says("there is no change #x<b>")
	p.get("/changes/1?env=moon").want(http.StatusNotFound).says(`"moon"; there is staging, prod`)
	p.get("/changes/1?before=x").want(http.StatusUnprocessableEntity).says("before")
	p.get(at(bad) + "/traces/4bf92f3577b34da6a3ce929d0e0e4736").want(http.StatusNotFound).says("no trace 4bf92f")
}

// A rollout that is paused, one that waits for a person, one that was overtaken
// and those that nobody judges say so.
func TestChangesUnderWay(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.m.Call(controltest.Callers{From: "shop", Env: "prod", Service: "cart", Rate: 0}) // nobody asks, so nothing is proven
	first := h.deploy("cart", "v2")
	h.rollout(first, "prod", "cart v2 is judged", func(r delivery.Rollout) bool { return r.State == delivery.Judging })
	if _, err := h.loop.Ask(t.Context(), delivery.AskPause, control.Request{Change: first, Reason: "lunch", By: "bo"}); err != nil {
		t.Fatal(err)
	}
	h.rollout(first, "prod", "cart v2 is paused", func(r delivery.Rollout) bool { return r.Paused != nil })
	h.admin().get(at(first)).want(http.StatusOK).says("Paused by bo at", ": lunch.", "Resume…", "Canary 25 % in prod", "not yet").has(`aria-current="step"`)
	h.reader().get(at(first)).want(http.StatusOK).has(`aria-disabled="true"`)
	second := h.deploy("cart", "v3")
	h.rollout(first, "prod", "cart v2 gave way", func(r delivery.Rollout) bool { return r.State.Final() })
	h.admin().get(at(first)).want(http.StatusOK).says("v2 gave way to a newer change in prod at", fmt.Sprintf("superseded by change #%d (v3)", second))
}

func TestChangesThatNobodyJudges(t *testing.T) {
	t.Parallel()
	h := build(t).project(gatedYAML).run()
	for _, service := range []string{"shop", "cart", "mail"} {
		h.settled(h.deploy(service, "v1"))
	}
	recreated, rolled, waiting := h.deploy("cart", "v2"), h.deploy("mail", "v2"), h.deploy("shop", "v2")
	h.settled(recreated)
	h.settled(rolled)
	h.rollout(waiting, "prod", "shop v2 waits for approval", func(r delivery.Rollout) bool { return r.State == delivery.Waiting })
	p := h.admin()
	p.get(at(recreated)).want(http.StatusOK).says("v2 went into prod", "code recreate prod", "it goes to everybody at once here", "done Recreate in prod").hides("Error rate so far")
	p.get(at(rolled)).want(http.StatusOK).says("code rolling prod", "the judge is off here", "2 of 2 replaced in prod")
	p.get(at(waiting)).want(http.StatusOK).says("v2 answers 10 % of the requests in prod. It waits for approval.", "waits for approval", "not yet Canary 100 % in prod", "Approve…")
}

// What somebody wrote to break a page is seen on it and does nothing.
func TestHostileChange(t *testing.T) {
	t.Parallel()
	h := build(t).harbor()
	h.m.Behave("v2", controltest.Way{Fail: 0.6, Says: hostile})
	id := h.submit(control.Submission{Service: "payment", Version: "v2", Bundle: h.bundle("v2"), Reason: strings.Repeat(hostile, 20), Commit: hostile, By: "eve" + hostile, Set: map[string]string{"X": hostile}})
	h.settled(id)
	for _, path := range []string{at(id), at(id) + "?env=staging", "/changes"} {
		r := h.admin().get(path).want(http.StatusOK).says("<script>alert(1)</script>")
		for _, bad := range []string{"<script>alert", "<img", "\x1b", "\u202e", "onerror=alert(2)>"} {
			if strings.Contains(r.Body, bad) {
				t.Errorf("%s holds %q as it was written", path, bad)
			}
		}
	}
}

// frozen is what the page of a change says, without what is around every page.
func frozen(t *testing.T, r *reply) string {
	t.Helper()
	_, main, ok := strings.Cut(r.want(http.StatusOK).Body, "<main")
	if !ok {
		t.Fatal("the page has no main")
	}
	main, _, _ = strings.Cut(main, "</main>")
	return main
}

// The page of a change that has ended is the same, byte by byte, a year later and
// on a server that remembers nothing but its store. No part of it is empty.
func TestChangeIsTheSameAYearLater(t *testing.T) {
	dir := t.TempDir()
	var before, list string
	var bad, good delivery.ChangeID
	synctest.Test(t, func(t *testing.T) {
		h := buildIn(t, dir).harbor()
		good = h.deploy("cart", "v2")
		h.settled(good)
		h.m.Behave("v3-bad", controltest.Way{Fail: 0.6, Says: "bank: refused"})
		bad = h.submit(control.Submission{Service: "payment", Version: "v3-bad", Bundle: h.bundle("v3-bad"), Set: map[string]string{"A": "1"}, Reason: "new bank"})
		r := h.settled(bad)
		h.kept(r[len(r)-1].ID)
		time.Sleep(2 * time.Minute) // until every answer is counted
		before, list = frozen(t, h.admin().get(at(bad)))+frozen(t, h.admin().get(at(good))), frozen(t, h.admin().get("/changes"))
	})
	for _, part := range []string{"data-chart=", "bank: refused", "/traces/", "new bank", "Rolled back automatically", "requests it answered failed"} {
		if !strings.Contains(before, part) {
			t.Errorf("the page lacks %q", part)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(365 * 24 * time.Hour)
		h := buildIn(t, dir)
		h.prune()
		if again := frozen(t, h.admin().get(at(bad))) + frozen(t, h.admin().get(at(good))); again != before {
			t.Errorf("a year later the page is another one:\n%s\nwas\n%s", again, before)
		}
		if again := frozen(t, h.admin().get("/changes")); again != list {
			t.Errorf("a year later the list is another one:\n%s\nwas\n%s", again, list)
		}
		_, trace, _ := strings.Cut(before, "/traces/")
		h.admin().get(at(bad)+"/traces/"+trace[:32]).want(http.StatusOK).says("A request to payment that failed", "Answered 502.", "dial bank", "12 ms in all", "10 ms")
	})
}

// kept keeps a trace for each failed request that is told of a rollout, as the
// keeper of traces does.
func (h *house) kept(id delivery.RolloutID) {
	h.t.Helper()
	live, err := h.loop.Live(h.t.Context(), id)
	if err != nil || len(live.Failed) == 0 {
		h.t.Fatalf("%d failed requests, %v", len(live.Failed), err)
	}
	if err := h.store.Write(h.t.Context(), func(tx *store.Tx) error {
		for _, s := range live.Failed[:min(10, len(live.Failed))] {
			if err := tx.PutTrace(delivery.Trace{ID: s.Trace, At: s.At, Change: live.Rollout.Change, Service: "payment", Env: "prod", Why: "answered 502", Spans: []delivery.Span{
				{ID: "a", Name: "POST /charges", Kind: "server", Service: "payment", Start: s.At, Took: 12 * time.Millisecond, Failed: true, Why: "answered 502"},
				{ID: "b", Parent: "a", Name: "dial bank", Kind: "client", Service: "payment", Start: s.At.Add(time.Millisecond), Took: 10 * time.Millisecond, Attrs: map[string]string{"peer": hostile}},
			}}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		h.t.Fatal(err)
	}
}

// prune forgets the traces that are kept for a month.
func (h *house) prune() {
	h.t.Helper()
	if err := h.store.Write(h.t.Context(), func(tx *store.Tx) error {
		_, err := tx.PruneTraces(time.Now().Add(-30 * 24 * time.Hour))
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
}

// A page with ten minutes of numbers is light, and all who watch it share one look
// a second.
func TestChangeIsLight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t).harbor()
		h.m.Behave("v2", controltest.Way{Fail: 0.004, Says: "bank: refused"})
		h.m.Call(controltest.Callers{From: "shop", Env: "prod", Service: "payment", Rate: 20, Path: "/charges"})
		id := h.submit(control.Submission{Service: "payment", Version: "v2", Bundle: h.bundle("v2"), Env: "prod", BreakGlass: true, Reason: "now", Strategy: &delivery.Override{Kind: delivery.Canary, Steps: []delivery.StepSpec{{Weight: delivery.Percent(20), Hold: time.Hour}, {Weight: delivery.Full}}}})
		h.rollout(id, "prod", "v2 is judged", func(r delivery.Rollout) bool { return r.State == delivery.Judging })
		time.Sleep(10 * time.Minute)
		r := h.admin().get(at(id)).want(http.StatusOK)
		if n := len(r.Body); n > 60_000 {
			t.Errorf("the page has %d bytes, more than 60,000", n)
		} else {
			t.Logf("%d bytes", n)
		}
		r.has(`id="errors"`, `id="weight"`, `id="latency"`).says("v2 answers 20 % of the requests in prod")
	})
}

// The list finds changes by all that its filter has, page by page.
func TestChangesList(t *testing.T) {
	t.Parallel()
	h := build(t)
	p := h.admin()
	p.get("/changes").want(http.StatusOK).says("Nothing has been deployed yet", "slipway deploy SERVICE").hides("Filter")
	h.harbor()
	h.m.Behave("v2", controltest.Way{Crash: "no such table"})
	id := h.submit(control.Submission{Service: "cart", Version: "v2", Bundle: h.bundle("cart v2"), By: "bo", Env: "prod", BreakGlass: true, Reason: "now"})
	h.settled(id)
	row := func(id int) string { return fmt.Sprintf(`id="change-%d"`, id) }
	p.get("/changes").want(http.StatusOK).has(row(1), row(2), row(3), row(4)).says("cart v1\u00a0→\u00a0v2", "rolled back", "exited", "“now”", "v1 went into prod.")
	for path, ids := range map[string][]int{
		"/changes?service=payment": {1}, "/changes?by=bo": {4}, "/changes?env=staging": {1, 2, 3}, "/changes?outcome=rolled-back&env=prod": {4}, "/changes?outcome=done&service=shop": {3},
		"/changes?kind=code&from=2000-01-01&to=2100-01-01": {1, 2, 3, 4}, "/changes?before=3": {1, 2}, "/changes?service=&by=": {1, 2, 3, 4},
	} {
		r := p.get(path).want(http.StatusOK)
		for n := 1; n <= 4; n++ {
			want := false
			for _, id := range ids {
				want = want || id == n
			}
			if strings.Contains(r.Body, row(n)) != want {
				t.Errorf("%s shows change %d: %v, want %v", path, n, !want, want)
			}
		}
	}
	p.get("/changes?by=nobody").want(http.StatusOK).says("No change is like that", "See all changes", "nobody")
	p.get("/changes?outcome=lost").want(http.StatusUnprocessableEntity).says("outcome: is one of under-way, done")
	p.get("/changes?before=x").want(http.StatusUnprocessableEntity)
}

// Whoever watches a change sees it move, and the page is whole each time.
func TestChangeIsLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t).harbor()
		h.m.Behave("v3-bad", controltest.Way{Fail: 0.6, Says: "bank: refused"})
		id := h.deploy("payment", "v3-bad")
		p := h.admin()
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequest(http.MethodGet, at(id), nil).WithContext(ctx)
		r.Header.Set("Accept", "text/event-stream")
		r.Host, r.RemoteAddr = "127.0.0.1:7500", "127.0.0.1:40000"
		for _, c := range p.cookies {
			r.AddCookie(c)
		}
		rec := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.pages.ServeHTTP(rec, r)
		}()
		h.settled(id)
		time.Sleep(3 * time.Minute)
		cancel()
		<-done
		var told []string
		for message := range strings.SplitSeq(rec.Body.String(), "\n\n") {
			if strings.Contains(message, `id="verdict"`) {
				told = append(told, message)
			}
		}
		if len(told) < 3 || len(told) > 60 {
			t.Fatalf("%d looks were told in three minutes of which most are quiet", len(told))
		}
		last := told[len(told)-1]
		for _, part := range []string{"Rolled back automatically", `id="ledger"`, "requests it answered failed"} {
			if !strings.Contains(last, part) {
				t.Errorf("the last look lacks %q", part)
			}
		}
		if strings.Contains(rec.Body.String(), "event: trouble") {
			t.Error("a look failed")
		}
	})
}

// A change that is done where it may go by itself says what comes next, to those
// who may do it; and nothing of that once another one runs there.
func TestChangeThatWaitsForAPerson(t *testing.T) {
	t.Parallel()
	h := build(t).project(`project: harbor
services: { cart: { run: ./cart } }
environments: [{ name: staging }, { name: prod, promote: manual }]
rollout: { strategy: recreate, soak: 0s }
`).run()
	staged := func(version string) delivery.ChangeID {
		id := h.deploy("cart", version)
		h.rollout(id, "staging", version+" is in staging", func(r delivery.Rollout) bool { return r.State == delivery.Done })
		return id
	}
	first := staged("v1")
	h.admin().get(at(first)).want(http.StatusOK).says("v1 is the first release of cart in staging", "Promote v1 to prod…", "not yet prod").hides("Roll back")
	h.reader().get(at(first)).want(http.StatusOK).says("Promote v1 to prod…").has(`aria-disabled="true"`)
	second := staged("v2")
	h.admin().get(at(first)).want(http.StatusOK).hides("Promote v1", "not yet prod", "Roll back")
	h.admin().get(at(second)).want(http.StatusOK).says("Promote v2 to prod…", "Roll back staging…")
}
