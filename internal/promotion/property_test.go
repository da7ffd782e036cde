package promotion

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// anyWorld draws a world in which everything may be so that can be written down.
func anyWorld(t *rapid.T) World {
	w := World{Now: noon}
	services := []string{"cart", "payment"}
	for _, s := range services {
		w.Project.Services = append(w.Project.Services, delivery.Service{Name: s})
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "environments") {
		w.Project.Environments = append(w.Project.Environments, delivery.Environment{
			Name: fmt.Sprintf("e%d", i), Promote: rapid.SampledFrom([]delivery.Promotion{delivery.Auto, delivery.Auto, delivery.Manual}).Draw(t, "promote"),
		})
	}
	envs := w.Project.EnvironmentNames()
	n := rapid.IntRange(1, 5)
	for _, s := range services {
		for _, env := range envs {
			if rapid.Bool().Draw(t, "stable") {
				v := n.Draw(t, "version")
				w.Stables = append(w.Stables, delivery.Stable{Service: s, Env: env, Release: rel(v), Version: ver(v), Change: delivery.ChangeID(n.Draw(t, "change"))})
			}
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "holds") {
		v := n.Draw(t, "held")
		h := delivery.Hold{Service: rapid.SampledFrom(services).Draw(t, "service"), By: "ann", Why: rapid.SampledFrom([]string{"", "bad"}).Draw(t, "why")}
		if rapid.Bool().Draw(t, "pin") {
			h.Kind, h.Env = delivery.Pinned, rapid.SampledFrom(envs).Draw(t, "env")
		} else {
			h.Kind, h.Release, h.Version = delivery.Quarantine, rel(v), ver(v)
		}
		w.Holds = append(w.Holds, h)
	}
	for range rapid.IntRange(0, 12).Draw(t, "rollouts") {
		v := n.Draw(t, "version")
		r := delivery.Rollout{
			Service: rapid.SampledFrom(services).Draw(t, "service"), Env: rapid.SampledFrom(envs).Draw(t, "env"), To: rel(v), Version: ver(v),
			Change: delivery.ChangeID(n.Draw(t, "change")), State: rapid.SampledFrom(append(delivery.States(), "dancing")).Draw(t, "state"),
			Only: rapid.IntRange(0, 4).Draw(t, "only") == 0, Seq: int64(n.Draw(t, "seq")), Reason: rapid.SampledFrom([]string{"", "so"}).Draw(t, "reason"),
		}
		r.ID = delivery.RolloutID(fmt.Sprintf("%d/%s", r.Change, r.Env))
		r.Plan.Supersede = rapid.SampledFrom([]delivery.Supersede{"", delivery.Replace, delivery.Queue, delivery.Coalesce}).Draw(t, "supersede")
		if rapid.Bool().Draw(t, "waits") {
			r.Waiting = &delivery.Blocker{
				What: "stars", Lifts: rapid.SampledFrom([]string{"", "passes by itself", "slipway doctor"}).Draw(t, "lifts"),
				Who: rapid.SampledFrom([]string{"", anyone}).Draw(t, "who"), Until: noon,
			}
		}
		if r.State.Final() {
			w.Ended = append(w.Ended, r)
		} else {
			w.Open = append(w.Open, r)
		}
	}
	w.Trouble = rapid.SampledFrom([]string{"", "", "", "nothing answers"}).Draw(t, "trouble")
	return w
}

func anyCandidate(t *rapid.T, w World) Candidate {
	v := rapid.IntRange(1, 5).Draw(t, "candidate")
	return Candidate{
		Service: rapid.SampledFrom(w.Project.ServiceNames()).Draw(t, "service"), Env: rapid.SampledFrom(w.Project.EnvironmentNames()).Draw(t, "env"),
		Release: rel(v), Version: ver(v), Change: delivery.ChangeID(rapid.IntRange(1, 5).Draw(t, "change")),
		Only: rapid.Bool().Draw(t, "only"), Person: rapid.Bool().Draw(t, "person"),
	}
}

// checkGates holds every gate to what each gate promises.
func checkGates(t *rapid.T, gates []delivery.Gate) {
	all := true
	for _, g := range gates {
		if g.Name == "" || g.What == "" {
			t.Fatalf("gate %+v says nothing", g)
		}
		switch g.Outcome {
		case delivery.GatePass:
			if g.Lifts != "" || g.Who != "" || !g.Until.IsZero() {
				t.Fatalf("gate %+v passes and is to be lifted", g)
			}
			continue
		case delivery.GateWaits:
			if !strings.HasPrefix(g.Lifts, "passes") && !strings.HasPrefix(g.Lifts, "slipway ") {
				t.Fatalf("gate %+v waits and names no event", g)
			}
		case delivery.GateBlocked:
			if !strings.HasPrefix(g.Lifts, "slipway ") && !strings.HasPrefix(g.Lifts, "passes") || g.Who == "" {
				t.Fatalf("gate %+v blocks and does not say what lifts it, and who may", g)
			}
		default:
			t.Fatalf("gate %+v stands like no gate", g)
		}
		all = false
	}
	if May(gates) != all {
		t.Fatalf("May = %v with gates %+v", May(gates), gates)
	}
}

func TestEveryGateSaysWhatLiftsIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		checkGates(t, Gates(w, anyCandidate(t, w)))
	})
}

func TestEveryAnswerSaysWhatLiftsIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		c := anyCandidate(t, w)
		newest := Candidate{Service: c.Service, Release: c.Release, Version: c.Version, Change: c.Change, Only: c.Only}
		if rapid.Bool().Draw(t, "nothing was submitted") {
			newest = Candidate{Service: c.Service}
		}
		a := Why(w, c.Service, c.Env, newest)
		checkGates(t, a.Gates)
		if a.Service != c.Service || a.Env != c.Env || a.Sentence == "" || len(a.Gates) == 0 {
			t.Fatalf("answer %+v says nothing", a)
		}
		if a.May != May(a.Gates) {
			t.Fatalf("may = %v with gates %+v", a.May, a.Gates)
		}
		if here, _ := w.Stable(c.Service, c.Env); a.Running != here.Version {
			t.Fatalf("runs %q, want %q", a.Running, here.Version)
		}
		if a.May && a.Release == "" {
			t.Fatalf("nothing may enter: %+v", a)
		}
		// What the automation does next is what the answer says may happen.
		for _, p := range Proposals(w) {
			if p.Service == a.Service && p.Env == a.Env && p.Release == a.Release && !a.May {
				t.Fatalf("%+v is proposed and may not: %+v", p, a)
			}
		}
	})
}

func TestProposalsAreLawful(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		seen := map[string]bool{}
		proposals := Proposals(w)
		for _, c := range proposals {
			if seen[c.Service+"/"+c.Env] {
				t.Fatalf("two proposals for %s in %s", c.Service, c.Env)
			}
			seen[c.Service+"/"+c.Env] = true
			if h := w.HoldOn(c.Service, c.Env, c.Release); h != nil {
				t.Fatalf("%+v is proposed under hold %+v", c, h)
			}
			before, ok := w.Stable(c.Service, w.Project.Before(c.Env))
			if !ok || before.Release != c.Release || before.Change != c.Change {
				t.Fatalf("%+v is proposed; stable before is %+v", c, before)
			}
			if there, ok := w.Stable(c.Service, c.Env); ok && (there.Release == c.Release || there.Change > c.Change) {
				t.Fatalf("%+v is proposed over %+v", c, there)
			}
			if e, _ := w.Project.Environment(c.Env); e.Promote == delivery.Manual || w.Trouble != "" || c.Only || c.Person {
				t.Fatalf("%+v is proposed into %+v with trouble %q", c, e, w.Trouble)
			}
			for _, r := range slices.Concat(w.Open, w.Ended) {
				if r.Service != c.Service || r.Env != c.Env {
					continue
				}
				if r.Change == c.Change || !r.State.Final() && (r.Change > c.Change || r.To == c.Release) {
					t.Fatalf("%+v is proposed in spite of %+v", c, r)
				}
			}
			if !May(Gates(w, c)) {
				t.Fatalf("%+v is proposed against %+v", c, Gates(w, c))
			}
		}
		for _, s := range w.Stables {
			c := Candidate{Service: s.Service, Env: w.Project.After(s.Env), Release: s.Release, Version: s.Version, Change: s.Change}
			there, _ := w.Stable(c.Service, c.Env)
			if c.Env != "" && there.Release != c.Release && May(Gates(w, c)) && !slices.Contains(proposals, c) {
				t.Fatalf("%+v may enter and is not proposed", c)
			}
		}
	})
}

func TestRowIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := anyWorld(t)
		row := rowOf(w.of("cart"), "cart", func(string, string, delivery.ReleaseID) (int, int) { return 1, 1 })
		if len(row.Cells) != len(w.Project.Environments) {
			t.Fatalf("%d cells for %d environments", len(row.Cells), len(w.Project.Environments))
		}
		if yes := strings.HasPrefix(row.Sentence, "yes, "); yes != row.Now || strings.HasSuffix(row.Sentence, ", ") {
			t.Fatalf("row says %v and %q", row.Now, row.Sentence)
		}
		if row.Now != (row.First == nil) || row.First != nil && (row.First.Outcome == delivery.GatePass || row.First.Lifts == "") {
			t.Fatalf("row says %v with %+v in the way", row.Now, row.First)
		}
		pinned := false
		for _, h := range w.Holds {
			pinned = pinned || pins(h, "cart", "e0")
			if quarantines(h, "cart", h.Release) && row.Now && !strings.Contains(row.Sentence, h.Version) {
				t.Fatalf("row %q does not name %s, which is on hold", row.Sentence, h.Version)
			}
			for _, c := range row.Cells {
				if pins(h, "cart", c.Env) && (c.Held == nil || c.Held.Kind != delivery.Pinned) {
					t.Fatalf("cell %+v does not show %+v", c, h)
				}
			}
		}
		if (pinned || w.Trouble != "") && row.Now {
			t.Fatalf("row %q with a pin or trouble", row.Sentence)
		}
	})
}

// life is a service's history in a world in which the automation does all it
// proposes, and people do as they like.
type life struct {
	w      World
	change int
	tried  map[string]bool // change and environment that the automation tried
}

func (l *life) end(t *rapid.T, c Candidate, onlyHere bool) {
	here, _ := l.w.Stable(c.Service, c.Env)
	r := delivery.Rollout{Service: c.Service, Env: c.Env, Change: c.Change, From: here.Release, To: c.Release, Version: c.Version, Only: onlyHere, State: delivery.Done}
	if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
		r.State = rapid.SampledFrom([]delivery.State{delivery.Reverted, delivery.RevertFailed, delivery.Superseded, delivery.Cancelled}).Draw(t, "how")
	}
	l.w.Ended = append([]delivery.Rollout{r}, l.w.Ended...)
	switch r.State {
	case delivery.Done:
		l.w.Stables = slices.DeleteFunc(l.w.Stables, func(s delivery.Stable) bool { return s.Env == c.Env })
		l.w.Stables = append(l.w.Stables, delivery.Stable{Service: c.Service, Env: c.Env, Release: c.Release, Version: c.Version, Change: c.Change, Previous: here.Release})
	case delivery.Reverted, delivery.RevertFailed:
		l.w.Holds = append(l.w.Holds, delivery.Hold{Kind: delivery.Quarantine, Service: c.Service, Release: c.Release, Version: c.Version})
	case delivery.Superseded, delivery.Cancelled: // nothing stays behind
	case delivery.Queued, delivery.Preparing, delivery.Starting, delivery.Shifting, delivery.Judging, delivery.Waiting,
		delivery.Finishing, delivery.Soaking, delivery.Reverting: // no way to end
	}
}

// However long it lives: the automation tries each change once in each
// environment, and the number of the change that is stable only ever grows.
func TestAutomationTriesOnceAndNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &life{w: stage("dev", "staging", "prod").w, tried: map[string]bool{}}
		newChange := func(env string, v int, onlyHere bool) {
			l.change++
			l.end(t, Candidate{Service: "cart", Env: env, Release: rel(v), Version: ver(v), Change: delivery.ChangeID(l.change)}, onlyHere)
		}
		anyEnv := rapid.SampledFrom(l.w.Project.EnvironmentNames())
		t.Repeat(map[string]func(*rapid.T){
			"a person deploys":           func(t *rapid.T) { newChange("dev", l.change+1, false) },
			"a person deploys what was":  func(t *rapid.T) { newChange("dev", rapid.IntRange(1, l.change+1).Draw(t, "v"), false) },
			"a person chooses for alone": func(t *rapid.T) { newChange(anyEnv.Draw(t, "env"), rapid.IntRange(1, l.change+1).Draw(t, "v"), true) },
			"a person lifts all holds":   func(*rapid.T) { l.w.Holds = nil },
			"the automation acts": func(t *rapid.T) {
				for _, c := range Proposals(l.w) {
					key := fmt.Sprint(c.Change, c.Env)
					if l.tried[key] {
						t.Fatalf("%+v is tried again", c)
					}
					l.tried[key] = true
					if there, ok := l.w.Stable(c.Service, c.Env); ok && there.Change >= c.Change {
						t.Fatalf("%+v overwrites %+v", c, there)
					}
					if l.w.HoldOn(c.Service, c.Env, c.Release) != nil {
						t.Fatalf("%+v is on hold", c)
					}
					l.end(t, c, false)
				}
			},
		})
	})
}
