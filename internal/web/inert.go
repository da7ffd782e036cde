package web

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxInert is how long a text of somebody else may be on a page, in bytes.
const maxInert = 2 << 10

// inert makes a text that comes from elsewhere fit to be shown in a sentence: it is
// visible, and not endless. HTML in it is escaped by the template.
func inert(text string) string {
	short := cutText(text, maxInert)
	if cut := len(text) - len(short); cut > 0 {
		return visible(short) + fmt.Sprintf("… (%d bytes more)", cut)
	}
	return visible(short)
}

// visible shows as a sign of its own what in a text would steer a terminal, turn
// the direction of what follows, or hide.
func visible(text string) string {
	if strings.IndexFunc(text, acts) < 0 && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for _, c := range text {
		if acts(c) {
			b.WriteString(named(c))
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

// acts says whether a character does something instead of being seen.
func acts(c rune) bool {
	switch {
	case c == '\t' || c == '\n' || c == '\u200d': // the last joins letters and signs
		return false
	case unicode.IsControl(c):
		return true
	case c == '\u2028' || c == '\u2029' || c == '\ufeff':
		return true
	}
	return unicode.Is(unicode.Cf, c)
}

// named is a sign for a character that has none.
func named(c rune) string { return fmt.Sprintf("⟨U+%04X⟩", c) }

// cutText returns the beginning of a text, at most n bytes, of whole letters.
func cutText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && text[n]&0xc0 == 0x80 {
		n--
	}
	return text[:n]
}
