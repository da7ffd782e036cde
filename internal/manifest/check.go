package manifest

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Bounds on one project.
const (
	maxServices     = 500
	maxEnvironments = 20
	maxReplicas     = 100
	maxWindow       = 30 * 24 * time.Hour
)

const namePattern = `^[a-z][a-z0-9-]{0,30}$`

var (
	validName     = regexp.MustCompile(namePattern)
	validVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	validHost     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
)

// check notes everything that is wrong with the values of doc. It returns
// false if there is nothing that defaults could be filled into.
func (d *decoder) check(doc document) bool {
	if !d.bad["project"] {
		d.name("project", doc.Project, "the project has no name", "say project: NAME")
	}
	if len(doc.Services.names) == 0 && !d.bad["services"] {
		d.wrong("services", "there is no service", "name one, with its run command; slipway init writes an example")
	}
	if n := len(doc.Services.names); n > maxServices {
		d.wrong("services", fmt.Sprintf("there are %d services; %d are allowed", n, maxServices), "split the project")
		return false
	}
	if n := len(doc.Environments); n > maxEnvironments {
		d.wrong("environments", fmt.Sprintf("there are %d environments; %d are allowed", n, maxEnvironments), "remove some")
		return false
	}
	d.environments(doc)
	d.plane("data_plane", doc.DataPlane)
	d.prometheus("prometheus", doc.Prometheus)
	d.rollout("rollout", doc.Rollout)
	for _, name := range doc.Services.names {
		if !d.full() {
			d.service(doc, name, doc.Services.of[name])
		}
	}
	d.claims(doc)
	return true
}

// name checks a name that a person chose.
func (d *decoder) name(path, name, missing, cure string) {
	if name == "" {
		d.wrong(path, missing, cure)
		return
	}
	if !validName.MatchString(name) {
		d.wrong(path, fmt.Sprintf("%q is not a name: lower-case letters, digits and dashes, a letter first, at most 31", clip(name)), "say "+nameFrom(name))
	}
}

// nameFrom turns any text into a valid name.
func nameFrom(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		switch {
		case c >= 'a' && c <= 'z', b.Len() > 0 && c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := b.String()
	if name = strings.TrimRight(name[:min(len(name), 31)], "-"); name == "" {
		return "app"
	}
	return name
}

func (d *decoder) environments(doc document) {
	if doc.Environments != nil && len(doc.Environments) == 0 && !d.bad["environments"] {
		d.wrong("environments", "the list is empty", "remove it, or say environments: [prod]")
	}
	first := map[string]int{}
	for i, e := range doc.Environments {
		at := fmt.Sprintf("environments[%d]", i)
		if d.bad[at] {
			continue
		}
		if !d.bad[at+".name"] {
			d.name(at+".name", e.Name, "the environment has no name", "say name: prod")
		}
		if j, twice := first[e.Name]; twice && e.Name != "" {
			d.wrong(at+".name", fmt.Sprintf("there are two environments %s", e.Name), fmt.Sprintf("rename this one or environments[%d]", j))
		} else {
			first[e.Name] = i
		}
		d.oneOf(at+".promote", e.Promote, string(delivery.Auto), string(delivery.Manual))
		d.between(at+".replicas", e.Replicas, 0, maxReplicas)
		d.rollout(at+".rollout", e.Rollout)
	}
	d.listeners(doc)
}

// listeners checks that every environment can listen at its address.
func (d *decoder) listeners(doc document) {
	envs := doc.environments()
	type listener struct{ host, env string }
	taken := map[string][]listener{} // port -> listeners
	for _, explicit := range []bool{false, true} {
		for i, e := range envs {
			if (e.Listen != nil) != explicit {
				continue
			}
			at, addr := fmt.Sprintf("environments[%d].listen", i), defaultsFor(delivery.Canary, i, len(envs)).listen
			if explicit {
				addr = *e.Listen
			}
			host, port, why := address(addr)
			if why != "" {
				d.wrong(at, why, "say host:port, such as 127.0.0.1:7580")
				continue
			}
			for _, other := range taken[port] {
				if other.host == host || host == "" || other.host == "" {
					d.wrong(at, fmt.Sprintf("%s is taken by environment %s", addr, other.env), "give one of the two another port")
				}
			}
			taken[port] = append(taken[port], listener{host, e.Name})
		}
	}
}

// address splits host:port. Hosts that mean the same are written the same; one
// that means every address is "".
func address(s string) (host, port, why string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", fmt.Sprintf("%q is not host:port", clip(s))
	}
	host, port = s[:i], s[i+1:]
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", "", fmt.Sprintf("%q is not a port from 1 to 65535", clip(port))
	}
	switch host {
	case "":
		return "", "", "the host is missing"
	case "localhost":
		host = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil || addr.Is6() != strings.HasPrefix(host, "[") {
		return "", "", fmt.Sprintf("%q is not an IP address", clip(host))
	}
	if addr.IsUnspecified() {
		return "", strconv.FormatUint(n, 10), ""
	}
	return addr.String(), strconv.FormatUint(n, 10), ""
}

