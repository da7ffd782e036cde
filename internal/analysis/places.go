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

// gaps watch for a release that gets no request any more.
type gaps struct{ canary, stable gap }

// gap is the time without a request to one release.
type gap struct {
	begun bool
	since int64   // second of the last request to it
	other float64 // units to the other one since then
}

// A release that should have had goneUnits since its last one, goneSeconds ago, is gone.
const (
	goneUnits   = 20
	goneSeconds = 60
)

func (g *gaps) observe(b Block) {
	g.canary.observe(b.Second, b.Canary.Units, b.Stable.Units)
	g.stable.observe(b.Second, b.Stable.Units, b.Canary.Units)
}

func (g *gap) observe(second int64, units, other uint64) {
	if units > 0 {
		*g = gap{begun: true, since: second}
		return
	}
	g.other += float64(other)
}

// gone says whether it gets no request though it should: in this step it had so
// many units for so many of the other one.
func (g *gap) gone(now int64, had, other float64) bool {
	return g.begun && other > 0 && now-g.since >= goneSeconds && g.other*had >= goneUnits*other
}

// gone says which release gets no request though it should; "" if both do.
func (g *gaps) gone(now int64, step seen) string {
	none := func(k gap, it, other string) string {
		return fmt.Sprintf("no request to %s for %s, while %s had %s", it, seconds(float64(now-k.since)), other, count(uint64(k.other)))
	}
	switch {
	case g.canary.gone(now, step.nc, step.nb):
		return none(g.canary, "the new release", "stable")
	case g.stable.gone(now, step.nb, step.nc):
		return none(g.stable, "stable", "the new release") + ": there is nothing to compare it with"
	}
	return ""
}
