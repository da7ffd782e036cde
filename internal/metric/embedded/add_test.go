package embedded

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// noon is when tests begin, in Unix seconds.
const noon = 1_767_268_800

func sample(name string, second int64, v float64) metric.Sample {
	return metric.Sample{
		Series: metric.Series{From: delivery.FromService, Env: "prod", Service: "api", Release: "r1", Instance: "a", Name: name},
		Kind:   metric.Counter, At: time.Unix(second, 0), Value: v,
	}
}

// entries lists what is kept of a name by second, of all its series.
func entries(s *Store, name string) (out []entry) {
	for _, g := range s.samples.groups {
		if f := g.families[familyKey{delivery.FromService, name}]; f != nil {
			for _, x := range f.series {
				x.seconds.each(0, math.MaxInt64, func(e entry) { out = append(out, entry{at: e.at - noon, covered: e.covered, value: e.value}) })
			}
		}
	}
	return out
}

// heard is one sample as a test tells it: at a second after noon, by its own clock
// and by the receiver's.
type heard struct {
	at, now int64
	v       float64
	why     string // it is refused
}

func TestCounters(t *testing.T) {
	for name, c := range map[string]struct {
		heard []heard
		want  string
	}{
		"what it rose by":                 {[]heard{{0, 0, 7, ""}, {5, 5, 9, ""}, {6, 6, 9, ""}}, "[{5 5 2} {6 1 0}]"},
		"begun anew, from zero":           {[]heard{{0, 0, 7, ""}, {5, 5, 3, ""}, {10, 10, 4, ""}}, "[{5 5 3} {10 5 1}]"},
		"twice":                           {[]heard{{0, 0, 7, ""}, {5, 5, 9, ""}, {5, 6, 9, whyTwice}, {10, 10, 10, ""}}, "[{5 5 2} {10 5 1}]"},
		"late":                            {[]heard{{0, 0, 7, ""}, {10, 10, 12, ""}, {5, 11, 9, whyLate}, {15, 15, 13, ""}}, "[{10 10 5} {15 5 1}]"},
		"two in a second":                 {[]heard{{0, 0, 7, ""}, {5, 5, 9, ""}, {5, 5, 9, whyTwice}, {6, 6, 11, ""}}, "[{5 5 2} {6 1 2}]"},
		"a long gap":                      {[]heard{{0, 0, 7, ""}, {400, 400, 90, ""}, {405, 405, 91, ""}}, "[{405 5 1}]"},
		"its clock an hour ahead":         {[]heard{{3600, 0, 7, ""}, {3605, 5, 9, ""}, {3610, 10, 10, ""}}, "[{5 5 2} {10 5 1}]"},
		"its clock an hour behind":        {[]heard{{-3600, 0, 7, ""}, {-3595, 5, 9, ""}}, "[{5 5 2}]"},
		"its clock set an hour ahead":     {[]heard{{0, 0, 7, ""}, {3605, 5, 9, ""}, {3610, 10, 10, ""}}, "[{5 5 2} {10 5 1}]"},
		"its clock set an hour back":      {[]heard{{0, 0, 7, ""}, {5, 5, 9, ""}, {-3590, 10, 10, ""}, {-3585, 15, 12, ""}}, "[{15 5 2}]"},
		"its clock mended":                {[]heard{{-3600, 0, 7, ""}, {5, 5, 9, ""}, {10, 10, 10, ""}}, "[{5 5 2} {10 5 1}]"},
		"its clock mended backwards":      {[]heard{{3600, 0, 7, ""}, {5, 5, 9, ""}, {10, 10, 10, ""}}, "[{10 5 1}]"},
		"both clocks set an hour back":    {[]heard{{0, 0, 7, ""}, {5, 5, 9, ""}, {-3600, -3600, 10, ""}, {-3595, -3595, 12, ""}}, "[{-3595 5 2}]"},
		"both clocks set an hour ahead":   {[]heard{{0, 0, 7, ""}, {5, 5, 9, ""}, {3610, 3610, 10, ""}, {3615, 3615, 12, ""}}, "[{3615 5 2}]"},
		"an hour late, by a good clock":   {[]heard{{0, 0, 7, ""}, {5, 5, 9, ""}, {10, 125, 10, ""}}, "[{5 5 2} {125 120 1}]"},
		"below zero":                      {[]heard{{0, 0, 7, ""}, {5, 5, -1, whyNegative}, {10, 10, 8, ""}}, "[{10 10 1}]"},
		"no number":                       {[]heard{{0, 0, 7, ""}, {5, 5, math.NaN(), whyNumber}, {6, 6, math.Inf(1), whyNumber}, {10, 10, 8, ""}}, "[{10 10 1}]"},
		"more than whole numbers go":      {[]heard{{0, 0, 0, ""}, {5, 5, 1 << 60, ""}, {10, 10, 1<<60 + 1<<20, ""}}, fmt.Sprintf("[{5 5 %v} {10 5 %v}]", float64(1<<60), float64(1<<20))},
		"fractions":                       {[]heard{{0, 0, 0.5, ""}, {5, 5, 0.75, ""}, {10, 10, 3.75, ""}, {15, 15, 3.76, ""}}, "[{5 5 0.25} {10 5 3} {15 5 0.009999999999999787}]"},
		"nothing, and then the first":     {[]heard{{0, 0, 0, ""}, {1, 1, 0, ""}, {2, 2, 1, ""}}, "[{1 1 0} {2 1 1}]"},
		"silent for a quarter of an hour": {[]heard{{0, 0, 5, ""}, {5, 5, 6, ""}, {1000, 1000, 9, ""}, {2000, 2000, 20, ""}}, "[]"},
	} {
		t.Run(name, func(t *testing.T) {
			s, clock := at(noon)
			for i, h := range c.heard {
				clock.at = time.Unix(noon+h.now, 0)
				refused, why := s.Add([]metric.Sample{sample("n_total", noon+h.at, h.v)})
				if refused == 1 != (h.why != "") || h.why != "" && why != "n_total: "+h.why {
					t.Errorf("sample %d is refused %d times: %q, want %q", i, refused, why, h.why)
				}
			}
			got := "["
			for _, e := range entries(s, "n_total") {
				got += fmt.Sprintf("{%d %d %v} ", e.at, e.covered, e.value)
			}
			if got = strings.TrimSuffix(got, " ") + "]"; got != c.want && !(c.want == "[]" && strings.Count(got, "{") == 0) {
				t.Errorf("kept %s, want %s", got, c.want)
			}
		})
	}
}

