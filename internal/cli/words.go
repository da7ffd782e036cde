package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// plural says how many of a thing there are: "1 instance", "1,930 requests".
func plural[N ~int | ~int64 | ~uint64](n N, thing string) string { return delivery.Plural(n, thing) }

// grouped writes a number with a comma between thousands.
func grouped(n int64) string { return delivery.Grouped(n) }

// span says a length of time as people do: "41 ms", "1.9 s", "1 m 52 s", "2 h 5 m".
func span(d time.Duration) string {
	switch {
	case d == math.MinInt64:
		return "-" + span(math.MaxInt64) // the one whose opposite is itself
	case d < 0:
		return "-" + span(-d)
	case d < 999500*time.Microsecond:
		return strconv.FormatInt(d.Round(time.Millisecond).Milliseconds(), 10) + " ms"
	case d < 9950*time.Millisecond:
		return strings.TrimSuffix(strconv.FormatFloat(d.Seconds(), 'f', 1, 64), ".0") + " s"
	}
	d = d.Round(time.Second)
	switch {
	case d < time.Minute:
		return whole(d.Seconds(), "s")
	case d < time.Hour:
		return two(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "m")
	}
	return two(d, 24*time.Hour, "d", time.Hour, "h")
}

func whole(n float64, unit string) string { return strconv.FormatFloat(n, 'f', 0, 64) + " " + unit }

// two says d in two units, and leaves out a second that is zero.
func two(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	text := whole(float64(d/big), bigName)
	if rest := d % big / small; rest > 0 {
		text += " " + whole(float64(rest), smallName)
	}
	return text
}

// percent says a share from 0 to 1 with two digits that matter: "0.4 %", "6.1 %", "12 %".
func percent(share float64) string {
	v := share * 100
	digits := 0
	switch a := math.Abs(v); {
	case a == 0:
	case a < 0.095:
		digits = 2
	case a < 9.95:
		digits = 1
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		text = strings.TrimSuffix(text, ".0")
	}
	return text + " %"
}

// clock says a time of today by its hour, an older one by its day as well.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format(time.TimeOnly)
	}
	if t.Year() == now.Year() {
		return t.Format("Jan 2 15:04")
	}
	return t.Format(time.DateOnly)
}

// shell quotes a word for a command line that people copy.
func shell(word string) string { return delivery.Shell(word) }

// printable drops what would move the cursor or recolour the terminal: text that
// comes from elsewhere says nothing to the terminal itself.
func printable(text string) string {
	if strings.IndexFunc(text, spoils) < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if n := escape(text[i:]); n > 0 {
			i += n
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if !spoils(r) {
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

func spoils(r rune) bool { return unicode.IsControl(r) && r != '\t' || r == unicode.ReplacementChar }

// escape returns the length of the ANSI sequence that text begins with, or 0.
func escape(text string) int {
	if !strings.HasPrefix(text, "\x1b[") {
		return 0
	}
	for i := 2; i < len(text); i++ {
		if text[i] >= 0x40 && text[i] <= 0x7e {
			return i + 1
		}
	}
	return len(text)
}

// youOr says who did something, to person.
func youOr(by, person string) string {
	if by == person {
		return "you"
	}
	return by
}

// countOf says a part of a whole: "38 of 41".
func countOf(part, all int) string {
	return fmt.Sprintf("%s of %s", grouped(int64(part)), grouped(int64(all)))
}
