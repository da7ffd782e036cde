package sim

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// quick shortens a scenario to what every test run can bear.
func quick(s Scenario) Scenario {
	if s.Keys == nil {
		s.Before = 0
	}
	most := max(900, s.Effect.From+120)
	if wanted := max(s.Median, s.Strict); wanted > 0 {
		most = max(most, int(3*wanted))
	}
	s.Horizon = min(s.Horizon, most)
	return s
}

// Our judge keeps its promises in every scenario, on the same traffic in every
// run. Full repetitions are what make sim-analysis plays; here are few, and a
// gate is passed by chance in one of 10,000 sets of seeds.
func TestPromises(t *testing.T) {
	all, err := Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			who := []string{"slipway"}
			if s.Strict > 0 {
				who = append(who, "slipway, no margin")
			}
			scores, err := Play(quick(s), who, max(s.Quick, 1))
			if err != nil {
				t.Fatal(err)
			}
			check(t, scores[0], s.Median)
			if s.Strict > 0 {
				check(t, scores[1], s.Strict)
			}
		})
	}
}

func check(t *testing.T, s Score, median float64) {
	t.Helper()
	sc := s.Scenario
	back, on, unsure := s.RolledBack(), s.Promoted(), s.Unsure()
	said := s.Ends[0].Said
	for _, e := range s.Ends {
		if e.Rolled == sc.harmless() || s.promoted(e) && sc.harmful() {
			said = e.Said
		}
	}
	where := fmt.Sprintf("%d of %d rolled back, %d promoted, %d unsure, soonest and latest %v; %s", back, s.Reps, on, unsure, ends(s.Decided().Seconds), said)
	if sc.harmless() && back > most(s.Reps, alpha) {
		t.Errorf("too many false rollbacks: %s", where)
	}
	if sc.harmful() && on > most(s.Reps, .05) {
		t.Errorf("too many false promotions: %s", where)
	}
	if sc.Says != "" {
		unsure = s.count(func(e ending) bool { return strings.Contains(e.Said, sc.Says) })
	}
	if sc.Truth == Unlike && (on > 0 || unsure < s.Reps) {
		t.Errorf("arms that cannot be compared: want no promotion, and each verdict to say so: %s", where)
	}
	if median > 0 {
		spent := s.Decided().Seconds
		if len(spent) < s.Reps*9/10 || quantile(spent, .5) > 1.5*median+2 {
			t.Errorf("want nine of ten decided rightly, in the median about %v s: %s", median, where)
		}
	}
}

func ends(v []float64) []float64 {
	if len(v) == 0 {
		return nil
	}
	return []float64{v[0], v[len(v)-1]}
}

// A repetition is the same whoever plays it, in whatever order and beside whom.
func TestRepeats(t *testing.T) {
	all, err := Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if s.Keys == nil && s.Cold == nil && len(s.Metrics) == 0 && s.Sensor == (Sensor{}) && s.Name != "all 20 % slower" {
			continue
		}
		s.Horizon = 30
		if s.Keys != nil {
			s.Before = 30
		}
		one, err := Play(s, []string{"slipway"}, 3)
		if err != nil {
			t.Fatal(err)
		}
		two, err := Play(s, []string{"slipway", "slipway, counts alone"}, 2)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(one[0].Ends[:2], two[0].Ends) {
			t.Errorf("%s: played twice: %+v and %+v", s.Name, one[0].Ends[:2], two[0].Ends)
		}
	}
}

// Every scenario can be printed with everybody who plays it.
func TestTables(t *testing.T) {
	all, err := Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]Table{}
	for _, table := range Tables() {
		tables[table.Name] = table
		for _, name := range table.Contestants {
			if _, ok := entrantNamed(name); !ok {
				t.Errorf("table %s: there is no contestant %q", table.Name, name)
			}
		}
	}
	for _, s := range all {
		table, ok := tables[s.Table]
		if !ok {
			t.Errorf("scenario %q is in table %q, which is not printed", s.Name, s.Table)
			continue
		}
		who := table.Contestants
		if len(s.Contestants) > 0 {
			who = s.Contestants
		}
		s.Horizon = 2
		if s.Keys != nil {
			s.Before = 2
		}
		if _, err := Play(s, who, 1); err != nil {
			t.Errorf("%v", err)
		}
	}
}
