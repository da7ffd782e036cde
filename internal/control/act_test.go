package control

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
)

// rows is all that an action may change: every row, and how long the ledger is.
func (h *house) rows(t *testing.T) string {
	t.Helper()
	synctest.Wait()
	ctx := t.Context()
	world, err := h.d.Store.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	changes, err := h.d.Store.Changes(ctx, store.ChangeQuery{Limit: store.MaxLimit})
	if err != nil {
		t.Fatal(err)
	}
	releases, err := h.d.Store.Releases(ctx, "api", store.MaxLimit)
	if err != nil {
		t.Fatal(err)
	}
	bundles, err := h.d.Artifacts.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]any{world, changes, releases, bundles, h.lines(t)})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lines counts the ledger.
func (h *house) lines(t *testing.T) int64 {
	t.Helper()
	last, err := h.d.Store.Events(t.Context(), store.EventQuery{Newest: true, Limit: 1})
	if err != nil || len(last) != 1 {
		t.Fatalf("%d lines, %v", len(last), err)
	}
	return last[0].Seq
}

// said counts the lines of the ledger that are by somebody; the loop writes its own
// meanwhile.
func (h *house) said(t *testing.T, by string) (n int) {
	t.Helper()
	all, err := h.d.Store.Events(t.Context(), store.EventQuery{Limit: store.MaxLimit})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.By == by {
			n++
		}
	}
	return n
}

// refused holds that an error is a refusal of this code that says so and what comes next.
func refused(t *testing.T, err error, code delivery.RefusalCode, says string) {
	t.Helper()
	var no *delivery.Refusal
	if !errors.As(err, &no) || no.Code != code || !strings.Contains(no.Why, says) || no.Next == "" {
		t.Errorf("%v, want it refused as %s that says %q, with what comes next", err, code, says)
	}
}

// deed is one action in a world that has a use for it.
type deed struct {
	act     Act
	project delivery.Project
	before  func(t *testing.T, h *house) // brings the world there
	effect  string
	command string
	again   delivery.RefusalCode // of the same action without a mark, once it is done; "": it may be done again
	after   func(t *testing.T, h *house, d Done)
}

func (h *house) versioned(t *testing.T, versions ...string) {
	t.Helper()
	for _, v := range versions {
		h.deploy(v)
		for i := 0; i < 60 && h.stable("prod") != v; i++ {
			time.Sleep(time.Minute)
		}
		time.Sleep(2 * time.Minute) // nothing is kept warm any more
	}
	if got := h.stable("prod"); got != versions[len(versions)-1] {
		h.story()
		t.Fatalf("stable is %s, want %s", got, versions[len(versions)-1])
	}
}

// beingJudged begins v2 and waits until it is judged in prod.
func beingJudged(t *testing.T, h *house) { h.until(t, h.deploy("v2").Rollouts[0].ID, delivery.Judging) }

