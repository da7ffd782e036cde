package control

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/store"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// However many ask at once, an answer is worked out once for each key.
func TestSharedIsWorkedOutOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared[int, string]
		var worked atomic.Int64
		ask := func(key int) {
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					got, err := s.get(t.Context(), key, func(context.Context) (string, error) {
						worked.Add(1)
						time.Sleep(time.Second)
						return fmt.Sprint(key), nil
					})
					if got != fmt.Sprint(key) || err != nil {
						t.Errorf("get(%d) = %q, %v", key, got, err)
					}
				})
			}
			wg.Wait()
		}
		ask(1)
		ask(1)
		ask(2)
		if n := worked.Load(); n != 2 {
			t.Errorf("worked out %d times for 300 askers of 2 keys, want 2", n)
		}
	})
}

// Who leaves while working an answer out leaves the others theirs.
func TestSharedOutlivesWhoeverAskedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s shared[int, string]
		work := func(ctx context.Context) (string, error) {
			select {
			case <-ctx.Done():
				return "", ctx.Err()
			case <-time.After(time.Second):
				return "here", nil
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.get(ctx, 1, work); !errors.Is(err, context.Canceled) {
				t.Errorf("who left got %v", err)
			}
		})
		synctest.Wait()
		impatient, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		wg.Go(func() {
			if _, err := s.get(impatient, 1, work); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who has no time got %v", err)
			}
		})
		wg.Go(func() {
			if got, err := s.get(t.Context(), 1, work); got != "here" || err != nil {
				t.Errorf("who stayed got %q, %v", got, err)
			}
		})
		wg.Go(func() {
			defer func() { _ = recover() }()
			_, _ = s.get(t.Context(), 2, func(context.Context) (string, error) { panic("broken") })
		})
		time.Sleep(500 * time.Millisecond)
		leave()
		wg.Wait()
		if got, err := s.get(t.Context(), 2, work); got != "here" || err != nil {
			t.Errorf("after a panic get = %q, %v", got, err)
		}
	})
}

