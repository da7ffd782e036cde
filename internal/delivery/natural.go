package delivery

import (
	"cmp"
	"strconv"
	"strings"
)

// Natural compares names the way people order them: v2 before v10.
func Natural(a, b string) int {
	for a != "" && b != "" {
		x, restA := Chunk(a)
		y, restB := Chunk(b)
		if x != y {
			m, errX := strconv.ParseUint(x, 10, 64)
			n, errY := strconv.ParseUint(y, 10, 64)
			if errX == nil && errY == nil && m != n {
				return cmp.Compare(m, n)
			}
			return strings.Compare(x, y)
		}
		a, b = restA, restB
	}
	return cmp.Compare(len(a), len(b))
}

// Chunk splits off the digits, or the letters, that text begins with.
func Chunk(text string) (first, rest string) {
	digit := func(b byte) bool { return b >= '0' && b <= '9' }
	i := 1
	for i < len(text) && digit(text[i]) == digit(text[0]) {
		i++
	}
	return text[:i], text[i:]
}
