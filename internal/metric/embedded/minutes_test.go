package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
	"github.com/slipway-cd/slipway/internal/traffic"
)

// served is a second in which a release answered n requests, one of ten badly.
func served(release delivery.ReleaseID, second int64, n uint64) traffic.Block {
	return traffic.Block{
		Route: "prod/api", Release: release, Caller: "shop", Second: second, Requests: n, Server: n / 10,
		Units: n, UnitsBad: n / 10, Bins: map[int]uint32{500: uint32(n / 2), 503: uint32(n - n/2)},
	}
}

// A server that is started again, takes back the minutes it kept and hears from
// the data plane what it missed has the same minutes as one that was never stopped.
func TestRestartFromMinutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(uint64(rapid.IntRange(0, 1000).Draw(t, "seed")), 1))
		restart := rapid.Int64Range(200, 1200).Draw(t, "restart")
		a, clock := at(noon)
		b := New()
		b.now = clock.now
		var all []traffic.Block
		for second := range int64(1500) {
			clock.at = time.Unix(noon+second, 0)
			f := traffic.Frame{At: clock.at, Boot: "a", Blocks: []traffic.Block{served("r1", noon+second, rng.Uint64N(50)), served("r2", noon+second, 10)}}
			all = append(all, f.Blocks...)
			a.Take(f, clock.at)
			if second == restart {
				b.Restore(kept(t, a))
				f.Blocks = slices.DeleteFunc(slices.Clone(all), func(x traffic.Block) bool { return x.Second < noon+second-600 })
			}
			if second >= restart {
				b.Take(f, clock.at)
			}
		}
		got, want := b.Minutes(0, math.MaxInt64), a.Minutes(0, math.MaxInt64)
		if len(want) != 2*23 || !reflect.DeepEqual(got, want) {
			t.Fatalf("%d minutes after a restart, %d without\n%+v\n%+v", len(got), len(want), got, want)
		}
	})
}