func (d *decoder) service(doc document, name string, s *serviceDoc) {
	at := "services." + name
	if !validName.MatchString(name) {
		d.add(d.keys[at], at, fmt.Sprintf("%q is not a name: lower-case letters, digits and dashes, a letter first, at most 31", clip(name)), "say "+nameFrom(name))
	}
	if d.bad[at] {
		return
	}
	if len(s.Run) == 0 && !d.broken(at+".run") {
		d.wrong(at+".run", "the command that starts an instance is missing", "say run: COMMAND")
	}
	if s.Dir != nil && s.Versions != nil {
		d.wrong(at+".versions", "dir and versions are both said", "keep dir to deploy a folder as it is, or versions to choose from many")
	}
	d.filled(at+".dir", s.Dir, "say the folder that holds the service")
	d.filled(at+".versions", s.Versions, "say the folder that holds the versions")
	d.between(at+".replicas", s.Replicas, 0, maxReplicas)
	d.oneOf(at+".protocol", s.Protocol, "http", "h2c", "grpc")
	d.health(at+".health", s.Health)
	d.metrics(at+".metrics", s.Metrics)
	d.needs(doc, name, s)
	d.limits(at+".limits", s.Limits)
	d.public(at+".public", s.Public)
	d.carriage(at+".traffic", s.Traffic)
	d.rollout(at+".rollout", s.Rollout)
	d.config(at+".config", s, s.Config)
	known := true
	var envs []string
	for _, e := range doc.environments() {
		known = known && e.Name != ""
		envs = append(envs, e.Name)
	}
	for _, env := range s.In.names {
		in, here := s.In.of[env], at+".in."+env
		if !slices.Contains(envs, env) && known && !d.bad["environments"] {
			d.add(d.keys[here], here, fmt.Sprintf("there is no environment %s", clip(env)), didYouMean(env, envs))
		}
		d.between(here+".replicas", in.Replicas, 0, maxReplicas)
		d.config(here+".config", s, in.Config)
		d.rollout(here+".rollout", in.Rollout)
	}
}

func (d *decoder) filled(path string, s *string, cure string) {
	if s != nil && strings.TrimSpace(*s) == "" {
		d.wrong(path, "is empty", cure)
	}
	if s != nil && strings.ContainsRune(*s, 0) {
		d.wrong(path, "a path cannot hold a zero byte", "remove it")
	}
}

// between checks that a number is in range.
func (d *decoder) between(path string, n *int, low, high int) {
	if n != nil && (*n < low || *n > high) {
		d.wrong(path, fmt.Sprintf("must be from %d to %d, is %d", low, high, *n), fmt.Sprintf("say %d", min(max(*n, low), high)))
	}
}

// oneOf checks that a word is one that is known.
func (d *decoder) oneOf(path string, word *string, known ...string) {
	if word != nil && !slices.Contains(known, *word) {
		d.bad[path] = true
		d.wrong(path, fmt.Sprintf("%q is none of %s", clip(*word), strings.Join(known, ", ")), didYouMean(*word, known))
	}
}

func (d *decoder) health(at string, h *healthDoc) {
	if h == nil {
		return
	}
	var said []string
	if h.HTTP != nil {
		said = append(said, "http")
		if !strings.HasPrefix(*h.HTTP, "/") || strings.ContainsFunc(*h.HTTP, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
			d.wrong(at+".http", fmt.Sprintf("%q is not a path", clip(*h.HTTP)), "say a path that starts with /, such as /healthz")
		}
	}
	if h.GRPC != nil {
		said = append(said, "grpc")
		if len(*h.GRPC) > 1000 || strings.ContainsFunc(*h.GRPC, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
			d.wrong(at+".grpc", fmt.Sprintf("%q is not the name of a service", clip(*h.GRPC)), "say shop.v1.Cart, or '' for the whole server")
		}
	}
	if h.TCP != nil {
		said = append(said, "tcp")
		if !*h.TCP {
			d.wrong(at+".tcp", "tcp: false says nothing about how to check", "say health: none to check only that the process runs")
		}
	}
	if h.Command != nil {
		said = append(said, "command")
	}
	if len(said) > 1 {
		d.wrong(join(at, said[1]), strings.Join(said, " and ")+" are both said", "keep one of them")
	}
	d.between(at+".rise", h.Rise, 1, 100)
	d.between(at+".fall", h.Fall, 1, 100)
	d.above(at+".interval", h.Interval, "say 1s")
	d.above(at+".timeout", h.Timeout, "say 1s")
}

