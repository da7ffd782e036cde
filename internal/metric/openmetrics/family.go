package openmetrics

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/metric"
)

// role is what one series is in its family.
type role int

const (
	whole role = iota // the value itself; of a summary a quantile
	bucket
	count
	sum
	created
)

// suffixes lists the endings that series add to the name of their family.
func suffixes() []string {
	return []string{"", "_total", "_created", "_bucket", "_count", "_sum", "_gcount", "_gsum", "_info"}
}

// roleOf says what the series called name is in a family, if it belongs there.
func roleOf(k Kind, f Format, family, name string) (role, bool) {
	suffix, ok := strings.CutPrefix(name, family)
	if !ok {
		return whole, false
	}
	total := k == Counter && f == OpenMetrics
	switch suffix {
	case "":
		return whole, k != Histogram && k != GaugeHistogram && k != Info && !total
	case "_total":
		return whole, total
	case "_info":
		return whole, k == Info
	case "_bucket":
		return bucket, k == Histogram || k == GaugeHistogram
	case "_count":
		return count, k == Histogram || k == Summary
	case "_sum":
		return sum, k == Histogram || k == Summary
	case "_gcount":
		return count, k == GaugeHistogram
	case "_gsum":
		return sum, k == GaugeHistogram
	case "_created":
		return created, f == OpenMetrics && (k == Counter || k == Histogram || k == Summary)
	}
	return whole, false
}

// building is a family whose lines are still coming.
type building struct {
	Family
	typed bool
	lines int
	at    map[string]int // key of labels -> place in Points
	keys  []byte
}

var errTwiceSeries = errors.New("the same series is there twice")

// add takes in one line of the family.
func (b *building) add(r role, s sample, at time.Time) error {
	b.lines++
	bound, err := b.split(r, &s)
	if err != nil {
		return err
	}
	p := b.point(s.labels)
	if p.At.IsZero() {
		p.At = at
	}
	switch r {
	case whole:
		if b.Kind == Summary {
			p.Quantiles = append(p.Quantiles, Quantile{Q: bound, Value: s.value})
			return nil
		}
		if p.hasValue {
			return errTwiceSeries
		}
		p.Value, p.hasValue = s.value, true
		if b.Kind == Counter {
			p.doubt(badTotal(s.value))
		}
	case bucket:
		n, why := whole64(s.value)
		p.doubt(why)
		p.Buckets = append(p.Buckets, Bucket{Upper: bound, Count: n})
	case count:
		n, why := whole64(s.value)
		p.doubt(why)
		if p.HasCount {
			return errTwiceSeries
		}
		p.Count, p.HasCount = n, true
	case sum:
		if p.HasSum {
			return errTwiceSeries
		}
		p.Sum, p.HasSum = s.value, true
		if math.IsInf(s.value, 0) || math.IsNaN(s.value) {
			p.doubt("its sum is no number")
		}
	case created:
		p.Created, _ = seconds(s.value) // one that is none says nothing
	}
	return nil
}

// split takes le or quantile out of the labels.
func (b *building) split(r role, s *sample) (float64, error) {
	label := "le"
	switch {
	case r == whole && b.Kind == Summary:
		label = "quantile"
	case r != bucket:
		return 0, nil
	}
	i := slices.IndexFunc(s.labels, func(l metric.Label) bool { return l.Name == label })
	if i < 0 {
		return 0, fmt.Errorf("a line of the %s %s has no label %s", b.Kind, b.Name, label)
	}
	v, err := number(s.labels[i].Value)
	if err != nil || math.IsNaN(v) {
		return 0, fmt.Errorf("the label %s is no number", label)
	}
	s.labels = slices.Delete(s.labels, i, i+1)
	return v, nil
}

// point finds the point of a set of labels, or makes it.
func (b *building) point(labels []metric.Label) *Point {
	b.keys = b.keys[:0]
	for _, l := range labels {
		b.keys = append(append(append(append(b.keys, l.Name...), 0xff), l.Value...), 0xff) // no byte of UTF-8
	}
	i, there := b.at[string(b.keys)]
	if !there {
		i = len(b.Points)
		b.at[string(b.keys)] = i
		b.Points = append(b.Points, Point{Labels: labels})
	}
	return &b.Points[i]
}

// doubt keeps the first reason against a point.
func (p *Point) doubt(why string) {
	if p.Wrong == "" {
		p.Wrong = why
	}
}

func badTotal(v float64) string {
	switch {
	case math.IsNaN(v):
		return "is not a number"
	case math.IsInf(v, 0):
		return "is infinite"
	case v < 0:
		return "is negative"
	}
	return ""
}

// whole64 is a count: a whole number that a float64 holds exactly.
func whole64(v float64) (uint64, string) {
	if why := badTotal(v); why != "" {
		return 0, why
	}
	if v != math.Trunc(v) || v > 1<<53 {
		return 0, "is no count"
	}
	return uint64(v), ""
}

// finish completes the family.
func (b *building) finish() Family {
	if b.Kind == Histogram || b.Kind == GaugeHistogram {
		for i := range b.Points {
			b.Points[i].finish()
		}
	}
	return b.Family
}

// finish checks that buckets are what a histogram has.
func (p *Point) finish() {
	slices.SortStableFunc(p.Buckets, func(a, b Bucket) int {
		switch {
		case a.Upper < b.Upper:
			return -1
		case a.Upper > b.Upper:
			return 1
		}
		return 0
	})
	n := len(p.Buckets)
	if n == 0 || !math.IsInf(p.Buckets[n-1].Upper, 1) {
		p.doubt(`has no bucket le="+Inf"`)
		return
	}
	for i := 1; i < n; i++ {
		switch a, b := p.Buckets[i-1], p.Buckets[i]; {
		case a.Upper == b.Upper:
			p.doubt(fmt.Sprintf("has two buckets le=%g", a.Upper))
		case a.Count > b.Count:
			p.doubt(fmt.Sprintf("has %d up to %g and only %d up to %g", a.Count, a.Upper, b.Count, b.Upper))
		}
	}
	if last := p.Buckets[n-1].Count; p.HasCount && p.Count != last {
		p.doubt(fmt.Sprintf("has %d in its buckets and a count of %d", last, p.Count))
	} else if !p.HasCount {
		p.Count, p.HasCount = last, true
	}
}
