package manifest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// claim is where the data plane looks for a service: a host ("" is any), a path
// prefix and what must hold of the request.
type claim struct{ host, path, when string }

// claims checks that no two services ask for the same requests. A service
// without hosts asks for its paths on every host; one that is not public has
// SERVICE.localhost for itself. Several may share a host and a path when what
// their requests must match differs.
func (d *decoder) claims(doc document) {
	owner := map[claim]string{}
	own := map[string]string{} // SERVICE.localhost -> SERVICE
	for _, name := range doc.Services.names {
		own[name+".localhost"] = name
	}
	take := func(name string, c claim, at string) {
		by, taken := own[c.host]
		if taken = taken && by != name && c.path == "/"; !taken {
			by, taken = owner[c]
		}
		if !taken || by == name {
			owner[c] = name
			return
		}
		next := "give one of the two another host or a longer path"
		if c.host != by+".localhost" {
			next += ", or a traffic.match that the other has not"
		}
		d.wrong(at, fmt.Sprintf("%s is taken by service %s", c.host+c.path, by), next)
	}
	for _, name := range doc.Services.names {
		s := doc.Services.of[name]
		if s.Public == nil {
			continue
		}
		at, when := "services."+name+".public", matching(s)
		for i, prefix := range s.Public.Paths {
			field := fmt.Sprintf("%s.paths[%d]", at, i)
			if len(s.Public.Hosts) == 0 {
				take(name, claim{"", prefixOf(prefix), when}, field)
			}
			for _, host := range s.Public.Hosts {
				take(name, claim{host, prefixOf(prefix), when}, field)
			}
		}
		for i, host := range s.Public.Hosts {
			if len(s.Public.Paths) == 0 {
				take(name, claim{host, "/", when}, fmt.Sprintf("%s.hosts[%d]", at, i))
			}
		}
	}
}

// matching writes what the requests of a service must match in one way,
// whatever the order of its conditions and of their values.
func matching(s *serviceDoc) string {
	if s.Traffic == nil {
		return ""
	}
	all := conditionsOf(s.Traffic.Match)
	words := make([]string, len(all))
	for i, c := range all {
		c.Is = slices.Sorted(slices.Values(c.Is))
		b, err := json.Marshal(c)
		if err != nil {
			panic("manifest: a condition is plain data and always marshals: " + err.Error())
		}
		words[i] = string(b)
	}
	slices.Sort(words)
	return strings.Join(words, "\n")
}
