package control

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
)

// A server that is killed in the middle of a step, and again, goes on where its
// tape ends: each second is told once, none is taken for warm-up of a step that
// it did not belong to, and the tape gives the stored verdict to the last bit.
func TestTapeOutlivesServers(t *testing.T) {
	p := with(func(s *delivery.Strategy) {
		s.Judge.Warmup = 3 * time.Second
		for i := range s.Steps {
			s.Steps[i].Hold = 20 * time.Second
		}
	})
	scene(t, p, func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		id := s.Rollouts[0].ID
		for range 6 {
			time.Sleep(13 * time.Second)
			h.stop()
			time.Sleep(2 * time.Second)
			h = begin(t, w, h.dir)
		}
		if open, err := h.Replay(t.Context(), s.Change.ID); err != nil || len(open) != 1 || open[0].Entries == 0 || !strings.Contains(open[0].Note, underWay) {
			t.Errorf("replay of a rollout in %s = %+v, %v; want it to say that it is not over", h.rollout(id).State, open, err)
		}
		time.Sleep(4 * time.Minute)
		h.want(t, id, delivery.Done)
		parts, err := h.d.Store.Tape(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		last, left, steps, seconds := int64(0), 0, 0, 0
		_, err = analysis.Entries(parts, func(e analysis.Entry) {
			switch {
			case e.Step:
				steps++
				return
			case e.Block.Second <= last:
				t.Errorf("second %d is told after %d", e.Block.Second, last)
			case e.Left != "":
				left++
			}
			if last != 0 && e.Block.Second != last+1 {
				t.Errorf("seconds %d to %d are missing, though there was traffic", last+1, e.Block.Second-1)
			}
			last = e.Block.Second
			seconds++
		})
		if err != nil {
			t.Fatal(err)
		}
		if steps != 3 || left > 3*6 || seconds < 60 {
			t.Errorf("%d steps, %d of %d seconds left out; want 3 steps, and warm-up after each only", steps, left, seconds)
		}
		h.replays(t, s.Change.ID)
		h.stop()
	})
}

// replays holds every tape of a change against the stored verdict.
func (h *house) replays(t *testing.T, id delivery.ChangeID) {
	t.Helper()
	all, err := h.Replay(t.Context(), id)
	if err != nil || len(all) == 0 {
		t.Fatalf("Replay = %v, %v", all, err)
	}
	for _, r := range all {
		if !r.Same || r.Note != "" || r.Rules != analysis.Rules || r.Stored == nil || r.Again == nil {
			t.Errorf("replay of %s: rules %d, differs %q, note %q", r.Rollout, r.Rules, r.Differs, r.Note)
		}
	}
}

// A verdict that sent a release back is on tape with the move, even if the
// server dies right then; and what is on tape is seen to differ from a verdict
// that was changed behind its back.
func TestReplayOfAFail(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		w.behave("v3", behaviour{start: time.Second, fail: 0.3})
		s := h.deploy("v3")
		for h.rollout(s.Rollouts[0].ID).Cause.Kind == "" {
			time.Sleep(100 * time.Millisecond)
		}
		h.stop()
		h = begin(t, w, h.dir)
		time.Sleep(time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Reverted)
		h.replays(t, s.Change.ID)
		r := h.rollout(s.Rollouts[0].ID)
		one := Replayed{Stored: r.Verdict, Same: true}
		one.Stored.Checks[0].Canary += 1e-15
		parts, err := h.d.Store.Tape(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		one.play(parts)
		if one.Same || len(one.Differs) != 1 {
			t.Errorf("the last bit differs, and replay says %v %q", one.Same, one.Differs)
		}
		one.play(parts[:0])
		if one.Same {
			t.Error("no tape gives the same verdict")
		}
		all, err := h.Explain(t.Context(), s.Change.ID)
		if err != nil || len(all) != 1 || all[0].Verdict == nil || all[0].Verdict.Outcome != delivery.Fail || all[0].Live || len(all[0].Bands) == 0 {
			t.Errorf("Explain = %+v, %v", all, err)
		}
		h.stop()
	})
}

// How soon something would be seen is told from the traffic there was, and where
// there is none, or nothing to compare, that is said.
func TestForecast(t *testing.T) {
	scene(t, project("staging", "prod"), func(t *testing.T, w *world, h *house) {
		f, err := h.Forecast(t.Context(), "api", "")
		if err != nil {
			t.Fatal(err)
		}
		if f.Env != "prod" || f.Rate < 150 || f.Rate > 250 || f.Errors <= 0 || f.P95 < f.P50 || len(f.Plan.Weights) != 2 || len(f.Plan.Regressions) == 0 || len(f.Holds) != 2 {
			t.Errorf("Forecast = %+v", f)
		}
		if _, err := h.Forecast(t.Context(), "nobody", ""); err == nil {
			t.Error("there is a forecast for nobody")
		}
		w.mu.Lock()
		w.rate["staging/api"] = 0
		w.mu.Unlock()
		time.Sleep(16 * time.Minute)
		if f, err := h.Forecast(t.Context(), "api", "staging"); err == nil {
			t.Errorf("Forecast without traffic = %+v", f)
		}
	})
}

// The picture of a rollout that has ended comes from its tape: it is the same
// when nothing else remembers it.
func TestPointsOutliveTheCounts(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(20 * time.Minute) // what happened is forgotten by the data plane
		id := s.Rollouts[0].ID
		h.want(t, id, delivery.Done)
		before, err := h.Live(t.Context(), id)
		if err != nil || len(before.Points) < 20 {
			t.Fatalf("%d points, %v", len(before.Points), err)
		}
		for _, p := range before.Points {
			if p.Stable.Units+p.Canary.Units == 0 || p.Stable.Units > 0 && p.Stable.P95 == 0 {
				t.Fatalf("point %+v", p)
			}
		}
		h.stop()
		h = begin(t, w, h.dir)
		time.Sleep(5 * time.Second)
		after, err := h.Live(t.Context(), id)
		if err != nil || !reflect.DeepEqual(before.Points, after.Points) {
			t.Errorf("the points are others after a restart: %d and %d, %v", len(before.Points), len(after.Points), err)
		}
		h.stop()
	})
}