// A series that says since when it counts may rise and be begun anew all the same.
func TestCounterBegunAnewUnseen(t *testing.T) {
	s, clock := at(noon)
	for i, since := range []int64{0, 0, 7} {
		x := sample("n_total", noon+int64(i)*5, float64(10+i))
		x.Since = time.Unix(noon-100+since, 0)
		clock.at = x.At
		s.Add([]metric.Sample{x})
	}
	if got := entries(s, "n_total"); len(got) != 2 || got[0].value != 1 || got[1].value != 12 {
		t.Errorf("kept %+v, want 1 and then all 12", got)
	}
}

// What is told in differences is counted as it comes: from the first on, if it
// says since when, and added up within a second.
func TestDifferences(t *testing.T) {
	s, clock := at(noon)
	add := func(at time.Duration, v float64) string {
		x := sample("n_total", noon, v)
		x.At, x.Since, x.Delta = time.Unix(noon, 0).Add(at), time.Unix(noon, 0).Add(at-5*time.Second), true
		clock.at = time.Unix(noon, 0).Add(at)
		if at > time.Hour {
			x.At = time.Unix(noon, 0)
		}
		_, why := s.Add([]metric.Sample{x})
		return why
	}
	for at, v := range []float64{3, 4, 5} {
		add(time.Duration(at)*5*time.Second, v)
	}
	add(10500*time.Millisecond, 6)
	add(15*time.Second, 1)
	sum := 0.0
	for _, e := range entries(s, "n_total") {
		sum += e.value
	}
	if sum != 3+4+5+6+1 {
		t.Errorf("%v were counted, want 19", sum)
	}
	if why := add(2*time.Hour, 9); why != "n_total: "+whyClock {
		t.Errorf("a difference of long ago: %q", why)
	}
}

