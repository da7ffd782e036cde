// Package metrics writes numbers in the text format that Prometheus reads. It
// collects none: whoever has them hands them over when they are asked for. Its
// tests read every exposition back with a strict parser.
//
// Source: https://prometheus.io/docs/instrumenting/exposition_formats/.
package metrics

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// ContentType is the media type of a Text.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// Kind is the type of a family.
type Kind string

// The kinds of families.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Family is what is said once for all series of a name.
type Family struct {
	Name string // by Prometheus' rules: a base unit in the plural at the end, "_total" after it for counters
	Kind Kind
	Help string
}

// Label is one dimension of a series. A label without a value is none.
type Label struct{ Name, Value string }

// edges are the upper edges of the buckets of Times in nanoseconds, each 2 to
// 3 times the one before; what is longer is in one more bucket.
var edges = [...]int64{5e5, 1e6, 25e5, 5e6, 1e7, 25e6, 5e7, 1e8, 25e7, 5e8, 1e9, 25e8, 5e9, 1e10, 3e10, 6e10}

// Times is a histogram of durations: how many fell into each bucket, and their
// sum. The zero value is empty.
type Times struct {
	Counts [len(edges) + 1]uint64 // each with its own only
	Nanos  uint64                 // sum
}

// Add counts one duration, in nanoseconds.
func (t *Times) Add(nanos int64) {
	nanos = max(nanos, 0)
	i := 0
	for i < len(edges) && nanos > edges[i] {
		i++
	}
	t.Counts[i]++
	t.Nanos += uint64(nanos)
}

// Merge adds what other has counted.
func (t *Times) Merge(other *Times) {
	for i, n := range other.Counts {
		t.Counts[i] += n
	}
	t.Nanos += other.Nanos
}

// Text is an exposition. All series of a family are written before the next
// family begins, each with another set of labels.
type Text struct {
	b    []byte
	name string
}

// Bytes returns what was written.
func (t *Text) Bytes() []byte { return t.b }

// Begin starts a family.
func (t *Text) Begin(f Family) {
	t.name = f.Name
	t.b = append(t.b, "# HELP "...)
	t.b = append(t.b, f.Name...)
	t.b = append(t.b, ' ')
	t.b = escape(t.b, f.Help, `\`+"\n")
	t.b = append(t.b, "\n# TYPE "...)
	t.b = append(t.b, f.Name...)
	t.b = append(t.b, ' ')
	t.b = append(t.b, f.Kind...)
	t.b = append(t.b, '\n')
}

// Count writes a series of a counter or gauge with a whole number.
func (t *Text) Count(labels []Label, n uint64) {
	t.series("", labels)
	t.b = strconv.AppendUint(t.b, n, 10)
	t.b = append(t.b, '\n')
}

// Value writes a series of a counter or gauge.
func (t *Text) Value(labels []Label, v float64) {
	t.series("", labels)
	t.b = appendFloat(t.b, v)
	t.b = append(t.b, '\n')
}

// Times writes the series of a histogram.
func (t *Text) Times(labels []Label, h *Times) {
	labels = append(slices.Clip(labels), Label{"le", ""})
	le := &labels[len(labels)-1].Value
	var sum uint64
	for i, n := range h.Counts {
		sum += n
		*le = "+Inf"
		if i < len(edges) {
			*le = string(appendFloat(nil, float64(edges[i])/1e9))
		}
		t.series("_bucket", labels)
		t.b = strconv.AppendUint(t.b, sum, 10)
		t.b = append(t.b, '\n')
	}
	labels = labels[:len(labels)-1]
	t.series("_sum", labels)
	t.b = appendFloat(t.b, float64(h.Nanos)/1e9)
	t.b = append(t.b, '\n')
	t.series("_count", labels)
	t.b = strconv.AppendUint(t.b, sum, 10)
	t.b = append(t.b, '\n')
}

func (t *Text) series(suffix string, labels []Label) {
	t.b = append(t.b, t.name...)
	t.b = append(t.b, suffix...)
	mark := byte('{')
	for _, l := range labels {
		if l.Value == "" {
			continue
		}
		t.b = append(t.b, mark)
		t.b = append(t.b, l.Name...)
		t.b = append(t.b, '=', '"')
		t.b = escape(t.b, l.Value, `\"`+"\n")
		t.b = append(t.b, '"')
		mark = ','
	}
	if mark == ',' {
		t.b = append(t.b, '}')
	}
	t.b = append(t.b, ' ')
}

// escape writes s with a backslash before each of those characters; a line
// break becomes \n.
func escape(dst []byte, s, those string) []byte {
	s = strings.ToValidUTF8(s, "\ufffd")
	for i := range len(s) {
		switch c := s[i]; {
		case strings.IndexByte(those, c) < 0:
			dst = append(dst, c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, '\\', c)
		}
	}
	return dst
}

func appendFloat(dst []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(dst, "+Inf"...)
	case math.IsInf(v, -1):
		return append(dst, "-Inf"...)
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64)
}
