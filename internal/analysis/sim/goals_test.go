package sim

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// The interval of a median holds the true one in 95 of 100 samples, of whatever size.
func TestMedianInterval(t *testing.T) {
	for _, c := range []struct {
		n         int
		low, high float64
	}{
		{5, math.Inf(-1), math.Inf(1)}, // one in 16 samples of five lies on one side
		{6, 1, 6},
		{40, 14, 27},
		{200, 86, 115},
	} {
		v := make([]float64, c.n)
		for i := range v {
			v[i] = float64(i + 1)
		}
		if low, high := medianInterval(v); low != c.low || high != c.high {
			t.Errorf("of %d values: %v to %v, want %v to %v", c.n, low, high, c.low, c.high)
		}
	}
}

// Goals are kept by who judges all, beside who judges what the goal was taken from.
func TestGoals(t *testing.T) {
	all, err := Scenarios()
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(s Scenario) bool {
		return s.Name != "0.5 to 5 %" && s.Name != "all 50 % slower" && s.Name != "healthy 1 %"
	})
	text := ""
	if err := Goals(all, .05, func(markdown string) { text += markdown }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 0.5 to 5 % | default | 3 s |", "| 0.5 to 5 % | none | 3 s |", "| all 50 % slower | default | 3 s |", "| 10 |\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if rows := strings.Count(text, "| 10 |"); rows != 4 || strings.Contains(text, "healthy") || strings.Contains(text, "| – |") {
		t.Errorf("%d rows:\n%s", rows, text)
	}
}