func deeds(t *testing.T) map[string]deed {
	t.Helper()
	folder := t.TempDir()
	for _, v := range []string{"v7", "v10"} {
		if err := os.WriteFile(filepath.Join(folder, v), []byte("#!/bin/sh\necho "+v+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lying := project("staging", "prod")
	lying.Services[0].Versions = folder
	byHand := project("staging", "prod")
	byHand.Environments[1].Promote = delivery.Manual
	plain := with(func(*delivery.Strategy) {})
	gated := with(func(s *delivery.Strategy) { s.Steps[0].Approve = true })
	greenish := with(func(s *delivery.Strategy) {
		*s = delivery.Strategy{Kind: delivery.BlueGreen, Steps: []delivery.StepSpec{{Weight: delivery.Full, Approve: true}}, Deadline: 30 * time.Second, Window: 10 * time.Minute}
	})
	state := func(id delivery.RolloutID, s delivery.State) func(*testing.T, *house, Done) {
		return func(t *testing.T, h *house, _ Done) { h.until(t, id, s) }
	}
	stableIs := func(v string) func(*testing.T, *house, Done) {
		return func(t *testing.T, h *house, _ Done) {
			time.Sleep(20 * time.Minute)
			if got := h.stable("prod"); got != v {
				h.story()
				t.Errorf("stable in prod is %s, want %s", got, v)
			}
		}
	}
	return map[string]deed{
		"deploy": {
			act: Act{Verb: ActDeploy, Service: "api", Version: "v10", Set: map[string]string{"FEE": "2"}}, project: lying,
			effect:  "starts v10 in staging, then prod by itself; canary 10 %, 50 %, 100 % in prod; changes the configuration of FEE",
			command: "slipway deploy api v10 --set FEE=2", again: delivery.CodeNothingToDo,
			after: stableIs("v10"),
		},
		"promote": {
			act: Act{Verb: ActPromote, Service: "api", Env: "prod"}, project: byHand,
			before: func(t *testing.T, h *house) {
				if _, err := h.Promote(t.Context(), PromoteRequest{Service: "api", To: "prod", By: "ann"}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				h.deploy("v2")
				time.Sleep(5 * time.Minute)
			},
			effect: "starts v2 in prod; canary 10 %, 50 %, 100 %", command: "slipway promote api --to prod", again: delivery.CodeNothingToDo,
			after: stableIs("v2"),
		},
		"approve": {
			act: Act{Verb: ActApprove, Change: 2, Env: "prod"}, project: gated,
			before: func(t *testing.T, h *house) { h.until(t, h.deploy("v2").Rollouts[0].ID, delivery.Waiting) },
			effect: "raises v2 from 10 % to 50 % of prod traffic", command: "slipway promote 2 --env prod", after: stableIs("v2"),
		},
		"finish": {
			act: Act{Verb: ActFinish, Change: 2}, project: plain, before: beingJudged,
			effect: "skips what is left of the analysis and moves all prod traffic from v1 to v2 now, then watches it for 5 s; v1 stays warm for 1 min", command: "slipway promote 2 --finish",
			after: stableIs("v2"),
		},
		"pause": {
			act: Act{Verb: ActPause, Change: 2}, project: plain, before: beingJudged,
			effect: "leaves 10 % of prod traffic on v2 until it is resumed; it is judged all the while, and goes back by itself if it is worse", command: "slipway pause 2",
			after: func(t *testing.T, h *house, _ Done) {
				time.Sleep(10 * time.Minute)
				if r := h.rollout("2/prod"); r.Paused == nil || r.State != delivery.Judging {
					t.Errorf("rollout is %s, paused %v, want it to stay", r.State, r.Paused)
				}
			},
		},
		"resume": {
			act: Act{Verb: ActResume, Service: "api"}, project: plain,
			before: func(t *testing.T, h *house) {
				beingJudged(t, h)
				h.ask(t, delivery.AskPause, 2)
				time.Sleep(time.Minute)
			},
			effect: "lets v2 go on in prod with 10 % of the traffic, next 50 % once it is proven no worse", command: "slipway resume api", after: stableIs("v2"),
		},
		"abort": {
			act: Act{Verb: ActAbort, Change: 2, Reason: "it's slow"}, project: plain, before: beingJudged,
			effect: "moves 10 % of prod traffic back to v1; keeps the configuration; v2 goes on hold", command: `slipway abort 2 --reason 'it'\''s slow'`,
			after: state("2/prod", delivery.Reverted),
		},
		"rollback": {
			act: Act{Verb: ActRollback, Service: "api", Env: "prod"}, project: plain,
			before: func(t *testing.T, h *house) { h.versioned(t, "v2") },
			effect: "starts v1 again in prod and moves all traffic back to it from v2: canary 10 %, 50 %, 100 %; keeps the configuration; v2 goes on hold", command: "slipway rollback api --env prod",
			after: func(t *testing.T, h *house, d Done) {
				time.Sleep(10 * time.Minute)
				if holds, err := h.d.Store.Holds(t.Context()); err != nil || len(holds) != 1 || h.stable("prod") != "v1" || d.Change != 3 {
					t.Errorf("holds %v, %v, stable %s by change %d; want v2 on hold and v1 by change 3", holds, err, h.stable("prod"), d.Change)
				}
			},
		},
		"rollback of what is under way": {
			act: Act{Verb: ActRollback, Service: "api"}, project: plain, before: beingJudged,
			effect: "moves 10 % of prod traffic back to v1; keeps the configuration; v2 goes on hold", command: "slipway rollback api", after: state("2/prod", delivery.Reverted),
		},
		"switch": {
			act: Act{Verb: ActSwitch, Service: "api"}, project: greenish,
			before: func(t *testing.T, h *house) { h.until(t, h.deploy("v2").Rollouts[0].ID, delivery.Waiting) },
			effect: "switches all prod traffic from v1 (blue) to v2 (green); v1 stays warm for 10 min", command: "slipway switch api", after: stableIs("v2"),
		},
		"switch back": {
			act: Act{Verb: ActSwitch, Service: "api", Back: true}, project: greenish,
			before: func(t *testing.T, h *house) {
				h.until(t, h.deploy("v2").Rollouts[0].ID, delivery.Waiting)
				h.ask(t, delivery.AskApprove, 2)
				time.Sleep(time.Minute)
			},
			effect: "moves all prod traffic from v2 back to v1 at once, which is still warm; keeps the configuration; v2 goes on hold", command: "slipway switch api --back", after: stableIs("v1"),
		},
		"hold": {
			act: Act{Verb: ActHold, Service: "api", Env: "prod", Reason: "a sale"}, project: plain,
			effect: "lets nothing new of api into prod until the hold is lifted; what runs or is under way there goes on", command: "slipway hold api --env prod --why 'a sale'",
			after: func(t *testing.T, h *house, _ Done) {
				_, err := h.Submit(t.Context(), Submission{Service: "api", Version: "v2", Bundle: h.bundle("v2"), By: "ann"})
				refused(t, err, delivery.CodeHeld, "a sale")
			},
		},
		"release": {
			act: Act{Verb: ActRelease, Service: "api", Version: "v1"}, project: plain,
			before: func(t *testing.T, h *house) {
				if _, err := h.PutHold(t.Context(), HoldRequest{Service: "api", Version: "v1", Why: "leaks", By: "ann"}); err != nil {
					t.Fatal(err)
				}
			},
			effect: "lifts the hold on api v1; nothing is deployed by that", command: "slipway release api v1", again: delivery.CodeUnknownHold,
		},
	}
}

// Every verb says before what it does then: a preflight changes nothing, doing it
// does what was said, once for each key, and what was seen before is refused after.
func TestEveryActIsWorkedOutFirst(t *testing.T) {
	covered := map[Verb]bool{}
	for name, d := range deeds(t) {
		covered[d.act.Verb] = true
		t.Run(name, func(t *testing.T) {
			scene(t, d.project, func(t *testing.T, _ *world, h *house) {
				if d.before != nil {
					d.before(t, h)
				}
				d.act.By = "bob"
				before := h.rows(t)
				would, err := h.Preflight(t.Context(), d.act)
				if err != nil {
					h.story()
					t.Fatal(err)
				}
				if after := h.rows(t); after != before {
					t.Errorf("the preflight changed something:\n%s\n%s", before, after)
				}
				if would.Effect.Text != d.effect || d.act.Command() != d.command || would.Effect.Seen == "" || would.Effect.Service != "api" {
					t.Errorf("effect %+v by %q\nwant   %s by %q", would.Effect, d.act.Command(), d.effect, d.command)
				}
				act := d.act
				act.Seen, act.Key = would.Effect.Seen, "first"
				done, err := h.Do(t.Context(), act)
				if err != nil {
					t.Fatal(err)
				}
				if done.Effect.Text != would.Effect.Text || h.rows(t) == before {
					t.Errorf("did %q, want what was said and something changed", done.Effect.Text)
				}
				kept := h.said(t, "bob")
				if twice, err := h.Do(t.Context(), act); err != nil || !delivery.Same(twice, done) || h.said(t, "bob") != kept {
					t.Errorf("again = %+v, %v, %d lines, want %+v and %d", twice, err, h.said(t, "bob"), done, kept)
				}
				act.Key = "second"
				_, err = h.Do(t.Context(), act)
				refused(t, err, delivery.CodeMovedOn, "has moved on: ")
				refused(t, err, delivery.CodeMovedOn, "nothing was done")
				if d.again != "" {
					_, err = h.Preflight(t.Context(), d.act)
					refused(t, err, d.again, "")
				}
				if h.said(t, "bob") != kept {
					t.Errorf("%d lines by bob, want %d: what was refused was written", h.said(t, "bob"), kept)
				}
				if d.after != nil {
					d.after(t, h, done)
				}
			})
		})
	}
	for _, v := range Verbs() {
		if !covered[v] {
			t.Errorf("nothing tries %s", v)
		}
	}
}

// A key belongs to one action, and is kept with it: whatever dies after the write,
// the answer is the same.
func TestAKeyOutlivesTheServer(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		h.versioned(t, "v2")
		act := Act{Verb: ActRollback, Service: "api", Env: "prod", By: "bob", Key: "k"}
		done, err := h.Do(t.Context(), act)
		if err != nil {
			t.Fatal(err)
		}
		h.stop()
		h = begin(t, w, h.dir)
		again, err := h.Do(t.Context(), act)
		if err != nil || again.Change != done.Change {
			t.Errorf("after a restart = change %d, %v, want %d", again.Change, err, done.Change)
		}
		act.Reason = "other"
		_, err = h.Do(t.Context(), act)
		refused(t, err, delivery.CodeKeyReused, "")
		time.Sleep(10 * time.Minute)
		if changes, err := h.d.Store.Changes(t.Context(), store.ChangeQuery{}); err != nil || len(changes) != 3 || h.stable("prod") != "v1" {
			t.Errorf("%d changes, %v, stable %s; want 3 and v1", len(changes), err, h.stable("prod"))
		}
		h.stop()
	})
}

// Two people press at once: one of them does it, and the other is told.
func TestTwoPeopleAtOnce(t *testing.T) {
	all := deeds(t)
	for _, name := range []string{"deploy", "promote", "approve", "finish", "pause", "resume", "abort", "rollback", "switch", "hold", "release"} {
		d := all[name]
		t.Run(name, func(t *testing.T) {
			scene(t, d.project, func(t *testing.T, _ *world, h *house) {
				if d.before != nil {
					d.before(t, h)
				}
				would, err := h.Preflight(t.Context(), d.act)
				if err != nil {
					t.Fatal(err)
				}
				results := make([]error, 8)
				var people sync.WaitGroup
				for i := range results {
					people.Go(func() {
						act := d.act
						act.By, act.Seen, act.Key = "person "+string(rune('a'+i)), would.Effect.Seen, string(rune('a'+i))
						_, results[i] = h.Do(t.Context(), act)
					})
				}
				people.Wait()
				did := 0
				for _, err := range results {
					if err == nil {
						did++
						continue
					}
					refused(t, err, delivery.CodeMovedOn, "has moved on")
				}
				if did != 1 {
					t.Errorf("%d of them did it: %v", did, results)
				}
			})
		})
	}
}

// What was seen of a rollout is said to be over when it is, with what became of it.
// Going back is right at every step: nobody is made to look again first.
func TestWhatMovedOnIsTold(t *testing.T) {
	scene(t, with(func(s *delivery.Strategy) { s.Steps[1].Hold = 5 * time.Minute }), func(t *testing.T, _ *world, h *house) {
		id := h.deploy("v2").Rollouts[0].ID
		h.until(t, id, delivery.Judging)
		finish, err := h.Ask(t.Context(), delivery.AskPromote, Request{Change: 2, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		abort, err := h.Ask(t.Context(), delivery.AskAbort, Request{Change: 2, DryRun: true})
		if err != nil {
			t.Fatal(err)
		}
		for h.rollout(id).Step == 0 || h.rollout(id).State != delivery.Judging {
			time.Sleep(time.Second)
		}
		_, err = h.Ask(t.Context(), delivery.AskPromote, Request{Change: 2, Seen: finish.Effect.Seen})
		refused(t, err, delivery.CodeMovedOn, "this rollout has moved on: api v2 in prod is at 50 %")
		again, err := h.Ask(t.Context(), delivery.AskAbort, Request{Change: 2, Seen: abort.Effect.Seen, DryRun: true})
		if err != nil || again.Effect.Text != "moves 50 % of prod traffic back to v1; keeps the configuration; v2 goes on hold" {
			t.Errorf("abort a step later = %q, %v", again.Effect.Text, err)
		}
		time.Sleep(10 * time.Minute)
		h.want(t, id, delivery.Done)
		_, err = h.Ask(t.Context(), delivery.AskAbort, Request{Change: 2, Seen: abort.Effect.Seen})
		refused(t, err, delivery.CodeMovedOn, "api v2 is stable in prod")
	})
}

// An approval where nothing waits for one would do nothing, so it is refused.
func TestApprovalOfNothing(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, _ *world, h *house) {
		beingJudged(t, h)
		for _, a := range []Act{{Verb: ActApprove, Change: 2}, {Verb: ActPromote, Change: 2, Env: "prod"}} {
			_, err := h.Preflight(t.Context(), a)
			refused(t, err, delivery.CodeNotWaiting, "waits for nobody's approval")
		}
		_, err := h.Preflight(t.Context(), Act{Verb: ActSwitch, Service: "api"})
		refused(t, err, delivery.CodeNotInFlight, "api v2 in prod is at 10 %")
		_, err = h.Preflight(t.Context(), Act{Verb: "fly", Service: "api"})
		if !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("fly = %v", err)
		}
	})
}

// A deploy that waits for a person does so in the last environment, where the
// real traffic is, and can be refused where nothing could wait.
func TestDeployWaitsForAPerson(t *testing.T) {
	scene(t, project("staging", "prod"), func(t *testing.T, _ *world, h *house) {
		s, err := h.Submit(t.Context(), Submission{Service: "api", Version: "v2", Bundle: h.bundle("v2"), By: "ann", Strategy: &delivery.Override{Kind: delivery.BlueGreen, Approve: true}})
		if err != nil || s.Plans[0].Plan.Steps[0].Approve || !s.Plans[1].Plan.Steps[0].Approve {
			t.Fatalf("plans %+v, %v, want an approval in prod alone", s.Plans, err)
		}
		time.Sleep(2 * time.Minute)
		if r := h.rollout("2/prod"); r.State != delivery.Waiting || h.stable("staging") != "v2" || h.stable("prod") != "v1" {
			t.Fatalf("in prod it is %s; want it to wait for the switch", r.State)
		}
		_, err = h.Submit(t.Context(), Submission{Service: "api", Version: "v3", Bundle: h.bundle("v3"), Strategy: &delivery.Override{Kind: delivery.Rolling, Approve: true}})
		if !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("rolling that waits = %v, want it refused", err)
		}
	})
}

