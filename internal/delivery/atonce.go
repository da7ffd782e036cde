package delivery

import "maps"

// AtOnce names what p changes for requests as soon as it takes the place of
// was, without a deploy: "traffic of payment", "tls of prod", "data_plane". All
// else of a service waits for its next release.
func (p Project) AtOnce(was Project) []string {
	var out []string
	note := func(a, b any, what string) {
		if !Same(a, b) {
			out = append(out, what)
		}
	}
	for _, s := range p.Services {
		old, there := was.Service(s.Name)
		if !there {
			continue // it gets its first release
		}
		note(s.Public, old.Public, "public of "+s.Name)
		note([]any{s.Traffic, s.Targets, s.Mirror}, []any{old.Traffic, old.Targets, old.Mirror}, "traffic of "+s.Name)
	}
	for _, e := range p.Environments {
		old, there := was.Environment(e.Name)
		if !there {
			continue
		}
		note(e.Listen, old.Listen, "listen of "+e.Name)
		note(e.TLS, old.TLS, "tls of "+e.Name)
	}
	note(p.DataPlane, was.DataPlane, "data_plane")
	note(p.Prometheus, was.Prometheus, "prometheus")
	return out
}

// AtDeploy names what of p only the next release of a service takes over, where it has
// one already: "run of payment", "config of payment in prod".
func (p Project) AtDeploy(was Project) []string {
	var out []string
	for _, s := range p.Services {
		old, there := was.Service(s.Name)
		if !there {
			continue
		}
		if !Same(s.Run, old.Run) {
			out = append(out, "run of "+s.Name)
		}
		if !maps.Equal(s.Config, old.Config) {
			out = append(out, "config of "+s.Name)
		}
		for _, e := range p.Environments {
			if before, there := old.In[e.Name]; there && !maps.Equal(s.In[e.Name].Config, before.Config) {
				out = append(out, "config of "+s.Name+" in "+e.Name)
			}
		}
	}
	return out
}
