package control

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// meter is a source of numbers whose answers are a function of the question.
type meter func(ctx context.Context, a metric.Ask) (metric.Answer, error)

func (m meter) Read(ctx context.Context, a metric.Ask) (metric.Answer, error) { return m(ctx, a) }

// steady answers for every second that is two seconds old: of 200 units of
// stable one in a hundred is bad, and of 100 of the canary so many.
func steady(bad float64) meter {
	return func(_ context.Context, a metric.Ask) (metric.Answer, error) {
		out := metric.Answer{Until: min(a.Last, time.Now().Unix()-2)}
		for second := a.First; second <= out.Until; second++ {
			out.Readings = append(out.Readings, metric.Reading{Second: second, Reading: analysis.Reading{
				Seconds: 1, Stable: analysis.Value{N: 200, Sum: 2}, Canary: analysis.Value{N: 100, Sum: bad},
			}})
		}
		return out, nil
	}
}

func sales(role delivery.Role) delivery.Metric {
	return delivery.Metric{Name: "orders", Kind: delivery.KindShare, From: delivery.FromService, Value: "failed", Per: "all", Role: role}
}

// measured plays f in a scene in which releases are judged by metrics that source knows.
func measured(t *testing.T, source metric.Driver, metrics []delivery.Metric, f func(t *testing.T, w *world, h *house)) {
	t.Helper()
	p := with(func(s *delivery.Strategy) {
		s.Judge.Metrics, s.Judge.Cold = metrics, time.Second
		s.Steps = s.Steps[1:] // 50 % and 100 %
		s.Steps[0].Max = 5 * time.Minute
	})
	scene(t, p, func(t *testing.T, w *world, h *house) {
		h.stop()
		w.sources = map[delivery.MetricSource]metric.Driver{delivery.FromService: source}
		h = begin(t, w, h.dir)
		time.Sleep(5 * time.Second)
		f(t, w, h)
		h.stop()
	})
}

// check is what the verdict of a rollout says of a metric now.
func (h *house) check(t *testing.T, id delivery.RolloutID, name string) delivery.Check {
	t.Helper()
	live, err := h.Live(t.Context(), id)
	if err != nil || live.Verdict == nil {
		t.Fatalf("Live(%s) = %+v, %v", id, live.Verdict, err)
	}
	for _, c := range live.Verdict.Checks {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("there is no check %s in %+v", name, live.Verdict.Checks)
	return delivery.Check{}
}

func TestMetricDecides(t *testing.T) {
	measured(t, steady(1), []delivery.Metric{sales(delivery.Required)}, func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(4 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
		h.replays(t, s.Change.ID)
	})
	measured(t, steady(30), []delivery.Metric{sales(delivery.Guard)}, func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Reverted)
		if r := h.rollout(s.Rollouts[0].ID); r.Cause.Kind != delivery.CauseVerdict || !strings.Contains(r.Cause.Text, "orders") {
			t.Errorf("went back because %+v; want orders to be named", r.Cause)
		}
		h.replays(t, s.Change.ID)
	})
	measured(t, steady(30), []delivery.Metric{sales(delivery.Watch)}, func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(4 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
	})
}

func TestCase60_AMetricWithoutDataIsNoPass(t *testing.T) {
	silent := meter(func(_ context.Context, a metric.Ask) (metric.Answer, error) {
		return metric.Answer{Until: a.Last, Missing: "no series failed of release " + string(a.Canary.Release)}, nil
	})
	measured(t, silent, []delivery.Metric{sales(delivery.Required)}, func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(4 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Judging)
		if c := h.check(t, s.Rollouts[0].ID, "orders"); c.Outcome == delivery.Pass || !strings.Contains(c.Missing, "no series failed") {
			t.Errorf("the check says %s, missing %q", c.Outcome, c.Missing)
		}
		time.Sleep(4 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Waiting)
		time.Sleep(time.Hour)
		h.want(t, s.Rollouts[0].ID, delivery.Waiting)
	})
	measured(t, silent, []delivery.Metric{sales(delivery.Guard)}, func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(4 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
	})
}

