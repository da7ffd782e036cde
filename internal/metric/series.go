package metric

import (
	"math"
	"slices"
	"strings"
)

// Named returns s as one series of its instance, with that name and labels, which
// it takes over. Labels that Slipway itself sets are set aside as exported_NAME,
// as Prometheus does, so that no service can speak for another.
func (s Series) Named(name string, labels []Label) Series {
	s.Name = name
	for i, l := range labels {
		switch l.Name {
		case "service", "env", "release", "instance":
			labels[i].Name = "exported_" + l.Name
		}
	}
	slices.SortStableFunc(labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
	s.Labels = slices.CompactFunc(labels, func(a, b Label) bool { return a.Name == b.Name })
	return s
}

// Wrong says why a sample's numbers cannot be, or "". A store takes none of those.
func (s Sample) Wrong() string {
	if s.Kind == Histogram {
		return s.Hist.wrong()
	}
	switch {
	case math.IsNaN(s.Value):
		return "is not a number"
	case math.IsInf(s.Value, 0):
		return "is infinite"
	case s.Kind == Counter && s.Value < 0:
		return "is negative"
	}
	return ""
}

func (b *Buckets) wrong() string {
	if b == nil || len(b.Counts) != len(b.Bounds)+1 {
		return "has not one bucket more than bounds"
	}
	if math.IsNaN(b.Sum) || math.IsInf(b.Sum, 0) {
		return "has a sum that is no number"
	}
	for i, x := range b.Bounds {
		if math.IsNaN(x) || math.IsInf(x, 0) || i > 0 && x <= b.Bounds[i-1] {
			return "has bounds that do not rise"
		}
	}
	return ""
}
