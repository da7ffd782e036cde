package control

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Drift is what differs between two environments.
type Drift struct {
	From     string         `json:"from"`
	To       string         `json:"to"`
	Same     int            `json:"same"`     // services that are equal, or run in neither
	Meant    int            `json:"meant"`    // services of the same release whose configuration differs as slipway.yaml says
	Services []ServiceDrift `json:"services"` // that differ in another way, in the order of the file
}

// ServiceDrift is what of one service differs between two environments.
type ServiceDrift struct {
	Service string          `json:"service"`
	From    *StandsIn       `json:"from"` // null: nothing is stable there
	To      *StandsIn       `json:"to"`
	Kinds   []delivery.Kind `json:"kinds"`
	Config  []ConfigDelta   `json:"config"`
	Run     []Delta         `json:"run"`
}

// StandsIn is the release that is stable in one of two environments.
type StandsIn struct {
	Release delivery.ReleaseID `json:"release"`
	Version string             `json:"version"`
	Change  delivery.ChangeID  `json:"change"`
	Digest  delivery.Digest    `json:"digest"` // of its code
	Since   time.Time          `json:"since"`
}

// ConfigDelta is a value of the configuration that differs.
type ConfigDelta struct {
	Delta
	Meant bool `json:"meant"` // it differs within one release too: slipway.yaml says so for these environments
}

// Discreet returns the delta as it is shown to who may not know secrets.
func (c ConfigDelta) Discreet() any {
	d, _ := c.Delta.Discreet().(Delta)
	return ConfigDelta{d, c.Meant}
}

// Drift compares what is stable in two environments, service by service.
func (l *Loop) Drift(ctx context.Context, from, to string) (Drift, error) {
	o, err := l.overview(ctx)
	if err != nil {
		return Drift{}, err
	}
	for field, env := range map[string]string{"from": from, "to": to} {
		if _, ok := o.Project.Environment(env); !ok {
			no := delivery.Unknown(delivery.CodeUnknownEnvironment, "environment", env, o.Project.EnvironmentNames(), "slipway status")
			no.Field = field
			return Drift{}, no
		}
	}
	if from == to {
		return Drift{}, delivery.InvalidNext("to", "is the environment that it is compared with", "say another one: "+o.Project.EnvironmentNames()[0])
	}
	d := Drift{From: from, To: to, Services: []ServiceDrift{}}
	stables := map[place]delivery.Stable{}
	for _, st := range o.Stables {
		stables[place{service: st.Service, env: st.Env}] = st
	}
	for i := range o.Project.Services {
		name := o.Project.Services[i].Name
		s := o.drift(name, stables[place{service: name, env: from}], stables[place{service: name, env: to}])
		switch {
		case s == nil:
			d.Same++
		case s.asMeant():
			d.Meant++
		default:
			d.Services = append(d.Services, *s)
		}
	}
	return d, nil
}

// drift compares one service; nil says that nothing differs.
func (o *overview) drift(service string, a, b delivery.Stable) *ServiceDrift {
	if a.Release == "" && b.Release == "" {
		return nil
	}
	x, y := o.Releases[a.Release], o.Releases[b.Release]
	s := &ServiceDrift{Service: service, From: standsIn(a, x), To: standsIn(b, y), Kinds: []delivery.Kind{}, Config: []ConfigDelta{}, Run: []Delta{}}
	if s.From == nil || s.To == nil {
		return s
	}
	for _, k := range delivery.Difference(x, y) {
		if k != delivery.Config { // that is told key by key
			s.Kinds = append(s.Kinds, k)
		}
	}
	meant := map[string]bool{} // differs within one of the releases
	for _, rel := range []delivery.Release{x, y} {
		for _, d := range deltas(rel.ConfigFor(a.Env), rel.ConfigFor(b.Env)) {
			meant[d.Key] = true
		}
	}
	for _, d := range deltas(x.ConfigFor(a.Env), y.ConfigFor(b.Env)) {
		s.Config = append(s.Config, ConfigDelta{d, meant[d.Key]})
	}
	s.Run = deltas(runWords(x.Run), runWords(y.Run))
	if a.Release == b.Release && len(s.Config) == 0 {
		return nil
	}
	return s
}

func standsIn(st delivery.Stable, rel delivery.Release) *StandsIn {
	if st.Release == "" {
		return nil
	}
	return &StandsIn{Release: st.Release, Version: st.Version, Change: st.Change, Digest: rel.CodeDigest(), Since: st.Since}
}

// asMeant says whether a service differs only as slipway.yaml says.
func (s *ServiceDrift) asMeant() bool {
	return s.From != nil && s.To != nil && s.From.Release == s.To.Release &&
		!slices.ContainsFunc(s.Config, func(c ConfigDelta) bool { return !c.Meant })
}

// Surroundings is one environment with what is so in it now.
type Surroundings struct {
	Environment delivery.Environment          `json:"environment"`
	Services    int                           `json:"services"` // of the project
	Stable      int                           `json:"stable"`   // services that have something stable there
	Flying      int                           `json:"in_flight"`
	Unwell      int                           `json:"unhealthy"` // services with fewer healthy instances than wanted
	Replicas    [2]int                        `json:"replicas"`  // the fewest and the most of a service
	Strategies  map[delivery.StrategyKind]int `json:"strategies"`
	Judged      int                           `json:"judged"` // services whose new releases are judged there
	Pins        []delivery.Hold               `json:"pins"`
}

// Environments lists the environments in the order of promotion, and the releases
// that are on hold in all of them.
func (l *Loop) Environments(ctx context.Context) (list []Surroundings, quarantined []delivery.Hold, err error) {
	o, err := l.overview(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i, env := range o.Project.Environments {
		s := Surroundings{Environment: env, Services: len(o.Project.Services), Strategies: map[delivery.StrategyKind]int{}, Pins: []delivery.Hold{}}
		for j := range o.Project.Services {
			s.count(&o.Project.Services[j], env.Name)
			switch c := &o.board.Services[j].Cells[i]; {
			case c.Version == "":
			case c.Healthy < c.Want:
				s.Stable++
				s.Unwell++
			default:
				s.Stable++
			}
			if o.board.Services[j].Cells[i].Flight != nil {
				s.Flying++
			}
		}
		for _, h := range o.Holds {
			if h.Kind == delivery.Pinned && h.Env == env.Name {
				s.Pins = append(s.Pins, h)
			}
		}
		list = append(list, s)
	}
	for _, h := range o.Holds {
		if h.Kind == delivery.Quarantine {
			quarantined = append(quarantined, h)
		}
	}
	return list, quarantined, nil
}

// count adds how a service is deployed in an environment.
func (s *Surroundings) count(svc *delivery.Service, env string) {
	d, ok := svc.In[env]
	if !ok {
		return
	}
	if len(s.Strategies) == 0 {
		s.Replicas = [2]int{d.Replicas, d.Replicas}
	}
	s.Replicas = [2]int{min(s.Replicas[0], d.Replicas), max(s.Replicas[1], d.Replicas)}
	s.Strategies[d.Strategy.Kind]++
	if !d.Strategy.Judge.Off && d.Strategy.Kind == delivery.Canary {
		s.Judged++
	}
}