// What cannot be asked, hangs or answers garbage says nothing of the release: it
// is neither promoted nor taken back for it, what else is judged is judged in
// time, and when the source is well again the rollout goes on.
func TestCase61_AnErrorOfAProviderIsNoJudgement(t *testing.T) {
	for name, ill := range map[string]meter{
		"error": func(context.Context, metric.Ask) (metric.Answer, error) {
			return metric.Answer{}, errors.New("connection refused")
		},
		"hang": func(ctx context.Context, _ metric.Ask) (metric.Answer, error) {
			<-ctx.Done()
			return metric.Answer{}, ctx.Err()
		},
		"garbage": func(_ context.Context, a metric.Ask) (metric.Answer, error) {
			return metric.Answer{Until: a.Last, Readings: []metric.Reading{{Second: a.Last + 7}, {Second: a.First}}}, nil
		},
		"too much": func(_ context.Context, a metric.Ask) (metric.Answer, error) {
			return metric.Answer{Until: a.Last, Readings: make([]metric.Reading, 1_000_000)}, nil
		},
		"no number": func(_ context.Context, a metric.Ask) (metric.Answer, error) {
			return metric.Answer{Until: a.Last, Readings: []metric.Reading{{Second: a.Last, Reading: analysis.Reading{Seconds: 1, Stable: analysis.Value{N: 10}, Canary: analysis.Value{N: math.NaN(), Sum: math.Inf(1)}}}}}, nil
		},
		"negative": func(_ context.Context, a metric.Ask) (metric.Answer, error) {
			return metric.Answer{Until: a.Last, Readings: []metric.Reading{{Second: a.Last, Reading: analysis.Reading{Seconds: 1, Stable: analysis.Value{N: 10}, Canary: analysis.Value{N: 10, Sum: -4}}}}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var well atomic.Bool
			source := meter(func(ctx context.Context, a metric.Ask) (metric.Answer, error) {
				if well.Load() {
					return steady(1)(ctx, a)
				}
				return ill(ctx, a)
			})
			m := sales(delivery.Required)
			m.NoData = delivery.Refuse
			measured(t, source, []delivery.Metric{m}, func(t *testing.T, w *world, h *house) {
				s := h.deploy("v2")
				time.Sleep(3 * time.Minute)
				id := s.Rollouts[0].ID
				h.want(t, id, delivery.Judging)
				if c := h.check(t, id, "orders"); c.Missing == "" || c.Outcome == delivery.Pass || c.Outcome == delivery.Fail {
					t.Errorf("the check says %s, missing %q", c.Outcome, c.Missing)
				}
				if live, _ := h.Live(t.Context(), id); live.Verdict.Outcome != delivery.Broken {
					t.Errorf("the verdict is %s %q after three minutes without data that are asked for; want error", live.Verdict.Outcome, live.Verdict.Sentence)
				}
				well.Store(true)
				time.Sleep(10 * time.Minute)
				h.want(t, id, delivery.Done)
				h.replays(t, s.Change.ID)

				well.Store(false)
				w.behave("v3", behaviour{start: time.Second, fail: 0.3})
				bad := h.deploy("v3")
				time.Sleep(30 * time.Second)
				h.want(t, bad.Rollouts[0].ID, delivery.Reverted)
			})
		})
	}
}

func TestCase62_AMetricThatVanishesProvesNothing(t *testing.T) {
	var until atomic.Int64
	until.Store(math.MaxInt64)
	source := meter(func(ctx context.Context, a metric.Ask) (metric.Answer, error) {
		if a.Last > until.Load() {
			return metric.Answer{Until: a.Last, Missing: "the series is gone"}, nil
		}
		return steady(1)(ctx, a)
	})
	m := sales(delivery.Required)
	m.AtLeast = 100 * 60 // a minute of them
	measured(t, source, []delivery.Metric{m}, func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(30 * time.Second)
		h.want(t, s.Rollouts[0].ID, delivery.Judging)
		until.Store(time.Now().Unix())
		time.Sleep(4 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Judging)
		if c := h.check(t, s.Rollouts[0].ID, "orders"); c.NCanary == 0 || !strings.Contains(c.Missing, "the series is gone") {
			t.Errorf("the check has %d and is missing %q", c.NCanary, c.Missing)
		}
	})
}

// What a source may still change is not judged, and nothing is asked of the time
// before the rollout that it is for, whichever it took over from.
func TestCase63_OnlyWhatIsCompleteAndOfThisRollout(t *testing.T) {
	var mu sync.Mutex
	since := map[string]int64{} // version -> first second that was asked for
	source := meter(func(ctx context.Context, a metric.Ask) (metric.Answer, error) {
		mu.Lock()
		if first, asked := since[a.Canary.Version]; !asked || a.First < first {
			since[a.Canary.Version] = a.First
		}
		mu.Unlock()
		out, err := steady(1)(ctx, a)
		if n := len(out.Readings); n > 0 { // its last second is not over, and looks terrible
			out.Readings[n-1].Canary.Sum = 100
			out.Until = out.Readings[n-1].Second - 1
		}
		return out, err
	})
	measured(t, source, []delivery.Metric{sales(delivery.Guard)}, func(t *testing.T, _ *world, h *house) {
		first := h.deploy("v2")
		h.until(t, first.Rollouts[0].ID, delivery.Judging)
		time.Sleep(4 * time.Second)
		h.want(t, first.Rollouts[0].ID, delivery.Judging)
		second := h.deploy("v3") // takes over
		time.Sleep(4 * time.Minute)
		h.want(t, first.Rollouts[0].ID, delivery.Superseded)
		h.want(t, second.Rollouts[0].ID, delivery.Done)
		mu.Lock()
		defer mu.Unlock()
		for version, s := range map[string]Submitted{"v2": first, "v3": second} {
			if from, began := since[version], h.rollout(s.Rollouts[0].ID).Started.Unix(); from < began {
				t.Errorf("asked for %s from %d on, and its rollout began at %d", version, from, began)
			}
		}
	})
}

