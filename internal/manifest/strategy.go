package manifest

import (
	"fmt"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// layer is one place of the file that says how to roll out.
type layer struct {
	path   string
	doc    *rolloutDoc
	here   bool // it speaks of this environment only
	shared bool // it speaks of every service
}

// strategies lists the kinds a person may name.
func strategies() []string {
	return []string{string(delivery.Canary), string(delivery.BlueGreen), string(delivery.Rolling), string(delivery.Recreate)}
}

// particularity is a field that belongs to one strategy only.
type particularity struct {
	field string
	kind  delivery.StrategyKind
	said  bool
}

// mine lists the fields that belong to one strategy only, and whether d has them.
func (d *rolloutDoc) mine() []particularity {
	return []particularity{
		{"steps", delivery.Canary, d.Steps != nil},
		{"hold", delivery.Canary, d.Hold != nil},
		{"max", delivery.Canary, d.Max != nil},
		{"twin", delivery.Canary, d.Twin != nil},
		{"test", delivery.BlueGreen, d.Test != nil},
		{"test_timeout", delivery.BlueGreen, d.TestTimeout != nil},
		{"max_surge", delivery.Rolling, d.MaxSurge != nil},
		{"max_unavailable", delivery.Rolling, d.MaxUnavailable != nil},
	}
}

// merged is the layers of one service in one environment, strongest first.
type merged struct {
	*resolver
	field string // of the resolved strategy
	kind  delivery.StrategyKind
	all   []layer // for fields that every strategy has
	own   []layer // for fields of this strategy: from where it was chosen last
}

// strategy merges layers, weakest first, field by field. A layer that changes
// the strategy drops what weaker layers said for another one.
func (s *resolver) strategy(field string, place, all int, layers []layer) delivery.Strategy {
	m := merged{resolver: s, field: field, kind: delivery.Canary}
	shared := delivery.Canary // what the layers that speak of every service come to
	s.origins[field+".strategy"] = "default"
	for _, l := range layers {
		if l.doc == nil {
			continue
		}
		if k := l.doc.Strategy; k != nil && slices.Contains(strategies(), *k) {
			if delivery.StrategyKind(*k) != m.kind {
				m.own = nil
			}
			m.kind = delivery.StrategyKind(*k)
			if l.shared {
				shared = m.kind
			}
			s.from(field+".strategy", l.path+".strategy")
		}
		if l.shared {
			s.fitting(l, shared)
		} else {
			s.fitting(l, m.kind)
		}
		m.all = slices.Insert(m.all, 0, l)
		m.own = slices.Insert(m.own, 0, l)
	}
	last := place == all-1
	def := defaultsFor(m.kind, place, all)
	why := "default"
	if !last {
		why = "default before the last environment"
	}
	out := def.strategy
	out.Deadline = m.span("deadline", def.strategy.Deadline, "default", m.all, func(d *rolloutDoc) *duration { return d.Deadline })
	out.Soak = m.span("soak", def.strategy.Soak, why, m.all, func(d *rolloutDoc) *duration { return d.Soak })
	out.Window = m.span("window", def.strategy.Window, why, m.all, func(d *rolloutDoc) *duration { return d.Window })
	out.OnSilence = delivery.Silence(layered(m, "on_silence", string(def.strategy.OnSilence), "default", m.all, func(d *rolloutDoc) *string { return d.OnSilence }))
	out.Supersede = delivery.Supersede(layered(m, "supersede", string(def.strategy.Supersede), "default", m.all, func(d *rolloutDoc) *string { return d.Supersede }))
	out.Judge = m.judge()
	m.particular(&out, def, "strategy "+string(m.kind)+" "+why, last)
	return out
}

// fitting notes the fields of a layer that go with another strategy than kind.
// A service with a strategy of its own passes over such fields of shared layers.
func (s *resolver) fitting(l layer, kind delivery.StrategyKind) {
	for _, f := range l.doc.mine() {
		if f.said && f.kind != kind && !s.bad[l.path+".strategy"] {
			s.wrong(join(l.path, f.field), fmt.Sprintf("%s belongs to %s, and the strategy here is %s", f.field, f.kind, kind),
				fmt.Sprintf("remove it, or say strategy: %s", f.kind))
		}
	}
}

// layered picks a field from the strongest layer that has it.
func layered[T any](m merged, name string, fallback T, why string, layers []layer, get func(*rolloutDoc) *T) T {
	candidates := make([]said[T], len(layers))
	for i, l := range layers {
		candidates[i] = said[T]{join(l.path, name), get(l.doc)}
	}
	return pick(m.resolver, join(m.field, name), fallback, why, candidates...)
}

func (m merged) span(name string, fallback time.Duration, why string, layers []layer, get func(*rolloutDoc) *duration) time.Duration {
	return time.Duration(layered(m, name, duration(fallback), why, layers, get))
}

// particular fills in what only the strategy at hand has.
func (m merged) particular(out *delivery.Strategy, def defaults, why string, last bool) {
	switch m.kind {
	case delivery.Canary:
		out.Steps = m.steps(def, why, last, out.Judge.Off)
		out.Twin = layered(m, "twin", false, why, m.own, func(d *rolloutDoc) *bool { return d.Twin })
	case delivery.BlueGreen:
		m.origins[m.field+".test"] = why
		for _, l := range m.own {
			if l.doc.Test != nil {
				out.Test = l.doc.Test
				m.from(m.field+".test", l.path+".test")
				break
			}
		}
		out.TestTimeout = m.span("test_timeout", def.strategy.TestTimeout, why, m.own, func(d *rolloutDoc) *duration { return d.TestTimeout })
	case delivery.Rolling:
		out.MaxSurge = layered(m, "max_surge", def.strategy.MaxSurge, why, m.own, func(d *rolloutDoc) *int { return d.MaxSurge })
		out.MaxUnavailable = layered(m, "max_unavailable", def.strategy.MaxUnavailable, why, m.own, func(d *rolloutDoc) *int { return d.MaxUnavailable })
		if out.MaxSurge == 0 && out.MaxUnavailable == 0 {
			for _, l := range m.own {
				if l.doc.MaxSurge != nil {
					m.wrong(l.path+".max_surge", "with neither surge nor unavailable instances nothing can move", "say max_surge: 1 or max_unavailable: 1")
					break
				}
			}
		}
	case delivery.Recreate: // has nothing of its own
	}
}

// steps builds the canary steps. What the project or the service says is meant
// for the environment with real traffic, the last one; in those before, steps
// count when they are said for the environment itself.
func (m merged) steps(def defaults, why string, last, unjudged bool) []delivery.StepSpec {
	layers := slices.DeleteFunc(slices.Clone(m.own), func(l layer) bool { return !last && !l.here })
	i := slices.IndexFunc(layers, func(l layer) bool { return l.doc.Steps != nil })
	if i < 0 {
		return m.defaultSteps(layers, def, why, unjudged)
	}
	var out []delivery.StepSpec
	for n, doc := range layers[i].doc.Steps {
		at, field := fmt.Sprintf("%s.steps[%d]", layers[i].path, n), fmt.Sprintf("%s.steps[%d]", m.field, n)
		step := delivery.StepSpec{Weight: delivery.Weight(pick(m.resolver, field+".weight", 0, why, said[weight]{at + ".weight", doc.Weight}))}
		hold, most := []said[duration]{{at + ".hold", doc.Hold}}, []said[duration]{{at + ".max", doc.Max}}
		for _, l := range layers {
			hold = append(hold, said[duration]{l.path + ".hold", l.doc.Hold})
			most = append(most, said[duration]{l.path + ".max", l.doc.Max})
		}
		step.Hold = m.resolver.span(field+".hold", def.step.Hold, why, hold...)
		step.Proven = pick(m.resolver, field+".proven", def.step.Proven && !unjudged, why, said[bool]{at + ".proven", doc.Proven})
		step.Approve = pick(m.resolver, field+".approve", false, why, said[bool]{at + ".approve", doc.Approve})
		step.Max = m.most(field, why, step, def, most)
		if step.Proven && unjudged {
			m.wrong(at+".proven", "nothing is proven while the judge is off", "remove proven, or judge: {off: true}")
		}
		if step.Max > 0 && step.Max < step.Hold {
			m.wrong(at, fmt.Sprintf("its longest time, %s, is shorter than its least time, %s", step.Max, step.Hold), "raise max or lower hold")
		}
		out = append(out, step)
	}
	return out
}

// most returns the longest time of judging at step: none where nothing is
// judged, and by default never less than twice the least time.
func (m merged) most(field, why string, step delivery.StepSpec, def defaults, candidates []said[duration]) time.Duration {
	if !step.Proven {
		m.origins[field+".max"] = why
		return 0
	}
	return m.resolver.span(field+".max", max(def.step.Max, 2*step.Hold), why, candidates...)
}

// defaultSteps returns the steps that are walked when none are said, with the
// hold and max of the layers.
func (m merged) defaultSteps(layers []layer, def defaults, why string, unjudged bool) []delivery.StepSpec {
	out := slices.Clone(def.strategy.Steps)
	var hold, most []said[duration]
	for _, l := range layers {
		hold = append(hold, said[duration]{l.path + ".hold", l.doc.Hold})
		most = append(most, said[duration]{l.path + ".max", l.doc.Max})
	}
	for n := range out {
		step := &out[n]
		field := fmt.Sprintf("%s.steps[%d]", m.field, n)
		for _, part := range []string{".weight", ".proven", ".approve"} {
			m.origins[field+part] = why
		}
		step.Proven = step.Proven && !unjudged
		step.Hold = m.resolver.span(field+".hold", step.Hold, why, hold...)
		step.Max = m.most(field, why, *step, def, most)
		if step.Max > 0 && step.Max < step.Hold {
			for _, l := range layers {
				if l.doc.Max != nil {
					m.wrong(l.path+".max", fmt.Sprintf("the longest time of a step, %s, is shorter than its least time, %s", step.Max, step.Hold), "raise max or lower hold")
				}
			}
		}
	}
	return out
}
