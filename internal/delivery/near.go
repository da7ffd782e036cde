package delivery

import (
	"fmt"
	"slices"
	"strings"
)

// maxNear is how many names Near returns at most; nobody reads more.
const maxNear = 5

// Near returns the known names that a word was probably meant to be, nearest
// first: those that few letters tell apart from it, then those that hold it.
func Near(word string, known []string) []string {
	type near struct {
		name string
		far  int
	}
	var found []near
	low := strings.ToLower(word)
	most := max(1, min(3, len(word)/2))
	for _, k := range known {
		switch d := distance(low, strings.ToLower(k)); {
		case d <= most:
			found = append(found, near{k, d})
		case len(word) >= 3 && strings.Contains(strings.ToLower(k), low):
			found = append(found, near{k, most + 1})
		}
	}
	slices.SortStableFunc(found, func(a, b near) int { return a.far - b.far })
	var out []string
	for _, n := range found[:min(len(found), maxNear)] {
		out = append(out, n.name)
	}
	return out
}

// maxListed is how many known names a refusal lists; of more it names the near ones.
const maxListed = 12

// listing says what there is instead of a name that is not there.
func listing(name string, known []string) string {
	switch {
	case len(known) == 0:
		return ""
	case len(known) <= maxListed:
		return "; there is " + strings.Join(known, ", ")
	}
	if near := Near(name, known); len(near) > 0 {
		return fmt.Sprintf("; near it: %s, of %d", strings.Join(near, ", "), len(known))
	}
	return fmt.Sprintf("; there are %d, among them %s", len(known), strings.Join(known[:maxNear], ", "))
}

// maxWord is how long a word may be, in letters, to be compared letter by letter.
const maxWord = 64

// distance is the optimal string alignment distance: how many letters must be
// added, dropped, changed or swapped with their neighbour to turn a into b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	if len(x) > maxWord || len(y) > maxWord {
		return maxWord
	}
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
