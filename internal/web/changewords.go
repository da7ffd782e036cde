package web

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

// phrase is a part of a sentence; a strong one is a number that the rest is about.
type phrase struct {
	Text   string
	Strong bool
}

// said is a sentence in parts.
type said []phrase

func (s said) String() string {
	var b strings.Builder
	for _, p := range s {
		b.WriteString(p.Text)
	}
	return b.String()
}

// plain is a sentence without anything that stands out.
func plain(text string) said { return said{{Text: sentence(text)}} }

// sentence makes a sentence of what somebody or something said: it begins with a
// capital, unless with a name that has digits, and ends with a full stop.
func sentence(text string) string {
	text = strings.TrimSpace(inert(text))
	if text == "" {
		return ""
	}
	word, _, _ := strings.Cut(text, " ")
	if first, size := utf8.DecodeRuneInString(text); !strings.ContainsAny(word, "0123456789-_./=") {
		text = string(unicode.ToUpper(first)) + text[size:]
	}
	if !strings.ContainsAny(text[len(text)-1:], ".!?…") {
		text += "."
	}
	return text
}

// clocks tells the times of one change: the day is said where it is another than
// that on which the change was submitted. It never looks at the time of now, so
// that the same change reads the same for ever.
type clocks struct{ day time.Time }

func (c clocks) at(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case sameDay(t, c.day):
		return t.Local().Format("15:04:05 MST")
	}
	return t.Local().Format("15:04:05 MST on 2 Jan 2006")
}

// dated is a time with its day.
func dated(t time.Time) string { return t.Local().Format("2 Jan 2006, 15:04 MST") }

// lasted says how long something took: "1.9 s", "4 min 40 s", "3 h 5 min".
func lasted(d time.Duration) string {
	switch {
	case d < 0:
		return ""
	case d < 100*time.Millisecond:
		return "0.1 s"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return pair(int(d/time.Minute), "min", int(d%time.Minute/time.Second), "s")
	case d < 48*time.Hour:
		return pair(int(d/time.Hour), "h", int(d%time.Hour/time.Minute), "min")
	}
	return pair(int(d/(24*time.Hour)), "d", int(d%(24*time.Hour)/time.Hour), "h")
}

func pair(a int, unit string, b int, small string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unit)
	}
	return fmt.Sprintf("%d %s %d %s", a, unit, b, small)
}

// amountOf writes a value of a check in its unit.
func amountOf(v float64, unit string) string {
	switch unit {
	case "share":
		return percent(v)
	case "s":
		if v < 1 {
			return digits(v*1000) + " ms"
		}
		return digits(v) + " s"
	case "bytes":
		units := []string{"B", "kB", "MB", "GB", "TB"}
		i := 0
		for math.Abs(v) >= 1000 && i < len(units)-1 {
			v /= 1000
			i++
		}
		return digits(v) + " " + units[i]
	case "":
		return digits(v)
	}
	if per, ok := strings.CutPrefix(unit, "1/"); ok {
		return digits(v) + "/" + per
	}
	return digits(v) + " " + unit
}

// digits writes three digits that matter.
func digits(v float64) string {
	a := math.Abs(v)
	switch {
	case a == 0 || math.IsNaN(v):
		return "0"
	case a >= 1e15:
		return strconv.FormatFloat(v, 'e', 1, 64)
	case a >= 100:
		return grouped(int(math.Round(v)))
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 2, 64)
}

// evidence writes how strong evidence is: beyond a million nobody asks by how much.
func evidence(v float64) string {
	if v >= 1e6 {
		return "over " + grouped(1e6)
	}
	return digits(v)
}

// checkName is what a check is about, in words.
func checkName(c delivery.Check) string {
	per := ""
	if unit, ok := strings.CutPrefix(c.Unit, "1/"); ok {
		per = " per " + unit
	}
	switch {
	case c.Name == delivery.MetricErrorLines:
		return "Error lines" + per
	case c.Kind != "":
		return strings.TrimSuffix(sentence(c.Name), ".") + per
	case c.Name == "errors":
		return "Errors"
	case strings.HasPrefix(c.Name, "p"):
		return "Latency, " + c.Name
	}
	return inert(c.Name)
}

// drifted says whether a difference has left the interval that was known of it:
// the interval holds while the difference does not move, and it has moved since.
func drifted(difference, low, high float64) bool {
	return low < high && (difference < low || difference > high)
}
