package cli

import (
	"slices"
	"strings"
)

// nextMark begins the lines that name commands to go on with.
const nextMark = "  next  "

// again makes the commands of "next" lines speak of the same Slipway as the one
// that prints them: the folder and socket that were named by hand are named there too.
func (s *session) again(text string) string {
	if s.state == "" && s.socket == "" || !strings.Contains(text, nextMark) {
		return text
	}
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if !strings.HasPrefix(line, nextMark) {
			continue
		}
		if s.state != "" {
			line = strings.ReplaceAll(line, "slipway ", "slipway --state "+shellWord(s.state)+" ")
		}
		if s.socket != "" {
			line = strings.ReplaceAll(line, " proxy ", " proxy --socket "+shellWord(s.socket)+" ")
		}
		lines[i] = line
	}
	return strings.Join(lines, "")
}

// shellWord quotes a word for a POSIX shell where it must be.
func shellWord(word string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("/._-+=:,@%~", c)
	}
	if word != "" && !slices.ContainsFunc([]rune(word), func(c rune) bool { return !plain(c) }) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
