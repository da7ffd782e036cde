// Package openmetrics reads the pages that services show their metrics on: the
// text format of Prometheus 0.0.4 and OpenMetrics 1.0. It asks nobody and keeps
// nothing; real pages of client libraries, expfmt and its fuzz target judge it.
//
// Sources: https://prometheus.io/docs/instrumenting/exposition_formats/ and
// https://prometheus.io/docs/specs/om/open_metrics_spec/.
package openmetrics

import (
	"fmt"
	"mime"
	"time"

	"github.com/slipway-cd/slipway/internal/metric"
)

// Accept is what to ask for, in the header of that name.
const Accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

// Format is how a page is written.
type Format int

// The formats.
const (
	Text        Format = iota // Prometheus text 0.0.4
	OpenMetrics               // OpenMetrics 1.0
)

// FormatOf returns the format that a Content-Type names. Without any a page is
// Text, as Prometheus has it.
func FormatOf(contentType string) (Format, error) {
	if contentType == "" {
		return Text, nil
	}
	kind, _, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
	case kind == "application/openmetrics-text":
		return OpenMetrics, nil
	case kind == "text/plain":
		return Text, nil
	}
	return Text, fmt.Errorf("openmetrics: %.60q is no page of metrics", contentType)
}

// Kind is the type of a family.
type Kind string

// The kinds of families.
const (
	Unknown        Kind = "unknown" // Prometheus calls it untyped
	Counter        Kind = "counter"
	Gauge          Kind = "gauge"
	Histogram      Kind = "histogram"
	GaugeHistogram Kind = "gaugehistogram"
	Summary        Kind = "summary"
	Info           Kind = "info"
	StateSet       Kind = "stateset"
)

// Family is metrics of one name. A Text page may show parts of one family in
// several places, which are several families then.
type Family struct {
	Name   string // as its TYPE line has it
	Kind   Kind
	Unit   string
	Line   int // where it begins
	Points []Point
	format Format
}

// Series is the name of the family's series as PromQL has it: of a counter of
// OpenMetrics it ends in _total.
func (f Family) Series() string {
	switch {
	case f.format == OpenMetrics && f.Kind == Counter:
		return f.Name + "_total"
	case f.format == OpenMetrics && f.Kind == Info:
		return f.Name + "_info"
	}
	return f.Name
}

// Point is one set of labels of a family.
type Point struct {
	Labels    []metric.Label // by name; without le and quantile
	At        time.Time      // that the page says; zero as a rule
	Created   time.Time      // since when it counts; zero is not said
	Value     float64        // of what has no count
	Count     uint64         // of a histogram or summary, if HasCount
	Sum       float64        // of a histogram or summary, if HasSum
	HasCount  bool
	HasSum    bool
	Buckets   []Bucket   // of a histogram, by bound; the last is +Inf
	Quantiles []Quantile // of a summary, as shown
	Wrong     string     // why its numbers cannot be: "is negative"; they are not to be used then
	hasValue  bool
}

// Bucket is how many were at most Upper.
type Bucket struct {
	Upper float64
	Count uint64
}

// Quantile is one quantile of a summary.
type Quantile struct{ Q, Value float64 }

// Limits bound what one page may make a reader keep. Zero fields take the defaults.
type Limits struct {
	Bytes  int64 // of a page; 4 MiB
	Line   int   // bytes of one line; 64 KiB
	Points int   // 10,000 lines with a number that begin or add to a point
	Labels int   // of one line; 64
}

func (l Limits) orDefaults() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 4 << 20
	}
	if l.Line <= 0 {
		l.Line = 64 << 10
	}
	if l.Points <= 0 {
		l.Points = 10_000
	}
	if l.Labels <= 0 {
		l.Labels = 64
	}
	return l
}

// SyntaxError is why a page cannot be read.
type SyntaxError struct {
	Line int
	Why  string
}

// Error says it as people read it.
func (e *SyntaxError) Error() string { return fmt.Sprintf("openmetrics: line %d: %s", e.Line, e.Why) }