// What can be deployed is listed newest first, and then what lies in the folder.
func TestVersions(t *testing.T) {
	p := deeds(t)["deploy"].project
	scene(t, p, func(t *testing.T, _ *world, h *house) {
		h.versioned(t, "v2")
		if _, err := h.PutHold(t.Context(), HoldRequest{Service: "api", Version: "v1", Why: "leaks", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		all, err := h.Versions(t.Context(), "api")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, v := range all {
			text := v.Version
			if v.Release == "" {
				text += " new"
			}
			if v.Held != nil {
				text += " held"
			}
			got = append(got, strings.TrimSpace(text+" "+strings.Join(v.StableIn, " ")))
		}
		if want := []string{"v2 staging prod", "v1 held", "v10 new", "v7 new"}; !slices.Equal(got, want) || all[0].Change != 2 || all[0].By != "ann" {
			t.Errorf("versions %q by %+v, want %q", got, all[0], want)
		}
		_, err = h.Submit(t.Context(), Submission{Service: "api", Version: "v4", By: "ann"})
		refused(t, err, delivery.CodeUnknownVersion, `there is no version of api "v4"; there is v2, v1, v10, v7`)
		_, err = h.Versions(t.Context(), "none")
		refused(t, err, delivery.CodeUnknownService, "none")
	})
}

// A version is taken from the folder as an upload would be, and no link leads out
// of it: whoever may deploy need not be able to read what the server can.
func TestTakenFromTheFolder(t *testing.T) {
	p := deeds(t)["deploy"].project
	folder := p.Services[0].Versions
	outside := t.TempDir()
	for path, text := range map[string]string{filepath.Join(outside, "secret"): "secret", filepath.Join(folder, "dir", "api"): "code"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"current": "v7", "stolen": outside, "file": filepath.Join(outside, "secret"), "up": "..", filepath.Join("dir", "link"): "/etc/passwd"} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	scene(t, p, func(t *testing.T, _ *world, h *house) {
		deploy := func(v string) (Submitted, error) {
			return h.Submit(t.Context(), Submission{Service: "api", Version: v, By: "ann"})
		}
		for _, bad := range []string{"stolen", "file", "up", "dir"} {
			if _, err := deploy(bad); !errors.Is(err, delivery.ErrInvalid) {
				t.Errorf("%s = %v, want it refused", bad, err)
			}
		}
		for _, unknown := range []string{"v8", "../v7", "..", ".", "/etc/passwd", "dir/api"} {
			_, err := deploy(unknown)
			refused(t, err, delivery.CodeUnknownVersion, "there is no version of api")
		}
		first, err := deploy("v7")
		if err != nil || !h.d.Artifacts.Has(first.Release.CodeDigest()) {
			t.Fatalf("v7 = %v, want it kept", err)
		}
		if err := h.d.Artifacts.Verify(t.Context(), first.Release.CodeDigest()); err != nil {
			t.Error(err)
		}
	})
}
