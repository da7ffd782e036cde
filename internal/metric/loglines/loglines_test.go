package loglines

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/workload"
	"github.com/slipway-cd/slipway/internal/workload/process"
	"github.com/slipway-cd/slipway/internal/workload/workloadtest"
)

func TestMain(m *testing.M) {
	workloadtest.Main(context.Background(), m, open, map[string]func(context.Context, []string) int{"shim": process.Shim})
}

func open(ctx context.Context, root string) (workload.Driver, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return process.Open(ctx, process.Options{Root: root, Shim: []string{exe, "shim"}, Log: slog.New(slog.DiscardHandler)})
}

// sink keeps the newest sample of each series, and complains of those that go back.
type sink struct {
	t    *testing.T
	mu   sync.Mutex
	last map[place]metric.Sample
}

type place struct{ instance, name string }

func (s *sink) Add(all []metric.Sample) (int, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range all {
		at := place{x.Instance, x.Name}
		if x.From != delivery.FromLogs || x.Kind != metric.Counter || x.Service != "shop" || x.Env != "prod" || x.Since.IsZero() || x.At.Before(x.Since) {
			s.t.Errorf("%+v is no counter of lines", x)
		}
		if s.last[at].Value > x.Value {
			s.t.Errorf("%v went back from %v to %v", at, s.last[at].Value, x.Value)
		}
		s.last[at] = x
	}
	return 0, ""
}

func (s *sink) now(id workload.ID) (lines, warns, errors float64, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known = s.last[place{string(id), delivery.LinesAll}]
	return s.last[place{string(id), delivery.LinesAll}].Value, s.last[place{string(id), delivery.LinesWarn}].Value, s.last[place{string(id), delivery.LinesError}].Value, known
}

// Lines of real instances are counted by how bad they are; those from before are
// not, and an instance that wrote nothing has a zero.
func TestCounts(t *testing.T) {
	k := workloadtest.NewKit(t, open)
	quiet, loud := k.Spec(t, "prod.shop.r1.0", workloadtest.Healthy, ""), k.Spec(t, "prod.shop.r2.0", workloadtest.Talking, "20")
	k.Ensure(t, quiet)
	k.Ensure(t, loud)
	k.AwaitPhase(t, quiet.ID, workload.Ready)
	up := k.AwaitPhase(t, loud.ID, workload.Ready)
	k.Eventually(t, "the first 20 lines to be on disk", func() bool {
		n := 0
		err := k.Driver.Logs(t.Context(), workload.LogQuery{}, func(l workload.LogLine) bool {
			if l.ID == loud.ID && l.Stream == "stdout" {
				n++
			}
			return true
		})
		return err == nil && n == 20
	})
	to := &sink{t: t, last: map[place]metric.Sample{}}
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	c := Counter{From: k.Driver, To: to, Log: slog.New(slog.DiscardHandler)}
	run.Go(func() { c.Run(ctx) })
	defer run.Wait()
	defer stop()
	k.Eventually(t, "the quiet instance to have a zero", func() bool {
		lines, _, _, known := to.now(quiet.ID)
		return known && lines == 0
	})
	before, _, _, _ := to.now(loud.ID)
	for _, path := range []string{"/ERROR:a", "/WARN:b", "/fatal:c", "/info:d", "/plain"} {
		k.Get(t, up, path)
	}
	k.Eventually(t, "5 lines, 1 warning and 2 errors", func() bool {
		lines, warns, errors, _ := to.now(loud.ID)
		return lines == before+5 && warns == 1 && errors == 2
	})
	if before > 0 {
		t.Errorf("%v lines of before the counting began were counted", before)
	}
	// An instance that is gone is told no more.
	k.Stop(t, quiet.ID)
	gone := time.Now() // a count is of before the instances were listed
	newest := func() time.Time {
		to.mu.Lock()
		defer to.mu.Unlock()
		all := slices.Collect(maps.Values(to.last))
		return slices.MaxFunc(all, func(a, b metric.Sample) int { return a.At.Compare(b.At) }).At
	}
	k.Eventually(t, "two more seconds to be told", func() bool { return newest().After(gone.Add(2 * time.Second)) })
	to.mu.Lock()
	defer to.mu.Unlock()
	if last := to.last[place{string(quiet.ID), delivery.LinesAll}].At; last.After(gone) {
		t.Errorf("an instance that was gone at %v is still told at %v", gone, last)
	}
}
