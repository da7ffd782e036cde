package manifest

import (
	"fmt"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Parse turns the bytes of slipway.yaml into a project with every default
// filled in, and the origin of every value. dir is the absolute folder of the
// file; paths in it are joined to dir. All mistakes are returned together, as
// *Mistakes; file is the name they are reported under.
func Parse(file string, src []byte, dir string) (delivery.Project, Origins, error) {
	text := strings.TrimPrefix(string(src), "\ufeff")
	d := newDecoder(newReport(file, text))
	root := read(d.report, text)
	if root == nil || root.kind == nothing {
		if len(d.mistakes) == 0 {
			d.add(position{1, 1}, "", "the file is empty", "run: slipway init")
		}
		return delivery.Project{}, nil, d.err()
	}
	var doc document
	d.value("", root, reflect.ValueOf(&doc).Elem())
	if root.kind != mapping || d.seen > maxValues || !d.check(doc) {
		return delivery.Project{}, nil, d.err()
	}
	s := resolver{decoder: d, doc: doc, dir: dir, origins: Origins{}}
	p := s.project()
	if err := d.err(); err != nil {
		return delivery.Project{}, nil, err
	}
	return p, s.origins, nil
}

// resolver fills in defaults and applies precedence.
type resolver struct {
	*decoder
	doc     document
	dir     string
	origins Origins
}

// said is a value that the file may hold, and the field it is written in.
type said[T any] struct {
	path  string
	value *T
}

// pick returns the first value that was said, or else fallback, and notes the
// origin of field.
func pick[T any](s *resolver, field string, fallback T, why string, candidates ...said[T]) T {
	for _, c := range candidates {
		if c.value != nil {
			s.from(field, c.path)
			return *c.value
		}
	}
	s.origins[field] = why
	return fallback
}

// from notes that the value of field is written at path.
func (s *resolver) from(field, path string) {
	at := s.where(path)
	s.origins[field] = fmt.Sprintf("%s:%d:%d", s.file, at.line, at.column)
}

// span notes the origin of a duration and returns it.
func (s *resolver) span(field string, fallback time.Duration, why string, candidates ...said[duration]) time.Duration {
	return time.Duration(pick(s, field, duration(fallback), why, candidates...))
}

// environments returns the environments of the document, or the one there is by default.
func (d document) environments() []environmentDoc {
	if len(d.Environments) == 0 {
		return []environmentDoc{{Name: "prod"}}
	}
	return d.Environments
}

func (s *resolver) project() delivery.Project {
	p := delivery.Project{Name: s.doc.Project}
	s.from("project", "project")
	envs := s.doc.environments()
	for i, e := range envs {
		def := defaultsFor(delivery.Canary, i, len(envs))
		at, field := fmt.Sprintf("environments[%d]", i), "environments."+e.Name
		p.Environments = append(p.Environments, delivery.Environment{
			Name:    e.Name,
			Listen:  pick(s, field+".listen", def.listen, "default", said[string]{at + ".listen", e.Listen}),
			Promote: delivery.Promotion(pick(s, field+".promote", string(def.promote), "default", said[string]{at + ".promote", e.Promote})),
			TLS:     s.tls(field+".tls", at+".tls", e.TLS),
		})
	}
	for _, name := range s.doc.Services.names {
		p.Services = append(p.Services, s.service(name, s.doc.Services.of[name]))
	}
	p.DataPlane = s.dataPlane(s.doc.DataPlane)
	p.Prometheus = s.prometheus(s.doc.Prometheus)
	return p
}

func (s *resolver) service(name string, doc *serviceDoc) delivery.Service {
	at := "services." + name
	out := delivery.Service{Name: name, In: map[string]delivery.Deployment{}}
	out.Run.Command = doc.Run
	s.from(at+".run", at+".run")
	if doc.Versions != nil {
		out.Versions = s.path(*doc.Versions)
		s.from(at+".versions", at+".versions")
	} else {
		out.Dir = s.path(pick(s, at+".dir", ".", "default", said[string]{at + ".dir", doc.Dir}))
	}
	out.Run.Protocol = protocolOf(told(s, at+".protocol", doc.Protocol))
	out.Run.Health = s.health(at+".health", doc.Health)
	out.Run.Stop = s.stop(at+".stop", doc.Stop)
	out.Run.Limits = s.limits(at+".limits", doc.Limits)
	s.origins[at+".needs"] = "default"
	for _, n := range doc.Needs {
		out.Run.Needs = append(out.Run.Needs, delivery.Need(n))
		s.from(at+".needs", at+".needs")
	}
	out.Config = s.config(at+".config", at+".config", doc.Config)
	out.Public = s.public(at+".public", doc.Public)
	s.traffic(at+".traffic", doc.Traffic, &out)
	out.Metrics = s.metrics(at+".metrics", doc.Metrics)
	envs := s.doc.environments()
	for i, e := range envs {
		out.In[e.Name] = s.deployment(name, doc, i)
	}
	return out
}

// path joins a path of the file to its folder.
func (s *resolver) path(p string) string {
	if path.IsAbs(p) {
		return path.Clean(p)
	}
	return path.Join(s.dir, p)
}

func (s *resolver) health(at string, doc *healthDoc) delivery.Health {
	def := defaultsFor(delivery.Canary, 0, 1).health
	if doc == nil {
		doc = &healthDoc{}
	}
	h := delivery.Health{
		Interval: s.span(at+".interval", def.Interval, "default", said[duration]{at + ".interval", doc.Interval}),
		Timeout:  s.span(at+".timeout", def.Timeout, "default", said[duration]{at + ".timeout", doc.Timeout}),
		Rise:     pick(s, at+".rise", def.Rise, "default", said[int]{at + ".rise", doc.Rise}),
		Fall:     pick(s, at+".fall", def.Fall, "default", said[int]{at + ".fall", doc.Fall}),
	}
	switch {
	case doc.none:
		s.from(at, at)
	case doc.HTTP != nil:
		h.HTTP = *doc.HTTP
		s.from(at+".http", at+".http")
	case doc.GRPC != nil:
		h.GRPC = doc.GRPC
		s.from(at+".grpc", at+".grpc")
	case doc.Command != nil:
		h.Command = doc.Command
		s.from(at+".command", at+".command")
	case doc.TCP != nil:
		h.TCP = true
		s.from(at+".tcp", at+".tcp")
	default:
		h.TCP = def.TCP
		s.origins[at+".tcp"] = "default: no health is named, so the port must accept a connection"
	}
	return h
}

func (s *resolver) metrics(at string, doc *metricsDoc) delivery.Scrape {
	switch {
	case doc == nil:
		s.origins[at+".path"], s.origins[at+".port"] = "default: if there is such a page", "default"
		return delivery.Scrape{}
	case doc.off:
		s.from(at, at)
		return delivery.Scrape{Off: true}
	}
	return delivery.Scrape{
		Path: pick(s, at+".path", "/metrics", "default", said[string]{at + ".path", doc.Path}),
		Port: told(s, at+".port", doc.Port),
	}
}

func (s *resolver) stop(at string, doc *stopDoc) delivery.Stop {
	def := defaultsFor(delivery.Canary, 0, 1).stop
	if doc == nil {
		doc = &stopDoc{}
	}
	return delivery.Stop{
		Drain: s.span(at+".drain", def.Drain, "default", said[duration]{at + ".drain", doc.Drain}),
		Grace: s.span(at+".grace", def.Grace, "default", said[duration]{at + ".grace", doc.Grace}),
	}
}

func (s *resolver) limits(at string, doc *limitsDoc) delivery.Limits {
	if doc == nil {
		doc = &limitsDoc{}
	}
	return delivery.Limits{
		MemoryBytes: int64(pick(s, at+".memory", 0, "default", said[size]{at + ".memory", doc.Memory})),
		CPUs:        pick(s, at+".cpus", 0, "default", said[float64]{at + ".cpus", doc.CPUs}),
		OpenFiles:   pick(s, at+".open_files", 0, "default", said[int]{at + ".open_files", doc.OpenFiles}),
		Processes:   pick(s, at+".processes", 0, "default", said[int]{at + ".processes", doc.Processes}),
	}
}

func (s *resolver) config(field, at string, doc named[setting]) map[string]string {
	if len(doc.names) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, key := range doc.names {
		out[key] = string(*doc.of[key])
		s.from(join(field, key), join(at, key))
	}
	return out
}

func (s *resolver) public(at string, doc *publicDoc) delivery.Public {
	s.origins[at+".hosts"], s.origins[at+".paths"] = "default", "default"
	if doc == nil {
		return delivery.Public{}
	}
	out := delivery.Public{Hosts: doc.Hosts}
	if len(doc.Hosts) > 0 {
		s.from(at+".hosts", at+".hosts")
		out.Paths = []string{"/"}
	}
	if len(doc.Paths) > 0 {
		s.from(at+".paths", at+".paths")
		out.Paths = nil
		for _, p := range doc.Paths {
			out.Paths = append(out.Paths, prefixOf(p))
		}
	}
	return out
}

// prefixOf writes a path prefix in one way: /api/ and /api are the same.
func prefixOf(p string) string {
	if p = strings.TrimRight(p, "/"); p == "" {
		return "/"
	}
	return p
}

// deployment applies, from the strongest to the weakest: the service in the
// environment, the environment, the service, the project, the default.
func (s *resolver) deployment(name string, doc *serviceDoc, place int) delivery.Deployment {
	envs := s.doc.environments()
	env := envs[place]
	service, here := "services."+name, fmt.Sprintf("environments[%d]", place)
	field := service + ".in." + env.Name
	in := doc.In.of[env.Name]
	if in == nil {
		in = &inDoc{}
	}
	return delivery.Deployment{
		Replicas: pick(s, field+".replicas", defaultsFor(delivery.Canary, place, len(envs)).replicas, "default",
			said[int]{field + ".replicas", in.Replicas},
			said[int]{here + ".replicas", env.Replicas},
			said[int]{service + ".replicas", doc.Replicas}),
		Config: s.config(field+".config", field+".config", in.Config),
		Strategy: s.strategy(field+".rollout", place, len(envs), []layer{
			{path: "rollout", doc: s.doc.Rollout, shared: true},
			{path: service + ".rollout", doc: doc.Rollout},
			{path: here + ".rollout", doc: env.Rollout, here: true, shared: true},
			{path: field + ".rollout", doc: in.Rollout, here: true},
		}),
	}
}
