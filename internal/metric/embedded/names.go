package embedded

import (
	"cmp"
	"slices"

	"github.com/slipway-cd/slipway/internal/delivery"
	"github.com/slipway-cd/slipway/internal/metric"
)

// Name is a number that services, workloads or logs tell, whatever its labels.
type Name struct {
	From   delivery.MetricSource `json:"source"`
	Name   string                `json:"name"`
	Kind   metric.SeriesKind     `json:"kind"` // "" of one that is not kept
	Series int                   `json:"series"`
	Why    string                `json:"why,omitempty"` // it is not kept
}

// maxNames bounds the list of names.
const maxNames = 500

// Names lists what is known of a service in an environment, by source and name,
// and how many more there are than it lists. An empty argument means any.
func (s *Store) Names(env, service string) (names []Name, more int) {
	c := &s.samples
	c.mu.Lock()
	defer c.mu.Unlock()
	by := map[familyKey]*Name{}
	for at, g := range c.groups {
		if env != "" && at.env != env || service != "" && at.service != service {
			continue
		}
		for k, f := range g.families {
			n := by[k]
			if n == nil {
				n = &Name{From: k.from, Name: k.name}
				by[k] = n
			}
			n.add(f)
		}
	}
	names = make([]Name, 0, len(by))
	for _, n := range by {
		names = append(names, *n)
	}
	slices.SortFunc(names, func(a, b Name) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.Name, b.Name)) })
	if more = len(names) - maxNames; more > 0 {
		return names[:maxNames], more
	}
	return names, 0
}

// add counts the series of one release.
func (n *Name) add(f *family) {
	if f.crowded {
		n.Why = whyCrowded
		return
	}
	for _, r := range f.rollups { // one for each set of labels, whichever instance has it
		n.Kind = max(n.Kind, r.kind) // of two kinds, for versions differ, always the same
		n.Series++
	}
}
