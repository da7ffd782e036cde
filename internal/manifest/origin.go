package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// Origins maps each field of a project to where its value came from:
// "slipway.yaml:5:9", "default" or "strategy canary default". Fields are named
// as in the file, but environments by name: "environments.prod.listen".
type Origins map[string]string

// Line is one value of a project with its origin.
type Line struct {
	Field  string `json:"field"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// Explain lists every value of p at or below the field prefix, in the order of
// the file; "" lists all.
func (o Origins) Explain(p delivery.Project, prefix string) []Line {
	e := explainer{origins: o, prefix: prefix}
	e.say("project", p.Name)
	for _, s := range p.Services {
		e.service("services."+s.Name, s, p.Environments)
	}
	for _, env := range p.Environments {
		at := "environments." + env.Name
		e.say(at+".listen", env.Listen)
		e.say(at+".promote", string(env.Promote))
		e.tls(at+".tls", env.TLS)
	}
	e.dataPlane(p.DataPlane)
	e.prometheus(p.Prometheus)
	return e.lines
}

type explainer struct {
	origins Origins
	prefix  string
	lines   []Line
}

func (e *explainer) say(field, value string) {
	rest, below := strings.CutPrefix(field, e.prefix)
	if !below || e.prefix != "" && rest != "" && rest[0] != '.' && rest[0] != '[' {
		return
	}
	origin := e.origins[field]
	if origin == "" {
		origin = "default"
	}
	e.lines = append(e.lines, Line{field, value, origin})
}

func (e *explainer) service(at string, s delivery.Service, envs []delivery.Environment) {
	e.say(at+".run", quote(s.Run.Command))
	if s.Versions != "" {
		e.say(at+".versions", s.Versions)
	} else {
		e.say(at+".dir", s.Dir)
	}
	e.say(at+".protocol", textOr(s.Run.Protocol == delivery.H2C, string(delivery.H2C), "http"))
	h := s.Run.Health
	switch {
	case h.HTTP != "":
		e.say(at+".health.http", h.HTTP)
	case h.GRPC != nil:
		e.say(at+".health.grpc", textOr(*h.GRPC == "", "the whole server", *h.GRPC))
	case h.Command != nil:
		e.say(at+".health.command", quote(h.Command))
	case h.TCP:
		e.say(at+".health.tcp", "true")
	default:
		e.say(at+".health", "none")
	}
	e.say(at+".health.interval", delivery.Lasting(h.Interval))
	e.say(at+".health.timeout", delivery.Lasting(h.Timeout))
	e.say(at+".health.rise", strconv.Itoa(h.Rise))
	e.say(at+".health.fall", strconv.Itoa(h.Fall))
	e.say(at+".needs", needsText(s.Run.Needs))
	e.config(at+".config", s.Config)
	e.say(at+".public.hosts", listText(s.Public.Hosts))
	e.say(at+".public.paths", listText(s.Public.Paths))
	e.traffic(at+".traffic", s)
	if m := s.Metrics; m.Off {
		e.say(at+".metrics", "off")
	} else {
		e.say(at+".metrics.path", cmp.Or(m.Path, "/metrics"))
		e.say(at+".metrics.port", textOr(m.Port == 0, "the instance's own", strconv.Itoa(m.Port)))
	}
	e.say(at+".stop.drain", delivery.Lasting(s.Run.Stop.Drain))
	e.say(at+".stop.grace", delivery.Lasting(s.Run.Stop.Grace))
	l := s.Run.Limits
	e.say(at+".limits.memory", bounded64(l.MemoryBytes, "B"))
	e.say(at+".limits.cpus", orElse(l.CPUs, "unbounded"))
	e.say(at+".limits.open_files", bounded64(int64(l.OpenFiles), ""))
	e.say(at+".limits.processes", bounded64(int64(l.Processes), ""))
	for _, env := range envs {
		in, d := at+".in."+env.Name, s.In[env.Name]
		e.say(in+".replicas", strconv.Itoa(d.Replicas))
		e.config(in+".config", d.Config)
		e.strategy(in+".rollout", d.Strategy)
	}
}

func (e *explainer) config(at string, config map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(config)) {
		e.say(join(at, key), strconv.Quote(config[key]))
	}
}

func (e *explainer) strategy(at string, s delivery.Strategy) {
	e.say(at+".strategy", string(s.Kind))
	for i, step := range s.Steps {
		one := fmt.Sprintf("%s.steps[%d]", at, i)
		e.say(one+".weight", step.Weight.String())
		e.say(one+".hold", delivery.Lasting(step.Hold))
		e.say(one+".proven", strconv.FormatBool(step.Proven))
		e.say(one+".max", limitText(step.Max))
		e.say(one+".approve", strconv.FormatBool(step.Approve))
	}
	switch s.Kind {
	case delivery.BlueGreen:
		e.say(at+".test", orNone(quote(s.Test)))
		e.say(at+".test_timeout", delivery.Lasting(s.TestTimeout))
	case delivery.Rolling:
		e.say(at+".max_surge", strconv.Itoa(s.MaxSurge))
		e.say(at+".max_unavailable", strconv.Itoa(s.MaxUnavailable))
	case delivery.Canary:
		e.say(at+".twin", strconv.FormatBool(s.Twin))
	case delivery.Recreate: // has nothing of its own
	}
	e.say(at+".deadline", delivery.Lasting(s.Deadline))
	e.say(at+".soak", delivery.Lasting(s.Soak))
	e.say(at+".window", delivery.Lasting(s.Window))
	e.say(at+".on_silence", string(s.OnSilence))
	e.say(at+".supersede", string(s.Supersede))
	e.judge(at+".judge", s.Judge)
}

func orElse(f float64, zero string) string {
	if f == 0 {
		return zero
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

func bounded64(n int64, unit string) string {
	if n == 0 {
		return "unbounded"
	}
	return strconv.FormatInt(n, 10) + unit
}

func limitText(d time.Duration) string {
	if d == 0 {
		return "no limit"
	}
	return delivery.Lasting(d)
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func listText(words []string) string { return orNone(strings.Join(words, ", ")) }

func needsText(needs []delivery.Need) string {
	var words []string
	for _, n := range needs {
		if n.AtLeast != "" {
			words = append(words, n.Service+" >= "+n.AtLeast)
			continue
		}
		words = append(words, n.Service)
	}
	return listText(words)
}