// A million values of a label leave no series and no memory behind, and are told.
func TestAMillionLabelValues(t *testing.T) {
	s, clock := at(noon)
	x := sample("visits_total", noon, 1)
	refusedAll := 0
	for round := range 100 {
		batch := make([]metric.Sample, 10_000)
		for i := range batch {
			batch[i] = x
			batch[i].Labels = []metric.Label{{Name: "user", Value: fmt.Sprint(round*10_000 + i)}}
		}
		refused, _ := s.Add(batch)
		refusedAll += refused
	}
	s.Add([]metric.Sample{sample("honest_total", noon, 1)})
	clock.at = clock.at.Add(5 * time.Second)
	s.Add([]metric.Sample{sample("honest_total", noon+5, 2)})
	if refusedAll != 1_000_000-maxOfName {
		t.Errorf("%d were refused, want %d", refusedAll, 1_000_000-maxOfName)
	}
	if size := s.Size(); size.Series != 1 || size.Bytes > 1000 {
		t.Errorf("%+v is kept, want one series", size)
	}
	if got := entries(s, "honest_total"); len(got) != 1 {
		t.Errorf("of another name %v is kept", got)
	}
	want := Refused{"api", "visits_total", whyCrowded, uint64(refusedAll)}
	if got := s.Refused(); len(got) != 1 || got[0] != want {
		t.Errorf("Refused = %+v, want %+v", got, want)
	}
}

// Whatever names come and whatever is wrong with them, the list stays short.
func TestRefusalsAreBounded(t *testing.T) {
	s, _ := at(noon)
	for i := range maxReported + 50 {
		s.Add([]metric.Sample{sample(fmt.Sprint("n", i), noon, -1)})
	}
	got := s.Refused()
	if len(got) != maxReported+1 || got[maxReported] != (Refused{Why: "more names than are listed", Samples: 50}) {
		t.Errorf("%d lines, the last %+v", len(got), got[len(got)-1])
	}
}

func TestTooManySeriesOfAReleaseAndInAll(t *testing.T) {
	s, _ := at(noon)
	room := func(release delivery.ReleaseID) (kept int, why string) {
		for name := range maxOfRelease/maxOfName + 1 {
			batch := make([]metric.Sample, maxOfName)
			for i := range batch {
				batch[i] = sample(fmt.Sprint("n", name), noon, 1)
				batch[i].Release, batch[i].Labels = release, []metric.Label{{Name: "i", Value: fmt.Sprint(i)}}
			}
			refused, no := s.Add(batch)
			kept += maxOfName - refused
			why = no
		}
		return kept, why
	}
	if kept, why := room("r1"); kept != maxOfRelease || !strings.Contains(why, "its release has too many series") {
		t.Errorf("%d series are kept of a release: %s", kept, why)
	}
	all := maxOfRelease
	for i := 2; i <= maxSeries/maxOfRelease+1; i++ {
		kept, _ := room(delivery.ReleaseID(fmt.Sprint("r", i)))
		all += kept
	}
	if all != maxSeries || s.Size().Series != maxSeries {
		t.Errorf("%d series are kept, want %d", all, maxSeries)
	}
	x := sample("n", noon+2000, 1)
	s.now = func() time.Time { return time.Unix(noon+2000, 0) }
	s.Add([]metric.Sample{x})
	s.now = func() time.Time { return time.Unix(noon+2061, 0) }
	x.At = time.Unix(noon+2061, 0)
	if refused, why := s.Add([]metric.Sample{x}); refused > 0 || s.Size().Series != 1 {
		t.Errorf("%d refused (%s) and %d series when all others were silent for long", refused, why, s.Size().Series)
	}
}

// However a counter is read and whenever it is begun anew, what is kept by second
// and by minute adds up to what it counted between the first and the last reading,
// but for what nobody read.
func TestWhatIsKeptAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, clock := at(noon)
		var want, total float64
		second := int64(noon)
		read := false
		for range rapid.IntRange(1, 60).Draw(t, "readings") {
			step := rapid.Int64Range(1, 20).Draw(t, "step")
			more := float64(rapid.IntRange(0, 3000).Draw(t, "more"))
			if rapid.IntRange(0, 9).Draw(t, "fraction") == 0 {
				more += 0.25
			}
			second += step
			if rapid.IntRange(0, 9).Draw(t, "anew") == 0 && more < total {
				total = 0
			}
			total += more
			clock.at = time.Unix(second, 0)
			s.Add([]metric.Sample{sample("n_total", second, total)})
			if read {
				want += more
			}
			read = true
		}
		var bySecond, byMinute float64
		for _, e := range entries(s, "n_total") {
			bySecond += e.value
		}
		for _, r := range s.samples.groups[place{"prod", "api", "r1"}].families[familyKey{delivery.FromService, "n_total"}].rollups {
			r.each(0, math.MaxInt64, func(m sums) { byMinute += m.sum })
		}
		if second-noon < keptSamples && bySecond != want || byMinute != want {
			t.Fatalf("%v by second and %v by minute, want %v", bySecond, byMinute, want)
		}
	})
}
