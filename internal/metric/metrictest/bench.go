package metrictest

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-cd/slipway/internal/analysis"
	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// Bench is a source that the suite fills, and the driver on it that is judged.
type Bench struct {
	Driver metric.Driver
	From   delivery.MetricSource
	Now    int64 // Unix second; samples are of the ten minutes before it

	// Write makes the source know samples, in the order of time within a series
	// but for those that are late, and returns when it does. Values are totals
	// since the instance was started. Where intakes refuse what is no number, so
	// does Write.
	Write func(t *testing.T, samples []metric.Sample)
	// Select returns what delivery.Metric.Value says for the series of a name, of
	// the release that is asked for. match is "" or one matcher, as in code="500".
	Select func(name, match string) string
	// Broken is a driver whose source cannot be asked, or nil when the source is
	// of the same process and always can.
	Broken metric.Driver
}

// The releases of the suite, and how it reads their instances.
const (
	service = "shop"
	env     = "prod"
	stable  = delivery.ReleaseID("r-stable")
	canary  = delivery.ReleaseID("r-canary")
	every   = 5  // seconds between two samples of a series
	span    = 60 // seconds that are asked for
	history = 60 // seconds of samples before them
)

// world is what the suite knows to have happened.
type world struct {
	Bench
	t      *testing.T
	first  int64 // second that is asked for first
	canary delivery.ReleaseID
}

func newWorld(t *testing.T, b Bench) *world {
	t.Helper()
	// The grid of every driver fits: 60 is a multiple of all sensible steps.
	first := (b.Now - 5*span) / span * span
	return &world{Bench: b, t: t, first: first, canary: canary}
}

// last is the last second that is asked for.
func (w *world) last() int64 { return w.first + span - 1 }

// series is one series of one instance; at tells its numbers at the end of a second.
type series struct {
	release  delivery.ReleaseID
	instance string
	name     string
	labels   []metric.Label
	kind     metric.SeriesKind
	from, to int64 // seconds after the first asked for; zero both is all
	at       func(second int64) reading
}

// reading is what a series says at the end of a second.
type reading struct {
	value float64
	hist  *metric.Buckets
}

// rising is a running total that grows by each in every second.
func (w *world) rising(each float64) func(int64) reading {
	return func(s int64) reading { return reading{value: each * float64(s-w.first+history+1)} }
}

// steady is a value that never changes.
func steady(v float64) func(int64) reading { return func(int64) reading { return reading{value: v} } }

// samples reads a series off its instance.
func (w *world) samples(s series) []metric.Sample {
	if s.from == 0 && s.to == 0 {
		s.from, s.to = -history, span-1
	}
	var all []metric.Sample
	for second := w.first - 1 - history + every; second <= w.last(); second += every {
		if off := second - w.first; off < s.from || off > s.to {
			continue
		}
		x := s.at(second)
		all = append(all, metric.Sample{
			Series: metric.Series{From: w.From, Service: service, Env: env, Release: s.release, Instance: s.instance, Name: s.name, Labels: s.labels},
			Kind:   s.kind, At: time.Unix(second, 999e6), Value: x.value, Hist: x.hist, // near the end of the second, however seconds are cut
		})
	}
	return all
}

// write fills the source with series, sample by sample as time went on.
func (w *world) write(all ...series) {
	w.t.Helper()
	var samples []metric.Sample
	for _, s := range all {
		samples = append(samples, w.samples(s)...)
	}
	inTime(samples)
	w.Write(w.t, samples)
}

// ask is what the suite asks for, from the first to the last second.
func (w *world) ask(m delivery.Metric) metric.Ask {
	m.From = w.From
	if m.Name == "" {
		m.Name = "number"
	}
	return metric.Ask{
		Metric: m, Service: service, Env: env,
		Stable: metric.Side{Release: stable, Version: "v-" + string(stable)},
		Canary: metric.Side{Release: w.canary, Version: "v-" + string(w.canary)},
		First:  w.first, Last: w.last(),
	}
}

// read asks, and refuses what no answer may be.
func (w *world) read(a metric.Ask) metric.Answer {
	w.t.Helper()
	got, err := w.Driver.Read(w.t.Context(), a)
	if err != nil {
		w.t.Fatalf("Read = %v, want an answer", err)
	}
	check(w.t, a, got)
	return got
}

// check holds what is true of every answer.
func check(t *testing.T, a metric.Ask, got metric.Answer) {
	t.Helper()
	if got.Until > a.Last {
		t.Errorf("Until is second %d, after the last one asked for, %d", got.Until, a.Last)
	}
	before := a.First - 1
	for _, r := range got.Readings {
		if r.Seconds < 1 || r.Second-int64(r.Seconds) < before || r.Second > a.Last {
			t.Errorf("the reading that ends in second %d covers %d; it overlaps the one before, which ends in %d, or leaves what was asked for", r.Second, r.Seconds, before)
		}
		before = r.Second
		if r.Metric != a.Metric.Name {
			t.Errorf("reading of %q, asked for %q", r.Metric, a.Metric.Name)
		}
		if r.Wrong != "" {
			continue
		}
		for arm, v := range map[string]analysis.Value{"stable": r.Stable, "canary": r.Canary} {
			for what, x := range map[string]float64{"N": v.N, "Squares": v.Squares} {
				if x < 0 || math.IsNaN(x) || math.IsInf(x, 0) {
					t.Errorf("%s of %s is %v in second %d, and the reading is not called wrong", what, arm, x, r.Second)
				}
			}
			if math.IsNaN(v.Sum) || math.IsInf(v.Sum, 0) {
				t.Errorf("Sum of %s is %v in second %d, and the reading is not called wrong", arm, v.Sum, r.Second)
			}
		}
	}
}

// totals adds up readings by arm.
func totals(got metric.Answer) (s, c analysis.Value) {
	s.Bins, c.Bins = map[int]uint32{}, map[int]uint32{}
	for _, r := range got.Readings {
		for to, from := range map[*analysis.Value]analysis.Value{&s: r.Stable, &c: r.Canary} {
			to.N += from.N
			to.Sum += from.Sum
			to.Squares += from.Squares
			for i, n := range from.Bins {
				to.Bins[i] += n
			}
		}
	}
	return s, c
}

// want compares what was counted, whole numbers that others may have rounded.
func (w *world) want(what string, got, want float64) {
	w.t.Helper()
	if math.Abs(got-want) > 1e-6*math.Max(1, math.Abs(want)) {
		w.t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// nothing wants an answer without a reading, and with the reason.
func (w *world) nothing(got metric.Answer) {
	w.t.Helper()
	if len(got.Readings) > 0 {
		s, c := totals(got)
		w.t.Errorf("%d readings (stable %+v, canary %+v), want none", len(got.Readings), s, c)
	}
	if strings.TrimSpace(got.Missing) == "" {
		w.t.Error("Missing is empty, want the reason why there is nothing")
	}
}

func inTime(samples []metric.Sample) {
	slices.SortStableFunc(samples, func(a, b metric.Sample) int { return a.At.Compare(b.At) })
}

// code is the label that says how a request ended.
func code(value string) []metric.Label { return []metric.Label{{Name: "code", Value: value}} }
