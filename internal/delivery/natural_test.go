package delivery

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNatural(t *testing.T) {
	got := []string{"v10", "v2", "v1", "v2-bad", "v2.1", "a", "2026-2", "2026-10"}
	slices.SortFunc(got, Natural)
	if want := "2026-2 2026-10 a v1 v2 v2-bad v2.1 v10"; strings.Join(got, " ") != want {
		t.Errorf("natural order %v, want %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-c0-2.-]{0,6}`)
		a, b, c := word.Draw(t, "a"), word.Draw(t, "b"), word.Draw(t, "c")
		if Natural(a, b) != -Natural(b, a) {
			t.Fatalf("Natural(%q, %q) is not the opposite of the other way round", a, b)
		}
		if Natural(a, b) <= 0 && Natural(b, c) <= 0 && Natural(a, c) > 0 {
			t.Fatalf("%q ≤ %q ≤ %q, but not the first and the last", a, b, c)
		}
	})
}