func (d *decoder) metrics(at string, m *metricsDoc) {
	if m == nil {
		return
	}
	if m.Path != nil && (!strings.HasPrefix(*m.Path, "/") || strings.ContainsFunc(*m.Path, func(c rune) bool { return c <= ' ' || c == 0x7f })) {
		d.wrong(at+".path", fmt.Sprintf("%q is not a path", clip(*m.Path)), "say a path that starts with /, such as /metrics")
	}
	d.between(at+".port", m.Port, 1, 65535)
}

func (d *decoder) above(path string, v *duration, cure string) {
	if v != nil && *v == 0 {
		d.wrong(path, "must be above zero", cure)
	}
}

func (d *decoder) needs(doc document, name string, s *serviceDoc) {
	seen := map[string]bool{}
	for i, n := range s.Needs {
		at := fmt.Sprintf("services.%s.needs[%d]", name, i)
		switch {
		case n.Service == "" || d.full():
		case n.Service == name:
			d.wrong(at, "a service does not need itself", "remove it")
		case doc.Services.of[n.Service] == nil:
			d.wrong(at, fmt.Sprintf("there is no service %s", clip(n.Service)), didYouMean(n.Service, doc.Services.names))
		case seen[n.Service]:
			d.wrong(at, n.Service+" is needed twice", "keep one of the two")
		}
		seen[n.Service] = true
	}
}

func (d *decoder) limits(at string, l *limitsDoc) {
	if l == nil {
		return
	}
	if l.CPUs != nil && (*l.CPUs <= 0 || *l.CPUs > 1024) {
		d.wrong(at+".cpus", fmt.Sprintf("must be above 0 and at most 1024, is %v", *l.CPUs), "say 0.5 for half a core, or remove it for no limit")
	}
	d.between(at+".open_files", l.OpenFiles, 16, 1<<20)
	d.between(at+".processes", l.Processes, 1, 1<<20)
}

// variableFor names the variable that holds the address of a needed service.
func variableFor(service string) string {
	return strings.ToUpper(strings.ReplaceAll(service, "-", "_")) + "_URL"
}

func (d *decoder) config(at string, s *serviceDoc, config named[setting]) {
	for _, key := range config.names {
		path, why := join(at, key), ""
		switch {
		case !validVariable.MatchString(key):
			d.add(d.keys[path], path, fmt.Sprintf("%q cannot be the name of an environment variable", clip(key)), "use letters, digits and _")
			continue
		case key == "PORT":
			why = "the port is given by Slipway"
		case key == "OTEL_RESOURCE_ATTRIBUTES":
			why = "the resource attributes are given by Slipway"
		case strings.HasPrefix(key, "SLIPWAY_"):
			why = "names that start with SLIPWAY_ are given by Slipway"
		}
		for _, n := range s.Needs {
			if n.Service != "" && key == variableFor(n.Service) {
				why = fmt.Sprintf("the address of %s is given by Slipway, since it is in needs", n.Service)
			}
		}
		if why != "" {
			d.add(d.keys[path], path, why, "remove it, or choose another name")
		}
	}
}

func (d *decoder) public(at string, p *publicDoc) {
	if p == nil {
		return
	}
	for i, host := range p.Hosts {
		if !validHost.MatchString(strings.TrimPrefix(host, "*.")) || len(host) > 253 {
			d.wrong(fmt.Sprintf("%s.hosts[%d]", at, i), fmt.Sprintf("%q is not a host name", clip(host)), "say it in lower case, without scheme, port or path: shop.localhost, or *.example.org")
		}
	}
	for i, prefix := range p.Paths {
		if !strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//") || strings.ContainsFunc(prefix, func(c rune) bool { return c <= ' ' || c == '?' || c == '#' || c == '*' || c == 0x7f }) {
			d.wrong(fmt.Sprintf("%s.paths[%d]", at, i), fmt.Sprintf("%q is not a path prefix", clip(prefix)), "say a prefix that starts with /, such as /api")
		}
	}
}