// What a person has just done is on the board at once, and nobody who asks twice
// in a second makes it be worked out twice.
func TestBoardIsOfNowAndShared(t *testing.T) {
	scene(t, project("staging", "prod"), func(t *testing.T, w *world, h *house) {
		board := func() delivery.Board {
			b, err := h.Board(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		synctest.Wait()
		first, again := board(), board()
		if &first.Services[0] != &again.Services[0] {
			t.Error("the board was worked out twice in one moment")
		}
		if p, err := h.Project(t.Context()); err != nil || p.Name != first.Project || len(p.Services) != len(first.Services) {
			t.Errorf("Project = %q with %d services, %v", p.Name, len(p.Services), err)
		}
		if c := first.Services[0].Cells[1]; c.Version != "v1" || c.Healthy != c.Want || c.Want == 0 || c.Flight != nil || first.Deployable != 1 {
			t.Errorf("board = %+v", first)
		}
		if _, err := h.PutHold(t.Context(), HoldRequest{Service: "api", Env: "staging", Why: "a sale", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		b := board()
		row := b.Services[0]
		if row.Now || b.Deployable != 0 || row.First == nil || row.First.Lifts != "slipway release api --env staging" || row.First.Outcome != delivery.GateBlocked {
			t.Errorf("row of a held service = %+v, first %+v", row, row.First)
		}
		before := b
		time.Sleep(2 * Sweep)
		if after := board(); &after.Services[0] == &before.Services[0] {
			t.Error("the board is not renewed after a pass")
		}
	})
}

// Everything of one service, while a release of it is on its way.
func TestServiceNow(t *testing.T) {
	scene(t, project("staging", "prod"), func(t *testing.T, w *world, h *house) {
		h.deploy("v2")
		time.Sleep(8 * time.Minute)
		w.behave("v3", behaviour{start: time.Second, fail: 0.2})
		bad := h.deploy("v3")
		time.Sleep(3 * time.Minute)
		h.deploy("v4")
		time.Sleep(3 * time.Second)
		s, err := h.Service(t.Context(), "api")
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Now.Cells) != 2 || s.Now.Cells[1].Version != "v2" || len(s.Flying) != 1 || s.Flying[0].Version != "v4" || len(s.Instances) == 0 {
			t.Errorf("service = %+v", s)
		}
		if len(s.Rollbacks) != 2 || s.Rollbacks[1].Env != "prod" || s.Rollbacks[1].Version != "v1" {
			t.Errorf("rollbacks = %+v, want to v1 in both", s.Rollbacks)
		}
		if len(s.Holds) != 1 || s.Holds[0].Version != "v3" {
			t.Errorf("holds = %+v, want v3", s.Holds)
		}
		for _, i := range s.Instances {
			if strings.Contains(fmt.Sprint(i.Spec.Vars[headersVar]), "Bearer") {
				t.Error("an instance shows the token it is known by")
			}
		}
		list, next, err := h.Releases(t.Context(), ReleaseQuery{Service: "api", Limit: 10})
		if err != nil || next != 0 || len(list) != 4 {
			t.Fatalf("releases = %+v, next %d, %v", list, next, err)
		}
		var versions []string
		for _, r := range list {
			versions = append(versions, r.Version)
			if !r.Files || r.Digest == "" || r.By != "ann" || r.At.IsZero() || len(r.Kinds) == 0 {
				t.Errorf("release = %+v", r)
			}
		}
		if !slices.Equal(versions, []string{"v4", "v3", "v2", "v1"}) {
			t.Errorf("releases %q, want the newest first", versions)
		}
		if r := list[1]; r.Change != bad.Change.ID || r.Held == nil || len(r.Stable) != 0 {
			t.Errorf("the bad release = %+v", r)
		}
		if r := list[2]; !slices.Equal(r.Stable, []string{"staging", "prod"}) || r.Held != nil {
			t.Errorf("the stable release = %+v", r)
		}
		first, next, err := h.Releases(t.Context(), ReleaseQuery{Service: "api", Limit: 3})
		if err != nil || len(first) != 3 || next == 0 {
			t.Fatalf("first page = %+v, next %d, %v", first, next, err)
		}
		rest, next, err := h.Releases(t.Context(), ReleaseQuery{Service: "api", Before: next, Limit: 3})
		if err != nil || len(rest) != 1 || rest[0].Version != "v1" || next != 0 {
			t.Errorf("second page = %+v, next %d, %v", rest, next, err)
		}
		for _, err := range []error{
			second(h.Service(t.Context(), "apu")), third(h.Releases(t.Context(), ReleaseQuery{Service: "apu", Limit: 3})), second(h.Links(t.Context(), "apu", "prod")), second(h.Links(t.Context(), "api", "prd")),
		} {
			if !errors.Is(err, delivery.ErrNotFound) || !strings.Contains(err.Error(), "there is ") {
				t.Errorf("of what is not there: %v", err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func third[T, U any](_ T, _ U, err error) error { return err }

// A release that was gone back to says by which change; a rollback is no release.
func TestReleasesTellOfRollbacks(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		h.versioned(t, "v2")
		back, err := h.Rollback(t.Context(), RollbackRequest{Service: "api", Env: "prod", By: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		h.want(t, back.Rollout.ID, delivery.Done)
		list, _, err := h.Releases(t.Context(), ReleaseQuery{Service: "api", Limit: 10})
		if err != nil || len(list) != 2 {
			t.Fatalf("releases = %+v, %v", list, err)
		}
		if v1 := list[1]; v1.Rollback != back.Change.ID || !slices.Equal(v1.Stable, []string{"prod"}) || v1.Change >= v1.Rollback {
			t.Errorf("v1 = %+v, want gone back to by change %d", v1, back.Change.ID)
		}
		if v2 := list[0]; v2.Rollback != 0 || v2.Held == nil {
			t.Errorf("v2 = %+v, want on hold", v2)
		}
	})
}

// Neighbours are what the data plane saw beside what slipway.yaml says.
func TestLinks(t *testing.T) {
	p := project("prod")
	for _, name := range []string{"bank", "shop", "idle"} {
		svc := p.Services[0]
		svc.Name = name
		p.Services = append(p.Services, svc)
	}
	p.Services[0].Run.Needs = []delivery.Need{{Service: "bank", AtLeast: "v1"}, {Service: "idle"}}
	p.Services[2].Run.Needs = []delivery.Need{{Service: "api"}}
	scene(t, p, func(t *testing.T, w *world, h *house) {
		now := time.Now()
		h.counts.take(traffic.Frame{At: now, Boot: "x", Blocks: []traffic.Block{
			{Route: "prod/bank", Release: "r1", Caller: "api", Second: now.Unix() - 5, Requests: 60, Server: 6},
			{Route: "prod/api", Release: "r1", Caller: "shop", Second: now.Unix() - 5, Requests: 30},
			{Route: "prod/api", Release: "r1", Caller: "idle", Second: now.Unix() - 5, Requests: 1},
			{Route: "staging/api", Release: "r1", Caller: "bank", Second: now.Unix() - 5, Requests: 1},
		}}, now)
		links, err := h.Links(t.Context(), "api", "prod")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, k := range links {
			if k.Service == "" {
				continue // the callers of the world
			}
			got = append(got, fmt.Sprintf("%s calls=%v declared=%v requests=%d failed=%.1f %s", k.Service, k.Calls, k.Declared, k.Requests, k.Failed, k.AtLeast))
		}
		want := []string{
			"idle calls=true declared=false requests=1 failed=0.0 ",
			"shop calls=true declared=true requests=30 failed=0.0 ",
			"bank calls=false declared=true requests=60 failed=0.1 v1",
			"idle calls=false declared=true requests=0 failed=0.0 ",
		}
		if !slices.Equal(got, want) {
			t.Errorf("links:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if links[0].Service != "" || links[0].Second < 100 {
			t.Errorf("the callers from outside = %+v, want about 200 a second", links[0])
		}
	})
}

// The strip tells of what is under way, what needs somebody first.
func TestFlying(t *testing.T) {
	scene(t, project("staging", "prod"), func(t *testing.T, w *world, h *house) {
		h.deploy("v2")
		var f Flying
		for range 600 { // until some of it was judged, in whichever environment
			list, all, err := h.Flying(t.Context(), "", 10)
			if err != nil || all != len(list) {
				t.Fatalf("Flying = %+v, %d, %v", list, all, err)
			}
			if len(list) > 0 && len(list[0].Lately) > 1 {
				f = list[0]
				break
			}
			time.Sleep(time.Second)
		}
		if f.Rollout.Version != "v2" || f.Flight.Version != "v2" || len(f.Lately) < 2 {
			t.Fatalf("flying = %+v", f)
		}
		for _, p := range f.Lately {
			if p.Second%LatelyStep != 0 || p.Stable.Requests == 0 {
				t.Errorf("point %+v, want round times and requests", p)
			}
		}
		again, _, err := h.Flying(t.Context(), "api", 10)
		if err != nil || &again[0].Lately[0] != &f.Lately[0] {
			t.Errorf("what happened lately was worked out twice in one moment: %v", err)
		}
		if none, all, err := h.Flying(t.Context(), "api", 0); err != nil || len(none) != 0 || all == 0 {
			t.Errorf("Flying of none = %v, %d, %v", none, all, err)
		}
		if none, all, err := h.Flying(t.Context(), "other", 10); err != nil || len(none) != 0 || all != 0 {
			t.Errorf("Flying of another service = %v, %d, %v", none, all, err)
		}
	})
	var kept strips
	one, two := kept.of("1/prod"), kept.of("2/prod")
	kept.keep([]delivery.Rollout{{ID: "2/prod"}})
	if kept.of("1/prod") == one || kept.of("2/prod") != two {
		t.Error("strips keeps what is over, or forgets what is not")
	}
	waits := &delivery.Blocker{On: "approval", Who: "anyone"}
	for i, r := range []delivery.Rollout{
		{State: delivery.Reverting}, {State: delivery.Waiting, Waiting: waits}, {State: delivery.Judging}, {State: delivery.Queued},
	} {
		if got, want := urgency(r), []int{0, 0, 1, 2}[i]; got != want {
			t.Errorf("urgency of %s = %d, want %d", r.State, got, want)
		}
	}
}

// Numbers of now are those of the last minute, whoever called.
func TestRates(t *testing.T) {
	scene(t, project("staging", "prod"), func(t *testing.T, w *world, h *house) {
		time.Sleep(2 * time.Minute)
		rates := h.Rates(func(service string) bool { return service == "api" })
		if len(rates) != 2 || rates[0].Env != "prod" || rates[0].Second < 150 || rates[0].Second > 250 || rates[0].Failed > 0.02 {
			t.Errorf("rates = %+v, want about 200 a second in each environment", rates)
		}
		if none := h.Rates(func(string) bool { return false }); len(none) != 0 {
			t.Errorf("rates of nothing = %+v", none)
		}
	})
	for v, want := range map[float64]float64{0: 0, 0.123: 0.12, 1.26: 1.3, 199.6: 200, 12345: 12000} {
		if got := rounded(v); got < want*0.9999 || got > want*1.0001 {
			t.Errorf("rounded(%v) = %v, want %v", v, got, want)
		}
	}
}

// Drift tells what differs by itself from what slipway.yaml says.
func TestDrift(t *testing.T) {
	p := project("staging", "prod")
	p.Environments[1].Promote = delivery.Manual
	scene(t, p, func(t *testing.T, w *world, h *house) {
		drift := func(from, to string) Drift {
			d, err := h.Drift(t.Context(), from, to)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		if d := drift("staging", "prod"); len(d.Services) != 1 || d.Services[0].To != nil || d.Services[0].From.Version != "v1" {
			t.Fatalf("drift before prod has anything = %+v", d)
		}
		if _, err := h.Promote(t.Context(), PromoteRequest{Service: "api", To: "prod", By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if d := drift("staging", "prod"); len(d.Services) != 0 || d.Same != 1 {
			t.Fatalf("drift between equals = %+v", d)
		}
		if _, err := h.Submit(t.Context(), Submission{Service: "api", Set: map[string]string{"TIMEOUT": "5s"}, By: "ann"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(8 * time.Minute)
		d := drift("prod", "staging")
		if len(d.Services) != 1 || len(d.Services[0].Config) != 1 {
			t.Fatalf("drift of configuration = %+v", d)
		}
		s := d.Services[0]
		if c := s.Config[0]; c != (ConfigDelta{Delta{Key: "TIMEOUT", To: "5s"}, false}) || s.From.Digest != s.To.Digest || len(s.Kinds) != 0 {
			t.Errorf("drift = %+v", s)
		}
		h.deploy("v2")
		time.Sleep(8 * time.Minute)
		if s := drift("staging", "prod").Services[0]; s.From.Version != "v2" || s.To.Version != "v1" || !slices.Equal(s.Kinds, []delivery.Kind{delivery.Code}) || s.From.Digest == s.To.Digest {
			t.Errorf("drift of code = %+v", s)
		}
		for _, c := range [][2]string{{"staging", "prd"}, {"", "prod"}} {
			if _, err := h.Drift(t.Context(), c[0], c[1]); !errors.Is(err, delivery.ErrNotFound) {
				t.Errorf("drift of %q: %v", c, err)
			}
		}
		if _, err := h.Drift(t.Context(), "prod", "prod"); !errors.Is(err, delivery.ErrInvalid) {
			t.Errorf("drift of an environment and itself: %v", err)
		}
	})
}

// What slipway.yaml says for one environment alone is no drift of it.
func TestDriftAsMeant(t *testing.T) {
	rel := delivery.Release{ID: "r1", Config: map[string]string{"A": "1"}, ConfigIn: map[string]map[string]string{"prod": {"A": "2"}}}
	other := rel
	other.ID, other.Config = "r2", map[string]string{"A": "1", "B": "3"}
	o := overview{World: store.World{Releases: map[delivery.ReleaseID]delivery.Release{"r1": rel, "r2": other}}}
	in := func(env string, id delivery.ReleaseID) delivery.Stable {
		return delivery.Stable{Service: "api", Env: env, Release: id}
	}
	if s := o.drift("api", in("staging", "r1"), in("prod", "r1")); s == nil || !s.asMeant() || s.Config[0] != (ConfigDelta{Delta{Key: "A", From: "1", To: "2"}, true}) {
		t.Errorf("one release, two values = %+v", s)
	}
	s := o.drift("api", in("staging", "r1"), in("prod", "r2"))
	if s == nil || s.asMeant() || len(s.Config) != 2 || !s.Config[0].Meant || s.Config[1].Meant {
		t.Errorf("two releases = %+v", s)
	}
	if s := o.drift("api", delivery.Stable{}, delivery.Stable{}); s != nil {
		t.Errorf("a service that runs nowhere = %+v", s)
	}
	if s := o.drift("api", in("staging", "r1"), in("test", "r1")); s != nil {
		t.Errorf("one release, one value = %+v", s)
	}
}

// Environments tell how they stand and what is held in them.
func TestEnvironments(t *testing.T) {
	scene(t, project("staging", "prod"), func(t *testing.T, w *world, h *house) {
		for _, hold := range []HoldRequest{{Service: "api", Env: "prod", Why: "a sale", By: "ann"}, {Service: "api", Version: "v1", Why: "leaks", By: "bob"}} {
			if _, err := h.PutHold(t.Context(), hold); err != nil {
				t.Fatal(err)
			}
		}
		list, held, err := h.Environments(t.Context())
		if err != nil || len(list) != 2 || len(held) != 1 || held[0].Version != "v1" {
			t.Fatalf("environments = %+v, %+v, %v", list, held, err)
		}
		s, p := list[0], list[1]
		if s.Environment.Name != "staging" || len(s.Pins) != 0 || s.Services != 1 || s.Stable != 1 || s.Unwell != 0 || s.Flying != 0 || s.Judged != 1 {
			t.Errorf("staging = %+v", s)
		}
		if len(p.Pins) != 1 || p.Pins[0].Why != "a sale" || p.Replicas[0] == 0 || p.Replicas[0] != p.Replicas[1] || p.Strategies[delivery.Canary] != 1 {
			t.Errorf("prod = %+v", p)
		}
	})
}