// A hundred metrics on one change are asked for a few at a time, and their number
// makes no good release look bad.
func TestHundredMetrics(t *testing.T) {
	var now, most atomic.Int64
	source := meter(func(ctx context.Context, a metric.Ask) (metric.Answer, error) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		wait := time.NewTimer(50 * time.Millisecond)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		return steady(1)(ctx, a)
	})
	var metrics []delivery.Metric
	for i := range 100 {
		m := sales(delivery.Guard)
		m.Name = fmt.Sprintf("orders_%d", i)
		metrics = append(metrics, m)
	}
	measured(t, source, metrics, func(t *testing.T, _ *world, h *house) {
		s := h.deploy("v2")
		time.Sleep(4 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
		if n := most.Load(); n > askSlots || n < 2 {
			t.Errorf("%d questions at a time, want 2 to %d", n, askSlots)
		}
		if c := h.rollout(s.Rollouts[0].ID).Verdict.Checks; len(c) < 100 {
			t.Errorf("%d checks", len(c))
		}
	})
}

// Levels are compared between the fresh instances of both releases, and no others.
func TestTwinIsMeasured(t *testing.T) {
	var asked atomic.Int64
	var wrong atomic.Pointer[metric.Ask]
	source := meter(func(_ context.Context, a metric.Ask) (metric.Answer, error) {
		asked.Add(1)
		if len(a.Stable.Instances) != 1 || len(a.Canary.Instances) != 1 || !strings.HasSuffix(a.Stable.Instances[0], ".2") || !strings.HasSuffix(a.Canary.Instances[0], ".0") {
			wrong.Store(&a)
		}
		return metric.Answer{Until: a.Last}, nil
	})
	p := with(func(s *delivery.Strategy) {
		s.Twin, s.Steps = true, s.Steps[1:] // of two instances, one is new at 50 %
		s.Judge.Metrics = []delivery.Metric{{Name: "threads", Kind: delivery.KindLevel, From: delivery.FromService, Value: "threads", Role: delivery.Guard}}
	})
	scene(t, p, func(t *testing.T, w *world, h *house) {
		h.stop()
		w.sources = map[delivery.MetricSource]metric.Driver{delivery.FromService: source}
		h = begin(t, w, h.dir)
		time.Sleep(5 * time.Second)
		s := h.deploy("v2")
		h.until(t, s.Rollouts[0].ID, delivery.Judging)
		if n := w.runs("v1"); n != 3 {
			t.Errorf("%d of v1 run, want two and a twin of one", n)
		}
		time.Sleep(4 * time.Minute)
		h.want(t, s.Rollouts[0].ID, delivery.Done)
		if n := w.runs("v1"); n > 2 {
			t.Errorf("%d of v1 run after the end", n)
		}
		if a := wrong.Load(); a != nil || asked.Load() == 0 {
			t.Errorf("asked %d times, of %+v", asked.Load(), a)
		}
		h.stop()
	})
}

// What no judge can judge by is refused when the file is put in force.
func TestUnusableMetricIsRefused(t *testing.T) {
	scene(t, project("prod"), func(t *testing.T, _ *world, h *house) {
		m := sales(delivery.Guard)
		m.Add, m.PromoteAdd = 0.1, 0.05
		p := with(func(s *delivery.Strategy) { s.Judge.Metrics = []delivery.Metric{m} })
		_, err := h.SetProject(t.Context(), p, []byte("y"), "ann")
		if f, ok := errors.AsType[*delivery.FieldError](err); !ok || !strings.HasSuffix(f.Field, "in.prod.rollout.judge.metrics.orders") || !strings.Contains(f.Why, "promote_add") || f.Next == "" {
			t.Errorf("SetProject = %v; want the metric and its field named", err)
		}
	})
}

// While both releases fail alike there is an incident: the rollout stands still,
// nothing goes back for it, and when it is over the rollout goes on.
func TestIncidentIsNoVerdict(t *testing.T) {
	p := with(func(s *delivery.Strategy) {
		s.Judge.SLO = delivery.SLO{Errors: 0.01, Patience: 5 * time.Second}
		s.Steps = s.Steps[1:]
		s.Steps[0].Hold = 30 * time.Second
	})
	scene(t, p, func(t *testing.T, w *world, h *house) {
		s := h.deploy("v2")
		id := s.Rollouts[0].ID
		time.Sleep(20 * time.Second)
		for _, v := range []string{"v1", "v2"} {
			w.behave(v, behaviour{start: time.Second, fail: 0.4})
		}
		time.Sleep(5 * time.Minute)
		h.want(t, id, delivery.Judging)
		r := h.rollout(id)
		if live, err := h.Live(t.Context(), id); err != nil || live.Verdict.Incident == "" || r.Waiting == nil || r.Waiting.On != "incident" || !strings.HasPrefix(r.Waiting.What, "incident: ") {
			t.Errorf("incident %q, waiting on %+v", live.Verdict.Incident, r.Waiting)
		}
		for _, v := range []string{"v1", "v2"} {
			w.behave(v, behaviour{start: time.Second, fail: 0.002})
		}
		time.Sleep(6 * time.Minute)
		h.want(t, id, delivery.Done)
		h.replays(t, s.Change.ID)
	})
}
