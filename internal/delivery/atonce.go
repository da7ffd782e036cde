package delivery

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
