package analysis

import (
	"fmt"
	"maps"
	"slices"
)

// places are what the canary's instances did, for words.
type places map[string]Place

// maxPlaces bounds the instances that are kept apart.
const maxPlaces = 64

func (p *places) add(now map[string]Place) {
	for name, k := range now {
		if *p == nil {
			*p = places{}
		}
		old, known := (*p)[name]
		if !known && len(*p) >= maxPlaces {
			continue
		}
		(*p)[name] = Place{old.Units + k.Units, old.Bad + k.Bad}
	}
}

// fewestBad is how many failures an instance has at least before it is called bad.
const fewestBad = 3

// words says on how many of the instances the share of failures is above the
// limit: " on 1 of 2 instances (web-1)"; "" when it is all or none of them, or there is one.
func (p places) words(limit float64) string {
	var bad []string
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if k := p[name]; k.Bad >= fewestBad && float64(k.Bad) > limit*float64(k.Units) {
			bad = append(bad, name)
		}
	}
	if len(p) < 2 || len(bad) == 0 || len(bad) == len(p) {
		return ""
	}
	const named = 3
	who := list(bad[:min(named, len(bad))])
	if len(bad) > named {
		who += fmt.Sprintf(" and %d more", len(bad)-named)
	}
	return fmt.Sprintf(", on %d of %d instances (%s)", len(bad), len(p), who)
}

// gap watches for a release that gets no request any more.
type gap struct {
	begun  bool
	since  int64   // second of the last request to the canary
	stable float64 // units to stable since then
}

// A canary that should have had goneUnits since its last one, goneSeconds ago, is gone.
const (
	goneUnits   = 20
	goneSeconds = 60
)

func (g *gap) observe(b Block) {
	if b.Canary.Units > 0 {
		*g = gap{begun: true, since: b.Second}
		return
	}
	g.stable += float64(b.Stable.Units)
}

// gone says that the canary gets no request though it should; "" if it does not.
func (g *gap) gone(now int64, step seen) string {
	if !g.begun || step.nb == 0 || now-g.since < goneSeconds || g.stable*step.nc < goneUnits*step.nb {
		return ""
	}
	return fmt.Sprintf("no request to the new release for %s, while stable had %s", seconds(float64(now-g.since)), count(uint64(g.stable)))
}
