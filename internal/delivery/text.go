package delivery

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// maxSaid is how long a name, a reason or another word of a person may be, in bytes.
const maxSaid = 2000

// Plain refuses a text of a person that would spoil the place it is shown in
// later: one too long to be read, or with characters that steer a terminal.
func Plain(field, text string) error {
	if len(text) > maxSaid {
		return Invalid(field, fmt.Sprintf("is %d bytes long; at most %d are kept", len(text), maxSaid))
	}
	if strings.ContainsFunc(text, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }) {
		return Invalid(field, "holds a control character")
	}
	return nil
}

// Mask is shown in place of what looks like a secret.
const Mask = "(hidden)"

// Masked refuses a value that was shown in place of a secret: who sends it back would
// lose the secret.
func Masked(field, value string) error {
	if !strings.Contains(value, Mask) {
		return nil
	}
	return InvalidNext(field, "holds "+Mask+", which is shown in place of a secret and is no value", "say the value itself, or leave "+field+" out")
}

// Shell quotes a word for a command line that people copy.
func Shell(word string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._/:=+-@%,", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Plural says how many of a thing there are: "1 instance", "1,930 requests".
func Plural[N ~int | ~int64 | ~uint64](n N, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return Grouped(n) + " " + thing
}

// Lasting writes a length of time without the zeros at its end: 10m, not 10m0s.
func Lasting(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Grouped writes a whole number with a comma between thousands.
func Grouped[N ~int | ~int64 | ~uint64](n N) string {
	if n < 0 {
		return "-" + Grouped(uint64(-n))
	}
	text := strconv.FormatUint(uint64(n), 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