// kept is what a store gives to be kept, as it comes back.
func kept(t interface{ Fatal(...any) }, s *Store) []Minute {
	doc, err := json.Marshal(s.Minutes(0, math.MaxInt64))
	if err != nil {
		t.Fatal(err)
	}
	var out []Minute
	if err := json.Unmarshal(doc, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// A minute of the data plane is what its seconds add up to.
func TestMinuteOfTraffic(t *testing.T) {
	s, clock := at(noon)
	for second := range int64(200) {
		clock.at = time.Unix(noon+second, 0)
		preview := served("r1", noon+second, 100)
		preview.Caller = traffic.PreviewCaller
		s.Take(traffic.Frame{At: clock.at, Blocks: []traffic.Block{served("r1", noon+second, 20), preview}}, clock.at)
	}
	got := s.Minutes(noon, noon+59)
	want := Minute{"prod", "api", "r1", noon, Numbers{Traffic: &Traffic{1200, 120, 1200, 120, [][2]int64{{503, 1200}}}}}
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := s.Minutes(noon+120, noon+179); len(got) != 0 {
		t.Errorf("%+v of a minute that may still change", got)
	}
}

// The numbers of services come back as they were kept: counters, gauges and
// histograms, by label, of all instances.
func TestRestoreValues(t *testing.T) {
	a, clock := at(noon)
	for second := int64(0); second < 300; second += 5 {
		clock.at = time.Unix(noon+second, 0)
		for i, id := range []string{"a", "b"} {
			x := sample("n_total", noon+second, float64(second))
			x.Instance, x.Labels = id, []metric.Label{{Name: "code", Value: "200"}}
			y := sample("memory", noon+second, float64(100*(i+1))+float64(second)/8)
			y.Instance, y.Kind = id, metric.Gauge
			z := sample("wait_seconds", noon+second, 0)
			z.Instance, z.Kind = id, metric.Histogram
			z.Hist = &metric.Buckets{Bounds: []float64{0.1, 1}, Counts: []uint64{uint64(second), 2, uint64(second / 5)}, Sum: float64(second)}
			if refused, why := a.Add([]metric.Sample{x, y, z}); refused > 0 {
				t.Fatal(why)
			}
		}
	}
	want := a.Minutes(0, math.MaxInt64)
	if len(want) < 3 || len(want[0].Numbers.Values) != 3 {
		t.Fatalf("%+v, want three values in each of some minutes", want)
	}
	m := want[1].Numbers.Values
	if m[1].Name != "n_total" || m[1].Sum != 120 || m[0].N != 24 || m[0].High != 200+115.0/8 || !slices.Equal(m[2].Buckets, [][3]int64{{floorGrid, int64(gridOf(0.1)), 120}, {int64(gridOf(1)), openGrid, 24}}) {
		t.Errorf("a minute is %+v", m)
	}
	b := New()
	b.now = clock.now
	b.Restore(kept(t, a))
	if got := b.Minutes(0, math.MaxInt64); !reflect.DeepEqual(got, want) {
		t.Errorf("restored\n%+v, want\n%+v", got, want)
	}
	b.Restore(kept(t, a))
	if got := b.Minutes(0, math.MaxInt64); !reflect.DeepEqual(got, want) {
		t.Error("restored twice it is something else")
	}
	late := New()
	late.now = func() time.Time { return time.Unix(noon+2*24*3600, 0) }
	late.Restore(kept(t, a))
	if got := late.Minutes(0, math.MaxInt64); len(got) > 0 {
		t.Errorf("%d minutes of the day before yesterday", len(got))
	}
}

// A minute keeps so many series, and says how many it leaves out.
func TestMinutesAreBounded(t *testing.T) {
	s, clock := at(noon)
	for _, second := range []int64{0, 5, 300} {
		clock.at = time.Unix(noon+second, 0)
		for i := range maxValues + 7 {
			x := sample("n_total", noon+second, float64(second))
			x.Labels = []metric.Label{{Name: "i", Value: fmt.Sprintf("%04d", i)}}
			s.Add([]metric.Sample{x})
		}
	}
	got := s.Minutes(noon, noon)
	if len(got) != 1 || len(got[0].Numbers.Values) != maxValues || got[0].Numbers.More != 7 {
		t.Errorf("%d minutes", len(got))
	}
}

// shown is a line as a text.
func shown(l Line) string {
	b := string(l.Release)
	for _, x := range l.Labels {
		b += " " + x.Name + "=" + x.Value
	}
	for _, p := range l.Points {
		b += fmt.Sprintf(" %d:%.4g", p.At-noon, p.Value)
	}
	return b
}

func TestQuery(t *testing.T) {
	s, clock := at(noon)
	for second := range int64(301) {
		clock.at = time.Unix(noon+second, 0)
		s.Take(traffic.Frame{At: clock.at, Blocks: []traffic.Block{served("r1", noon+second, 20), served("r2", noon+second, 10)}}, clock.at)
		if second%5 == 0 {
			for i, code := range []string{"200", "500"} {
				x := sample("n_total", noon+second, float64(second*int64(i+1)))
				x.Labels = []metric.Label{{Name: "code", Value: code}}
				s.Add([]metric.Sample{x})
			}
			x := sample("memory", noon+second, float64(second))
			x.Kind = metric.Gauge
			z := sample("wait_seconds", noon+second, 0)
			z.Kind, z.Hist = metric.Histogram, &metric.Buckets{Bounds: []float64{0.1, 1}, Counts: []uint64{9 * uint64(second), uint64(second), 0}, Sum: float64(second)}
			s.Add([]metric.Sample{x, z})
		}
	}
	service := delivery.FromService
	for _, c := range []struct {
		from      delivery.MetricSource
		sel       string
		show      Show
		q         float64
		step      time.Duration
		from2, to int64
		want      string
	}{
		{"", Requests, ShowRate, 0, time.Second, 10, 11, "r1 10:20 11:20|r2 10:10 11:10"},
		{"", Failures, ShowIncrease, 0, 10 * time.Second, 10, 19, "r1 10:20|r2 10:10"},
		{"", Latency, ShowQuantile, 0.95, 5 * time.Second, 10, 14, "r1 10:0.007458|r2 10:0.007458"},
		{"", Requests, ShowIncrease, 0, time.Minute, 0, 119, "r1 0:1200 60:1200|r2 0:600 60:600"},
		{"", Units, ShowIncrease, 0, 2 * time.Minute, 0, 119, "r1 0:2400|r2 0:1200"},
		{service, "n_total", ShowRate, 0, 5 * time.Second, 10, 19, "r1 code=200 10:1 15:1|r1 code=500 10:2 15:2"},
		{service, `n_total{code="500"}`, ShowIncrease, 0, time.Minute, 60, 179, "r1 code=500 60:120 120:120"},
		{service, "memory", ShowMean, 0, 10 * time.Second, 10, 19, "r1 10:12.5"},
		{service, "memory", ShowMax, 0, time.Minute, 60, 119, "r1 60:115"},
		{service, "wait_seconds", ShowQuantile, 0.5, time.Minute, 60, 119, "r1 60:0.1001"},
		{service, "wait_seconds", ShowMean, 0, 10 * time.Second, 10, 19, "r1 10:0.1"},
		{service, "memory", ShowQuantile, 0.5, time.Minute, 60, 119, ""},
		{service, "nothing", ShowRate, 0, time.Minute, 60, 119, ""},
	} {
		sel, err := ParseSelector(c.sel)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := s.Query(Query{Env: "prod", Service: "api", From: c.from, Select: sel, Show: c.show, Quantile: c.q, First: time.Unix(noon+c.from2, 0), Last: time.Unix(noon+c.to, 0), Step: c.step})
		var got []string
		for _, l := range lines {
			got = append(got, shown(l))
		}
		if err != nil || strings.Join(got, "|") != c.want {
			t.Errorf("%s %s by %s = %q, %v; want %q", c.show, c.sel, c.step, strings.Join(got, "|"), err, c.want)
		}
	}
}

func TestQueryRefuses(t *testing.T) {
	s, clock := at(noon)
	good := Query{Select: Selector{Name: Requests}, Show: ShowRate, First: clock.at, Last: clock.at.Add(time.Minute), Step: time.Second}
	for field, spoil := range map[string]func(*Query){
		"select":   func(q *Query) { q.Select.Name = "" },
		"step":     func(q *Query) { q.Step = time.Millisecond },
		"last":     func(q *Query) { q.Last = q.First.Add(-time.Hour) },
		"take 58s": func(q *Query) { q.Last = q.First.Add(24 * time.Hour) },
		"quantile": func(q *Query) { q.Show = ShowQuantile },
		"show":     func(q *Query) { q.Show = "median" },
		`no number "request"; it has requests, failed, units, units_bad and latency`: func(q *Query) { q.Select.Name = "request" },
		"labels":                   func(q *Query) { q.Select.Matchers = []Matcher{{Label: "code", Op: "=", Value: "500"}} },
		"says nothing of requests": func(q *Query) { q.Show = ShowMax },
		"which is a histogram":     func(q *Query) { q.Select.Name, q.Show = Latency, ShowMax },
	} {
		q := good
		spoil(&q)
		if _, err := s.Query(q); !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, second := range []int64{0, 5} {
		clock.at = time.Unix(noon+second, 0)
		for i := range maxLines + 1 {
			x := sample("n_total", noon+second, float64(second))
			x.Labels = []metric.Label{{Name: "i", Value: fmt.Sprint(i)}}
			s.Add([]metric.Sample{x})
		}
	}
	q := good
	q.From, q.Select.Name = delivery.FromService, "n_total"
	if _, err := s.Query(q); !errors.Is(err, delivery.ErrInvalid) || !strings.Contains(err.Error(), "picks more than 500") {
		t.Errorf("too many lines: %v", err)
	}
}

// What is known of a service is listed, whatever its labels, and what is not kept
// is listed with the reason.
func TestNames(t *testing.T) {
	s, clock := at(noon)
	for second := range int64(2) {
		clock.at = time.Unix(noon+second, 0)
		for i := range maxOfName + 1 {
			x := sample("users_total", noon+second, float64(second))
			x.Labels = []metric.Label{{Name: "user", Value: fmt.Sprint(i)}}
			s.Add([]metric.Sample{x})
		}
		for _, code := range []string{"200", "500"} {
			x := sample("n_total", noon+second, float64(second))
			x.Labels = []metric.Label{{Name: "code", Value: code}}
			s.Add([]metric.Sample{x})
		}
		level := sample("memory", noon+second, 1)
		level.Kind, level.From = metric.Gauge, delivery.FromWorkload
		other := sample("elsewhere", noon+second, 1)
		other.Env = "staging"
		s.Add([]metric.Sample{level, other})
	}
	want := []Name{
		{delivery.FromService, "n_total", metric.Counter, 2, ""},
		{delivery.FromService, "users_total", "", 0, whyCrowded},
		{delivery.FromWorkload, "memory", metric.Gauge, 1, ""},
	}
	if got, more := s.Names("prod", "api"); !slices.Equal(got, want) || more != 0 {
		t.Errorf("Names = %+v and %d more, want %+v", got, more, want)
	}
	if got, _ := s.Names("", ""); len(got) != 4 {
		t.Errorf("Names = %+v of everything, want elsewhere too", got)
	}
	for i := range maxNames {
		s.Add([]metric.Sample{sample(fmt.Sprintf("m%d", i), noon+2, 1)})
	}
	if got, more := s.Names("prod", "api"); len(got) != maxNames || more != 3 {
		t.Errorf("%d names and %d more, want %d and 3", len(got), more, maxNames)
	}
}
