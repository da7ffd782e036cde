package logs

import (
	"strings"
	"time"
)

// Filter selects lines. Zero fields select everything.
type Filter struct {
	Least Level  // lines of this level and above
	Text  string // part of the line, whatever its case
	Trace string // its trace ID
	Since time.Time
	Until time.Time
}

// Empty says whether the filter selects everything.
func (f Filter) Empty() bool { return f == Filter{} }

// Selects says whether a line that was written at that time is wanted.
func (f Filter) Selects(at time.Time, text string) bool {
	if !f.Since.IsZero() && at.Before(f.Since) || !f.Until.IsZero() && at.After(f.Until) {
		return false
	}
	if f.Text != "" && !strings.Contains(strings.ToLower(text), strings.ToLower(f.Text)) {
		return false
	}
	if f.Least == Unknown && f.Trace == "" {
		return true
	}
	l := Parse(text)
	return l.Level >= f.Least && (f.Trace == "" || l.Trace == f.Trace || strings.Contains(text, f.Trace))
}
