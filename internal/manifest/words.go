package manifest

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

var assignment = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)

// split turns a command line into words by the quoting rules of a POSIX shell.
// What only a shell can do is refused, since it would silently not happen.
func split(s string) (words []string, why, next string) {
	var word strings.Builder
	in := false // within a word
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		c := runes[i]
		switch {
		case c == '\'' || c == '"':
			in = true
			end := closing(runes, i, &word)
			if end < 0 {
				return nil, fmt.Sprintf("a %c is opened and never closed", c), "close it, or say the command as a list"
			}
			i = end
		case c == '\\' && i+1 < len(runes):
			i++
			if runes[i] != '\n' {
				in = true
				word.WriteRune(runes[i])
			}
		case unicode.IsSpace(c):
			if in {
				words = append(words, word.String())
				word.Reset()
			}
			in = false
		case strings.ContainsRune("$|&;<>`()*", c) || c == '~' && !in:
			return nil, fmt.Sprintf("%c needs a shell, and none runs here", c), shellCure(s)
		default:
			in = true
			word.WriteRune(c)
		}
	}
	if in {
		words = append(words, word.String())
	}
	if len(words) > 0 && assignment.MatchString(words[0]) {
		return nil, words[0] + " in front of a command needs a shell, and none runs here", "put the variable under config:"
	}
	return words, "", ""
}

// shellCure says how to get a shell, or how to keep the letter as it is.
func shellCure(s string) string {
	if strings.ContainsRune(s, '\'') || len(s) > 80 {
		return "put the word in quotes to keep it as it is, or say it as a list: [sh, -c, \"exec …\"]"
	}
	return fmt.Sprintf("put the word in quotes to keep it as it is, or say: sh -c 'exec %s'", s)
}

// closing copies the text between the quote at from and its end into word, and
// returns the index of the end; -1 if there is none.
func closing(runes []rune, from int, word *strings.Builder) int {
	quote := runes[from]
	for i := from + 1; i < len(runes); i++ {
		c := runes[i]
		if c == quote {
			return i
		}
		if c == '\\' && quote == '"' && i+1 < len(runes) && strings.ContainsRune("\"\\$`\n", runes[i+1]) {
			i++
			c = runes[i]
			if c == '\n' {
				continue
			}
		}
		word.WriteRune(c)
	}
	return -1
}

// quote writes words so that split gives them back.
func quote(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w
		if w == "" || strings.ContainsFunc(w, func(c rune) bool {
			return unicode.IsSpace(c) || strings.ContainsRune("'\"\\$|&;<>`()*~", c)
		}) {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
